"""One archive and its folder: all of it or nothing, nothing outside, nothing of anybody else's."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.disk.allowance import Allowance
from fetcher.disk.ledger import Ledger
from fetcher.disk.tar import tar_members
from fetcher.disk.tree import Tree
from fetcher.disk.unpacking import Unpacking
from fetcher.errors import Stopped, UnpackError
from fetcher.rules.members import Kind, Member
from tests.archives import (
    COMPRESSIONS,
    END,
    entry,
    folder,
    hard_link,
    overlapping_zip,
    symlink,
    tar,
    tar_of,
    zip_entry,
    zip_of,
)
from tests.crawl import PROJECT

MIB = 1 << 20
FILES = {"a": b"one", "d/b": random.Random(1).randbytes(700_000), "d/e/c": b""}


@dataclass
class Place:
    """An output folder, and beside it a file that nobody may touch."""

    out: Path
    ledger: Ledger

    def put(self, name: str, data: bytes) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def unpacking(self, name: str, checksum: str | None = None, max_size: int = 0) -> Unpacking:
        return Unpacking(self.out, name, checksum, self.ledger, max_size)

    def unpack(self, name: str, data: bytes | None = None, max_size: int = 0) -> bool:
        """As the pipeline does it; whether there was anything to do."""
        if data is not None:
            self.put(name, data)
        unpacking = self.unpacking(name, max_size=max_size)
        needed = unpacking.needed()
        if needed:
            unpacking.run()
        return needed

    def refused(self, name: str, data: bytes | None = None, max_size: int = 0) -> str:
        """Why it was not unpacked; nothing else may have come of it."""
        if data is not None:
            self.put(name, data)
        before = self.tree()
        with pytest.raises(UnpackError) as raised:
            self.unpack(name, max_size=max_size)
        assert self.tree() == before
        assert self.leftovers() == []
        assert (self.out.parent / "precious").read_bytes() == b"precious"
        text = raised.value.message
        assert text.startswith(f"{name} is whole and in its place, but was not unpacked: ")
        assert text.isprintable()
        return text

    def leftovers(self) -> list[str]:
        aside = self.out / ".fetcher" / "unpacking"
        return sorted(path.name for path in aside.iterdir()) if aside.exists() else []

    def tree(self) -> dict[str, bytes | str]:
        """All that stands in the output folder: the bytes of files, the targets of links."""
        return {
            path.relative_to(self.out).as_posix(): _content(path)
            for path in self.out.rglob("*")
            if ".fetcher" not in path.relative_to(self.out).parts[:1]
        }


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return str(path.readlink())
    return "" if path.is_dir() else path.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    with closing(Ledger(out, durable=True)) as ledger:
        yield Place(out, ledger)


def files_in(path: Path) -> dict[str, bytes]:
    return {
        each.relative_to(path).as_posix(): each.read_bytes()
        for each in path.rglob("*")
        if each.is_file()
    }


# --- what there is to unpack ----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [*COMPRESSIONS, ".zip"])
def test_all_kinds_of_archives(place: Place, ending: str) -> None:
    archive = zip_of(FILES) if ending == ".zip" else COMPRESSIONS[ending](tar_of(FILES))

    assert place.unpack("x/some" + ending, archive)

    assert files_in(place.out / "x/some") == FILES
    assert (place.out / ("x/some" + ending)).read_bytes() == archive
    assert place.leftovers() == []
    assert not place.unpack("x/some" + ending), "it is there"


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax", "v7"])
@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_archives_of_tar_itself(place: Place, tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    deep = source / "d" / ("n" * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"one")
    (source / "run").write_bytes(b"#!/bin/sh\n")
    (source / "run").chmod(0o755)
    os.utime(source / "run", ns=(1_000_000_000, 1_000_000_000))
    (source / "link").symlink_to("d")
    (source / "d" / "up").symlink_to("../run")
    os.link(source / "run", source / "zz-same")
    if form in ("gnu", "pax"):
        (deep / ("long" * 50)).write_bytes(b"two")
        with (source / "sparse").open("wb") as file:
            file.seek(5 * MIB)
            file.write(b"end")
            file.truncate(8 * MIB)
    command = ["tar", "--format", form, "-cf", str(place.out / "a.tar"), "-C", str(source), "."]
    if form in ("gnu", "pax"):
        command.insert(1, "--sparse")
    subprocess.run(command, check=True)
    assert (place.out / "a.tar").stat().st_size < MIB

    place.unpack("a.tar")

    subprocess.run(["diff", "-r", source, place.out / "a"], check=True)
    run = (place.out / "a/run").stat()
    assert run.st_mode & 0o777 == 0o755
    assert run.st_mtime_ns == 1_000_000_000
    assert run.st_ino == (place.out / "a/zz-same").stat().st_ino
    assert (place.out / "a/d/up").readlink() == Path("../run")
    if form in ("gnu", "pax"):
        assert (place.out / "a/sparse").stat().st_blocks * 512 < MIB


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
def test_archives_of_zip_itself(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "run").write_bytes(b"#!/bin/sh\n" * 99)
    (source / "run").chmod(0o755)
    os.utime(source / "run", (1_600_000_000, 1_600_000_000))
    (source / "d/link").symlink_to("../run")
    subprocess.run(["zip", "-qry", place.out / "a.zip", "."], cwd=source, check=True)

    place.unpack("a.zip")

    subprocess.run(["diff", "-r", source, place.out / "a"], check=True)
    assert (place.out / "a/run").stat().st_mtime == 1_600_000_000
    assert (place.out / "a/run").stat().st_mode & 0o777 == 0o755
    assert (place.out / "a/d/link").readlink() == Path("../run")


def test_the_content_tells_how_it_is_packed(place: Place) -> None:
    place.unpack("a.zip", COMPRESSIONS[".tar.xz"](tar_of(FILES)))
    place.unpack("b.tar.gz", tar_of(FILES))
    assert files_in(place.out / "a") == files_in(place.out / "b") == FILES


def test_an_empty_archive_is_an_empty_folder(place: Place) -> None:
    place.unpack("a.tar", bytes(10240))
    place.unpack("b.zip", zip_of({}))
    place.unpack("c.tar", tar(folder("./"), folder("d")))
    assert set(place.tree()) == {"a", "a.tar", "b", "b.zip", "c", "c/d", "c.tar"}


def test_archives_in_archives_are_files(place: Place) -> None:
    place.unpack("a.zip", zip_of({"b.tar": tar_of(FILES)}))
    assert (place.out / "a/b.tar").read_bytes() == tar_of(FILES)
    assert set(place.tree()) == {"a.zip", "a", "a/b.tar"}


def test_names_that_are_no_utf_8(place: Place) -> None:
    old = entry("x" * 4).replace(b"xxxx", b"\xe4b\n\r")
    old = old[:148] + b"%06o\0 " % sum(old[:148], 8 * 32 + sum(old[156:512])) + old[156:]
    place.unpack("a.tar", tar(old))
    assert [os.fsencode(path.name) for path in (place.out / "a").iterdir()] == [b"\xe4b\n\r"]


def test_permissions_are_at_most_the_umask(place: Place) -> None:
    umask = os.umask(0o027)
    try:
        place.unpack(
            "a.tar",
            tar(
                folder("d", 0o000),
                folder("s", 0o6777),
                entry("d/setuid", mode=0o6755),
                entry("d/nothing", mode=0),
                entry("d/all", mode=0o777),
                entry("d/private", mode=0o600),
                entry("owner", uid=4711, gid=4711),
            ),
        )
        place.unpack(
            "b.zip", zip_of([(zip_entry("setuid", 0o104755), b""), (zip_entry("d/"), b"")])
        )
    finally:
        os.umask(umask)
    modes = {
        path.relative_to(place.out).as_posix(): oct(path.stat().st_mode & 0o7777)
        for name in ("a", "b")
        for path in (place.out / name, *(place.out / name).rglob("*"))
    }
    assert modes == {
        "a": "0o750",
        "a/d": "0o750",
        "a/d/setuid": "0o750",
        "a/d/nothing": "0o600",
        "a/d/all": "0o750",
        "a/d/private": "0o600",
        "a/owner": "0o640",
        "a/s": "0o750",
        "b": "0o750",
        "b/d": "0o750",
        "b/setuid": "0o750",
    }
    assert (place.out / "a/owner").stat().st_uid == os.geteuid()


def test_hard_links(place: Place) -> None:
    place.unpack(
        "a.tar",
        tar(
            entry("d/one", b"1"),
            symlink("d/e/link", "../one"),
            hard_link("two", "./d/one"),
            hard_link("d/e/again", "d/e/link"),
            entry("end"),
        ),
    )
    assert (place.out / "a/two").stat().st_ino == (place.out / "a/d/one").stat().st_ino
    assert (place.out / "a/d/e/again").readlink() == Path("../one")
    # A link of the same text is another link in another place.
    assert "outside" in place.refused(
        "b.tar", tar(folder("d/e"), symlink("d/e/link", "../.."), hard_link("out", "d/e/link"))
    )


# --- what is hostile ------------------------------------------------------------------------------

DEEP = "/".join("d" * 40)

HOSTILE = {
    "absolute": ([entry("/tmp/x")], "absolute name"),  # noqa: S108 - is never made
    "drive": ([entry("C:/x")], "absolute name"),
    "dots": ([entry("../precious", b"x")], "leaves the folder"),
    "dots_inside": ([folder("a"), entry("a/../../precious", b"x")], "leaves the folder"),
    "dots_folder": ([folder("../x")], "leaves the folder"),
    "backslashes": ([entry("..\\precious", b"x")], "backslashes"),
    "nul": ([entry("a", pax_headers={"path": "a\0b"})], "NUL"),
    "no_name": ([entry("./", b"x", pax_headers={"path": "."})], "no name"),
    "long": ([entry("x" * 256)], "too long"),
    "deep": ([entry("/".join("x" * 200))], "deep"),
    "link_absolute": ([symlink("l", "/etc/passwd")], "outside"),
    "link_dots": ([symlink("l", "../precious")], "outside"),
    "link_dots_hidden": ([symlink("d/l", "x/../../../precious")], "outside"),
    "link_then_file": ([symlink("l", "d"), folder("d"), entry("l/x")], "to be a folder"),
    "link_out_then_file": ([symlink("l", ".."), entry("l/precious", b"x")], "outside"),
    "link_then_itself": ([symlink("l", "x"), entry("l", b"x")], "is there twice"),
    "link_then_folder": ([symlink("l", "x"), folder("l")], "to be a folder"),
    "link_then_folder_through_it": ([folder("d"), symlink("l", "d"), folder("l/x")], "a folder"),
    "chained_links": (
        # A link's text is checked as if "a" was a folder, and it is the top.
        [
            folder("x/y"),
            symlink("x/y/a", "../.."),
            symlink("b", "x/y/a/../.."),
            entry("b/precious"),
        ],
        "to be a folder",
    ),
    "CVE-2025-4517": (
        # The way through the links is too long for realpath(), which then looks no further.
        [
            *(folder("/".join(["d" * 200] * depth)) for depth in range(1, 8)),
            symlink("l", "/".join(["d" * 200] * 7)),
            symlink("l/l", "../" * 7),
            entry("l/l/../../precious", b"x"),
        ],
        "to be a folder",
    ),
    "hard_link_absolute": ([hard_link("l", "/etc/passwd")], "absolute name"),
    "hard_link_dots": ([hard_link("l", "../precious")], "leaves the folder"),
    "hard_link_missing": ([hard_link("l", "x")], "no file before it"),
    "hard_link_missing_folder": ([hard_link("l", "x/y/z")], "no file before it"),
    "hard_link_folder": ([folder("d"), hard_link("l", "d")], "no file before it"),
    "hard_link_itself": ([hard_link("l", "l")], "no file before it"),
    "hard_link_top": ([hard_link("l", ".")], "no file before it"),
    "hard_link_through_link": (
        [folder("d"), entry("d/x"), symlink("l", "d"), hard_link("m", "l/x")],
        "to be a folder",
    ),
    "twice": ([entry("a", b"1"), entry("./a", b"2")], "is there twice"),
    "file_then_folder": ([entry("a"), entry("a/b")], "to be a folder"),
    "folder_then_file": ([entry("a/b"), entry("a")], "is there twice"),
    "character_device": ([entry("d", kind=tarfile.CHRTYPE)], "a device or a pipe"),
    "block_device": ([entry("d", kind=tarfile.BLKTYPE)], "a device or a pipe"),
    "fifo": ([entry("d", kind=tarfile.FIFOTYPE)], "a device or a pipe"),
    "unknown": ([entry("d", kind=b"V")], "of an unknown kind"),
    "control_characters": ([entry("../\x1b]0;x\x07\u202e")], r"'../\x1b]0;x\x07\u202e'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tars(place: Place, case: str) -> None:
    entries, why = HOSTILE[case]
    assert why in place.refused("a.tar", tar(entry("before", b"x"), *entries))


HOSTILE_ZIPS = {
    "absolute": ([(zip_entry("/tmp/x"), b"")], "absolute name"),  # noqa: S108 - is never made
    "dots": ([(zip_entry("../precious"), b"x")], "leaves the folder"),
    "backslashes": ([(zip_entry("..\\precious", system=0), b"x")], "backslashes"),
    "drive": ([(zip_entry("C:\\x", system=0), b"x")], "absolute name"),
    "link": ([(zip_entry("l", 0o120777), b"/etc/passwd")], "outside"),
    "link_dots": ([(zip_entry("d/l", 0o120777), b"../../x")], "outside"),
    "link_long": ([(zip_entry("l", 0o120777), b"x" * 5000)], "target is too long"),
    "link_then_file": (
        [(zip_entry("l", 0o120777), b"d"), (zip_entry("d/x"), b""), (zip_entry("l/y"), b"")],
        "to be a folder",
    ),
    "device": ([(zip_entry("d", 0o020666), b"")], "a device or a pipe"),
    "fifo": ([(zip_entry("d", 0o010666), b"")], "a device or a pipe"),
    "twice": ([(zip_entry("./a"), b"1"), (zip_entry("a"), b"2")], "is there twice"),
}


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_hostile_zips(place: Place, case: str) -> None:
    entries, why = HOSTILE_ZIPS[case]
    assert why in place.refused("a.zip", zip_of([(zip_entry("before"), b"x"), *entries]))


def test_a_name_that_a_zip_hides_behind_a_nul(place: Place) -> None:
    archive = zip_of({"a.txt_../../x": b"x"}).replace(b"a.txt_", b"a.txt\0")
    assert "NUL" in place.refused("a.zip", archive)


NAMES = st.lists(st.sampled_from(["a", "b", "l", "..", ""]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.one_of(
    st.builds(entry, NAMES, st.just(b"x")),
    st.builds(folder, NAMES),
    st.builds(symlink, NAMES, NAMES),
    st.builds(hard_link, NAMES, NAMES),
)


@given(entries=st.lists(ENTRIES, max_size=8))
def test_whatever_is_in_it_nothing_comes_outside(entries: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as top:
        # A file and a folder that have the names of members.
        root = Path(top, "b", "l")
        root.mkdir(parents=True)
        (root.parent / "a").write_bytes(b"precious")
        allowance = Allowance(root, 0)
        with suppress(UnpackError), Tree(root, allowance, lambda: None) as tree:
            for member, content in tar_members(iter([tar(*entries)])):
                tree.add(member, content)
        for path in root.rglob("*"):
            assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        assert [path.name for path in Path(top).iterdir()] == ["b"]
        assert {path.name for path in root.parent.iterdir()} == {"a", "l"}
        assert (root.parent / "a").read_bytes() == b"precious"


# --- what is damaged ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [*COMPRESSIONS, ".zip"])
def test_cut_anywhere_it_is_not_unpacked(place: Place, ending: str) -> None:
    files = {"a": random.Random(1).randbytes(3000), "b": b"b" * 600}
    archive = zip_of(files) if ending == ".zip" else COMPRESSIONS[ending](tar_of(files))
    whole = len(archive) - (len(END) - 512 if ending == ".tar" else 0)
    for size in {0, 1, 300, 511, 512, 513, 1024, 2048, 3584, 4096, 4608, whole - 1, whole - 9}:
        if size < whole:
            text = place.refused("x" + ending, archive[:size])
            assert "damaged, not complete, or no archive" in text, size


SPARSE = {
    "GNU.sparse.map": "0,4000",
    "GNU.sparse.numblocks": "1",
    "GNU.sparse.size": "4000",
}
"""Of a file that has more than there is of it."""


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tar", b"<!doctype html><title>Log in</title>" * 40),
        ("a.zip", b"<!doctype html><title>Log in</title>" * 40),
        ("a.tgz", COMPRESSIONS[".tgz"](b"no tar" * 1000)),
        ("a.tar", tar(entry("a", size=-1))),
        ("a.tar", tar(entry("a", size=1 << 70))),
        ("a.tar", tar(entry("a", b"x" * 600)[:-512], entry("b", b"x" * 10_000))),
        ("a.tar", entry("a") + entry("b").replace(b"0000644", b"000064x") + END),
        ("a.tar", tar(entry("a", b"x", pax_headers=SPARSE), *[entry("b")] * 9)),
        # Python's own reader takes its time over these (CVE-2024-6232), and finds them right.
        ("a.tar", tar(entry("a", b"2 " * 9999 + b"=", kind=tarfile.XHDTYPE), entry("b"))),
        ("a.tar", tar(entry("a", b"1" * 9999, kind=tarfile.XGLTYPE), entry("b"))),
        (
            "a.tar",
            tar(*(tarfile.TarInfo().create_pax_global_header({"a": "b"}) for _ in range(900))),
        ),
    ],
    ids=range(11),
)
def test_what_is_no_archive(place: Place, name: str, data: bytes) -> None:
    assert "damaged, not complete, or no archive" in place.refused(name, data)


def test_a_wrong_byte_in_a_zip(place: Place) -> None:
    archive = bytearray(zip_of({"a": b"x" * 1000}, zipfile.ZIP_STORED))
    archive[200] ^= 1
    assert "CRC" in place.refused("a.zip", bytes(archive))


@pytest.mark.parametrize("size", [3, 999, 1001, 10**9])
def test_a_zip_that_lies_of_a_size(place: Place, size: int) -> None:
    archive = zip_of({"a": b"x" * 1000})
    lying = archive.replace((1000).to_bytes(4, "little"), size.to_bytes(4, "little"))
    assert lying != archive
    assert "damaged" in place.refused("a.zip", lying)


def test_an_encrypted_zip(place: Place) -> None:
    archive = bytearray(zip_of({"a": b"x"}))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.index(signature) + offset] |= 1
    assert "encrypted: unpack it by hand, with its password" in place.refused(
        "a.zip", bytes(archive)
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_of_a_zip_that_are_not_known(place: Place, method: int) -> None:
    assert f"method {method}" in place.refused("a.zip", zip_of({"a": b"x" * 99}, method))


# --- bombs ----------------------------------------------------------------------------------------


def test_the_most_bytes_that_are_allowed(place: Place) -> None:
    files = {"a": bytes(MIB), "b": bytes(MIB)}
    for name, archive in (("a.tgz", COMPRESSIONS[".tgz"](tar_of(files))), ("b.zip", zip_of(files))):
        assert "DOWNLOAD_MAXSIZE" in place.refused(name, archive, max_size=2 * MIB - 1)
        assert place.unpack(name, max_size=2 * MIB)


def test_a_disk_is_not_filled(small_disk: Path) -> None:
    """Of 20 MiB one is kept, for journals and the report."""
    out = small_disk / "out"
    out.mkdir()
    (small_disk / "precious").write_bytes(b"precious")
    with closing(Ledger(out)) as ledger:
        place = Place(out, ledger)
        bombs = {
            "a.tar.gz": COMPRESSIONS[".tar.gz"](tar_of({"a": bytes(64 * MIB)})),
            "b.zip": zip_of({"a": bytes(12 * MIB), "b": bytes(12 * MIB)}),
            # Nothing but holes.
            "c.tar": tar(sparse("a", 1 << 40, 0)),
            "d.tar": tar(sparse("a", 1 << 40, (1 << 40) - 1)),
        }
        for name, archive in bombs.items():
            text = place.refused(name, archive)
            assert "make room and run again" in text
        assert shutil.disk_usage(small_disk).free > 18 * MIB
        place.unpack("e.tar.gz", COMPRESSIONS[".tar.gz"](tar_of({"a": bytes(16 * MIB)})))


def sparse(name: str, size: int, at: int) -> bytes:
    """A file of one byte between its holes, in the format 0.1 of GNU tar."""
    facts = {
        "GNU.sparse.map": f"{at},1",
        "GNU.sparse.numblocks": "1",
        "GNU.sparse.size": str(size),
    }
    return entry(name, b"x", pax_headers=facts)


@pytest.mark.parametrize("at", [0, MIB - 1])
def test_holes_are_counted(place: Place, at: int) -> None:
    files = tar(*(sparse(str(number), MIB, at) for number in range(9)))
    assert "DOWNLOAD_MAXSIZE" in place.refused("a.tar", files, max_size=8 * MIB)
    place.unpack("a.tar", max_size=9 * MIB)
    data = (place.out / "a/0").read_bytes()
    assert (len(data), data.index(b"x"), data.count(0)) == (MIB, at, MIB - 1)


def test_others_fill_the_disk_meanwhile(small_disk: Path) -> None:
    allowance = Allowance(small_disk, 0)
    allowance.write(MIB)
    (small_disk / "theirs").write_bytes(bytes(18 * MIB))
    with pytest.raises(UnpackError, match="make room and run again"):
        for _ in range(12):
            allowance.write(MIB)


def test_a_large_file_is_broken_off_in_the_middle(tmp_path: Path) -> None:
    stopped: list[bool] = []

    def check() -> None:
        if stopped:
            raise Stopped("stopped")

    def content() -> Iterator[tuple[int, bytes]]:
        yield 0, b"x"
        stopped.append(True)
        for offset in range(1, 9):
            yield offset, b"y"

    with Tree(tmp_path, Allowance(tmp_path, 0), check) as tree, pytest.raises(Stopped):
        tree.add(Member(("a",), Kind.FILE), content())
    assert (tmp_path / "a").read_bytes() == b"x"


def test_entries_that_overlap(place: Place) -> None:
    assert "overlap" in place.refused("a.zip", overlapping_zip(1000, 1 << 20))


def test_more_entries_than_fit_in_memory(place: Place) -> None:
    assert "too long to be kept in memory" in place.refused("a.zip", overlapping_zip(400_000, 1))


@pytest.mark.parametrize(
    "headers",
    [
        [entry("a", pax_headers={"comment": "x" * (1 << 20)})],
        [entry("x" * (1 << 20) + "/a", kind=tarfile.GNUTYPE_LONGNAME)],
        [entry("././@LongLink", b"x" * (1 << 21), kind=tarfile.GNUTYPE_LONGNAME), entry("a")],
        [entry("././@LongLink", b"x" * 600_000, kind=tarfile.GNUTYPE_LONGNAME)] * 2 + [entry("a")],
    ],
)
def test_headers_without_end(place: Place, headers: list[bytes]) -> None:
    assert "bytes of headers" in place.refused("a.tar", tar(*headers))


def test_too_many_members(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetcher.disk.allowance.MAX_MEMBERS", 10)
    place.unpack("a.tar", tar(*(entry(f"d/{number}") for number in range(9))))
    # Folders that are only in a name are made as well.
    assert "more than 10 members" in place.refused("b.tar", tar(entry("/".join("abcdefghijk"))))


MEMORY = """
import sys
from pathlib import Path
from fetcher.disk.tar import tar_members
from tests.archives import END, entry, tarfile

member = entry("some/longer/name", b"x")
header = tarfile.TarInfo().create_pax_global_header({"key00000": "x" * 1000})

def blocks():
    for number in range(int(sys.argv[1])):
        yield header.replace(b"key00000", b"key%05d" % number)
        yield member
    yield END

for _, content in tar_members(blocks()):
    for _ in content:
        pass
# As getrusage() counts the memory of whoever has started this.
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_members() -> None:
    def peak(count: int) -> int:
        command = [sys.executable, "-c", MEMORY, str(count)]
        run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return int(run.stdout) * 1024

    assert peak(10_000) - peak(100) < 4 * MIB
