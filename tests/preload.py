"""Starts crawls that need not load Python's and Scrapy's modules first.

Loading takes three quarters of a short crawl's time, and there are some hundred of them. So one
process loads what ``scrapy crawl fetch`` loads. Each time that it forks, it becomes a process of
its own that runs what it is told to: with the arguments, the environment and the standard streams
that it would have had, in a process group of its own, and as a child of who asked. Nothing of the
program is run before that.

Only where that makes no difference: see :func:`can_start`.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

SCRAPY = [sys.executable, "-m", "scrapy"]

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): processes whose parents have ended become children of this one."""

MODULES = (
    "scrapy.__main__",
    "scrapy.cmdline",
    "scrapy.core.engine",
    "scrapy.core.scraper",
    "scrapy.dupefilters",
    "scrapy.exporters",
    "scrapy.pqueues",
    "scrapy.squeues",
    "encodings.idna",
    "fetcher.handlers.downloader",
    "fetcher.handlers.ftp",
    "fetcher.handlers.sftp",
)
"""What a crawl also loads; not the reactor, which is there as soon as it is loaded."""

_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""What variables begin with that matter before the first line of a program is run."""


class Preloaded:
    """One such process, for as long as this one lives."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.preload", str(theirs.fileno())],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )

    def start(
        self, command: Sequence[str], env: Mapping[str, str], streams: tuple[int, int, int]
    ) -> int:
        """The number of the process, which is a child of this one."""
        request = json.dumps({"command": list(command), "env": dict(env)}).encode()
        head = len(request).to_bytes(4)
        socket.send_fds(self._socket, [head], list(streams))
        self._socket.sendall(request)
        return int.from_bytes(_receive(self._socket, 4))

    def close(self) -> None:
        self._socket.close()
        self._server.wait(10)


@cache
def preloaded() -> Preloaded:
    """That of this process."""
    return Preloaded()


def can_start(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a process that is forked does the same as one that is started anew."""
    if sys.platform != "linux" or list(command[:3]) != SCRAPY:
        return False
    return all(
        env.get(name) == os.environ.get(name)
        for name in env.keys() | os.environ.keys()
        if name.startswith(_AT_START)
    )


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            raise EOFError("the process that starts crawls has ended")
        data += block
    return data


def _load() -> None:
    """Import what a crawl imports."""
    from scrapy.utils.misc import load_object, walk_modules_iter

    from fetcher import settings
    from fetcher.commands.run import load_handler

    load_handler()
    for package in ("scrapy.commands", "fetcher.commands", "fetcher.spiders", "fetcher.workers"):
        list(walk_modules_iter(package))
    lists = (
        settings.DOWNLOADER_MIDDLEWARES_BASE,
        settings.DOWNLOADER_MIDDLEWARES,
        settings.ITEM_PIPELINES,
        settings.EXTENSIONS_BASE,
        settings.EXTENSIONS,
    )
    for path in [path for each in lists for path in each]:
        load_object(path)
    for module in MODULES:
        import_module(module)


def _serve(connection: socket.socket) -> list[str] | None:
    """In each new process, what it is to run; None when nobody asks any more."""
    while True:
        head, streams, _, _ = socket.recv_fds(connection, 4, 3)
        if not head:
            return None
        request = json.loads(_receive(connection, int.from_bytes(head)))
        told, tell = os.pipe()
        middle = os.fork()
        if middle == 0:
            pid = os.fork()
            if pid == 0:
                connection.close()
                os.close(told)
                os.close(tell)
                _become(request["env"], streams)
                command: list[str] = request["command"]
                return command
            os.setpgid(pid, pid)
            os.write(tell, pid.to_bytes(4))
            os._exit(0)
        # From here on it is a child of who asked.
        os.waitpid(middle, 0)
        connection.sendall(os.read(told, 4))
        for descriptor in (told, tell, *streams):
            os.close(descriptor)


def _become(env: Mapping[str, str], streams: list[int]) -> None:
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
        os.close(descriptor)


def main() -> None:
    """Serve the one whose end of the pipe this is."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _load()
    command = _serve(connection)
    if command is None:
        return
    import scrapy.__main__ as program
    from scrapy.cmdline import execute

    sys.argv = [program.__file__, *command[3:]]
    execute()


if __name__ == "__main__":
    main()
