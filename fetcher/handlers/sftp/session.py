"""One SFTP session: logged in, reading one file at a time, several blocks ahead.

paramiko is loaded in the session's thread: it takes a tenth of a second, which Scrapy would spend
at every start, where it loads all handlers, and the event loop cannot spare later.
"""

from __future__ import annotations

import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fetcher.config import Config
from fetcher.errors import ConnectionFailedError, ProtocolError
from fetcher.handlers.blocking import Login, Refused
from fetcher.handlers.blocking.session import BLOCK, LINGER
from fetcher.handlers.blocking.sockets import Sockets
from fetcher.handlers.sftp.known_hosts import KnownHosts
from fetcher.handlers.sftp.protocol import Code, Connection, StatusReply
from fetcher.rules.remote_paths import sftp_path
from fetcher.rules.replies import Facts, shown_reason

if TYPE_CHECKING:
    from paramiko import SSHClient

REQUEST = 255 << 10
"""Bytes asked for at a time: the most that OpenSSH gives; from others, what they give."""
LEAST = 32 << 10
"""Bytes asked for of those who give less, as every server has to give (section 3 of the draft)."""
AHEAD = 9
"""Requests in flight: as many bytes as the SSH window lets through."""
CONFIG = Path("~/.ssh/config")


class SFTPSession:
    """See :class:`fetcher.handlers.blocking.Session`.

    :param login: the address's.
    :param known_hosts: checks the server's key.
    :param config: the settings.
    :param size: bytes handed on at a time, or a little more; fewer from a slow connection.
    """

    ranges = True
    runs_on = False
    reusable = True

    def __init__(
        self, login: Login, known_hosts: KnownHosts, config: Config, size: int = BLOCK
    ) -> None:
        self._login = login
        self._known_hosts = known_hosts
        self._config = config
        self._together = size
        self._sockets = Sockets(config.connect_timeout)
        self._client: SSHClient | None = None
        self._sftp: Connection | None = None
        self._size: int | None = None
        self._reading: _Reading | None = None
        self._broken: Exception | None = None

    def login(self) -> None:
        """See ``Session.login``."""
        from fetcher.handlers.sftp import ssh
        from fetcher.handlers.sftp.ssh_config import target

        key = self._config.ssh_key
        self._client = ssh.connect(
            target(self._login, CONFIG.expanduser()),
            # An address with a user alone has an empty one: that is none, and is not to be tried.
            self._login.password or None,
            Path(key) if key else None,
            self._known_hosts,
            self._sockets,
            self._config.connect_timeout,
        )
        self._sftp = Connection(ssh.open_sftp(self._client, self._config.connect_timeout))
        self._sftp.begin()

    def facts(self, url: str) -> Facts:
        """See ``Session.facts``."""
        try:
            attributes = self._connection.stat(sftp_path(url))
        except StatusReply as reply:
            raise _refused(reply) from reply
        if attributes.mode is not None and stat.S_ISDIR(attributes.mode):
            raise Refused(404, "this is a folder")
        if attributes.mode is not None and not stat.S_ISREG(attributes.mode):
            raise Refused(403, "this is no regular file")
        self._size = attributes.size
        return Facts(attributes.size, attributes.modified)

    def open(self, url: str, start: int, end: int | None) -> None:
        """See ``Session.open``."""
        try:
            handle = self._connection.open(sftp_path(url))
        except StatusReply as reply:
            raise _refused(reply) from reply
        self._broken = None
        # One byte more than the file is said to have: it must not be there.
        surplus = 1 if end is not None and end == self._size else 0
        self._reading = _Reading(
            self._connection,
            handle,
            start,
            None if end is None else end + surplus,
            min(REQUEST, self._together),
        )

    def read(self) -> list[memoryview]:
        """See ``Session.read``."""
        if self._reading is None:
            return []
        blocks: list[memoryview] = []
        count, deadline = 0, time.monotonic() + LINGER
        try:
            if self._broken is not None:
                raise self._broken
            while count < self._together and (block := self._reading.next_block()):
                blocks.append(block)
                count += len(block)
                if not self._reading.goes_on(deadline - time.monotonic()):
                    break
        except (StatusReply, OSError, EOFError) as error:
            if blocks:
                # What has come before is handed on first.
                self._broken = error
                return blocks
            if not isinstance(error, StatusReply):
                raise
            if error.code in (Code.NO_CONNECTION, Code.CONNECTION_LOST):
                raise EOFError from error
            words = shown_reason(error.words, (self._login.password or "",))
            raise ConnectionFailedError(
                f"{self._login.server} cannot read the file: {words}"
            ) from error
        return blocks

    def finish(self) -> None:
        """See ``Session.finish``."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def interrupt(self) -> None:
        """See ``Session.interrupt``."""
        self._sockets.interrupt()

    def close(self) -> None:
        """See ``Session.close``."""
        # First: by itself, paramiko's thread looks only every tenth of a second whether to end.
        self._sockets.interrupt()
        if self._client is not None:
            with suppress(OSError, EOFError):
                self._client.close()
        self._sockets.close_all()

    @property
    def _connection(self) -> Connection:
        if self._sftp is None:
            raise EOFError
        return self._sftp


class _Reading:
    """One file being read: asked for ahead, given in order.

    :param request: bytes asked for at a time.
    """

    def __init__(
        self, sftp: Connection, handle: bytes, start: int, end: int | None, request: int = REQUEST
    ) -> None:
        self._sftp = sftp
        self._handle = handle
        self._position = start
        self._asked = start
        self._end = end
        self._eof: int | None = None
        self._request = request
        self._in_flight: dict[int, tuple[int, int, int]] = {}
        """Number of the request, to the offset and size of what is still to come, and the size that
        was asked for."""
        self._waiting: dict[int, memoryview] = {}
        """What came before that which belongs before it."""

    def next_block(self) -> memoryview:
        """The bytes that follow; none at the end."""
        while (block := self._waiting.pop(self._position, None)) is None:
            self._ask_ahead()
            if not self._in_flight:
                if self._waiting:
                    raise _behind_the_end()
                return memoryview(b"")
            self._take(*self._sftp.next_data())
        self._position += len(block)
        self._ask_ahead()
        return block

    def goes_on(self, seconds: float) -> bool:
        """Whether more is there, or comes within that time."""
        if self._position in self._waiting:
            return seconds > 0
        return bool(self._in_flight) and seconds > 0 and self._sftp.wait(seconds)

    def close(self) -> None:
        """What is still to come is not wanted."""
        for number in self._in_flight:
            self._sftp.forget(number)
        self._sftp.close(self._handle)

    def _ask_ahead(self) -> None:
        while len(self._in_flight) + len(self._waiting) < AHEAD and (
            self._end is None or self._asked < self._end
        ):
            size = self._request
            if self._end is not None:
                size = min(size, self._end - self._asked)
            self._ask(self._asked, size)
            self._asked += size

    def _ask(self, offset: int, size: int) -> None:
        self._in_flight[self._sftp.ask_read(self._handle, offset, size)] = offset, size, size

    def _take(self, number: int, data: memoryview, through: bool) -> None:
        if number not in self._in_flight:
            raise ProtocolError("the server answers what was not asked (SFTP)")
        offset, left, asked = self._in_flight.pop(number)
        if self._eof is not None and data and offset >= self._eof:
            raise _behind_the_end()
        if len(data) > left:
            raise ProtocolError("the server sends more than it was asked for (SFTP)")
        if not data:
            # The end of the file; what was asked for behind it is not there either.
            self._eof = offset if self._eof is None else min(offset, self._eof)
            self._end = self._eof if self._end is None else min(self._eof, self._end)
            return
        self._waiting[offset] = data
        offset, left = offset + len(data), left - len(data)
        if not through:
            self._in_flight[number] = offset, left, asked
        elif left:
            # Servers have limits of their own: this one's is no larger than this.
            self._ask(offset, left)
            if asked == self._request:
                self._request = min(asked, max(asked - left, LEAST))


def _behind_the_end() -> ProtocolError:
    return ProtocolError("the server has bytes behind the end of the file (SFTP)")


def _refused(reply: StatusReply) -> Refused:
    if reply.code == Code.NO_SUCH_FILE:
        return Refused(404, reply.words)
    if reply.code in (Code.NO_CONNECTION, Code.CONNECTION_LOST):
        raise EOFError from reply
    # A failure without a name may pass.
    return Refused(503 if reply.code == Code.FAILURE else 403, reply.words)
