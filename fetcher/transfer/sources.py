"""The addresses of one file: which of them the next range comes from, and which are given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from fetcher.errors import FetchError
from fetcher.rules.urls import redact
from fetcher.transfer.source import Source

SLOW = 10
"""A mirror is set aside when another is this many times as fast ..."""

SLOW_BYTES = 1 << 20
"""... and a range of at least so many bytes waits for it."""

TERMS = 2
"""How often an address may begin the file anew."""


class Sources:
    """Knows the usable addresses, best first.

    :param all_: in the list's order; the first decides about the file's version.
    """

    def __init__(self, all_: Sequence[Source]) -> None:
        self.lead = all_[0]
        """Decides about the file's version."""
        self.notes: list[str] = []
        """What became of the others, a sentence each."""
        self._all = tuple(all_)
        self._usable = list(all_)
        self._aside: list[Source] = []
        self._apart: list[Source] = []
        self._terms = Counter([self.lead])

    def __iter__(self) -> Iterator[Source]:
        return iter(self._usable)

    @property
    def several(self) -> bool:
        """Whether the file has more than one address."""
        return len(self._all) > 1

    @property
    def count(self) -> int:
        """How many addresses the file has."""
        return len(self._all)

    def next(self, *, together: bool) -> Source:
        """Where the next connection goes: where it will be the fastest, as far as known.

        :param together: whether bytes of several addresses may be put together.
        """
        if not together and self.lead in self._usable:
            return self.lead
        best = max((each.speed for each in self._usable if each.speed), default=1.0)
        return max(self._usable, key=lambda each: (each.host.bears_more, _promise(each, best)))

    @property
    def any(self) -> bool:
        """Whether there is one to be asked."""
        return bool(self._usable)

    def others_than(self, source: Source) -> bool:
        """Whether a range could come from another address at once."""
        return any(each is not source for each in (*self._usable, *self._aside))

    def idle(self, busy: Source) -> Source | None:
        """The first other address whose server takes another connection."""
        others = (each for each in self._usable if each is not busy)
        return next((each for each in others if not each.host.full), None)

    def drop(self, source: Source, why: FetchError | str) -> None:
        """Ask an address for nothing more of this file."""
        if self._remove(source):
            self._note(source, "given up", why)

    def set_aside(self, source: Source, why: str) -> None:
        """Let the others bring the file, as long as there are any."""
        if self._remove(source):
            self._aside.append(source)
            self._note(source, "set aside", why)

    def set_apart(self, source: Source, why: FetchError) -> None:
        """What it has cannot be put beside what is there; it could only begin the file anew."""
        if self._remove(source):
            self._apart.append(source)
            self._note(source, "passed over", why)

    def _remove(self, source: Source) -> bool:
        """Whether it was one of those to be asked."""
        if source not in self._usable:
            return False
        self._usable.remove(source)
        if not self._usable:
            self._usable, self._aside = self._aside, []
        return True

    def _note(self, source: Source, what: str, why: FetchError | str) -> None:
        address = redact(source.address)
        reason = why if isinstance(why, str) else why.message.removeprefix(f"{address}: ")
        self.notes.append(f"{address} was {what}: {reason}")

    def lead_anew(self, why: FetchError) -> Source | None:
        """Let the next address decide about the version; None when there is none left.

        :param why: what is wrong with the one that did.
        """
        known = (*self._usable, *self._aside, *self._apart)
        left = [each for each in self._all if each in known and each is not self.lead]
        if self.lead in self._apart:
            # It was passed over for the others.
            left.append(self.lead)
        lead = next((each for each in left if self._terms[each] < TERMS), None)
        if lead is None:
            return None
        self.drop(self.lead, why)
        self._usable, self._aside, self._apart = left, [], []
        self.lead = lead
        self._terms[lead] += 1
        return lead

    def too_slow(self, source: Source, speed: float, remaining: int) -> bool:
        """Whether another address would have brought the rest long ago.

        :param speed: bytes a second of one connection to ``source``.
        :param remaining: bytes that are to come by it.
        """
        others = [each.speed for each in self._usable if each is not source and each.speed]
        return remaining >= SLOW_BYTES and SLOW * speed < max(others, default=0.0)


def _promise(source: Source, best: float) -> float:
    """What one connection more to it is hoped to bring, in bytes a second.

    :param best: the most that a connection to any of the addresses has brought.
    """
    if source.resource.version is None and source.connections:
        # Let its first answer come.
        return 0.0
    return (2 * best if source.speed is None else source.speed) / (1 + source.connections)
