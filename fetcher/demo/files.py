"""The files of the demonstration: made up here, served with faults, compared at the end."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_BLOCK = 1 << 20
_TEXT = b"Every byte of this file is to arrive, and no other.\n" * 20


class Faults:
    """What a server does to one file, whatever its protocol; each fault wears off.

    :param refusals: requests that are turned away ("busy") before the first is answered.
    :param retry_after: seconds a client that is turned away is told to wait.
    :param breaks: connections that are closed in the middle.
    :param break_after: bytes such a connection sends before that.
    :param pace: bytes a second a connection sends at most; 0 for no limit.
    :param hold_after: bytes, over all connections, after which nothing more is sent until
        :meth:`release`; None for no such point.
    """

    def __init__(
        self,
        *,
        refusals: int = 0,
        retry_after: int = 1,
        breaks: int = 0,
        break_after: int = 0,
        pace: int = 0,
        hold_after: int | None = None,
    ) -> None:
        self.retry_after = retry_after
        self.pace = pace
        self.held = threading.Event()
        """Set once the file is held in the middle."""
        self._refusals = refusals
        self._breaks = breaks
        self._break_after = break_after
        self._until_hold = hold_after
        self._released = threading.Event()
        self._lock = threading.Lock()

    def refuses(self) -> bool:
        """Whether this request is turned away."""
        with self._lock:
            self._refusals -= 1
            return self._refusals >= 0

    def breaks_after(self, size: int) -> int | None:
        """Bytes after which this answer of ``size`` bytes breaks off; None when it does not."""
        with self._lock:
            if self._breaks <= 0 or size <= self._break_after:
                return None
            self._breaks -= 1
            return self._break_after

    def before(self, size: int) -> None:
        """To be called before ``size`` bytes are sent; returns when they may go."""
        if self.holds(size):
            self._released.wait()

    def holds(self, size: int) -> bool:
        """Count ``size`` bytes, without waiting; whether nothing more may go for now."""
        with self._lock:
            if self._until_hold is None or self._released.is_set():
                return False
            self._until_hold -= size
            if self._until_hold >= 0:
                return False
        self.held.set()
        return True

    def release(self) -> None:
        """End the hold, now and for good."""
        self._released.set()


@dataclass(frozen=True)
class DemoFile:
    """A file to be served.

    :param special: what is special about it, in a word or two for the table.
    :param protocol: which of the servers has it.
    :param listed: whether the list states its checksum.
    :param path: where it lies while it is served.
    :param sha256: what it has to be at the other end, as hexadecimal digits.
    """

    name: str
    size: int
    special: str
    protocol: str = "http"
    listed: bool = False
    faults: Faults = field(default_factory=Faults)
    path: Path = Path()
    sha256: str = ""

    def made(self, folder: Path) -> DemoFile:
        """The same, written into ``folder``; the content depends on name and size alone."""
        path = folder / self.name
        digest = hashlib.sha256()
        with path.open("wb") as stream:
            for block in _content(self.name, self.size):
                digest.update(block)
                stream.write(block)
        return replace(self, path=path, sha256=digest.hexdigest())


def _content(name: str, size: int) -> Iterator[bytes]:
    """Blocks that all differ, so that one in the wrong place shows."""
    if name.endswith(".txt"):
        yield _TEXT
        return
    for start in range(0, size, _BLOCK):
        yield hashlib.shake_128(f"{name} {start}".encode()).digest(min(_BLOCK, size - start))


def demo_files() -> list[DemoFile]:
    """What the demonstration serves, in the order of its list.

    The large file comes last: it is held in the middle until the others are through, however few
    files are fetched at a time.
    """
    mib = 1 << 20
    return [
        DemoFile("notes.txt", len(_TEXT), "small text"),
        DemoFile("empty.bin", 0, "empty"),
        DemoFile(
            "cut.bin",
            6 * mib,
            "breaks twice",
            faults=Faults(breaks=2, break_after=2 * mib),
        ),
        DemoFile("listed.bin", 2 * mib, "checksum", listed=True),
        DemoFile("busy.bin", mib, "busy (503)", faults=Faults(refusals=1)),
        DemoFile(
            "ftp-cut.bin",
            4 * mib,
            "breaks once",
            protocol="ftp",
            faults=Faults(breaks=1, break_after=2 * mib),
        ),
        DemoFile("ftp-split.bin", 16 * mib, "split", protocol="ftp"),
        DemoFile(
            "sftp-cut.bin",
            4 * mib,
            "breaks once",
            protocol="sftp",
            faults=Faults(breaks=1, break_after=2 * mib),
        ),
        DemoFile("sftp-listed.bin", mib, "checksum", protocol="sftp", listed=True),
        DemoFile(
            "large.bin",
            64 * mib,
            "interrupted",
            faults=Faults(pace=40 * mib, hold_after=64 * mib // 3),
        ),
    ]


def write_list(path: Path, files: Sequence[DemoFile], urls: Mapping[str, str]) -> None:
    """A URL list as the crawl takes it; ``urls`` gives the address of each name."""
    rows = ["file_name\tcdn_link\tsize\tsha256"]
    rows += [
        f"{file.name}\t{urls[file.name]}\t{file.size}\t{file.sha256 if file.listed else ''}"
        for file in files
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def is_same(file: DemoFile, path: Path) -> bool:
    """Whether ``path`` holds, byte for byte, what was served."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
