"""Which members of an archive may be unpacked, and as what."""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import UnpackError
from fetcher.rules.archives import folder_of, form_of
from fetcher.rules.members import (
    Kind,
    Member,
    check_records,
    extents,
    link_target,
    member_path,
)
from fetcher.rules.names import MAX_DEPTH
from fetcher.rules.unpacked import Action, Packed, Unpacked, decide
from tests.archives import COMPRESSIONS, tar_of, zip_of

# --- archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a.tar", "a"),
        ("x/a.b.tar.gz", "x/a.b"),
        ("a.tar.tar.zst", "a.tar"),
        ("A.TGZ", "A"),
        ("a.tbz", "a"),
        ("a.tbz2", "a"),
        ("a.txz", "a"),
        ("a.tzst", "a"),
        ("a.1.zip", "a.1"),
        ("a.gz", None),
        ("a.xz", None),
        ("a.zst", None),
        ("a.tar.lz4", None),
        ("a.zip.part", None),
        ("tar", None),
        (".tar", None),
        ("x/.zip", None),
        ("a.tar/b", None),
        ("a.tar\n", None),
        ("a.docx", None),
    ],
)
def test_folder(name: str, folder: str | None) -> None:
    assert folder_of(name) == folder


def test_form_is_told_from_the_content() -> None:
    content = tar_of({"a": b"b"})
    forms = {ending: form_of(pack(content)[:512]) for ending, pack in COMPRESSIONS.items()}
    assert forms == {
        ".tar": "tar",
        ".tar.gz": "gzip",
        ".tgz": "gzip",
        ".tar.bz2": "bzip2",
        ".tar.xz": "xz",
        ".tar.zst": "zstd",
        ".tzst": "zstd",
    }
    assert form_of(zip_of({"a": b"b"})) == form_of(zip_of({})) == "zip"
    assert form_of(b"\x50\x2a\x4d\x18\x04\0\0\0") == "zstd"
    for name in (b"", b"<!doctype html>", b"PK.txt", b"Photos", b"BZ", b"(x"):
        assert form_of(name + bytes(9)) == "tar"


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", ("a",)),
        ("./a//b/./c/", ("a", "b", "c")),
        ("./", ()),
        ("", ()),
        (".fetcher", (".fetcher",)),
        ("..a/b..", ("..a", "b..")),
        ("Icon\r", ("Icon\r",)),
        ("\udce4.txt", ("\udce4.txt",)),
        ("a" * 255, ("a" * 255,)),
        ("/".join("a" * MAX_DEPTH), ("a",) * MAX_DEPTH),
    ],
)
def test_names(name: str, path: tuple[str, ...]) -> None:
    assert member_path(name) == path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("C:/x", "absolute"),
        ("c:x", "absolute"),
        ("..", "leaves the folder"),
        ("../x", "leaves the folder"),
        ("a/../b", "leaves the folder"),
        ("a/..", "leaves the folder"),
        ("./../x", "leaves the folder"),
        ("..\\x", "backslashes"),
        ("a\\b", "backslashes"),
        ("\\\\host\\share", "backslashes"),
        ("a\0b", "NUL"),
        ("a" * 256, "too long"),
        ("ä" * 128, "too long"),
        ("/".join(["a" * 200] * 11), "too long"),
        ("/".join("a" * (MAX_DEPTH + 1)), "deep"),
        ("\ud800", "no text"),
    ],
)
def test_names_that_are_refused(name: str, why: str) -> None:
    with pytest.raises(UnpackError, match=why) as raised:
        member_path(name)
    text = str(raised.value)
    assert text.isprintable()
    assert len(text) < 500


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "text"),
    [
        ("l", "a", "a"),
        ("l", "./a/b/", "a/b"),
        ("l", ".", "."),
        ("d/l", "..", ".."),
        ("d/l", "../a", "../a"),
        ("d/e/l", "../../a", "../../a"),
        # As Python's filter writes it since CVE-2025-4517: what is in front of the dots is dropped.
        ("l", "a/../b", "b"),
        ("d/l", "a/../../b", "../b"),
    ],
)
def test_links(path: str, target: str, text: str) -> None:
    assert link_target(tuple(path.split("/")), target) == text


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "/etc"),
        ("l", "//etc"),
        ("l", ".."),
        ("l", "../l"),
        ("d/l", "../../x"),
        ("d/l", "a/../../../x"),
        ("l", ""),
        ("l", "a\0b"),
    ],
)
def test_links_that_are_refused(path: str, target: str) -> None:
    with pytest.raises(UnpackError, match="is a link to"):
        link_target(tuple(path.split("/")), target)


segments = st.sampled_from(["a", "b", "c", "..", "."])
names = st.lists(segments, min_size=1, max_size=4).map("/".join)


