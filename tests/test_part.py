"""The unfinished file on disk: its bytes, its journal and its lock."""

import gc
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from fetcher.disk.journal import Journal, decode
from fetcher.disk.journal_file import JournalFile
from fetcher.disk.part import Part
from fetcher.disk.room import free_bytes
from fetcher.errors import (
    DiskError,
    ForeignFileError,
    InvalidNameError,
    LockedError,
)
from fetcher.rules.answers import Version
from fetcher.rules.names import check_name
from tests.conftest import not_here
from tests.crawl import PROJECT
from tests.parts import commit

VERSION = Version(20, '"a"', "Wed, 21 Oct 2015 07:28:00 GMT")
MTIME = 1445412480.25

IMPORTS = """
import os, sys
from pathlib import Path
from fetcher.disk.journal import Journal
from fetcher.disk.part import Part
from fetcher.errors import DiskError, DiskFullError
from fetcher.rules.answers import Version
from tests.parts import commit
out, version = Path(sys.argv[1]), Version(20, '"a"')
def journal(*ranges, name="a", size=20):
    return Journal(name, Version(size, '"a"'), ranges)
"""


def journal(*ranges: tuple[int, int], name: str = "a") -> Journal:
    return Journal(name, VERSION, ranges)


def descriptors() -> set[tuple[str, str]]:
    """What this process has open: number and target."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((link.name, str(link.readlink())))
        except FileNotFoundError:  # The one that lists them.
            continue
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() - before == set()


def python(script: str, out: Path, *before: str, timeout: float = 30) -> str:
    """What a script prints in a process of its own, perhaps run by another program."""
    command = [*before, sys.executable, "-c", IMPORTS + script, str(out)]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def unfinished(out: Path, name: str = "a", written: bytes = b"0123456789") -> None:
    """Leave a part whose bytes are all in its journal."""
    with closing(Part(out, name)) as part:
        part.write(0, written)
        part.checkpoint(journal((0, len(written)), name=name))


# --- bytes --------------------------------------------------------------------------------------


def test_blocks_land_at_their_offsets(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        part.write(8, b"89")
        part.write(0, memoryview(b"0123xx")[:4])
        part.write(4, b"")
        assert part.path == tmp_path / "a.part"
        assert part.path.read_bytes() == b"0123\0\0\0\x0089"
        assert part.allocated() > 0
    assert not (tmp_path / "a").exists()


def test_a_name_in_a_folder(tmp_path: Path) -> None:
    with closing(Part(tmp_path / "new" / "out", "b/c/a")) as part:
        part.write(0, b"data")
        commit(part, None, None)
    assert (tmp_path / "new/out/b/c/a").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["x" * 255, "\u00e9" * 127, "x" * 251 + ".tar"])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    unfinished(tmp_path, name)
    with closing(Part(tmp_path, name)) as part:
        assert part.resumable == journal((0, 10), name=name)
        commit(part, None, None)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_part_is_cut_to_its_size(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"0123456789")
        for size in (4, 6, 6):
            part.cut(size)
            assert part.path.stat().st_size == size
        assert part.path.read_bytes() == b"0123\0\0"


def test_reset_forgets_all(tmp_path: Path) -> None:
    unfinished(tmp_path)
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is not None
        part.reset()
        assert part.resumable is None
        assert part.path.stat().st_size == 0
        assert not JournalFile(part.path).path.exists()
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_to_forget_leaves_the_bytes(tmp_path: Path) -> None:
    unfinished(tmp_path)
    with closing(Part(tmp_path, "a")) as part:
        assert part.has_journal
        part.forget()
        assert not part.has_journal
        assert part.resumable is None
        assert part.path.read_bytes() == b"0123456789"
        part.forget()
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_discard_removes_all(tmp_path: Path) -> None:
    unfinished(tmp_path)
    with closing(Part(tmp_path, "a")) as part:
        part.discard()
        part.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_part_takes_nothing(tmp_path: Path) -> None:
    part = Part(tmp_path, "a")
    part.close()
    part.close()
    assert part.fd == -1
    with pytest.raises(DiskError, match=r"a\.part cannot be written: Bad file descriptor"):
        part.write(0, b"x")


def test_free_bytes(tmp_path: Path) -> None:
    assert 0 < free_bytes(tmp_path) <= shutil.disk_usage(tmp_path).free * 2


# --- the journal --------------------------------------------------------------------------------


def test_what_was_safe_is_there_again(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None
        part.write(0, b"0123")
        part.checkpoint(journal((0, 4)))
        part.write(6, b"67")
        part.checkpoint(journal((0, 4), (6, 8)))
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable == journal((0, 4), (6, 8))
        assert part.path.read_bytes() == b"0123\0\x0067"


def test_a_part_with_bytes_and_no_journal_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"0123456789")
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_a_journal_of_another_name_is_ignored(tmp_path: Path) -> None:
    unfinished(tmp_path, "b")
    (tmp_path / "b.part").rename(tmp_path / "a.part")
    (tmp_path / "b.part.json").rename(tmp_path / "a.part.json")
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_a_journal_that_says_more_than_the_part_holds_is_ignored(tmp_path: Path) -> None:
    unfinished(tmp_path)
    path = tmp_path / "a.part"
    os.truncate(path, 9)
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None
    path.unlink()
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_a_journal_may_say_less_than_the_part_holds(tmp_path: Path) -> None:
    unfinished(tmp_path)
    with (tmp_path / "a.part").open("ab") as file:
        file.write(b"not yet safe")
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable == journal((0, 10))


def test_a_broken_journal_is_ignored(tmp_path: Path) -> None:
    unfinished(tmp_path)
    path = tmp_path / "a.part.json"
    text = path.read_bytes()
    for broken in (b"", text[:-2], text.replace(b"10", b"11"), bytes(len(text)), b"[]"):
        path.write_bytes(broken)
        with closing(Part(tmp_path, "a")) as part:
            assert part.resumable is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(Part(tmp_path, "a")) as part:
            part.write(0, b"data")
            part.checkpoint(journal((0, 4)))
            assert stat.S_IMODE(JournalFile(part.path).path.stat().st_mode) == 0o600
            commit(part, None, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


# --- commit -------------------------------------------------------------------------------------


def test_commit_gives_the_final_name(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"data")
        part.checkpoint(journal((0, 4)))
        final = commit(part, MTIME, None)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    found = (tmp_path / "a").lstat()
    assert (tmp_path / "a").read_bytes() == b"data"
    assert found.st_mtime == MTIME
    assert (final.st_ino, final.st_size, final.st_mtime_ns) == (
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
    )


def test_commit_without_a_time_keeps_the_time_of_writing(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"data")
        written = part.path.stat().st_mtime_ns
        assert commit(part, None, None).st_mtime_ns == written


def test_commit_replaces_a_file_at_once(tmp_path: Path) -> None:
    final = tmp_path / "a"
    final.write_bytes(b"old")
    with final.open("rb") as reader, closing(Part(tmp_path, "a")) as part:
        part.write(0, b"new")
        commit(part, None, final.lstat())
        assert reader.read() == b"old"
    assert final.read_bytes() == b"new"


def test_commit_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    target, final = tmp_path / "target", tmp_path / "a"
    target.write_bytes(b"theirs")
    final.symlink_to(target)
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"ours")
        commit(part, None, final.lstat())
    assert target.read_bytes() == b"theirs"
    assert not final.is_symlink()
    assert final.read_bytes() == b"ours"


@pytest.mark.parametrize("dangling", [False, True])
def test_commit_does_not_replace_what_came_meanwhile(tmp_path: Path, dangling: bool) -> None:
    final, elsewhere = tmp_path / "a", tmp_path / "elsewhere"
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"ours")
        part.checkpoint(journal((0, 4)))
        elsewhere.write_bytes(b"theirs")
        before = elsewhere.lstat()
        for replaces in (None, before):
            # A file of their own, in the place of none or of the one that was seen before.
            final.symlink_to("nowhere") if dangling else final.write_bytes(b"theirs")
            with pytest.raises(ForeignFileError, match="meanwhile"):
                commit(part, None, replaces)
            assert final.is_symlink() or final.read_bytes() == b"theirs"
            final.unlink()
        assert part.path.read_bytes() == b"ours"
        commit(part, None, before)
    assert final.read_bytes() == b"ours"


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"data")
        part.checkpoint(journal((0, 4)))
        with pytest.raises(ForeignFileError, match="a folder stands where"):
            commit(part, None, None)
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable == journal((0, 4))


# --- the order in which things reach the disk ---------------------------------------------------


class Call(NamedTuple):
    """A system call: its name, and the files it is about, in the order of its arguments."""

    name: str
    files: tuple[str, ...]


TRACED = "openat,pwrite64,write,ftruncate,fsync,fdatasync,rename,renameat2,unlink,utimensat"

EVERYTHING = """
part = Part(out, "a")
for start in (0, 4):
    part.write(start, b"0123")
    part.checkpoint(journal((0, start + 4)))
