"""How far a list has been worked off, so that a job goes on there."""

from __future__ import annotations

from typing import Any

_DONE = "done"
_VERSION = "version"


class Bookmark:
    """Remembers up to which row all rows of a list have been reported.

    Rows that are reported before others in front of them are reported once more by the next run,
    which finds their files there. So whatever ends a run, it loses none.

    :param state: ``spider.state``, which Scrapy keeps in a job folder:
        https://docs.scrapy.org/en/latest/topics/jobs.html#keeping-persistent-state-between-batches
    :param version: tells the list from another version of it; None where that cannot be told. What
        was noted of another version does not count.
    """

    def __init__(self, state: dict[str, Any], version: object) -> None:
        self.changed = state.get(_VERSION) != version and bool(state.get(_DONE))
        """Whether the list has changed since."""
        if state.get(_VERSION) != version:
            state.pop(_DONE, None)
        state[_VERSION] = version
        self.start = int(state.get(_DONE, 0))
        """Rows that need not be looked at; the first is 1."""
        self._state = state
        self._open: dict[int, None] = {}
        self._last = self.start

    def take(self, number: int) -> None:
        """A row has its turn; in ascending order."""
        self._open[number] = None
        self._last = number

    def report(self, number: int) -> None:
        """What has become of a row is in the report."""
        if number in self._open:
            del self._open[number]
            self._state[_DONE] = next(iter(self._open), self._last + 1) - 1
