"""What is measured: a real server on this machine, and the programs that fetch a file from it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import Contender
from tests.benchmarks.nginx import Nginx
from tests.servers.content import Content
from tests.servers.openssh import OpenSSH
from tests.servers.vsftpd import Vsftpd

FILE = "file.bin"
_UNVERIFIED = ("-s", "FETCHER_RECORD_CHECKSUM=")


@dataclass(frozen=True)
class Place:
    """Where a case runs.

    :param served: the folder with the file to fetch.
    :param state: for the server's own files.
    :param out: where to fetch it to.
    :param content: of the file.
    """

    served: Path
    state: Path
    out: Path
    content: Content

    def contender(self, name: str, *command: str | Path) -> Contender:
        """A program that fetches the file into ``out``; compared byte for byte after each run."""

        def check() -> None:
            if self.content.first_difference(self.out / FILE) is not None:
                raise RuntimeError(f"{name} did not fetch the file right")

        def clean() -> None:
            shutil.rmtree(self.out, ignore_errors=True)
            self.out.mkdir()

        return Contender(name, command, check, clean)

    def fetcher(self, url: str, *options: str) -> Contender:
        """This project."""
        name = "fetcher" + (", no checksum" if _UNVERIFIED[1] in options else "")
        scrapy = (sys.executable, "-m", "scrapy", "crawl", "fetch")
        return self.contender(name, *scrapy, "-a", f"url={url}", "-a", f"out={self.out}", *options)


@contextmanager
def http(place: Place) -> Iterator[list[Contender]]:
    """nginx; against aria2c."""
    aria2c = needed("aria2c", "aria2")
    with Nginx(place.served, place.state) as server:
        url = server.url(FILE)
        yield [
            place.fetcher(url),
            place.fetcher(url, *_UNVERIFIED),
            place.contender("aria2c -x5 -s5", aria2c, "-q", "-x5", "-s5", "-d", place.out, url),
        ]


@contextmanager
def ftp(place: Place) -> Iterator[list[Contender]]:
    """vsftpd; against lftp and aria2c."""
    aria2c, lftp = needed("aria2c", "aria2"), needed("lftp", "lftp")
    with Vsftpd(place.served, place.state) as server:
        url = server.url(FILE)
        yield [
            place.fetcher(url),
            place.fetcher(url, *_UNVERIFIED),
            place.contender("lftp pget -n5", lftp, "-c", f"pget -n5 {url} -o {place.out / FILE}"),
            place.contender("aria2c -x5 -s5", aria2c, "-q", "-x5", "-s5", "-d", place.out, url),
        ]


@contextmanager
def sftp(place: Place) -> Iterator[list[Contender]]:
    """OpenSSH; against curl, lftp and rclone. (aria2c cannot log in with a key.)"""
    curl, lftp, rclone = (needed(name, name) for name in ("curl", "lftp", "rclone"))
    with OpenSSH(place.state) as server:
        known_hosts = server.known_hosts(place.state / "known_hosts")
        key, file, target = server.client_key, place.served / FILE, place.out / FILE
        settings = {"FETCHER_SSH_KNOWN_HOSTS": known_hosts, "FETCHER_SSH_KEY": key}
        options = [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
        url = server.url(file)
        ssh = f"ssh -a -x -i {key} -o UserKnownHostsFile={known_hosts}"
        remote = f"host=127.0.0.1,port={server.port},user={server.user},key_file={key}"
        yield [
            place.fetcher(url, *options),
            place.fetcher(url, *options, *_UNVERIFIED),
            place.contender(
                "curl",
                curl,
                "-s",
                "--insecure",
                "--key",
                key,
                "-u",
                f"{server.user}:",
                url,
                "-o",
                target,
            ),
            place.contender(
                "lftp pget -n5",
                lftp,
                "-c",
                f'set sftp:connect-program "{ssh}"; '
                f"pget -n5 sftp://{server.user}:@127.0.0.1:{server.port}{file} -o {target}",
            ),
            place.contender(
                "rclone copyto",
                rclone,
                "copyto",
                "--config",
                "/dev/null",
                f":sftp,{remote},shell_type=none:{file}",
                target,
            ),
        ]


CASES: dict[str, tuple[Callable[[Place], AbstractContextManager[list[Contender]]], int]] = {
    "http": (http, 2048),
    "ftp": (ftp, 2048),
    "sftp": (sftp, 512),
}
"""Name, to what it needs and its file's size in MiB."""


def needed(program: str, package: str) -> str:
    """Where a program is.

    :raises FileNotFoundError: it is not installed; ``package`` is Debian's name for it.
    """
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed: apt-get install {package}")
    return path
