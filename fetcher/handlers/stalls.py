"""Notices a connection that has fallen silent, for every protocol alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fetcher.config import Config
from fetcher.errors import StalledError
from fetcher.rules.stall import StallClock


class StallTimer:
    """Runs from its making until :meth:`stop`.

    :param url: what is fetched, for the error; as it may be shown.
    :param config: for the stall timeout and speed.
    :param stalled: called with the error when too little came for too long.
    """

    def __init__(self, url: str, config: Config, stalled: Callable[[StalledError], None]) -> None:
        self._url = url
        self._config = config
        self._stalled = stalled
        self._clock = StallClock(config.stall_timeout, config.stall_speed)
        self._wind()

    def received(self, count: int) -> None:
        """Note ``count`` more bytes."""
        self._clock.received(count)

    def stop(self) -> None:
        """The transfer is over."""
        self._timer.cancel()

    def _wind(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._clock.interval, self._tick)

    def _tick(self) -> None:
        # First of all: who is told stops the timer, unless bytes have come at the last moment.
        self._wind()
        if self._clock.tick():
            self._stalled(
                StalledError(
                    f"{self._url} stalled: under {self._config.stall_speed} bytes a second for "
                    f"{self._config.stall_timeout:g} s; run again when its server is less busy, or "
                    "bear with it (FETCHER_STALL_SPEED, FETCHER_STALL_TIMEOUT)"
                )
            )
