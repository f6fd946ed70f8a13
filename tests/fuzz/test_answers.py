"""Heads of answers: ``Content-Range`` and what stands beside it, ``Retry-After``, checksums."""

import math
import re
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.contract import Answer
from fetcher.errors import FetchError
from fetcher.rules.answers import Version, judge
from fetcher.rules.backoff import retry_after
from fetcher.rules.checksums import ALGORITHMS, parse_checksum, stated_checksums
from tests.fuzz.mutations import fuzz, mutated

SPECIAL = [
    *("", " ", "\t", ",", ";", "-", "/", "*", ":", "=", '"', "\0", "\r\n", "\x0b", "\x85", "\xa0"),
    *("0", "-1", "+1", "1_0", "0x1", "1e3", "\xb2", "\u0663", "99999999999999999999"),
]
DATES = ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:01 GMT", "yesterday", "")
ETAGS = ('"a"', '"b"', 'W/"a"', '"', '""', "a", "")
START = 10

near = st.integers(0, 3).map(lambda step: START - 1 + step) | st.integers(0, 40)
numbers = near.map(str) | st.integers(0, 1 << 70).map(str)
content_ranges = mutated(
    st.builds(
        "{}{}{}-{}/{}".format,
        st.sampled_from(["bytes", "BYTES", "bits", "bytes="]),
        st.sampled_from([" ", "  ", "\t", ""]),
        st.just(str(START)) | numbers,
        numbers,
        numbers | st.just("*"),
    ),
    SPECIAL,
)
heads = st.fixed_dictionaries(
    {"content-range": content_ranges},
    optional={
        "content-length": mutated(numbers, SPECIAL, most=1),
        "content-type": mutated(
            st.sampled_from(["text/html", "multipart/byteranges; boundary=x", "a/b"]), SPECIAL
        ),
        "content-encoding": mutated(
            st.sampled_from(["gzip", "identity", "gzip, br", "zstd,identity", "x-gzip"]), SPECIAL
        ),
        "etag": mutated(st.sampled_from(ETAGS), SPECIAL, most=1),
        "last-modified": mutated(st.sampled_from(DATES), SPECIAL, most=1),
        "date": mutated(st.sampled_from(DATES), SPECIAL, most=1),
    },
)
versions = st.builds(
    Version,
    st.none() | near,
    st.none() | st.sampled_from(ETAGS),
    st.none() | st.sampled_from(DATES),
    st.booleans(),
    st.booleans(),
)


@fuzz
@given(st.sampled_from([200, 206]), heads, st.none() | versions)
def test_content_range(status: int, headers: dict[str, str], known: Version | None) -> None:
    try:
        body = judge(Answer("http://h/", status, headers), START, known)
    except FetchError as error:
        assert error.message.isprintable()
        return
    if known is not None:
        assert None in (known.size, body.version.size) or known.size == body.version.size
    if status == 200:
        assert (body.start, body.whole) == (0, True)
        return
    # What is accepted is what it says in plain digits, and nothing else stands there.
    stated = re.split(r"[ \t]+|[-/]", headers["content-range"].strip())
    assert stated[0].lower() == "bytes"
    assert body.end is not None
    assert body.version.size is not None
    assert [int(number) for number in stated[1:]] == [START, body.end - 1, body.version.size]
    assert START < body.end <= body.version.size
    length = headers.get("content-length")
    assert length is None or int(length) == body.end - START


waits = mutated(
    numbers
    | st.sampled_from(
        [*DATES, "Wed, 31 Dec 9999 23:59:59 +2359", "Wed, 01 Jan 0001 00:00:00 -2359", "5.5"]
    )
    | st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Mon", "Monday", ""]),
        st.integers(0, 40),
        st.sampled_from(["Jan", "Feb", "January", "Foo"]),
        st.integers(0, 10_000),
        *(st.integers(0, 70),) * 3,
        st.sampled_from(["GMT", "EST", "+0000", "-9999", "+99999999999", ""]),
    ),
    SPECIAL,
)


@fuzz
@given(waits)
def test_retry_after(value: str) -> None:
    seconds = retry_after(value, datetime(2015, 10, 21, tzinfo=UTC))
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
base64s = st.sampled_from([16, 20, 32, 64]).map(lambda size: "A" * (-(-size // 3) * 4 - 2) + "==")
digests = mutated(
    st.lists(
        st.builds(
            "{}={}{}{}".format,
            st.sampled_from(["sha-256", "SHA-512", "md5", "sha", "sha-1", "crc32c", "unixsum"]),
            st.sampled_from(["", ":"]),
            base64s,
            st.sampled_from(["", ":", ";q=1"]),
        ),
        max_size=3,
    ).map(", ".join)
    | base64s,
    SPECIAL,
)
DIGEST_HEADERS = ("repr-digest", "digest", "x-goog-hash", "x-amz-checksum-sha256", "content-md5")


@fuzz
@given(
    st.sampled_from([200, 206]),
    st.dictionaries(
        st.sampled_from([*DIGEST_HEADERS, "content-digest", "content-encoding"]), digests
    ),
)
def test_checksum_headers(status: int, headers: dict[str, str]) -> None:
    for header, stated in stated_checksums(status, headers).items():
        assert header in headers
        assert header not in ("content-md5", "content-digest") or status == 200
        assert parse_checksum(stated) == stated


@fuzz
@given(
    mutated(
        st.builds(
            "{}{}{}".format,
            st.sampled_from([*ALGORITHMS, "SHA-256", "crc32", ""]),
            st.sampled_from([":", "=", " : ", ""]),
            st.sampled_from(sorted(LENGTHS.values())).flatmap(
                lambda size: st.text("0123456789abcdefABCDEF", min_size=size, max_size=size)
            ),
        ),
        SPECIAL,
    )
)
@example("sha256:" + "\u0660" * 64)
def test_checksums_of_a_list(text: str) -> None:
    try:
        checksum = parse_checksum(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    algorithm, _, digits = checksum.partition(":")
    assert len(bytes.fromhex(digits)) * 2 == len(digits) == LENGTHS[algorithm]
    assert parse_checksum(checksum) == checksum
