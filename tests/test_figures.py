"""Figures and names as displays show them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fetcher.extensions.figures import (
    Speed,
    duration,
    percentage,
    plain,
    portion,
    rate,
    remaining,
    shorten,
    size,
)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 * 1024, "100 KiB"),
        (1023.4 * 1024, "1023 KiB"),
        (1023.6 * 1024, "1.0 MiB"),
        (10 << 30, "10.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (2 << 60, "2048 PiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit_of_1024(count: float, shown: str) -> None:
    assert size(count) == shown
    assert rate(count) == shown + "/s"


@given(st.floats(0, 1 << 60, allow_subnormal=False))
def test_sizes_fit_their_column(count: float) -> None:
    assert len(size(count)) <= 8


@given(st.integers(0, 1 << 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_portions_fit_their_column(portions: tuple[int, int]) -> None:
    assert len(portion(*portions)) <= 13


def test_portion_is_in_the_unit_of_the_whole() -> None:
    assert portion(1288490189, 10 << 30) == "1.2/10.0 GiB"
    assert portion(5 << 20, None) == "5.0 MiB"


def test_a_hundred_percent_is_said_only_of_the_whole() -> None:
    assert percentage(9999, 10000) == "99%"
    assert percentage(10000, 10000) == "100%"
    assert percentage(0, 0) == "100%"
    assert percentage(5, None) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00:00"),
        (59.9, "0:00:59"),
        (3723, "1:02:03"),
        (99 * 3600, "99:00:00"),
        (100 * 3600, "4d 04h"),
        (365 * 86400, "365d"),
        (1e300, "--:--"),
        (float("inf"), "--:--"),
        (-1, "--:--"),
        (None, "--:--"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown
    assert len(shown) <= 8


def test_remaining_time_is_unknown_without_size_or_speed() -> None:
    assert remaining(50, 100, 10.0) == 5.0
    assert remaining(150, 100, 10.0) == 0
    assert remaining(50, None, 10.0) is None
    assert remaining(50, 100, 0.0) is None


def test_names_keep_both_ends() -> None:
    assert shorten("sa_000001_part_of_all.tar.zst", 15) == "sa_0000…tar.zst"
    assert shorten("short", 5) == "short"
    assert shorten("much too long", 1) == "…"
    assert shorten("much too long", 0) == ""
    assert shorten("日本語のファイル名", 9, cells=cell_len) == "日本…ル名"
    assert shorten("a-long-name.tar", 9, mark="...") == "a-l...tar"
    assert shorten("e\u0301" * 9, 5, cells=cell_len) == "e\u0301e\u0301…e\u0301e\u0301"


@given(st.text(max_size=60), st.integers(1, 40))
def test_a_shortened_name_fits(name: str, width: int) -> None:
    name = plain(name)
    assert cell_len(shorten(name, width, cells=cell_len)) <= width
    assert len(shorten(name, width)) <= width


@given(st.text())
def test_a_plain_text_steers_nothing(text: str) -> None:
    categories = {unicodedata.category(character) for character in plain(text)}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    plain(text).encode()


def test_a_plain_text_keeps_what_is_harmless() -> None:
    assert plain("日本語 é [bold]x[/].tar") == "日本語 é [bold]x[/].tar"
    assert plain("a\x1b[2J\x07b\nc\udcff") == "a�[2J�b�c�"
    assert plain("gpj\u202e.exe") == "gpj.exe"


def test_speed_is_that_of_the_last_seconds() -> None:
    speed = Speed(window=5)
    assert speed.value == 0
    for second in range(11):
        speed.add(float(second), second * 100)
    assert speed.value == 100
    for second in range(11, 17):
        speed.add(float(second), 1000)
    assert speed.value == 0


def test_speed_of_two_looks_at_one_time_is_none() -> None:
    speed = Speed()
    speed.add(1.0, 0)
    speed.add(1.0, 100)
    assert speed.value == 0
