"""Hashing a file while it arrives."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetcher.disk import digest
from fetcher.disk.digest import Digester, FileHash
from fetcher.errors import DiskError, Stopped
from fetcher.rules.checksums import ALGORITHMS

DATA = bytes(range(256)) * 40


def checksum(algorithm: str, data: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An open file that holds ``DATA``."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    number = os.open(path, os.O_RDWR)
    yield number
    os.close(number)


def test_a_pause_lasts_until_it_goes_on(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_BLOCK", 1000)
    digester = Digester(fd, ["sha256"])
    digester.follow(3000)
    digester.pause()
    digester.follow(len(DATA))
    assert digester.position == 3000
    digester.go_on()
    digester.follow(len(DATA))
    assert digester.checksums() == {"sha256": checksum("sha256", DATA)}


def test_all_algorithms_are_computed_at_once(fd: int) -> None:
    digester = Digester(fd, ALGORITHMS)
    digester.follow(len(DATA))
    assert digester.checksums() == {name: checksum(name, DATA) for name in ALGORITHMS}
    assert digester.position == len(DATA)


def test_each_algorithm_is_computed_once(fd: int) -> None:
    assert Digester(fd, ["sha1", "md5", "sha1"]).algorithms == ("md5", "sha1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, len(DATA))), st.integers(1, 3000))
def test_however_the_front_moves(fd: int, fronts: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "_BLOCK", block)
        digester, furthest = Digester(fd, ["sha256"]), 0
        for front in fronts:
            digester.follow(front)
            furthest = max(furthest, front)
            assert digester.position == furthest
            assert digester.checksums() == {"sha256": checksum("sha256", DATA[:furthest])}


def test_what_was_hashed_is_not_read_again(fd: int) -> None:
    digester = Digester(fd, ["md5"])
    digester.follow(5000)
    os.pwrite(fd, bytes(5000), 0)
    digester.follow(len(DATA))
    assert digester.checksums() == {"md5": checksum("md5", DATA)}


def test_nothing_beyond_the_front_is_read(fd: int) -> None:
    digester = Digester(fd, ["md5"])
    digester.follow(100)
    os.pwrite(fd, b"x" * 100, 100)
    digester.follow(200)
    assert digester.checksums() == {"md5": checksum("md5", DATA[:100] + b"x" * 100)}


def test_the_offset_of_the_file_is_not_touched(fd: int) -> None:
    os.lseek(fd, 7, os.SEEK_SET)
    Digester(fd, ["md5"]).follow(len(DATA))
    assert os.lseek(fd, 0, os.SEEK_CUR) == 7


def test_without_algorithms_nothing_is_read() -> None:
    digester = Digester(-1, ())
    digester.follow(100)
    assert digester.checksums() == {}


def test_a_file_that_is_shorter_than_its_front(fd: int) -> None:
    digester = Digester(fd, ["md5"])
    with pytest.raises(OSError, match=f"ends at {len(DATA)} instead of {len(DATA) + 1}"):
        digester.follow(len(DATA) + 1)


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Digester(-1, ["md5"]).follow(1)


def test_a_stop_breaks_off(fd: int) -> None:
    digester = Digester(fd, ["md5"])
    digester.follow(100)
    reason = Stopped("the run was interrupted")
    digester.stop(reason)
    with pytest.raises(Stopped) as caught:
        digester.follow(len(DATA))
    assert caught.value is reason
    assert digester.position == 100


def test_an_empty_file_has_a_checksum(fd: int) -> None:
    digester = Digester(fd, ["sha256"])
    digester.follow(0)
    assert digester.checksums() == {"sha256": checksum("sha256", b"")}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", DATA, DATA * 100])
def test_a_file_in_one_go(tmp_path: Path, algorithm: str, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert FileHash(path, algorithm).checksum() == checksum(algorithm, data)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="file cannot be read: No such file"):
        FileHash(tmp_path / "file", "md5").checksum()


def test_a_folder_has_no_checksum(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot be read: Is a directory"):
        FileHash(tmp_path, "md5").checksum()


def test_hashing_a_file_can_be_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    hashing = FileHash(path, "md5")
    reason = Stopped("the run was interrupted")
    hashing.stop(reason)
    with pytest.raises(Stopped) as caught:
        hashing.checksum()
    assert caught.value is reason
