"""Whole commands, timed in turn: A B A B ..., so that a drifting machine is fair to both."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import launch


class UnfitError(Exception):
    """A program did not do its job; it is left out from then on."""


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
    :param check: called after each run; raises :class:`UnfitError` when the run did not do its job.
    :param clean: called before each run.
    :param env: of the environment, what is its own.
    """

    name: str
    command: Sequence[str | Path]
    check: Callable[[], None]
    clean: Callable[[], None]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Results:
    """What was measured.

    :ivar runs: by the contender's name, one a round; the first is this project's.
    :ivar unfit: why a contender is not among them.
    """

    runs: dict[str, list[Run]]
    unfit: dict[str, str]


def run(contender: Contender, folder: Path, limit: float) -> Run:
    """Time one run.

    :param limit: seconds after which it is killed.
    :raises UnfitError: the command failed, or did something else.
    """
    contender.clean()
    launched = subprocess.run(
        [sys.executable, "-I", launch.__file__, str(limit), *contender.command],
        cwd=folder,
        env={**os.environ, **contender.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    status, *figures = json.loads(launched.stdout)
    if status == -signal.SIGKILL:
        raise UnfitError(f"not done after {limit:.0f} s")
    if status:
        raise UnfitError(f"ended with status {status}")
    contender.check()
    return Run(*figures)


def paired(contenders: Sequence[Contender], rounds: int, folder: Path, limit: float) -> Results:
    """Each contender in turn, ``rounds`` times after one round that does not count.

    :raises UnfitError: it is the first one that does not do its job.
    """
    results = Results({contender.name: [] for contender in contenders}, {})
    for number in range(rounds + 1):
        for contender in contenders:
            if contender.name in results.unfit:
                continue
            try:
                result = run(contender, folder, limit)
            except UnfitError as error:
                if contender is contenders[0]:
                    raise
                results.unfit[contender.name] = str(error)
                del results.runs[contender.name]
                continue
            if number:
                results.runs[contender.name].append(result)
    return results


def ratio(first: Sequence[Run], others: Sequence[Run]) -> tuple[float, float, float]:
    """Median, smallest and largest of the first one's wall time over the other's, pair by pair."""
    found = sorted(one.wall / other.wall for one, other in zip(first, others, strict=True))
    return statistics.median(found), found[0], found[-1]


def table(results: Results) -> str:
    """A Markdown table: medians, and the ratio of the first one's wall time to each other's."""
    first = next(iter(results.runs.values()))
    lines = [
        "| program | wall s | user s | system s | peak MiB | ratio of wall times (min to max) |",
        "|---|---|---|---|---|---|",
    ]
    median = statistics.median
    for name, runs in results.runs.items():
        told = "1" if runs is first else "{:.2f} ({:.2f} to {:.2f})".format(*ratio(first, runs))
        lines.append(
            f"| {name} | {median(r.wall for r in runs):.2f} | {median(r.user for r in runs):.2f} "
            f"| {median(r.system for r in runs):.2f} "
            f"| {median(r.peak for r in runs) / 2**20:.0f} | {told} |"
        )
    lines += [f"| {name} | {why} | | | | |" for name, why in results.unfit.items()]
    return "\n".join(lines)
