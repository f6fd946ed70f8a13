"""The name of a row that the list gives none: what its server calls the file, once it has said so.

What is decided is kept in the ledger, for all runs. All that waits for that or for the disk belongs
in a thread; an answer's body waits meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import Answer, FileMeta
from fetcher.disk.database import Busy
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.rules.names import disposition_name
from fetcher.transfer.opening import Opening


@dataclass(frozen=True)
class Place:
    """What the server's name leads to.

    :param part: new and open; None where something stands under the name, or was begun.
    """

    name: str
    part: Part | None


class ServerName:
    """Decides about the name of one row.

    :param meta: the row.
    :param url: its address.
    :param ledger: of the output folder.
    """

    def __init__(self, meta: FileMeta, url: str, ledger: Ledger) -> None:
        self._meta = meta
        self._ledger = ledger
        self._settled = meta["named"]
        self._finding: asyncio.Future[Place] | None = None
        self.key = row_key(meta["name"], url, named=meta["named"], variant=meta.get("variant"))
        """The row's in the ledger."""

    def first(self, *, wait: bool) -> str:
        """The name to begin with.

        :param wait: whether others may be waited for.
        :raises Busy: they would have to be.
        :raises DiskError: when it cannot be told.
        """
        name, key = self._meta["name"], "" if self._meta["named"] else self.key
        known, owner = self._ledger.server_name(key, name, wait=wait)
        if known is not None:
            self._settled, name = True, known
        if owner in (None, self.key):
            return name
        if not wait:
            raise Busy
        # Another row's server has taken the name; what stands there is not this row's.
        self._settled = True
        return self._ledger.claim_server_name(self.key, name)

    async def given(self, answer: Answer, name: str, opening: Opening) -> str | None:
        """Another name that the answer gives; None where it gives none.

        :param name: the row's until now.
        :raises DiskError: when it cannot be remembered.
        """
        wanted = self._wanted(answer, name)
        if wanted is None:
            return None
        self._settled = True
        return await run_in_thread(self._claim, wanted, opening)

    async def find_place(self, answer: Answer, name: str, opening: Opening) -> None:
        """The same, and open the part there; :meth:`take_place` gives what was found."""
        wanted = self._wanted(answer, name)
        if wanted is None:
            return
        self._settled = True
        self._finding = asyncio.ensure_future(run_in_thread(self._find, wanted, opening))
        # Whoever loses interest: the part that is opened has to be closed again.
        await asyncio.shield(self._finding)

    def take_place(self) -> Place | None:
        """What was found, once; who takes it closes its part."""
        found, self._finding = self._finding, None
        return None if found is None else found.result()

    async def close(self) -> None:
        """Close what was opened and not taken."""
        if self._finding is None:
            return
        await asyncio.wait([self._finding])
        if self._finding.exception() is None:
            await run_in_thread(_drop, self.take_place())

    def _wanted(self, answer: Answer, name: str) -> str | None:
        if self._settled or answer.status not in (200, 206, 416):
            return None
        wanted = disposition_name(answer.headers.get("content-disposition", ""))
        return wanted if wanted and wanted != name else None

    def _claim(self, wanted: str, opening: Opening) -> str:
        return self._ledger.claim_server_name(self.key, wanted, opening.is_begun)

    def _find(self, wanted: str, opening: Opening) -> Place:
        name = self._claim(wanted, opening)
        if opening.standing(name) is not None:
            return Place(name, None)
        part = Part(Path(self._meta["out"]), name)
        if part.resumable is None:
            return Place(name, part)
        part.close()
        return Place(name, None)


def row_key(name: str, url: str, *, named: bool, variant: str | None) -> str:
    """What tells a row from all others in the ledger, in every run.

    :param url: that of its request.
    :param named: whether the list gives the name.
    :param variant: see :class:`fetcher.contract.FileMeta`.
    """
    owner = f"name:{name}" if named else url
    if variant and not named:
        owner += f"\n{variant}"
    return hashlib.sha256(owner.encode()).hexdigest()


def _drop(place: Place | None) -> None:
    if place is not None and place.part is not None:
        place.part.discard()
        place.part.close()
