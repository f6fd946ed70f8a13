"""Checkpoints and hashing of a growing part, off the event loop."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fetcher.disk.journal import Journal, decode
from fetcher.disk.journal_file import JournalFile
from fetcher.disk.part import Part
from fetcher.errors import DiskError, Stopped
from fetcher.rules.answers import Version
from fetcher.transfer import safekeeping
from fetcher.transfer.safekeeping import Safekeeping

DATA = bytes(range(256)) * 40
LONG = 10
"""Seconds that nothing here takes; what takes them has failed."""


class GatedPart(Part):
    """A part on a disk that is as slow as the test likes."""

    def __init__(self, out: Path, name: str) -> None:
        super().__init__(out, name)
        self.done: list[str] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def checkpoint(self, journal: Journal) -> None:
        self.begun.set()
        assert self.gate.wait(LONG)
        super().checkpoint(journal)
        self.done.append("checkpoint")

    def forget(self) -> None:
        super().forget()
        self.done.append("forget")


class File:
    """A part that grows, and what keeps it safe."""

    def __init__(self, out: Path) -> None:
        self.part = GatedPart(out, "a")
        self.there = 0
        self.worth_it = True
        self.asked = 0
        self.looks = 0
        self.looked = asyncio.Event()
        self.keeping = Safekeeping(self.part, self.journal, self.front)

    def grow(self, count: int) -> None:
        self.part.write(self.there, DATA[self.there : self.there + count])
        self.there += count
        self.keeping.wrote(count)

    def journal(self) -> Journal | None:
        self.asked += 1
        if not self.worth_it:
            return None
        return Journal("a", Version(len(DATA)), ((0, self.there),) if self.there else ())

    def front(self) -> int:
        self.looks += 1
        self.looked.set()
        return self.there

    async def looked_again(self, times: int) -> None:
        """Until the front has been looked at so often: what was begun before it is through."""
        wanted = self.looks + times
        while self.looks < wanted:
            self.looked.clear()
            await self.looked.wait()

    def safe(self) -> int:
        """Bytes that the journal on disk speaks of."""
        ranges = decode(JournalFile(self.part.path).path.read_bytes()).ranges
        return ranges[-1][1] if ranges else 0


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints come when asked for, and the front is looked at all the time."""
    monkeypatch.setattr(safekeeping, "CHECKPOINT_SECONDS", 3600)
    monkeypatch.setattr(safekeeping, "HASH_SECONDS", 0.001)
    monkeypatch.setattr(safekeeping, "HASH_BYTES", 1)


@pytest.fixture
def within(tmp_path: Path) -> Iterator[Callable[[Callable[[File], Awaitable[None]]], None]]:
    """Runs a test's coroutine with a file, in an event loop of its own."""
    files: list[File] = []

    async def run(test: Callable[[File], Awaitable[None]]) -> None:
        files.append(File(tmp_path))
        try:
            async with asyncio.timeout(2 * LONG):
                await test(files[0])
        finally:
            files[0].part.gate.set()

    yield lambda test: asyncio.run(run(test))
    for file in files:
        file.part.close()


Within = Callable[[Callable[[File], Awaitable[None]]], None]


