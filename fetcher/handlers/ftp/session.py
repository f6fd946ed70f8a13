"""One FTP session: logged in, binary, reading one file at a time."""

from __future__ import annotations

import ftplib  # nosec B402
import re
import socket
import ssl
import time
from calendar import timegm
from contextlib import suppress
from enum import Enum, auto

from fetcher.handlers.blocking import Login, NoRanges, Refused
from fetcher.handlers.blocking.session import BLOCK, LINGER
from fetcher.handlers.blocking.sockets import Sockets, is_cut
from fetcher.handlers.ftp.client import (
    FTPClient,
    OutOfStepError,
    RestartRefused,
    reason_of,
    refused_login,
)
from fetcher.rules.remote_paths import ftp_path
from fetcher.rules.replies import Facts
from fetcher.rules.urls import DEFAULT_PORTS

_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_TIME = re.compile(r"(\d{14})(?:\.\d+)?", re.ASCII)
_BEHIND_THE_END = "554"
"""The reply to RETR behind such a REST (RFC 3659, section 5.4)."""
_UNKNOWN = ("500", "502", "504")
"""Replies to a command that the server does not have (RFC 959, section 4.2)."""


class TLSMode(Enum):
    """How a control connection becomes a secure one."""

    NONE = auto()
    EXPLICIT = auto()
    IMPLICIT = auto()


