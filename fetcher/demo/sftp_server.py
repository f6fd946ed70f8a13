"""A loopback SFTP server over the files of the demonstration, with their faults."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from typing import Any
from urllib.parse import quote

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.sftp import SFTP_FAILURE, SFTP_NO_SUCH_FILE, SFTP_PERMISSION_DENIED

from fetcher.demo.files import DemoFile

USER = "demo"

# Standard error belongs to the command, and clients that go away in the middle are asked to.
_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())
_log.propagate = False


class SFTPDemoServer(TCPServer):
    """Serves on a free port of 127.0.0.1 from its making until :meth:`close`."""

    request_queue_size = 128

    def __init__(self, files: Sequence[DemoFile]) -> None:
        super().__init__(("127.0.0.1", 0), BaseRequestHandler)
        self.files = {f"/{file.name}": file for file in files}
        self.key = paramiko.ECDSAKey.generate()
        self.password = secrets.token_hex(16)
        self.port: int = self.server_address[1]
        self.closing = threading.Event()
        self._connections: list[_Connection] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="demo-sftp")
        self._thread.start()

    def url(self, name: str) -> str:
        """The address of the file of this name, with user and password."""
        return f"sftp://{USER}:{self.password}@127.0.0.1:{self.port}/{quote(name)}"

    def settings(self, folder: Path) -> Mapping[str, str]:
        """By which the crawl knows this server's key."""
        keys = paramiko.HostKeys()
        keys.add(f"[127.0.0.1]:{self.port}", self.key.get_name(), self.key)
        path = folder / "known_hosts"
        keys.save(str(path))
        return {"FETCHER_SSH_KNOWN_HOSTS": str(path)}

    def close(self) -> None:
        """Stop, cut what is open and wait for every thread."""
        self.closing.set()
        for file in self.files.values():
            file.faults.release()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in self._connections:
            connection.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Leave a connection to threads of its own."""
        self._connections.append(_Connection(self, request))


class _Connection(paramiko.ServerInterface):
    """One client's connection: a thread, and one more for each of its sessions."""

    def __init__(self, demo: SFTPDemoServer, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.demo = demo
        self._socket = connection
        self._sessions: list[paramiko.SFTPServer] = []
        self._transport = paramiko.Transport(connection)
        self._transport.set_log_channel(__name__)
        self._transport.add_server_key(demo.key)
        self._transport.start_server(threading.Event(), self)

    def cut(self) -> None:
        """End it without a word."""
        with suppress(OSError):  # the client was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut it, and wait for its threads."""
        self.cut()
        self._transport.join()
        self._transport.packetizer.complete_handshake()  # or a timer goes on waiting for it
        for session in self._sessions:
            session.join()

    def check_auth_password(self, username: str, password: str) -> int:
        if (username, password) == (USER, self.demo.password):
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name != "sftp":
            return False
        session = paramiko.SFTPServer(channel, name, self, _Files)
        self._sessions.append(session)
        session.start()
        return True


class _Files(paramiko.SFTPServerInterface):
    """What a client sees: one folder, and nothing that could be changed."""

    def __init__(self, server: _Connection, *args: Any, **kwargs: Any) -> None:
        super().__init__(server, *args, **kwargs)
        self._connection = server
        self._files = server.demo.files

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        if self.canonicalize(path) != "/":
            return SFTP_NO_SUCH_FILE
        return [_attributes(file) for file in self._files.values()]

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        file = self._files.get(self.canonicalize(path))
        return _attributes(file) if file else SFTP_NO_SUCH_FILE

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> paramiko.SFTPHandle | int:
        file = self._files.get(self.canonicalize(path))
        if file is None:
            return SFTP_NO_SUCH_FILE
        if flags != os.O_RDONLY:
            return SFTP_PERMISSION_DENIED
        if file.faults.refuses():
            return SFTP_FAILURE
        return _Handle(file, self._connection)


class _Handle(paramiko.SFTPHandle):
    """A file that a client has open; one transfer, whatever it reads, from its first read on."""

    def __init__(self, file: DemoFile, connection: _Connection) -> None:
        super().__init__()
        self.readfile = file.path.open("rb")
        self._file = file
        self._connection = connection
        self._began: float | None = None
        self._break_after: int | None = None
        self._sent = 0

    def stat(self) -> paramiko.SFTPAttributes | int:
        return _attributes(self._file)

    def read(self, offset: int, length: int) -> bytes | int:
        faults, closing = self._file.faults, self._connection.demo.closing
        if self._began is None:
            self._began = time.monotonic()
            self._break_after = faults.breaks_after(self._file.size - offset)
        if self._break_after is not None:
            length = min(length, self._break_after - self._sent)
            if length <= 0:
                self._connection.cut()
                return SFTP_FAILURE
        data: bytes | int = super().read(offset, length)
        if isinstance(data, int):
            return data
        faults.before(len(data))
        if faults.pace:
            due = self._began + self._sent / faults.pace
            closing.wait(max(0.0, due - time.monotonic()))
        self._sent += len(data)
        return data


def _attributes(file: DemoFile) -> paramiko.SFTPAttributes:
    return paramiko.SFTPAttributes.from_stat(file.path.stat(), file.name)
