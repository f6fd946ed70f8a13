"""The programs that are compared, each called as its manual says for speed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.benchmarks import python_peers
from tests.benchmarks.job import Job
from tests.benchmarks.measure import Contender

UNVERIFIED = ("-s", "FETCHER_RECORD_CHECKSUM=")

_SCRIPT = Path(python_peers.__file__)


class Peers:
    """Makes the contenders of a case.

    :param python: an interpreter that has the libraries of :mod:`tests.benchmarks.python_peers`;
        None to leave those out.

    :ivar missing: programs that are not installed.
    """

    def __init__(self, python: Path | None = None) -> None:
        self.missing: set[str] = set()
        self._python = python

    def fetcher(self, job: Job, name: str, *options: str) -> Contender:
        """This project."""
        load = job.load
        settings = {
            "FETCHER_MAX_PARALLEL": load.parallel,
            "FETCHER_MAX_SPLITS": load.splits,
            "CONCURRENT_REQUESTS_PER_DOMAIN": load.parallel * load.splits,
        }
        given = as_options(settings)
        if "--processes" in options:
            command = ["download", "-i", str(job.list), "--dir", str(job.out)]
        else:
            command = ["crawl", "fetch", "-a", f"urls={job.list}", "-a", f"out={job.out}"]
        env = {"SSL_CERT_FILE": str(job.authority)} if job.authority else {}
        return job.contender(
            name, sys.executable, "-m", "scrapy", *command, *given, *options, env=env
        )

    def others(self, job: Job, *names: str) -> Iterator[Contender]:
        """Those of these peers that are installed and can do it."""
        for name in names:
            if name in python_peers.PEERS:
                if self._python is None:
                    self.missing.add(name)
                    continue
                yield job.contender(name, self._python, _SCRIPT, name, *_arguments(job))
                continue
            program = shutil.which(name.partition(" ")[0])
            if program is None:
                self.missing.add(name.partition(" ")[0])
                continue
            yield job.contender(name, program, *_COMMANDS[name](job))


def as_options(settings: Mapping[str, object]) -> list[str]:
    """Settings for Scrapy's command line."""
    return [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]


def _arguments(job: Job) -> list[str]:
    return [str(job.list), str(job.out), str(job.load.parallel), str(job.load.splits)]


def _aria2c(job: Job) -> list[str]:
    load = job.load
    options = ["-q", f"-j{load.parallel}", f"-x{load.splits}", f"-s{load.splits}"]
    if job.authority:
        options.append(f"--ca-certificate={job.authority}")
    return [*options, "-i", str(job.list), "-d", str(job.out)]


def _curl(job: Job) -> list[str]:
    options = ["-s", "-Z", "--parallel-max", str(job.load.parallel), "--remote-name-all"]
    if job.authority:
        options += ["--cacert", str(job.authority)]
    if job.begun:
        options += ["-C", "-"]
    config = job.list.with_suffix(".curl")
    config.write_text("".join(f'url = "{address}"\n' for address in job.addresses))
    return [*options, "--output-dir", str(job.out), "-K", str(config)]


def _wget(job: Job) -> list[str]:
    options = ["-q", "-i", str(job.list), "-P", str(job.out)]
    if job.authority:
        options.append(f"--ca-certificate={job.authority}")
    return [*options, "-c"] if job.begun else options


def _wget_if_missing(job: Job) -> list[str]:
    return ["-q", "-nc", "-i", str(job.list), "-P", str(job.out)]


def _axel(job: Job) -> list[str]:
    (address,) = job.addresses
    return ["-q", f"-n{job.load.splits}", "-o", str(job.out / job.load.names[0]), address]


def _pget(job: Job) -> list[str]:
    commands = [
        f"pget -n{job.load.splits} {address} -o {job.out / name}"
        for address, name in zip(job.addresses, job.load.names, strict=True)
    ]
    return ["-c", "; ".join(commands)]


def _rclone(job: Job) -> list[str]:
    root, _, _ = job.addresses[0].rpartition("/")
    names = job.list.with_suffix(".names")
    names.write_text("".join(f"{name}\n" for name in job.load.names))
    load = job.load
    options = ["--transfers", str(load.parallel), "--multi-thread-streams", str(load.splits)]
    options += ["--config", "/dev/null", "--files-from-raw", str(names), "--no-traverse"]
    return ["copy", *options, f":http,url='{root}/':", str(job.out)]


_COMMANDS: dict[str, Callable[[Job], list[str]]] = {
    "aria2c": _aria2c,
    "curl -Z": _curl,
    "wget": _wget,
    "wget -nc": _wget_if_missing,
    "axel": _axel,
    "lftp pget": _pget,
    "rclone": _rclone,
}
