"""The bars as text: a line for each file in flight, and one for all."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from fetcher.extensions import figures
from fetcher.extensions.tally import Tally, Tracked

_PERCENT, _PORTION, _RATE, _LEFT, _CONNECTIONS = 4, 13, 10, 8, 4
_LEAST_NAME, _MOST_NAME = 12, 48
_LEAST_BAR, _MOST_BAR = 8, 40


class Columns(NamedTuple):
    """Which columns fit, and how wide the two that stretch are; 0 is left out."""

    name: int
    bar: int
    portion: bool
    rate: bool
    left: bool
    connections: bool

    @classmethod
    def fitting(cls, width: int) -> Columns:
        """The columns of a line of ``width`` cells, the most telling ones first."""
        room = width - _LEAST_NAME - 1 - _PERCENT
        shown: list[bool] = []
        for column in (_PORTION, _RATE, _LEFT, _CONNECTIONS):
            fits = room >= column + 1 and all(shown)
            room -= column + 1 if fits else 0
            shown.append(fits)
        bar = 0
        if room > _LEAST_BAR:
            bar = min(_MOST_BAR, _LEAST_BAR + (room - _LEAST_BAR - 1) * 2 // 5)
            room -= bar + 1
        return cls(max(0, min(_MOST_NAME, _LEAST_NAME + room)), bar, *shown)

    @property
    def width(self) -> int:
        """Cells up to the last column but the connections."""
        used = self.name + 1 + _PERCENT + (self.bar + 1 if self.bar else 0)
        for column, shown in ((_PORTION, self.portion), (_RATE, self.rate), (_LEFT, self.left)):
            used += column + 1 if shown else 0
        return used


class Picture:
    """Draws a tally.

    :param ascii_only: whether the terminal's encoding has nothing but ASCII.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ascii = ascii_only
        self._mark = "..." if ascii_only else "…"
        self._times = "x" if ascii_only else "\u00d7"  # the multiplication sign
        self._full, self._empty = ("#", "-") if ascii_only else ("━", "─")

    def draw(self, tally: Tally, width: int, height: int) -> Text:
        """At most ``height`` lines of at most ``width`` cells; the last one tells the whole."""
        active = tally.active
        room = height - 1 if len(active) < height else max(0, height - 2)
        columns = Columns.fitting(width)
        lines = [self._line(tracked, columns) for tracked in active[:room]]
        if len(active) > room and height > 1:
            lines.append(Text(f"and {len(active) - room} more", style="dim"))
        # The cursor waits at the end of the last line, and a terminal writes ^C there: with no
        # room left, the line would break and the picture lose its place.
        lines.append(self._total(tally, min(columns.width, width - _CONNECTIONS - 1)))
        for line in lines:
            line.truncate(width, overflow="crop")
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def fit(self, text: str, width: int) -> str:
        """A text from elsewhere in ``width`` cells, safe to show."""
        text = figures.plain(text)
        if self._ascii:
            text = text.encode("ascii", "replace").decode("ascii")
        return figures.shorten(text, width, cells=cell_len, mark=self._mark)

    def _line(self, tracked: Tracked, columns: Columns) -> Text:
        progress, speed = tracked.progress, tracked.speed.value
        done, size = progress.done, progress.size
        name = self.fit(progress.name, columns.name)
        line = Text(name + " " * (columns.name - cell_len(name)))
        if columns.bar:
            full = columns.bar * done // size if size else 0
            full = columns.bar if size == 0 else min(columns.bar, full)
            line.append(" ").append(self._full * full, style="green")
            line.append(self._empty * (columns.bar - full), style="bright_black")
        line.append(f" {figures.percentage(done, size):>{_PERCENT}}")
        if columns.portion:
            line.append(f" {figures.portion(done, size):>{_PORTION}}")
        if columns.rate and progress.note:
            room = _RATE + (_LEFT + 1 if columns.left else 0)
            note = self.fit(progress.note, room)
            line.append(" " * (room - cell_len(note) + 1) + note, style="yellow")
        elif columns.rate:
            line.append(f" {figures.rate(speed):>{_RATE}}")
            if columns.left:
                left = figures.remaining(done, size, speed)
                line.append(f" {figures.duration(left):>{_LEFT}}", style="cyan")
        if columns.connections:
            line.append(f" {self._times}{progress.connections}", style="dim")
        return line

    def _total(self, tally: Tally, width: int) -> Text:
        line = Text(tally.counts(), style="bold")
        if tally.files["failed"]:
            line.stylize("red", line.plain.rindex(",") + 2)
        if tally.left:
            line.append(f", {tally.left}")
        parts = [
            figures.size(tally.moved),
            figures.rate(tally.speed),
            figures.duration(tally.elapsed),
        ]
        while parts and line.cell_len + 2 + len("  ".join(parts)) > width:
            parts.pop()
        right = "  ".join(parts)
        line.append(" " * max(2, width - line.cell_len - len(right)) + right)
        line.truncate(max(1, width), overflow="crop")
        return line
