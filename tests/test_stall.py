"""Whether a connection still delivers."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from scrapy.settings import Settings

from fetcher.config import Config
from fetcher.errors import StalledError
from fetcher.handlers.stalls import StallTimer
from fetcher.rules.stall import TICKS, StallClock


def looks(clock: StallClock, received: list[int]) -> list[bool]:
    """What the clock says when these many bytes have come in each interval."""
    told = []
    for count in received:
        clock.received(count)
        told.append(clock.tick())
    return told


def test_a_window_is_as_long_as_the_timeout() -> None:
    clock = StallClock(60, 0)
    assert clock.interval * TICKS == 60


def test_a_silent_connection_has_stalled_after_one_window() -> None:
    assert looks(StallClock(8, 0), [0] * TICKS) == [False] * (TICKS - 1) + [True]


def test_a_speed_of_zero_needs_one_byte_a_window() -> None:
    assert not any(looks(StallClock(8, 0), ([0] * (TICKS - 1) + [1]) * 5))


def test_the_speed_that_is_enough_is_enough() -> None:
    # 8 seconds, 10 bytes a second: one interval is a second.
    assert not any(looks(StallClock(8, 10), [10] * 100))
    assert not any(looks(StallClock(8, 10), [80] + [0] * (TICKS - 1)))


def test_one_byte_less_is_not() -> None:
    assert looks(StallClock(8, 10), [9] + [10] * (TICKS - 1))[-1]


def test_blocks_in_one_interval_count_together() -> None:
    clock = StallClock(8, 10)
    for _ in range(TICKS):
        clock.received(4)
        clock.received(6)
        told = clock.tick()
    assert not told


def test_a_fast_start_does_not_last() -> None:
    told = looks(StallClock(8, 10), [10_000] + [0] * TICKS)
    assert told == [False] * TICKS + [True]


def test_a_connection_that_goes_on_has_not_stalled() -> None:
    told = looks(StallClock(8, 10), [0] * TICKS + [80] + [0] * (TICKS - 1))
    assert told == [False] * (TICKS - 1) + [True] + [False] * TICKS


@given(
    st.integers(1, 100),
    st.integers(0, 1000),
    st.lists(st.integers(0, 20_000), max_size=4 * TICKS),
)
def test_it_is_the_average_over_the_last_window(
    timeout: int, speed: int, received: list[int]
) -> None:
    for at, stalled in enumerate(looks(StallClock(timeout, speed), received), 1):
        lately = sum(received[max(0, at - TICKS) : at])
        assert stalled == (at >= TICKS and lately < max(1, speed * timeout))


# --- the timer ------------------------------------------------------------------------------------


def test_a_stall_is_told_again_and_again_until_the_timer_is_stopped() -> None:
    """Who is told may have bytes just then, and not be able to do anything about it."""
    settings = Settings()
    settings.setmodule("fetcher.settings")
    settings.update({"FETCHER_STALL_TIMEOUT": 0.08, "FETCHER_STALL_SPEED": 1_000_000})
    told: list[StalledError] = []

    async def main() -> None:
        timer = StallTimer("http://h/f", Config.from_settings(settings), told.append)
        async with asyncio.timeout(2):
            while len(told) < 3:
                timer.received(1)
                await asyncio.sleep(0.002)
        timer.stop()
        last = len(told)
        await asyncio.sleep(0.03)
        assert len(told) == last

    asyncio.run(main())
    assert told[0].retryable
    assert told[0].message.startswith("http://h/f stalled: under 1000000 bytes a second for 0.08 s")


def test_time_in_which_nobody_reads_does_not_count() -> None:
    settings = Settings()
    settings.setmodule("fetcher.settings")
    settings.update({"FETCHER_STALL_TIMEOUT": 0.08})

    async def main() -> None:
        told = asyncio.Event()
        config = Config.from_settings(settings)
        timer = StallTimer("http://h/f", config, lambda _: told.set())
        loop = asyncio.get_running_loop()
        began, paused = loop.time(), 0.0
        for _ in range(4):
            await asyncio.sleep(0.005)
            timer.pause()
            since = loop.time()
            await asyncio.sleep(0.05)
            paused += loop.time() - since
            timer.resume()
        async with asyncio.timeout(2):
            await told.wait()
        timer.stop()
        assert loop.time() - began >= paused + 0.08 - 0.005

    asyncio.run(main())
