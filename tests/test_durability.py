"""The journal never runs ahead of the disk: proven by the system calls of a crawl, not by trust.

A real crawl of a file that changes on its server is recorded by strace, and a model of a disk is
fed with what it asked of the system. The model is as bad as a disk may be: a write is only safe
once an fdatasync that began after its end has ended, and until then may be there or not; a file
that was replaced or removed may be back after a power cut, until its folder has been synced. At
each step, whichever journal a power cut might leave must speak only of bytes that are there, and
of one version.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fetcher.disk.journal import Journal, decode
from tests.conftest import not_here
from tests.crawl import Crawl, clean_environment, wait_for
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.strace import Call, Event, read_log

SIZE = 20 << 20
VERSIONS = {number: Resource(Content(SIZE, seed=number), rate=3 << 20) for number in (1, 2)}
CONNECTIONS = 5

TRACED = "write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
SHOWN = 2048
"""Bytes of each write that the log shows: more than a journal of this file has."""


class Disk:
    """What may be found of a file after a power cut, from its crawl's system calls."""

    def __init__(self, out: Path, name: str) -> None:
        self._folder = str(out)
        self._final = str(out / name)
        self._part = f"{self._final}.part"
        self._journal = f"{self._final}.part.json"
        self._cache = bytearray(SIZE)
        """For each byte the version that was written, 0 for none."""
        self._synced = bytes(SIZE)
        self._snapshots: dict[Call, bytes] = {}
        self._texts: dict[str, bytes] = {}
        self._safe_texts: set[str] = set()
        self._removed = False
        self._removed_before: set[Call] = set()
        self.possible: list[tuple[int, Journal]] = []
        """The journals that a power cut might leave, with the version of which they speak."""
        self.steps: list[str] = []
        """What happened to the journal and the final name, in order."""

    def follow(self, event: Event) -> None:
        handler = getattr(self, f"_{event.call.name}", None)
        if handler is not None and any(path.startswith(self._folder) for path in event.call.files):
            handler(event.call, event.begins)

    def _pwrite64(self, call: Call, begins: bool) -> None:
        if call.files != (self._part,):
            return
        start, end = call.numbers[-1], call.numbers[-1] + call.result
        version = version_of(call.data, start)
        if begins:
            for number, journal in self.possible:
                meant = any(start < stop and first < end for first, stop in journal.ranges)
                assert not meant or number == version, f"version {version} goes over {journal}"
            if self.steps[-1:] != [f"bytes {version}"]:
                self.steps.append(f"bytes {version}")
            return
        self._cache[start:end] = bytes([version]) * (end - start)

    def _write(self, call: Call, begins: bool) -> None:
        (path,) = call.files
        assert path not in (self._journal, self._part, self._final)
        if not begins:
            self._safe_texts.discard(path)
            self._texts[path] = self._texts.get(path, b"") + call.data[: call.result]

    def _fdatasync(self, call: Call, begins: bool) -> None:
        (path,) = call.files
        if path != self._part:
            if not begins:
                self._safe_texts.add(path)
        elif begins:
            self._snapshots[call] = bytes(self._cache)
        else:
            self._synced = self._snapshots.pop(call)

    def _fsync(self, call: Call, begins: bool) -> None:
        if call.files != (self._folder,):
            self._fdatasync(call, begins)
        elif begins:
            if self._removed:
                self._removed_before.add(call)
        else:
            self.steps.append("folder synced")
            if call in self._removed_before:
                self.possible, self._removed = [], False

    def _ftruncate(self, call: Call, begins: bool) -> None:
        if call.files != (self._part,):
            return
        size = call.numbers[-1]
        if begins:
            for _, journal in self.possible:
                assert not journal.ranges or journal.ranges[-1][1] <= size
        else:
            self._cache[size:] = bytes(SIZE - size)

    def _unlink(self, call: Call, begins: bool) -> None:
        (path,) = call.files
        self._texts.pop(path, None)
        if path == self._journal and not begins:
            self._removed = True
            self.steps.append("journal removed")

    def _rename(self, call: Call, begins: bool) -> None:
        source, target = call.files
        if target == self._journal:
            self._rename_journal(source, begins)
        elif target == self._final:
            assert source == self._part
            if begins:
                assert self._synced.count(2) == self._cache.count(2) == SIZE
            else:
                self.steps.append("final name")

    def _rename_journal(self, aside: str, begins: bool) -> None:
        if begins:
            assert aside in self._safe_texts
            journal = decode(self._texts[aside])
            (number,) = (key for key, of in VERSIONS.items() if of.etag == journal.version.etag)
            for start, end in journal.ranges:
                for bytes_there in (self._synced, self._cache):
                    assert bytes_there.count(number, start, end) == end - start
            self.possible.append((number, journal))
        else:
            del self._texts[aside]
            self._removed = False
            self.steps.append(f"journal {self.possible[-1][0]}")


def version_of(data: bytes, offset: int) -> int:
    """Which version the bytes are of that were written at an offset."""
    (number,) = (
        number
        for number, resource in VERSIONS.items()
        if resource.content.read(offset, offset + len(data)) == data
    )
    return number


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A crawl over five connections that was half through when the file changed."""
    strace = shutil.which("strace")
    if strace is None:
        not_here("strace is not installed: the order of system calls cannot be seen")
    out, log = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("log") / "strace"
    with Origin() as origin:
        gate = Gate(after=512 << 10)
        url = origin.add("/a.bin", replace(VERSIONS[1], gate=gate))
        command = [
            *(strace, "-f", "--seccomp-bpf", "-y", "-s", str(SHOWN), "-o", str(log)),
            *("-e", f"trace={TRACED}"),
            *(sys.executable, "-m", "scrapy", "crawl", "fetch"),
            *("-a", f"url={url}", "-a", f"out={out}"),
            *("-s", "FETCHER_MIN_SPLIT_SIZE=1M", "-s", f"FETCHER_MAX_SPLITS={CONNECTIONS}"),
        ]
        with Crawl(command, out, clean_environment(), "") as crawl:
            gate.wait_until_held(CONNECTIONS)
            wait_for((out / "a.bin.part.json").exists, message="the first checkpoint")
            origin.replace("/a.bin", VERSIONS[2])
            gate.open()
            result = crawl.wait()
    (row,) = result.report
    assert (row["status"], row["restarts"], row["connections"]) == ("ok", 1, CONNECTIONS)
    assert VERSIONS[2].content.first_difference(out / "a.bin") is None
    return out, read_log(log)


def test_whatever_a_power_cut_leaves_speaks_of_bytes_that_are_there(
    events: tuple[Path, list[Event]],
) -> None:
    disk = Disk(events[0], "a.bin")
    for event in events[1]:
        disk.follow(event)
    checkpoints = [step for step in disk.steps if step.startswith("journal ")]
    # Several of them, of both versions, so that the model had something to judge.
    assert "journal 1" in checkpoints
    assert "journal 2" in checkpoints
    anew = disk.steps.index("journal removed")
    assert disk.steps[anew : anew + 3] == ["journal removed", "folder synced", "bytes 2"]
    assert "bytes 2" not in disk.steps[:anew]
    assert disk.steps[-3:] == ["final name", "folder synced", "journal removed"]
