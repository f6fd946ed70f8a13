"""An error page with status 200 is told from the file that was asked for."""

from __future__ import annotations

import pytest

from fetcher.contract import Answer
from fetcher.rules.pages import HEAD, looks_like_page, says_page


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("text/html", "a.tar", True),
        ("Text/HTML; charset=utf-8", "b/a.tar.gz", True),
        ("application/xhtml+xml", "a.bin", True),
        ("text/html", "a.html", False),
        ("text/html", "a.HTM", False),
        ("text/html", "index", False),
        ("text/html", "v1.2/index", False),
        ("application/octet-stream", "a.tar", False),
        ("", "a.tar", False),
    ],
)
def test_what_calls_itself_a_page(kind: str, name: str, expected: bool) -> None:
    answer = Answer("http://h/", 200, {"content-type": kind} if kind else {})
    assert says_page(answer, name) is expected


@pytest.mark.parametrize(
    "head",
    [
        b"<!DOCTYPE html>",
        b"\xef\xbb\xbf \r\n<!doctype HTML PUBLIC ...",
        b"<html><head>",
        b"<!-- a comment\n --> <HTML lang='en'>",
        b'<?xml version="1.0"?>\n<html xmlns="...">',
        b"\n\n<title>403</title>",
        b"<script>location = 1</script>",
    ],
)
def test_what_begins_as_a_page_does(head: bytes) -> None:
    assert looks_like_page(head)


@pytest.mark.parametrize(
    "head", [b"", b"<", b"<htmlx>", b"<svg>", b"ustar", b"x<html>", b"PK\3\4", b" " * HEAD + b"<p>"]
)
def test_what_does_not(head: bytes) -> None:
    assert not looks_like_page(head)


@pytest.mark.parametrize(
    ("junk", "end"),
    [(b"<!---->", b""), (b"<!-- -->\n", b""), (b"<?xml?>", b""), (b"<!--", b"-->"), (b" \n", b"")],
)
def test_junk_before_a_page_is_read_once(junk: bytes, end: bytes) -> None:
    """Each comment might be taken to end at any later end: 2 ** 146 ways to read 146 of them."""
    assert not looks_like_page(junk * HEAD)
    assert looks_like_page(junk * 50 + end + b"<html>")