async def begun(part: GatedPart) -> None:
    assert await asyncio.to_thread(part.begun.wait, LONG)


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def checksum(data: bytes, algorithm: str = "sha256") -> dict[str, str]:
    return {algorithm: f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"}


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_says_what_is_there(within: Within) -> None:
    async def test(file: File) -> None:
        for count in (5, 7):
            file.grow(count)
            await file.keeping.checkpoint()
            assert file.safe() == file.there

    within(test)


def test_there_is_none_when_nothing_is_worth_it(within: Within) -> None:
    async def test(file: File) -> None:
        file.worth_it = False
        file.grow(5)
        await file.keeping.checkpoint()
        assert file.asked == 1
        assert file.part.done == []
        assert not JournalFile(file.part.path).path.exists()

    within(test)


def test_many_new_bytes_do_not_wait_for_the_time(
    within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "CHECKPOINT_BYTES", 100)

    async def test(file: File) -> None:
        running = asyncio.ensure_future(file.keeping.run())
        file.grow(99)
        await file.looked_again(5)
        assert file.part.done == []
        file.grow(1)
        await begun(file.part)
        await end(running)
        assert file.safe() == 100
        assert file.asked == 1

    within(test)


def test_few_new_bytes_wait_for_the_time(within: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safekeeping, "CHECKPOINT_SECONDS", 0.001)

    async def test(file: File) -> None:
        running = asyncio.ensure_future(file.keeping.run())
        await file.looked_again(10)
        assert file.asked == 0, "nothing is new"
        file.grow(1)
        await begun(file.part)
        await file.looked_again(10)
        await end(running)
        assert file.safe() == 1
        assert file.asked == 1, "nothing is new since"

    within(test)


def test_a_checkpoint_that_fails_ends_the_work(
    within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "CHECKPOINT_BYTES", 1)

    async def test(file: File) -> None:
        running = asyncio.ensure_future(file.keeping.run())
        await file.looked_again(1)
        JournalFile(file.part.path).path.mkdir()
        file.grow(5)
        with pytest.raises(DiskError, match="cannot be synced"):
            await running

    within(test)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_cancelled_checkpoint_is_waited_for(within: Within, times: int) -> None:
    """Who cancels closes the part next; its number may then be another file's."""

    async def test(file: File) -> None:
        file.part.gate.clear()
        file.grow(5)
        saving = asyncio.ensure_future(file.keeping.checkpoint())
        await begun(file.part)
        for _ in range(times):
            saving.cancel()
            await settle()
            assert not saving.done()
        file.part.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert file.part.done == ["checkpoint"]
        assert file.safe() == 5

    within(test)


def test_work_that_is_cancelled_leaves_nothing_running(
    within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "CHECKPOINT_BYTES", 1)

    async def test(file: File) -> None:
        file.part.gate.clear()
        running = asyncio.ensure_future(file.keeping.run())
        file.grow(5)
        await begun(file.part)
        running.cancel()
        await settle()
        assert not running.done()
        file.part.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert file.part.done == ["checkpoint"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    within(test)


def test_a_cancelled_checkpoint_that_fails_is_no_noise(
    within: Within, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(file: File) -> None:
        file.part.gate.clear()
        JournalFile(file.part.path).path.mkdir()
        saving = asyncio.ensure_future(file.keeping.checkpoint())
        await begun(file.part)
        saving.cancel()
        await settle()
        file.part.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await saving

    within(test)
    assert caplog.records == []


def test_checkpoints_come_one_after_the_other(within: Within) -> None:
    async def test(file: File) -> None:
        file.part.gate.clear()
        file.grow(5)
        first = asyncio.ensure_future(file.keeping.checkpoint())
        await begun(file.part)
        file.grow(5)
        second = asyncio.ensure_future(file.keeping.checkpoint())
        await settle()
        assert file.asked == 1
        file.part.gate.set()
        await first
        await second
        assert file.asked == 2
        assert file.safe() == 10

    within(test)


# --- beginning anew -----------------------------------------------------------------------------


def test_nothing_is_trusted_after_beginning_anew(within: Within) -> None:
    async def test(file: File) -> None:
        file.keeping.compute(["sha256"])
        file.part.write(0, b"x" * 100)
        await file.keeping.checkpoint()
        assert await file.keeping.checksums(100) == checksum(b"x" * 100)
        file.keeping.begin_anew()
        assert not JournalFile(file.part.path).path.exists()
        assert file.keeping.algorithms == ("sha256",)
        file.grow(50)
        assert await file.keeping.checksums(50) == checksum(DATA[:50])

    within(test)


def test_bytes_from_before_are_not_counted_after_beginning_anew(
    within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "CHECKPOINT_BYTES", 100)

    async def test(file: File) -> None:
        file.grow(99)
        file.keeping.begin_anew()
        running = asyncio.ensure_future(file.keeping.run())
        file.grow(1)
        await file.looked_again(5)
        await end(running)
        assert file.part.done == ["forget"]

    within(test)


# --- hashing ------------------------------------------------------------------------------------


def test_checksums_are_those_of_the_file(within: Within) -> None:
    async def test(file: File) -> None:
        file.keeping.compute(["sha256", "md5", "md5"])
        assert file.keeping.algorithms == ("md5", "sha256")
        file.grow(len(DATA))
        expected = checksum(DATA) | checksum(DATA, "md5")
        assert await file.keeping.checksums(len(DATA)) == expected
        assert await file.keeping.checksums(len(DATA)) == expected

    within(test)


def test_the_front_is_hashed_while_it_moves(within: Within) -> None:
    async def test(file: File) -> None:
        file.keeping.compute(["sha256"])
        running = asyncio.ensure_future(file.keeping.run())
        for _ in range(4):
            file.grow(1000)
            await file.looked_again(3)
        await end(running)
        # Were it read again, it would not be what it was.
        os.pwrite(file.part.fd, bytes(4000), 0)
        file.grow(500)
        assert await file.keeping.checksums(4500) == checksum(DATA[:4500])

    within(test)


def test_few_new_bytes_are_not_worth_a_thread(
    within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safekeeping, "HASH_BYTES", 101)

    async def test(file: File) -> None:
        file.keeping.compute(["sha256"])
        running = asyncio.ensure_future(file.keeping.run())
        file.grow(100)
        await file.looked_again(3)
        await end(running)
        os.pwrite(file.part.fd, b"y" * 100, 0)
        assert await file.keeping.checksums(100) == checksum(b"y" * 100)

    within(test)


def test_other_algorithms_begin_at_the_start(within: Within) -> None:
    async def test(file: File) -> None:
        running = asyncio.ensure_future(file.keeping.run())
        file.keeping.compute(["md5"])
        file.grow(1000)
        await file.looked_again(3)
        file.keeping.compute(["sha256"])
        await file.looked_again(3)
        await end(running)
        assert await file.keeping.checksums(1000) == checksum(DATA[:1000])

    within(test)


def test_without_algorithms_there_is_nothing_to_tell(within: Within) -> None:
    async def test(file: File) -> None:
        assert file.keeping.algorithms == ()
        assert await file.keeping.checksums(100) == {}

    within(test)


def test_a_stop_breaks_off_hashing(within: Within) -> None:
    async def test(file: File) -> None:
        file.keeping.compute(["sha256"])
        file.grow(100)
        reason = Stopped("the run was interrupted")
        file.keeping.stop(reason)
        with pytest.raises(Stopped) as caught:
            await file.keeping.checksums(100)
        assert caught.value is reason

    within(test)


def test_a_part_that_is_too_short_cannot_be_hashed(within: Within) -> None:
    async def test(file: File) -> None:
        file.keeping.compute(["sha256"])
        file.grow(100)
        with pytest.raises(DiskError, match=r"a\.part cannot be read back: the file ends at 100"):
            await file.keeping.checksums(101)

    within(test)
