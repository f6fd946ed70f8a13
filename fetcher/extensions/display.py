"""The terminal while files are in flight: bars at its bottom, log lines above them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from threading import RLock
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fetcher.extensions.picture import Picture
from fetcher.extensions.tally import Tally

_Handler = logging.StreamHandler[Any]

_BRIEF = logging.Formatter("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S")
"""Beside bars there is little room, and the day is known."""


class Terminal(Console):
    """Standard error; once it is gone (hung up, closed), writing to it does nothing.

    A run of days outlives the window that it was started from.
    """

    def __init__(self, *, force: bool = False) -> None:
        super().__init__(file=sys.stderr, force_terminal=True if force else None)

    @property
    def moves(self) -> bool:
        """Whether lines that were written can be drawn over."""
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        # Console's own ends the process.
        self.quiet = True

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.quiet = True


class Bars:
    """Bars on a terminal, drawn anew at each :meth:`draw`; there is no thread.

    :param console: a terminal, or what is to be treated as one.
    :param most_lines: None for as many as there is room for.
    """

    interval = 0.15
    """Seconds from one :meth:`draw` to the next."""

    def __init__(self, tally: Tally, console: Console, *, most_lines: int | None = None) -> None:
        self._tally = tally
        self._most_lines = most_lines
        self._console = console
        self._picture = Picture(ascii_only=console.options.ascii_only)
        # Log lines may come from any thread.
        self._lock = RLock()
        self._above = _Above(self._print, console.file, self._lock)
        self._moved: list[tuple[_Handler, TextIO, logging.Formatter | None]] = []
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
            get_renderable=self._draw,
        )

    def start(self) -> None:
        """Take the bottom of the terminal; log lines go above it from here on."""
        for handler in logging.root.handlers:
            if isinstance(handler, logging.StreamHandler) and _on_terminal(handler.stream):
                stream = handler.setStream(cast("TextIO", self._above))
                if stream is not None:
                    self._moved.append((handler, stream, handler.formatter))
                    handler.setFormatter(_BRIEF)
        with self._lock:
            self._live.start()

    def draw(self) -> None:
        """Show how things are now."""
        with self._lock:
            self._live.refresh()

    def stop(self) -> None:
        """Give the terminal back: no bars, the cursor shown, the handlers' own streams."""
        with self._lock:
            self._live.stop()
        while self._moved:
            handler, stream, formatter = self._moved.pop()
            if cast("object", handler.stream) is self._above:
                handler.setStream(stream)
                handler.setFormatter(formatter)
        self._above.finish()

    def summarise(self, lines: Iterable[str]) -> None:
        """Leave the failed files with their errors on the terminal, and then ``lines``."""
        failures = self._tally.failures
        if failures:
            width = max(20, self._console.width * 2 // 5)
            table = Table(box=None, pad_edge=False, header_style="bold red")
            table.add_column("Failed", no_wrap=True)
            table.add_column("Error", overflow="fold")
            for failure in failures:
                name = self._picture.fit(failure.name, width)
                table.add_row(Text(name), Text(failure.message))
            with self._lock:
                self._console.print(table)
            if unlisted := self._tally.files["failed"] - len(failures):
                self._print(f"and {unlisted} more, see the report")
        for line in lines:
            self._print(line)

    def _draw(self) -> Text:
        # Some terminals begin the next line as soon as the last cell is filled, and Live needs
        # a line of its own at the end.
        height = max(1, self._console.height - 1)
        return self._picture.draw(
            self._tally, max(1, self._console.width - 1), min(height, self._most_lines or height)
        )

    def _print(self, text: str) -> None:
        with self._lock:
            self._console.print(Text(text), overflow="fold")


class _Above(io.TextIOBase):
    """A stream whose lines appear above the bars.

    :param file: the terminal's stream, for which it stands.
    """

    def __init__(
        self, show: Callable[[str], None], file: IO[str], lock: AbstractContextManager[Any]
    ) -> None:
        self._show = show
        self._file = file
        self._lock = lock
        self._rest = ""

    def write(self, text: str) -> int:
        with self._lock:
            lines, newline, self._rest = (self._rest + text).rpartition("\n")
            if newline:
                self._show(lines)
        return len(text)

    def isatty(self) -> bool:
        return self._file.isatty()

    def finish(self) -> None:
        """Show a last line that has no end."""
        with self._lock:
            rest, self._rest = self._rest, ""
            if rest:
                self._show(rest)


def _on_terminal(stream: TextIO) -> bool:
    return stream is sys.stderr or stream is sys.__stderr__ or stream.isatty()
