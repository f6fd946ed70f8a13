"""The README's table of the matrix: `python -m tests.matrix.table` writes it anew."""

from __future__ import annotations

import re

from tests.crawl import PROJECT
from tests.matrix.test_matrix import FAMILIES

README = PROJECT / "README.md"
_PLACE = re.compile(r"(<!-- matrix: .*? -->\n).*(\n<!-- end of matrix -->)", re.DOTALL)


def table() -> str:
    """A line for each outcome of each family, with the faults that lead to it."""
    lines = ["| family | what a server or a disk does | what happens |", "|---|---|---|"]
    for family in FAMILIES:
        outcomes: dict[str, list[str]] = {}
        for case in family:
            outcomes.setdefault(case.then, []).append(case.what)
        for then, faults in outcomes.items():
            lines.append(f"| {family.title} | {'; '.join(dict.fromkeys(faults))} | {then} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """The README's text with the table as it is now."""
    text, count = _PLACE.subn(lambda match: match[1] + table() + match[2], readme)
    assert count == 1, "the README has no place for the table"
    return text


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
