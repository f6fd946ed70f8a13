"""The connections of `tests.servers.ftp`: those of pyftpdlib, with the lies of `Behaviour`."""

import fcntl
import logging
import socket
import struct
import sys
import termios
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from OpenSSL import SSL

from tests.servers.ftp_faults import Behaviour, DataGate, Fault, Normal

with warnings.catch_warnings():  # Python 3.11's own asyncore says that it will go.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib import handlers

# Without any handler, pyftpdlib would configure logging for the whole process.
logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())

_BLOCK = 1 << 16
_TLS_FEATURES = {"AUTH": "AUTH TLS", "PBSZ": "PBSZ", "PROT": "PROT"}


@dataclass
class Shared:
    """What all connections of a server know, and write down."""

    behaviour: Behaviour
    tls: bool
    implicit: bool
    stopping: bool = False
    commands: list[tuple[int, str]] = field(default_factory=list)
    connections: int = 0
    transfers: set[object] = field(default_factory=set)
    peak: int = 0
    sent: int = 0
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def connected(self) -> int:
        """The number of a new connection."""
        with self.lock:
            self.connections += 1
            return self.connections - 1

    def arrived(self, connection: int, line: str) -> None:
        with self.lock:
            self.commands.append((connection, line))

    def next_fault(self, path: str) -> Fault:
        with self.lock:
            faults = self.behaviour.faults.get(path)
            return faults.pop(0) if faults else Normal()

    def begins(self, transfer: object) -> None:
        with self.lock:
            self.transfers.add(transfer)
            self.peak = max(self.peak, len(self.transfers))

    def ends(self, transfer: object) -> None:
        with self.lock:
            self.transfers.discard(transfer)


class Transfer:
    """What is still to be sent of a file, and when."""

    def __init__(
        self, file: BinaryIO, size: int, fault: Fault, gate: DataGate | None, rate: int | None
    ) -> None:
        self.fault = fault
        self.unsent = memoryview(b"")
        self._file = file
        self._gate = gate
        self._held = False
        self._rate = rate
        self._read = 0
        self._whole = size + fault.extra
        self._end = self._whole if fault.after is None else min(fault.after, self._whole)
        self._began = time.monotonic()

    def wait(self) -> float:
        """Seconds until more may be read; 0 for none."""
        if self._gate is not None and not self._gate.is_open and self._read == self._gate.after:
            if not self._held:
                self._held = True
                self._gate.arrive()
            return 0.01
        self.leave_gate()
        if self._rate is None or self._read == self._end:
            return 0
        return max(self._began + self._read / self._rate - time.monotonic(), 0)

    def read(self) -> bool:
        """Whether there is something `unsent` now."""
        size = min(_BLOCK, self._end - self._read)
        if self._rate is not None:
            size = min(size, self._rate // 50 + 1)
        if self._gate is not None and not self._gate.is_open and self._read < self._gate.after:
            size = min(size, self._gate.after - self._read)
        data = self._file.read(size)
        if not data:  # The file is over, and only extra bytes follow.
            data = bytes(size)
        self._read += len(data)
        self.unsent = memoryview(data)
        return bool(data)

    def leave_gate(self) -> None:
        if self._gate is not None and self._held:
            self._held = False
            self._gate.leave()


class Data(handlers.TLS_DTPHandler):
    """A data connection; in the clear until the client asks for more by PROT."""

    timeout = 0
    _transfer: Transfer | None = None
    _paused = False

    # --- Faults call these -----------------------------------------------------------------

    def complete(self) -> None:
        self.producer_fifo.clear()
        self.handle_close()

    def cut(self, reply: str | None, *, reset: bool = False, notify: bool = False) -> None:
        if reset and self._is_postponed(lambda: self.cut(reply, reset=True)):
            return
        control = self.cmd_channel
        _close(self, reset=reset, notify=notify)
        if reply is not None:
            control.answer(reply)

    def stall(self) -> None:
        self._pause()

    def hang_up(self, *, reset: bool = False, notify: bool = False) -> None:
        if reset and self._is_postponed(lambda: self.hang_up(reset=True)):
            return
        control = self.cmd_channel
        _close(self, reset=reset, notify=notify)
        _close(control, reset=reset, notify=False)

    # --- pyftpdlib calls these -------------------------------------------------------------

    def push(self, data: bytes) -> None:
        self.cmd_channel.shared.begins(self)
        super().push(data)

    def push_with_producer(self, producer: object) -> None:
        """Nothing is sent at once, so that nothing can end within what called this."""
        self.cmd_channel.shared.begins(self)
        self._transfer = producer if isinstance(producer, Transfer) else None
        self._paused = True
        super().push_with_producer(producer)
        self._paused = False

    def initiate_send(self) -> None:
        if self._transfer is None:
            super().initiate_send()
            return
        if self._paused or self._ssl_accepting:
            return
        if not self._transfer.unsent:
            wait = self._transfer.wait()
            if wait:
                self._pause()
                self.call_later(wait, self._go_on)
                return
            if not self._transfer.read():
                self._transfer.fault.end(self)
                return
        sent = self.send(self._transfer.unsent)
        self._transfer.unsent = self._transfer.unsent[sent:]

    def send(self, data: Any) -> int:
        """The lock covers each sending and its count: no client holds what is not counted yet."""
        shared = self.cmd_channel.shared
        with shared.lock:
            try:
                sent: int = super().send(data)
            except SSL.Error:
                self._broken()
                return 0
            shared.sent += sent
            return sent

    def recv(self, buffer_size: int) -> bytes:
        """A client that ends its connection without close_notify ends it all the same."""
        try:
            received: bytes = super().recv(buffer_size)
        except SSL.Error:
            self._broken()
            return b""
        return received

    def readable(self) -> bool:
        """While nothing may be sent, the client's end of the connection is what is waited for."""
        return self._paused or super().readable()

    def close(self) -> None:
        shared = self.cmd_channel.shared
        shared.ends(self)
        if self._transfer is not None:
            self._transfer.leave_gate()
        if shared.stopping:
            self._ssl_established = False
        super().close()

    def _pause(self) -> None:
        self._paused = True
        self._await(self.ioloop.READ)

    def _go_on(self) -> None:
        self._paused = False
        self._await(self.ioloop.WRITE)

    def _await(self, events: int) -> None:
        self._wanted_io_events = events
        self.modify_ioloop_events(events)

    def _is_postponed(self, step: Callable[[], None]) -> bool:
        """Whether the client's side has not got all that was sent; if so, the step comes later."""
        if not any(fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4))):
            return False
        self._pause()
        self.call_later(0.001, step)
        return True

    def _broken(self) -> None:
        self._ssl_established = False
        self.handle_close()


