"""Whose folder it is: made once, replaced only by a new version of its archive, and only whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest

from fetcher.disk import renaming
from fetcher.disk.fingerprint import fingerprint
from fetcher.disk.ledger import Ledger
from fetcher.disk.tree import Tree
from fetcher.disk.workspace import Workspace
from fetcher.errors import Stopped, UnpackError
from tests.archives import END, entry, symlink, tar, tar_of, zip_of
from tests.conftest import not_here
from tests.crawl import PROJECT, wait_for
from tests.strace import read_log
from tests.test_unpacking import MIB, Place, files_in, place

__all__ = ["place"]

OLD, NEW = {"d/a": b"old", "gone": b""}, {"d/a": b"newer", "b": b"b"}

# --- somebody else's ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "folder", "empty folder", "link", "broken link"])
def test_what_stands_there_is_left_alone(place: Place, tmp_path: Path, what: str) -> None:
    there = place.out / "a"
    if what == "file":
        there.write_bytes(b"theirs")
    elif what.endswith("folder"):
        there.mkdir()
        if what == "folder":
            (there / "theirs").touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        there.symlink_to(tmp_path / ("elsewhere" if what == "link" else "nowhere"))
    text = place.refused("a.tar", tar_of(OLD))
    assert f"{there} stands there and was not unpacked from it: move or rename that" in text


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("atomic", [True, False])
def test_what_has_come_to_stand_there_meanwhile_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, what: str, atomic: bool
) -> None:
    if not atomic:
        monkeypatch.setattr(renaming, "_renameat2", None)
    theirs = place.out / "a"
    place.put("a.tar", tar_of(OLD))
    unpacking = place.unpacking("a.tar")
    remember = place.ledger.record_unpacked

    def record(unpacked: object) -> None:
        # The very last moment before the folder gets its name.
        theirs.mkdir() if what == "folder" else theirs.write_bytes(b"theirs")
        remember(unpacked)  # type: ignore[arg-type]

    monkeypatch.setattr(place.ledger, "record_unpacked", record)
    with pytest.raises(UnpackError, match="stands there and was not unpacked from it"):
        unpacking.run()
    monkeypatch.undo()

    assert place.tree() == {"a.tar": tar_of(OLD), "a": b"theirs" if what == "file" else ""}
    assert place.leftovers() == []
    # What was remembered a moment too early does not make it ours.
    assert "move or re" in place.refused("a.tar")


def test_two_archives_of_one_folder(place: Place) -> None:
    place.unpack("a.tar", tar_of(OLD))
    assert "was not unpacked from it" in place.refused("a.zip", zip_of(NEW))
    shutil.rmtree(place.out / "a")
    place.unpack("a.zip")
    assert "was not unpacked from it" in place.refused("a.tar")


@pytest.mark.parametrize(
    "name", [".fetcher", "SHA256SUMS", "report.jsonl", "retry.tsv", "x/b.part"]
)
def test_folders_that_have_another_use(place: Place, name: str) -> None:
    assert "one that this program uses" in place.refused(name + ".tar", tar_of(OLD))


def test_a_link_on_the_way_does_not_lead_out(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.tar").write_bytes(tar_of(OLD))
    (place.out / "x").symlink_to(tmp_path / "elsewhere")
    assert "leads out of" in place.refused("x/a.tar")
    (place.out / "b.tar").symlink_to(tmp_path / "elsewhere" / "a.tar")
    assert "cannot be read" in place.refused("b.tar")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a.tar"]


# --- our own --------------------------------------------------------------------------------------


@pytest.fixture(params=["exchanged", "renamed"])
def replacing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Linux's exchange of two names, and where there is none."""
    if request.param == "renamed":
        monkeypatch.setattr(renaming, "_renameat2", None)


@pytest.mark.usefixtures("replacing")
def test_a_new_version_takes_the_place_of_the_one_before(place: Place) -> None:
    place.unpack("a.tar", tar_of(OLD))
    place.unpack("a.tar", tar_of(NEW))
    assert files_in(place.out / "a") == NEW
    assert place.leftovers() == []
    assert not place.unpack("a.tar")


@pytest.mark.usefixtures("replacing")
def test_a_new_version_that_cannot_be_unpacked_leaves_the_one_before(place: Place) -> None:
    place.unpack("a.tar", tar_of(OLD))
    place.refused("a.tar", tar(entry("b"), symlink("c", "/etc")))
    assert files_in(place.out / "a") == OLD


def test_a_folder_that_is_changed_while_a_new_version_is_unpacked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.unpack("a.tar", tar_of(OLD))
    sync = Tree.sync

    def and_change(tree: Tree) -> None:
        sync(tree)
        (place.out / "a/theirs").touch()

    monkeypatch.setattr(Tree, "sync", and_change)
    place.put("a.tar", tar_of(NEW))
    with pytest.raises(UnpackError, match="not any more as it was unpacked"):
        place.unpack("a.tar")
    assert files_in(place.out / "a") == OLD | {"theirs": b""}


