"""An FTP control connection (RFC 959, 2428, 3659, 4217) on the standard library's ftplib.

What is added: the connections can be interrupted, replies are bounded, EPSV is tried first and no
server names another host for the data, and the data connection resumes the TLS session of the
control connection, which servers demand as a proof that both are the same client's.
"""

from __future__ import annotations

# FTP is what this speaks; TLS is there for who wants it.
import ftplib  # nosec B402
import re
import socket
import ssl

from fetcher.errors import LoginError
from fetcher.handlers.blocking.session import Refused, TooManyConnections
from fetcher.handlers.blocking.sockets import Sockets
from fetcher.rules.replies import shown_reason

MAX_REPLY = 64 << 10
"""Characters of a reply."""

_ENCODING = "latin-1"
"""Bytes are passed as they are: names in whatever encoding, replies in any."""

_NO_RESTART = ("451", "501", "502", "504")
"""Replies to RETR behind REST by which servers refuse to begin there; 550 is about the file."""

_BUSY = re.compile(r"\b(?:too many|maximum|max|limit|already connected|later)\b", re.IGNORECASE)


class OutOfStepError(EOFError):
    """A reply that does not belong to the command: the connection cannot be used any more."""


_LONGEST = 1000
"""Characters of a reply that names a port."""


class RestartRefused(Exception):  # noqa: N818 - an answer, not an error
    """The server begins a file at its start only."""


