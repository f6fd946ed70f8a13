"""This process's share of a queue: takes rows as it gets on, and says what became of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from fetcher.contract import FileProgress, ListProgress
from fetcher.lists import BadRow, NamedRow, Row
from fetcher.queue.client import Ask, Given, QueueClient, Turn
from fetcher.queue.plan import QueuePlan
from fetcher.queue.rows import decode, set_aside
from fetcher.queue.scripts import SUSPECT

MOST_AHEAD = 128
"""Rows that wait here for their turn, at most. Usually there are as many as were done in the last
second: who has large files takes one, so that others do not wait for the rest."""

POLL_SECONDS = 1.0
"""How often a worker that has nothing to do asks for rows, at least."""


@dataclass
class _Held:
    id: str
    run: str
    name: str
    progress: FileProgress | None = None
    seen: int | None = None


class Worker:
    """Rows of the queue for this process, some at a time; ends when all rows of all are done.

    :param version: tells the list from others.
    :param parallel: how many are worked on at a time.
    :param progress: kept up to date.
    :ivar turn: the last that was heard of the queue.
    """

    def __init__(
        self, plan: QueuePlan, version: str, parallel: int, progress: ListProgress
    ) -> None:
        self.client = QueueClient(plan, lambda: bool(self._held))
        self.turn = Turn("on")
        self._version = version
        self._parallel = parallel
        self._progress = progress
        self._beat = plan.lease / 3
        self._poll = min(POLL_SECONDS, self._beat)
        self._held: dict[int, _Held] = {}
        self._ask = Ask()
        self._settled = 0
        self._times: deque[float] = deque(maxlen=MOST_AHEAD)
        self._alone = False
        self._heard = time.monotonic()
        self._stopped = False
        self._broken: BaseException | None = None
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def join(self) -> None:
        """Work for the run of the list that is under way, or begin one.

        :raises QueueError: the queue is at work on another list, or is out of reach.
        """
        await self.client.join(self._version)

    async def __aiter__(self) -> AsyncIterator[list[NamedRow[Row | BadRow]]]:
        """:raises QueueError: the queue is out of reach for too long."""
        while not self._stopped:
            if self._broken is not None:
                raise self._broken
            self._changed.clear()
            want = self._want()
            if want or self._ask.done or self._ask.back:
                rows = await self._take(want)
                if rows:
                    yield rows
                    continue
                if self.turn.state == "gone":
                    # Redis has lost all it knew: what is at hand goes on, the rest comes anew.
                    await self.join()
                    continue
                if self.turn.state == "over" or (self.turn.whole and not self.turn.left):
                    return
            await self._wait(self._poll if want else None)

    async def keep_alive(self) -> None:
        """Say in good time that this worker works on what it has; until it is cancelled."""
        while True:
            await asyncio.sleep(max(0.0, self._heard + self._beat - time.monotonic()))
            if self._held and time.monotonic() >= self._heard + self._beat:
                await self._exchange(0)
            elif not self._held:
                self._heard = time.monotonic()

    def watch(self, progress: FileProgress) -> None:
        """A file is begun."""
        for held in self._held.values():
            if held.name == progress.name and held.progress is None:
                held.progress = progress
                return

    def settle(self, number: int, status: str) -> None:
        """A row is done: its file is verified and in place, or has failed for good."""
        held = self._held.pop(number, None)
        if held is None:
            return
        self._settled += 1
        self._times.append(time.monotonic())
        if held.run == self.client.run:
            self._ask.done.append((held.id, status))
        self._let_go()

    def give_back(self, number: int, *, later: bool) -> None:
        """A row is not done; another worker, or this one, is to have it.

        :param later: only when a lease has passed.
        """
        held = self._held.pop(number, None)
        if held is not None and held.run == self.client.run:
            self._ask.back.append((held.id, 0 if later else self.client.lease))
        self._let_go()

    def fail(self, error: BaseException) -> None:
        """Who iterates gets this error."""
        self._broken = error
        self._changed.set()

    def stop(self) -> None:
        """Take no more."""
        self._stopped = True
        self._changed.set()

    async def close(self) -> None:
        """Give back what was not settled; a second at most."""
        for number in list(self._held):
            self.give_back(number, later=False)
        try:
            if self.client.run:
                await self.client.leave(self._ask)
        finally:
            await self.client.close()

    def _let_go(self) -> None:
        if not self._held:
            self._alone = False
        # Not for each row: one that is done in a moment is not worth a question.
        if len(self._held) <= self._parallel + self._ahead() // 2:
            self._changed.set()

    def _ahead(self) -> int:
        last = time.monotonic() - 1.0
        while self._times and self._times[0] < last:
            self._times.popleft()
        return max(1, len(self._times))

    def _want(self) -> int:
        return 0 if self._alone else max(0, self._parallel + self._ahead() - len(self._held))

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _take(self, want: int) -> list[NamedRow[Row | BadRow]]:
        rows = []
        for given in await self._exchange(want):
            named = decode(given.text)
            held = self._held.get(named.number)
            if held is not None:
                # Redis has forgotten that this worker is at it.
                held.id, held.run = given.id, self.client.run
                continue
            self._held[named.number] = _Held(given.id, self.client.run, named.name)
            self._alone = self._alone or given.kills >= SUSPECT
            rows.append(set_aside(named, given.kills) if given.aside else named)
        return rows

    async def _exchange(self, want: int) -> tuple[Given, ...]:
        """Tell what is to be told, and take rows."""
        async with self._one_at_a_time:
            ask, self._ask = self._ask, Ask()
            ask.held = list(self._signs_of_life())
            try:
                self.turn = await self.client.turn(want, not self._held, ask)
            except BaseException:
                # It may not have been heard; twice does no harm.
                self._ask.done[:0], self._ask.back[:0] = ask.done, ask.back
                raise
            self._heard = time.monotonic()
            self._progress.rows = self._settled + self.turn.left
            self._progress.whole = self.turn.whole
            return self.turn.rows

    def _signs_of_life(self) -> Iterator[tuple[str, bool]]:
        for held in self._held.values():
            if held.run == self.client.run:
                done = held.progress.done if held.progress is not None else None
                moved = done is not None and held.seen is not None and done > held.seen
                held.seen = done
                yield held.id, moved
