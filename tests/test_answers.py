"""What an answer's head means for a range request."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.contract import Answer
from fetcher.errors import ChangedError, FetchError, ProtocolError, RangesRefusedError
from fetcher.rules.answers import (
    Body,
    Version,
    content_length,
    judge,
    unsatisfied_size,
    version_of,
)

URL = "http://127.0.0.1/file"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Thu, 22 Oct 2015 07:28:00 GMT"
STRONG, WEAK = '"a"', 'W/"a"'


def partial(content_range: str | None, **headers: str) -> Answer:
    """A 206; ``content_type`` stands for the header ``content-type``."""
    plain = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_range is not None:
        plain["content-range"] = content_range
    return Answer(URL, 206, plain)


def whole(**headers: str) -> Answer:
    """A 200."""
    return Answer(URL, 200, {name.replace("_", "-"): value for name, value in headers.items()})


# --- 206 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_range",
    ["bytes 5-9/20", "Bytes 5-9/20", " bytes 5-9/20 ", "bytes  5-9/20", "bytes 05-009/0020"],
)
def test_the_range_that_was_asked_for(content_range: str) -> None:
    answer = partial(content_range, content_length="5", etag=STRONG, last_modified=DATE)
    assert judge(answer, 5, None) == Body(5, 10, Version(20, STRONG, DATE), whole=False)


def test_a_range_needs_no_content_length() -> None:
    assert judge(partial("bytes 0-0/1"), 0, None) == Body(0, 1, Version(1), whole=False)


def test_a_server_may_send_less_than_was_asked_for() -> None:
    assert judge(partial("bytes 5-5/20"), 5, Version(20)).end == 6


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes",
        "bytes 5-9",
        "bytes 5-9/",
        "bytes=5-9/20",
        "5-9/20",
        "items 5-9/20",
        "bytes 5-/20",
        "bytes -9/20",
        "bytes 5-9/20, bytes 12-13/20",
        "bytes\r\n 5-9/20",
        "bytes 0x5-9/20",
        "bytes \u0665-9/20",
        "bytes +5-9/20",
        "bytes 5-9/-20",
        "bytes 5-9/20x",
        "bytes 5-9/" + "9" * 20,
        # A 206 that says what a 416 says.
        "bytes */20",
        "bytes */*",
        # A size that is not told cannot be checked.
        "bytes 5-9/*",
        # Impossible ones.
        "bytes 9-5/20",
        "bytes 5-20/20",
        "bytes 5-9/0",
        "bytes 5-9/9",
        # Shifted ones.
        "bytes 0-9/20",
        "bytes 4-9/20",
        "bytes 6-9/20",
    ],
)
def test_ranges_that_cannot_be_placed(content_range: str | None) -> None:
    with pytest.raises(RangesRefusedError):
        judge(partial(content_range), 5, None)


@pytest.mark.parametrize("length", ["4", "6", "0", "20", "15"])
def test_a_length_that_contradicts_the_range(length: str) -> None:
    with pytest.raises(RangesRefusedError, match="which has 5"):
        judge(partial("bytes 5-9/20", content_length=length), 5, None)


def test_several_ranges_where_one_was_asked_for() -> None:
    for kind in ("multipart/byteranges", "Multipart/ByteRanges; boundary=x"):
        with pytest.raises(RangesRefusedError, match="several"):
            judge(partial("bytes 5-9/20", content_type=kind), 5, None)


def test_a_total_that_has_become_another() -> None:
    for total in (19, 21):
        with pytest.raises(ChangedError, match=f"from 20 to {total}") as caught:
            judge(partial(f"bytes 5-9/{total}", etag=STRONG), 5, Version(20, STRONG))
        assert not caught.value.same_facts


@pytest.mark.parametrize(
    ("encoding", "codings"),
    [
        ("gzip", ("gzip",)),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("deflate, gzip", ("deflate", "gzip")),
        ("identity, br", ("br",)),
        ("gzip, br,zstd", ("gzip", "br", "zstd")),
    ],
)
def test_a_compressed_answer_is_another_version(encoding: str, codings: tuple[str, ...]) -> None:
    answer = partial("bytes 5-9/20", content_encoding=encoding, etag=STRONG)
    version, plain = judge(answer, 5, None).version, Version(20, STRONG)
    assert version.codings == codings
    assert not plain.proves(version)
    assert not plain.shares_validator(version)
    with pytest.raises(ChangedError, match="compression"):
        judge(answer, 5, plain)
    assert judge(whole(content_encoding=encoding), 0, None).version.codings == codings


@pytest.mark.parametrize("encoding", ["x", "rot13, gzip", "gzip, gzip, gzip, gzip", "br;q=1"])
def test_a_compression_that_cannot_be_undone(encoding: str) -> None:
    with pytest.raises(ProtocolError, match="compresses"):
        judge(whole(content_encoding=encoding), 0, None)


@pytest.mark.parametrize(
    "encoding", ["", " ", "identity", " Identity ", "none", "UTF-8", "aws-chunked, identity"]
)
def test_an_answer_that_says_it_is_not_compressed(encoding: str) -> None:
    assert not judge(partial("bytes 5-9/20", content_encoding=encoding), 5, None).whole
    assert judge(whole(content_encoding=encoding), 0, None).whole


# --- 200 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 5])
def test_a_200_is_the_whole_from_its_start(start: int) -> None:
    answer = whole(content_length="20", etag=WEAK, last_modified=DATE)
    assert judge(answer, start, None) == Body(0, 20, Version(20, WEAK, DATE), whole=True)


def test_a_200_need_not_tell_its_length() -> None:
    assert judge(whole(), 5, Version(20)) == Body(0, None, Version(), whole=True)


def test_a_content_range_means_nothing_on_a_200() -> None:
    # RFC 9110, section 14.4: only 206 and 416 describe a meaning for it.
    body = judge(whole(content_range="bytes 5-9/20", content_length="20"), 5, None)
    assert body == Body(0, 20, Version(20), whole=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_range": "bytes 0-9/20", "content_length": "10"},
        {"content_range": "bytes 0-19/20", "content_length": "10"},
        {"content_range": "bytes 0-9/20"},
        {"content_range": "bytes 5-9/*"},
    ],
)
def test_a_200_that_says_it_is_a_part(headers: dict[str, str]) -> None:
    with pytest.raises(RangesRefusedError, match="part"):
        judge(whole(**headers), 0, None)


def test_a_200_of_another_version() -> None:
    for changed in (whole(etag='"b"'), whole(content_length="21"), whole(last_modified=LATER)):
        with pytest.raises(ChangedError):
            judge(changed, 5, Version(20, STRONG, DATE))


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "length"),
    [(None, None), ("0", 0), (" 12 ", 12), ("0012", 12), ("9" * 19, 10**19 - 1)],
)
def test_lengths(value: str | None, length: int | None) -> None:
    headers = {} if value is None else {"content-length": value}
    assert content_length(Answer(URL, 200, headers)) == length


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "1_0", "1.0", "0x1", "1e3", "5, 5", "\u0661", "²", "many", "9" * 20]
)
def test_lengths_that_are_none(value: str) -> None:
    with pytest.raises(ProtocolError, match="no number"):
        content_length(Answer(URL, 200, {"content-length": value}))


@pytest.mark.parametrize(
    ("content_range", "size"),
    [
        ("bytes */0", 0),
        (" Bytes */20 ", 20),
        ("bytes */*", None),
        ("bytes 5-9/20", None),
        ("*/20", None),
        ("bytes */", None),
        ("bytes */-1", None),
        ("", None),
        (None, None),
    ],
)
def test_the_size_that_a_416_states(content_range: str | None, size: int | None) -> None:
    headers = {} if content_range is None else {"content-range": content_range}
    assert unsatisfied_size(Answer(URL, 416, headers)) == size


# --- versions -----------------------------------------------------------------------------------


def test_empty_validators_are_none() -> None:
    answer = whole(etag="", last_modified="")
    assert version_of(answer, 20) == Version(20)


@pytest.mark.parametrize(
    ("version", "if_range", "validator"),
    [
        (Version(20), None, None),
        (Version(20, STRONG), STRONG, "etag"),
        (Version(20, STRONG, DATE), STRONG, "etag"),
        # RFC 9110, section 13.1.5: a weak ETag must not be sent.
        (Version(20, WEAK), None, None),
        (Version(20, 'w/"a"'), None, None),
        # No ETags at all: those have quotes.
        (Version(20, "a"), None, None),
        (Version(20, '"a'), None, None),
        (Version(20, '"a", "b"', DATE), DATE, "last-modified"),
        (Version(20, WEAK, DATE), DATE, "last-modified"),
        (Version(20, None, DATE), DATE, "last-modified"),
        (Version(20, STRONG, DATE, ignore_etag=True), DATE, "last-modified"),
        (Version(20, STRONG, ignore_etag=True), None, None),
    ],
)
def test_what_a_version_is_asked_by(
    version: Version, if_range: str | None, validator: str | None
) -> None:
    assert version.if_range == if_range
    assert version.validator == validator


@pytest.mark.parametrize(
    ("known", "other"),
    [
        (Version(20, STRONG, DATE), Version(20, STRONG, DATE)),
        # The same strong ETag promises the same bytes, whatever the date says.
        (Version(20, STRONG, DATE), Version(20, STRONG, LATER)),
        (Version(20, WEAK, DATE), Version(20, WEAK, DATE)),
        # What one of them does not say, does not contradict.
        (Version(20, STRONG, DATE), Version()),
        (Version(), Version(20, STRONG, DATE)),
        (Version(20, STRONG, DATE), Version(20, None, DATE)),
        (Version(20, STRONG, DATE), Version(20, STRONG)),
        (Version(20, None, DATE), Version(20, STRONG, DATE)),
        (Version(None, STRONG), Version(20, STRONG)),
        # Back ends with ETags of their own.
        (Version(20, STRONG, DATE, ignore_etag=True), Version(20, '"b"', DATE)),
    ],
)
def test_the_same_version(known: Version, other: Version) -> None:
    known.check(other)


@pytest.mark.parametrize(
    ("known", "other", "same_facts"),
    [
        (Version(20, STRONG, DATE), Version(20, '"b"', DATE), True),
        (Version(20, STRONG), Version(20, '"b"'), True),
        (Version(20, STRONG, DATE), Version(20, '"b"'), True),
        (Version(20, WEAK, DATE), Version(20, 'W/"b"', DATE), True),
        (Version(20, STRONG, DATE), Version(20, WEAK, DATE), True),
        (Version(20, STRONG, DATE), Version(20, '"b"', LATER), False),
        (Version(20, STRONG, DATE), Version(21, '"b"', DATE), False),
        (Version(20, STRONG, DATE), Version(21, STRONG, DATE), False),
        # A weak ETag promises less than the date.
        (Version(20, WEAK, DATE), Version(20, WEAK, LATER), False),
        (Version(20, None, DATE), Version(20, None, LATER), False),
        (Version(20, STRONG, DATE), Version(20, None, LATER), False),
        (Version(20, STRONG, DATE, ignore_etag=True), Version(20, STRONG, LATER), False),
        (Version(20), Version(0), False),
    ],
)
def test_another_version(known: Version, other: Version, same_facts: bool) -> None:
    with pytest.raises(ChangedError) as caught:
        known.check(other)
    assert caught.value.same_facts is same_facts


@pytest.mark.parametrize(
    ("known", "other"),
    [
        (Version(20, STRONG), Version(None, STRONG)),
        (Version(20, STRONG, DATE), Version(21, STRONG, LATER)),
        (Version(20, None, DATE), Version(20, None, DATE)),
        (Version(20, WEAK, DATE), Version(20, 'W/"b"', DATE)),
        (Version(20, STRONG, DATE), Version(20, WEAK, DATE)),
        (Version(20, STRONG, DATE, ignore_etag=True), Version(20, '"b"', DATE)),
    ],
)
def test_an_answer_that_proves_to_be_this_version(known: Version, other: Version) -> None:
    assert known.proves(other)


@pytest.mark.parametrize(
    ("known", "other"),
    [
        (Version(), Version()),
        (Version(20), Version(20)),
        (Version(20, WEAK), Version(20, WEAK)),
        (Version(20, STRONG, DATE), Version(20, '"b"', DATE)),
        (Version(20, None, DATE), Version(21, None, DATE)),
        (Version(20, None, DATE), Version(None, None, DATE)),
        (Version(None, None, DATE), Version(None, None, DATE)),
        (Version(20, None, DATE), Version(20, None, LATER)),
        (Version(20, STRONG), Version(20)),
    ],
)
def test_an_answer_that_proves_nothing(known: Version, other: Version) -> None:
    assert not known.proves(other)


def test_a_size_that_becomes_known_changes_nothing_else() -> None:
    version = Version(None, STRONG, DATE, ignore_etag=True)
    assert version.with_size(5) == Version(5, STRONG, DATE, ignore_etag=True)


# --- whatever comes -----------------------------------------------------------------------------

NAMES = (
    "content-range",
    "content-length",
    "content-type",
    "content-encoding",
    "etag",
    "last-modified",
)
NUMBERS = st.integers(0, 40) | st.integers(0, 10**20)
VALUES = st.one_of(
    st.binary().map(lambda value: value.decode("latin-1")),
    st.text("bytes 0123456789-/*,W\"'\x85\xa0", max_size=30),
    st.builds("bytes {}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS.map(str) | st.just("*")),
    st.integers(0, 1 << 80).map(str),
)
VERSIONS = st.builds(
    Version,
    st.none() | st.integers(0, 1 << 64),
    st.none() | st.sampled_from([STRONG, WEAK, '"b"', "", "W/"]),
    st.none() | st.sampled_from([DATE, LATER, ""]),
    st.booleans(),
)


@given(
    st.sampled_from([200, 206]),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.integers(0, 40),
    st.none() | VERSIONS,
)
@example(206, {"content-range": "bytes 0-0/1", "content-length": "\x1c1"}, 0, None)
@example(206, {"content-range": "bytes 0-0/1", "content-length": "1\xa0"}, 0, None)
def test_whatever_the_headers(
    status: int, headers: dict[str, str], start: int, known: Version | None
) -> None:
    answer = Answer(URL, status, headers)
    try:
        body = judge(answer, start, known)
    except FetchError as error:
        assert error.message
        return
    assert body.whole == (status == 200)
    if body.whole:
        assert body.start == 0
        return
    # What is accepted can be placed, and lies within the file.
    assert body.version.size is not None
    assert body.end is not None
    assert body.start == start < body.end <= body.version.size


@given(VALUES)
def test_whatever_a_416_says(value: str) -> None:
    size = unsatisfied_size(Answer(URL, 416, {"content-range": value}))
    assert size is None or size >= 0


@given(VERSIONS, VERSIONS)
def test_versions_contradict_each_other_both_ways(one: Version, other: Version) -> None:
    def agree(known: Version, new: Version) -> bool:
        try:
            known.check(new)
        except ChangedError:
            return False
        return True

    if one.ignore_etag == other.ignore_etag:
        assert agree(one, other) == agree(other, one)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Version(20, STRONG, DATE), True),
        (Version(21, STRONG, DATE), False),
        (Version(20, STRONG, LATER), False),
        (Version(20, '"b"', DATE), False),
        (Version(20, STRONG), False),
        (Version(20, None, DATE), False),
        (Version(20, WEAK, DATE), False),
        (Version(20, STRONG, DATE, weak_date=True), False),
        (Version(20, STRONG, DATE, codings=("gzip",)), False),
    ],
)
def test_another_address_has_the_same_file_where_all_of_it_agrees(
    other: Version, same: bool
) -> None:
    assert Version(20, STRONG, DATE).agrees(other) is same
    assert other.agrees(Version(20, STRONG, DATE)) is same
