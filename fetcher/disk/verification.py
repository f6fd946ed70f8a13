"""A folder compared with what is said of its files, several files at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from fetcher.disk.checklist import Checklist
from fetcher.disk.inspection import BY_SIZE, FAILED, MISSING, RIGHT, WRONG, Inspection

LOOK = 0.1
"""Seconds between two looks at how far it is."""

UNFINISHED = "unfinished"
VERDICTS = (RIGHT, BY_SIZE, WRONG, MISSING, FAILED, UNFINISHED)
"""What may come of a file, in the order in which it is told."""

Tell = Callable[[str, str], None]
"""Takes a file's name, raw, and what is wrong with it; nothing where it is right."""


class Verification:
    """Compares one folder; :mod:`hashlib` lets other threads run meanwhile.

    :param checklist: what is said of it.
    :param tell: called for each file in the thread of :meth:`run`.
    :param tick: called now and then with the bytes that have been read so far.

    :ivar counts: how many files there are of each verdict, see :mod:`fetcher.disk.inspection`.
    """

    def __init__(self, checklist: Checklist, tell: Tell, tick: Callable[[int], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._checklist = checklist
        self._tell = tell
        self._tick = tick
        self._read = 0
        self._begun: set[Inspection] = set()
        self._running: dict[Future[None], Inspection] = {}

    def run(self) -> None:
        """Compare everything; an exception of this thread (Ctrl-C) ends it at once."""
        workers = os.cpu_count() or 1
        out = self._checklist.out.resolve()
        for sentence in self._checklist.broken:
            self._count("", sentence, WRONG)
        waiting = (Inspection(out, entry) for entry in self._checklist.each())
        pool = ThreadPoolExecutor(workers, thread_name_prefix="verify")
        try:
            self._start(pool, islice(waiting, 2 * workers))
            while self._running:
                done, _ = wait(self._running, LOOK, FIRST_COMPLETED)
                self._start(pool, islice(waiting, len(done)))
                for future in done:
                    self._finish(future)
                moving = sum(each.position for each in self._running.values())
                self._tick(self._read + moving)
        finally:
            for inspection in self._begun:
                inspection.stop()
            pool.shutdown(cancel_futures=True)
        for name in self._checklist.unfinished():
            self._count(name, "unfinished, the same crawl goes on with it", UNFINISHED)

    def _start(self, pool: ThreadPoolExecutor, waiting: Iterator[Inspection]) -> None:
        for inspection in waiting:
            # Before it runs: Ctrl-C may come in between, and nobody else would ever stop it.
            self._begun.add(inspection)
            self._running[pool.submit(inspection.run)] = inspection

    def _finish(self, future: Future[None]) -> None:
        inspection = self._running.pop(future)
        self._begun.discard(inspection)
        future.result()
        self._read += inspection.position
        self._count(inspection.entry.name, inspection.problem, inspection.verdict)

    def _count(self, name: str, problem: str, verdict: str) -> None:
        self.counts[verdict] += 1
        self._tell(name, problem)

    @property
    def all_right(self) -> bool:
        """Whether nothing was wrong."""
        return set(self.counts) <= {RIGHT, BY_SIZE}
