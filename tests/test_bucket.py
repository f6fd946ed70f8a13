"""A rate that many connections share."""

import heapq
from collections.abc import Callable
from itertools import combinations, count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.rules.bucket import CATCH_UP, LEAST, READS, Bucket, Share, read_size

RATES = st.integers(1, 10**9)
ROUNDING = 1e-6


# --- how much is read at a time -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "size"),
    [(0, 1000), (1, LEAST), (LEAST * READS, LEAST), (500 * READS, 500), (10**9, 1000)],
)
def test_reads_are_the_smaller_the_lower_the_rate(rate: int, size: int) -> None:
    assert read_size(rate, 1000) == size


def test_what_comes_together_is_asked_for_together() -> None:
    assert read_size(10_000, 256 << 10, 16 << 10) == 16 << 10
    assert read_size(0, 256 << 10, 16 << 10) == 256 << 10


# --- one connection -------------------------------------------------------------------------------


def test_a_crawl_begins_with_an_empty_bucket() -> None:
    assert Share(Bucket(1000)).pace(10, now=5.0) == pytest.approx(0.01)


def test_what_may_be_read_may_come_in_pieces() -> None:
    share = Share(Bucket(1000))
    share.pace(10, 0.0)
    share.read(4)
    assert share.pace(10, 1.0) == 0.0
    share.read(6)
    assert share.pace(300, 1.0) == pytest.approx(0.3 - CATCH_UP)


def test_what_came_beyond_that_is_waited_for() -> None:
    share = Share(Bucket(1000))
    share.pace(10, 0.0)
    share.read(510)
    assert share.pace(10, 0.01) == pytest.approx(0.51)


def test_the_last_word_is_the_one_that_counts() -> None:
    bucket = Bucket(1000)
    one, other = Share(bucket), Share(bucket)
    other.pace(1000, 0.0)
    assert one.pace(1000, 0.0) == pytest.approx(2.0)
    assert one.pace(1000, 0.5) == pytest.approx(1.5), "it may ask again"
    other.end(0.5)
    one.read(1000)
    assert one.pace(100, 0.5) == pytest.approx(0.6), "others have left"
    assert one.paused(1.1) == pytest.approx(1.1)


def test_a_pause_counts_as_far_as_it_has_gone_by() -> None:
    share = Share(Bucket(1000))
    share.pace(500, 10.0)
    assert [share.paused(at) for at in (10.0, 10.2, 10.5, 11.0)] == pytest.approx(
        [0, 0.2, 0.5, 0.5]
    )
    share.read(500)
    share.pace(500, 11.0)
    share.end(11.1)
    assert share.paused(20.0) == pytest.approx(0.6), "it was broken off"


def test_what_was_not_read_goes_back() -> None:
    bucket = Bucket(1000)
    refused = Share(bucket)
    refused.pace(5000, 0.0)
    refused.end(0.1)
    assert Share(bucket).pace(1000, 0.1) == pytest.approx(0.9)


def test_what_was_read_beyond_goes_on_the_bill_of_the_next() -> None:
    bucket = Bucket(1000)
    share = Share(bucket)
    share.pace(10, 0.0)
    share.read(1010)
    share.end(10.0)
    assert Share(bucket).pace(10, 10.0) == pytest.approx(1.01 - CATCH_UP)


@pytest.mark.parametrize(
    ("answers", "first"), [([5], 5), ([1000], 100), ([0], 100), ([10, 30], 20)]
)
def test_a_first_read_is_taken_to_be_as_long_as_answers_were(
    answers: list[int], first: int
) -> None:
    bucket = Bucket(1000)
    for size in answers:
        share = Share(bucket)
        share.pace(100, 0.0)
        share.read(size)
        share.end(0.0)
    assert bucket.first(100) == first


# --- many -----------------------------------------------------------------------------------------


