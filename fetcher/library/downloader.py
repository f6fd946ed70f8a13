"""``from fetcher import Downloader``: downloads from a program of one's own.

The crawl runs in a process of its own: a Twisted reactor starts only once in a process, and the
program may have one already, or an event loop, threads, and a logging of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fetcher.errors import FetchError
from fetcher.library.places import place
from fetcher.library.results import Error, Results, Success
from fetcher.library.session import SessionConfig, Watcher
from fetcher.lists import BadRow, identity, make_row
from fetcher.rules.headers import check_header
from fetcher.rules.urls import last_segment
from fetcher.workers.channel import Event, Job, Order, exception_of
from fetcher.workers.crew import Crew

_CONNECT = 20.0
"""Seconds: nobody needs longer to answer, however slow the transfer may be."""


@dataclass(frozen=True)
class _Queued:
    order: Order
    folder: Path
    """As it was given, perhaps relative."""
    url: str
    key: tuple[str, str]
    """The same for what is the very same file, to be fetched once."""


class Downloader:
    """Downloads files, several at a time and over several connections each, and verifies them.

    ::

        downloader = Downloader()
        downloader.enqueue_file("https://example.org/a.tar", path="data")
        results = downloader.download()

    :param max_parallel: files at a time.
    :param max_splits: connections per file, where the server allows it.
    :param max_tries: tries without progress before a file fails.
    :param all_progress: show progress; only ever on a terminal.
    :param overwrite: fetch files that are there already anew.
    :param session_config: time limits, headers and what is shown.
    :raises ValueError: a number below 1.
    """

    def __init__(
        self,
        max_parallel: int = 5,
        max_splits: int = 5,
        max_tries: int = 5,
        all_progress: bool = True,
        overwrite: bool = False,
        session_config: SessionConfig | None = None,
    ) -> None:
        self._max_parallel = _count("max_parallel", max_parallel)
        self._max_splits = _count("max_splits", max_splits)
        self._max_tries = _count("max_tries", max_tries)
        self._overwrite = overwrite
        self._all_progress = all_progress
        self._session = session_config or SessionConfig()
        self._queue: list[_Queued] = []

    @property
    def queued_downloads(self) -> int:
        """How many files are enqueued and not downloaded yet."""
        return len(self._queue)

    def enqueue_file(
        self,
        url: str,
        path: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        overwrite: bool | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_splits: int | None = None,
        max_tries: int | None = None,
        checksum: str | None = None,
    ) -> None:
        """Put a file into the queue.

        :param url: ``http``, ``https``, ``ftp``, ``ftps`` or ``sftp``.
        :param path: the folder that it comes into, made when missing; by default the current one.
        :param filename: its name there; by default the server's, or the last part of the URL.
        :param overwrite: fetch it even if it is there; by default what the downloader was told.
        :param headers: for the requests to the URL's origin (scheme, host, port), and no other.
        :param max_splits: connections for this file.
        :param max_tries: tries without progress for this file.
        :param checksum: ``algorithm:hex`` that the file must have: md5, sha1, sha256 or sha512.
        :raises ValueError: the URL has no known scheme, or another value means nothing.
        """
        given = {"url": url, "name": filename, "checksum": checksum}
        fields = {key: str(value) for key, value in given.items() if value is not None}
        row = make_row(1, fields)
        if isinstance(row, BadRow):
            raise ValueError(row.error.message)
        folder = Path(path or ".").expanduser()
        order = Order(
            fields=fields,
            out=str(folder.absolute()),
            headers=_headers(self._session.headers) + _headers(headers),
        )
        if max_splits is not None:
            order["splits"] = _count("max_splits", max_splits)
        if max_tries is not None:
            order["tries"] = _count("max_tries", max_tries)
        if overwrite is not None:
            order["if_exists"] = "overwrite" if overwrite else "skip"
        where, plain = place(order["out"], replace(row, headers=tuple(order["headers"])))
        self._queue.append(_Queued(order, folder, url, (where, identity(plain))))

    def download(self) -> Results:
        """Download all that is enqueued; works inside a running event loop, too, and blocks it.

        :raises KeyboardInterrupt: after all transfers were stopped. What there is of the files is
            kept, and so is the queue: called again, it goes on.
        :raises FetchError: nothing could be started.
        """
        with self._taken() as (hearing, watcher, crew):
            watcher.run(crew)
            hearing.check(crew)
        return hearing.results()

    async def run_download(self) -> Results:
        """Download all that is enqueued, while the event loop goes on.

        Cancelled, it stops all transfers first, as :meth:`download` does.
        """
        with self._taken() as (hearing, watcher, crew):
            await _in_thread(watcher, crew)
            hearing.check(crew)
        return hearing.results()

    @contextmanager
    def _taken(self) -> Iterator[tuple[_Hearing, Watcher, Crew]]:
        """The queue is taken, and put back unless all goes well."""
        queue, self._queue = self._queue, []
        try:
            hearing = _Hearing(queue)
            watcher = Watcher(self._session, show=self._all_progress, hear=hearing.hear)
            jobs = [self._job(queue, watcher)] if queue else []
            with Crew(jobs, watcher.hear) as crew:
                yield hearing, watcher, crew
        except BaseException:
            self._queue = queue + self._queue
            raise

    def _job(self, queue: list[_Queued], watcher: Watcher) -> Job:
        orders: list[Order] = [{"splits": self._max_splits, **file.order} for file in queue]
        settings: dict[str, Any] = {
            "FETCHER_MAX_PARALLEL": self._max_parallel,
            # The most that any of them may have; each has its own number.
            "FETCHER_MAX_SPLITS": max(order["splits"] for order in orders),
            "FETCHER_MAX_TRIES": self._max_tries,
            "FETCHER_IF_EXISTS": "overwrite" if self._overwrite else "skip",
            "FETCHER_STALL_TIMEOUT": self._session.timeouts,
            "FETCHER_CONNECT_TIMEOUT": min(self._session.timeouts, _CONNECT),
            "FETCHER_PROGRESS": "none",
            "FEEDS": {},
            "LOG_LEVEL": watcher.level,
        }
        return {"settings": settings, "orders": orders, "progress": watcher.shows}


async def _in_thread(watcher: Watcher, crew: Crew) -> None:
    running = asyncio.ensure_future(asyncio.to_thread(watcher.run, crew))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
            crew.stop()
    if cancelled is not None:
        raise cancelled
    running.result()


@dataclass
class _Hearing:
    """Collects what becomes of the files.

    The very same file enqueued twice is fetched once, and both stand in the results.
    """

    queue: list[_Queued]
    _items: dict[int, Event] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        line = event.get("line")
        if event["kind"] == "item" and line is not None:
            self._items[line] = event

    def check(self, crew: Crew) -> None:
        """:raises FetchError: the child could not do its work."""
        for child in crew.children:
            if child.usage is not None:
                raise FetchError(child.usage)
            if child.status is None and not self._items:
                raise FetchError(f"the downloads could not be run: {child.last_words}")

    def results(self) -> Results:
        success: list[Success] = []
        errors: list[Error] = []
        first: dict[object, int] = {}
        for number, queued in enumerate(self.queue, 1):
            same = first.setdefault(queued.key, number)
            event = self._items.get(number) or self._items.get(same)
            path = str(queued.folder / _name(queued, event))
            if event is None:
                lost = FetchError(f"{path} was not reported on; run again")
                errors.append(Error(path, queued.url, lost))
            elif event["item"]["status"] == "failed":
                errors.append(Error(path, queued.url, exception_of(event)))
            else:
                success.append(Success(path, queued.url))
        return Results(success, errors)


def _name(queued: _Queued, event: Event | None) -> str:
    if event is not None and event["item"]["path"]:
        return str(event["item"]["path"])
    return queued.order["fields"].get("name") or last_segment(queued.url) or "index"


def _count(name: str, value: int) -> int:
    # Who has no types checked may give anything.
    number: object = value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number from 1 on")
    return value


def _headers(headers: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return [check_header(str(name), str(value)) for name, value in (headers or {}).items()]
