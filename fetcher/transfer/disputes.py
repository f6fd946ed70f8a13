"""Wrong pieces: who sent one is asked for nothing more; where that is not clear, each alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fetcher.errors import ChecksumMismatchError
from fetcher.rules.ranges import Claim
from fetcher.transfer.intake import Intake
from fetcher.transfer.piece_check import Wrong
from fetcher.transfer.source import Source
from fetcher.transfer.sources import Sources
from fetcher.transfer.trail import Trail


@dataclass(frozen=True)
class _Dispute:
    """Wrong bytes of several addresses.

    :ivar claim: holds them until they are right.
    :ivar suspects: who brought them.
    """

    claim: Claim
    suspects: frozenset[str]


class Disputes:
    """Sees to it that wrong pieces of one file come again, and right.

    :param intake: the file.
    :param sources: its addresses.
    :param trail: who brought what; empty where there is one address only.
    :param bring: fills a claim from one address; false when that did not come about.
    :param give_up: asks an address for nothing more, for this reason.
    """

    def __init__(
        self,
        intake: Intake,
        sources: Sources,
        trail: Trail,
        bring: Callable[[Claim, Source], Awaitable[bool]],
        give_up: Callable[[Source, str], None],
    ) -> None:
        self._intake = intake
        self._sources = sources
        self._trail = trail
        self._bring = bring
        self._give_up = give_up
        self._disputed: deque[_Dispute] = deque()
        self._suspected: Counter[str] = Counter()
        self._settling = False

    @property
    def waiting(self) -> bool:
        """Whether :meth:`settle` is to be called."""
        return bool(self._disputed) and not self._settling

    async def look(self) -> None:
        """Compare some pieces that have come, and let the wrong ones come again.

        :raises ChecksumMismatchError: one is wrong wherever it comes from.
        """
        if self._intake.check is not None:
            for wrong in await self._intake.check.look(self._intake.plan.ranges.done):
                self._take(wrong)

    def _take(self, wrong: Wrong) -> None:
        start, end, times = wrong
        culprits = {self._sources.lead.address}
        if self._sources.several:
            culprits = self._trail.brought(start, end)
        innocent = [each for each in self._sources if each.address not in culprits]
        last = len(culprits) < 2 and not innocent and times > 1
        if start == end or last or times > 2 * self._sources.count:
            raise self._wrong_everywhere(start, end)
        if len(culprits) > 1:
            claim = self._intake.reclaim(start, end)
            self._disputed.append(_Dispute(claim, frozenset(culprits)))
            return
        for source in tuple(self._sources) if innocent else ():
            if source.address in culprits:
                self._give_up(source, self._where(start, end))
        self._intake.lose(start, end)

    def settle(self) -> Coroutine[Any, Any, None]:
        """Ask the addresses that brought wrong pieces together for them alone.

        :raises ChecksumMismatchError: one is wrong wherever it comes from.
        :raises FetchError: as ``bring`` does.
        """
        # From now on, not from when its turn comes.
        self._settling = True
        return self._settle_all()

    async def _settle_all(self) -> None:
        try:
            while self._disputed:
                await self._settle(self._disputed.popleft())
        finally:
            self._settling = False

    async def _settle(self, dispute: _Dispute) -> None:
        right = False
        try:
            # Where one of them has been given up meanwhile, what the others bring may be right.
            if dispute.suspects <= {each.address for each in self._sources}:
                right = await self._ask_each(dispute.claim, set(dispute.suspects))
        finally:
            if not right:
                self._intake.plan.ranges.rewind(dispute.claim)
            self._intake.plan.ranges.release(dispute.claim)

    async def _ask_each(self, claim: Claim, suspects: set[str]) -> bool:
        """Whether one of the addresses has brought the claim, and right."""
        where = self._where(claim.start, claim.end)
        for source in self._order(suspects):
            if source not in self._sources or not await self._bring_anew(claim, source):
                continue
            if await self._is_right(claim):
                suspects.discard(source.address)
                self._blame(suspects, where)
                return True
            # That one lies is enough to have made the piece wrong.
            suspects.clear()
            if not self._sources.others_than(source):
                raise self._wrong_everywhere(claim.start, claim.end)
            self._give_up(source, where)
        return False

    def _order(self, suspects: set[str]) -> list[Source]:
        """Whom to ask first: the sooner a liar shows, the less it can spoil."""
        rest = list(self._sources)
        rest.reverse()
        return sorted(
            rest,
            key=lambda each: (each.address in suspects, self._suspected[each.address]),
            reverse=True,
        )

    async def _bring_anew(self, claim: Claim, source: Source) -> bool:
        self._intake.plan.ranges.rewind(claim)
        source.connections += 1
        try:
            return await self._bring(claim, source)
        finally:
            source.connections -= 1

    async def _is_right(self, claim: Claim) -> bool:
        check = self._intake.check
        return check is not None and await check.are_right(claim.start, claim.end)

    def _blame(self, suspects: set[str], where: str) -> None:
        """Another one has brought it right: if one is left, it was the one who lied."""
        if len(suspects) > 1:
            self._suspected.update(suspects)
            return
        for source in tuple(self._sources):
            if source.address in suspects:
                self._give_up(source, where)

    def _where(self, start: int, end: int) -> str:
        return f"bytes {start} to {end} of {self._intake.part.name} do not have their hash"

    def _wrong_everywhere(self, start: int, end: int) -> ChecksumMismatchError:
        return ChecksumMismatchError(
            f"{self._where(start, end)}, wherever they come from: check the list, or try again "
            "later"
        )
