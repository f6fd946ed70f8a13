from pathlib import Path

import pytest

from tests.servers.content import Bytes, Content

MIB = 1 << 20


def test_any_stretch_reads_the_same_as_the_whole() -> None:
    content = Content(3 * MIB + 17, seed=5)
    whole = content.read(0, content.size)
    assert len(whole) == content.size
    for start, end in [(0, 1), (MIB - 1, MIB + 1), (MIB, 3 * MIB), (5, 3 * MIB + 16), (9, 9)]:
        assert content.read(start, end) == whole[start:end]
    assert content.read(content.size - 1, content.size + 5) == whole[-1:]
    assert content.read(content.size, content.size + 5) == b""


def test_no_stretch_is_found_twice() -> None:
    content = Content(5 * MIB, seed=1)
    whole = content.read(0, content.size)
    cells = {whole[at : at + 64] for at in range(0, len(whole), 64)}
    assert len(cells) == len(whole) // 64
    assert whole.find(whole[100:200], 101) == -1


def test_far_offsets_differ_from_near_ones() -> None:
    content = Content(1 << 40)
    assert content.read(1 << 39, (1 << 39) + 64) != content.read(0, 64)
    assert len(content.read((1 << 40) - 10, 1 << 40)) == 10


def test_seeds_and_tags_tell_contents_apart() -> None:
    assert Content(100, 1).read(0, 100) != Content(100, 2).read(0, 100)
    assert Content(100, 1).read(0, 50) == Content(50, 1).read(0, 50)
    assert len({Content(1, 2).tag, Content(2, 1).tag, Content(2, 2).tag, Bytes(b"x").tag}) == 4


def test_digests_are_those_of_the_bytes() -> None:
    content = Content(2 * MIB + 1)
    given = Bytes(content.read(0, content.size))
    assert given.size == content.size
    assert content.sha256 == given.sha256
    assert len(content.digest("md5")) == 32
    assert Bytes(b"").digest("md5") == "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda data: data, None),
        (lambda data: data[:-1], 2 * MIB + 4),
        (lambda data: data + b"x", 2 * MIB + 5),
        (lambda data: data[: MIB + 3] + b"x" + data[MIB + 4 :], MIB + 3),
        (lambda data: b"", 0),
    ],
)
def test_the_first_difference_of_a_file(
    tmp_path: Path, change: object, difference: int | None
) -> None:
    content = Content(2 * MIB + 5, seed=3)
    path = tmp_path / "file"
    content.write_to(path)
    assert callable(change)
    path.write_bytes(change(path.read_bytes()))
    assert content.first_difference(path) == difference
