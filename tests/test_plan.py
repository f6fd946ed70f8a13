"""Which range goes to which connection next."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.config import Config
from fetcher.contract import Answer
from fetcher.errors import ChangedError, MirrorError, RangesRefusedError
from fetcher.rules.answers import Version
from fetcher.rules.backoff import Backoff
from fetcher.rules.ranges import UNKNOWN, Claim, Range
from fetcher.rules.resource import PATIENCE, Resource
from fetcher.transfer.plan import CHUNK, STEAL_AFTER, Plan
from fetcher.transfer.writer import RangeWriter

LEAST = 10
CONFIG = Config(min_split_size=LEAST, max_splits=4)


class Counter:
    """The owner of writers: counts how often each byte is written."""

    def __init__(self, size: int) -> None:
        self.written = [0] * size

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        return {}

    async def prepare(self, answer: Answer) -> None: ...

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        return True

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        for at in range(claim.position, claim.position + len(data)):
            self.written[at] += 1
        claim.advance(len(data))

    def count_retry(self, writer: RangeWriter) -> None: ...

    def count_received(self, count: int) -> None: ...

    def turned_away(self, writer: RangeWriter) -> bool:
        return False

    async def wait_for_turn(self, writer: RangeWriter) -> None: ...


def resource_of(size: int | None, etag: str | None = '"a"') -> Resource:
    resource = Resource()
    resource.learn(Version(size, etag))
    return resource


def plan_of(size: int | None, *done: Range, config: Config = CONFIG) -> Plan:
    plan = Plan(config, resource_of(size), done)
    plan.proven = True
    return plan


def writer_of(claim: Claim | None) -> RangeWriter:
    assert claim is not None
    return RangeWriter(claim, Counter(1000), Backoff(3, 1.0))


def span(claim: Claim | None) -> Range | None:
    return None if claim is None else (claim.start, claim.end)


def streaming(plan: Plan, claim: Claim | None, rate: float | None) -> RangeWriter:
    writer = writer_of(claim)
    writer.rate = rate
    plan.streaming.add(writer)
    return writer


# --- how many connections -----------------------------------------------------------------------


def test_there_is_one_connection_until_ranges_are_known_to_work() -> None:
    plan = Plan(CONFIG, resource_of(1000))
    assert plan.connections == 1
    plan.proven = True
    assert plan.connections == CONFIG.max_splits


def test_a_server_that_wants_fewer_connections_gets_fewer() -> None:
    plan = plan_of(1000)
    plan.lower(2)
    assert plan.connections == 2
    plan.lower(0)
    assert plan.connections == 1


def test_where_splits_make_no_sense_there_is_one_connection() -> None:
    resource = resource_of(1000)
    plan = Plan(CONFIG, resource)
    plan.proven = True
    resource.refused()
    assert plan.connections == 1


# --- which range --------------------------------------------------------------------------------


def test_the_first_range_of_an_unknown_file_is_the_probe() -> None:
    plan = Plan(CONFIG, Resource())
    assert span(plan.claim(alone=True)) == (0, LEAST)
    assert plan.ranges.size is None


def test_without_ranges_all_of_it_is_claimed_at_once() -> None:
    resource = Resource()
    resource.refused()
    assert span(Plan(CONFIG, resource).claim(alone=True)) == (0, UNKNOWN)


def test_one_connection_needs_one_request() -> None:
    config = Config(min_split_size=LEAST, max_splits=1)
    assert span(Plan(config, Resource()).claim(alone=True)) == (0, UNKNOWN)
    assert span(plan_of(1000, config=config).claim(alone=True)) == (0, 1000)
    plan = plan_of(1000, (100, 200), config=config)
    assert [span(plan.next_claim()) for _ in range(3)] == [(0, 100), (200, 1000), None]


def test_each_connection_takes_its_share() -> None:
    plan = plan_of(400)
    assert span(plan.claim(alone=True)) == (0, 100)
    assert span(plan.claim(alone=False)) == (100, 175)


def test_a_share_is_neither_tiny_nor_huge() -> None:
    assert span(plan_of(3 * LEAST).claim(alone=True)) == (0, LEAST)
    assert span(plan_of(1000 * CHUNK).claim(alone=True)) == (0, CHUNK)


def test_a_rest_that_is_no_range_of_its_own_goes_along() -> None:
    assert span(plan_of(2 * LEAST - 1).claim(alone=True)) == (0, 2 * LEAST - 1)
    assert span(plan_of(2 * LEAST).claim(alone=True)) == (0, LEAST)


def test_what_is_there_is_not_fetched_again() -> None:
    plan = plan_of(100, (0, 30), (40, 90))
    assert [span(plan.next_claim()) for _ in range(3)] == [(30, 40), (90, 100), None]
    assert plan.ranges.received == 80


def test_another_connection_is_not_worth_a_small_rest() -> None:
    plan = plan_of(100, (0, 91))
    assert plan.claim(alone=False) is None
    assert span(plan.claim(alone=True)) == (91, 100)
    assert plan.claim(alone=True) is None


def test_a_connection_that_is_there_takes_any_rest() -> None:
    assert span(plan_of(100, (0, 91)).next_claim()) == (91, 100)


# --- taking over --------------------------------------------------------------------------------


def test_half_of_a_slow_range_is_taken_over() -> None:
    for claim in (Plan.next_claim, lambda plan: plan.claim(alone=False)):
        plan = plan_of(100, (0, 20))
        slow = streaming(plan, plan.ranges.claim(80), 80 / STEAL_AFTER - 1)
        assert span(claim(plan)) == (60, 100)
        assert slow.claim.end == 60


@pytest.mark.parametrize(
    ("rate", "speed", "end"), [(1.0, 1.0, 60), (1.0, 3.0, 40), (3.0, 1.0, 60), (1.0, 4.0, 36)]
)
def test_each_gets_what_it_is_through_with_at_a_time(rate: float, speed: float, end: int) -> None:
    plan = plan_of(100, (0, 20))
    slow = streaming(plan, plan.ranges.claim(80), rate)
    assert span(plan.next_claim(speed)) == (end, 100)
    assert slow.claim.end == end
    assert slow.stopped is None


def test_where_a_share_would_be_too_small_but_the_file_would_wait_all_is_taken() -> None:
    left = LEAST - 1
    for rate in (0.0, 1.0):
        plan = plan_of(100, (left, 100))
        slow = streaming(plan, plan.ranges.claim(left), rate)
        assert span(plan.next_claim(100.0)) == (0, left)
        assert slow.claim.remaining == 0
        # It is not waited for until its server says something.
        assert isinstance(slow.stopped, MirrorError)


@pytest.mark.parametrize(("rate", "speed"), [(2.0, 2.0), (3.0, 5.0), (0.0, None)])
def test_a_small_rest_is_left_to_one_that_is_about_as_fast(
    rate: float, speed: float | None
) -> None:
    left = LEAST - 1
    plan = plan_of(100, (left, 100))
    slow = streaming(plan, plan.ranges.claim(left), rate)
    assert plan.next_claim(speed) is None
    assert slow.stopped is None


@pytest.mark.parametrize("rate", [None, 80 / STEAL_AFTER, 1e9])
def test_nothing_is_taken_over_that_is_soon_done(rate: float | None) -> None:
    plan = plan_of(100, (0, 20))
    streaming(plan, plan.ranges.claim(80), rate)
    assert plan.next_claim() is None
    assert plan.claim(alone=False) is None


def test_a_standing_connection_is_slow() -> None:
    plan = plan_of(100)
    streaming(plan, plan.ranges.claim(100), 0.0)
    assert span(plan.next_claim()) == (50, 100)


def test_nothing_is_taken_over_of_a_whole_answer() -> None:
    plan = plan_of(100)
    streaming(plan, plan.ranges.claim(100), 0.0).whole = True
    assert plan.next_claim() is None


def test_nothing_is_taken_over_of_a_range_without_an_answer() -> None:
    plan = plan_of(100)
    writer_of(plan.ranges.claim(100)).rate = 0.0
    assert plan.next_claim() is None


def test_the_largest_of_the_slow_is_halved() -> None:
    plan = plan_of(300)
    streaming(plan, plan.ranges.claim(60), 0.0)
    streaming(plan, plan.ranges.claim(140), 1e9)
    streaming(plan, plan.ranges.claim(100), 0.0)
    assert span(plan.next_claim()) == (250, 300)
    assert span(plan.next_claim()) == (30, 60)
    # Twenty-five are left of the third, and two halves of the first are too small by then.
    assert span(plan.next_claim()) == (225, 250)
    assert span(plan.next_claim()) == (15, 30)
    assert span(plan.next_claim()) == (213, 225)
    assert plan.next_claim() is None


def test_rates_are_those_of_the_connections_that_stream() -> None:
    plan = plan_of(100)
    one, other = streaming(plan, plan.ranges.claim(50), None), writer_of(plan.ranges.claim(50))
    plan.measure(1.0)
    one.write(b"x" * 8)
    other.write(b"x" * 8)
    plan.measure(2.0)
    assert one.rate == 4.0
    assert other.rate is None


# --- a server that sends all of it --------------------------------------------------------------


SAME = Version(100, '"a"')
ODD = Version(100, 'W/"a"')
DATED = Version(100, None, "Wed, 21 Oct 2015 07:28:00 GMT")


def insist(plan: Plan, writer: RangeWriter, version: Version) -> bool:
    """Send the whole file again and again, as often as it is asked for."""
    for _ in range(PATIENCE):
        with pytest.raises(RangesRefusedError, match="whole file") as caught:
            plan.take_whole(writer, version)
        assert caught.value.retryable
    return plan.take_whole(writer, version)


def test_a_whole_answer_to_the_first_request_is_taken() -> None:
    plan = Plan(CONFIG, Resource())
    writer = writer_of(plan.claim(alone=True))
    assert not plan.take_whole(writer, SAME)
    assert span(writer.claim) == (0, UNKNOWN)
    assert writer.skip == 0
    assert plan.next_claim() is None


@pytest.mark.parametrize("version", [SAME, DATED])
def test_what_is_there_of_the_same_version_is_passed_over(version: Version) -> None:
    resource = Resource()
    resource.learn(version)
    plan = Plan(CONFIG, resource, ((0, 30),))
    writer = writer_of(plan.next_claim())
    writer.claim.advance(5)
    assert not insist(plan, writer, version)
    assert writer.skip == 35
    assert span(writer.claim) == (30, 100)
    assert plan.ranges.received == 35


def test_a_whole_answer_fills_one_gap_after_the_other() -> None:
    plan, counter = plan_of(100, (10, 20), (50, 60)), Counter(100)
    claims: list[Range | None] = []
    while (claim := plan.ranges.claim(5)) is not None:
        writer = RangeWriter(claim, counter, Backoff(3, 1.0))
        if claims or not claim.position:
            # A server that has stopped to give ranges.
            writer.claim.advance(1)
            counter.written[claim.start] += 1
        if claims:
            assert not plan.take_whole(writer, SAME)
        else:
            assert not insist(plan, writer, SAME)
        assert writer.skip == claim.position
        writer.write(b"x" * 100)
        claims.append(span(claim))
        plan.ranges.release(claim)
    assert claims == [(0, 10), (20, 50), (60, 100)]
    assert counter.written == [1] * 10 + [0] * 10 + [1] * 30 + [0] * 10 + [1] * 40
    assert plan.ranges.complete


@pytest.mark.parametrize(
    ("known", "version"),
    [(ODD, ODD), (SAME, ODD), (Version(100), Version(100)), (DATED, Version(None, None, "today"))],
)
def test_what_may_be_another_version_is_not_joined(known: Version, version: Version) -> None:
    resource = Resource()
    resource.learn(known)
    plan = Plan(CONFIG, resource)
    writer = writer_of(plan.next_claim())
    writer.claim.advance(5)
    for number in range(PATIENCE + 2):
        with pytest.raises(RangesRefusedError, match="whole file") as caught:
            plan.take_whole(writer, version)
        assert caught.value.retryable is (number < PATIENCE)
    assert (writer.claim.position, writer.skip) == (5, 0)
    assert plan.ranges.received == 5


def test_one_stream_begins_again_at_its_start() -> None:
    resource = Resource()
    resource.refused()
    plan = Plan(CONFIG, resource)
    writer = writer_of(plan.claim(alone=True))
    assert not plan.take_whole(writer, ODD)
    writer.claim.advance(5)
    assert plan.take_whole(writer, ODD)
    assert (writer.claim.position, writer.skip) == (0, 0)
    assert plan.ranges.received == 0


def test_a_whole_answer_is_not_for_one_of_several() -> None:
    plan = plan_of(100)
    one, other = writer_of(plan.next_claim()), writer_of(plan.next_claim())
    one.claim.advance(5)
    for writer in (one, other):
        for _ in range(PATIENCE + 1):
            with pytest.raises(RangesRefusedError):
                plan.take_whole(writer, SAME)
    assert [span(writer.claim) for writer in (one, other)] == [(0, 25), (25, 43)]
    assert plan.ranges.received == 5


def test_back_ends_with_etags_of_their_own_end_in_one_stream() -> None:
    resource = Resource()
    for _ in range(PATIENCE):
        resource.changed(ChangedError("its ETag changed", same_facts=True))
    resource.learn(Version(100, '"a"'))
    plan = Plan(CONFIG, resource)
    plan.proven = True
    assert plan.connections == 1
    assert span(plan.claim(alone=True)) == (0, 100)


# --- from the first byte to the last ------------------------------------------------------------


@given(
    st.integers(0, 400),
    st.integers(1, 60),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=80),
)
def test_however_fast_each_connection_is(
    size: int, least: int, splits: int, steps: list[tuple[int, int]]
) -> None:
    """Any connection may move at any time: each byte comes once, and no request is in vain."""
    config = Config(min_split_size=least, max_splits=splits)
    resource, counter = Resource(), Counter(size)
    plan = Plan(config, resource)
    workers: list[RangeWriter] = []
    requests = turn = 0

    def take(claim: Claim | None) -> None:
        nonlocal requests
        if claim is None:
            return
        requests += 1
        assert claim.remaining
        workers.append(RangeWriter(claim, counter, Backoff(3, 1.0)))
        if plan.ranges.size is None:
            # The first answer.
            resource.learn(Version(size, '"a"'))
            plan.ranges.set_size(size)
            plan.proven = True
        plan.streaming.add(workers[-1])

    while True:
        while len(workers) < plan.connections:
            before = len(workers)
            take(plan.claim(alone=not workers))
            if len(workers) == before:
                break
        assert len(workers) <= splits
        if not workers:
            break
        which, count = steps[turn % len(steps)]
        # After the given steps everybody moves on, so that there is an end.
        count += turn >= len(steps)
        turn += 1
        writer = workers[which % len(workers)] if turn < len(steps) else workers[0]
        writer.write(b"x" * count)
        plan.measure(1.0)
        if not writer.claim.remaining:
            workers.remove(writer)
            plan.streaming.remove(writer)
            plan.ranges.release(writer.claim)
            take(plan.next_claim())

    assert plan.ranges.complete
    assert counter.written == [1] * size
    assert requests <= max(1, size // least + 1)
    if size <= least:
        assert requests == 1
