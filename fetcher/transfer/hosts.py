"""How many connections each server bears, learned from what it refuses while it serves others.

A server that has enough says so by 429 or 503, by 403, by closing the connection before it has
answered, or by leaving it unanswered; the same may be about one file only. It is taken to be about
the number while other connections to the server are being served: then that number is the server's
limit, and who was refused waits for a turn instead of using up its tries. Refused again although a
connection has ended meanwhile, or although more have been served before, it is about the file: that
counts as any other failed try. Silence lasts, and shows more: it is about the file where more were
served at a time while it lasted, and where who asked later than one in its turn was answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from fetcher.rules.urls import origin
from fetcher.transfer.writer import RangeWriter

BUSY = (429, 503, 509)
"""Statuses of a server that has too much to do."""

RAISE_SECONDS = 2.0
MOST_SECONDS = 300.0
"""One connection more than the limit is tried after the first time; the wait doubles up to the
second, as long as that is refused."""

FORBIDDEN_TRIALS = 3
"""Trials that end with 403 before the link is believed to have expired."""

TURN_SECONDS = 0.1
"""What a server may take from the end of one answer to the next one in its queue: that many are
still taken to be served."""

LOOK_SECONDS = 0.5
"""How often one who waits looks whether it is the first by now."""

_ADAPTIVE = ("http", "https")
"""The sessions of other protocols wait for their turn in a pool of their own."""


class Turn(Enum):
    """How a waiting connection has come to its turn."""

    FREE = auto()
    """Another connection has ended."""
    TRIAL = auto()
    """Enough time has gone by to try one more."""


class _Waiting(NamedTuple):
    """A connection that has not come to its turn."""

    writer: RangeWriter
    turn: asyncio.Future[None]


@dataclass
class _Asking:
    """What has happened since a connection began to ask.

    :ivar number: the order in which they did.
    :ivar peak: the most that were being served at a time.
    :ivar overtaken: whether one who began later has been answered.
    """

    number: int
    peak: int
    overtaken: bool = False


class Host:
    """One server's connections, over all files.

    :param adaptive: whether its number is to be learned at all.
    """

    def __init__(self, *, adaptive: bool = True) -> None:
        self.limit: int | None = None
        """Connections that the server bears; None while it has refused none."""
        self._adaptive = adaptive
        self._forbids = False
        self._inside: dict[RangeWriter, _Asking] = {}
        self._asked = 0
        self._serving: set[RangeWriter] = set()
        self._rested: dict[RangeWriter, float] = {}
        self._queue: deque[_Waiting] = deque()
        self._proven = 0
        self._trial = False
        self._raise_seconds = RAISE_SECONDS
        self._raise_at = 0.0

    @property
    def full(self) -> bool:
        """Whether one connection more would be too many."""
        return self.limit is not None and len(self._inside) >= self.limit

    @property
    def bears_more(self) -> bool:
        """Whether a file that has a connection may ask by one more: there is room, or it is time to
        try whether there is by now."""
        if not self.full:
            return True
        return not self.wanted and asyncio.get_running_loop().time() >= self._raise_at

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._queue)

    def enter(self, writer: RangeWriter) -> None:
        """The writer begins to ask; beyond the limit, that is a trial."""
        if self.full and writer not in self._inside:
            self._trial = True
            self._raise_at = asyncio.get_running_loop().time() + self._raise_seconds
        if writer not in self._inside:
            self._asked += 1
            self._inside[writer] = _Asking(self._asked, len(self._serving))

    def serve(self, writer: RangeWriter) -> None:
        """The writer's answer has been accepted."""
        self._serving.add(writer)
        asking = self._inside.get(writer)
        for other in self._inside.values():
            other.peak = max(other.peak, len(self._serving))
            other.overtaken |= asking is not None and other.number < asking.number
        self._proven = max(self._proven, len(self._serving))
        if self.limit is not None and len(self._serving) > self.limit:
            # The trial went well; the next one need not wait.
            self.limit = len(self._serving)
            self._relent()

    def rest(self, writer: RangeWriter) -> None:
        """The writer's answer is over; it may ask for another."""
        if writer not in self._serving:
            return
        self._serving.discard(writer)
        now = time.monotonic()
        self._rested = {each: at for each, at in self._rested.items() if now - at < TURN_SECONDS}
        self._rested[writer] = now

    def leave(self, writer: RangeWriter) -> None:
        """The writer asks for nothing more, or not for a while; the next one gets its turn."""
        self.rest(writer)
        self._inside.pop(writer, None)
        self._admit()

    def turns_away(self, writer: RangeWriter, *, alone: bool) -> bool:
        """Whether a failed try of the writer is about the number of connections; takes note of it.

        :param alone: it is the only connection of its file.
        """
        others = self._others(writer)
        if not self._adaptive or not others or writer.served:
            return False
        behind = writer.silent and self._only_waits(writer, others)
        if not behind and (writer.silent or writer.turn is Turn.FREE):
            return False
        if writer.status == 403:
            # About the link, unless the file that it leads to is being served; one more try shows.
            self._forbids = self._forbids or not alone
            if not self._forbids:
                return writer.turn is None
            if writer.trials >= FORBIDDEN_TRIALS:
                return False
        elif writer.status not in (None, *BUSY):
            return False
        if self._trial:
            self._trial = False
            self._raise_seconds = min(self._raise_seconds * 2, MOST_SECONDS)
        self.limit = others
        self._raise_at = asyncio.get_running_loop().time() + self._raise_seconds
        return writer.turn is not Turn.TRIAL or others >= self._proven

    def _others(self, writer: RangeWriter) -> int:
        """How many others are being served.

        To the silent, one that has just been is one: the server has not come to the next yet.
        """
        others = self._serving - {writer}
        asking = self._inside.get(writer)
        if not writer.silent or asking is None:
            return len(others)
        since = time.monotonic() - TURN_SECONDS
        lately = {each for each, at in self._rested.items() if at > since} - {writer}
        return max(len(others), min(len(others | lately), asking.peak))

    def _only_waits(self, writer: RangeWriter, others: int) -> bool:
        """Whether a server that is silent may come to the writer once it is through with others."""
        asking = self._inside.get(writer)
        if asking is None or others < asking.peak:
            return False
        return writer.turn is not Turn.FREE or not asking.overtaken

    async def wait(self, writer: RangeWriter) -> None:
        """Let the writer wait for its turn, first come, first served.

        :raises Stopped: or another reason, at once when the writer is stopped.
        """
        self.leave(writer)
        if self.limit is not None and not self.full:
            writer.turn = Turn.FREE
            self.enter(writer)
            return
        loop = asyncio.get_running_loop()
        waiting = _Waiting(writer, loop.create_future())
        self._queue.append(waiting)
        try:
            writer.turn = await self._turn(waiting, writer.stopping())
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
        if writer.turn is Turn.TRIAL:
            writer.trials += 1
        self.enter(writer)

    async def _turn(self, waiting: _Waiting, stopping: asyncio.Future[None]) -> Turn:
        loop = asyncio.get_running_loop()
        while True:
            seconds = max(self._raise_at - loop.time(), LOOK_SECONDS)
            await asyncio.wait(
                {waiting.turn, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.writer.stopped is not None:
                raise waiting.writer.stopped
            if waiting.turn.done():
                return Turn.FREE
            if loop.time() >= self._raise_at and self._next_trial is waiting:
                return Turn.TRIAL

    @property
    def _next_trial(self) -> _Waiting:
        """The first who has not been refused: the others' refusals may be about their files."""
        return min(self._queue, key=lambda each: (each.writer.away, each.writer.trials))

    def _relent(self) -> None:
        """One more may be tried at once."""
        self._trial = False
        self._raise_seconds = RAISE_SECONDS
        self._raise_at = 0.0

    def _admit(self) -> None:
        """Let in as many of those who wait as there is room for."""
        while self._queue and not self.full:
            waiting = self._queue.popleft()
            # At once, so that nobody else takes the place before the other has noticed.
            self.enter(waiting.writer)
            waiting.turn.set_result(None)


class Hosts:
    """The servers of a crawl."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str, int], Host] = {}

    def of(self, url: str) -> Host:
        """The server of an address."""
        key = origin(url)
        if key not in self._hosts:
            self._hosts[key] = Host(adaptive=key[0] in _ADAPTIVE)
        return self._hosts[key]
