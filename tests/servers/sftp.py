"""An SFTP server for tests: honest by default, and on request as bad as any in the world.

    with SFTPServer(folder) as server:
        server.behaviour.faults["/a.bin"] = [After(1 << 20, "cut"), None, After(0, "fail")]
        ...  # fetch server.url("/a.bin")
        assert server.connections == 3

Only for reading. (`tests.servers.openssh` is a real one, which does as it should.)
"""

import fcntl
import io
import logging
import select
import socket
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.packet import Packetizer

from tests.servers.exchange import GoneError
from tests.servers.sftp_session import (
    Behaviour,
    ConnectionFault,
    Log,
    Operation,
    Session,
    Site,
)

# Not paramiko's, and silent: what a test finds in paramiko's log comes from the client alone.
_LOGGER = logging.getLogger("sftp-server")
_LOGGER.setLevel(logging.CRITICAL + 1)


def new_key(path: Path | None = None) -> paramiko.PKey:
    """An ed25519 key, for hosts and for users; kept in a file where one is given."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    if path is not None:
        path.touch(mode=0o600)
        path.write_bytes(pem)
    return paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode()))


class SFTPServer:
    """SFTP on a free port of 127.0.0.1.

    :param root: the folder that clients know as ``/``.
    :param users: names and passwords.
    :param keys: names, and the keys that log in with them; the public halves will do.
    :param host_key: one, or several of different types. By default a new ed25519 key.
    :param home: the folder on the server where relative names begin.
    """

    def __init__(
        self,
        root: Path,
        users: Mapping[str, str] | None = None,
        keys: Mapping[str, Sequence[paramiko.PKey]] | None = None,
        host_key: paramiko.PKey | Sequence[paramiko.PKey] | None = None,
        *,
        home: str = "/",
    ) -> None:
        self.behaviour = Behaviour()
        self.users = dict({"user": "password"} if users is None else users)
        self.keys = {name: list(some) for name, some in (keys or {}).items()}
        if host_key is None:
            host_key = new_key()
        self.host_keys = [host_key] if isinstance(host_key, paramiko.PKey) else list(host_key)
        """May be exchanged for others, which connections show from then on."""
        self.refused = 0
        """Connections that were closed before the banner."""
        self.errors: list[Exception] = []
        """Bugs in this server; `stop` raises the first."""
        self.site = Site(root, home, self.behaviour, Log(), self.errors)
        self._connections: list[_Connection] = []
        self._channels: list[_Channel] = []
        self._peak_connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"sftp-{self.port}")

    # --- What a test asks ------------------------------------------------------------------

    def url(self, path: str, *, userinfo: str = "user:password", host: str = "127.0.0.1") -> str:
        """`userinfo` comes as it stands, `path` (with its slash) is encoded."""
        return f"sftp://{userinfo}{'@' if userinfo else ''}{host}:{self.port}{quote(path)}"

    @property
    def host_key(self) -> paramiko.PKey:
        return self.host_keys[0]

    def known_hosts(
        self, path: Path, *, host: str = "127.0.0.1", keys: Sequence[paramiko.PKey] | None = None
    ) -> Path:
        """Write a file that says which keys this server has; by default those it really has."""
        lines = [
            f"[{host}]:{self.port} {key.get_name()} {key.get_base64()}\n"
            for key in (self.host_keys if keys is None else keys)
        ]
        path.write_text("".join(lines), encoding="utf-8")
        return path

    @property
    def connections(self) -> int:
        """Connections so far, without those refused."""
        return len(self._connections)

    @property
    def open_connections(self) -> int:
        return sum(not connection.ended for connection in list(self._connections))

    @property
    def peak_connections(self) -> int:
        """The most connections that were open at one time."""
        return self._peak_connections

    @property
    def operations(self) -> list[Operation]:
        """Every OPEN, STAT, LSTAT, FSTAT and READ so far, in the order of arrival."""
        return self.site.log.operations

    def sent(self, path: str | None = None) -> int:
        """Bytes of a file, or of all, that READs were answered with."""
        return self.site.log.sent(path)

    def open_files(self, path: str | None = None) -> int:
        """Handles that are open now."""
        return self.site.log.open(path)

    def peak(self, path: str | None = None) -> int:
        """The most handles that were open at one time, of a file or of all."""
        return self.site.log.peak(path)

    # --- Start and end ---------------------------------------------------------------------

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Cut every connection and wait for every thread; raises the first bug."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # It is stopped already.
        self._acceptor.join()
        self._listener.close()
        for connection in self._connections:
            connection.cut()
        # In this order: only a connection that has ended opens no more channels.
        threads: list[threading.Thread] = [*self._connections, *self._channels]
        for thread in threads:
            thread.join(10)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} does not end")
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- The threads -----------------------------------------------------------------------

    def _accept(self) -> None:
        behaviour = self.behaviour
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return  # `stop` has shut the listener.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            faults = behaviour.connection_faults
            fault = faults.pop(0) if faults else None
            most, now = behaviour.max_connections, self.open_connections
            if fault == "close" or (most is not None and now >= most):
                self.refused += 1
                accepted.close()
                continue
            connection = _Connection(accepted, self, len(self._connections), fault)
            self._peak_connections = max(self._peak_connections, now + 1)
            self._connections.append(connection)
            connection.begin()

    def open_channel(self, channel: Any, connection: "_Connection", policy: "_Policy") -> None:
        thread = _Channel(channel, connection, policy, self)
        self._channels.append(thread)
        thread.start()


class _Packetizer(Packetizer):
    def __init__(self, behaviour: Behaviour, sock: socket.socket) -> None:
        super().__init__(sock)
        self._behaviour = behaviour

    def start_handshake(self, timeout: float) -> None:
        """Without paramiko's timer, a thread that outlives connections which end early."""

    def send_message(self, data: Any) -> None:
        message = data.asbytes()
        super().send_message(paramiko.Message(self._behaviour.messages.get(message[0], message)))

    def write_all(self, out: Any) -> None:
        rate = self._behaviour.rate
        if rate is None:
            super().write_all(out)
            return
        size = max(1, rate // 50)
        for start in range(0, len(out), size):
            piece = out[start : start + size]
            super().write_all(piece)
            time.sleep(len(piece) / rate)


class _Connection(paramiko.Transport):
    """An accepted socket, and the thread that reads it."""

    def __init__(
        self, sock: socket.socket, server: SFTPServer, number: int, fault: ConnectionFault | None
    ) -> None:
        packetizer: Any = partial(_Packetizer, server.behaviour)
        super().__init__(sock, packetizer_class=packetizer)
        self.set_log_channel(_LOGGER.name)
        self.name = f"sftp-{server.port}-connection"
        self.local_version = server.behaviour.version or self.local_version
        for key in server.host_keys:
            self.add_server_key(key)
        self.number = number
        self.gone = threading.Event()
        self._server = server
        self._fault = fault

    @property
    def ended(self) -> bool:
        """Also where the client has gone and this thread has not noticed yet."""
        return self.gone.is_set() or self._hangs_up(0)

    def begin(self) -> None:
        policy = _Policy(self._server, self, self._fault)
        self.start_server(event=threading.Event(), server=policy)

    def run(self) -> None:
        behaviour = self._server.behaviour
        try:
            if behaviour.silent or self._fault == "silent":
                self._hangs_up(None)
            elif not self._hangs_up(behaviour.banner_delay):
                super().run()
        finally:
            self.active = False
            self.sock.close()
            self.gone.set()

    def cut(self) -> None:
        """Called from any thread: whatever waits for this connection is woken."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def drained(self) -> bool:
        """Whether all that was sent has reached the client's side."""
        return fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4

    def _hangs_up(self, seconds: float | None) -> bool:
        """Whether the client does within that time, or the server stops."""
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLRDHUP)
        except ValueError:
            return True  # The socket is closed.
        return bool(poll.poll(None if seconds is None else seconds * 1000))


