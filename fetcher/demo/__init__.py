"""The demonstration: servers with faults, a crawl that is interrupted once, and a verdict."""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess  # nosec B404
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fetcher.demo.files import DemoFile, demo_files, is_same, write_list
from fetcher.demo.ftp_server import FTPDemoServer
from fetcher.demo.http_server import HTTPDemoServer
from fetcher.demo.sftp_server import SFTPDemoServer

RUN_TIMEOUT = 9.0
"""Seconds a run may take; both take about four together."""
STOP_TIMEOUT = 3.0
"""Seconds an interrupted run may take to end."""

Row = dict[str, Any]
"""A line of the report."""


class DemoServer(Protocol):
    """What a server of the demonstration offers; it runs from its making on."""

    def url(self, name: str) -> str: ...

    def settings(self, folder: Path) -> Mapping[str, str]:
        """What the crawl has to be told about this server; files for that go into ``folder``."""

    def close(self) -> None: ...


SERVERS: dict[str, Callable[[Sequence[DemoFile]], DemoServer]] = {
    "http": HTTPDemoServer,
    "ftp": FTPDemoServer,
    "sftp": SFTPDemoServer,
}
"""By the protocol that the files name."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file over both runs; the figures are their sums, in bytes and seconds.

    :param special: its protocol and what is special about it, in a few words.
    """

    name: str
    special: str
    statuses: tuple[str, ...]
    size: int | None
    resumed: int
    received: int
    connections: int
    retries: int
    seconds: float
    right: bool
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of it all.

    :param stopped_in: seconds the interrupted run took to end; None when it was not interrupted.
    :param problems: what went wrong, a sentence each; empty when all is right.
    """

    outcomes: list[Outcome]
    stopped_in: float | None
    problems: list[str]


def demonstrate(
    folder: Path, options: Sequence[str], project: Path | None, say: Callable[[str], None]
) -> Verdict:
    """Serve, crawl, interrupt, crawl again, compare.

    :param folder: where everything goes: what is served, the list, what is fetched, the log.
    :param options: further options of ``scrapy crawl``.
    :param project: the folder of the project; None for the current one.
    :param say: takes a line for the reader now and then.
    :raises OSError: when the files cannot be written or served.
    """
    served, out, log = folder / "served", folder / "fetched", folder / "crawl.log"
    served.mkdir(parents=True)
    files = [file.made(served) for file in demo_files()]
    last = files[-1]
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        settings: dict[str, str] = {}
        for protocol in dict.fromkeys(file.protocol for file in files):
            here = [file for file in files if file.protocol == protocol]
            server = stack.enter_context(closing(SERVERS[protocol](here)))
            urls.update({file.name: server.url(file.name) for file in here})
            settings.update(server.settings(folder))
        write_list(folder / "list.tsv", files, urls)
        command = _command(folder / "list.tsv", out, log, settings, options)
        say(f"Fetching {len(files)} files from servers on this machine ...")
        with _crawl(command, project, folder, log) as first:
            stopped_in = _interrupt(first, last, [out / file.name for file in files[:-1]])
        reports = [_report(out)]
        if stopped_in is not None:
            say(f"Interrupted in the middle of {last.name}; running the same command again ...")
        last.faults.release()
        with _crawl(command, project, folder, log) as second:
            in_time = _wait(second, RUN_TIMEOUT)
        reports.append(_report(out))
    outcomes = [outcome(file, out / file.name, reports) for file in files]
    problems = _problems_of_runs(first.returncode, second.returncode, stopped_in is not None)
    if not in_time:
        problems.append(f"the second run did not end within {RUN_TIMEOUT:.0f} seconds")
    return Verdict(outcomes, stopped_in, problems + _problems_of_files(outcomes, last.name))


def outcome(file: DemoFile, path: Path, reports: Sequence[dict[str, Row]]) -> Outcome:
    """What the reports of all runs say of one file, and whether ``path`` holds it."""
    rows = [report[file.name] for report in reports if file.name in report]
    final = rows[-1] if rows else {}
    error = final.get("error") or {}
    return Outcome(
        name=file.name,
        special=f"{file.protocol}, {file.special}",
        statuses=tuple(_status(row) for row in rows),
        size=final.get("size"),
        resumed=sum(row["resumed"] for row in rows),
        received=sum(row["received"] for row in rows),
        connections=max((row["connections"] for row in rows), default=0),
        retries=sum(row["retries"] for row in rows),
        seconds=sum(row["seconds"] for row in rows),
        right=is_same(file, path),
        error=error.get("message") if rows else "no report of it",
    )


def _status(row: Row) -> str:
    stopped = (row.get("error") or {}).get("type") == "Stopped"
    return "stopped" if stopped else str(row["status"])


def _problems_of_runs(first: int, second: int, interrupted: bool) -> list[str]:
    problems = []
    if not interrupted:
        problems.append(f"the first run was over (status {first}) before it could be interrupted")
    elif first != 1:
        problems.append(f"the interrupted run ended with status {first} instead of 1")
    if second != 0:
        problems.append(f"the second run ended with status {second}")
    return problems


def _problems_of_files(outcomes: Sequence[Outcome], interrupted: str) -> list[str]:
    problems = []
    for file in outcomes:
        if file.error is not None:
            problems.append(f"{file.name}: {file.error}")
        elif not file.right:
            problems.append(f"{file.name}: what was fetched is not what was served")
        elif file.name == interrupted and not file.resumed:
            problems.append(f"{file.name}: begun anew instead of resumed")
    return problems


def _command(
    urls: Path, out: Path, log: Path, servers: Mapping[str, str], options: Sequence[str]
) -> list[str]:
    """One run's; of a setting that is given twice, the later value counts: the user's."""
    settings = {
        "FETCHER_PROGRESS": "none",
        "FETCHER_IF_EXISTS": "skip",
        "FETCHER_RETRY_BACKOFF": "0.2",
        "LOG_FILE": str(log),
        **servers,
    }
    command = [sys.executable, "-m", "scrapy", "crawl", "fetch"]
    command += ["-a", f"urls={urls}", "-a", f"out={out}"]
    for name, value in settings.items():
        command += ["-s", f"{name}={value}"]
    return [*command, *options]


@contextmanager
def _crawl(
    command: Sequence[str], project: Path | None, home: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the crawl; it has ended, one way or the other, when the block is left."""
    # The servers are on this machine: no proxy knows them, and what ~/.ssh and the SSH agent hold
    # is not for them. Python packages that are installed below the user's home stay in sight.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "SSH_AUTH_SOCK"
    }
    environment |= {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}
    with log.open("ab") as stream:
        # The demonstration runs this program itself.
        process = subprocess.Popen(  # noqa: S603 # nosec B603
            command,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            process_group=0,  # a Ctrl-C at the terminal is for the demonstration to pass on
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            if not _wait(process, STOP_TIMEOUT):
                process.kill()
                process.wait()


def _interrupt(
    process: subprocess.Popen[bytes], last: DemoFile, others: Sequence[Path]
) -> float | None:
    """Send SIGINT when the last file is in the middle and the others are there.

    Gives the seconds until the process ended; None when it was never the moment.
    """
    deadline = time.monotonic() + RUN_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if last.faults.held.is_set() and all(path.exists() for path in others):
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _wait(process, STOP_TIMEOUT)
            return time.monotonic() - began
        time.sleep(0.02)
    return None


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ended in time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _report(out: Path) -> dict[str, Row]:
    """The rows of the run that ended last, by file name."""
    path = out / "report.jsonl"
    if not path.exists():
        return {}
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a run that had to be killed while it wrote: the file has no report
        rows[row["name"]] = row
    return rows
