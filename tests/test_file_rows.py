"""What the pipeline for items makes of their requests, and who gets a path."""

from pathlib import Path
from typing import Any

import pytest
from scrapy import Request

from fetcher.contract import META_FETCH, plain_row
from fetcher.disk.owners import Owner, Owners
from fetcher.errors import InvalidRowError
from fetcher.pipelines.rows import file_request, row

URL = "https://example.com/a.tar"
OUT = Path("/srv/files")


def test_a_row_has_what_its_request_knows() -> None:
    given = {"checksum": "D41D8CD98F00B204E9800998ECF8427E", "size": 42, "splits": 2}
    meta = row(Request(URL, meta={META_FETCH: given}), "full//./a.tar", OUT)
    expected = plain_row("full/a.tar", "/srv/files")
    checksum = "md5:d41d8cd98f00b204e9800998ecf8427e"
    assert meta == expected | {"checksum": checksum, "size": 42, "splits": 2}


@pytest.mark.parametrize(
    ("request_", "path", "words"),
    [
        (Request(URL, method="POST"), "a", "by POST"),
        (Request("file:///etc/passwd"), "a", "does not start with"),
        (Request(URL), "../a", "leaves the output folder"),
        (Request(URL), "a.part", "one that this program uses"),
        (Request(URL, meta={META_FETCH: {"out": "/"}}), "a", "'out'"),
        (Request(URL, meta={META_FETCH: {"checksum": "x"}}), "a", "no checksum"),
    ],
)
def test_what_cannot_be_fetched(request_: Request, path: str, words: str) -> None:
    with pytest.raises(InvalidRowError, match=words):
        row(request_, path, OUT)


def test_a_files_request_is_that_of_the_project() -> None:
    def called(*_: Any) -> None: ...

    request = Request(
        "https://anna:secret@example.com/a.tar",
        headers={"X-Key": "1"},
        cookies={"a": "b"},
        meta={"cookiejar": 1, "allow_offsite": True},
        callback=called,
        errback=called,
    )
    meta = row(request, "a.tar", OUT)
    found = file_request(request, meta)
    assert found.url == URL
    assert found.headers["Authorization"] == b"Basic YW5uYTpzZWNyZXQ="
    assert (found.headers["X-Key"], found.cookies) == (b"1", {"a": "b"})
    assert found.meta == {"cookiejar": 1, "allow_offsite": True, META_FETCH: meta}
    assert called not in (found.callback, found.errback)


def test_the_first_address_has_the_path() -> None:
    owners = Owners()
    assert owners.take("a", b"1") is Owner.NEW
    assert owners.take("a", b"2") is Owner.OTHER
    assert owners.take("a", b"1") is Owner.SAME
    assert owners.take("A", b"2") is Owner.NEW
    owners.close()


def test_paths_that_are_one_to_the_disk_are_one() -> None:
    owners = Owners(fold=True)
    assert owners.take("a/\u00e9", b"1") is Owner.NEW
    assert owners.take("A/e\u0301", b"2") is Owner.OTHER
    owners.close()
