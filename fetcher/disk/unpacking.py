"""Unpacks one archive to the folder beside it, which exists only once it is complete."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fetcher.contract import FileProgress
from fetcher.disk.allowance import Allowance
from fetcher.disk.archive import Archive
from fetcher.disk.fingerprint import fingerprint
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import check_inside
from fetcher.disk.renaming import rename_new, replace_folder
from fetcher.disk.syncing import sync_folder
from fetcher.disk.tree import Content, Tree
from fetcher.disk.workspace import Workspace
from fetcher.errors import FetchError, InvalidNameError, Stopped, UnpackError
from fetcher.rules.archives import HEAD, TAR, ZIP, folder_of, form_of
from fetcher.rules.codings import decoded
from fetcher.rules.members import Member
from fetcher.rules.names import check_name
from fetcher.rules.unpacked import Action, Packed, Unpacked, decide

_TIDY_SECONDS = 0.5
"""How long a stopped run removes what it has unpacked; the next one removes the rest."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class _Decision:
    """What is to be done.

    :param needed: whether the archive is to be unpacked.
    :param replaces: the fingerprint of the folder that is to be replaced.
    """

    needed: bool
    replaces: str | None = None


class Unpacking:
    """One archive; :meth:`needed` and :meth:`run` belong in a thread.

    :param out: the output folder.
    :param name: of the archive, relative to it; one that :func:`folder_of` has a folder for.
    :param checksum: of the archive, where it is known.
    :param ledger: remembers what was unpacked.
    :param max_size: bytes, what ``DOWNLOAD_MAXSIZE`` allows; 0 for no limit.
    """

    def __init__(
        self, out: Path, name: str, checksum: str | None, ledger: Ledger, max_size: int
    ) -> None:
        self.folder = folder_of(name) or ""
        self.progress = FileProgress(name, note="unpacking")
        self._out = out
        self._name = name
        self._checksum = checksum
        self._ledger = ledger
        self._max_size = max_size
        self._target = out / self.folder
        self._stopped: Stopped | None = None
        self._tidy_until = 0.0

    def stop(self, reason: Stopped) -> None:
        """Break off; :meth:`run` raises ``reason``. May be called from another thread."""
        self._tidy_until = time.monotonic() + _TIDY_SECONDS
        self._stopped = reason

    def needed(self) -> bool:
        """Whether the folder is not yet there.

        :raises UnpackError: something else stands there.
        """
        with self._told(), self._open() as archive:
            return self._decide(archive).needed

    def run(self) -> None:
        """Unpack it.

        :raises UnpackError: it cannot be done; nothing has changed.
        :raises Stopped: it was broken off.
        """
        with self._told(), self._open() as archive:
            self.progress.size = archive.found.st_size
            with Workspace(self._out, self.folder, self._check_tidying) as place:
                # Another process may have been here before the lock was free.
                if self._decide(archive).needed:
                    self._fill(archive, place.new)
                    self._put(archive, place)

    # --- decisions ------------------------------------------------------------------------------

    def _open(self) -> Archive:
        self._check()
        try:
            check_name(self.folder)
        except InvalidNameError as error:
            raise UnpackError(f"its folder cannot be made, {error.message}") from error
        check_inside(self._out, self._target.parent)
        return Archive(self._out / self._name, self.progress, self._check)

    def _packed(self, archive: Archive) -> Packed:
        found = archive.found
        return Packed(self._name, found.st_size, found.st_mtime_ns, self._checksum)

    def _decide(self, archive: Archive) -> _Decision:
        """:raises UnpackError: something stands there that is not to be replaced."""
        remembered, found = self._ledger.unpacked(self.folder), self._standing()
        packed = self._packed(archive)
        action = decide(packed, found, remembered)
        if action is Action.UNPACK:
            return _Decision(True)
        if action is Action.KEEP:
            return _Decision(False)
        if action is Action.REFUSE or remembered is None or found is None:
            raise self._foreign()
        there = fingerprint(self._target, self._check)
        if there == remembered.fingerprint and remembered.is_of(packed):
            # A copy of the output folder: not to be looked through again.
            self._ledger.record_unpacked(remembered.moved(found))
            return _Decision(False)
        if there and there in (remembered.fingerprint, remembered.replaces):
            return _Decision(True, there)
        raise UnpackError(
            f"the folder {self._target} is not any more as it was unpacked: move or remove it, and "
            "run again"
        )

    def _standing(self) -> os.stat_result | None:
        try:
            return self._target.lstat()
        except FileNotFoundError:
            return None

    def _foreign(self) -> UnpackError:
        return UnpackError(
            f"{self._target} stands there and was not unpacked from it: move or rename that, or "
            "give the archive another name, and run again"
        )

    # --- the work -------------------------------------------------------------------------------

    def _fill(self, archive: Archive, root: Path) -> None:
        with Tree(root, Allowance(root, self._max_size), self._check) as tree:
            for member, content in _members(archive):
                tree.add(member, content)
            tree.sync()

    def _put(self, archive: Archive, place: Workspace) -> None:
        """Remember the folder, then give it its name: what is remembered can be told from what is
        not there yet, and from what is somebody else's."""
        # By the system's own clock, folders of one moment have the same time.
        now = time.time_ns()
        os.utime(place.new, ns=(now, now))
        made = place.new.stat()
        inside = fingerprint(place.new, self._check)
        # Unpacking may have taken hours.
        replaces = self._decide(archive).replaces
        self._ledger.record_unpacked(
            Unpacked(
                folder=self.folder,
                archive=self._packed(archive),
                inode=str(made.st_ino),
                mtime_ns=made.st_mtime_ns,
                fingerprint=inside,
                replaces=replaces,
            )
        )
        self._check()
        if replaces is not None:
            replace_folder(place.new, self._target, place.aside)
        else:
            try:
                rename_new(place.new, self._target)
            except FileExistsError as error:
                raise self._foreign() from error
        sync_folder(self._target.parent)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say of each error which archive it is about, and that it is not lost."""
        try:
            yield
        except Stopped:
            raise
        except FetchError as error:
            raise self._failed(error.message) from error
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            full = getattr(error, "errno", None) in _FULL
            advice = "make room and run again" if full else "unpack it by hand, elsewhere"
            raise self._failed(f"its folder cannot be written: {reason}: {advice}") from error

    def _failed(self, reason: str) -> UnpackError:
        return UnpackError(
            f"{self._name} is whole and in its place, but was not unpacked: {reason}"
        )

    def _check(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def _check_tidying(self) -> None:
        if self._stopped is not None and time.monotonic() > self._tidy_until:
            raise self._stopped


def _members(archive: Archive) -> Iterator[tuple[Member, Content]]:
    # Either takes its time to be imported.
    form = form_of(archive.head(HEAD))
    if form == ZIP:
        from fetcher.disk.zip import zip_members

        return zip_members(archive)
    from fetcher.disk.tar import tar_members

    return tar_members(decoded(() if form == TAR else (form,), archive.blocks()))