class _Policy(paramiko.ServerInterface):
    """Who may come in."""

    def __init__(
        self, server: SFTPServer, connection: _Connection, fault: ConnectionFault | None
    ) -> None:
        self._server = server
        self._connection = connection
        self._fault = fault

    def get_allowed_auths(self, username: str) -> str:
        offers = {"publickey": self._server.keys, "password": self._server.users}
        return ",".join(method for method, known in offers.items() if known)

    def check_auth_password(self, username: str, password: str) -> int:
        return self._admit(self._server.users.get(username) == password)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = [one.asbytes() for one in self._server.keys.get(username, ())]
        return self._admit(key.asbytes() in known)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self._fault == "channel" or kind != "session":
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        return OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: Any, name: str) -> bool:
        if self._fault == "subsystem" or name != "sftp":
            return False
        self._server.open_channel(channel, self._connection, self)
        return True

    def _admit(self, known: bool) -> int:
        if self._fault == "goodbye":
            self._connection.cut()
        refused = self._server.behaviour.refuse_auth or self._fault in ("auth", "goodbye")
        return AUTH_SUCCESSFUL if known and not refused else AUTH_FAILED


class _Channel(paramiko.SFTPServer):
    """The thread that answers one channel's requests."""

    def __init__(
        self, channel: Any, connection: _Connection, policy: _Policy, server: SFTPServer
    ) -> None:
        super().__init__(channel, "sftp", policy, Session, server.site, self)
        self.name = f"sftp-{server.port}-channel"
        self.number = connection.number
        self._channel = channel
        self._connection = connection
        self._site = server.site

    def _process(self, t: int, request_number: int, msg: paramiko.Message) -> None:
        answer = self._site.behaviour.answers.get(t)
        if answer is None:
            super()._process(t, request_number, msg)  # type: ignore[misc]
            return
        try:
            answer(self._channel, request_number)
        except Exception as error:
            if not isinstance(error, OSError):  # The client is gone.
                self._site.errors.append(error)
            raise

    def wait(self, seconds: float | None = None) -> None:
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            gone = self._connection.gone.wait(0.01)
            if gone or self._channel.closed or self._channel.eof_received:
                raise GoneError

    def cut(self) -> None:
        with suppress(OSError, ValueError):  # It has ended by itself.
            while not self._connection.drained():
                self.wait(0.001)
        self._connection.cut()

    def finish_subsystem(self) -> None:
        for handle in self.file_table.values():
            handle.close()  # First, as all that follows may fail.
        super().finish_subsystem()
