"""Connections that can be broken off from another thread, and what goes wrong with them."""

from __future__ import annotations

import errno
import socket
import ssl
import threading

from fetcher.errors import FetchError
from fetcher.handlers import reasons
from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.session import Refused, TooManyConnections
from fetcher.rules.replies import shown_reason

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


class Sockets:
    """The sockets of one session.

    A blocked call on one of them is ended by :meth:`interrupt`: closing the descriptor would not
    wake it, and the kernel could give the number to somebody else meanwhile.

    :param timeout: seconds for a connection to be made.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._interrupted = False

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket that blocks without limit: who waits for it keeps the time.

        :raises OSError: of the last address that was tried.
        """
        failure: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # of a name that is none
            raise socket.gaierror(socket.EAI_NONAME, "no such host") from error
        for family, kind, protocol, _, address in found:
            connection = socket.socket(family, kind, protocol)
            try:
                self.add(connection)
                connection.settimeout(self._timeout)
                connection.connect(address)
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            except OSError as error:
                self.close(connection)
                failure = error
            else:
                return connection
        raise failure or OSError(errno.EADDRNOTAVAIL, "the host has no address")

    def add(self, connection: socket.socket) -> None:
        """Another one that :meth:`interrupt` is to end.

        :raises ConnectionAbortedError: they have been interrupted already.
        """
        with self._lock:
            if self._interrupted:
                connection.close()
                raise ConnectionAbortedError(errno.ECONNABORTED, "interrupted")
            self._open.add(connection)

    def secure(
        self,
        connection: socket.socket,
        context: ssl.SSLContext,
        host: str,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """TLS over a connection, which is not to be used by itself any more.

        :param session: that of another connection with the same server, to be resumed.
        :raises OSError: there is no agreement, or no trust.
        """
        with self._lock:
            self._open.discard(connection)
        secured = context.wrap_socket(
            connection,
            server_hostname=host,
            session=session,
            # The handshake may block, so that it must be possible to interrupt it.
            do_handshake_on_connect=False,
            # The end of the data is to be told from the end of the connection.
            suppress_ragged_eofs=False,
        )
        self.add(secured)
        secured.do_handshake()
        return secured

    def close(self, connection: socket.socket) -> None:
        """This one is through."""
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def interrupt(self) -> None:
        """End whatever blocks on any of them, now and later; from any thread."""
        with self._lock:
            self._interrupted = True
            for connection in self._open:
                try:
                    # Not SSLSocket's own, which would turn it into a plain one under its reader.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                except OSError:
                    continue  # It is not connected, or not any more.

    def close_all(self) -> None:
        """The session is over."""
        self.interrupt()
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()


def is_cut(error: ssl.SSLError) -> bool:
    """Whether a connection ended without TLS's word of farewell (RFC 8446, section 6.1)."""
    kinds = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    # Before Python 3.12, some builds have no class for it.
    return isinstance(error, kinds) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def translated(error: BaseException, login: Login) -> BaseException:
    """The :class:`FetchError` for what a socket or a library raised; others come back as they are.

    :param login: whose server the sentence names, and whose password it does not.
    """
    server = login.server
    if isinstance(error, FetchError | Refused | TooManyConnections):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return reasons.untrusted(server)
    if isinstance(error, ssl.SSLError) and is_cut(error):
        return reasons.broken(server)
    if isinstance(error, ssl.SSLError):
        return reasons.no_tls(server, (error.reason or "no reason given").replace("_", " ").lower())
    if isinstance(error, socket.gaierror):
        return reasons.not_found(server)
    if isinstance(error, ConnectionRefusedError):
        return reasons.refused(server)
    if isinstance(error, TimeoutError):
        return reasons.unanswered(server)
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return reasons.unreachable(server)
    if isinstance(error, EOFError):
        return reasons.broken(server, shown_reason(str(error), (login.password or "",)))
    if isinstance(error, OSError):
        return reasons.broken(server)
    return error
