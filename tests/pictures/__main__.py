"""Takes the README's picture of the progress display: a real crawl in a real terminal of tmux.

Needs tmux (Debian package ``tmux``).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.crawl import clean_environment, wait_for, write_list
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
MIB = 1 << 20
COLUMNS, LINES = 80, 12
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


def running() -> bool:
    """Whether the crawl's terminal is still there."""
    command = ["tmux", "-L", "fetcher-picture", "has-session"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def main() -> None:
    """Write ``progress.svg`` beside this file."""
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
        arguments = ["-a", f"urls={urls}", "-a", f"out={folder}/out"]
        scrapy = [sys.executable, "-m", "scrapy", "crawl", "fetch", *arguments]
        environment = [f"{key}={value}" for key, value in clean_environment().items()]
        command = shlex.join(["env", "-i", *environment, "TERM=tmux-256color", *scrapy])
        window = ["-x", str(COLUMNS), "-y", str(LINES)]
        tmux("new-session", "-d", *window, "-c", str(PROJECT), command)
        try:
            wait_for(lambda: origin.sent() > 260 * MIB, timeout=60, message="enough of the files")
            screen = tmux("capture-pane", "-e", "-p")
        finally:
            tmux("send-keys", "C-c")
            wait_for(lambda: not running(), timeout=10, message="the end of the crawl")
    console = Console(record=True, width=COLUMNS, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(Text.from_ansi(screen.rstrip()))
    picture = console.export_svg(title="scrapy crawl fetch -a urls=list.tsv")
    # The reader's own fonts, none from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*|<!-- .*? -->\s*", "", picture, flags=re.DOTALL)
    (HERE / "progress.svg").write_text(picture)


if __name__ == "__main__":
    main()