commit(part, 1e9, None)

for name, begin_anew in (("b", Part.reset), ("c", Part.forget)):
    part = Part(out, name)
    part.write(0, b"0123")
    part.checkpoint(journal((0, 4), name=name))
    begin_anew(part)
    part.write(0, b"4567")
    part.checkpoint(journal((0, 4), name=name))
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """What a process asked of the system, as far as it was about files in the output folder."""
    strace = shutil.which("strace")
    if strace is None:
        not_here("strace is not installed: the order of system calls cannot be seen")
    out = tmp_path_factory.mktemp("traced")
    log = tmp_path_factory.mktemp("log") / "strace"
    python(EVERYTHING, out, strace, "-f", "-y", "-e", f"trace={TRACED}", "-o", str(log))
    path = re.compile(re.escape(str(out)) + r"(?:/([^\">]*))?[\">]")
    found = []
    for line in log.read_text().splitlines():
        done = re.fullmatch(r"\d+\s+(\w+)\((.*)\)\s+= \d.*", line)
        if done is not None and (files := path.findall(done[2])):
            found.append(Call(done[1].removesuffix("at2"), tuple(files)))
    return found


@pytest.fixture(scope="module")
def aside(calls: list[Call]) -> str:
    """Where the journal of ``a`` is written before it gets its name."""
    (name,) = {call.files[0] for call in calls if call.files[1:] == ("a.part.json",)}
    assert name not in ("a", "a.part")
    return name


