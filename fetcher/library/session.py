"""What a :class:`Downloader` shows and says meanwhile, and the limits that it keeps."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fetcher.extensions.progress import Display
from fetcher.extensions.tally import Tally
from fetcher.workers.channel import Event, log_record
from fetcher.workers.crew import Crew
from fetcher.workers.show import Show


@dataclass(frozen=True)
class SessionConfig:
    """What holds for all files of a :class:`Downloader`.

    :param timeouts: seconds without a byte before a connection is given up. A transfer as a whole
        may take any time.
    :param headers: for the requests for each file, to the origin of its URL and no other.
    :param file_progress: show a line for each file in flight; otherwise only one for all.
    :param log_level: such as ``"DEBUG"``: show what this package logs at this level and above, by
        the program's own logging where there is one, and otherwise on standard error.
    :raises ValueError: a value that means nothing.
    """

    timeouts: float = 300
    headers: Mapping[str, str] | None = None
    file_progress: bool = True
    log_level: str | int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.timeouts < float("inf"):
            raise ValueError(f"timeouts is {self.timeouts!r}; give a number of seconds")
        if self.log_level is not None:
            level_number(self.log_level)


def level_number(level: str | int) -> int:
    """:raises ValueError: there is no such level."""
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if number is None:
        raise ValueError(f"log_level is {level!r}; give DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return number


class Watcher:
    """Hears what a child says: shows it, logs it, and passes it on.

    :param show: whether progress is wanted.
    :param hear: called with each event.
    :ivar level: of the log records that are of interest.
    :ivar shows: whether anything is shown.
    """

    def __init__(
        self, session: SessionConfig, *, show: bool, hear: Callable[[Event], None]
    ) -> None:
        self._chosen = session.log_level is not None
        if session.log_level is not None:
            self.level = level_number(session.log_level)
        else:
            self.level = logging.getLogger("fetcher").getEffectiveLevel()
        self._hear = hear
        tally = Tally(time.monotonic())
        display = _bars(tally, each=session.file_progress) if show else None
        self.shows = display is not None
        self._show = Show(tally, display)

    def hear(self, child: int, event: Event) -> None:
        """Take notice of an event."""
        if event["kind"] == "log":
            self._log(event)
        else:
            self._show.hear(child, event)
            self._hear(event)

    def run(self, crew: Crew) -> None:
        """See :meth:`Crew.run`; afterwards all children are gone."""
        self._show.start()
        try:
            crew.run(self._show.tick, self._show.interval)
        finally:
            self._show.stop()
            crew.close()

    def _log(self, event: Event) -> None:
        record = log_record(event)
        logger = logging.getLogger(record.name)
        if not self._chosen and not logger.isEnabledFor(record.levelno):
            return
        if logger.hasHandlers():
            logger.handle(record)
        elif self._chosen:
            sys.stderr.write(f"{record.levelname}: {record.getMessage()}\n")


def _bars(tally: Tally, *, each: bool) -> Display | None:
    """Bars on a terminal; None where standard error is none."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    from fetcher.extensions.display import Bars, Terminal

    terminal = Terminal()
    if not terminal.moves:
        return None
    return Bars(tally, terminal, most_lines=None if each else 1)
