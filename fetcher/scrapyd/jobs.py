"""Which jobs a list becomes, and what they are called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from fetcher.errors import InvalidListError
from fetcher.lists import STDIN, list_name
from fetcher.rules.shards import Shard
from fetcher.rules.urls import looks_like_url, split_credentials
from fetcher.scrapyd.node import Node
from fetcher.spiders.assignment import ARGUMENTS

IDENTITY = ("urls", "url", "out", "shard")
"""The arguments that tell one job from another."""

PATHS = ("urls", "checksums", "out")
"""The arguments that may be paths."""

_MAX_NAME = 60
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True)
class Job:
    """A job of the spider on a node.

    :param title: what the ids of all jobs of the same list into the same folder begin with.
    :param id: what it is called there.
    """

    node: Node
    project: str
    title: str
    id: str
    arguments: dict[str, str]

    def __str__(self) -> str:
        return f"{self.id} at {self.node}"

    def is_like(self, other: str) -> bool:
        """Whether the job of another id has the same list and folder."""
        return other.startswith(f"{self.title}-")

    @property
    def log(self) -> str:
        """The address of its log."""
        return f"{self.node}/{self.node.log_path(self.project, self.id)}"


def check_arguments(given: Mapping[str, str]) -> dict[str, str]:
    """The spider's arguments as every node will understand them: paths are absolute.

    :raises InvalidListError: one cannot be used.
    """
    unknown = [name for name in given if name not in ARGUMENTS]
    if unknown:
        raise InvalidListError(
            f"unknown argument {unknown[0]!r}: the arguments are {', '.join(ARGUMENTS)}"
        )
    if not given.get("urls") and not given.get("url"):
        raise InvalidListError("nothing to schedule: give a list, or -a url=ADDRESS")
    arguments = dict(given)
    for name in PATHS:
        value = arguments.get(name)
        if value == STDIN:
            raise InvalidListError(f"a job has no standard input: give a path for {name}")
        if value and not looks_like_url(value):
            arguments[name] = str(Path(value).expanduser().absolute())
    if "shard" in arguments:
        try:
            Shard.parse(arguments["shard"])
        except ValueError as error:
            raise InvalidListError(str(error)) from error
    return arguments


def make_title(arguments: Mapping[str, str]) -> str:
    """The title of jobs with these arguments, before a list is shared out to them.

    The list's name is for people; the digits behind it tell lists of one name apart.
    """
    urls = arguments.get("urls", "")
    name = _UNUSUAL.sub("_", list_name(urls)) if urls else "url"
    # A login may change, and is nothing to be made a digest of.
    told = [
        [split_credentials(word)[0] for word in arguments.get(each, "").split()]
        for each in IDENTITY
    ]
    digest = blake2b(json.dumps(told).encode(), digest_size=4).hexdigest()
    return f"{name[:_MAX_NAME]}-{digest}"


def plan(
    nodes: Sequence[Node],
    project: str,
    arguments: Mapping[str, str],
    now: datetime,
    *,
    queue: bool = False,
) -> list[Job]:
    """One job for each node; where there are several, each has a shard of the list.

    :param queue: whether a queue shares the list out instead.

    :raises InvalidListError: there are several, and the arguments name a shard already.
    """
    if len(nodes) > 1 and "shard" in arguments:
        raise InvalidListError("several nodes share the list out by themselves: give no shard")
    title = make_title(arguments)
    name = f"{title}-{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03}"
    if len(nodes) == 1:
        return [Job(nodes[0], project, title, name, dict(arguments))]
    shards = [Shard(number, len(nodes)) for number in range(1, len(nodes) + 1)]
    return [
        Job(
            node,
            project,
            title,
            f"{name}-{shard}",
            {**arguments} if queue else {**arguments, "shard": f"{shard.number}/{shard.count}"},
        )
        for node, shard in zip(nodes, shards, strict=True)
    ]
