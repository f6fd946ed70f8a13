"""What is known of a resource, learned answer by answer."""

import pytest

from fetcher.contract import Answer
from fetcher.errors import ChangedError, FetchError, ProtocolError, RangesRefusedError
from fetcher.rules.answers import Body, Version
from fetcher.rules.resource import PATIENCE, Resource

URL = "http://127.0.0.1/file"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
RANGE = "bytes=0-9"


def unsatisfied(content_range: str | None) -> Answer:
    return Answer(URL, 416, {} if content_range is None else {"content-range": content_range})


def flip(resource: Resource, times: int) -> None:
    """Back ends with one date and an ETag each take turns."""
    for number in range(times):
        resource.learn(Version(20, f'"{number}"', DATE))
        answer = Answer(
            URL,
            206,
            {"content-range": "bytes 5-9/20", "etag": f'"{number + 1}"', "last-modified": DATE},
        )
        with pytest.raises(ChangedError) as caught:
            resource.judge(answer, 5, 5)
        resource.changed(caught.value)


# --- headers ------------------------------------------------------------------------------------


def test_the_first_request() -> None:
    assert Resource().headers(RANGE) == {"Accept-Encoding": "identity", "Range": RANGE}


@pytest.mark.parametrize(
    ("version", "if_range"),
    [
        (Version(20, '"a"', DATE), '"a"'),
        (Version(20, 'W/"a"', DATE), DATE),
        (Version(20, None, DATE), DATE),
        (Version(20, 'W/"a"'), None),
        (Version(20), None),
    ],
)
def test_every_later_request_is_for_this_version_only(
    version: Version, if_range: str | None
) -> None:
    resource = Resource()
    resource.learn(version)
    for _ in range(3):
        headers = resource.headers(RANGE)
        assert headers.get("If-Range") == if_range
        assert headers["Range"] == RANGE
        assert headers["Accept-Encoding"] == "identity"


def test_a_condition_goes_out_until_an_answer_is_accepted() -> None:
    condition = {"If-None-Match": '"a"'}
    resource = Resource(condition)
    for _ in range(2):
        headers = resource.headers(RANGE)
        assert headers["If-None-Match"] == '"a"'
        assert "If-Range" not in headers
    resource.learn(Version(20, '"b"'))
    headers = resource.headers(RANGE)
    assert "If-None-Match" not in headers
    assert headers["If-Range"] == '"b"'


def test_the_condition_is_a_copy() -> None:
    condition = {"If-None-Match": '"a"'}
    resource = Resource(condition)
    condition.clear()
    assert resource.headers(RANGE)["If-None-Match"] == '"a"'


def test_after_ranges_were_refused_the_whole_is_asked_for() -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    resource.refused()
    assert resource.headers(RANGE) == {"Accept-Encoding": "identity"}
    resource.learn(Version(20, '"a"'))
    assert resource.headers(RANGE) == {"Accept-Encoding": "identity"}
    assert not resource.splits


def test_after_a_change_no_version_is_asked_for() -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    resource.changed(ChangedError("another"))
    assert resource.version is None
    assert resource.headers(RANGE) == {"Accept-Encoding": "identity", "Range": RANGE}


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [Answer(URL, 206, {}), Answer(URL, 206, {"content-range": "bytes 0-9/20"}), unsatisfied(None)],
)
def test_a_refusal_is_retried_while_there_is_something_to_lose(answer: Answer) -> None:
    resource = Resource()
    retryable = []
    for _ in range(PATIENCE + 2):
        with pytest.raises(RangesRefusedError) as caught:
            resource.judge(answer, 5, 5)
        retryable.append(caught.value.retryable)
    assert retryable == [True] * PATIENCE + [False, False]


def test_a_refusal_is_final_where_nothing_is_lost() -> None:
    with pytest.raises(RangesRefusedError) as caught:
        Resource().judge(Answer(URL, 206, {}), 0, 0)
    assert not caught.value.retryable


