"""The vocabulary in which middleware, handlers, pipeline and extensions meet.

None of them imports another; they share the names, the records and the interface here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

from scrapy import Request
from scrapy.http import Response

# Request.meta keys
META_FETCH = "fetch"
"""Marks a file's Request: a :class:`FileMeta`, plain values only (it may go through a queue)."""
META_SINK = "fetch_sink"
"""Marks a range's Request: the :class:`RangeSink` that the handler fills. Never scheduled."""

# Stats
STAT_FILES = "fetcher/files/{status}"
STAT_RECEIVED = "fetcher/bytes/received"
STAT_RESUMED = "fetcher/bytes/resumed"
STAT_RETRIES = "fetcher/retries"
STAT_RESTARTS = "fetcher/restarts"
STAT_QUEUE = "fetcher/queue/left"
STAT_UNREPORTED = "fetcher/unreported"
STAT_RETRY_ROWS = "fetcher/retry_rows"

# Signals
file_started = object()
"""Sent with ``progress``, a :class:`FileProgress`, when a file's turn has come."""
file_ended = object()
"""Sent with the same ``progress`` when nothing more of the file will be transferred."""


list_opened = object()
"""Sent with ``progress``, a :class:`ListProgress`, before the first row comes."""
retried = object()
"""Sent with ``reason``, a status or the name of an error, when a range is asked for once more."""
stopping = object()
"""Sent without arguments when the crawl begins to stop: end all transfers now."""
unusable = object()
"""Sent with ``error``, a :class:`fetcher.errors.FetchError`, when it turns out before the first
file that what the crawl was called with cannot be used (exit status 2). Who tells the user answers
true; where nobody does, it goes to the log."""
UNUSABLE = "unusable"
"""The finish reason of such a crawl."""


class FileMeta(TypedDict):
    """A row of the list, as it travels in ``Request.meta["fetch"]``."""

    name: str
    """Relative to the output folder; from the list, or from the URL where ``named`` is false."""
    named: bool
    """Whether the list gave the name; otherwise ``Content-Disposition`` may."""
    out: str
    """The output folder, absolute."""
    line: int | None
    """Where in the list the row stands."""
    number: int | None
    """Which of the rows it is; the first is 1."""
    size: int | None
    """Bytes, if the list says."""
    checksum: str | None
    """``algorithm:hex``, if the list says."""

    # Who makes such a request without a list may leave these out.
    sums: str | None
    """``algorithm:hex``, if the file of checksums says more than the list."""
    variant: str | None
    """What tells the row from others of its URL, where it has headers of its own."""
    splits: int | None
    """``FETCHER_MAX_SPLITS`` for this file, where it has one of its own."""
    tries: int | None
    """``FETCHER_MAX_TRIES`` for this file, where it has one of its own."""
    if_exists: str | None
    """``FETCHER_IF_EXISTS`` for this file, where it has one of its own."""
    mirrors: list[tuple[str, str | None]]
    """Further addresses, best first, each with its own ``Authorization`` header."""
    unused: int
    """How many further addresses the list has that are passed over."""
    kept: list[str]
    """What will be found in the user's own files again: names of headers, in lower case, and
    mirrors whose login is there."""
    pieces: dict[str, Any] | None
    """The hashes of its pieces, if the list says; see :meth:`fetcher.rules.pieces.Pieces.plain`."""
    only: int | None
    """The one address to ask: 0 for the row's own, 1 for its first mirror; None for all."""


LISTED = ("list", "file of checksums")
"""Who may state a checksum beside the server."""


def listed_checksums(meta: FileMeta) -> dict[str, str]:
    """Who of :data:`LISTED` states what of a file."""
    stated = zip(LISTED, (meta["checksum"], meta.get("sums")), strict=True)
    return {who: checksum for who, checksum in stated if checksum}


def plain_row(name: str, out: str) -> FileMeta:
    """A row that has nothing but a name of the list's."""
    return FileMeta(
        name=name,
        named=True,
        out=out,
        line=None,
        number=None,
        size=None,
        checksum=None,
        sums=None,
        variant=None,
        splits=None,
        tries=None,
        if_exists=None,
        mirrors=[],
        unused=0,
        kept=[],
        pieces=None,
        only=None,
    )


@dataclass
class FileProgress:
    """How far one file is; live, read by displays."""

    name: str
    size: int | None = None
    done: int = 0
    connections: int = 0
    note: str = ""


@dataclass
class ListProgress:
    """How much of the list has been read; live, read by displays."""

    rows: int = 0
    """Rows of this run: each will be reported once."""
    whole: bool = False
    """Whether there are no more."""


@dataclass(frozen=True)
class Answer:
    """The head of a server's answer, as every protocol's handler gives it to a sink.

    :param url: the address that was asked, redirects followed.
    :param status: an HTTP status; FTP and SFTP handlers answer in the same terms.
    :param headers: names in lower case; the first value of each.
    :param reason: the server's own words, where they say more than the status.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class RangeSink(Protocol):
    """Where a download handler puts the body of a range request (RFC 9110, section 14).

    A handler calls, in this order: :meth:`request_headers` at the moment of sending,
    :meth:`prepare` and :meth:`begin` when the answer's head is there, :meth:`write` for each
    block, and nothing more; it returns, or raises what went wrong. Where ``FETCHER_RATE_LIMIT`` is
    set, it asks :meth:`pace` before each request, and before it reads on. Who repeats requests asks
    :meth:`next_try`.
    """

    def request_headers(self) -> Mapping[str, str]:
        """What to ask for from here: ``Range``, ``If-Range``, ``Accept-Encoding`` and so on."""

    def attach(self, stop: Callable[[], None]) -> None:
        """Leave a way to end the transfer at once; called again for each new step.

        :raises Stopped: or another reason, when the transfer has been ended before.
        """

    async def prepare(self, answer: Answer) -> None:
        """Find out what is needed to judge the answer; its body has to wait.

        :raises FetchError: when that cannot be done, or the transfer has been ended meanwhile; the
            connection is to be closed.
        """

    def begin(self, answer: Answer) -> bool:
        """Judge the answer; true when its body is wanted.

        :raises FetchError: when the answer must not be used; the connection is to be closed.
        """

    def write(self, data: bytes | memoryview) -> bool:
        """Put a block where it belongs, before it returns; false when no more is wanted.

        :raises DiskError: when it cannot be written.
        """

    def pace(self, size: int) -> float:
        """Seconds in which the connection is not to be read from, in place of any told before.

        They are not the server's: no stall clock runs meanwhile.

        :param size: about how many bytes the handler reads at a time.
        """

    @property
    def stopped(self) -> BaseException | None:
        """Why the transfer was ended from this side, if it was."""

    def next_try(self, *, crowding: bool = True, silent: bool = False) -> float | None:
        """One more try has failed: seconds until the next, or None when there is none.

        :param crowding: whether it may be that the server has connections enough.
        :param silent: whether it ended without a word from the server.
        """

    async def pause(self, seconds: float) -> None:
        """Wait before the next try.

        :raises Stopped: or another reason, at once when the transfer is ended meanwhile.
        """


Send = Callable[[Request], Awaitable[Response]]
"""Takes a request through the downloader middlewares to a handler: ``engine.download_async``."""


def plain_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """First value of each header, names in lower case (the form of :class:`Answer`)."""
    plain: dict[str, str] = {}
    for name, values in headers.items():
        value = values[0] if isinstance(values, list) else values
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        key = name.decode("latin-1") if isinstance(name, bytes) else str(name)
        plain.setdefault(key.lower(), text)
    return plain
