"""Keeps a growing part safe and hashed, in step with its transfer and off the reactor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from scrapy.utils.asyncio import run_in_thread

from fetcher.disk.digest import Digester
from fetcher.disk.journal import Journal
from fetcher.disk.part import Part
from fetcher.errors import Stopped

T = TypeVar("T")

CHECKPOINT_SECONDS = 1.0
CHECKPOINT_BYTES = 32 << 20
"""A checkpoint comes after this time or this many new bytes, whichever is first."""

ALLOCATION_STEP = 64 << 20
"""Bytes to reserve at a time; doubled while a step takes less than :data:`ALLOCATION_SECONDS`.
Writing to the file waits for a step to end."""

ALLOCATION_SECONDS = 0.005

AT_ONCE = 256 << 10
"""So few bytes, written a moment ago, are hashed sooner than a thread is woken for them."""

HASH_SECONDS = 0.05
HASH_BYTES = 4 << 20
"""How often the front is looked at, and how far it must have moved to be worth a thread."""


class Safekeeping:
    """Checkpoints and hashing of one part.

    :param part: the open part.
    :param journal: what could be said to be there now; None when nothing worth it is.
    :param front: how far the file is there without a gap.
    """

    def __init__(
        self, part: Part, journal: Callable[[], Journal | None], front: Callable[[], int]
    ) -> None:
        self._part = part
        self._journal = journal
        self._front = front
        self._unsafe = 0
        self._wake = asyncio.Event()
        self._size: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._saving = asyncio.Lock()
        self._hashing = asyncio.Lock()
        self._digester = Digester(part.fd, ())

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What is being computed."""
        return self._digester.algorithms

    def compute(self, algorithms: Iterable[str]) -> None:
        """What to compute from now on; begins at the file's start."""
        self._digester = Digester(self._part.fd, algorithms)

    def stop(self, reason: Stopped) -> None:
        """Break off hashing; :meth:`checksums` raises ``reason``."""
        self._digester.stop(reason)

    def reserve(self, size: int) -> None:
        """The file's size is known: reserve its room on disk."""
        if not self._size.done():
            self._size.set_result(size)

    def forget_size(self) -> None:
        """Another version is to come; call while :meth:`run` is not running."""
        self._size = asyncio.get_running_loop().create_future()

    def wrote(self, count: int) -> None:
        """Note ``count`` new bytes in the part."""
        self._unsafe += count
        if self._unsafe >= CHECKPOINT_BYTES:
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled.

        :raises DiskError: when a checkpoint cannot be made.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._allocate())
                group.create_task(self._save())
                group.create_task(self._follow())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def checkpoint(self) -> None:
        """Make what is there safe now.

        :raises DiskError: when that cannot be done.
        """
        async with self._saving:
            self._unsafe = 0
            journal = self._journal()
            if journal is not None:
                await _to_the_end(self._part.checkpoint, journal)

    def begin_anew(self) -> None:
        """What the part holds is of no use any more: drop its journal, hash from the start.

        The bytes themselves are left to be written over.

        :raises DiskError: when the journal cannot be removed.
        """
        self._unsafe = 0
        self.compute(self.algorithms)
        self._part.forget()

    async def checksums(self, size: int) -> dict[str, str]:
        """Hash what is left up to ``size``; algorithm to ``algorithm:hex``.

        :raises DiskError: when the part cannot be read.
        """
        async with self._hashing:
            await self._advance(size)
            return self._digester.checksums()

    async def _allocate(self) -> None:
        size = await asyncio.shield(self._size)
        offset, step = 0, ALLOCATION_STEP
        loop = asyncio.get_running_loop()
        while offset < size:
            began = loop.time()
            if not await _to_the_end(self._part.allocate, offset, min(step, size - offset)):
                return
            offset += step
            if loop.time() - began < ALLOCATION_SECONDS:
                step *= 2

    async def _save(self) -> None:
        while True:
            await self._woken(CHECKPOINT_SECONDS)
            self._wake.clear()
            if self._unsafe:
                await self.checkpoint()

    async def _woken(self, seconds: float) -> None:
        """Return when there is enough for a checkpoint, or after this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(HASH_SECONDS)
            async with self._hashing:
                front = self._front()
                if front - self._digester.position >= HASH_BYTES:
                    await self._advance(front)

    async def _advance(self, front: int) -> None:
        digester = self._digester
        if not digester.algorithms or digester.position >= front:
            return
        digester.go_on()
        if front - digester.position <= AT_ONCE:
            self._read(digester, front)
        else:
            # Who cancels gives up the file, or what is there of it: its hash has no hurry.
            await _to_the_end(self._read, digester, front, cancelled=digester.pause)

    def _read(self, digester: Digester, front: int) -> None:
        with self._part.told("read back"):
            digester.follow(front)


async def _to_the_end(
    work: Callable[..., T], *args: object, cancelled: Callable[[], None] = lambda: None
) -> T:
    """Run ``work`` in a thread; when cancelled, however often, wait for it all the same.

    The file is closed right after, and its number may be another file's then.

    :param cancelled: called when cancelled, to shorten the wait.
    """
    running = asyncio.ensure_future(run_in_thread(work, *args))
    cancellation: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancellation = error
            cancelled()
    if cancellation is not None:
        running.exception()
        raise cancellation
    return running.result()
