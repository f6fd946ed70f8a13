"""The files in flight in several processes, as displays look at them."""

from __future__ import annotations

from collections.abc import Callable

from fetcher.contract import FileProgress
from fetcher.workers.channel import Event

Tell = Callable[[FileProgress], None]


class Flight:
    """Keeps a :class:`FileProgress` up to date for each file that children tell of.

    :param started: called with a file whose turn has come.
    :param ended: called with the same when nothing more of it will be transferred.
    """

    def __init__(self, started: Tell, ended: Tell) -> None:
        self._started = started
        self._ended = ended
        self._files: dict[tuple[int, int], FileProgress] = {}

    def hear(self, child: int, event: Event) -> None:
        """Take notice of an event; those about other things do no harm."""
        for number, name, size, done, connections, note in event.get("files", ()):
            if event["kind"] == "started":
                self._files[child, number] = FileProgress(name)
                self._started(self._files[child, number])
            progress = self._files.get((child, number))
            if progress is None:
                continue
            progress.name, progress.size, progress.done = name, size, done
            progress.connections, progress.note = connections, note
            if event["kind"] == "ended":
                self._ended(self._files.pop((child, number)))

    def gone(self, child: int) -> None:
        """The child has ended, and with it whatever it had in flight."""
        for key in [key for key in self._files if key[0] == child]:
            self._ended(self._files.pop(key))
