"""What a row starts from: what stands under its name, and the part where there is one to fetch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fetcher.config import Config
from fetcher.contract import FileMeta, listed_checksums
from fetcher.disk.database import Busy
from fetcher.disk.journal import Journal
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.errors import DiskError, ForeignFileError
from fetcher.rules.existing import Action, Completed, decide
from fetcher.rules.names import numbered, part_name
from fetcher.rules.pieces import Pieces

_WITHOUT_PART = (Action.KEEP, Action.HASH, Action.COMPARE)


@dataclass
class Start:
    """What was found and done before the first request.

    :param action: what to do with the row.
    :param name: the file's name, another one than the row's after ``FETCHER_IF_EXISTS=rename``.
    :param remembered: what an earlier run completed under it.
    :param part: open where there is something to fetch.
    :param replaces: the file under the name that may be replaced.
    :param journal: what to go on from.
    :param known: what the servers may say that they have still.
    """

    action: Action
    name: str
    remembered: Completed | None
    part: Part | None = None
    replaces: os.stat_result | None = None
    journal: Journal | None = None
    known: Completed | None = None


class Opening:
    """Decides about a row, and opens its part; all of it waits for a disk, and what is begun or
    remembered by others for those, too.

    :param meta: the row.
    :param config: the settings.
    :param ledger: what earlier runs completed in the output folder.
    :param key: the row's in the ledger.
    """

    def __init__(self, meta: FileMeta, config: Config, ledger: Ledger, key: str) -> None:
        self._meta = meta
        self._config = config
        self._ledger = ledger
        self._key = key
        self._out = Path(meta["out"])
        self.pieces: Pieces | None = None
        """The hashes of the file's pieces, if the list says; None before :meth:`start`."""

    def standing(self, name: str) -> os.stat_result | None:
        """What stands under a name, links not followed; None for nothing.

        :raises DiskError: when that cannot be told.
        """
        try:
            return os.lstat(f"{self._out}/{name}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"{self._out / name} cannot be looked at: {error.strerror}") from error

    def is_begun(self, name: str) -> bool:
        """Whether a part stands there, maybe that of another row."""
        final = self._out / name
        return final.with_name(part_name(final.name)).exists()

    def start(self, name: str, *, wait: bool = True) -> Start:
        """Decide about a row under this name, or the next one if another row has taken it.

        :param wait: whether it may take more than a moment.
        :raises Busy: it would.
        :raises DiskError: its part cannot be opened.
        """
        start = self._open(name, wait)
        if start.part is None:
            return start
        try:
            if self._ledger.may_take(self._key, start.name, wait=wait):
                return start
            if not wait:
                raise Busy
            # Since the row's turn began, another row's server has given it the name.
            if start.part.resumable is None:
                start.part.discard()
            given = self._ledger.claim_server_name(self._key, start.name)
        except BaseException:
            start.part.close()
            raise
        start.part.close()
        return self.start(given)

    def _open(self, name: str, wait: bool) -> Start:
        start, _ = self._decide(name, wait)
        if start.action in _WITHOUT_PART:
            return start
        if not wait and self.is_begun(start.name):
            # Its journal may be long.
            raise Busy
        self.pieces = Pieces.from_plain(self._meta.get("pieces"))
        part = Part(self._out, start.name)
        try:
            return self._with_part(start.name, part, wait)
        except BaseException:
            part.close()
            raise

    def _check_folders(self, name: str, wait: bool) -> None:
        """A folder that an archive was unpacked to is replaced as a whole: no other row's file may
        be in it.

        :raises ForeignFileError: this one's would be.
        """
        folder = name
        while folder := folder.rpartition("/")[0]:
            for unpacked in self._ledger.unpacked_like(folder, wait=wait):
                found = self._stat(self._out / folder)
                if found is not None and unpacked.is_at(found):
                    raise ForeignFileError(
                        f"{self._out / name} would be in the folder that "
                        f"{unpacked.archive.name} was unpacked to: give one of both another name"
                    )

    def _stat(self, path: Path) -> os.stat_result | None:
        try:
            return path.stat()
        except OSError:
            return None

    def _decide(self, name: str, wait: bool) -> tuple[Start, os.stat_result | None]:
        self._check_folders(name, wait)
        found = self.standing(name)
        # Of what is not there it does not matter what is remembered.
        remembered = None if found is None else self._ledger.find(name, wait=wait)
        size, checksums = self._meta["size"], listed_checksums(self._meta).values()
        action = decide(self._config.if_exists, found, remembered, size, *checksums)
        if action is Action.RENAME:
            return Start(Action.FETCH, self._next_free(name), None), None
        return Start(action, name, remembered), found

    def _next_free(self, name: str) -> str:
        number = 1
        while os.path.lexists(self._out / numbered(name, number)):
            number += 1
        return numbered(name, number)

    def _with_part(self, name: str, part: Part, wait: bool) -> Start:
        # Another process may have completed the file before its lock was free for this one, and an
        # archive may have been unpacked to the folder that had to be made for the part.
        try:
            start, found = self._decide(name, wait)
        except ForeignFileError:
            if part.resumable is None:
                part.discard()
            raise
        if start.name != name or start.action in _WITHOUT_PART:
            if part.resumable is None:
                part.discard()
            part.close()
            return start if start.name == name else self._open(name, wait)
        start.part, start.replaces = part, found
        if part.resumable is not None and self._may_resume(part.resumable):
            start.journal = part.resumable
            return start
        part.reset()
        if start.action is Action.ASK_IF_CHANGED:
            start.known = start.remembered
        return start

    def _may_resume(self, journal: Journal) -> bool:
        """Whether what is there can be told from another version, now or in the end."""
        listed = self._meta["size"]
        version = journal.version
        if not version.codings:
            if listed not in (None, version.size):
                return False
            if self.pieces is not None and not self.pieces.fits(version.size or 0):
                return False
        if version.validator is not None:
            return True
        return bool(listed_checksums(self._meta)) or self.pieces is not None
