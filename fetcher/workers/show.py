"""One display for the files of several processes."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fetcher.extensions.progress import Display
from fetcher.extensions.tally import Tally
from fetcher.workers.channel import Event, item_of
from fetcher.workers.flight import Flight


class Show:
    """Puts what children say into a tally, and has it displayed.

    :param tally: what is displayed.
    :param display: None shows nothing.
    """

    def __init__(self, tally: Tally, display: Display | None) -> None:
        self._tally = tally
        self._display = display
        self._flight = Flight(tally.started, tally.ended)

    @property
    def interval(self) -> float:
        """Seconds from one :meth:`tick` to the next."""
        return self._display.interval if self._display is not None else 1.0

    def start(self) -> None:
        """Begin to show."""
        if self._display is not None:
            self._display.start()

    def hear(self, child: int, event: Event) -> None:
        """Take notice of an event."""
        self._flight.hear(child, event)
        if event["kind"] == "item":
            self._tally.scraped(item_of(event))

    def tick(self) -> None:
        """Show how things are now."""
        if self._display is not None:
            self._tally.look(time.monotonic())
            self._display.draw()

    def stop(self) -> None:
        """Show nothing more."""
        self._tally.look(time.monotonic())
        if self._display is not None:
            self._display.stop()

    def summarise(self, lines: Iterable[str]) -> None:
        """Show what has become of it all, after :meth:`stop`."""
        if self._display is not None:
            self._display.summarise(lines)
