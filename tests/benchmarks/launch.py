"""``python launch.py SECONDS COMMAND ...``: runs a command and prints what it took, as JSON.

A process of its own, and a small one: a child's peak of memory is at least that of the process that
has started it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from threading import Timer


def main() -> None:
    """Status, wall, user and system seconds, peak resident memory in bytes."""
    limit, *command = sys.argv[1:]
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = Timer(float(limit), os.killpg, (process.pid, signal.SIGKILL))
    end.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    end.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * 1024
    print(json.dumps([process.returncode, wall, usage.ru_utime, usage.ru_stime, peak]))


if __name__ == "__main__":
    main()
