"""Addresses: which are taken, and what of them is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import InvalidURLError
from fetcher.rules.urls import (
    MAX_URL,
    check_url,
    last_segment,
    looks_like_url,
    origin,
    redact,
    redact_text,
    split_credentials,
    without_query,
)
from tests.effort import at_most


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://h/a", "http://h/a"),
        ("HTTPS://H/a", "https://H/a"),
        ("https://h:8443/a?b=c&d#e", "https://h:8443/a?b=c&d"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("https://me:secret@h/a", "https://me:secret@h/a"),
        ("https://h/ä,b;c", "https://h/ä,b;c"),
        ("https://h", "https://h"),
        ("https://h//a//b", "https://h//a//b"),
    ],
)
def test_addresses_that_are_taken(url: str, checked: str) -> None:
    assert check_url(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.tar",
        "h/a.tar",
        "//h/a",
        "http:/h/a",
        "http:h/a",
        "http://",
        "http:///a",
        "http://:80/a",
        "http://me@/a",
        "http://h:0/a",
        "http://h:99999/a",
        "http://h:x/a",
        "http://[::1/a",
        "http://h/a b",
        "http://h/a\nb",
        "http://h/\0",
        "http://h/a\x7f",
        "file:///etc/passwd",
        "data:,x",
        "gopher://h/a",
        "javascript:alert(1)",
        "http://me:secret@\u2100/a",
        "http://me:secret@h/" + "a" * MAX_URL,
        "http://me:" + "secret" * MAX_URL,
        "http://" + "\u0301\u0323" * 200 + "/a",
    ],
)
def test_addresses_that_are_not_taken(url: str) -> None:
    with pytest.raises(InvalidURLError) as caught:
        check_url(url)
    assert len(caught.value.message.splitlines()) == 1
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@h/a b",
        "https://me:secret@/a",
        "https://me:secret@h:x/a",
        "https://me:sec/secret@h/a",
        "https://me:sec?secret@h/a",
        "https://me:sec#secret@h/a",
        "https://me:secret@[h/a",
        "gopher://me:secret@h/a?x=secret",
        "me:secret@h/a",
        "h/a?sig=secret",
        "ftp:/me:secret@h/a",
        "https://h:x/a?sig=secret",
    ],
)
def test_an_error_gives_no_secret_away(url: str) -> None:
    with pytest.raises(InvalidURLError) as caught:
        check_url(url)
    assert "secret" not in caught.value.message
    assert "secret" not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        "a-" * 500_000,
        "a-" * 500_000 + "://",
        "http://" + "\u0301" * 250_000 + "\u0323" * 250_000,
        "://" * 300_000,
        "http://" + "a" * 1_000_000,
        "http://h/?" + "a=b&" * 250_000,
    ],
    ids=["dashes", "a long scheme", "marks", "no schemes", "a long host", "a long query"],
)
def test_however_long_the_text(text: str) -> None:
    with at_most(1):
        redact(text)
        redact_text(text)
        with pytest.raises(InvalidURLError):
            check_url(text)


@given(st.text() | st.text(alphabet="htps:/[]@?#.0a%\x00 é", max_size=30))
def test_whatever_the_text(text: str) -> None:
    try:
        url = check_url(text)
    except InvalidURLError as error:
        assert len(error.message.splitlines()) == 1
    else:
        assert check_url(url) == url
        assert looks_like_url(url)
        last_segment(url)
        origin(url)
    redact(text)
    redact_text(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("http://h", True),
        ("sftp://h/a", True),
        ("HTTP://h", True),
        ("://h", False),
        ("a.tar", False),
        ("see http://h", False),
        ("C:\\a", False),
        ("mailto:a@b", False),
    ],
)
def test_what_looks_like_an_address(text: str, answer: bool) -> None:
    assert looks_like_url(text) is answer


def test_split_credentials() -> None:
    assert split_credentials("http://h/a") == ("http://h/a", None)
    assert split_credentials("http://me:secret@h:81/a?b") == (
        "http://h:81/a?b",
        "Basic bWU6c2VjcmV0",
    )
    # An encoded @ and : belong to the password: "a@b" and "c:d".
    assert split_credentials("http://a%40b:c%3Ad@h/") == ("http://h/", "Basic YUBiOmM6ZA==")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/a", ("http", "h", 80)),
        ("HTTPS://me:x@H/a", ("https", "h", 443)),
        ("https://h:8443", ("https", "h", 8443)),
        ("http://[::1]:81/", ("http", "::1", 81)),
    ],
)
def test_origin(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    ("url", "segment"),
    [
        ("http://h/a/b.tar?c/d", "b.tar"),
        ("http://h/a%20b", "a b"),
        ("http://h/%ff", "\ufffd"),
        ("http://h/a/", ""),
        ("http://h", ""),
    ],
)
def test_last_segment(url: str, segment: str) -> None:
    assert last_segment(url) == segment


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@h:81/a", "https://h:81/a"),
        ("https://h/a?X-Sig=secret&n=1;m=2#secret", "https://h/a?X-Sig=…&n=…;m=…"),
        ("https://h/a?secret", "https://h/a?…"),
        ("https://h/a?secret&b=secret;secret&&c=", "https://h/a?…&b=…;…&&c=…"),
        ("https://h/@scope/a", "https://h/@scope/a"),
        ("https://me:se/cret@h/a", "https://…"),
        ("https://[::1/secret", "https://…"),
        ("a.tar", "a.tar"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_redact_text() -> None:
    text = "GET <https://me:secret@h/a?sig=secret> (from 'http://h/b?c=secret')"
    assert redact_text(text) == "GET <https://h/a?sig=…> (from 'http://h/b?c=…')"
    assert redact_text("nothing here") == "nothing here"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://h.example/a/b?sig=1#x", "https://h.example:443/a/b"),
        ("HTTP://u:p@H.example:80/a", "http://h.example:80/a"),
        ("http://[::1]:8080/a?b", "http://[::1]:8080/a"),
        ("sftp://h/a;b", "sftp://h:22/a;b"),
    ],
)
def test_where_a_resource_is(url: str, place: str) -> None:
    assert without_query(url) == place