class FTPSession:
    """See :class:`fetcher.handlers.blocking.Session`.

    :param login: the server; without a user, ``anonymous``.
    :param tls: how the connections are secured.
    :param context: for TLS; None without.
    :param timeout: seconds for a connection to be made.
    :param size: bytes handed on at a time; less from a slow connection.
    """

    runs_on = True

    def __init__(
        self,
        login: Login,
        tls: TLSMode,
        context: ssl.SSLContext | None,
        timeout: float,
        size: int = BLOCK,
    ) -> None:
        self.ranges = False
        self.reusable = True
        self._proven = False
        self._login = login
        self._tls = tls
        self._sockets = Sockets(timeout)
        self._client = FTPClient(self._sockets, context)
        self._data: socket.socket | None = None
        self._whole = False
        self._ended = False
        self._broken: OSError | None = None
        self._size = size
        self._buffers = (bytearray(size), bytearray(size))
        self._missing: set[str] = set()

    def login(self) -> None:
        """See ``Session.login``."""
        client, login = self._client, self._login
        port = login.port or DEFAULT_PORTS[login.scheme]
        client.reach(login.host, port, implicit=self._tls is TLSMode.IMPLICIT)
        if self._tls is TLSMode.EXPLICIT:
            client.secure()
        try:
            client.login(_raw(login.user or ""), _raw(login.password or ""), secure=False)
        except (ftplib.error_temp, ftplib.error_perm) as error:
            raise refused_login(error) from error
        except ftplib.error_reply as error:
            raise Refused(401, reason_of(error)) from error
        try:
            if self._tls is not TLSMode.NONE:
                client.protect_data()
            client.expect("TYPE I", "200")
            self._look_around()
        except (ftplib.error_temp, ftplib.error_perm) as error:
            raise _refused(error) from error

    def _look_around(self) -> None:
        """Find out what the server can do (RFC 2389); many that say nothing can do it too."""
        features = ""
        with suppress(ftplib.error_perm):
            features = self._client.expect("FEAT", "211").upper()
        if "UTF8" in features:
            # Some speak it only when asked to.
            with suppress(ftplib.error_perm, ftplib.error_temp):
                self._client.sendcmd("OPTS UTF8 ON")
        try:
            self.ranges = "REST STREAM" in features or bool(self._client.expect("REST 0", "350"))
        except (ftplib.error_perm, ftplib.error_temp):
            self.ranges = False

    def facts(self, url: str) -> Facts:
        """See ``Session.facts``."""
        path = _path(url)
        size = self._ask("SIZE", path, _DIGITS)
        modified = self._ask("MDTM", path, _TIME)
        return Facts(None if size is None else int(size), _seconds(modified))

    def _ask(self, command: str, path: str, form: re.Pattern[str]) -> str | None:
        """The value of a ``213`` reply (RFC 3659); None where the server does not tell."""
        if command in self._missing:
            return None
        try:
            match = form.fullmatch(self._client.expect(f"{command} {path}", "213"))
        except ftplib.error_perm as error:
            if str(error)[:3] in _UNKNOWN:
                self._missing.add(command)
            return None
        except ftplib.error_temp as error:
            raise _refused(error) from error
        return match[match.lastindex or 0] if match else None

    def open(self, url: str, start: int, end: int | None) -> None:
        """See ``Session.open``."""
        path = _path(url)
        if start and not self._proven:
            self._prove(path)
        self._begin(path, start)
        self._whole = end is None

    def _prove(self, path: str) -> None:
        """See whether the server begins where it is told to, by the last byte of the file.

        Some accept REST and begin at the start all the same, which nothing else would show.

        :raises NoRanges: it does not.
        """
        size = int(self._ask("SIZE", path, _DIGITS) or 0)
        try:
            self._begin(path, max(0, size - 1))
        except Refused as refused:
            if refused.reason.startswith(_BEHIND_THE_END):
                return  # The size is not right, which shows in the end.
            raise
        count = 0
        # A reset may take the byte with it, which proves nothing.
        with suppress(ConnectionResetError):
            while count <= 1 and (blocks := self.read()):
                count += len(blocks[0])
        self.finish()
        if count > 1:
            raise self._no_ranges()
        self._proven = count == 1

    def _no_ranges(self) -> NoRanges:
        self.ranges = False
        return NoRanges()

    def _begin(self, path: str, start: int) -> None:
        try:
            self._data = self._client.retrieve(path, start)
        except RestartRefused as error:
            raise self._no_ranges() from error
        except ftplib.error_temp as error:
            raise _refused(error) from error
        except ftplib.error_perm as error:
            raise self._why_not(path, error) from error
        self._whole = False
        self._ended = False
        self._broken = None

    def _why_not(self, path: str, error: ftplib.Error) -> Refused:
        """Servers say 550 to everything: find out whether the file is there."""
        reason = reason_of(error)
        if self._ask("SIZE", path, _DIGITS) is not None:
            return Refused(403, reason)
        try:
            self._client.cwd(path)
        except ftplib.Error:
            return Refused(404, reason)
        # The way back is not certain, and a wrong folder would give wrong files.
        self.reusable = False
        return Refused(404, f"this is a folder: {reason}")

    def read(self) -> list[memoryview]:
        """See ``Session.read``."""
        self._buffers = self._buffers[::-1]
        block = memoryview(self._buffers[0])
        if self._broken is not None:
            raise self._broken
        if self._data is None or self._ended:
            return []
        self._data.settimeout(None)
        filled = self._receive(self._data, block)
        self._data.settimeout(LINGER)
        deadline = time.monotonic() + LINGER
        while 0 < filled < self._size and time.monotonic() < deadline:
            try:
                count = self._receive(self._data, block[filled:])
            except TimeoutError:
                break
            except OSError as error:
                # What has come before is handed on first.
                self._broken = error
                break
            if not count:
                break
            filled += count
        return [block[:filled]] if filled else []

    def _receive(self, data: socket.socket, room: memoryview) -> int:
        try:
            count = data.recv_into(room)
        except ssl.SSLError as error:
            # The connection was cut, or a server saves itself the word of farewell. Where the size
            # is known it tells which.
            if self._whole or not is_cut(error):
                raise
            count = 0
        self._ended = count == 0
        return count

    def finish(self) -> None:
        """See ``Session.finish``.

        :raises EOFError: the server says that the file was not sent whole, and nothing else would.
        """
        if self._data is None:
            return
        self._sockets.close(self._data)
        self._data = None
        try:
            reply = self._client.getresp()
        except (ftplib.error_temp, ftplib.error_perm) as error:
            if (self._whole and self._ended) or str(error).startswith("421"):
                raise EOFError(reason_of(error)) from error
        else:
            if reply[:1] != "2":
                raise OutOfStepError(f"a transfer ended with {reply[:3]}")

    def interrupt(self) -> None:
        """See ``Session.interrupt``."""
        self._sockets.interrupt()

    def close(self) -> None:
        """See ``Session.close``."""
        with suppress(OSError, EOFError, ValueError, AttributeError):
            self._client.putcmd("QUIT")
        with suppress(OSError):
            self._client.close()
        self._sockets.close_all()


def _path(url: str) -> str:
    return _raw(ftp_path(url))


def _raw(text: str | bytes) -> str:
    """The characters that ftplib sends as just these bytes; text as UTF-8 (RFC 2640)."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return data.decode("latin-1")


def _refused(error: ftplib.Error) -> Refused:
    """A reply that is no answer about a file: temporary, or for good (RFC 959, section 4.2.1)."""
    reason = reason_of(error)
    if reason.startswith("421"):
        raise EOFError(reason) from error
    return Refused(503 if reason.startswith("4") else 403, reason)


def _seconds(modified: str | None) -> int | None:
    """Seconds since 1970 of ``YYYYMMDDhhmmss`` in UTC."""
    try:
        return timegm(time.strptime(modified or "", "%Y%m%d%H%M%S"))
    except (ValueError, OverflowError):
        return None
