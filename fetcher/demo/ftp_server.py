"""A loopback FTP server over the files of the demonstration, with their faults."""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fetcher.demo.files import DemoFile, Faults

with warnings.catch_warnings():
    # From Python 3.12 on, packages that the library depends on stand in for these two.
    warnings.filterwarnings("ignore", "The async(ore|hat) module is", DeprecationWarning)
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

_TICK = 0.05
"""Seconds after which the server's thread looks whether it is to end."""
_HELD = 0.02
"""Seconds after which a transfer that is held looks whether it may go on."""

# The library prints its records to standard error when nobody else takes them.
_log = logging.getLogger("pyftpdlib")
_log.addHandler(logging.NullHandler())
_log.propagate = False


class FTPDemoServer:
    """Serves on a free port of 127.0.0.1 from its making until :meth:`close`; everyone may log in.

    :param files: at least one; they all lie in one folder.
    """

    def __init__(self, files: Sequence[DemoFile]) -> None:
        self._server = _Server(files)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="demo-ftp")
        self._thread.start()

    def url(self, name: str) -> str:
        """The address of the file of this name."""
        host, port = self._server.address
        return f"ftp://{host}:{port}/{quote(name)}"

    def settings(self, folder: Path) -> Mapping[str, str]:
        """None: any client gets along with it."""
        return {}

    def close(self) -> None:
        """Stop, cut what is open and wait for the thread."""
        self._closing.set()
        self._thread.join()

    def _serve(self) -> None:
        due: float | None = None
        try:
            while not self._closing.is_set():
                due = self._server.ioloop.loop(_TICK if due is None else min(due, _TICK), False)
        finally:
            self._server.close_all()


class _Server(FTPServer):
    def __init__(self, files: Sequence[DemoFile]) -> None:
        self.files = {file.name: file for file in files}
        self.authorizer = DummyAuthorizer()
        self.authorizer.add_anonymous(str(files[0].path.parent))
        super().__init__(("127.0.0.1", 0), _Control, ioloop=IOLoop())


class _Data(DTPHandler):
    """A data connection.

    All are served by one thread, so none may block it: what has to wait leaves the loop meanwhile.
    """

    def __init__(self, sock: socket.socket, cmd_channel: FTPHandler) -> None:
        self._files: Mapping[str, DemoFile] = cmd_channel.server.files
        self._faults = Faults()
        self._break_after: int | None = None
        self._began = 0.0
        super().__init__(sock, cmd_channel)

    def push_with_producer(self, producer: Any) -> None:
        """Begin a transfer: of a file, or of a listing, which has no faults."""
        if self.file_obj is not None:
            file = self._files[Path(self.file_obj.name).name]
            self._faults = file.faults
            self._break_after = file.faults.breaks_after(file.size - self.file_obj.tell())
            self._began = time.monotonic()
        super().push_with_producer(producer)

    def send(self, data: bytes) -> int:
        """As many of the bytes as may go now; the library comes back with the others."""
        if self._break_after is not None:
            data = data[: self._break_after - self.tot_bytes_sent]
            if not data:
                self.handle_close()  # in the middle: the answer is 426
                return 0
        wait = self._wait()
        if wait > 0:
            self.del_channel()
            self.call_later(wait, self.add_channel, events=self.ioloop.WRITE)
            return 0
        sent: int = super().send(data)
        self._faults.holds(sent)
        return sent

    def _wait(self) -> float:
        """Seconds until the next bytes may go."""
        if self._faults.holds(0):
            return _HELD
        if not self._faults.pace:
            return 0
        due: float = self._began + self.tot_bytes_sent / self._faults.pace
        return due - time.monotonic()


class _Control(FTPHandler):
    """A control connection."""

    dtp_handler = _Data
    use_sendfile = False  # the faults are in send()

    def __init__(self, conn: socket.socket, server: _Server, ioloop: IOLoop | None = None) -> None:
        super().__init__(conn, server, ioloop)
        self.authorizer = server.authorizer

    def ftp_RETR(self, file: str) -> str | None:
        """Send a file, or turn the client away."""
        served = self.server.files.get(Path(file).name)
        if served is None:
            self.respond("550 No such file.")
        elif served.faults.refuses():
            self._restart_position = 0  # REST holds for the next command only
            self.respond("450 Busy, try again later.")
        else:
            sent: str | None = super().ftp_RETR(file)
            return sent
        return None