def test_a_good_answer_gives_back_all_patience() -> None:
    resource = Resource()
    good = Answer(URL, 206, {"content-range": "bytes 5-9/20"})
    for _ in range(3 * PATIENCE):
        with pytest.raises(RangesRefusedError) as caught:
            resource.judge(Answer(URL, 206, {}), 5, 5)
        assert caught.value.retryable
        resource.judge(good, 5, 5)


@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        # A page in place of the file: another length, and nothing by which to know it again.
        (Answer(URL, 200, {"content-length": "99"}), True),
        (Answer(URL, 200, {"content-length": "99", "etag": 'W/"b"'}), True),
        (unsatisfied("bytes */0"), True),
        (Answer(URL, 200, {"etag": '"b"'}), False),
        (Answer(URL, 206, {"content-range": "bytes 5-9/30", "last-modified": DATE}), False),
    ],
)
def test_a_change_that_may_be_none_is_asked_for_again(answer: Answer, retryable: bool) -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    told = []
    for _ in range(PATIENCE + 1):
        with pytest.raises(ChangedError) as caught:
            resource.judge(answer, 5, 5)
        told.append(caught.value.retryable)
    assert told == [retryable] * PATIENCE + [False]


def test_one_refusal_does_not_speak_for_all() -> None:
    Resource().tolerate(RangesRefusedError("one"), 5)
    assert not RangesRefusedError("another").retryable


def test_other_errors_pass_through() -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    with pytest.raises(ChangedError):
        resource.judge(Answer(URL, 200, {"etag": '"b"'}), 5, 5)
    with pytest.raises(ProtocolError):
        resource.judge(Answer(URL, 200, {"content-length": "many"}), 5, 5)
    error = RangesRefusedError("the first odd answer")
    resource.tolerate(error, 5)
    assert error.retryable


# --- back ends with ETags of their own ----------------------------------------------------------


def test_one_flip_is_a_change_like_any_other() -> None:
    resource = Resource()
    flip(resource, PATIENCE - 1)
    resource.learn(Version(20, '"b"', DATE))
    assert resource.ranged
    assert resource.splits
    assert resource.headers(RANGE)["If-Range"] == '"b"'


def test_after_some_flips_a_checksum_stands_in_for_the_etag() -> None:
    resource = Resource()
    resource.verifiable = True
    flip(resource, PATIENCE)
    resource.learn(Version(20, '"b"', DATE))
    assert resource.version == Version(20, '"b"', DATE, ignore_etag=True)
    assert resource.ranged
    assert resource.splits
    assert resource.headers(RANGE) == {
        "Accept-Encoding": "identity",
        "Range": RANGE,
        "If-Range": DATE,
    }
    headers = {"content-range": "bytes 5-9/20", "etag": '"c"', "last-modified": DATE}
    assert resource.judge(Answer(URL, 206, headers), 5, 5).end == 10


def test_after_some_flips_without_a_checksum_one_answer_is_taken_whole() -> None:
    resource = Resource()
    flip(resource, PATIENCE)
    resource.learn(Version(20, '"b"', DATE))
    assert not resource.ranged
    assert not resource.splits
    assert resource.version == Version(20, '"b"', DATE)
    assert "Range" not in resource.headers(RANGE)


@pytest.mark.parametrize("verifiable", [False, True])
def test_what_is_never_the_same_twice_is_taken_whole(verifiable: bool) -> None:
    resource = Resource()
    resource.verifiable = verifiable
    for number in range(PATIENCE):
        assert resource.ranged
        resource.learn(Version(20 + number, f'"{number}"', DATE))
        resource.changed(ChangedError("its size changed"))
    assert not resource.ranged
    assert not resource.splits
    resource.learn(Version(20, '"b"', DATE))
    assert resource.version == Version(20, '"b"', DATE)


