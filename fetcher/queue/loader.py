"""Puts a list's rows into a queue, once: whoever comes first does it, and whoever is there goes on
where that one has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from fetcher.queue.client import QueueClient

Texts = AsyncGenerator[list[tuple[int, str]], None]
"""Rows, some at a time, each with its number; they come from a list that is read meanwhile."""

AT_A_TIME = 256
"""Rows that are put in at a time."""

UNKNOWN = -1


class Loader:
    """One worker's part in it.

    :param rows: gives the rows behind a number, as texts; from the list's start each time.
    """

    def __init__(self, client: QueueClient, rows: Callable[[int], Texts]) -> None:
        self._client = client
        self._rows = rows

    async def run(self) -> None:
        """Return when all rows are in.

        :raises FetchError: the queue is out of reach, or the list can be read no further.
        """
        while True:
            state, at = await self._client.load(UNKNOWN, UNKNOWN, (), whole=False)
            if state == "at" and await self._load(at):
                return
            if state in ("whole", "gone"):
                return
            await asyncio.sleep(self._client.lease / 4000)

    async def _load(self, at: int) -> bool:
        """Put in what stands behind ``at``; whether that was all of it."""
        async with aclosing(self._rows(at)) as several:
            async for rows in several:
                for first in range(0, len(rows), AT_A_TIME):
                    some = rows[first : first + AT_A_TIME]
                    upto = some[-1][0]
                    texts = [text for _, text in some]
                    if await self._client.load(at, upto, texts, whole=False) != ("at", upto):
                        # Somebody else does it, or Redis has forgotten some of them.
                        return False
                    at = upto
        state, _ = await self._client.load(at, at, (), whole=True)
        return state == "at"