def test_a_folder_is_back_in_its_place_when_the_new_one_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_renameat2", None)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/x").touch()
    with pytest.raises(FileNotFoundError):
        renaming.replace_folder(tmp_path / "missing", tmp_path / "old", tmp_path / "aside")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["old", "x"]


def test_the_same_bytes_once_more_are_not_unpacked(place: Place) -> None:
    place.put("a.tar", tar_of(OLD))
    first = place.unpacking("a.tar", checksum="sha256:aa")
    assert first.needed()
    first.run()
    os.utime(place.out / "a.tar", (1, 1))
    assert not place.unpacking("a.tar", checksum="sha256:aa").needed()
    assert place.unpacking("a.tar", checksum="sha256:bb").needed()
    assert place.unpacking("a.tar").needed()


def test_a_folder_that_was_removed_comes_back(place: Place) -> None:
    place.unpack("a.tar", tar_of(OLD))
    shutil.rmtree(place.out / "a")
    assert place.unpack("a.tar")
    assert files_in(place.out / "a") == OLD


CHANGES: dict[str, Callable[[Path], object]] = {
    "added": lambda folder: (folder / "theirs").write_bytes(b""),
    "added below": lambda folder: (folder / "d/theirs").write_bytes(b""),
    "added folder": lambda folder: (folder / "d/theirs").mkdir(),
    "removed": lambda folder: (folder / "gone").unlink(),
    "written": lambda folder: (folder / "d/a").write_bytes(b"new"),
    "touched": lambda folder: os.utime(folder / "d/a", (1, 1)),
    "renamed": lambda folder: (folder / "gone").rename(folder / "d/gone"),
    "a link": lambda folder: (folder / "d/theirs").symlink_to("a"),
    "very deep": lambda folder: (folder / "/".join("x" * 150)).mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_somebody_has_changed_is_kept_and_not_replaced(
    place: Place, change: str
) -> None:
    place.unpack("a.tar", tar_of(OLD))
    CHANGES[change](place.out / "a")
    assert not place.unpack("a.tar"), "it is there"
    text = place.refused("a.tar", tar_of(NEW))
    assert f"{place.out / 'a'} is not any more as it was unpacked: move or remove it" in text


def test_a_copy_of_the_output_folder_is_known_again(place: Place, tmp_path: Path) -> None:
    place.unpack("a.tar", tar_of(OLD))
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", place.out, copy], check=True)
    with closing(Ledger(copy, durable=True)) as ledger:
        other = Place(copy, ledger)
        assert not other.unpack("a.tar")
        # Even where the folder's own time was not kept; once, by looking at all that is in it.
        shutil.move(copy / "a", copy / "b")
        subprocess.run(["cp", "-a", copy / "b", copy / "a"], check=True)
        os.utime(copy / "a", (1, 1))
        assert not other.unpack("a.tar")
        (copy / "a" / "theirs").touch()
        assert not other.unpack("a.tar")
        (copy / "a" / "theirs").unlink()
        assert other.unpack("a.tar", tar_of(NEW))


def test_a_fingerprint_needs_no_order(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(50)]
    for folder, order in (("a", names), ("b", names[::-1])):
        for name in order:
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "x").touch()
            os.utime(tmp_path / folder / name / "x", (1, 1))
    same = [fingerprint(tmp_path / folder, lambda: None) for folder in ("a", "b")]
    assert same[0] == same[1]
    assert len(same[0]) == 32


# --- runs that are killed or stopped, and power cuts ---------------------------------------------

RUN = """
import sys
from pathlib import Path
from fetcher.disk.ledger import Ledger
from fetcher.disk.unpacking import Unpacking

out = Path.cwd()
Unpacking(out, "a.tar", None, Ledger(out, durable=True), 0).run()
"""


def test_all_of_it_is_on_the_disk_before_it_has_its_name(place: Place, tmp_path: Path) -> None:
    """What was written, then what is remembered of it, then the name, and the name itself."""
    strace = shutil.which("strace")
    if strace is None:
        not_here("strace is not installed: the order of system calls cannot be seen")
    place.put("a.tar", tar_of(OLD))
    log = tmp_path / "log"
    calls = "openat,mkdirat,pwrite64,syncfs,fsync,fdatasync,renameat2"
    subprocess.run(
        [strace, "-f", "-y", "-e", f"trace={calls}", "-o", log, sys.executable, "-c", RUN],
        cwd=place.out,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        check=True,
    )
    state = f"{place.out}/.fetcher/"
    steps = []
    for begins, call in read_log(log):
        path = "" if begins or not call.files else call.files[0]
        if call.name == "pwrite64" and path.startswith(state + "unpacking/"):
            steps.append("written")
        elif call.name == "syncfs" and path.startswith(state + "unpacking/"):
            steps.append("synced")
        elif call.name in ("fsync", "fdatasync") and path.startswith(state + "completed."):
            steps.append("remembered")
        elif call.name == "rename" and call.files[-1] == str(place.out / "a"):
            steps.append("named")
        elif call.name == "fsync" and path == str(place.out):
            steps.append("named for good")
    order = [step for step, _ in groupby(steps[steps.index("written") :])]
    assert order == ["written", "synced", "remembered", "named", "named for good"]