def in_order(calls: list[Call], *wanted: tuple[str, str]) -> None:
    """These calls are there, in this order; ``x -> y`` stands for two files."""
    left = list(calls)
    for name, files in wanted:
        call = Call(name, tuple(files.split(" -> ")))
        assert call in left, f"no {call} after the one before it in {calls}"
        left = left[left.index(call) + 1 :]


def test_a_journal_never_says_more_than_is_on_disk(calls: list[Call], aside: str) -> None:
    once = (
        ("pwrite64", "a.part"),
        ("fdatasync", "a.part"),
        ("write", aside),
        ("fdatasync", aside),
        ("rename", f"{aside} -> a.part.json"),
    )
    in_order(calls, *once, *once, ("rename", "a.part -> a"))
    # The journal itself is only ever replaced.
    assert Call("write", ("a.part.json",)) not in calls


def test_a_final_name_is_only_given_to_what_is_on_disk(calls: list[Call], aside: str) -> None:
    in_order(
        calls,
        ("rename", f"{aside} -> a.part.json"),
        ("utimensat", "a.part"),
        ("fsync", "a.part"),
        ("rename", "a.part -> a"),
        ("fsync", ""),
        ("unlink", "a.part.json"),
    )
    assert [call for call in calls if "a" in call.files] == [Call("rename", ("a.part", "a"))]


