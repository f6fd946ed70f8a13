"""Whole commands, timed in turn: A B A B ..., so that a drifting machine is fair to both."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One finished command: wall, user and system seconds, peak resident memory in bytes."""

    wall: float
    user: float
    system: float
    peak: int


@dataclass(frozen=True)
class Contender:
    """A program that does a case.

    :param name: for the table.
    :param command: its arguments.
    :param check: called after each run; raises when the run did not do its job.
    :param clean: called before each run.
    """

    name: str
    command: Sequence[str | Path]
    check: Callable[[], None]
    clean: Callable[[], None]


def run(contender: Contender, folder: Path) -> Run:
    """Time one run.

    :raises RuntimeError: the command failed.
    """
    contender.clean()
    began = time.monotonic()
    process = subprocess.Popen(
        contender.command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{contender.name} ended with status {process.returncode}")
    contender.check()
    return Run(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)


def paired(contenders: Sequence[Contender], rounds: int, folder: Path) -> dict[str, list[Run]]:
    """Each contender in turn, ``rounds`` times after one round that does not count."""
    results: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            result = run(contender, folder)
            if number:
                results[contender.name].append(result)
    return results


def table(results: dict[str, list[Run]]) -> str:
    """A Markdown table: medians, and the median of the first one's wall time over each other's."""
    first = next(iter(results.values()))
    lines = [
        "| program | wall s | user s | system s | peak MiB | ratio of wall times (min to max) |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        ratios = sorted(mine.wall / theirs.wall for mine, theirs in zip(first, runs, strict=True))
        median = statistics.median
        ratio = (
            "1"
            if runs is first
            else (f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        )
        lines.append(
            f"| {name} | {median(r.wall for r in runs):.2f} | {median(r.user for r in runs):.2f} "
            f"| {median(r.system for r in runs):.2f} "
            f"| {median(r.peak for r in runs) / 2**20:.0f} | {ratio} |"
        )
    return "\n".join(lines)
