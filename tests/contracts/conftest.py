"""Tests that are coroutines run in the reactor's thread, where handlers run too."""

import inspect
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CertificateAuthority
from tests.reactor import Reactor, reactor

__all__ = ["reactor"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    running = pyfuncitem.funcargs["reactor"]
    assert isinstance(running, Reactor)
    names = inspect.signature(pyfuncitem.obj).parameters
    running.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def not_even_a_daemon_is_left(reactor: Reactor) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.005)


@pytest.fixture
def certificate(certificate_authority: CertificateAuthority, tmp_path: Path) -> Path:
    """A server's key and chain."""
    path = tmp_path / "server.pem"
    issued = certificate_authority.authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
