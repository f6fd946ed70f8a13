"""Puts tables into the README, each between the two comments that bear its case's name, and draws
all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

CHART = Path(__file__).with_name("results.svg")

_PLACE = r"(<!-- benchmark: {} -->\n)(.*?)(<!-- end of benchmark -->)"
_ROW = re.compile(r"^\| ([^|]+) \| ([0-9.]+) \|", re.MULTILINE)

_WIDTH, _LEFT, _BAR, _LINE, _GAP = 720, 200, 430, 18, 30

Measured = Sequence[tuple[str, float]]
"""Programs and the median of their wall times in seconds."""


def update(path: Path, name: str, table: str, chart: Path = CHART) -> None:
    """Exchange the table of a case, and draw all of them anew.

    :raises ValueError: the README has no place for it.
    """
    text = path.read_text("utf-8")
    place = re.compile(_PLACE.format(re.escape(name)), re.DOTALL)
    if not place.search(text):
        raise ValueError(f"{path} has no place for {name}")
    text = place.sub(lambda found: f"{found[1]}{table}\n{found[3]}", text, count=1)
    path.write_text(text, "utf-8")
    chart.write_text(draw(dict(tables(text))), "utf-8")


def tables(text: str) -> Iterator[tuple[str, Measured]]:
    """The cases of a README that have been measured."""
    for found in re.finditer(_PLACE.format("([a-z]+)"), text, re.DOTALL):
        rows = [(row[1], float(row[2])) for row in _ROW.finditer(found[3])]
        if rows:
            yield found[2], rows


def draw(cases: dict[str, Measured]) -> str:
    """An SVG of bars: seconds of each program, the cases one below the other."""
    parts: list[str] = []
    y = 0
    for name, rows in cases.items():
        y += _GAP
        parts.append(f'<text x="4" y="{y}" font-weight="bold">{escape(name)}, seconds</text>')
        longest = max(seconds for _, seconds in rows)
        for program, seconds in rows:
            y += _LINE
            width = max(1, round(_BAR * seconds / longest))
            colour = "#2f6f9f" if program.startswith("fetcher") else "#b9c4cc"
            parts.append(
                f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{escape(program)}</text>'
                f'<rect x="{_LEFT}" y="{y - 12}" width="{width}" height="14" fill="{colour}"/>'
                f'<text x="{_LEFT + width + 6}" y="{y}">{seconds:.2f}</text>'
            )
    height = y + _GAP // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
