"""What to do about a file that already stands under a row's name."""

import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from fetcher.config import IF_EXISTS
from fetcher.rules.answers import Version
from fetcher.rules.existing import Action, Completed, decide

DATA = b"twenty bytes of data"
SHA256 = "sha256:" + "a" * 64
OTHER_SHA256 = "sha256:" + "b" * 64
MD5 = "md5:" + "c" * 32
SHA1 = "sha1:" + "d" * 40


@pytest.fixture
def found(tmp_path: Path) -> os.stat_result:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path.lstat()


@pytest.fixture
def ours(found: os.stat_result) -> Completed:
    return Completed("file", found.st_size, found.st_mtime_ns, checksum=SHA256, others=(SHA1,))


@pytest.mark.parametrize("policy", IF_EXISTS)
def test_where_nothing_stands_it_is_fetched(policy: str, ours: Completed) -> None:
    for remembered in (None, ours):
        assert decide(policy, None, remembered) is Action.FETCH
        assert decide(policy, None, remembered, 5, MD5) is Action.FETCH


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("skip", Action.KEEP),
        ("update", Action.ASK_IF_CHANGED),
        ("overwrite", Action.FETCH),
        ("rename", Action.RENAME),
    ],
)
@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("checksum", [None, SHA256, SHA1])
def test_a_file_of_ours(
    policy: str,
    action: Action,
    size: int | None,
    checksum: str | None,
    found: os.stat_result,
    ours: Completed,
) -> None:
    assert decide(policy, found, ours, size, checksum) is action


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("skip", Action.FETCH),
        ("update", Action.FETCH),
        ("overwrite", Action.FETCH),
        ("rename", Action.RENAME),
    ],
)
@pytest.mark.parametrize(
    ("size", "checksum"),
    [
        (21, None),
        (0, None),
        (21, MD5),
        (None, OTHER_SHA256),
        (None, SHA1[:-1] + "e"),
        (21, SHA256),
        (len(DATA), OTHER_SHA256),
    ],
)
def test_a_file_of_ours_that_the_list_wants_to_be_another(
    policy: str,
    action: Action,
    size: int | None,
    checksum: str | None,
    found: os.stat_result,
    ours: Completed,
) -> None:
    assert decide(policy, found, ours, size, checksum) is action


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("skip", Action.COMPARE),
        ("update", Action.COMPARE),
        ("overwrite", Action.FETCH),
        ("rename", Action.RENAME),
    ],
)
@pytest.mark.parametrize("checksum", [None, SHA256, OTHER_SHA256])
def test_somebodys_file(
    policy: str, action: Action, checksum: str | None, found: os.stat_result, ours: Completed
) -> None:
    touched = replace(ours, mtime_ns=ours.mtime_ns + 1)
    grown = replace(ours, size=ours.size - 1)
    for remembered, size in product((None, touched, grown), (None, len(DATA), 21)):
        assert decide(policy, found, remembered, size, checksum) is action


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("skip", Action.HASH),
        ("update", Action.HASH),
        ("overwrite", Action.FETCH),
        ("rename", Action.RENAME),
    ],
)
def test_a_file_of_ours_of_which_the_lists_checksum_is_not_known(
    policy: str, action: Action, found: os.stat_result, ours: Completed
) -> None:
    assert decide(policy, found, ours, None, MD5) is action
    assert decide(policy, found, ours, len(DATA), MD5) is action
    assert decide(policy, found, replace(ours, checksum=None), None, SHA256) is action


def test_a_completed_file_is_described_by_size_and_time(
    found: os.stat_result, ours: Completed, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    assert ours.describes(found)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert not ours.describes(path.lstat())
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert ours.describes(path.lstat())
    path.write_bytes(DATA + b"!")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not ours.describes(path.lstat())


URL = "http://h.example/a"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("etag", "date", "condition"),
    [
        ('"a"', DATE, {"If-None-Match": '"a"'}),
        (None, DATE, {"If-Modified-Since": DATE}),
        (None, None, {}),
    ],
)
def test_an_address_is_asked_by_its_own_validators(
    etag: str | None, date: str | None, condition: dict[str, str]
) -> None:
    file = Completed("a", 20, 1, etag, date, address="http://h.example:80/a")
    assert file.condition(URL + "?signature=2") == condition
    assert file.condition("http://h.example/b") == {}
    assert file.condition("https://h.example/a") == {}
    assert replace(file, address=None).condition(URL) == condition


@pytest.mark.parametrize(
    ("version", "same"),
    [
        (Version(20, '"other"', DATE), True),
        (Version(21, '"a"', DATE), False),
        (Version(20, '"a"'), False),
        (Version(20, '"a"', DATE, codings=("gzip",)), False),
        (Version(None, '"a"', DATE), False),
    ],
)
def test_elsewhere_it_is_told_by_size_and_date(version: Version, same: bool) -> None:
    assert Completed("a", 20, 1, '"a"', DATE).resembles(version) is same
    assert not Completed("a", 20, 1, '"a"').resembles(version)
