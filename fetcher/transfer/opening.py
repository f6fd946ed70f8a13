"""What a row starts from: what stands under its name, and the part where there is one to fetch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fetcher.config import Config
from fetcher.contract import FileMeta
from fetcher.disk.journal import Journal
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.errors import DiskError
from fetcher.rules.existing import Action, Completed, decide
from fetcher.rules.names import numbered, part_name
from fetcher.rules.pieces import Pieces


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
    """Decides about a row, and opens its part; all of it waits for a disk.

    :param meta: the row.
    :param config: the settings.
    :param ledger: what earlier runs completed in the output folder.
    """

    def __init__(self, meta: FileMeta, config: Config, ledger: Ledger) -> None:
        self._meta = meta
        self._config = config
        self._ledger = ledger
        self._out = Path(meta["out"])
        self.pieces: Pieces | None = None
        """The hashes of the file's pieces, if the list says; None before :meth:`start`."""

    def standing(self, name: str) -> os.stat_result | None:
        """What stands under a name, links not followed; None for nothing.

        :raises DiskError: when that cannot be told.
        """
        try:
            return (self._out / name).lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"{self._out / name} cannot be looked at: {error.strerror}") from error

    def is_begun(self, name: str) -> bool:
        """Whether a part stands there, maybe that of another row."""
        final = self._out / name
        return final.with_name(part_name(final.name)).exists()

    def start(self, name: str) -> Start:
        """Decide about a row under this name.

        :raises DiskError: its part cannot be opened.
        """
        start, _ = self._decide(name)
        if start.action in (Action.KEEP, Action.COMPARE):
            return start
        self.pieces = Pieces.from_plain(self._meta.get("pieces"))
        part = Part(self._out, start.name)
        try:
            return self._with_part(start.name, part)
        except BaseException:
            part.close()
            raise

    def _decide(self, name: str) -> tuple[Start, os.stat_result | None]:
        found, remembered = self.standing(name), self._ledger.find(name)
        size, checksum = self._meta["size"], self._meta["checksum"]
        action = decide(self._config.if_exists, found, remembered, size, checksum)
        if action is Action.RENAME:
            return Start(Action.FETCH, self._next_free(name), None), None
        return Start(action, name, remembered), found

    def _next_free(self, name: str) -> str:
        number = 1
        while os.path.lexists(self._out / numbered(name, number)):
            number += 1
        return numbered(name, number)

    def _with_part(self, name: str, part: Part) -> Start:
        # Another process may have completed the file before its lock was free for this one.
        start, found = self._decide(name)
        if start.name != name or start.action in (Action.KEEP, Action.COMPARE):
            if part.resumable is None:
                part.discard()
            part.close()
            return start if start.name == name else self.start(name)
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
        return self._meta["checksum"] is not None or self.pieces is not None
