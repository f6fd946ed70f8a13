"""Lists: rows that can be used, rows that say why not, or one sentence about the whole."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import InvalidListError
from fetcher.lists import BadRow, Row, open_list
from fetcher.rules.checksums import parse_checksum
from fetcher.rules.names import check_name
from fetcher.rules.urls import check_url
from tests.fuzz.mutations import fuzz, mutated

SECRET = "Hunter2"

SPECIAL = [
    *(b"", b"\t", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"#", b"\0", b"\xff", b"\xef\xbb\xbf"),
    *(b"\x1f\x8b", b"{", b"<", b" ", b"\xc2\xa0", b"\x0b", b"\x85", b"\xe2\x80\xa8", b".."),
    *(b"http://h/1", b"x" * 9000),
]
urls = st.sampled_from(
    [
        "http://h/a.tar",
        f"https://user:{SECRET}@h:443/b?sig={SECRET}",
        f"ftp://user:{SECRET}@h/%0D%0Ac",
        f"http://user:{SECRET}@h:port/",
        f"gopher://user:{SECRET}@h/",
        f"http://h/a b?sig={SECRET}",
        "sftp://h/~/a",
        "",
    ]
)
names = st.sampled_from(["a.tar", "b/c.tar", "../x", "/etc/passwd", "", "CON", "x" * 300, "a\x1b"])
fields = st.one_of(
    urls,
    names,
    st.sampled_from(["1", "-1", "9" * 30, "\u0663"]),
    st.sampled_from(["md5:" + "0" * 32, "0" * 64, "sha1=xyz", "crc32:1"]),
)
headers = st.lists(
    st.sampled_from(
        ["file_name", "cdn_link", "url", "size", "sha256", "md5", "mirrors", "x", "#Name", "URL "]
    ),
    min_size=1,
    max_size=5,
)
rows = st.tuples(names, urls).map(list) | st.lists(fields, max_size=6)


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    between = draw(st.sampled_from(["\t", ",", "\t\t", ", "]))
    quoted = draw(st.booleans())
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    table = [draw(headers)] if draw(st.booleans()) else []
    table += draw(st.lists(rows, max_size=4))
    lines = [between.join(f'"{field}"' if quoted else field for field in row) for row in table]
    mark = draw(st.sampled_from(["", "\ufeff", "# comment\n"]))
    return (mark + end.join(lines) + draw(st.sampled_from(["", end]))).encode()


@pytest.fixture(scope="module")
def list_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in memory where there is such a place: it is written 100,000 times."""
    memory = Path("/dev/shm")  # noqa: S108 - with a name of this process
    folder = memory if memory.is_dir() else tmp_path_factory.getbasetemp()
    path = folder / f"fetcher-fuzz-{os.getpid()}"
    yield path
    path.unlink(missing_ok=True)


@fuzz
@given(
    st.one_of(
        mutated(lists(), SPECIAL),
        mutated(lists().map(lambda text: gzip.compress(text, 1, mtime=0)), SPECIAL, most=2),
    ),
    st.sampled_from([None, None, "tsv", "csv", "txt"]),
)
def test_lists(list_path: Path, content: bytes, format_: str | None) -> None:
    list_path.write_bytes(content)
    found: list[Row | BadRow] = []
    try:
        with open_list(str(list_path), format_) as source:
            found.extend(source)
    except InvalidListError as error:
        assert error.message.isprintable()
    lines = [row.line for row in found]
    assert lines == sorted(set(lines))
    for row in found:
        if isinstance(row, BadRow):
            assert row.error.message.isprintable()
            assert len(row.error.message) <= 1100
            continue
        assert check_url(row.url) == row.url
        assert all(check_url(mirror) == mirror for mirror in row.mirrors)
        assert row.name is None or check_name(row.name) == row.name
        assert row.size is None or 0 <= row.size < 10**18
        assert row.checksum is None or parse_checksum(row.checksum) == row.checksum


LAST = ["http://h/b", "http://h/b"]
"""So that no list is empty."""


@fuzz
@given(
    headers.filter(lambda fields: "x" not in fields) | st.just(["file_name", "cdn_link"]),
    st.lists(st.lists(urls, min_size=1, max_size=4), min_size=1, max_size=3),
)
@example(["file_name", "cdn_link"], [[f"https://user:{SECRET}@h/a.tar?sig={SECRET}", "a.tar"]])
def test_no_row_gives_a_secret_away(
    list_path: Path, header: list[str], table: list[list[str]]
) -> None:
    """Not even one whose columns are mixed up."""
    list_path.write_text("\n".join("\t".join(row) for row in [header, *table, LAST]))
    with open_list(str(list_path), "tsv") as source:
        for row in source:
            if isinstance(row, BadRow):
                assert SECRET not in f"{row.error} {row.url} {row.name}"
