"""Which file an address of a file server names."""

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import InvalidURLError
from fetcher.rules.remote_paths import ftp_path, path_name, sftp_path
from fetcher.rules.urls import check_url, last_segment, origin, split_credentials

paths = st.binary(min_size=1).filter(lambda name: not set(name) & set(b"\0\r\n"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ftp://h/a", b"a"),
        ("ftp://h/a/b.tar", b"a/b.tar"),
        ("ftp://h/%2Fa/b.tar", b"/a/b.tar"),
        ("ftp://h//a", b"/a"),
        ("ftp://h/a%2Fb", b"a/b"),
        ("ftp://h/a%20b%23c%3Fd%25e", b"a b#c?d%e"),
        ("ftp://h/gr%C3%B6%C3%9Fer", "größer".encode()),
        ("ftp://h/größer", "größer".encode()),
        ("ftp://h/%FF", b"\xff"),
        ("ftp://h/a?b=c", b"a?b=c"),
        ("ftp://h/a+b", b"a+b"),
        ("ftp://h/a;type=i", b"a"),
        ("ftp://h/a;TYPE=I", b"a"),
        ("ftp://h/a;b;type=i", b"a;b"),
        ("ftp://h/a;type=image", b"a;type=image"),
        ("ftp://h/a%3Btype=i", b"a;type=i"),
        ("ftps://h:2121/%2Fa", b"/a"),
    ],
)
def test_ftp_path(url: str, path: bytes) -> None:
    assert ftp_path(url) == path


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sftp://h/a", b"/a"),
        ("sftp://h/a/b.tar", b"/a/b.tar"),
        ("sftp://h/~/a", b"a"),
        ("sftp://h/~/a/~/b", b"a/~/b"),
        ("sftp://h/~user/a", b"/~user/a"),
        ("sftp://h/a/~/b", b"/a/~/b"),
        ("sftp://h/%7E/a", b"a"),
        ("sftp://h/%2Fa", b"//a"),
        ("sftp://h/a%20b%23c%3Fd%25e", b"/a b#c?d%e"),
        ("sftp://h/%FF", b"/\xff"),
        ("sftp://h/a?b=c", b"/a?b=c"),
        ("sftp://h/a;type=i", b"/a;type=i"),
    ],
)
def test_sftp_path(url: str, path: bytes) -> None:
    assert sftp_path(url) == path


@given(paths)
def test_whatever_the_path(path: bytes) -> None:
    """Percent-encoded, it arrives as it is."""
    quoted = quote(path, safe="")
    assert ftp_path(f"ftp://h/{quoted}") == path
    assert sftp_path(f"sftp://h/x/{quoted}") == b"/x/" + path


@given(paths, st.sampled_from(["ftp", "ftps", "sftp"]))
def test_whatever_the_path_it_is_taken(path: bytes, scheme: str) -> None:
    url = f"{scheme}://h/{quote(path, safe='')}"
    assert check_url(url) == url
    assert last_segment(url) == path.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/a",
        "FTP://h/a",
        "ftp://h/a;type=i",
        "ftp://h/a;type=I",
        "ftp://h/;type=x/a",
        "ftp://h/a;type=image",
        "ftps://h/a",
        "ftps://h:990/%2Fa",
        "ftp://me:se%40cret@h/a",
        "sftp://h/a",
        "sftp://me@h:2222/~/a",
        "sftp://h/a;type=a",
        "sftp://[::1]:22/a",
    ],
)
def test_addresses_that_are_taken(url: str) -> None:
    assert check_url(url).lower() == url.lower()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://h", "folder"),
        ("ftp://h/", "folder"),
        ("ftp://h/a/", "folder"),
        ("ftp://h/a/;type=i", "folder"),
        ("ftp://h/a;type=d", "text transfer"),
        ("ftp://h/a;type=a", "text transfer"),
        ("ftps://h/a;TYPE=A", "text transfer"),
        ("ftp://h/a%0D%0ADELE%20b", "control"),
        ("ftp://h/a%0A", "control"),
        ("ftp://h/a%00b", "control"),
        ("ftp://h/a?b%0D%0Ac", "control"),
        ("ftp://me%0D%0Ayou:secret@h/a", "control"),
        ("ftp://me:secret%0D%0ADELE%20b@h/a", "control"),
        ("ftps://me:secret%0A@h/a", "control"),
        ("sftp://h/a%00b", "control"),
        ("sftp://h/a%0Ab", "control"),
        ("sftp://h/a%0Db", "control"),
        ("sftp://h/a?b%00", "control"),
        ("sftp://me%00:secret@h/a", "control"),
        ("sftp://me:secret%0D@h/a", "control"),
        ("ftp://me%00:secret@h/a", "control"),
        ("sftp://h", "folder"),
        ("sftp://h/~/", "folder"),
        ("sftp://me:secret@h/a/", "folder"),
    ],
)
def test_addresses_that_are_not_taken(url: str, why: str) -> None:
    with pytest.raises(InvalidURLError) as caught:
        check_url(url)
    assert why in caught.value.message
    assert "secret" not in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "segment"),
    [
        ("ftp://h/a/b.tar", "b.tar"),
        ("ftp://h/a/b.tar;type=i", "b.tar"),
        ("ftp://h/a%20b;type=i", "a b"),
        ("ftp://h/%2Fa", "/a"),
        ("ftps://h/b.tar;TYPE=I", "b.tar"),
        ("sftp://h/a/b.tar;type=i", "b.tar;type=i"),
        ("sftp://h/~/b.tar", "b.tar"),
        ("http://h/b.tar;type=i", "b.tar;type=i"),
    ],
)
def test_last_segment(url: str, segment: str) -> None:
    assert last_segment(url) == segment


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("ftp://h/a%20b;type=i", "/a%20b"),
        ("FTP://h/a;type=i", "/a"),
        ("sftp://h/a;type=i", "/a;type=i"),
        ("http://h/a;type=i?q", "/a;type=i"),
    ],
)
def test_path_name(url: str, name: str) -> None:
    assert path_name(urlsplit(url)) == name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://h/a", ("ftp", "h", 21)),
        ("ftps://h/a", ("ftps", "h", 990)),
        ("FTPS://H:21/a", ("ftps", "h", 21)),
        ("sftp://me@h/a", ("sftp", "h", 22)),
    ],
)
def test_origin(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


def test_credentials() -> None:
    """As for HTTP: a user with or without a password."""
    assert split_credentials("sftp://me@h/a") == ("sftp://h/a", "Basic bWU6")
    assert split_credentials("ftp://me:secret@h:21/a;type=i") == (
        "ftp://h:21/a;type=i",
        "Basic bWU6c2VjcmV0",
    )
