"""Journals: only what would be written just so is believed, whatever its seal says."""

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fetcher.disk.journal import FORMAT, BadJournalError, Journal, decode
from fetcher.rules.answers import Version
from fetcher.rules.ranges import Ranges
from tests.fuzz.mutations import fuzz, mutated

SPECIAL = [
    *(b"", b"\0", b" ", b"\n", b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"NaN"),
    *(b"-1", b"1.0", b"1e3", b"00", b"9" * 30, b"\\u0000", b"\\ud800", b"\xff", b"[" * 2000),
    *(b'"seal": ""', b'"version": 2', b'"ranges": []', b"[0, 1], ", b"Infinity"),
]


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    size = draw(st.integers(0, 1000))
    cuts = sorted(draw(st.sets(st.integers(0, size), max_size=8)))
    return Journal(
        draw(st.sampled_from(["a", "b/\xe9.tar", '"', "\ud800"])),
        Version(
            draw(st.sampled_from([size, None])),
            draw(st.sampled_from([None, '"a"', "W/x"])),
            draw(st.sampled_from([None, "Wed, 21 Oct 2015 07:28:00 GMT", ""])),
        ),
        tuple(zip(cuts[::2], cuts[1::2], strict=False)),
    )


def check(text: bytes) -> None:
    """A text is refused, or it is the journal that it is taken for."""
    try:
        journal = decode(text)
    except BadJournalError as error:
        assert str(error)
        return
    assert journal.encode() == text
    Ranges(journal.version.size, journal.ranges)


@fuzz
@given(mutated(journals().map(Journal.encode), SPECIAL))
def test_damaged_journals(text: bytes) -> None:
    check(text)


anything = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -1, 1.0, FORMAT, "a", "", 10**30, float("nan")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@fuzz
@given(
    journals(),
    st.dictionaries(
        st.sampled_from(
            ["version", "name", "size", "etag", "last_modified", "codings", "ranges", "more"]
        ),
        anything,
        max_size=3,
    ),
)
def test_anything_under_a_right_seal(journal: Journal, changes: dict[str, Any]) -> None:
    content = json.loads(journal.encode()) | changes
    del content["seal"]
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    check(json.dumps({**content, "seal": seal}).encode() + b"\n")
