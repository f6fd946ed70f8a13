"""How a file is answered for in HTTP's terms."""

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.contract import Answer
from fetcher.rules.answers import judge
from fetcher.rules.replies import Facts, Reply, reply_to, shown_reason

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
FACTS = Facts(1000, 1_700_000_000)
DATED = {"last-modified": DATE}

sizes = st.one_of(st.integers(0, 20), st.integers(0, 10**19 - 1))
positions = st.one_of(st.integers(0, 25), st.integers(0, 10**19 - 1))


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999", 0, 1000),
        ("bytes=0-1000", 0, 1000),
        ("bytes=100-199", 100, 200),
        ("bytes=999-", 999, 1000),
        ("bytes=0-", 0, 1000),
        ("bytes=0-9999999999999999999", 0, 1000),
    ],
)
def test_a_range(asked: str, start: int, end: int) -> None:
    reply = reply_to({"Range": asked}, FACTS, ranges=True)
    assert reply == Reply(
        206,
        {
            **DATED,
            "content-range": f"bytes {start}-{end - 1}/1000",
            "content-length": str(end - start),
        },
        start,
        end,
    )
    assert reply.has_body


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-2000", "bytes=5-4"])
def test_a_range_without_bytes(asked: str) -> None:
    reply = reply_to({"Range": asked}, FACTS, ranges=True)
    assert reply == Reply(416, {**DATED, "content-range": "bytes */1000"})
    assert not reply.has_body


@pytest.mark.parametrize(
    "asked",
    ["", "bytes=-5", "bytes=0-4,10-14", "lines=0-4", "bytes=a-b", "bytes=٣-٤", "bytes=0-4 "],
)
def test_what_is_no_range_of_the_kind_that_is_asked_for(asked: str) -> None:
    """It is ignored, as RFC 9110, section 14.2 allows."""
    reply = reply_to({"Range": asked}, FACTS, ranges=True)
    assert reply == Reply(200, {**DATED, "content-length": "1000"}, 0, 1000)


@pytest.mark.parametrize(("facts", "ranges"), [(FACTS, False), (Facts(None, FACTS.modified), True)])
def test_a_server_without_ranges_or_sizes(facts: Facts, ranges: bool) -> None:
    reply = reply_to({"Range": "bytes=100-199"}, facts, ranges=ranges)
    length = {} if facts.size is None else {"content-length": "1000"}
    assert reply == Reply(200, DATED | length, 0, facts.size)
    assert reply.has_body


@pytest.mark.parametrize("runs_on", [False, True])
def test_an_empty_file(runs_on: bool) -> None:
    empty = Facts(0, None)
    whole = reply_to({}, empty, ranges=True, runs_on=runs_on)
    assert whole == Reply(200, {"content-length": "0"}, 0, 0)
    part = reply_to({"Range": "bytes=0-99"}, empty, ranges=True, runs_on=runs_on)
    assert part == Reply(416, {"content-range": "bytes */0"})
    assert not whole.has_body
    assert not part.has_body


@given(sizes, positions, st.none() | positions, st.booleans())
def test_whatever_the_range(size: int, first: int, last: int | None, runs_on: bool) -> None:
    """RFC 9110, section 14.1.2: from the first position on, up to and including the last, or to
    the end where that comes before it or there is no last; without a byte, 416 (15.5.17)."""
    asked = {"Range": f"bytes={first}-{'' if last is None else last}"}
    reply = reply_to(asked, Facts(size, None), ranges=True, runs_on=runs_on)
    wanted = range(first, size if last is None else min(size, last + 1))
    if not wanted:
        assert reply == Reply(416, {"content-range": f"bytes */{size}"})
        return
    assert reply.status == 206
    assert reply.start == wanted.start
    assert reply.end == (size if runs_on else wanted.stop)
    body = judge(Answer("ftp://h/a", reply.status, reply.headers), first, None)
    assert (body.start, body.end, body.version.size) == (reply.start, reply.end, size)
    assert reply.has_body


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "modified", "status"),
    [
        (DATE, FACTS.modified, 206),
        (DATE, 1_700_000_001, 200),
        (DATE, None, 200),
        ("Tue, 14 Nov 2023 22:13:21 GMT", FACTS.modified, 200),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", FACTS.modified, 200),
        ('"a tag"', FACTS.modified, 200),
    ],
)
def test_if_range(given: str, modified: int | None, status: int) -> None:
    asked = {"Range": "bytes=100-199", "If-Range": given}
    reply = reply_to(asked, Facts(1000, modified), ranges=True)
    assert reply.status == status
    assert (reply.start, reply.end) == ((100, 200) if status == 206 else (0, 1000))


@pytest.mark.parametrize(
    ("given", "modified", "status"),
    [
        (DATE, FACTS.modified, 304),
        (DATE, 1_700_000_001, 200),
        (DATE, 1_699_999_999, 200),
        (DATE, None, 200),
    ],
)
def test_if_modified_since(given: str, modified: int | None, status: int) -> None:
    reply = reply_to({"If-Modified-Since": given}, Facts(1000, modified), ranges=True)
    assert reply.status == status
    assert reply.has_body is (status == 200)


@given(st.integers(0, 10**12))
def test_whatever_the_date(seconds: int) -> None:
    date = reply_to({}, Facts(1, seconds), ranges=True).headers.get("last-modified")
    if date is None:
        assert seconds >= 253_402_300_800  # The year 10000 has no such form.
    else:
        assert date.endswith(" GMT")
        assert parsedate_to_datetime(date).timestamp() == seconds


@pytest.mark.parametrize(
    ("before", "now", "answer"),
    [
        (Facts(1, 2), Facts(1, 2), False),
        (Facts(1, 2), Facts(1, 3), True),
        (Facts(1, 2), Facts(0, 2), True),
        (Facts(1, None), Facts(1, 3), False),
        (Facts(None, None), Facts(1, 3), False),
        (Facts(None, 2), Facts(1, 3), True),
        (Facts(0, 0), Facts(None, None), False),
    ],
)
def test_facts_that_differ(before: Facts, now: Facts, answer: bool) -> None:
    assert before.differ(now) is answer
    assert now.differ(before) is answer


# --- reasons --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 No such file.", "550 No such file."),
        (" \t 550\r\nNo\0such\x1b[31mfile \n", "550 No such [31mfile"),
        ("größer 日本", "größer 日本"),
        ("gpj.\u202eexe", "gpj. exe"),
        ("half a \ud83d", "half a"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "…"),
        ("", ""),
    ],
)
def test_reason(text: str, shown: str) -> None:
    assert shown_reason(text) == shown


def test_reason_without_secrets() -> None:
    text = "530 user with secret and geheim: secret"
    assert shown_reason(text, ("secret", "", "geheim")) == "530 user with … and …: …"


@given(st.text(), st.text())
def test_whatever_the_reason(text: str, secret: str) -> None:
    shown = shown_reason(text, (secret,))
    assert len(shown) <= 201
    assert shown == shown.strip()
    assert not set(shown) & set("\n\r\t\0\x1b\x7f\x9b\u202e")
    shown.encode()