class FTPClient(ftplib.FTP_TLS):
    """Commands and their replies.

    :param sockets: where the connections are kept.
    :param context: None without TLS.
    """

    def __init__(self, sockets: Sockets, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context, encoding=_ENCODING)
        self._sockets = sockets
        self._secure = context is not None
        self._epsv = True
        self._marked = False

    def reach(self, host: str, port: int, *, implicit: bool) -> None:
        """Connect, and read the welcome.

        :raises TooManyConnections: the server takes no more.
        """
        self.host, self.port = host, port
        connection = self._sockets.connect(host, port)
        self.af = connection.family
        self._read_from(
            self._sockets.secure(connection, self.context, host) if implicit else connection
        )
        try:
            self.welcome = self.getresp()
        except ftplib.error_temp as error:
            raise TooManyConnections(reason_of(error)) from error
        except ftplib.error_perm as error:
            raise refused_login(error) from error

    def secure(self) -> None:
        """Explicit TLS: ``AUTH TLS`` (RFC 4217, section 4).

        :raises LoginError: the server has none; nothing is sent in clear text instead.
        """
        try:
            self.expect("AUTH TLS", "234")
        except ftplib.error_temp as error:
            raise TooManyConnections(reason_of(error)) from error
        except ftplib.error_perm as error:
            raise LoginError(
                f"{self.host} offers no TLS ({shown_reason(reason_of(error))}): only where clear "
                "text will do, take ftp:// and FETCHER_FTP_TLS=auto"
            ) from error
        # A new reader: what came in clear text behind the reply is not taken for an answer.
        self._read_from(self._sockets.secure(self._connection, self.context, self.host))

    def protect_data(self) -> None:
        """TLS on data connections too (RFC 4217, section 9)."""
        self.expect("PBSZ 0", "200")
        self.expect("PROT P", "200")

    def expect(self, command: str, *codes: str) -> str:
        """Send a command; the text of its reply, which has one of these codes.

        :raises ftplib.error_temp, ftplib.error_perm: the server refuses.
        :raises OutOfStepError: it answers something else.
        """
        reply = self.sendcmd(command)
        if reply[:3] not in codes:
            raise OutOfStepError(f"{command[:4]} was answered with {reply[:3]}")
        return reply[3:].strip()

    def retrieve(self, path: str, start: int) -> socket.socket:
        """Open a data connection with a file's bytes from ``start`` on.

        :raises ftplib.error_temp, ftplib.error_perm: the server refuses.
        """
        connection = self._sockets.connect(self._connection.getpeername()[0], self._passive_port())
        try:
            if start or self._marked:
                self._mark(start)
            reply = self._ask_for(path, start)
            self._marked = False
            if reply[:1] != "1":
                raise OutOfStepError(f"RETR was answered with {reply[:3]}")
            if self._secure:
                resumed = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
                connection = self._sockets.secure(connection, self.context, self.host, resumed)
        except BaseException:
            self._sockets.close(connection)
            raise
        return connection

    def _mark(self, start: int) -> None:
        """Where the next transfer begins. A refused RETR may leave its mark to the next one."""
        marked, self._marked = self._marked, True
        try:
            self.expect(f"REST {start}", "350")
        except ftplib.error_perm as error:
            self._marked = marked
            if start == 0:
                raise OutOfStepError("a mark that cannot be taken back") from error
            raise RestartRefused from error

    def _ask_for(self, path: str, start: int) -> str:
        try:
            return self.sendcmd(f"RETR {path}")
        except (ftplib.error_temp, ftplib.error_perm) as error:
            if start and str(error)[:3] in _NO_RESTART:
                raise RestartRefused from error
            raise

    def getmultiline(self) -> str:
        """A reply, bounded; see :class:`ftplib.FTP`."""
        lines = [self.getline()]
        size = 0
        code = lines[0][:3]
        if lines[0][3:4] == "-":
            while lines[-1][:4] != f"{code} " and lines[-1] != code:
                lines.append(self.getline())
                size += len(lines[-1]) + 1
                if size > MAX_REPLY:
                    raise OutOfStepError("an endless reply")
        return "\n".join(lines)

    def getresp(self) -> str:
        """A reply; see :class:`ftplib.FTP`.

        :raises OutOfStepError: what came is none.
        """
        try:
            return super().getresp()
        except (ftplib.error_temp, ftplib.error_perm):
            raise
        except ftplib.Error as error:
            raise OutOfStepError("what came is no reply") from error

    def _passive_port(self) -> int:
        """Where the server waits. Its word on the host is not taken: it could be another one's."""
        reply = self._passive()
        parse = ftplib.parse229 if reply.startswith("229") else ftplib.parse227
        peer = (self._connection.getpeername(),) if parse is ftplib.parse229 else ()
        if len(reply) > _LONGEST:
            # Looking for a port in it could take seconds.
            raise OutOfStepError("a reply that names no port")
        try:
            port = int(parse(reply, *peer)[1])
        except (ftplib.Error, ValueError, IndexError) as error:
            raise OutOfStepError("a reply that names no port") from error
        if not 0 < port < 1 << 16:
            raise OutOfStepError(f"port {port}")
        return port

    def _passive(self) -> str:
        """The reply to EPSV, or to PASV where there is none (RFC 2428, section 3)."""
        if self._epsv or self.af != socket.AF_INET:
            try:
                return self.sendcmd("EPSV")
            except ftplib.error_perm:
                if self.af != socket.AF_INET:
                    raise
                self._epsv = False
        return self.sendcmd("PASV")

    @property
    def _connection(self) -> socket.socket:
        if self.sock is None:
            raise EOFError
        return self.sock

    def _read_from(self, connection: socket.socket) -> None:
        if self.file is not None:
            self.file.close()
        self.sock = connection
        self.file = connection.makefile("r", encoding=_ENCODING)


def reason_of(error: ftplib.Error) -> str:
    """The server's words, as the text it most likely meant; not yet fit to be shown."""
    raw = str(error).encode(_ENCODING, "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(_ENCODING)


def refused_login(error: ftplib.Error) -> Exception:
    """What a reply to ``USER`` or ``PASS`` means: another time, or another password."""
    reason = reason_of(error)
    if reason.startswith("4") or _BUSY.search(reason):
        return TooManyConnections(reason)
    return Refused(401, reason)