KILLED = """
import os, sys
from pathlib import Path
from fetcher.disk import unpacking
from fetcher.disk.ledger import Ledger

def killed(*args):
    os.kill(os.getpid(), 9)

def and_killed(function):
    def run(*args):
        function(*args)
        killed()
    return run

when, what, name = sys.argv[1], sys.argv[2], sys.argv[3]
setattr(unpacking, what, killed if when == "before" else and_killed(getattr(unpacking, what)))
out = Path.cwd()
ledger = Ledger(out, durable=True)
unpacking.Unpacking(out, name, None, ledger, 0).run()
"""


def killed(place: Place, when: str, what: str) -> None:
    """Unpack `a.tar` in a process that is killed right before or after a step."""
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", KILLED, when, what, "a.tar"]
    run = subprocess.run(command, cwd=place.out, env=env, check=False, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr


@pytest.mark.parametrize(
    ("when", "what"),
    [("before", "fingerprint"), ("before", "rename_new"), ("after", "rename_new")],
)
def test_a_killed_run_leaves_all_or_nothing_and_the_next_one_goes_on(
    place: Place, when: str, what: str
) -> None:
    place.put("a.tar", tar_of(OLD))
    killed(place, when, what)
    assert set(place.tree()) == (
        {"a.tar"} if when == "before" else {"a.tar", "a", "a/d"} | {f"a/{name}" for name in OLD}
    )
    assert len(place.leftovers()) == 2

    # Whoever unpacks something next tidies up.
    place.unpack("b.tar", tar_of(NEW))
    assert place.leftovers() == []
    assert place.unpack("a.tar") is (when == "before")
    assert files_in(place.out / "a") == OLD


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_while_it_replaces_a_folder(place: Place, when: str) -> None:
    place.unpack("a.tar", tar_of(OLD))
    place.put("a.tar", tar_of(NEW))
    killed(place, when, "replace_folder")
    assert files_in(place.out / "a") == (OLD if when == "before" else NEW)
    assert place.unpack("a.tar") is (when == "before")
    assert files_in(place.out / "a") == NEW
    place.unpack("b.tar", tar_of({}))
    assert place.leftovers() == []


def test_stopping_is_quick_and_leaves_nothing(place: Place) -> None:
    files = range(8000)
    place.put("a.tar", b"".join(entry(f"{number % 100}/{number}") for number in files) + END)
    unpacking = place.unpacking("a.tar")
    ended: list[object] = []

    def run() -> None:
        try:
            unpacking.run()
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: unpacking.progress.done > MIB)
    reason, at = Stopped("stopped"), time.monotonic()
    unpacking.stop(reason)
    thread.join()

    assert time.monotonic() - at < 1
    assert ended == [reason]
    assert set(place.tree()) == {"a.tar"}
    with pytest.raises(Stopped):
        unpacking.needed()
    # There may have been no time to remove all of it.
    place.unpack("b.tar", tar_of(NEW))
    assert place.leftovers() == []


def test_little_is_left_to_be_put_on_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For that has to be waited for, also by who is to stop."""
    synced: list[Tree] = []
    sync = Tree.sync

    def noted(tree: Tree) -> None:
        synced.append(tree)
        sync(tree)

    monkeypatch.setattr("fetcher.disk.tree.SYNC_BYTES", MIB)
    monkeypatch.setattr(Tree, "sync", noted)
    place.unpack("a.tar", tar_of({"one": bytes(3 * MIB), "b": bytes(MIB // 2), "c": bytes(MIB)}))
    assert len(synced) == 5


def test_one_at_a_time(place: Place) -> None:
    place.put("a.tar", tar_of(OLD))
    with Workspace(place.out, "a", lambda: None):
        with pytest.raises(UnpackError, match="another archive or another process is just"):
            place.unpack("a.tar")
        place.unpack("b.tar", tar_of(NEW))
        assert len(place.leftovers()) == 2, "that of one who lives is not tidied up"
    place.unpack("a.tar")


def test_leftovers_that_cannot_be_removed_are_in_nobodys_way(place: Place) -> None:
    aside = place.out / ".fetcher" / "unpacking"
    aside.mkdir(parents=True)
    (aside / "x.lock").touch()
    (aside / "x" / "new" / "d").mkdir(parents=True)
    lock = os.open(aside / "y.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (aside / "z.lock").mkdir()
        place.unpack("a.tar", tar_of(OLD))
    finally:
        os.close(lock)
    assert place.leftovers() == ["y.lock", "z.lock"]