class Control(handlers.TLS_FTPHandler):
    """A control connection."""

    shared: ClassVar[Shared]
    dtp_handler = Data
    timeout = 0
    auth_failed_timeout = 0
    use_sendfile = False
    admitted = False
    """Whether it counts for `max_connections`."""
    _fault: Fault = Normal()

    @classmethod
    def get_ssl_context(cls) -> SSL.Context | None:
        context: SSL.Context | None = cls.ssl_context
        return context

    @property
    def proto_cmds(self) -> dict[str, object]:
        without = self.shared.behaviour.without | (
            set() if self.shared.tls else _TLS_FEATURES.keys()
        )
        commands = handlers.TLS_FTPHandler.proto_cmds
        return {name: command for name, command in commands.items() if name not in without}

    @property
    def masquerade_address(self) -> str | None:
        return self.shared.behaviour.pasv_host

    def answer(self, line: str) -> None:
        self.respond(line)
        if line.startswith("421"):
            self.close_when_done()

    def handle(self) -> None:
        self.number = self.shared.connected()
        if self.shared.implicit:
            self.secure_connection(self.ssl_context)
        else:
            self._greet()

    def handle_ssl_established(self) -> None:
        if self.shared.implicit:
            self._greet()

    def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
        self.shared.arrived(self.number, f"{cmd} {arg}".rstrip())
        replies = self.shared.behaviour.replies
        if cmd not in replies:
            super().pre_process_command(line, cmd, arg)
        elif (reply := replies[cmd]) is not None:
            self.answer(reply)

    def ftp_FEAT(self, line: str) -> None:
        known = self.proto_cmds
        self._extra_feats = [name for command, name in _TLS_FEATURES.items() if command in known]
        super().ftp_FEAT(line)

    def ftp_PASS(self, line: str) -> None:
        if self.shared.behaviour.too_many.startswith("530") and self._is_surplus():
            self.respond(self.shared.behaviour.too_many)
        else:
            super().ftp_PASS(line)

    def on_login(self, username: str) -> None:
        self.admitted = True

    def ftp_SIZE(self, path: str) -> None:
        size = self.shared.behaviour.sizes.get(self.fs.fs2ftp(path))
        if size is None or self._current_type == "a":
            super().ftp_SIZE(path)
        else:
            self.respond(f"213 {size}")

    def ftp_MDTM(self, path: str) -> None:
        modified = self.shared.behaviour.times.get(self.fs.fs2ftp(path))
        if modified is None:
            super().ftp_MDTM(path)
        else:
            self.respond(f"213 {modified}")

    def ftp_RETR(self, file: str) -> None:
        path = self.fs.fs2ftp(file)
        self._fault = self.shared.next_fault(path)
        if not self._fault.resumes:
            self._restart_position = 0
        if not self._fault.begin(self):
            self._restart_position = 0
        elif path in self.shared.behaviour.forbidden:
            self._restart_position = 0
            self.respond("550 Permission denied.")
        else:
            super().ftp_RETR(file)

    def push_dtp_data(
        self, data: object, isproducer: bool = False, file: Any = None, cmd: str | None = None
    ) -> None:
        """In text mode the data stay pyftpdlib's own, with other ends of lines."""
        if cmd == "RETR" and self._current_type == "i":
            behaviour = self.shared.behaviour
            size = Path(file.name).stat().st_size - file.tell()
            gate = behaviour.gates.get(self.fs.fs2ftp(file.name))
            data = Transfer(file, size, self._fault, gate, behaviour.rate)
        super().push_dtp_data(data, isproducer, file, cmd)

    def close(self) -> None:
        if self.shared.stopping:
            self._ssl_established = False
        super().close()

    def log_exception(self, instance: object) -> None:
        """What is no fault of the client reaches the test."""
        super().log_exception(instance)
        error = sys.exception()
        if error is not None and not isinstance(error, (OSError, SSL.Error)):
            self.shared.errors.append(error)

    def _greet(self) -> None:
        too_many = self.shared.behaviour.too_many
        late = too_many.startswith("530")
        if not late and self._is_surplus():
            self.respond(too_many)
            self.close_when_done()
            return
        self.admitted = not late
        super().handle()

    def _is_surplus(self) -> bool:
        most = self.shared.behaviour.max_connections
        others = [other for other in self.ioloop.socket_map.values() if other is not self]
        count = sum(isinstance(other, Control) and other.admitted for other in others)
        return most is not None and count >= most


def _close(connection: Data | Control, *, reset: bool, notify: bool) -> None:
    if reset:
        with suppress(OSError):
            connection.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
    if not notify:
        connection._ssl_established = False
    connection.close()
