"""What a case of the matrix is: a fault, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.content import Content, Source
from tests.servers.exchange import Record
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Resource

KIB, MIB = 1 << 10, 1 << 20

SETTINGS: dict[str, str | int | float] = {
    "FETCHER_MAX_PARALLEL": 40,
    "FETCHER_MAX_SPLITS": 3,
    "FETCHER_MIN_SPLIT_SIZE": "256K",
    "FETCHER_MAX_TRIES": 3,
    "FETCHER_RETRY_BACKOFF": 0.05,
    "FETCHER_MAX_RETRY_AFTER": 2,
    "FETCHER_STALL_TIMEOUT": 2,
    "FETCHER_CONNECT_TIMEOUT": 2,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 200,
    "DOWNLOAD_MAXSIZE": "16M",
    "LOG_LEVEL": "INFO",
}
"""Of the crawl: small files are split, and what waits waits for seconds only."""


@dataclass(frozen=True)
class Place:
    """Where a case puts its fault.

    :param name: of the file in the list, `family/case.bin`.
    :param path: of the resource on the family's server.
    :param origin: the family's server; shared, so that good files stand beside bad ones.
    :param tls: the same over TLS; the crawl trusts its certificate.
    :param alone: makes a server of the case's own, for what a server does about all its clients.
    :param held: closes in the end what a case opens besides, such as a bare socket.
    :param out: the output folder, before the crawl.
    """

    name: str
    path: str
    origin: Origin
    tls: Origin
    alone: Callable[[], Origin]
    held: ExitStack
    out: Path

    @property
    def final(self) -> Path:
        return self.out / self.name

    def serve(
        self, what: Resource | Source | Fault, *, origin: Origin | None = None, **row: Any
    ) -> Row:
        """Put it on the family's server, or on another one; the row that fetches it."""
        url = (origin or self.origin).add(self.path, what)
        if isinstance(what, Resource):
            row.setdefault("content", what.content)
        elif isinstance(what, Source):
            row.setdefault("content", what)
        return Row(url, **row)


@dataclass(frozen=True)
class Outcome:
    """What came of a case, for its own check."""

    report: dict[str, Any]
    requests: list[Record]
    """Those for the case's path, at its family's servers."""
    final: Path


@dataclass(frozen=True)
class Row:
    """The list's row of a case, and what has to be right about it in the end.

    :param content: the bytes that an `ok` file has to have.
    :param name: in the list; "" for a row without one; None for the place's.
    :param size, checksum: in the list.
    :param final: name of the file in the end, where that is not the row's.
    :param check: asserts what else the case promises.
    """

    url: str
    content: Source | None = None
    name: str | None = None
    size: int | None = None
    checksum: str | None = None
    final: str | None = None
    check: Callable[[Outcome], None] | None = None


@dataclass(frozen=True)
class Case:
    """A fault.

    :param what: the server (or the disk) does, for the README; Markdown.
    :param then: what comes of it, for the README; the same words for the same outcome.
    :param fails: the error's type where the row fails; None where the file comes right.
    """

    family: str
    key: str
    what: str
    then: str
    put: Callable[[Place], Row]
    fails: str | tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        return f"{self.family}/{self.key}"


@dataclass
class Family:
    """Cases that belong together.

    :param name: short, for names of files and tests.
    :param title: for the README.
    """

    name: str
    title: str
    cases: list[Case] = field(default_factory=list)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def case(
        self, what: str, then: str, fails: str | tuple[str, ...] | None = None
    ) -> Callable[[Callable[[Place], Row]], Callable[[Place], Row]]:
        """Decorates the function that puts the fault in its place; its name is the case's."""

        def add(put: Callable[[Place], Row]) -> Callable[[Place], Row]:
            key = put.__name__.replace("_", "-")
            assert key not in {case.key for case in self.cases}, f"two cases {key}"
            self.cases.append(Case(self.name, key, what, then, put, fails))
            return put

        return add


def content(size: int = 2 * MIB, seed: int = 0) -> Content:
    """What a file holds; with the matrix's settings, 2 MiB come in several ranges."""
    return Content(size, seed)
