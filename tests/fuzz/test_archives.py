"""Archives: members that may be made, or one sentence; and nothing outside of the folder."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fetcher.contract import FileProgress
from fetcher.disk.allowance import Allowance
from fetcher.disk.archive import Archive
from fetcher.disk.tar import tar_members
from fetcher.disk.tree import Content, Tree
from fetcher.disk.zip import zip_members
from fetcher.errors import UnpackError
from fetcher.rules.archives import folder_of, form_of
from fetcher.rules.codings import decoded
from fetcher.rules.members import Member, check_records, member_path
from tests.archives import COMPRESSIONS, entry, folder, hard_link, symlink, tar, zip_entry, zip_of
from tests.fuzz.mutations import fuzz, mutated

SPECIAL = [
    *(b"", b"\0", b"\xff", b"\x80", b"\xff" * 8, b"x", b"7" * 11, b"../", b"/", b"\\", b"PK\1\2"),
    *(b"PK\3\4", b"PK\5\6", b"ustar\x0000", b"ustar  \0", b"11 path=a/b\n", b"\0" * 512, b"1"),
    *(b"L", b"K", b"g", b"S", b"19 GNU.sparse.map=1,2\n"),
]
names = st.text("ab./\\:\0\xe4\udce4", min_size=1, max_size=9)
headers = st.dictionaries(
    st.sampled_from(["path", "linkpath", "size", "mtime", "GNU.sparse.map", "GNU.sparse.size"]),
    st.one_of(names, st.sampled_from(["0", "-1", "1,2", "9" * 30, "1e999", "nan", "1.5"])),
    max_size=2,
)
members = st.one_of(
    st.builds(
        lambda name, data, headers: entry(name, data, pax_headers=headers),
        st.text("ab./\\:", min_size=1, max_size=9),
        st.binary(),
        headers,
    ),
    st.builds(folder, st.sampled_from(["a", "a/b"])),
    st.builds(symlink, st.sampled_from(["a", "b/c"]), st.sampled_from(["a", "../b"])),
    st.builds(hard_link, st.sampled_from(["a", "b/c"]), st.sampled_from(["a", "../b"])),
)
tars = st.lists(members, max_size=4).map(lambda entries: tar(*entries))
zips = st.dictionaries(st.sampled_from(["a", "b/c", "b/", "l"]), st.binary(), max_size=4).map(
    lambda files: zip_of([(zip_entry(name), data) for name, data in files.items()])
)


@fuzz
@given(mutated(tars, SPECIAL))
def test_tars(data: bytes) -> None:
    unpack(lambda _: tar_members(iter([data])))


@fuzz
@given(mutated(tars.map(COMPRESSIONS[".tar.gz"]), SPECIAL))
def test_compressed_tars(data: bytes) -> None:
    unpack(lambda _: tar_members(decoded(("gzip",), [data])))


@fuzz
@given(mutated(zips, SPECIAL))
def test_zips(data: bytes) -> None:
    def members(top: Path) -> Iterator[tuple[Member, Content]]:
        (top / "a.zip").write_bytes(data)
        with Archive(top / "a.zip", FileProgress("a.zip"), lambda: None) as archive:
            yield from zip_members(archive)

    unpack(members)


def unpack(members: Callable[[Path], Iterator[tuple[Member, Content]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        root = top / "root"
        root.mkdir()
        try:
            with Tree(root, Allowance(root, 1 << 20), lambda: None) as tree:
                for member, content in members(top):
                    tree.add(member, content)
        except UnpackError as error:
            assert error.message.isprintable()
        except OSError as error:
            # What no file system takes for a name; told by who calls this.
            assert error.errno is not None
        assert {path.name for path in top.iterdir()} <= {"root", "a.zip"}
        for path in root.rglob("*"):
            assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


@fuzz
@given(mutated(st.binary(max_size=600), SPECIAL))
def test_heads_and_headers(data: bytes) -> None:
    assert form_of(data) in ("zip", "tar", "gzip", "bzip2", "xz", "zstd")
    try:
        check_records(data)
    except UnpackError as error:
        assert error.message.isprintable()


@fuzz
@given(mutated(names, ["..", "/", "\\", "C:", "\0", "\x1b[", "\u202e", "x" * 300, ".tar", ".zip"]))
def test_names(name: str) -> None:
    stem = folder_of(name)
    assert stem is None or (stem and name.startswith(stem + "."))
    try:
        path = member_path(name)
    except UnpackError as error:
        assert error.message.isprintable()
    else:
        assert all(segment not in ("", ".", "..") for segment in path)
