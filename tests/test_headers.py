"""Headers of rows: which are sent, and that they stay with their origin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.rules.headers import OWN, merge_headers, parse_header


def test_a_header_is_taken_apart() -> None:
    assert parse_header("X-Key:  a: b ") == ("X-Key", "a: b")
    assert parse_header("Referer:") == ("Referer", "")


@pytest.mark.parametrize(
    "line",
    ["", "X-Key", ": value", "X Key: v", "X-Key: a\r\nHost: b", "X-Key: a\nb", "X\n: v", "X: \0"],
)
def test_what_is_no_header_is_refused_without_its_value(line: str) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        parse_header(line)
    assert "value" not in str(caught.value).replace("Name: value", "")


@pytest.mark.parametrize("name", [*sorted(OWN), "HOST", "range "])
def test_the_downloaders_own_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="own"):
        parse_header(f"{name}: x")


@given(st.text())
def test_nothing_gets_through_that_ends_a_line(line: str) -> None:
    try:
        name, value = parse_header(line)
    except ValueError:
        return
    assert not {"\r", "\n", "\0"} & set(name + value)
    assert name.lower() not in OWN


def test_later_headers_stand_for_earlier_ones_of_the_name() -> None:
    first = (("Authorization", "a"), ("X", "1"))
    second = (("authorization", "b"), ("Y", "2"), ("y", "3"))
    assert merge_headers(first, second) == {"authorization": ["b"], "x": ["1"], "y": ["2", "3"]}