@given(st.lists(st.tuples(names, names), max_size=12))
@example([("a/c", ".."), ("b", "a/c/..")])
def test_no_chain_of_accepted_links_leaves_the_folder(links: list[tuple[str, str]]) -> None:
    """As the system itself resolves them, wherever it can."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "x", "root")
        root.mkdir(parents=True)
        made = []
        for name, target in links:
            try:
                path = member_path(name)
                text = link_target(path, target)
            except UnpackError:
                continue
            above = root
            for segment in path[:-1]:
                above /= segment
                if above.is_symlink():
                    break  # The way to a member leads over real folders only.
                above.mkdir(exist_ok=True)
            else:
                if not os.path.lexists(above / path[-1]):
                    (above / path[-1]).symlink_to(text)
                    made.append(above / path[-1])
        for link in made:
            for inner in ("", "a", "b/c", "a/b"):
                assert Path(os.path.realpath(link / inner)).is_relative_to(os.path.realpath(root))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "made"),
    [
        (0o644, 0o644),
        (0o4755, 0o755),
        (0o2755, 0o755),
        (0o1777, 0o777),
        (0o000, 0o600),
        (0o400, 0o600),
        (0o655, 0o644),
        (0o500, 0o700),
        (-1, 0o777),
    ],
)
def test_mode(mode: int, made: int) -> None:
    assert Member(("a",), Kind.FILE, mode).file_mode == made


@pytest.mark.parametrize("mtime", [None, -1.0, 2.0**33, float("inf"), float("nan")])
def test_times_that_no_file_system_has(mtime: float | None) -> None:
    assert Member(("a",), Kind.FILE, mtime=mtime).mtime_ns is None


@pytest.mark.parametrize(
    "sparse", [[(0, -1)], [(5, 5), (4, 1)], [(-1, 2)], [(0, 11)], [(10, 1)], [(0, 6), (5, 1)]]
)
def test_sparse_files_that_contradict_themselves(sparse: list[tuple[int, int]]) -> None:
    with pytest.raises(UnpackError, match="sparse"):
        list(extents(sparse, 10))


def test_sparse_files() -> None:
    assert list(extents([(0, 1), (4, 3), (9, 0), (0, 0)], 10)) == [(0, 1), (4, 3)]


# --- headers --------------------------------------------------------------------------------------


@given(st.dictionaries(st.text("abc.", min_size=1), st.text(max_size=300), max_size=5))
def test_headers_that_are_written_are_read(records: dict[str, str]) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = records
    written = info.create_pax_header(info.get_info(), "utf-8")
    length = int(written[124:135] or b"0", 8) if records else 0
    check_records(written[512 : 512 + length])


@pytest.mark.parametrize(
    "header",
    [
        b"1" * (1 << 20),
        b"2 " * (1 << 19) + b"=",
        b"9 a=bcd\n" + b"5 a=\n" * 11_000,
        b"0 a=b\n",
        b"3 a=b\n",
        b"99 a=b\n",
        b"6 a=bc",
        b"x",
        b"309 path=" + b"7" * 299 + b"\n",
    ],
)
def test_headers_that_would_take_for_ever(header: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(UnpackError):
        check_records(header)
    assert time.monotonic() - began < 1


# --- folders that are there -----------------------------------------------------------------------

ARCHIVE = Packed("a.tar", 10, 1000, "sha256:aa")


def standing(path: Path) -> os.stat_result:
    path.mkdir()
    return path.stat()


def test_what_is_done_about_a_folder(tmp_path: Path) -> None:
    found, other = standing(tmp_path / "a"), standing(tmp_path / "b")
    os.utime(tmp_path / "b", ns=(5, 5))
    other = (tmp_path / "b").stat()
    (tmp_path / "file").touch()
    file = (tmp_path / "file").stat()
    ours = Unpacked("a", ARCHIVE, str(found.st_ino), found.st_mtime_ns, "f" * 32)
    newer = Packed("a.tar", 10, 2000, "sha256:bb")

    assert decide(ARCHIVE, None, None) is Action.UNPACK
    assert decide(ARCHIVE, None, ours) is Action.UNPACK
    assert decide(ARCHIVE, found, None) is Action.REFUSE
    assert decide(Packed("a.zip", 10, 1000), found, ours) is Action.REFUSE
    assert decide(ARCHIVE, file, ours) is Action.REFUSE
    assert decide(ARCHIVE, found, ours) is Action.KEEP
    assert decide(newer, found, ours) is Action.COMPARE
    assert decide(ARCHIVE, other, ours) is Action.COMPARE
    assert decide(ARCHIVE, other, ours.moved(other)) is Action.KEEP


@pytest.mark.parametrize(
    ("archive", "same"),
    [
        (ARCHIVE, True),
        (Packed("a.tar", 10, 9, "sha256:aa"), True),
        (Packed("a.tar", 10, 1000, "sha256:ab"), False),
        (Packed("a.tar", 10, 1000, "md5:aa"), True),
        (Packed("a.tar", 10, 9, "md5:aa"), False),
        (Packed("a.tar", 10, 1000), True),
        (Packed("a.tar", 11, 1000, "sha256:aa"), False),
        (Packed("b.tar", 10, 1000, "sha256:aa"), False),
    ],
)
def test_the_same_version_of_an_archive(archive: Packed, same: bool) -> None:
    assert Unpacked("a", ARCHIVE, "1", 1, "f").is_of(archive) is same
