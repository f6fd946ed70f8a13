"""Servers and certificates for all tests, and the rule that a test leaves no thread behind."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import trustme
from hypothesis import HealthCheck, settings

from tests.crawl import PROJECT
from tests.preload import preloaded
from tests.servers.origin import Origin
from tests.servers.redis import RedisServer

# Else each of some hundred crawls would compile the whole program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell lets what it starts by & ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, not of the code.
settings.register_profile("fetcher", deadline=None)
# By hand, or every night: see tests/fuzz.
settings.register_profile(
    "fuzz", deadline=None, max_examples=100_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fetcher")


@dataclass(frozen=True)
class CertificateAuthority:
    """Issues certificates that only those trust who know its file."""

    authority: trustme.CA
    pem: Path

    @property
    def env(self) -> dict[str, str]:
        """Makes a process trust it, and nothing else."""
        return {"SSL_CERT_FILE": str(self.pem)}

    def server_context(self, *names: str) -> ssl.SSLContext:
        """For a server of these names; by default those of the loopback interface."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.pem))


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    authority = trustme.CA()
    pem = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    return CertificateAuthority(authority, pem)


@pytest.fixture(scope="session")
def project_dir() -> Path:
    return PROJECT


@pytest.fixture(scope="session", autouse=True)
def crawls_are_preloaded() -> Iterator[None]:
    """From before the first test, so that none sees what that takes."""
    started = preloaded() if sys.platform == "linux" else None
    yield
    if started is not None:
        started.close()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A test ends what it starts. (Daemon threads are the business of who made them so.)"""
    before = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in before]
    lasting = [thread for thread in started if not thread.daemon]
    for thread in lasting:
        thread.join(5)
    left = [thread.name for thread in lasting if thread.is_alive()]
    assert not left, f"threads that the test left running: {left}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A web server."""
    with Origin() as server:
        yield server


@pytest.fixture
def tls_origin(certificate_authority: CertificateAuthority) -> Iterator[Origin]:
    """A web server whose certificate is good for clients that know `certificate_authority`."""
    with Origin(certificate_authority.server_context()) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that no test kills."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def not_here(reason: str) -> NoReturn:
    """Skip a test for what the machine lacks; where all are wanted (``.ci/run``), fail it."""
    if os.environ.get("FETCHER_ALL_TESTS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        not_here("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=20M", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        not_here("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
