"""What a crawl is to do, told from the spider's arguments; checked before anything is started."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fetcher.config import Config, Settings
from fetcher.contract import LISTED
from fetcher.disk.folding import folds_names
from fetcher.disk.ledger import Ledger
from fetcher.errors import DiskError, InvalidListError, InvalidSettingError, InvalidURLError
from fetcher.lists import (
    STDIN,
    BadRow,
    ListSource,
    ListStream,
    Row,
    check_format,
    list_name,
    make_row,
    open_list,
    open_sums,
)
from fetcher.queue.plan import QueuePlan, make_plan
from fetcher.rules.shards import Shard
from fetcher.rules.urls import check_url, looks_like_url
from fetcher.spiders.credentials import Credentials
from fetcher.spiders.remote import RemoteFile

REPORT = "report.jsonl"

ARGUMENTS = ("urls", "url", "out", "format", "shard", "checksums")
"""The spider's arguments (``-a``)."""

JOB = "_job"
"""What Scrapyd adds: the job's id."""

NO_LIST = "addresses"
"""What the queue is called where there is no list."""

LIST, SUMS = LISTED


@dataclass(frozen=True)
class Assignment:
    """What to fetch, and where to.

    :param rows: given by the argument ``url``.
    :param source: the list of the argument ``urls``, open unless it lies on a server.
    :param format: that list's, where it was given.
    :param sums: the file of the argument ``checksums``, open unless it lies on a server.
    :param out: the output folder, absolute; it exists.
    :param credentials: logins and cookies that the user keeps in files.
    :param folds_names: there, names that differ only in case or Unicode form are one.
    :param shard: of all these, only the files of this shard; None for all.
    :param headers: names and values for the requests to each row's origin; those of the row itself
        go before.
    :param queue: through which all of these go to several processes; None for the list itself.
    """

    rows: tuple[Row | BadRow, ...]
    source: ListSource | RemoteFile | None
    out: Path
    credentials: Credentials
    folds_names: bool
    shard: Shard | None = None
    headers: tuple[tuple[str, str], ...] = ()
    format: str | None = None
    sums: ListStream | RemoteFile | None = None
    queue: QueuePlan | None = None

    @property
    def report(self) -> Path:
        """Where the report belongs."""
        share = share_of(self.shard, self.queue)
        return self.out / (f"report-{share}.jsonl" if share else REPORT)

    def close(self) -> None:
        """Close what is open of it; who does it has done so when it ends."""
        for each in (self.source, self.sums):
            if isinstance(each, ListSource | ListStream):
                each.close()


