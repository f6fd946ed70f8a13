"""An FTP server for tests: honest by default, and otherwise what `Behaviour` says.

    with FTPServer(folder) as server:
        server.fail("/a.bin", Cut(after=1 << 20))
        ...  # fetch server.url("/a.bin")
        assert server.asked("REST") == [str(1 << 20)]

All connections of a server live in one thread, with a loop of their own.
"""

import socket
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from OpenSSL import SSL

from tests.servers.ftp_connections import Control, Shared
from tests.servers.ftp_faults import Behaviour, Fault

with warnings.catch_warnings():  # Python 3.11's own asyncore says that it will go.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib import authorizers, ioloop, servers

_READ_ONLY = "elr"


class FTPServer:
    """Serves the folder `root`, for reading, on a free port of 127.0.0.1.

    :param users: names and passwords. `anonymous` may log in with any password.
    :param certificate: a file with the key and the chain; without it there is no TLS.
    :param implicit: TLS from the first byte, instead of after AUTH.
    :param require_tls: logins and data in the clear are refused.
    """

    def __init__(
        self,
        root: Path,
        users: Mapping[str, str] | None = None,
        *,
        anonymous: bool = True,
        certificate: Path | None = None,
        implicit: bool = False,
        require_tls: bool = False,
        behaviour: Behaviour | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        tls = certificate is not None
        self._shared = Shared(self.behaviour, tls=tls, implicit=implicit)
        self._loop = ioloop.IOLoop()
        acceptor = servers.FTPServer(
            ("127.0.0.1", 0),
            type(
                "Handler",
                (Control,),
                {
                    "shared": self._shared,
                    "authorizer": _authorizer(root, users or {}, anonymous=anonymous),
                    "ssl_context": None if certificate is None else _context(certificate),
                    "tls_control_required": require_tls,
                    "tls_data_required": require_tls,
                },
            ),
            ioloop=self._loop,
        )
        acceptor.max_cons = 0
        self.port: int = acceptor.address[1]
        stopper, self._stop = socket.socketpair()
        _Stopper(stopper, ioloop=self._loop)
        self._thread = threading.Thread(target=self._loop.loop, name=f"ftp-{self.port}")

    # --- What a test sets and asks ---------------------------------------------------------

    def fail(self, path: str, *faults: Fault) -> None:
        """Let the next transfers of a path meet these faults, after those that still wait."""
        with self._shared.lock:
            self.behaviour.faults.setdefault(path, []).extend(faults)

    def url(
        self,
        path: str = "/",
        *,
        host: str = "127.0.0.1",
        userinfo: str = "",
        scheme: str | None = None,
    ) -> str:
        """Of a path as it is on disk; `userinfo` is `user:password`, percent-encoded as needed."""
        scheme = scheme or ("ftps" if self._shared.tls else "ftp")
        userinfo += "@" if userinfo else ""
        return f"{scheme}://{userinfo}{host}:{self.port}/{quote(path.removeprefix('/'))}"

    @property
    def commands(self) -> list[tuple[int, str]]:
        """The number of the connection, from 0, and the line, for all commands as they came."""
        with self._shared.lock:
            return list(self._shared.commands)

    def asked(self, command: str) -> list[str]:
        """The arguments with which a command came, in order."""
        lines = [line.partition(" ") for _, line in self.commands]
        return [argument for name, _, argument in lines if name == command]

    @property
    def connections(self) -> int:
        """Control connections accepted so far, those turned away included."""
        with self._shared.lock:
            return self._shared.connections

    @property
    def active(self) -> int:
        """Files and listings that are being sent now."""
        with self._shared.lock:
            return len(self._shared.transfers)

    @property
    def peak(self) -> int:
        """The most that were being sent at one time."""
        with self._shared.lock:
            return self._shared.peak

    @property
    def sent(self) -> int:
        """Bytes that the data connections took, before encryption."""
        with self._shared.lock:
            return self._shared.sent

    # --- Start and end ---------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and wait for the thread; raises what went wrong in it."""
        self._shared.stopping = True
        self._stop.close()
        self._thread.join(10)
        if self._thread.is_alive():
            raise TimeoutError(f"{self._thread.name} does not end")
        if self._shared.errors:
            raise self._shared.errors[0]

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


class _Stopper(ioloop.AsyncChat):
    """Ends the loop when the other end of its socket is closed."""

    def handle_read(self) -> None:
        self.ioloop.close()


def _authorizer(root: Path, users: Mapping[str, str], *, anonymous: bool) -> object:
    authorizer = authorizers.DummyAuthorizer()
    for name, password in users.items():
        authorizer.add_user(name, password, str(root), perm=_READ_ONLY)
    if anonymous:
        authorizer.add_anonymous(str(root), perm=_READ_ONLY)
    return authorizer


def _context(certificate: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    return context