def since_begun_anew(calls: list[Call], name: str) -> list[Call]:
    return calls[calls.index(Call("unlink", (f"{name}.part.json",))) :]


def test_before_bytes_are_forgotten_the_journal_is(calls: list[Call]) -> None:
    since = since_begun_anew(calls, "b")
    assert Call("ftruncate", ("b.part",)) not in calls[: -len(since)]
    in_order(since, ("ftruncate", "b.part"), ("pwrite64", "b.part"))


@pytest.mark.parametrize("name", ["b", "c"])
def test_a_forgotten_journal_does_not_come_back_after_a_power_cut(
    calls: list[Call], name: str
) -> None:
    # Else it would speak of another version's bytes: those may reach the disk at any time, and at
    # the next checkpoint before the journal is replaced; what was removed, only with its folder.
    in_order(since_begun_anew(calls, name), ("fsync", ""), ("pwrite64", f"{name}.part"))


def test_a_list_cannot_name_the_files_beside_the_final_one(calls: list[Call]) -> None:
    beside = {name for call in calls for name in call.files} - {"", "a"}
    assert len(beside) == 9
    for name in sorted(beside):
        with pytest.raises(InvalidNameError):
            check_name(name)


# --- the lock -----------------------------------------------------------------------------------


@contextmanager
def holding(script: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has printed a line and now waits for its end."""
    waiting = script + '\nprint("ready", flush=True)\nsys.stdin.read()\n'
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTS + waiting, str(out)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_two_processes_do_not_fetch_one_file(tmp_path: Path) -> None:
    script = """
part = Part(out, "a")
part.write(0, b"0123456789")
part.checkpoint(journal((0, 10)))
part.write(10, b"not yet safe")
"""
    with holding(script, tmp_path) as process:
        with pytest.raises(LockedError, match="another process is fetching a into"):
            Part(tmp_path, "a")
        with closing(Part(tmp_path, "b")) as other:
            assert other.resumable is None
        # Nothing of it was touched.
        assert (tmp_path / "a.part").read_bytes() == b"0123456789not yet safe"
        process.kill()
        process.wait()
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable == Journal("a", Version(20, '"a"'), ((0, 10),))


def test_one_process_does_not_fetch_a_file_twice(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")), pytest.raises(LockedError):
        Part(tmp_path, "a")
    Part(tmp_path, "a").close()


def test_a_closed_part_is_free_for_others(tmp_path: Path) -> None:
    unfinished(tmp_path)
    script = """
part = Part(out, "a")
assert part.resumable is not None
part.discard()
"""
    # The other one still holds the lock of what it has removed: this is a new file.
    with holding(script, tmp_path), closing(Part(tmp_path, "a")) as part:
        assert part.resumable is None


def test_a_lock_does_not_go_to_child_processes(tmp_path: Path) -> None:
    part = Part(tmp_path, "a")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        part.close()
        Part(tmp_path, "a").close()
        child.kill()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


# --- what stands in the way ---------------------------------------------------------------------


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_the_part_is_not_followed(tmp_path: Path, dangling: bool) -> None:
    target = tmp_path / "target"
    if not dangling:
        target.write_bytes(b"theirs")
    (tmp_path / "a.part").symlink_to(target)
    with pytest.raises(DiskError, match=r"a\.part cannot be opened"):
        Part(tmp_path, "a")
    assert target.exists() is not dangling
    assert dangling or target.read_bytes() == b"theirs"


def test_a_link_in_the_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    unfinished(tmp_path)
    (tmp_path / "a.part.json").rename(tmp_path / "elsewhere")
    (tmp_path / "a.part.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskError, match=r"a\.part cannot be read"):
        Part(tmp_path, "a")


def test_links_do_not_lead_a_journal_astray(tmp_path: Path, aside: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    (tmp_path / aside).symlink_to(target)
    unfinished(tmp_path)
    assert target.read_bytes() == b"theirs"
    assert decode((tmp_path / "a.part.json").read_bytes()) == journal((0, 10))
    assert not (tmp_path / "a.part.json").is_symlink()


def test_a_folder_that_leads_out_is_refused(out: Path) -> None:
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir()
    (out / "b").symlink_to(elsewhere)
    with pytest.raises(ForeignFileError, match="leads out of"):
        Part(out, "b/a")
    assert list(elsewhere.iterdir()) == []


def test_no_folder_is_made_behind_one_that_leads_out(out: Path) -> None:
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir()
    (out / "b").symlink_to(elsewhere)
    with pytest.raises(ForeignFileError, match="leads out of"):
        Part(out, "b/c/a")
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_is_exchanged_meanwhile_is_left_alone(out: Path) -> None:
    theirs = out.parent / "theirs"
    theirs.mkdir()
    part = Part(out, "folder/a")
    with closing(part):
        part.write(0, b"x" * 20)
        (out / "folder").rename(out / "ours")
        (out / "folder").symlink_to(theirs)
        for name in ("a.part", "a.part.json", "a.part.data"):
            (theirs / name).write_text("theirs")
        for change in (
            lambda: part.checkpoint(journal((0, 20), name="folder/a")),
            lambda: commit(part, None, None),
            part.open_decoded,
            part.forget,
            part.reset,
            part.discard,
        ):
            with pytest.raises(ForeignFileError, match="another folder"):
                change()
    assert {path.read_text() for path in theirs.iterdir()} == {"theirs"}
    assert len(list(theirs.iterdir())) == 3
    assert (out / "ours" / "a.part").read_bytes() == b"x" * 20


def test_a_file_that_comes_while_the_bytes_are_synced_is_left_alone(out: Path) -> None:
    with closing(Part(out, "a")) as part:
        part.write(0, b"ours")
        part.make_final(None, None)
        (out / "a").write_text("theirs")
        with pytest.raises(ForeignFileError, match="meanwhile"):
            part.take_name(None)
    assert (out / "a").read_text() == "theirs"
    assert (out / "a.part").read_text() == "ours"


def test_a_link_within_the_folder_is_no_harm(out: Path) -> None:
    (out / "c").mkdir()
    (out / "b").symlink_to("c")
    with closing(Part(out, "b/a")) as part:
        commit(part, None, None)
    assert (out / "c" / "a").exists()


def test_the_output_folder_may_be_a_link(out: Path) -> None:
    link = out.parent / "link"
    link.symlink_to(out)
    with closing(Part(link, "b/a")) as part:
        commit(part, None, None)
    assert (out / "b" / "a").exists()


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"theirs")
    with pytest.raises(DiskError, match=r"a\.part cannot be opened"):
        Part(tmp_path, "b/a")


def test_a_pipe_in_the_place_of_the_part(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.part")
    with pytest.raises(ForeignFileError, match="no regular file"):
        Part(tmp_path, "a")


def test_a_folder_in_the_place_of_the_part(tmp_path: Path) -> None:
    (tmp_path / "a.part").mkdir()
    with pytest.raises(DiskError, match=r"a\.part cannot be opened: Is a directory"):
        Part(tmp_path, "a")


def test_a_folder_in_the_place_of_the_journal(tmp_path: Path) -> None:
    (tmp_path / "a.part.json").mkdir()
    gc.collect()  # What other tests have left to it.
    before = descriptors()
    with pytest.raises(DiskError):
        Part(tmp_path, "a")
    assert descriptors() == before


def test_a_pipe_in_the_place_of_the_journal_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.part.json")
    script = """
try:
    Part(out, "a").close()
except DiskError as error:
    print(error)
"""
    try:
        python(script, tmp_path, timeout=5)
    except subprocess.TimeoutExpired:
        pytest.fail("opening the journal waits for somebody to write into the pipe")


# --- no room ------------------------------------------------------------------------------------

FILL = """
part = Part(out, "a")
part.size = 1 << 20
part.write(0, b"0123")
part.checkpoint(journal((0, 4), size=1 << 20))
try:
    for offset in range(0, 1 << 20, 4096):
        part.write(offset, bytes(4096))
except DiskFullError as error:
    print(error)
"""


def test_a_file_may_not_grow_so_large(tmp_path: Path) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
    told = python(script + FILL, tmp_path)
    path = tmp_path / "a.part"
    assert path.stat().st_size == 1 << 16
    assert told == (
        f"{path} cannot be written: File too large; its size of 1048576 bytes is over the limit "
        "of this process or file system: raise it (ulimit -f), or use another file system\n"
    )


# What ranges are there is more to say than one block of a disk holds.
MANY = """
many = tuple((at, at + 1) for at in range(0, 4000, 2))
part = Part(out, "a")
part.write(0, bytes(4000))
part.checkpoint(journal((0, 4), size=4000))
"""


def test_a_journal_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    told = python(
        MANY
        + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 13, 1 << 13))
try:
    part.checkpoint(journal(*many, size=4000))
except DiskFullError as error:
    print(type(error).__name__)
""",
        tmp_path,
    )
    assert decode((tmp_path / "a.part.json").read_bytes()).ranges == ((0, 4),)
    assert told == "DiskFullError\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """What to run a script by, so that its output folder is a file system of 64 KiB.

    The file system is seen by that process alone, and is gone with it.
    """
    mount = f"mount -t tmpfs -o size=64k none '{tmp_path}'"
    tried = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    return ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_full_disk(tmp_path: Path, small_disk: tuple[str, ...]) -> None:
    script = FILL + "print(part.allocated())\npart.close()\nprint(Part(out, 'a').resumable.ranges)"
    told, allocated, ranges = python(script, tmp_path, *small_disk).splitlines()
    missing = (1 << 20) - int(allocated)
    assert told == (
        f"{tmp_path}/a.part cannot be written: No space left on device; it needs {missing} more "
        "bytes: make room and run again"
    )
    assert ranges == "((0, 4),)"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_journal_that_a_full_disk_cannot_take(
    tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    script = (
        MANY
        + """
