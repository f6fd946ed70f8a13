"""``python -m tests.benchmarks [--size MIB] [--rounds N] [--folder DIR]``.

One large file from a real nginx, over five connections: this project against aria2c. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import Contender, paired, table
from tests.benchmarks.nginx import Nginx
from tests.servers.content import Content

PROJECT = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmark; 2 when something it needs is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, metavar="MIB", help="of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm", help="where data and downloads stand")  # noqa: S108 - a tmpfs
    options = parser.parse_args()
    aria2c = shutil.which("aria2c")
    if aria2c is None:
        print("aria2c is not installed: apt-get install aria2", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user
        for part in ("www", "state"):
            (folder / part).mkdir()
        content = Content(options.size << 20, seed=1)
        content.write_to(folder / "www/file.bin")
        try:
            server = Nginx(folder / "www", folder / "state")
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 2
        with server:
            url = server.url("file.bin")
            contenders = [_fetcher(url, folder / "a", content), _aria2(aria2c, url, folder / "b")]
            results = paired(contenders, options.rounds, PROJECT)
    print(f"One file of {options.size} MiB, five connections, {options.rounds} rounds:\n")
    print(table(results))
    return 0


def _fetcher(url: str, out: Path, content: Content) -> Contender:
    def check() -> None:
        if content.first_difference(out / "file.bin") is not None:
            raise RuntimeError("the file is not right")

    scrapy = [sys.executable, "-m", "scrapy", "crawl", "fetch"]
    command = [*scrapy, "-a", f"url={url}", "-a", f"out={out}"]
    return Contender("fetcher", command, check, _remover(out))


def _aria2(aria2c: str, url: str, out: Path) -> Contender:
    command = [aria2c, "-q", "-x5", "-s5", "-d", str(out), url]
    return Contender("aria2c -x5 -s5", command, lambda: None, _remover(out))


def _remover(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
