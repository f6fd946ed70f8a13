"""Run the program as users do, in a process of its own, and look at what it leaves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests import preload
from tests.memory import high_water_mark

PROJECT = preload.PROJECT
DEFAULTS = {"FETCHER_RETRY_BACKOFF": "0.05"}


@dataclass(frozen=True)
class CrawlResult:
    """What a process that has ended did."""

    returncode: int
    """Negative: the number of the signal that ended it."""
    stdout: str
    stderr: str
    seconds: float
    peak_rss: int
    """Bytes."""
    out: Path

    @cached_property
    def report(self) -> list[dict[str, Any]]:
        return read_report(self.out)

    @cached_property
    def by_name(self) -> dict[str, dict[str, Any]]:
        """The report's objects under their names."""
        return {row["name"]: row for row in self.report}


@dataclass
class Process:
    """What is known of a process that is not of :mod:`subprocess`."""

    pid: int
    returncode: int | None = None


def _start(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], streams: tuple[IO[bytes], ...]
) -> Process | subprocess.Popen[bytes]:
    """In a process group of its own."""
    stdin, stdout, stderr = streams
    if cwd == PROJECT and preload.can_start(command, env):
        descriptors = stdin.fileno(), stdout.fileno(), stderr.fileno()
        return Process(preload.preloaded().start(command, env, descriptors))
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
    )


class Crawl:
    """A running process; leaving the `with` block kills what is left of it and its children."""

    def __init__(
        self,
        command: Sequence[str],
        out: Path,
        env: Mapping[str, str],
        stdin: str,
        cwd: Path = PROJECT,
    ):
        self.out = out
        self._started = time.monotonic()
        self._peak_rss = 0
        with ExitStack() as files:
            self._stdout = files.enter_context(tempfile.TemporaryFile())
            self._stderr = files.enter_context(tempfile.TemporaryFile())
            given = files.enter_context(tempfile.TemporaryFile())
            given.write(stdin.encode())
            given.seek(0)
            self.process = _start(command, cwd, env, (given, self._stdout, self._stderr))
            self._files = files.pop_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return not self._reap()

    @property
    def stdout(self) -> str:
        """All that was written so far."""
        return _text(self._stdout.fileno())

    @property
    def stderr(self) -> str:
        return _text(self._stderr.fileno())

    def send_signal(self, number: signal.Signals) -> None:
        """To the process itself, not to its children."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 60) -> CrawlResult:
        """Until it ends by itself; after `timeout` seconds it is killed, and that is an error."""
        try:
            wait_for(self._reap, timeout, "the end of the process")
        except TimeoutError as error:
            self.kill()
            raise TimeoutError(f"{error}; standard error:\n{self.stderr}") from None
        assert self.process.returncode is not None
        return CrawlResult(
            returncode=self.process.returncode,
            stdout=self.stdout,
            stderr=self.stderr,
            seconds=time.monotonic() - self._started,
            peak_rss=self._peak_rss,
            out=self.out,
        )

    def kill(self) -> None:
        """SIGKILL for the process and its children, and wait for its end."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            wait_for(self._reap, 10, "the end of a killed process")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._files.close()

    def _reap(self) -> bool:
        """Whether the process has ended. Here alone it is waited for, for its use of memory."""
        if self.process.returncode is not None:
            return True
        # It is gone at the end, but only grows until then.
        self._peak_rss = max(self._peak_rss, high_water_mark(self.pid))
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._peak_rss = self._peak_rss or usage.ru_maxrss * 1024
        return True


def start_crawl(
    out: Path,
    urls: Path | str | None = None,
    url: str | None = None,
    settings: Mapping[str, str | int | float] | None = None,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    arguments: Mapping[str, str] | None = None,
    stdin: str = "",
) -> Crawl:
    """`scrapy crawl fetch` in the project's folder, for tests that send signals or look on.

    `settings` become `-s`, `arguments` (`shard`, `format`) `-a`, `args` stand at the end as they
    are; `env` is added to an environment without proxies.
    """
    given = {"urls": urls, "url": url, "out": out, **(arguments or {})}
    command = [sys.executable, "-m", "scrapy", "crawl", "fetch"]
    for name, value in given.items():
        if value is not None:
            command += ["-a", f"{name}={value}"]
    for name, setting in (DEFAULTS | dict(settings or {})).items():
        command += ["-s", f"{name}={setting}"]
    return Crawl([*command, *args], out, clean_environment(env), stdin)


def run_crawl(
    out: Path,
    urls: Path | str | None = None,
    url: str | None = None,
    settings: Mapping[str, str | int | float] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    args: Sequence[str] = (),
    arguments: Mapping[str, str] | None = None,
    stdin: str = "",
) -> CrawlResult:
    """The same from start to end. TimeoutError, with its log, after `timeout` seconds."""
    with start_crawl(out, urls, url, settings, env, args, arguments, stdin) as crawl:
        return crawl.wait(timeout)


def run_scrapy(
    *args: str, out: Path, env: Mapping[str, str] | None = None, timeout: float = 60
) -> CrawlResult:
    """Any other command: `run_scrapy("download", url, "--dir", str(out), out=out)`."""
    command = [sys.executable, "-m", "scrapy", *args]
    with Crawl(command, out, clean_environment(env), "") as crawl:
        return crawl.wait(timeout)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change a crawl: proxies, Scrapy's variables
    and certificates."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith("SCRAPY_")
        and name not in ("SSL_CERT_FILE", "SSL_CERT_DIR")
    }
    return kept | dict(extra or {})


def read_report(out: Path, name: str = "report.jsonl") -> list[dict[str, Any]]:
    """The objects of a report; none where it is missing."""
    path = out / name
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_list(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    """A list of (name, URL) as tab-separated values under the usual header."""
    with path.open("w", encoding="utf-8") as file:
        file.write("file_name\tcdn_link\n")
        file.writelines("\t".join(row) + "\n" for row in rows)
    return path


def wait_for(
    condition: Callable[[], object], timeout: float = 30, message: str = "the condition"
) -> None:
    """Ask again and again until it holds. TimeoutError names what did not come about."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s in vain for {message}")
        time.sleep(0.01)


def _text(descriptor: int) -> str:
    """All of a file that another process writes through the same offset, which stays as it is."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")
