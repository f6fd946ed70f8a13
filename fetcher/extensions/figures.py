"""Figures for people: sizes, rates, durations and names, as displays show them."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable

UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
UNKNOWN_TIME = "--:--"

_HOUR = 3600
_DAY = 24 * _HOUR
# Cc: control characters, and with them terminal escapes; Cs: surrogates, which no terminal's
# encoding has; Zl, Zp: they would break a line.
_REPLACED = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Cf: invisible, and among them are those that turn the direction of the text around.
_DROPPED = "Cf"


def plain(text: str) -> str:
    """A text from elsewhere, safe to show: nothing in it steers a terminal."""
    if text.isascii() and text.isprintable():
        return text
    shown = []
    for character in text:
        category = unicodedata.category(character)
        if category in _REPLACED:
            shown.append("\ufffd")
        elif category != _DROPPED:
            shown.append(character)
    return "".join(shown)


def size(count: float) -> str:
    """Bytes with their unit, at most 8 characters up to 1023 PiB: ``0 B``, ``1.5 KiB``."""
    power = _power(count)
    return f"{_figure(count, power)} {_unit(power)}"


def rate(speed: float) -> str:
    """Bytes a second with their unit, at most 10 characters."""
    return size(speed) + "/s"


def portion(done: int, total: int | None) -> str:
    """How much of how much, in one unit: ``1.2/10.0 GiB``; only the first where unknown."""
    if total is None:
        return size(done)
    power = _power(total)
    return f"{_figure(done, power)}/{_figure(total, power)} {_unit(power)}"


def percentage(done: int, total: int | None) -> str:
    """Whole percents, rounded down: 100 % is said only of what is whole."""
    if total is None:
        return ""
    return f"{100 if total == 0 else min(100, done * 100 // total)}%"


def duration(seconds: float | None) -> str:
    """``h:mm:ss``, from 100 hours on ``4d 05h``; at most 8 characters up to 27,000 years."""
    if seconds is None or not 0 <= seconds < 10_000_000 * _DAY:
        return UNKNOWN_TIME
    whole = int(seconds)
    if whole >= 100 * _DAY:
        return f"{whole // _DAY}d"
    if whole >= 100 * _HOUR:
        return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"
    return f"{whole // _HOUR}:{whole // 60 % 60:02}:{whole % 60:02}"


def remaining(done: int, total: int | None, speed: float) -> float | None:
    """Seconds until the rest is there; None where nobody can know."""
    if total is None or speed <= 0:
        return None
    return max(0, total - done) / speed


def shorten(text: str, width: int, *, cells: Callable[[str], int] = len, mark: str = "…") -> str:
    """A text of at most ``width`` cells, with the middle left out: names differ at both ends.

    :param cells: how wide a text is on the terminal.
    :param mark: what stands for the part left out.
    """
    if cells(text) <= width:
        return text
    room = width - cells(mark)
    if room < 0:
        return ""
    tail = _leading(text[::-1], room // 2, cells)[::-1]
    while tail and unicodedata.combining(tail[0]):
        tail = tail[1:]  # its letter was left out
    head = _leading(text, room - cells(tail), cells)
    return head + mark + tail


def _leading(text: str, width: int, cells: Callable[[str], int]) -> str:
    used = 0
    for index, character in enumerate(text):
        used += cells(character)
        if used > width:
            return text[:index]
    return text


def _power(count: float) -> int:
    power = 0
    # From 1023.5 on, the figure would be rounded to 1024.
    while count >= (1024 if power == 0 else 1023.5) and power < len(UNITS):
        count /= 1024
        power += 1
    return power


def _figure(count: float, power: int) -> str:
    if power == 0:
        return str(int(count))
    value = count / 1024**power
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _unit(power: int) -> str:
    return UNITS[power - 1] if power else "B"


class Speed:
    """Bytes a second over the last few seconds.

    :param window: seconds that the figure is smoothed over.
    """

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> None:
        """Note how many bytes there are in all at a time (seconds)."""
        samples = self._samples
        samples.append((now, total))
        while len(samples) > 2 and samples[1][0] <= now - self._window:
            samples.popleft()

    @property
    def value(self) -> float:
        """Bytes a second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return max(0, last - first) / (ended - began) if ended > began else 0.0
