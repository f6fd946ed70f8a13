"""The sink of one range."""

import asyncio
import time
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.contract import Answer
from fetcher.errors import DiskFullError, Stopped
from fetcher.rules.backoff import Backoff
from fetcher.rules.bucket import Bucket
from fetcher.rules.ranges import UNKNOWN, Claim, Ranges
from fetcher.transfer.writer import RangeWriter

ANSWER = Answer("http://127.0.0.1/file", 206)


class Owner:
    """A transfer into memory."""

    def __init__(self, size: int = 100, *, wanted: bool = True) -> None:
        self.data = bytearray(size)
        self.received = self.retries = 0
        self.wanted = wanted
        self.accepted: list[tuple[RangeWriter, Answer]] = []
        self.full = False

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        return {"Range": writer.range_header()}

    async def prepare(self, answer: Answer) -> None: ...

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        self.accepted.append((writer, answer))
        return self.wanted

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        if self.full:
            raise DiskFullError("there is no room")
        self.data[claim.position : claim.position + len(data)] = data
        claim.advance(len(data))

    def count_retry(self, writer: RangeWriter) -> None:
        self.retries += 1

    def count_received(self, count: int) -> None:
        self.received += count

    def turned_away(self, writer: RangeWriter) -> bool:
        return False

    async def wait_for_turn(self, writer: RangeWriter) -> None: ...


