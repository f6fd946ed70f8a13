"""The last steps of verified files: on the disk, remembered, renamed, and that on the disk, too.

Each step is taken for all files before the next one: so small files share a change of the ledger
and the syncing of their folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fetcher.disk.syncing import sync_folder
from fetcher.errors import DiskError, Stopped
from fetcher.rules.existing import Completed
from fetcher.transfer.download import Download

SMALL = 4 << 20
"""Bytes: files up to this size need not wait long for each other."""


@dataclass
class _File:
    download: Download
    completed: Completed | None = None
    error: Exception | None = None


async def commit(download: Download) -> None:
    """Give a verified file its final name and remember it.

    :raises DiskError: when that cannot be done; the part stays.
    :raises Stopped: the run is stopped while another process keeps it from being remembered.
    """
    disk = download.disk
    try:
        if (download.size or 0) <= SMALL:
            await disk.run_together(commit_all, download)
        else:
            (error,) = await disk.run(commit_all, [download])
            if error is not None:
                raise error
    except Stopped:
        await disk.run(download.keep)
        raise


def commit_all(downloads: Sequence[Download]) -> list[Exception | None]:
    """Commit files, in a thread; gives what has kept each of them from it."""
    files = [_File(download) for download in downloads]
    _step(([file] for file in files), _make_final)
    # Remembered before they get their names: what cannot be remembered is not committed, and what
    # is not there yet is fetched, whatever is remembered of it.
    _step(_alike(files, lambda download: download.ledger), _remember)
    _step(([file] for file in files), _take_name)
    _step(_alike(files, lambda download: download.path.parent), _sync)
    _step(([file] for file in files), _clean_up)
    return [file.error for file in files]


def _alike(files: Sequence[_File], key: Callable[[Download], Any]) -> Iterable[list[_File]]:
    """Those for which a step is one."""
    groups: dict[Any, list[_File]] = {}
    for file in files:
        groups.setdefault(key(file.download), []).append(file)
    return groups.values()


def _step(groups: Iterable[list[_File]], work: Callable[[list[_File]], None]) -> None:
    """One step of all that have not failed by now."""
    for group in groups:
        files = [file for file in group if file.error is None]
        if not files:
            continue
        try:
            work(files)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to who waits for the file
            for file in files:
                file.error = error


def _make_final(files: list[_File]) -> None:
    for file in files:
        file.completed = file.download.make_final()


def _remember(files: list[_File]) -> None:
    completed = [file.completed for file in files if file.completed is not None]
    files[0].download.ledger.record(*completed)


def _take_name(files: list[_File]) -> None:
    for file in files:
        file.download.part.take_name(file.download.replaces)


def _sync(files: list[_File]) -> None:
    folder = files[0].download.path.parent
    try:
        sync_folder(folder)
    except OSError as error:
        raise DiskError(f"{folder} cannot be synced: {error.strerror or error}") from error


def _clean_up(files: list[_File]) -> None:
    for file in files:
        file.download.part.clean_up()
