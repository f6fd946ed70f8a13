"""The real Scrapyd, as a user starts it: in a folder of its own, with the example configuration."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.crawl import PROJECT, clean_environment, wait_for

EXAMPLE = PROJECT / "inputs/scrapyd/scrapyd.conf"


class Scrapyd:
    """Runs until it is left, and what it has started with it.

    :param folder: its own; made where it is missing.
    :param settings: in place of those of the example.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        config = ConfigParser()
        config.read(EXAMPLE, "utf-8")
        own = {"http_port": str(self.port), "poll_interval": "0.1", **(settings or {})}
        config["scrapyd"].update(own)
        with (folder / "scrapyd.conf").open("w", encoding="utf-8") as file:
            config.write(file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, service: str, **parameters: str) -> dict[str, Any]:
        """:raises OSError: it does not answer."""
        return self._ask("GET", f"/{service}.json?{urlencode(parameters)}")

    def post(self, service: str, *fields: tuple[str, str]) -> dict[str, Any]:
        return self._ask("POST", f"/{service}.json", urlencode(fields))

    def schedule(self, *more: tuple[str, str], **arguments: str) -> str:
        """A job of the spider ``fetch``; its id."""
        fields = (("project", "fetcher"), ("spider", "fetch"), *arguments.items(), *more)
        return str(self.post("schedule", *fields)["jobid"])

    def cancel(self, job: str) -> None:
        self.post("cancel", ("project", "fetcher"), ("job", job))

    def is_idle(self) -> bool:
        """Whether there is no job that has not ended."""
        return not self.jobs("pending") and not self.jobs("running")

    def jobs(self, state: str) -> dict[str, dict[str, Any]]:
        """Those that are ``pending``, ``running`` or ``finished``, by their ids."""
        return {job["id"]: job for job in self.get("listjobs", project="fetcher")[state]}

    def wait_until(self, state: str, job: str) -> None:
        wait_for(lambda: job in self.jobs(state), 30, f"{job} to be {state}: {self.output}")

    def wait_for_one(self, state: str) -> dict[str, Any]:
        """The only job of a state, once there is one."""
        wait_for(lambda: self.jobs(state), 30, f"a {state} job: {self.output}")
        (job,) = self.jobs(state).values()
        return job

    def log(self, job: str) -> str:
        return (self.folder / "logs/fetcher/fetch" / f"{job}.log").read_text("utf-8")

    def items(self, job: str) -> bytes:
        return (self.folder / "items/fetcher/fetch" / f"{job}.jl").read_bytes()

    @property
    def output(self) -> str:
        """What Scrapyd itself has written."""
        return (self.folder / "output").read_text("utf-8", "replace")

    def take_projects(self, other: Scrapyd) -> None:
        """Before it is started: have what has been deployed to another."""
        shutil.copytree(other.folder / "eggs", self.folder / "eggs")

    # --- Start and end ---------------------------------------------------------------------

    def start(self) -> None:
        """Start it; it is ready after :meth:`wait_until_up`."""
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scrapyd"],
                cwd=self.folder,
                env=clean_environment({"HOME": str(self.folder)}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def wait_until_up(self) -> None:
        """:raises RuntimeError: it did not start."""
        wait_for(self._is_up, 30, "Scrapyd")

    def stop(self) -> None:
        """Kill it and its jobs."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"Scrapyd does not start: {self.output}")
        try:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/daemonstatus.json")
            return connection.getresponse().status in (200, 401)
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        try:
            connection.request(method, path, body, headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer
