"""Jobs, followed until each has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from fetcher.errors import NodeError
from fetcher.scrapyd.ending import Ending
from fetcher.scrapyd.jobs import Job

SHORTEST, LONGEST = 0.2, 5.0
"""Seconds from one look to the next ..."""

PATIENCE = 0.05
"""... which are this part of the time that it has taken so far."""


def follow(
    jobs: Sequence[Job], timeout: float
) -> Iterator[tuple[Job, Ending] | tuple[Job, NodeError]]:
    """Each job when it has ended, and how; or why it cannot be followed any more.

    A job that its node does not remember has ended, too.

    :param timeout: seconds for which a node may be out of reach.
    """
    began = time.monotonic()
    heard = {job.id: began for job in jobs}
    left = list(jobs)
    while left:
        for job in tuple(left):
            try:
                ending = _look(job)
            except NodeError as error:
                if time.monotonic() - heard[job.id] < timeout:
                    continue
                left.remove(job)
                yield job, error
            else:
                heard[job.id] = time.monotonic()
                if ending is not None:
                    left.remove(job)
                    yield job, ending
        if left:
            elapsed = time.monotonic() - began
            time.sleep(min(max(elapsed * PATIENCE, SHORTEST), LONGEST))


def _look(job: Job) -> Ending | None:
    """:raises NodeError: its node does not answer."""
    state = job.node.jobs(job.project).get(job.id, "finished")
    if state != "finished":
        return None
    return Ending.read(job.node.log_end(job.project, job.id))
