"""Notices a connection that has fallen silent, for every protocol alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fetcher.config import Config
from fetcher.errors import StalledError
from fetcher.rules.stall import StallClock


class StallTimer:
    """Runs from its making until :meth:`stop`, and stands still from :meth:`pause` to
    :meth:`resume`.

    :param url: what is fetched, for the error; as it may be shown.
    :param config: for the stall timeout and speed.
    :param stalled: called with the error when too little came for too long.
    """

    def __init__(self, url: str, config: Config, stalled: Callable[[StalledError], None]) -> None:
        self._url = url
        self._config = config
        self._stalled = stalled
        self._clock = StallClock(config.stall_timeout, config.stall_speed)
        self._loop = asyncio.get_running_loop()
        self._left = self._clock.interval
        self.resume()

    def received(self, count: int) -> None:
        """Note ``count`` more bytes."""
        self._clock.received(count)

    def pause(self) -> None:
        """The connection is not read from: what does not come is not the server's fault."""
        self._left = max(0.0, self._timer.when() - self._loop.time())
        self._timer.cancel()

    def resume(self) -> None:
        """It is read from again."""
        self._timer = self._loop.call_later(self._left, self._tick)

    def stop(self) -> None:
        """The transfer is over."""
        self._timer.cancel()

    def _tick(self) -> None:
        # First of all: who is told stops the timer, unless bytes have come at the last moment.
        self._left = self._clock.interval
        self.resume()
        if self._clock.tick():
            self._stalled(
                StalledError(
                    f"{self._url} stalled: under {self._config.stall_speed} bytes a second for "
                    f"{self._config.stall_timeout:g} s; run again when its server is less busy, or "
                    "bear with it (FETCHER_STALL_SPEED, FETCHER_STALL_TIMEOUT)"
                )
            )
