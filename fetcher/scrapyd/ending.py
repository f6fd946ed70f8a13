"""How a job has ended: Scrapyd does not tell exit statuses, so each job's log has its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXIT_STATUS = "exit status %d"
"""The last line of a job's log."""

_STATUS = re.compile(r"exit status (\d)\s*$")
_ERROR = re.compile(r" (?:ERROR|CRITICAL): (.*)")


@dataclass(frozen=True)
class Ending:
    """What the end of a log says.

    :param status: the exit status; None where the process was killed, or wrote no log.
    :param error: the last line that tells of an error; empty where there is none.
    """

    status: int | None
    error: str

    @classmethod
    def read(cls, log: str) -> Ending:
        """Read it from the last lines of a log."""
        lines = log.splitlines()
        status = _STATUS.search(lines[-1]) if lines else None
        errors = [found[1] for line in lines if (found := _ERROR.search(line))]
        return cls(int(status[1]) if status else None, errors[-1] if errors else "")
