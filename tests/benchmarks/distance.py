"""``python -m tests.benchmarks.distance PORT SECONDS``: a relay to a port of loopback, far away.

Bytes take half of the round trip each way, and a connection takes one to be made. Prints its own
port, and ends when standard input does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Self, cast

UNDER_WAY = 8 << 20
"""Bytes that may be under way in one direction of a connection: a wide and long line's."""


class Side(asyncio.Protocol):
    """One of the two connections of a pair; what it receives goes to the other, later.

    :param seconds: how much later.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way = 0
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._under_way += len(data)
        if self._under_way > UNDER_WAY and self.transport is not None:
            self.transport.pause_reading()
        self._loop.call_later(self._seconds, self._deliver, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.call_later(self._seconds, self._end)

    def _deliver(self, data: bytes) -> None:
        self._under_way -= len(data)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        to = self.other.transport if self.other is not None else None
        if to is not None and not to.is_closing():
            to.write(data)

    def _end(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Near(Side):
    """The client's side.

    :param port: of the server on loopback.
    """

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self._port = port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        # A client that is told at once that it is connected has to wait all the same.
        await asyncio.sleep(2 * self._seconds)
        far = Side(self._seconds)
        far.other, self.other = self, far
        await self._loop.create_connection(lambda: far, "127.0.0.1", self._port)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class Distance:
    """Such a relay in a process of its own.

    :param port: of the server.
    :param round_trip: seconds.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port), str(round_trip)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._process.stdout.readline())  # type: ignore[union-attr] # a pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            pass


async def serve(port: int, round_trip: float) -> None:
    """Relay until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Near(port, round_trip / 2), "127.0.0.1", 0, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