class Crawl:
    """Connections that obey, on a clock of their own.

    :ivar curve: when how many bytes had been read.
    """

    def __init__(self, rate: int, connections: int, size: int) -> None:
        self.bucket = Bucket(rate)
        self.shares = [Share(self.bucket) for _ in range(connections)]
        self.read = [0] * connections
        self.curve: list[tuple[float, int]] = [(0.0, 0)]
        self.size = size
        self.allowed = [self.pace(number, 0.0) for number in range(connections)]

    def pace(self, number: int, now: float) -> float:
        return now + self.shares[number].pace(self.size, now)

    def get(self, number: int, count: int, now: float) -> None:
        """A connection reads, unless it has to wait."""
        if now < self.allowed[number]:
            return
        self.shares[number].read(count)
        self.read[number] += count
        self.curve.append((now, sum(self.read)))
        self.allowed[number] = self.pace(number, now)

    def begin_anew(self, number: int, now: float) -> None:
        """An answer is over, or broken off; another request follows."""
        self.shares[number].end(now)
        self.allowed[number] = self.pace(number, now)

    def run(self, seconds: float, late: Callable[[], float], answer: int | None = None) -> float:
        """All read as much as they may; the average rate.

        :param late: by how much a timer is late.
        :param answer: bytes of each answer; None for one that has no end.
        """
        turns = [(at + late(), number) for number, at in enumerate(self.allowed)]
        heapq.heapify(turns)
        while turns[0][0] < seconds:
            now, number = heapq.heappop(turns)
            self.get(number, min(self.size, answer or self.size), now)
            if answer is not None:
                self.begin_anew(number, now)
            again = self.allowed[number]
            heapq.heappush(turns, (again + late() if again > now else now, number))
        return sum(self.read) / seconds


STEPS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.floats(0, 2.0),
        st.integers(0, 1000),
        st.sampled_from(["read", "read", "read", "anew"]),
    ),
    min_size=1,
    max_size=80,
)


@given(RATES, st.integers(1, 1000), STEPS)
def test_never_more_is_read_than_has_flowed_in(
    rate: int, size: int, steps: list[tuple[int, float, int, str]]
) -> None:
    """Nor does what was not read for a while come at once later."""
    crawl, now = Crawl(rate, 5, size), 0.0
    for number, seconds, wanted, what in steps:
        # So long as to have read about as much as is wanted, at any rate.
        now += seconds * size / rate
        if what == "anew":
            crawl.begin_anew(number, now)
        else:
            crawl.get(number, min(wanted, size), now)
    # Who has something left reads all the same, and pays for it afterwards.
    early = 5 * size
    for at, read in crawl.curve:
        assert read <= rate * at * (1 + ROUNDING) + early
    for (before, already), (at, read) in combinations(crawl.curve, 2):
        flow = rate * (at - before + CATCH_UP)
        assert read - already <= flow * (1 + ROUNDING) + 2 * early


@given(st.integers(100_000, 10**9), st.integers(1, 25), st.floats(0, CATCH_UP / 2))
@example(1_000_000, 1, CATCH_UP / 2)
def test_all_of_the_rate_is_used(rate: int, connections: int, late: float) -> None:
    crawl = Crawl(rate, connections, read_size(rate, 256 << 10))
    turn = count()
    average = crawl.run(10.0, lambda: late * (next(turn) % 2))
    assert 0.95 * rate <= average <= rate + crawl.size


@given(st.integers(100_000, 10**7), st.integers(1, 25))
def test_all_have_the_same(rate: int, connections: int) -> None:
    crawl = Crawl(rate, connections, read_size(rate, 256 << 10))
    crawl.run(3.0, lambda: 0.0)
    assert max(crawl.read) - min(crawl.read) <= crawl.size


@given(st.integers(20_000, 200_000), st.integers(1, 25), st.integers(1000, 16 << 10))
def test_small_files_have_all_of_the_rate(rate: int, connections: int, answer: int) -> None:
    """Even where as much is read at a time as comes together under TLS, once it is known that
    they are."""
    crawl = Crawl(rate, connections, read_size(rate, 256 << 10, 16 << 10))
    learned = connections * (16 << 10) / rate
    before = crawl.run(learned, lambda: 0.0, answer) * learned
    whole = crawl.run(learned + 10, lambda: 0.0, answer) * (learned + 10)
    assert whole <= rate * (learned + 10)
    assert whole - before >= 0.95 * rate * 10 - crawl.size


def test_one_that_is_silent_holds_nobody_up() -> None:
    crawl = Crawl(100_000, 2, 1000)
    silent, reads = 0, 1
    while (now := crawl.allowed[reads]) < 10.0:
        crawl.get(reads, 1000, now)
    assert crawl.read[silent] == 0
    assert crawl.read[reads] >= 0.99 * 10 * 100_000
