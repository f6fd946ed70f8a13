"""What is measured: files on a real server on this machine, and the programs that fetch them."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fetcher.disk.ledger import Ledger
from fetcher.rules.existing import Completed
from tests.benchmarks.distance import Distance
from tests.benchmarks.job import Job, Load
from tests.benchmarks.measure import Contender, UnfitError
from tests.benchmarks.nginx import Nginx
from tests.benchmarks.peers import UNVERIFIED, Peers, as_options
from tests.servers.openssh import OpenSSH
from tests.servers.vsftpd import Vsftpd

PROJECT = Path(__file__).parents[2]

_PYTHON = ("pymatris", "parfive", "pypdl", "requests, threads", "Scrapy's FilesPipeline")
_LARGE = Load(count=1, size=2 << 30, parallel=1, splits=5)
_LIMIT = 300.0

MISSING = 10
"""Files of a list that are not there, where nearly all are."""

TOGETHER = 500
"""Files that are remembered at a time."""


@dataclass(frozen=True)
class Place:
    """Where a case runs.

    :param top: an empty folder that other users may enter.
    :param peers: makes the contenders.
    """

    top: Path
    peers: Peers

    def folder(self, name: str) -> Path:
        """A folder for one purpose."""
        path = self.top / name
        path.mkdir(exist_ok=True)
        return path

    def job(
        self,
        load: Load,
        url: Callable[[str], str],
        authority: Path | None = None,
        list_name: str = "list.txt",
    ) -> Job:
        """Fetching all files of a load."""
        addresses = [url(name) for name in load.names]
        path = self.top / list_name
        path.write_text("".join(f"{address}\n" for address in addresses))
        return Job(load, self.top / "out", path, addresses, authority)


Run = Callable[[Place, Load], AbstractContextManager[Sequence[Contender]]]


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    :param title: for the README.
    :param load: what is fetched.
    :param run: starts what is needed, and gives the contenders, this project first.
    :param limit: seconds after which a contender is killed.
    """

    title: str
    load: Load
    run: Run
    limit: float = _LIMIT

    def smaller(self, factor: int) -> Case:
        """The same with less to fetch, to try it out."""
        load = self.load
        count, size = max(1, load.count // factor), max(1024, load.size // factor)
        return replace(self, load=replace(load, count=count, size=size))


@contextmanager
def _web(
    place: Place,
    load: Load,
    *,
    peers: Sequence[str],
    variants: Sequence[tuple[str, ...]] = (),
    tls: bool = False,
    rate: str = "",
    slow: str = "",
    round_trip: float = 0.0,
) -> Iterator[Sequence[Contender]]:
    """nginx; this project also with other options."""
    served = place.folder("served")
    load.put(served)
    with ExitStack() as running:
        server = Nginx(served, place.folder("state"), tls=tls, rate=rate, slow=slow)
        running.enter_context(server)
        url = server.url
        if round_trip:
            distance = running.enter_context(Distance(server.port, round_trip))
            url = partial(_address, distance.port)
        job = place.job(load, url, server.authority if tls else None)
        ours = [place.peers.fetcher(job, "fetcher")]
        ours += [place.peers.fetcher(job, name, *options) for name, *options in variants]
        yield [*ours, *place.peers.others(job, *peers)]


def _address(port: int, name: str) -> str:
    return f"http://127.0.0.1:{port}/{name}"


@contextmanager
def _there(place: Place, load: Load) -> Iterator[Sequence[Contender]]:
    """All files but the last are there, as an earlier run has left them."""
    served = place.folder("served")
    missing = load.names[-MISSING:]
    for number, name in enumerate(missing, load.count - len(missing)):
        load.content(number).write_to(served / name)
    with Nginx(served, place.folder("state")) as server:
        job = place.job(load, server.url)
        job.out.mkdir()
        _complete(job.out, load.names[:-MISSING])

        def clean() -> None:
            for name in missing:
                (job.out / name).unlink(missing_ok=True)

        def check() -> None:
            for number, name in enumerate(missing, load.count - len(missing)):
                if load.content(number).first_difference(job.out / name) is not None:
                    raise UnfitError(f"did not fetch {name} right")

        contenders = [place.peers.fetcher(job, "fetcher"), *place.peers.others(job, "wget -nc")]
        yield [replace(each, clean=clean, check=check) for each in contenders]


def _complete(out: Path, names: Sequence[str]) -> None:
    """Empty files, and that they are complete is remembered."""
    ledger = Ledger(out)
    for start in range(0, len(names), TOGETHER):
        completed = []
        for name in names[start : start + TOGETHER]:
            (out / name).touch()
            mtime_ns = (out / name).stat().st_mtime_ns
            completed.append(Completed(name, 0, mtime_ns, checksum="sha256:" + "0" * 64))
        ledger.record(*completed)
    ledger.close()


@contextmanager
def _start(place: Place, load: Load) -> Iterator[Sequence[Contender]]:
    """Until the first request, for a list of one row and for a long one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = partial(_address, int(port))
    first = [sys.executable, "-m", "tests.benchmarks.first_request", port]
    long = place.job(load, url)
    short = place.job(replace(load, count=1), url, list_name="short.txt")

    def clean() -> None:
        shutil.rmtree(short.out, ignore_errors=True)
        short.out.mkdir()

    ours = [
        place.peers.fetcher(short, "fetcher"),
        place.peers.fetcher(long, f"fetcher, {load.count:,} rows"),
    ]
    others = place.peers.others(short, "aria2c", "curl -Z", "wget", "requests, threads")
    yield [
        replace(each, command=[*first, *each.command], clean=clean, check=lambda: None)
        for each in (*ours, *others)
    ]


@contextmanager
def _resumed(place: Place, load: Load) -> Iterator[Sequence[Contender]]:
    """Each program goes on with what an interrupted run of its own has left."""
    served = place.folder("served")
    load.put(served)
    with Nginx(served, place.folder("state")) as server:
        begun = {}
        with Nginx(served, place.folder("slow"), rate=f"{load.size // 16 // load.splits}") as slow:
            half = place.job(load, slow.url)
            for contender in _able_to_resume(place.peers, half):
                begun[contender.name] = place.top / f"begun {contender.name}"
                _interrupt(contender, half.out, load.size // 2)
                half.out.rename(begun[contender.name])
        # What was begun there is gone on with here: the same file by another address.
        job = replace(place.job(load, server.url), begun=begun)
        yield list(_able_to_resume(place.peers, job))


def _able_to_resume(peers: Peers, job: Job) -> Iterator[Contender]:
    yield peers.fetcher(job, "fetcher")
    yield from peers.others(job, "aria2c", "curl -Z", "wget")


def _interrupt(contender: Contender, out: Path, enough: int) -> None:
    contender.clean()
    process = subprocess.Popen(
        contender.command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and _occupied(out) < enough:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait()


def _occupied(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


@contextmanager
def _ftp(place: Place, load: Load) -> Iterator[Sequence[Contender]]:
    served = place.folder("served")
    load.put(served)
    with Vsftpd(served, place.folder("state")) as server:
        job = place.job(load, server.url)
        ours = [place.peers.fetcher(job, "fetcher")]
        ours.append(place.peers.fetcher(job, "fetcher, no checksum", *UNVERIFIED))
        yield [*ours, *place.peers.others(job, "lftp pget", "aria2c", "curl -Z", "wget")]


@contextmanager
def _sftp(place: Place, load: Load) -> Iterator[Sequence[Contender]]:
    """OpenSSH. (aria2c cannot log in with a key.)"""
    served = place.folder("served")
    load.put(served)
    state = place.folder("state")
    with OpenSSH(state) as server:
        known_hosts = server.known_hosts(state / "known_hosts")
        key, name = server.client_key, load.names[0]
        job = place.job(load, lambda name: server.url(served / name))
        settings = {"FETCHER_SSH_KNOWN_HOSTS": known_hosts, "FETCHER_SSH_KEY": key}
        options = as_options(settings)
        ssh = f"ssh -a -x -i {key} -o UserKnownHostsFile={known_hosts}"
        target, port, user = job.out / name, server.port, server.user
        remote = f"host=127.0.0.1,port={port},user={user},key_file={key},shell_type=none"
        yield [
            place.peers.fetcher(job, "fetcher", *options),
            place.peers.fetcher(job, "fetcher, no checksum", *options, *UNVERIFIED),
            job.contender(
                *("curl", "curl", "-s", "--insecure", "--key", key, "-u", f"{user}:"),
                *(job.addresses[0], "-o", target),
            ),
            job.contender(
                *("lftp pget", "lftp", "-c"),
                f'set sftp:connect-program "{ssh}"; pget -n{load.splits} '
                f"sftp://{user}:@127.0.0.1:{port}{served / name} -o {target}",
            ),
            job.contender(
                *("rclone", "rclone", "copyto", "--config", "/dev/null"),
                *(f":sftp,{remote}:{served / name}", target),
            ),
        ]


_NO_SUM = ("fetcher, no checksum", *UNVERIFIED)
_TWO = ("fetcher --processes 2", "--processes", "2")

CASES: dict[str, Case] = {
    "large": Case(
        "one file of 2 GiB, five connections",
        _LARGE,
        partial(
            _web,
            peers=("aria2c", "curl -Z", "wget", "axel", "lftp pget", "rclone", *_PYTHON),
            variants=(_NO_SUM,),
        ),
        limit=60,
    ),
    "tls": Case(
        "the same over TLS",
        _LARGE,
        partial(_web, peers=("aria2c", "curl -Z", "wget"), variants=(_NO_SUM,), tls=True),
    ),
    "narrow": Case(
        "512 MiB from a server that gives each connection 20 MB/s, 16 connections",
        Load(count=1, size=512 << 20, parallel=1, splits=16),
        partial(_web, peers=("aria2c", "axel", "lftp pget"), rate="20m"),
    ),
    "slow": Case(
        "256 MiB over five connections of 20 MB/s, one of which has only 500 kB/s",
        Load(count=1, size=256 << 20, parallel=1, splits=5),
        partial(_web, peers=("aria2c", "axel", "lftp pget"), rate="20m", slow="500k"),
        limit=30,
    ),
    "far": Case(
        "200 files of 1 MiB, 16 at a time, a round trip of 100 ms",
        Load(count=200, size=1 << 20, parallel=16, splits=1),
        partial(
            _web,
            peers=("aria2c", "curl -Z", "rclone", "pypdl", "requests, threads"),
            round_trip=0.1,
        ),
        limit=30,
    ),
    "eight": Case(
        "eight files of 512 MiB, five at a time",
        Load(count=8, size=512 << 20, parallel=5, splits=5),
        partial(_web, peers=("aria2c", "curl -Z", "rclone", "requests, threads")),
    ),
    "many": Case(
        "1,000 files of 1 MiB, 16 at a time",
        Load(count=1000, size=1 << 20, parallel=16, splits=1),
        partial(_web, peers=("aria2c", "curl -Z", "wget", "rclone", *_PYTHON), variants=(_TWO,)),
        limit=60,
    ),
    "tiny": Case(
        "10,000 files of 1 KiB, 16 at a time",
        Load(count=10_000, size=1 << 10, parallel=16, splits=1),
        partial(_web, peers=("aria2c", "curl -Z", "wget", "rclone", *_PYTHON), variants=(_TWO,)),
        limit=90,
    ),
    "there": Case(
        "a list of 1,000,000 rows of which all files but ten are there",
        Load(count=1_000_000, size=1 << 10, parallel=5, splits=5),
        _there,
    ),
    "start": Case(
        "until the first request; this project also with a list of 1,000,000 rows",
        Load(count=1_000_000, size=1 << 10, parallel=5, splits=5),
        _start,
    ),
    "resume": Case("2 GiB of which half is there", _LARGE, _resumed),
    "ftp": Case("2 GiB from vsftpd, five connections", _LARGE, _ftp),
    "sftp": Case(
        "512 MiB from OpenSSH, five connections",
        Load(count=1, size=512 << 20, parallel=1, splits=5),
        _sftp,
    ),
}
