"""Rows on their way through a queue: as they were, or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import InvalidNameError, InvalidRowError, SetAsideError
from fetcher.lists import BadRow, NamedRow, Row, make_row
from fetcher.queue.rows import decode, encode, set_aside
from fetcher.rules.pieces import Pieces

SHA256 = "sha256:" + "ab" * 32

names = st.sampled_from(["a.tar", "2024/é b.tar", "x" * 200, ""])
urls = st.sampled_from(
    ["http://h/a.tar", "https://u:p%40@h:8443/x/y?sig=1", "ftp://h/%2Fetc/x", "sftp://anna@h/~/a"]
)
fields = st.fixed_dictionaries(
    {"url": urls, "name": names},
    optional={
        "size": st.integers(0, 10**15).map(str),
        "checksum": st.sampled_from([SHA256, "md5:" + "0" * 32]),
        "mirrors": st.sampled_from(["http://m/a", "http://m/a ftp://n/b"]),
        "splits": st.sampled_from(["1", "64"]),
    },
)
headers = st.lists(st.sampled_from([("X-Key", "v"), ("Accept", "é")]), max_size=2)
pieces = st.sampled_from([None, Pieces(4096, "sha1", ("0" * 40, "1" * 40))])


@given(fields, headers, pieces, st.integers(1, 10**9), st.sampled_from([None, SHA256]))
def test_a_row_comes_out_as_it_went_in(
    plain: dict[str, str],
    given_headers: list[tuple[str, str]],
    hashes: Pieces | None,
    number: int,
    sums: str | None,
) -> None:
    row = make_row(number, plain, tuple(given_headers), hashes)
    assert isinstance(row, Row)
    for name in (row.name or "a.tar", "other.1.tar"):
        assert decode(encode(NamedRow(number, row, name, sums))) == (number, row, name, sums)


def test_mirrors_that_are_passed_over_are_told() -> None:
    mirrors = " ".join(f"http://m{number}/a" for number in range(70))
    row = make_row(1, {"url": "http://h/a", "mirrors": mirrors})
    assert isinstance(row, Row)
    assert row.unused == 6
    assert decode(encode(NamedRow(1, row, "a"))).row == row


def test_a_row_that_cannot_be_used_comes_out_with_its_reason() -> None:
    bad = make_row(7, {"url": "http://u:secret@h/a", "name": "../a"})
    assert isinstance(bad, BadRow)
    out = decode(encode(NamedRow(3, bad, "")))
    assert isinstance(out.row, BadRow)
    assert (out.number, out.row.line, out.row.name, out.row.url) == (3, 7, "../a", "http://h/a")
    assert isinstance(out.row.error, InvalidNameError)
    assert out.row.error.message == bad.error.message


def test_it_is_short() -> None:
    row = make_row(1, {"url": "http://cdn.example/files/file-0000001.bin"})
    assert len(encode(NamedRow(1, row, "file-0000001.bin"))) < 90


ROW = {"number": 5, "line": 1, "url": "http://h/a"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        json.dumps(ROW | {"url": "file:///etc/passwd"}),
        json.dumps(ROW | {"url": 5}),
        json.dumps(ROW | {"name": "../../.ssh/authorized_keys"}),
        json.dumps(ROW | {"given": "../../.ssh/authorized_keys"}),
        json.dumps(ROW | {"given": "/etc/passwd"}),
        json.dumps(ROW | {"given": "a.part.json"}),
        json.dumps(ROW | {"given": ["a"]}),
        json.dumps(ROW | {"headers": [["Host", "x\r\nX: y"]]}),
        json.dumps(ROW | {"headers": [1]}),
        json.dumps(ROW | {"pieces": {"length": 0, "algorithm": "md5", "hashes": []}}),
        json.dumps(ROW | {"mirrors": ["file:///etc/passwd"]}),
        json.dumps(ROW | {"error": "SystemExit", "message": "x"}),
    ],
)
def test_what_somebody_else_puts_there_does_no_harm(text: str) -> None:
    named = decode(text)
    assert isinstance(named.row, BadRow)
    assert isinstance(named.row.error, InvalidRowError)
    assert named.name == ""


def test_a_row_that_is_set_aside_says_so() -> None:
    row = make_row(4, {"url": "http://h/a"})
    aside = set_aside(NamedRow(9, row, "a"), 3).row
    assert isinstance(aside, BadRow)
    assert isinstance(aside.error, SetAsideError)
    assert (aside.line, aside.name, aside.url) == (4, "a", "http://h/a")
