"""The journal: only what reads back exactly as it was written is trusted."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.disk.journal import FORMAT, MAX_BYTES, BadJournalError, Journal, decode
from fetcher.rules.answers import Version
from fetcher.rules.ranges import Range

TYPICAL = Journal(
    "folder/été.tar",
    Version(10 << 30, '"5d8c72a5edda8d6a"', "Wed, 21 Oct 2015 07:28:00 GMT"),
    ((0, 8 << 20), (32 << 20, 48 << 20), (9 << 30, (9 << 30) + 1)),
)
CONTENT: dict[str, Any] = {
    "version": FORMAT,
    "name": "a",
    "size": 10,
    "etag": '"a"',
    "last_modified": None,
    "codings": [],
    "ranges": [[0, 5], [7, 10]],
}


def sealed(content: dict[str, Any]) -> bytes:
    """A text whose seal is right, whatever it says."""
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}).encode() + b"\n"


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    size = draw(st.integers(0, 1 << 50))
    cuts = sorted(draw(st.sets(st.integers(0, size), max_size=10)))
    ranges: tuple[Range, ...] = tuple(zip(cuts[::2], cuts[1::2], strict=False))
    version = Version(
        draw(st.sampled_from([size, None])),
        draw(st.none() | st.text()),
        draw(st.none() | st.text()),
    )
    return Journal(draw(st.text()), version, ranges)


@given(journals())
def test_a_journal_reads_back_as_it_was_written(journal: Journal) -> None:
    assert decode(journal.encode()) == journal


def test_a_journal_is_one_line_of_json() -> None:
    text = TYPICAL.encode()
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    content = json.loads(text)
    assert content["version"] == FORMAT
    assert content["name"] == TYPICAL.name
    assert content["ranges"] == [list(pair) for pair in TYPICAL.ranges]


def test_what_is_not_compared_is_not_compared_after_a_pause_either() -> None:
    # Back ends with ETags of their own: size and date were enough before the run was stopped.
    version = replace(TYPICAL.version, ignore_etag=True)
    remembered = decode(replace(TYPICAL, version=version).encode()).version
    assert remembered.if_range == version.if_range
    assert remembered.validator == version.validator
    remembered.check(replace(version, etag='"another"'))


def test_a_journal_cut_at_any_byte() -> None:
    text = TYPICAL.encode()
    assert decode(text) == TYPICAL
    for length in range(len(text)):
        with pytest.raises(BadJournalError):
            decode(text[:length])


def test_a_journal_with_any_bit_flipped() -> None:
    text = TYPICAL.encode()
    for at in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[at] ^= 1 << bit
            with pytest.raises(BadJournalError):
                decode(bytes(flipped))


def test_a_journal_with_any_byte_zeroed_or_doubled() -> None:
    text = TYPICAL.encode()
    for at in range(len(text)):
        for middle in (b"\0", text[at : at + 1] * 2):
            with pytest.raises(BadJournalError):
                decode(text[:at] + middle + text[at + 1 :])


def test_a_journal_zeroed_from_any_byte_on() -> None:
    # What a power cut leaves of a file whose length reached the disk before its bytes.
    text = TYPICAL.encode()
    for at in range(len(text)):
        with pytest.raises(BadJournalError):
            decode(text[:at] + bytes(len(text) - at))


def test_a_journal_that_overwrote_a_longer_one() -> None:
    short = replace(TYPICAL, ranges=()).encode()
    with pytest.raises(BadJournalError):
        decode(short + TYPICAL.encode()[len(short) :])
    with pytest.raises(BadJournalError):
        decode(short * 2)


@pytest.mark.parametrize("version", [0, FORMAT + 1, None, "1", [FORMAT]])
def test_a_journal_of_another_version(version: object) -> None:
    with pytest.raises(BadJournalError, match="version"):
        decode(sealed({**CONTENT, "version": version}))


def test_a_journal_that_is_too_long() -> None:
    text = TYPICAL.encode()
    with pytest.raises(BadJournalError, match="too long"):
        decode(text + b" " * MAX_BYTES)


def test_the_journals_of_these_tests_are_sealed_well() -> None:
    assert decode(sealed(CONTENT)) == Journal("a", Version(10, '"a"'), ((0, 5), (7, 10)))


@pytest.mark.parametrize("key", CONTENT)
def test_a_journal_that_lacks_something(key: str) -> None:
    with pytest.raises(BadJournalError):
        decode(sealed({name: value for name, value in CONTENT.items() if name != key}))


@pytest.mark.parametrize(
    "ranges",
    [
        None,
        5,
        "ab",
        {},
        [5],
        [[0]],
        [[0, 1, 2]],
        [["0", "5"]],
        [[0, None]],
        [[0, 11]],
        [[-1, 5]],
        [[5, 5]],
        [[5, 4]],
        [[0, 5], [4, 6]],
        [[7, 10], [0, 5]],
    ],
)
def test_ranges_that_no_file_has(ranges: object) -> None:
    with pytest.raises(BadJournalError):
        decode(sealed({**CONTENT, "ranges": ranges}))


@pytest.mark.parametrize("size", ["10", [10], {}])
def test_sizes_that_no_file_has(size: object) -> None:
    with pytest.raises(BadJournalError):
        decode(sealed({**CONTENT, "size": size, "ranges": []}))


def test_however_deep_it_is_nested() -> None:
    for depth in range(1, 1200):
        for text in (b"[" * depth, b'{"a":' + b"[" * depth + b"]" * depth + b"}"):
            with pytest.raises(BadJournalError):
                decode(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.binary())
def test_whatever_the_bytes(text: bytes) -> None:
    with pytest.raises(BadJournalError):
        decode(text)


@given(JSON)
def test_whatever_the_json(content: object) -> None:
    with pytest.raises(BadJournalError):
        decode(json.dumps(content).encode())


@given(st.dictionaries(st.sampled_from(sorted(CONTENT)), JSON))
def test_whatever_is_sealed(changes: dict[str, Any]) -> None:
    """A right seal on something else: refused, or what would have been written."""
    text = sealed({**CONTENT, **changes})
    try:
        journal = decode(text)
    except BadJournalError:
        return
    assert journal.encode() == text
