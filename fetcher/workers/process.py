"""The parent's end of a child: a process that is given a job, heard, and told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess  # nosec B404 - starts nothing but this program itself
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import IO, cast

from fetcher.errors import FetchError
from fetcher.workers.channel import Event, Job

BLOCK = 1 << 16
"""Bytes that are read or written at a time."""

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fetcher.workers.child import main; main()"
)


class Child:
    """A running process.

    :param job: what it is to do; a descriptor in it is the child's, too.
    :raises FetchError: it cannot be started.
    """

    def __init__(self, job: Job) -> None:
        self.status: int | None = None
        """What it has said of its end; None while, or where, it has not."""
        self.usage: str | None = None
        self.reason: str | None = None
        """Why its crawl has ended, see :class:`Event`."""
        self.last_words = ""
        """Once it is closed: its signal, or the last line of its standard error."""
        self._listening = True
        self._closing = Lock()
        self._rest = b""
        if not sys.executable:
            raise FetchError("there is no Python interpreter to run the downloads in")
        try:
            self._start(job)
        except OSError as error:
            raise FetchError(f"no process can be started: {error.strerror}") from error
        self._job = memoryview(json.dumps(job).encode() + b"\n")
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)

    def _start(self, job: Job) -> None:
        with ExitStack() as stack:
            self._complaints: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            # It finds what this process finds, wherever that is; and -P: nothing else.
            command = [sys.executable, "-P", "-c", _MAIN, json.dumps(sys.path)]
            with _no_sigint():
                self._process = subprocess.Popen(  # noqa: S603 # nosec B603 - our own code
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._complaints,
                    pass_fds=(job["stdin"],) if "stdin" in job else (),
                )
            stack.pop_all()

    @property
    def stdin(self) -> int:
        """The descriptor that the job is written to; -1 once it is released."""
        pipe = cast("IO[bytes]", self._process.stdin)
        return -1 if pipe.closed else pipe.fileno()

    @property
    def stdout(self) -> int:
        """The descriptor that its events come from."""
        return cast("IO[bytes]", self._process.stdout).fileno()

    def write(self) -> bool:
        """Write some of the job; whether there is more."""
        try:
            while self._job:
                self._job = self._job[os.write(self.stdin, self._job[:BLOCK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # It has died, which is noticed elsewhere.
            return False
        return False

    def read(self) -> list[Event] | None:
        """What it has said meanwhile; None when it says no more."""
        try:
            data = os.read(self.stdout, BLOCK)
        except BlockingIOError:
            return []
        if not data:
            self._listening = False
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        events: list[Event] = [json.loads(line) for line in lines]
        for event in events:
            if event["kind"] == "done":
                self.status, self.usage = event["status"], event.get("usage")
                self.reason = event.get("reason")
        return events

    def release(self) -> None:
        """The sign to stop."""
        with suppress(OSError):
            cast("IO[bytes]", self._process.stdin).close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Wait for its end, and close what is open; again, nothing. From any thread."""
        with self._closing:
            if not self._complaints.closed:
                self._close()

    def _close(self) -> None:
        if self.status is None and self._listening:
            # Nobody hears it any more.
            self.kill()
        self.release()
        code = self._process.wait()
        cast("IO[bytes]", self._process.stdout).close()
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        self._complaints.close()
        if code < 0:
            self.last_words = f"it was ended by signal {-code}"
        else:
            self.last_words = lines[-1] if lines else f"it ended with status {code}"


@contextmanager
def _no_sigint() -> Iterator[None]:
    """Who is started here is deaf to Ctrl-C, until it has decided what to do about it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
