"""The queue's Redis as this process sees it: one step at a time, and again when it was away."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis import RedisError, ResponseError
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError

from fetcher.errors import QueueError
from fetcher.queue import scripts
from fetcher.queue.plan import QueuePlan, connection_options, explain
from fetcher.rules.backoff import Backoff

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries to reach a Redis that is away."""

PATIENCE_LEASES = 5
"""How many leases long a worker that has nothing else to do waits for it."""

FAREWELL_SECONDS = 1.0
"""How long the last step may take."""

_PASSING = (BusyLoadingError, OutOfMemoryError, ReadOnlyError)
"""Answers that may be others in a while."""


class Given(NamedTuple):
    """A row that was given to this worker.

    :ivar id: the queue's name for it.
    :ivar kills: how many workers have died over it.
    :ivar aside: whether it is to be set aside.
    """

    id: str
    text: str
    kills: int
    aside: int


@dataclass
class Ask:
    """What a turn is to do beside taking rows.

    :ivar done: rows that are done, and as what.
    :ivar back: rows that others shall have, and for how many milliseconds they count as unheard of.
    :ivar held: rows that are worked on, and whether there has been progress.
    :ivar lost: whether an answer may have been lost.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    back: list[tuple[str, int]] = field(default_factory=list)
    held: list[tuple[str, bool]] = field(default_factory=list)
    lost: bool = False


@dataclass(frozen=True)
class Turn:
    """What a turn has brought.

    :param state: ``on``, ``over`` where another run of the list has begun, ``gone`` where Redis
        knows of none.
    :param left: rows that are not done, those in work among them.
    :param whole: whether the whole list has been put in.
    """

    state: str
    left: int = 0
    whole: bool = False
    rows: tuple[Given, ...] = ()


class QueueClient:
    """Steps of one worker; each waits for Redis as long as it makes sense.

    :param busy: whether the worker has something to do while Redis is away.
    :ivar run: the run of the list that it works for.
    """

    def __init__(self, plan: QueuePlan, busy: Callable[[], bool]) -> None:
        self._plan = plan
        self._busy = busy
        # Another process may have had the same number.
        self._me = f"{plan.worker}-{secrets.token_hex(4)}"
        self._lease = max(1, round(plan.lease * 1000))
        self._keys = [f"fetcher:{plan.name}:{kind}" for kind in ("rows", "state", "deaths")]
        self._redis = Redis.from_url(plan.url, **connection_options())
        steps = (scripts.JOIN, scripts.LOAD, scripts.LEAVE, scripts.TURN)
        self._scripts = {step: self._redis.register_script(step) for step in steps}
        self._away_since: float | None = None
        self._lost = False
        self._closing = False
        self.run = ""

    @property
    def lease(self) -> int:
        """In milliseconds."""
        return self._lease

    async def join(self, version: str) -> None:
        """Work for the run that is under way, or begin one.

        :param version: tells the list from others.
        :raises QueueError: the queue is at work on another list, or is out of reach.
        """
        answer, run = await self._call(scripts.JOIN, secrets.token_hex(8), version)
        if answer == "other":
            raise QueueError(
                f"{self._plan.shown} is at work on another list: let its workers finish, give "
                "another FETCHER_QUEUE_NAME, or drop it: redis-cli -u ADDRESS DEL "
                + " ".join(self._keys)
            )
        self.run = run

    async def load(self, at: int, upto: int, rows: Sequence[str], whole: bool) -> tuple[str, int]:
        """Put rows in that stand behind number ``at``, and be the only one who does.

        :param at: where this worker believes that the queue is; -1 to ask.
        :param upto: the number of the last of them.
        :param whole: whether there are no more behind them.
        :return: ``at`` and the number of the last row that is in; ``taken``, ``whole`` or ``gone``
            where there is nothing to do.
        """
        state, loaded = await self._call(
            scripts.LOAD, self.run, self._me, self._lease, at, upto, int(whole), *rows
        )
        return state, int(loaded)

    async def turn(self, want: int, alone: bool, ask: Ask) -> Turn:
        """Settle rows, and take up to ``want`` others.

        :param alone: whether the worker has no row: only then is it given one that workers died of.
        """
        ask.lost, self._lost = self._lost, False
        try:
            state, *rest = await self._call(
                scripts.TURN,
                self.run,
                self._me,
                self._lease,
                want,
                int(alone),
                json.dumps(vars(ask)),
            )
        except BaseException:
            # It is not known whether one that is broken off was heard.
            self._lost = True
            raise
        if state != "on":
            return Turn(state)
        left, whole, rows = rest
        return Turn(state, left, bool(whole), tuple(Given(*row) for row in rows))

    async def leave(self, ask: Ask) -> None:
        """The last step: give back what is not done. What cannot be told any more, others will find
        out when the lease has run out."""
        self._closing = True
        # Whoever was cancelled may have left a half-read answer on its connection.
        await self._redis.connection_pool.disconnect()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.turn(0, False, ask)
                await self._call(scripts.LEAVE, self.run, self._me)
        except (TimeoutError, QueueError) as error:
            logger.warning(
                "%s was not told that this worker ends (%s): its rows go on after %g s",
                self._plan.shown,
                str(error) or "no answer",
                self._plan.lease,
            )

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _call(self, script: str, *arguments: Any) -> Any:
        backoff = Backoff(max_tries=0, base=FIRST_PAUSE)
        while True:
            try:
                answer = await self._scripts[script](self._keys, arguments)
            except (RedisError, OSError) as error:
                if isinstance(error, ResponseError) and not isinstance(error, _PASSING):
                    raise QueueError(
                        f"{self._plan.shown} does not work: {explain(error)}"
                    ) from error
                self._lost = True
                self._bear(error)
            else:
                self._note_back()
                return answer
            backoff = backoff.after_failure(progress=False)
            await asyncio.sleep(min(backoff.delay(), LONGEST_PAUSE))

    def _bear(self, error: Exception) -> None:
        """:raises QueueError: it makes no sense to try again."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            if not self._closing:
                logger.warning(
                    "%s is out of reach (%s): going on with the files at hand, and trying again",
                    self._plan.shown,
                    explain(error),
                )
        patience = PATIENCE_LEASES * self._plan.lease
        if self._closing or (now - self._away_since > patience and not self._busy()):
            raise QueueError(
                f"{self._plan.shown} is out of reach, for {now - self._away_since:.0f} s "
                f"({explain(error)}): start it again, and then this worker"
            ) from error

    def _note_back(self) -> None:
        if self._away_since is not None:
            logger.info("%s is back", self._plan.shown)
            self._away_since = None
