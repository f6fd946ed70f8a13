"""How much memory a process has had at most."""

from pathlib import Path


def high_water_mark(pid: int | str = "self") -> int:
    """Bytes since the process's exec; 0 where that cannot be told.

    Not ``ru_maxrss``, which counts the parent's memory at the time of the exec, so that whatever is
    started by a large test run would pass for large, and never for growing.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