def prepare(
    arguments: Mapping[str, str],
    settings: Settings,
    rows: tuple[Row | BadRow, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
) -> Assignment:
    """Check arguments and settings, open the list and make the output folder.

    :param arguments: of the spider.
    :param rows: to fetch before those of the arguments.
    :param headers: for all rows, see :class:`Assignment`.
    :raises FetchError: one sentence that says which is wrong.
    """
    config = Config.from_settings(settings)
    unknown = [name for name in arguments if name not in ARGUMENTS and not name.startswith("_")]
    if unknown:
        raise InvalidListError(
            f"unknown argument {unknown[0]!r}: the arguments are {', '.join(ARGUMENTS)}"
        )
    shard = _shard(arguments.get("shard"))
    _check_job_folder(settings.get("JOBDIR"))
    credentials = Credentials(config.cookies)
    rows += tuple(make_row(0, {"url": url}) for url in arguments.get("url", "").split())
    location, format_ = arguments.get("urls"), arguments.get("format")
    checksums = arguments.get("checksums")
    if not location and not rows:
        raise InvalidListError("nothing to fetch: give a list by -a urls=FILE, or -a url=ADDRESS")
    if location == checksums == STDIN:
        raise InvalidListError("standard input is either the list or the checksums, not both")
    if config.queue:
        _check_queue(shard, STDIN in (location, checksums))
    listed, summed = _address(location, LIST), _address(checksums, SUMS)
    if JOB in arguments:
        for kind, given in ((LIST, location), (SUMS, checksums)):
            _check_for_job(kind, given)
    if listed:
        check_format(listed, format_)
    with ExitStack() as opened:
        source = sums = None
        if location and not listed:
            source = opened.enter_context(open_list(location, format_))
        if checksums and not summed:
            sums = opened.enter_context(open_sums(checksums))
        name = list_name(listed) if listed else source.name if source else ""
        queue = None
        if config.queue:
            queue = make_plan(
                config.queue, config.queue_name or name or NO_LIST, config.queue_lease
            )
        out = Path(arguments.get("out") or Path(config.output_dir, name)).absolute()
        make_folder(out)

        def remote(address: str, kind: str) -> RemoteFile:
            return RemoteFile(
                address, kind, out, config, credentials, share_of(shard, queue), headers
            )

        assignment = Assignment(
            rows,
            remote(listed, LIST) if listed else source,
            out,
            credentials,
            folds_names(out),
            shard,
            headers,
            format_,
            remote(summed, SUMS) if summed else sums,
            queue,
        )
        if assignment.report.is_dir():
            raise DiskError(f"a folder stands where the report belongs: remove {assignment.report}")
        opened.pop_all()
    return assignment


def _address(location: str | None, kind: str) -> str | None:
    """The location where that is an address.

    :raises InvalidListError: it is one that cannot be used.
    """
    if not location or not looks_like_url(location):
        return None
    try:
        return check_url(location)
    except InvalidURLError as error:
        raise InvalidListError(f"the {kind} {error.message}") from error


def _check_for_job(kind: str, location: str | None) -> None:
    """:raises InvalidListError: it is nothing that can be found from Scrapyd's folder."""
    if not location or looks_like_url(location):
        return
    if location == STDIN:
        raise InvalidListError(f"a job has no standard input: give it the {kind}'s path")
    if not Path(location).is_absolute() and not Path(location).exists():
        raise InvalidListError(
            f"the {kind} {location!r} does not exist in {Path.cwd()}: a job's relative paths count "
            "from Scrapyd's folder, give the whole path"
        )


def _shard(text: str | None) -> Shard | None:
    if not text:
        return None
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise InvalidListError(str(error)) from error


def _check_queue(shard: Shard | None, piped: bool) -> None:
    """:raises FetchError: what is asked for cannot go through a queue."""
    if shard is not None:
        raise InvalidSettingError(
            "FETCHER_QUEUE and shard both share the list out: leave one of them away"
        )
    if piped:
        raise InvalidListError(
            "with FETCHER_QUEUE a list may have to be read twice, which standard input cannot: "
            "give a file or an address"
        )


def share_of(shard: Shard | None, queue: QueuePlan | None) -> str:
    """What is in the names of files that processes over one list do not share; or ""."""
    return str(shard) if shard is not None else queue.worker if queue is not None else ""


def _check_job_folder(folder: str | None) -> None:
    """Scrapy reads pickles from there, which are programs: they must be from nobody else.

    :raises DiskError: somebody else may have written them.
    """
    if not folder:
        return
    path = Path(folder).absolute()
    try:
        # It also holds the logins of the rows that wait.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (path, *path.rglob("*")):
            found = each.lstat()
            if found.st_uid not in (os.geteuid(), 0) or (
                found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)
            ):
                raise DiskError(
                    f"the job folder {path} is not safe, others may write to {each}: take that "
                    "right from them (chmod go-w), or choose another JOBDIR"
                )
    except OSError as error:
        raise DiskError(
            f"the job folder {path} cannot be used: {error.strerror}; choose another JOBDIR"
        ) from error


def make_folder(out: Path) -> None:
    """Make the output folder, and in it the memory of what was completed.

    :raises DiskError: it cannot be made or used.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"the output folder {out} cannot be made: {error.strerror}; choose another"
        ) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise DiskError(
            f"the output folder {out} cannot be written to: change its mode, or choose another"
        )
    Ledger(out).close()
