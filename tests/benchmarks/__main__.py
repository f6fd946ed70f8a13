"""``python -m tests.benchmarks [CASE ...] [--rounds N] [--folder DIR] [--python PATH] [--update]``.

Fetches files from real servers on this machine (nginx, vsftpd, OpenSSH) with this project and with
every other downloader that is installed, in turn, and prints a Markdown table for each case.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.cases import CASES, PROJECT, Case, Place
from tests.benchmarks.measure import UnfitError, paired, table
from tests.benchmarks.peers import Peers
from tests.benchmarks.readme import update


def main() -> int:
    """Run the benchmarks; 2 when something that they need is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5, help="after one that does not count")
    parser.add_argument("--folder", default="/dev/shm", help="where data and downloads stand")  # noqa: S108 - a tmpfs
    parser.add_argument("--python", type=Path, help="an interpreter that has the Python peers")
    parser.add_argument("--smaller", type=int, default=1, metavar="N", help="an N-th of the load")
    parser.add_argument("--update", action="store_true", help="write the tables into the README")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    peers = Peers(options.python)
    for name in options.cases or CASES:
        case = CASES[name].smaller(options.smaller)
        try:
            found = _measured(case, peers, options.rounds, options.folder)
        except (FileNotFoundError, UnfitError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        print(f"{name}: {case.title}, {options.rounds} rounds:\n\n{found}\n", flush=True)
        if options.update:
            update(PROJECT / "README.md", name, found)
    if peers.missing:
        print(f"not installed: {', '.join(sorted(peers.missing))}", file=sys.stderr)
    return 0


def _measured(case: Case, peers: Peers, rounds: int, folder: str) -> str:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        top = Path(temporary)
        top.chmod(0o755)  # servers run as other users
        with case.run(Place(top, peers), case.load) as contenders:
            return table(paired(contenders, rounds, PROJECT, case.limit))


if __name__ == "__main__":
    sys.exit(main())
