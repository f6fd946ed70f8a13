"""When to try again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.rules.backoff import MAX_BACKOFF, Backoff, retry_after

NOW = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)


def test_tries_without_progress_come_to_an_end() -> None:
    backoff = Backoff(3, 1.0)
    exhausted = []
    for _ in range(4):
        backoff = backoff.after_failure(progress=False)
        exhausted.append(backoff.exhausted)
    assert exhausted == [False, False, True, True]


def test_progress_starts_the_count_anew() -> None:
    backoff = Backoff(3, 1.0)
    for progress in (False, False, True, False, True, False):
        backoff = backoff.after_failure(progress=progress)
        assert not backoff.exhausted
    assert backoff.after_failure(progress=False).exhausted


def test_progress_is_faster_than_the_speed_at_which_a_connection_stalls() -> None:
    backoff = Backoff(3, 1.0, speed=1000)
    assert backoff.is_progress(2000, 2.0)
    assert backoff.is_progress(1, 0.001)
    assert not backoff.is_progress(1999, 2.0)
    assert not backoff.is_progress(0, 0.0)
    assert Backoff(3, 1.0).is_progress(1, 1e9)
    assert not Backoff(3, 1.0).is_progress(0, 1.0)


def test_a_state_is_not_changed_but_followed() -> None:
    backoff = Backoff(3, 1.0)
    backoff.after_failure(progress=False)
    assert backoff == Backoff(3, 1.0, tries=0)


def test_delays_double_up_to_a_bound() -> None:
    backoff, longest = Backoff(99, 1.0), []
    for _ in range(8):
        backoff = backoff.after_failure(progress=False)
        longest.append(backoff.delay(lambda: 1.0))
    assert longest == [1, 2, 4, 8, 16, 32, MAX_BACKOFF, MAX_BACKOFF]


def test_at_least_half_of_a_delay_is_no_chance() -> None:
    backoff = Backoff(99, 4.0, tries=2)
    assert backoff.delay(lambda: 0.0) == 4.0
    assert backoff.delay(lambda: 0.5) == 6.0


@given(
    st.integers(1, 10_000), st.integers(0, 10_000), st.floats(0, 1e308), st.floats(0, 1, width=32)
)
@example(10_000, 2_000, 1.0, 1.0)
@example(10_000, 2_000, 0.0, 1.0)
def test_however_often_it_was_tried(max_tries: int, tries: int, base: float, jitter: float) -> None:
    backoff = Backoff(max_tries, base, tries)
    assert 0 <= backoff.delay(lambda: jitter) <= MAX_BACKOFF
    assert 0 <= backoff.delay() <= MAX_BACKOFF
    assert backoff.exhausted == (tries >= max_tries)


def test_no_base_is_no_wait() -> None:
    assert Backoff(5, 0.0, tries=4).delay() == 0


# --- Retry-After --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7), ("007", 7), (None, None)]
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:30 -0000", 30),
        ("Wednesday, 21-Oct-15 07:29:00 GMT", 60),
        ("Wed Oct 21 07:30:00 2015", 120),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_retry_after_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


def test_retry_after_is_counted_from_now() -> None:
    seconds = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert seconds is not None
    assert 3590 < seconds <= 3600


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "soon",
        "-1",
        "+5",
        "1.5",
        "5s",
        "\u0663",
        "²",
        "nan",
        "inf",
        "Wed, 99 Oct 2015 07:28:30 GMT",
        "Wed, 21 Oct 2015 25:28:30 GMT",
        "Wed, 21 Oct 99999 07:28:30 GMT",
        "Wed, 21 Oct 2015 07:28:30 +9999",
        "Wed, 21 Oct 99999999999999999999 07:28:30 GMT",
    ],
)
def test_retry_after_that_says_nothing(value: str) -> None:
    assert retry_after(value, NOW) is None


def test_an_absurd_retry_after_is_a_long_time() -> None:
    seconds = retry_after("9" * 5000)
    assert seconds is not None
    assert 1e9 < seconds < float("inf")


LATIN_1 = st.binary().map(lambda value: value.decode("latin-1"))
DATES = st.builds(
    "{} {} {} {}:{}:{} {}".format,
    st.integers(0, 99),
    st.sampled_from(["Jan", "Feb", "Dec"]),
    st.integers(0, 99_999),
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(["GMT", "", "EST"]) | st.integers(-99_999, 99_999).map("{:+05}".format),
)


@given(st.one_of(LATIN_1, st.text("0123456789 :,+-GMTJan"), DATES))
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_whatever_a_retry_after_says(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < float("inf")