class Clock:
    """Stands in for :mod:`time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def writer_of(
    owner: Owner, start: int = 10, end: int = 20, backoff: Backoff | None = None
) -> RangeWriter:
    return RangeWriter(Claim(start, end), owner, backoff or Backoff(3, 1.0))


# --- what is asked ------------------------------------------------------------------------------


def test_a_request_asks_for_what_is_missing_at_the_moment() -> None:
    writer = writer_of(Owner())
    assert writer.request_headers() == {"Range": "bytes=10-19"}
    writer.write(b"0123")
    assert writer.request_headers() == {"Range": "bytes=14-19"}
    writer.claim.end = 16
    assert writer.request_headers() == {"Range": "bytes=14-15"}


def test_a_range_without_a_known_end_is_open() -> None:
    assert writer_of(Owner(), 5, UNKNOWN).range_header() == "bytes=5-"


def test_the_owner_judges_an_answer() -> None:
    for wanted in (True, False):
        owner = Owner(wanted=wanted)
        writer = writer_of(owner)
        assert writer.begin(ANSWER) is wanted
        assert owner.accepted == [(writer, ANSWER)]


# --- what comes ---------------------------------------------------------------------------------


def test_blocks_land_where_they_belong() -> None:
    owner = Owner()
    writer = writer_of(owner)
    assert writer.write(b"0123")
    assert writer.write(b"")
    assert writer.write(b"45678")
    assert not writer.write(b"9")
    assert owner.data == bytes(10) + b"0123456789" + bytes(80)
    assert owner.received == 10


def test_nothing_is_written_beyond_the_end() -> None:
    owner = Owner()
    writer = writer_of(owner)
    assert not writer.write(b"0123456789and more")
    assert not writer.write(b"and more")
    assert owner.data == bytes(10) + b"0123456789" + bytes(80)
    # All of it came over the network.
    assert owner.received == 26


def test_an_end_that_has_moved_down_is_kept() -> None:
    owner = Owner()
    writer = writer_of(owner)
    assert writer.write(b"012")
    writer.claim.end = 15
    assert not writer.write(b"345678")
    assert owner.data == bytes(10) + b"01234" + bytes(85)
    writer.claim.end = writer.claim.position
    assert not writer.write(b"5")


@given(
    st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 5)), max_size=40),
    st.integers(1, 60),
)
def test_whatever_comes_while_others_take_of_it(steps: list[bytes | int], size: int) -> None:
    """Blocks come in, and now and then another connection takes half of what is left."""
    ranges, owner = Ranges(size), Owner(size)
    claim = ranges.claim(size)
    assert claim is not None
    writer, sent = RangeWriter(claim, owner, Backoff(3, 1.0)), bytearray()
    for step in steps:
        if isinstance(step, int):
            ranges.steal(claim, step)
        else:
            before = claim.position
            assert writer.write(step) == (claim.position < claim.end)
            assert claim.position == min(before + len(step), claim.end)
            sent += step
    written = claim.position
    assert owner.data[:written] == sent[:written]
    assert owner.data[written:] == bytes(size - written)
    assert owner.received == len(sent)
    assert written <= claim.end


def test_bytes_that_are_there_already_are_passed_over() -> None:
    owner = Owner()
    writer = writer_of(owner)
    writer.write(b"01")
    writer.begin(ANSWER)
    writer.skip = 12
    for block in (b"x" * 5, b"", b"x" * 6, b"x2", b"345", b"6789 and more"):
        writer.write(block)
    assert owner.data == bytes(10) + b"0123456789" + bytes(80)
    assert owner.received == 2 + 5 + 6 + 2 + 3 + 13
    assert writer.skip == 0


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 40), st.integers(0, 40))
def test_however_a_whole_answer_is_cut_into_blocks(
    body: bytes, cuts: list[int], skip: int, room: int
) -> None:
    owner = Owner()
    writer = writer_of(owner, skip, skip + room)
    writer.skip = skip
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, stop in pairwise(edges):
        writer.write(body[start:stop])
    wanted = body[skip : skip + room]
    assert owner.data[skip : skip + room] == wanted.ljust(room, b"\0")
    assert sum(owner.data[:skip]) + sum(owner.data[skip + room :]) == 0
    assert writer.claim.position == skip + len(wanted)


def test_a_new_answer_is_not_passed_over() -> None:
    owner = Owner()
    writer = writer_of(owner)
    writer.skip = 5
    writer.begin(ANSWER)
    writer.write(b"0123456789")
    assert owner.data == bytes(10) + b"0123456789" + bytes(80)


def test_a_full_disk_ends_it() -> None:
    owner = Owner()
    owner.full = True
    writer = writer_of(owner)
    with pytest.raises(DiskFullError):
        writer.write(b"0123")
    assert writer.claim.position == 10


# --- how fast -----------------------------------------------------------------------------------


def test_the_rate_is_known_after_the_second_look() -> None:
    writer = writer_of(Owner())
    writer.write(b"0")
    writer.measure(1.0)
    assert writer.rate is None
    writer.write(b"1234")
    writer.measure(2.0)
    assert writer.rate == 2.0


def test_the_rate_follows_what_came_lately() -> None:
    writer = writer_of(Owner())
    writer.measure(1.0)
    writer.write(b"01234567")
    rates = []
    for _ in range(4):
        writer.measure(1.0)
        rates.append(writer.rate)
    assert rates == [8, 4, 2, 1]


def test_a_claim_that_begins_again_is_not_negative() -> None:
    writer = writer_of(Owner())
    writer.write(b"01234")
    writer.measure(1.0)
    writer.claim.position = writer.claim.start
    writer.measure(1.0)
    assert writer.rate == 0


# --- how fast it may be -------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fetcher.transfer.writer.time", clock)
    return clock


def test_without_a_limit_nobody_waits() -> None:
    writer = writer_of(Owner())
    assert writer.pace(1 << 20) == 0.0
    assert writer.paused == 0.0


def test_all_that_comes_counts_and_no_more_than_is_missing_is_waited_for(clock: Clock) -> None:
    bucket = Bucket(10)
    writer = RangeWriter(Claim(0, 100), Owner(), Backoff(3, 1.0), bucket)
    assert writer.pace(20) == pytest.approx(2.0)
    writer.skip = 15
    writer.write(b"x" * 20)
    assert writer.claim.position == 5
    writer.claim.end = 12
    assert writer.pace(20) == pytest.approx(2.7)
    writer.settle()
    assert RangeWriter(Claim(0, 100), Owner(), Backoff(3, 1.0), bucket).pace(5) == pytest.approx(
        2.5
    )


def test_the_rate_is_that_of_the_time_in_which_it_could_be_read(clock: Clock) -> None:
    writer = RangeWriter(Claim(0, 100), Owner(), Backoff(3, 1.0), Bucket(10))
    writer.measure(1.0)
    assert writer.pace(9) == pytest.approx(0.9)
    clock.now += 1.0
    writer.write(b"x" * 9)
    writer.measure(1.0)
    assert writer.rate == pytest.approx(90)
    assert writer.pace(9) == pytest.approx(0.8)
    clock.now += 0.7
    writer.measure(0.7)
    assert writer.rate == pytest.approx(90), "nothing could come"
    clock.now += 2.1
    writer.measure(2.1)
    assert writer.rate == pytest.approx(45), "nothing came"


@pytest.mark.parametrize("limit", [5, None])
def test_who_may_not_be_faster_makes_progress(clock: Clock, limit: int | None) -> None:
    """The server is to send ten bytes a second."""
    bucket = None if limit is None else Bucket(limit)
    writer = RangeWriter(Claim(0, 100), Owner(), Backoff(2, 0.0, speed=10), bucket)
    assert writer.next_try() is not None
    writer.request_headers()
    writer.begin(ANSWER)
    writer.pace(5)
    clock.now += 1.0
    writer.write(b"x" * 5)
    assert (writer.next_try() is None) is (limit is None)


# --- tries --------------------------------------------------------------------------------------


def test_tries_without_progress_come_to_an_end() -> None:
    owner = Owner()
    writer = writer_of(owner, backoff=Backoff(3, 1.0))
    delays = [writer.next_try() for _ in range(4)]
    assert [delay is not None for delay in delays] == [True, True, False, False]
    assert owner.retries == 2


def test_delays_grow_until_there_is_progress() -> None:
    writer = writer_of(Owner(), backoff=Backoff(99, 1.0))
    bounds = ((0.5, 1), (1, 2), (2, 4))
    for least, most in bounds:
        delay = writer.next_try()
        assert delay is not None
        assert least <= delay <= most
    writer.write(b"0")
    delay = writer.next_try()
    assert delay is not None
    assert 0.5 <= delay <= 1


def test_progress_is_what_was_not_there_before() -> None:
    writer = writer_of(Owner(), backoff=Backoff(3, 0.0))
    writer.write(b"01234")
    assert writer.next_try() is not None
    # A server that always sends the whole, and always breaks off before what was there already.
    more = []
    for again in (b"012", b"01234"):
        writer.claim.position = writer.claim.start
        writer.write(again)
        more.append(writer.next_try())
    assert more == [0, None]


def test_every_byte_more_gives_all_tries_again() -> None:
    owner = Owner()
    writer = writer_of(owner, backoff=Backoff(2, 0.0))
    for _ in range(9):
        writer.write(b"x")
        assert writer.next_try() is not None
    assert owner.retries == 9
    assert writer.next_try() is None


def test_the_time_of_a_try_has_the_pause_before_it() -> None:
    async def test() -> list[float | None]:
        writer, delays = writer_of(Owner(), backoff=Backoff(2, 0.2, speed=100)), []
        for _ in range(2):
            writer.request_headers()
            writer.begin(ANSWER)
            writer.write(b"x")
            delays.append(writer.next_try())
            await writer.pause(delays[-1] or 0)
        return delays

    first, second = asyncio.run(test())
    assert first is not None
    assert second is None, "a byte in a tenth of a second is less than 100 bytes a second"


def test_what_the_server_asks_to_wait_is_not_its_slowness() -> None:
    class Busy(Owner):
        async def wait_for_turn(self, writer: RangeWriter) -> None:
            await asyncio.sleep(0.05)

    async def test() -> list[float | None]:
        writer, delays = writer_of(Busy(), backoff=Backoff(2, 0.0, speed=100)), []
        for _ in range(4):
            writer.request_headers()
            writer.begin(ANSWER)
            writer.write(b"x")
            delays.append(writer.next_try())
            await writer.pause(0.05)
        return delays

    assert asyncio.run(test()) == [0, 0, 0, 0]


# --- the end ------------------------------------------------------------------------------------


def test_a_stop_ends_the_transfer_with_its_reason() -> None:
    writer, stops = writer_of(Owner()), []
    writer.attach(lambda: stops.append("first"))
    writer.attach(lambda: stops.append("second"))
    assert writer.stopped is None
    reason = Stopped("the run was interrupted")
    writer.stop(reason)
    writer.stop(Stopped("again"))
    assert stops == ["second"]
    assert writer.stopped is reason


def test_what_is_attached_to_after_a_stop_is_refused() -> None:
    writer, stops = writer_of(Owner()), []
    reason = Stopped("the run was interrupted")
    writer.stop(reason)
    with pytest.raises(Stopped) as caught:
        writer.attach(lambda: stops.append("never"))
    assert caught.value is reason
    assert stops == []


def test_nothing_is_taken_after_a_stop() -> None:
    owner = Owner()
    writer = writer_of(owner)
    reason = Stopped("the run was interrupted")
    writer.stop(reason)
    with pytest.raises(Stopped) as caught:
        writer.begin(ANSWER)
    assert caught.value is reason
    with pytest.raises(Stopped) as caught:
        writer.write(b"late")
    assert caught.value is reason
    assert owner.accepted == []
    assert owner.received == 0
    assert writer.claim.position == 10


def test_a_stop_can_be_waited_for() -> None:
    async def wait() -> None:
        writer = writer_of(Owner())
        waiting = writer.stopping()
        assert not waiting.done()
        writer.stop(Stopped("the run was interrupted"))
        async with asyncio.timeout(10):
            await waiting
            await writer.stopping()
        late = writer_of(Owner())
        late.stop(Stopped("the run was interrupted"))
        assert late.stopping().done()

    asyncio.run(wait())


def test_a_pause_lasts() -> None:
    async def pause() -> float:
        began = time.monotonic()
        await writer_of(Owner()).pause(0.05)
        return time.monotonic() - began

    assert asyncio.run(pause()) >= 0.04


def test_a_pause_of_nothing_is_over_at_once() -> None:
    asyncio.run(writer_of(Owner()).pause(0))


def test_a_stop_wakes_from_a_pause() -> None:
    reason = Stopped("the run was interrupted")

    async def stop_while_it_pauses() -> None:
        writer = writer_of(Owner())
        pausing = asyncio.ensure_future(writer.pause(3600))
        asyncio.get_running_loop().call_later(0.01, writer.stop, reason)
        async with asyncio.timeout(10):
            await pausing

    with pytest.raises(Stopped) as caught:
        asyncio.run(stop_while_it_pauses())
    assert caught.value is reason


def test_there_is_no_pause_after_a_stop() -> None:
    writer = writer_of(Owner())
    writer.stop(Stopped("the run was interrupted"))

    async def pause() -> None:
        async with asyncio.timeout(10):
            await writer.pause(3600)

    with pytest.raises(Stopped):
        asyncio.run(pause())