fill = os.open(out / "fill", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(fill, bytes(4096))
except OSError:
    os.ftruncate(fill, os.fstat(fill).st_size - 4096)
try:
    part.checkpoint(journal(*many, size=4000))
except DiskFullError as error:
    print(type(error).__name__)
part.close()
resumable = Part(out, "a").resumable
print(resumable and resumable.ranges)
"""
    )
    assert python(script, tmp_path, *small_disk) == "DiskFullError\n((0, 4),)\n"


def test_what_is_missing_is_not_told_while_it_is_not_known(tmp_path: Path) -> None:
    told = python(
        """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    Part(out, "a").write(0, bytes(20))
except DiskFullError as error:
    print(error)
""",
        tmp_path,
    )
    assert "its size is over the limit of this process or file system: raise it" in told


def test_the_size_of_the_part_is_no_part_of_the_version(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        assert part.size is None
        part.checkpoint(replace(journal(), version=Version(None)))
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is not None
        assert part.resumable.version.size is None


# --- reserving room -----------------------------------------------------------------------------


def test_room_is_reserved_without_a_trace_in_the_file(tmp_path: Path) -> None:
    with closing(Part(tmp_path, "a")) as part:
        part.write(0, b"0123")
        if not part.allocate(0, 8 << 20):
            pytest.skip("this file system reserves no room")
        assert part.path.read_bytes() == b"0123"
        assert part.allocated() >= 8 << 20
        part.release_spare()
        assert part.allocated() < 1 << 20
        part.allocate(0, 8 << 20)
        part.cut(4)
        assert part.allocated() < 1 << 20
        assert part.path.read_bytes() == b"0123"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_no_room_is_told_before_the_first_byte(tmp_path: Path, small_disk: tuple[str, ...]) -> None:
    script = """
part = Part(out, "a")
part.size = 1 << 20
try:
    print(part.allocate(0, 1 << 20))
except DiskFullError as error:
    print(error)
"""
    told = python(script, tmp_path, *small_disk)
    assert "needs 1048576 more bytes" in told
