"""What a crawl is to do, told from the spider's arguments; checked before anything is started."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fetcher.config import Config, Settings
from fetcher.disk.folding import folds_names
from fetcher.disk.ledger import Ledger
from fetcher.errors import DiskError, InvalidListError, InvalidURLError
from fetcher.lists import (
    BadRow,
    ListSource,
    Row,
    check_format,
    list_name,
    make_row,
    open_list,
)
from fetcher.rules.shards import Shard
from fetcher.rules.urls import check_url, looks_like_url
from fetcher.spiders.credentials import Credentials
from fetcher.spiders.remote import RemoteFile

REPORT = "report.jsonl"

ARGUMENTS = ("urls", "url", "out", "format", "shard")
"""The spider's arguments (``-a``); Scrapyd adds ``_job``."""


@dataclass(frozen=True)
class Assignment:
    """What to fetch, and where to.

    :param rows: given by the argument ``url``.
    :param source: the list of the argument ``urls``, open, where it is on this machine.
    :param remote: that list where it lies on a server.
    :param format: that list's, where it was given.
    :param out: the output folder, absolute; it exists.
    :param credentials: logins and cookies that the user keeps in files.
    :param folds_names: there, names that differ only in case or Unicode form are one.
    :param shard: of all these, only the files of this shard; None for all.
    :param headers: names and values for the requests to each row's origin; those of the row itself
        go before.
    """

    rows: tuple[Row | BadRow, ...]
    source: ListSource | None
    out: Path
    credentials: Credentials
    folds_names: bool
    shard: Shard | None = None
    headers: tuple[tuple[str, str], ...] = ()
    remote: RemoteFile | None = None
    format: str | None = None

    @property
    def report(self) -> Path:
        """Where the report belongs."""
        return self.out / (REPORT if self.shard is None else self.shard.report)


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
    if not location and not rows:
        raise InvalidListError("nothing to fetch: give a list by -a urls=FILE, or -a url=ADDRESS")
    address = _address(location, format_)
    source = open_list(location, format_) if location and not address else None
    name = list_name(address) if address else source.name if source else ""
    out = Path(arguments.get("out") or Path(config.output_dir, name)).absolute()
    try:
        make_folder(out)
        remote = None
        if address:
            remote = RemoteFile(address, "list", out, config, credentials, shard, headers)
        assignment = Assignment(
            rows, source, out, credentials, folds_names(out), shard, headers, remote, format_
        )
        if assignment.report.is_dir():
            raise DiskError(f"a folder stands where the report belongs: remove {assignment.report}")
    except BaseException:
        if source is not None:
            source.close()
        raise
    return assignment


def _address(location: str | None, format_: str | None) -> str | None:
    """The location of the list where that is an address.

    :raises InvalidListError: it is one that cannot be used.
    """
    if not location or not looks_like_url(location):
        return None
    check_format(location, format_)
    try:
        return check_url(location)
    except InvalidURLError as error:
        raise InvalidListError(f"the list {error.message}") from error


def _shard(text: str | None) -> Shard | None:
    if not text:
        return None
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise InvalidListError(str(error)) from error


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
