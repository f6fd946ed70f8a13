"""What a protocol has to bring: one connection, logged in, that reads one file at a time."""

from __future__ import annotations

from typing import Protocol

from fetcher.rules.replies import Facts

BLOCK = 1 << 20
"""Bytes handed on at a time, where the rate has no limit."""

LINGER = 0.1
"""Seconds that blocks may take to come together before they are handed on as they are."""


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """The server answers, but gives no file.

    :param status: the HTTP status that says the same: 401, 403, 404, 503.
    :param reason: the server's own words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class TooManyConnections(Exception):  # noqa: N818 - an answer, not an error
    """The server takes no further connection; it may well serve those it has.

    :param reason: the server's own words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoRanges(Exception):  # noqa: N818 - an answer, not an error
    """The server gives a file from its start only."""


class Session(Protocol):
    """A connection to a server.

    All methods block, and are called in the session's own thread, one at a time; only
    :meth:`interrupt` may be called from another. They raise :class:`Refused`, an
    :class:`OSError` or :class:`EOFError` when the connection breaks, or a
    :class:`fetcher.errors.FetchError`; after anything but :class:`Refused` the session is closed
    and not used again.
    """

    ranges: bool
    """Whether files can be read from any position on; known once logged in."""
    runs_on: bool
    """Whether a transfer goes on to the end of the file until it is broken off."""
    reusable: bool
    """Whether another request may follow."""

    def login(self) -> None:
        """Connect and log in.

        :raises TooManyConnections: the server takes no more of them.
        """

    def facts(self, url: str) -> Facts:
        """What the server says of the file.

        :raises Refused: there is none, or it is a folder, or not to be read.
        """

    def open(self, url: str, start: int, end: int | None) -> None:
        """Begin a transfer from ``start`` on; ``end`` is where it will not be needed any more.

        :raises Refused: the file is not to be read.
        :raises NoRanges: not from ``start`` on; :attr:`ranges` has become false.
        """

    def read(self) -> list[memoryview]:
        """The blocks that follow, valid until the call after the next; none at the file's end.

        About :data:`BLOCK` bytes, so that changing threads costs little; less from a slow
        connection, so that what has come is soon safe, and where the rate is limited, so that it is
        even.
        """

    def finish(self) -> None:
        """End the transfer, whether it is through or not."""

    def interrupt(self) -> None:
        """Make the method that blocks, and any later one, fail soon. From any thread."""

    def close(self) -> None:
        """Let go of everything; no error."""
