"""Takes what a terminal of 80 by 24 shows of a real crawl, for the README.

    python -m tests.screen

Needs tmux (Debian package ``tmux``).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.crawl import PROJECT, clean_environment, wait_for, write_list
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

README = PROJECT / "README.md"
MARKED = re.compile(r"(<!-- screen: .*? -->\n).*?(<!-- end of screen -->)", re.DOTALL)
MIB = 1 << 20
COLUMNS, LINES = 80, 24
ENDED = "(it has ended)"
SIZES = {
    "sa_000000.tar": 90,
    "sa_000001.tar": 420,
    "2024/pricecatcher_2024-01.parquet": 64,
    "sa_000002.tar": 700,
    "readme.txt": 1,
    "missing.tar": 1,
    "sa_000003.tar": 300,
}


def tmux(*arguments: str) -> str:
    """Run a tmux command on a server of its own; its output."""
    command = ["tmux", "-L", "fetcher-picture", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def screen() -> str:
    """What the terminal shows."""
    return tmux("capture-pane", "-p")


def main() -> None:
    """Put what the terminal shows into the README, in the middle of a crawl and at its end."""
    with Origin() as origin, tempfile.TemporaryDirectory() as folder:
        for number, (name, size) in enumerate(SIZES.items()):
            gate = Gate(after=int(size * MIB * (0.1 + 0.02 * number)))
            if size < 2:
                gate.open()
            origin.add(
                f"/{name}", Resource(Content(size * MIB, seed=number), gate=gate, rate=30 * MIB)
            )
        origin.replace("/missing.tar", Status(404))
        urls = write_list(Path(folder) / "list.tsv", [(n, origin.url(f"/{n}")) for n in SIZES])
        command = shlex.join(
            [
                *("env", "-i", *(f"{key}={value}" for key, value in clean_environment().items())),
                *("TERM=tmux-256color", sys.executable, "-m", "scrapy", "crawl", "fetch"),
                *("-a", f"urls={urls}", "-a", f"out={folder}/out"),
            ]
        )
        # The shell keeps the terminal when the crawl has gone.
        shell = f"trap : INT; {command}; printf {ENDED!r}; read -r _"
        window = ["-x", str(COLUMNS), "-y", str(LINES)]
        tmux("new-session", "-d", *window, "-c", str(PROJECT), "sh", "-c", shell)
        try:
            wait_for(lambda: origin.sent() > 260 * MIB, timeout=60, message="enough of the files")
            during = screen()
            tmux("send-keys", "C-c")
            wait_for(lambda: ENDED in screen(), timeout=10, message="the end of the crawl")
            after = screen().replace(ENDED, "").replace(folder, "/data")
        finally:
            tmux("kill-server")
    show = (
        f"```text\n{during.rstrip()}\n```\n\nStopped by Ctrl-C:\n\n```text\n{after.rstrip()}\n```"
    )
    text = README.read_text("utf-8")
    README.write_text(MARKED.sub(lambda found: f"{found[1]}{show}\n{found[2]}", text), "utf-8")


if __name__ == "__main__":
    main()
