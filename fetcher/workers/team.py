"""Several processes that do one assignment together, each over a shard of its list."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings

from fetcher.config import Config
from fetcher.errors import InvalidListError, InvalidSettingError
from fetcher.lists import make_row
from fetcher.lists.formats import format_of_ending
from fetcher.lists.stream import STDIN
from fetcher.rules.shards import Shard
from fetcher.spiders.assignment import prepare
from fetcher.workers.channel import Job
from fetcher.workers.limits import Limits
from fetcher.workers.spool import Spool, reads_once
from fetcher.workers.supervisor import Supervisor

MUTED = (
    "fetcher.extensions.progress.Progress",
    "fetcher.extensions.sums.Sums",
    "fetcher.extensions.retry_list.RetryList",
    "fetcher.extensions.metrics.Metrics",
)
"""Extensions that work in the parent, over the files of all."""


READ = ("urls", "checksums")
"""Arguments that say where something to read lies."""


class Team:
    """The processes before they are started; the call is checked as for one.

    :param job: arguments, rows and headers of the whole.
    :param settings: of the parent; what its command line gives is given on.
    :param count: how many; at most what :class:`Limits` allow.
    :raises FetchError: one sentence that says what is wrong.

    :ivar assignment: what they do together.
    :ivar jobs: what each of them does.
    """

    def __init__(self, job: Job, settings: BaseSettings, count: int) -> None:
        self._spool: Spool | None = None
        if Config.from_settings(settings).queue:
            raise InvalidSettingError(
                "FETCHER_QUEUE and --processes both share the list out: leave one of them away, or "
                "start scrapy crawl fetch as often as you want"
            )
        limits = Limits(settings).of_each(count)
        rows = tuple(make_row(0, fields) for fields in job["rows"])
        with ExitStack() as stack:
            arguments = dict(job["arguments"])
            for name in READ:
                location = arguments.get(name, "")
                if not reads_once(location):
                    continue
                if self._spool is not None:
                    raise InvalidListError(
                        "the list and the checksums cannot both come by pipes where several "
                        "processes read them: save one of them in a file"
                    )
                self._spool = stack.enter_context(Spool(location, count + 1))
                _read_from(self._spool.descriptors.pop())
                arguments[name] = STDIN
                if name == "urls" and (known := format_of_ending(location)):
                    arguments["format"] = known
            self.assignment = prepare(arguments, settings, rows, tuple(job["headers"]))
            # Each of them opens it anew.
            self.assignment.close()
            stack.pop_all()
        arguments["out"] = str(self.assignment.out)
        self.jobs = [
            self._job({**job, "arguments": arguments}, settings, own, Shard(number, count))
            for number, own in enumerate(limits, 1)
        ]

    def start(self) -> Supervisor:
        """Start them, once."""
        try:
            return Supervisor(self.jobs)
        finally:
            # From here on it is theirs.
            if self._spool is not None:
                self._spool.close()

    def _job(self, job: Job, settings: BaseSettings, limits: dict[str, Any], shard: Shard) -> Job:
        config = Config.from_settings(settings)
        own: dict[str, Any] = {**_given(settings), **limits, "FEEDS": {}}
        if folder := settings.get("JOBDIR"):
            own["JOBDIR"] = str(Path(folder) / f"{shard.number}-of-{shard.count}")
        result: Job = {
            **job,
            "settings": own,
            "arguments": job["arguments"] | {"shard": f"{shard.number}/{shard.count}"},
            "muted": [*MUTED],
            "progress": config.progress != "none" or config.metrics_port is not None,
        }
        if self._spool is not None:
            result["stdin"] = self._spool.descriptors[shard.number - 1]
        return result


def _read_from(descriptor: int) -> None:
    """Let what is open there be standard input."""
    os.dup2(descriptor, 0)
    os.close(descriptor)


def _given(settings: BaseSettings) -> dict[str, Any]:
    """The settings of the command line; the others it finds where this process has found them."""
    least = SETTINGS_PRIORITIES["cmdline"]
    return {
        name: value.copy_to_dict() if isinstance(value, BaseSettings) else value
        for name, value in settings.items()
        if (settings.getpriority(name) or 0) >= least
    }
