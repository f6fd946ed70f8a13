"""The item: what became of one file. Exported as a line of the report."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fetcher.errors import FetchError, Stopped

if TYPE_CHECKING:
    from fetcher.transfer.download import Download


@dataclass
class FileItem:
    """One file of the list after its turn.

    :param status: ``ok``, ``unchanged`` or ``failed``.
    :param name: the file's name as the list (or the server) gives it.
    :param path: where it stands, relative to the output folder.
    :param url: where it came from, without credentials or the values of query parameters.
    :param size: bytes; null where unknown.
    :param received: bytes over the network in this run, counting repeats.
    :param resumed: bytes that were already there at the start.
    :param checksum: ``algorithm:hex`` of the file.
    :param verified_by: what was compared: ``size``, ``etag``, ``last-modified``, ``sha256``, ...
    :param connections: the most at one time.
    :param retries: requests that had to be repeated.
    :param restarts: how often the file was begun anew because the resource had changed.
    :param seconds: from the file's turn to its end.
    :param unpacked: the folder that the archive was unpacked to, relative to the output folder;
        null for what is no archive, or was not to be unpacked.
    :param notes: what became of addresses that were given up, a sentence each.
    :param error: null, or ``{"type", "message", "line"}``.
    """

    status: str
    name: str
    path: str | None = None
    url: str | None = None
    size: int | None = None
    received: int = 0
    resumed: int = 0
    checksum: str | None = None
    verified_by: list[str] = field(default_factory=list)
    connections: int = 0
    retries: int = 0
    restarts: int = 0
    seconds: float = 0.0
    unpacked: str | None = None
    notes: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # What others need to know: the unfinished file, the row's line in the list, and which of
        # the rows it is. No dataclass fields, so that no exporter ever sees them.
        self.download: Download | None = None
        self.line: int | None = None
        self.number: int | None = None
        # The output folder.
        self.out: Path | None = None
        # What the list calls the file, where there is no request that would tell it.
        self.row: str | None = None
        # What had become of the file itself, where it is another step that has failed.
        self.fetched: str | None = None
        # For who runs a crawl from a program: the error itself.
        self.exception: BaseException | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether the file had no other fault than that the run was interrupted."""
        return self.failed_by(Stopped)

    def failed_by(self, kind: type[FetchError]) -> bool:
        """Whether that is the type of its error."""
        return (self.error or {}).get("type") == kind.__name__

    def report(self) -> dict[str, Any]:
        """What the report says of the file, in its order."""
        return dict(zip(_REPORTED, _values(self), strict=True))


_REPORTED = tuple(each.name for each in fields(FileItem))
_values = attrgetter(*_REPORTED)
