"""``python -m tests.benchmarks [CASE ...] [--size MIB] [--rounds N] [--folder DIR]``.

One large file from a real server on this machine, over five connections where a program can:
``http`` from nginx, ``ftp`` from vsftpd, ``sftp`` from OpenSSH. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.cases import CASES, FILE, Place
from tests.benchmarks.measure import paired, table
from tests.servers.content import Content

PROJECT = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmarks; 2 when something that they need is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--size", type=int, metavar="MIB", help="of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm", help="where data and downloads stand")  # noqa: S108 - a tmpfs
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in options.cases or CASES:
        try:
            print(_measured(name, options.size, options.rounds, options.folder), flush=True)
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


def _measured(name: str, size: int | None, rounds: int, folder: str) -> str:
    case, usual = CASES[name]
    size = size or usual
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        top = Path(temporary)
        top.chmod(0o755)  # servers run as other users
        place = Place(top / "served", top / "state", top / "out", Content(size << 20, seed=1))
        for part in (place.served, place.state, place.out):
            part.mkdir()
        place.content.write_to(place.served / FILE)
        with case(place) as contenders:
            results = paired(contenders, rounds, PROJECT)
    return f"{name}, one file of {size} MiB, {rounds} rounds:\n\n{table(results)}\n"


if __name__ == "__main__":
    sys.exit(main())
