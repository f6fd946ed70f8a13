"""The README's table of the matrix: `python -m tests.matrix.table` prints it."""

from __future__ import annotations

from tests.matrix.test_matrix import FAMILIES


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


if __name__ == "__main__":
    print(table())
