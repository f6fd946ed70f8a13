"""kill -9 at any moment: what was safe is not fetched again, and no wrong file stands there."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from fetcher.disk.journal import decode
from tests.conftest import not_here
from tests.crawl import PROJECT, clean_environment, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Resource

MIB = 1 << 20

# --- in the middle of a transfer ----------------------------------------------------------------

KILLS = 10
CONNECTIONS = 5
"""The default."""

MOST_AGAIN = CONNECTIONS * 16 * MIB
"""Bytes that one kill may cost."""

SIZE = int(os.environ.get("FETCHER_TEST_KILLED_MIB", "560")) * MIB
"""More for a longer look, by hand: 4096, for example, and `-s` to see the figures."""

RATE = None if "FETCHER_TEST_KILLED_MIB" in os.environ else 64 * MIB
"""Bytes a second for each connection; none when it is looked at for longer."""


def safe_bytes(part: Path) -> int:
    """What the journal says is there; 0 without one."""
    try:
        journal = decode(part.with_name(f"{part.name}.json").read_bytes())
    except FileNotFoundError:
        return 0
    assert journal.ranges[-1][1] <= part.stat().st_size
    return sum(end - start for start, end in journal.ranges)


def wait_until_sent(origin: Origin, path: str, count: int) -> None:
    wait_for(lambda: origin.sent(path) >= count, message=f"{count} bytes")


def test_ten_kills_cost_little(tmp_path: Path) -> None:
    content, path, part = Content(SIZE), "/a.bin", tmp_path / "a.bin.part"
    shares = [random.Random(number).random() for number in range(KILLS)]
    moments = [int(share / sum(shares) * SIZE * 0.95) for share in shares]
    # More comes in one round than a kill may cost, so that a lost journal would show.
    assert max(moments) > 1.25 * MOST_AGAIN
    lost = []
    with Origin() as origin:
        url = origin.add(path, Resource(content, rate=RATE))
        for moment in moments:
            sent, safe = origin.sent(path), safe_bytes(part)
            with start_crawl(tmp_path, url=url) as crawl:
                wait_until_sent(origin, path, sent + moment)
                crawl.send_signal(signal.SIGKILL)
                assert crawl.wait().returncode == -signal.SIGKILL
            wait_for(lambda: origin.active(path) == 0, message="the end of the connections")
            assert not (tmp_path / "a.bin").exists()
            # What lay in the buffers of sockets is lost, too, and is counted here.
            lost.append(origin.sent(path) - sent - (safe_bytes(part) - safe))
        assert origin.peak(path) == CONNECTIONS
        safe = safe_bytes(part)
        origin.replace(path, content)
        result = run_crawl(tmp_path, url=url)
        again = origin.sent(path) - SIZE
    print(f"fetched again: {again / MIB:.0f} MiB, for one kill at most {max(lost) / MIB:.0f} MiB")
    (row,) = result.report
    assert (result.returncode, row["status"], row["resumed"]) == (0, "ok", safe)
    assert row["checksum"] == f"sha256:{content.sha256}"
    assert content.first_difference(tmp_path / "a.bin") is None
    assert max(lost) <= MOST_AGAIN
    assert again <= KILLS * MOST_AGAIN


# --- between any two system calls of a commit ---------------------------------------------------

SMALL = Content(100_000, seed=7)
VALIDATORS = (Resource(SMALL).etag, Resource(SMALL).last_modified_date)

AT = 100
"""strace kills a process when one of its threads makes a call of one kind for this time. Each
commit has a thread of its own, which makes so many idle calls of that kind before it that this is
another one of the commit each time."""

COMMITS = f"""
import os, sys, threading
from contextlib import suppress
from pathlib import Path
from fetcher.disk.journal import Journal
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.rules.answers import Version
from fetcher.transfer.commit import commit_all
from fetcher.transfer.download import Download
from tests.test_durability_kills import SMALL, VALIDATORS

out, idle = Path(sys.argv[1]), os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
IDLE_CALLS = dict(
    ftruncate=lambda: os.ftruncate(idle, 0),
    pwrite64=lambda: os.pwrite(idle, b"x", 0),
    fsync=lambda: os.fsync(idle),
    fdatasync=lambda: os.fdatasync(idle),
    rename=lambda: os.rename(sys.argv[2], sys.argv[2]),
    unlink=lambda: os.unlink("/missing"),
)

def commit(name, idle_call, times):
    version = Version(SMALL.size, *VALIDATORS)
    ledger, part = Ledger(out), Part(out, name)
    part.write(0, SMALL.read(0, SMALL.size))
    part.checkpoint(Journal(name, version, ((0, SMALL.size),)))
    part.write(SMALL.size, b"to be cut off")
    download = Download(
        request=None, source="http://h/", part=part, version=version, resumable=version,
        safekeeping=None, pieces=None, brought=[], stated={{}}, record="", listed_size=None,
        max_size=0, ledger=ledger, disk=None, replaces=None,
    )
    def work():
        for _ in range(times):
            with suppress(FileNotFoundError):
                idle_call()
        assert commit_all([download]) == [None]
        os._exit(0)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()

for call, idle_call in IDLE_CALLS.items():
    number, status = 0, None
    while status != 0:
        number += 1
        name = f"{{call}}-{{number}}"
        if not (child := os.fork()):
            commit(name, idle_call, {AT} - number)
            os._exit(1)
        status = os.waitpid(child, 0)[1]
        print(name, status, flush=True)
"""


def test_a_kill_between_any_two_steps_of_a_commit(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        not_here("strace is not installed: a process cannot be killed at a system call")
    out, log, idle = tmp_path / "out", tmp_path / "log", tmp_path / "idle"
    killing = f"inject=ftruncate,pwrite64,fsync,fdatasync,rename,unlink:signal=KILL:when={AT}"
    command = [strace, "-f", "-o", str(log), "-e", killing, sys.executable, "-c", COMMITS]
    command += [str(out), str(idle)]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=30,
    )
    statuses = {name: int(status) for name, status in map(str.split, done.stdout.splitlines())}
    killed = {name for name, status in statuses.items() if status == signal.SIGKILL}
    # Among them: before and after the data is synced, renamed, and its folder synced.
    assert killed >= {"fsync-1", "rename-1", "fsync-2", "unlink-1"}
    assert all(statuses[name] == 0 for name in statuses.keys() - killed)
    there = {name for name in statuses if (out / name).exists()}
    assert "rename-1" not in there
    assert "fsync-2" in there
    assert statuses.keys() - there <= killed
    assert all(SMALL.first_difference(out / name) is None for name in there)

    with Origin() as origin:
        rows = [(name, origin.add(f"/{name}", SMALL)) for name in statuses]
        result = run_crawl(out, write_list(tmp_path / "list.tsv", rows))
    assert result.returncode == 0
    assert result.by_name.keys() == statuses.keys()
    for name, row in result.by_name.items():
        assert SMALL.first_difference(out / name) is None
        # Of a part whose every byte was safe only the last is asked for again.
        assert (row["status"], row["received"]) == (
            ("unchanged", 0) if name in there else ("ok", 1)
        ), name
