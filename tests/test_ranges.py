"""What of a file is done, in flight and left."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fetcher.rules.ranges import UNKNOWN, Claim, Range, Ranges
from tests.effort import at_most

MOST = 120
"""Bytes of the largest file here."""


def runs(there: set[int]) -> list[Range]:
    """The same bytes as sorted ranges that do not touch."""
    found: list[Range] = []
    for at in sorted(there):
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


@st.composite
def sizes_and_done(draw: st.DrawFn) -> tuple[int, list[Range]]:
    """A file and sorted, disjoint ranges of it; some of them are neighbours."""
    size = draw(st.integers(0, MOST))
    cuts = sorted(draw(st.sets(st.integers(0, size), max_size=12)))
    pairs = list(pairwise(cuts))
    return size, [pair for pair in pairs if draw(st.booleans())]


def bytes_of(ranges: list[Range]) -> set[int]:
    return {at for start, end in ranges for at in range(start, end)}


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of calls, each byte is there, claimed or free, and is written once."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = Ranges(0)
        self.there: set[int] = set()

    @property
    def total(self) -> int:
        return UNKNOWN if self.ranges.size is None else self.ranges.size

    def is_free(self, at: int) -> bool:
        claimed = any(claim.position <= at < claim.end for claim in self.ranges.claims)
        return at < self.total and at not in self.there and not claimed

    def first_free(self) -> int | None:
        """The lowest free byte; free ranges begin where something else ends."""
        ends = [0, *(at + 1 for at in self.there), *(claim.end for claim in self.ranges.claims)]
        return min(filter(self.is_free, ends), default=None)

    def pick(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(self.ranges.claims))

    @initialize(file=sizes_and_done(), known=st.booleans())
    def begin(self, file: tuple[int, list[Range]], known: bool) -> None:
        size, done = file
        self.ranges = Ranges(size if known else None, done)
        self.there = bytes_of(done)

    @rule(most=st.integers(1, MOST), least=st.integers(0, 40))
    def claim(self, most: int, least: int) -> None:
        first = self.first_free()
        claim = self.ranges.claim(most, least)
        if first is None:
            assert claim is None
            return
        assert claim is not None
        assert claim.start == claim.position == first < claim.end
        length = claim.end - claim.start
        goes_on = claim.end < self.total and self.is_free(claim.end)
        if goes_on:
            assert length == most
        elif length > most:
            assert length - most < least

    @rule(amount=st.integers(1, 2 * MOST))
    def claim_all_of_it(self, amount: int) -> None:
        """As for a server without ranges; ``amount`` is only how it is asked for."""
        claim = self.ranges.claim(UNKNOWN, amount)
        assert claim is None or claim.end == self.total or not self.is_free(claim.end)

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data(), wanted=st.integers(0, 60))
    def advance(self, data: st.DataObject, wanted: int) -> None:
        claim = self.pick(data)
        count = min(wanted, claim.remaining)
        new = set(range(claim.position, claim.position + count))
        assert not new & self.there, "written twice"
        claim.advance(count)
        self.there |= new

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data(), beyond=st.integers(1, 9))
    def advance_too_far(self, data: st.DataObject, beyond: int) -> None:
        claim = self.pick(data)
        for count in (claim.remaining + beyond, -beyond):
            with pytest.raises(ValueError, match="bytes into"):
                claim.advance(count)

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data(), count=st.integers(0, 40))
    def steal(self, data: st.DataObject, count: int) -> None:
        victim = self.pick(data)
        if victim.end == UNKNOWN:
            return  # What is behind it would lie where no file has bytes.
        before = victim.remaining
        stolen = self.ranges.steal(victim, count)
        if stolen is None:
            assert not 0 < count <= before or victim.whole
            assert victim.remaining == before
            return
        assert stolen.start == stolen.position == victim.end
        assert stolen.remaining == count
        assert victim.remaining + stolen.remaining == before

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        claim = self.pick(data)
        free_behind, end = self.is_free(claim.end), claim.end
        self.ranges.extend(claim)
        assert (claim.end > end) == free_behind
        assert not self.is_free(claim.end)

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        claim = self.pick(data)
        self.there -= set(range(claim.start, claim.position))
        self.ranges.rewind(claim)
        assert claim.position == claim.start

    @precondition(lambda self: self.ranges.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claim = self.pick(data)
        self.ranges.release(claim)
        assert claim not in self.ranges.claims

    @precondition(lambda self: self.ranges.done)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        first, last = data.draw(st.sampled_from(self.ranges.done))
        start = data.draw(st.integers(first, last - 1))
        end = data.draw(st.integers(start + 1, last))
        self.ranges.lose(start, end)
        self.there -= set(range(start, end))
        with pytest.raises(ValueError, match="is not done"):
            self.ranges.lose(start, end)

    @precondition(lambda self: self.ranges.done)
    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        first, last = data.draw(st.sampled_from(self.ranges.done))
        start = data.draw(st.integers(first, last - 1))
        end = data.draw(st.integers(start + 1, last))
        claim = self.ranges.reclaim(start, end)
        self.there -= set(range(start, end))
        assert (claim.start, claim.position, claim.end) == (start, start, end)
        assert self.ranges.steal(claim, 1) is None
        with pytest.raises(ValueError, match="is not done"):
            self.ranges.reclaim(start, end)

    @precondition(lambda self: self.ranges.size is None)
    @rule(more=st.integers(0, MOST))
    def set_size(self, more: int) -> None:
        least = max(self.there, default=-1) + 1
        if least:
            with pytest.raises(ValueError, match=f"but {least} are there"):
                self.ranges.set_size(least - 1)
            assert self.ranges.size is None
        self.ranges.set_size(least + more)
        assert self.ranges.size == least + more

    @invariant()
    def every_byte_has_one_place(self) -> None:
        claims = self.ranges.claims
        for claim in claims:
            assert claim.start <= claim.position <= claim.end
        taken = sorted((claim.position, claim.end) for claim in claims if claim.remaining)
        for (_, end), (start, _) in pairwise(taken):
            assert end <= start, "claimed twice"
        for start, end in taken:
            assert end <= self.total
            assert not any(start <= at < end for at in self.there), "claimed, and there already"
        claimed = sum(end - start for start, end in taken)
        assert len(self.there) + claimed + self.ranges.free == self.total

    @invariant()
    def what_is_told_is_so(self) -> None:
        there = runs(self.there)
        assert self.ranges.snapshot() == there
        assert self.ranges.received == len(self.there)
        assert self.ranges.front == (there[0][1] if there and there[0][0] == 0 else 0)
        assert self.ranges.complete == (self.ranges.size == len(self.there))

    def teardown(self) -> None:
        """From wherever it was left, the file can be brought to its end."""
        if self.ranges.size is None:
            self.ranges.set_size(max(self.there, default=-1) + 1)
        while (last := self.ranges.claim(7, 3)) is not None:
            assert last.end <= self.total
        for claim in self.ranges.claims:
            new = set(range(claim.position, claim.end))
            assert not new & self.there, "written twice"
            claim.advance(claim.remaining)
            self.there |= new
            self.ranges.release(claim)
        size = self.ranges.size
        assert size is not None
        assert self.ranges.complete
        assert self.ranges.front == size
        assert self.ranges.snapshot() == ([(0, size)] if size else [])
        assert self.there == set(range(size))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(sizes_and_done())
def test_what_was_done_is_not_fetched_again(file: tuple[int, list[Range]]) -> None:
    size, done = file
    ranges = Ranges(size, done)
    assert ranges.snapshot() == runs(bytes_of(done))
    left: set[int] = set()
    while (claim := ranges.claim(10)) is not None:
        left |= set(range(claim.start, claim.end))
    assert left == set(range(size)) - bytes_of(done)


@pytest.mark.parametrize(
    "done",
    [
        [(0, 11)],
        [(10, 12)],
        [(-1, 2)],
        [(4, 4)],
        [(4, 3)],
        [(0, 4), (3, 6)],
        [(0, 4), (0, 4)],
        [(5, 6), (0, 4)],
    ],
)
def test_ranges_that_cannot_be_done(done: list[Range]) -> None:
    with pytest.raises(ValueError, match=r"range .* of 10 after"):
        Ranges(10, done)


def test_many_ranges_are_taken_up_at_once() -> None:
    done = [(3 * at, 3 * at + 1) for at in range(100_000)]
    with at_most(1):
        ranges = Ranges(300_000, done)
    assert ranges.done == tuple(done)
    assert ranges.free == 200_000


def test_neighbours_that_are_done_become_one() -> None:
    assert Ranges(10, [(0, 3), (3, 5), (6, 10)]).snapshot() == [(0, 5), (6, 10)]


def test_a_file_of_unknown_size_is_never_complete() -> None:
    ranges = Ranges(None, [(0, 10)])
    assert ranges.size is None
    assert not ranges.complete
    ranges.set_size(10)
    assert ranges.complete


def test_an_empty_file_is_complete_at_once() -> None:
    ranges = Ranges(0)
    assert ranges.complete
    assert ranges.claim(10) is None
    assert ranges.front == 0


@pytest.mark.parametrize(("least", "end"), [(0, 8), (2, 8), (3, 10)])
def test_a_rest_smaller_than_the_least_goes_along(least: int, end: int) -> None:
    claim = Ranges(10).claim(8, least)
    assert claim is not None
    assert (claim.start, claim.end) == (0, end)


@pytest.mark.parametrize(
    ("written", "count", "stolen"),
    [(0, 5, (5, 10)), (0, 11, None), (1, 4, (6, 10)), (4, 6, (4, 10)), (4, 0, None), (10, 1, None)],
)
def test_the_last_bytes_are_stolen(written: int, count: int, stolen: Range | None) -> None:
    ranges = Ranges(10)
    victim = ranges.claim(10)
    assert victim is not None
    victim.advance(written)
    claim = ranges.steal(victim, count)
    assert (claim and (claim.start, claim.end)) == stolen
    assert victim.end == (stolen[0] if stolen else 10)


def test_nothing_is_stolen_from_a_claim_that_was_released() -> None:
    ranges = Ranges(10)
    victim = ranges.claim(10)
    assert victim is not None
    ranges.release(victim)
    assert ranges.steal(victim, 1) is None
    assert ranges.free == 10


def test_a_claim_extends_over_the_free_bytes_behind_it_and_no_further() -> None:
    ranges = Ranges(10, [(6, 8)])
    claim = ranges.claim(2)
    assert claim is not None
    ranges.extend(claim)
    assert claim.end == 6
    ranges.extend(claim)
    assert claim.end == 6
    assert ranges.free == 2


def test_a_size_cuts_what_was_claimed_beyond_it() -> None:
    ranges = Ranges()
    claim = ranges.claim(UNKNOWN)
    assert claim is not None
    assert claim.end == UNKNOWN
    claim.advance(4)
    ranges.set_size(5)
    assert claim.end == 5
    assert ranges.free == 0


def test_a_claim_wholly_beyond_the_size_has_nothing_left() -> None:
    ranges = Ranges()
    first, second = ranges.claim(8), ranges.claim(8)
    assert first is not None
    assert second is not None
    ranges.set_size(5)
    assert first.remaining == 5
    assert second.remaining == 0
    ranges.release(second)
    first.advance(5)
    assert ranges.complete
