"""How far a list has been worked off: never further than what is in the report."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fetcher.spiders.bookmark import Bookmark


@given(st.integers(0, 50), st.lists(st.integers(1, 5), max_size=30), st.data())
def test_no_row_before_the_mark_is_open(start: int, steps: list[int], data: st.DataObject) -> None:
    """Rows of other shards lie between those that are taken."""
    state: dict[str, Any] = {}
    Bookmark(state, "v")
    state["done"] = start
    mark = Bookmark(state, "v")
    assert mark.start == start
    number, taken, reported = start, [], set()
    for step in steps:
        number += step
        mark.take(number)
        taken.append(number)
        left = [each for each in taken if each not in reported]
        for each in data.draw(st.lists(st.sampled_from(left), unique=True)):
            mark.report(each)
            reported.add(each)
        known = Bookmark(dict(state), "v").start
        assert all(each in reported for each in taken if each <= known)
        if reported == set(taken):
            assert known == number


def test_what_is_known_of_another_version_does_not_count() -> None:
    state: dict[str, Any] = {}
    mark = Bookmark(state, "one")
    mark.take(1)
    mark.report(1)
    assert (Bookmark(dict(state), "one").start, Bookmark(dict(state), "one").changed) == (1, False)
    other = Bookmark(state, "two")
    assert (other.start, other.changed) == (0, True)


def test_a_job_of_an_earlier_version_is_begun_anew() -> None:
    """Its rows were counted when they were taken up, and waited in a queue on disk."""
    assert Bookmark({"rows": 30, "version": "v"}, "v").start == 0