def test_a_change_and_a_flip_are_not_two_flips() -> None:
    resource = Resource()
    resource.verifiable = True
    flip(resource, 1)
    resource.changed(ChangedError("its size changed"))
    assert not resource.ranged


# --- what may be joined -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "joinable"),
    [
        (None, False),
        (Version(20), False),
        (Version(20, 'W/"a"'), False),
        (Version(20, '"a"'), True),
        (Version(20, None, DATE), True),
    ],
)
def test_pieces_are_joined_when_something_tells_versions_apart(
    version: Version | None, joinable: bool
) -> None:
    resource = Resource()
    if version is not None:
        resource.learn(version)
    assert resource.joinable is joinable
    resource.verifiable = True
    assert resource.joinable


def test_a_request_is_conditional_until_an_answer_is_accepted() -> None:
    assert not Resource().conditional
    resource = Resource({"If-None-Match": '"a"'})
    assert resource.conditional
    resource.learn(Version(20))
    assert not resource.conditional


# --- 416 ----------------------------------------------------------------------------------------


def test_a_416_to_the_first_request_for_an_empty_file() -> None:
    answer = Answer(URL, 416, {"content-range": "bytes */0", "etag": '"a"'})
    assert Resource().judge(answer, 0, 0) == Body(0, 0, Version(0, '"a"'), whole=False)


@pytest.mark.parametrize("size", [0, 4, 30])
def test_a_416_that_tells_another_size(size: int) -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    with pytest.raises(ChangedError, match=f"from 20 to {size} bytes"):
        resource.judge(unsatisfied(f"bytes */{size}"), 5, 5)


@pytest.mark.parametrize("content_range", [None, "bytes */*", "bytes */20", "bytes 0-1/20", "x"])
def test_a_416_that_tells_nothing_new(content_range: str | None) -> None:
    resource = Resource()
    resource.learn(Version(20, '"a"'))
    with pytest.raises(RangesRefusedError, match="416"):
        resource.judge(unsatisfied(content_range), 5, 5)


@pytest.mark.parametrize("content_range", [None, "bytes */*", "bytes */20"])
def test_a_416_to_the_first_request_of_a_file_that_is_not_empty(content_range: str | None) -> None:
    with pytest.raises(RangesRefusedError, match="416") as caught:
        Resource().judge(unsatisfied(content_range), 0, 0)
    assert not caught.value.retryable


def test_a_416_does_not_contradict_a_size_that_was_not_known() -> None:
    # An answer without a length broke off just behind its last byte, and was asked to go on.
    resource = Resource()
    resource.learn(Version(None, '"a"'))
    try:
        resource.judge(unsatisfied("bytes */5"), 5, 5)
    except FetchError as error:
        assert not isinstance(error, ChangedError), error.message


# --- beside another address -----------------------------------------------------------------------

KNOWN = Version(20, '"there"', DATE)


def beside(status: int = 206, **headers: str) -> Answer:
    return Answer(URL, status, {name.replace("_", "-"): text for name, text in headers.items()})


def test_the_same_size_and_form_may_stand_beside() -> None:
    answer = beside(content_range="bytes 5-9/20", etag='"here"')
    assert Resource().judge_beside(answer, 5, KNOWN) == Version(20, '"here"')


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (beside(content_range="bytes 5-9/21"), ChangedError, "21 bytes instead of 20"),
        (beside(416, content_range="bytes */4"), ChangedError, "4 bytes instead of 20"),
        (beside(416, content_range="bytes */20"), RangesRefusedError, "refuses the range"),
        (beside(416), RangesRefusedError, "refuses the range"),
        (beside(200, content_length="20"), RangesRefusedError, "the whole file"),
        (
            beside(content_range="bytes 5-9/20", content_encoding="gzip"),
            ChangedError,
            "another form",
        ),
    ],
)
def test_what_may_not(answer: Answer, error: type[FetchError], words: str) -> None:
    with pytest.raises(error, match=words):
        Resource().judge_beside(answer, 5, KNOWN)
