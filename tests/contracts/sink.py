"""A sink that keeps a body in memory, and remembers all that its handler did."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Self

from fetcher.contract import Answer
from fetcher.errors import Stopped
from fetcher.rules.bucket import Share


class RecordingSink:
    """See :class:`fetcher.contract.RangeSink`. Belongs to the event loop.

    :param headers: what is asked for.
    :param limit: bytes that are wanted; None for all that come.
    :param wanted: what `begin` returns.
    :param pauses: seconds that `pace` gives, one after the other, and then none.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int | None = None,
        wanted: bool = True,
        pauses: Iterable[float] = (),
    ) -> None:
        self.answer: Answer | None = None
        self.data = bytearray()
        self.calls: list[str] = []
        """Names of the methods that the handler called; blocks that follow each other as one."""
        self.misuse: list[str] = []
        """What a handler must not do."""
        self.refusal: Exception | None = None
        """What `begin` raises."""
        self.failure: Exception | None = None
        """What `write` raises once `limit` bytes are there."""
        self.asked: list[int] = []
        """What `pace` was asked for."""
        self.hasty = 0
        """Bytes that came while the connection was not to be read from."""
        self.largest = 0
        """Bytes of the largest block that came."""
        self._pauses = iter(pauses)
        self._until = 0.0
        self._headers = dict(headers or {})
        self._limit = limit
        self._wanted = wanted
        self._full = False
        self._reason: BaseException | None = None
        self._stop: Callable[[], None] | None = None
        self._changed = asyncio.Event()

    # --- What a test does and asks ---------------------------------------------------------

    @classmethod
    def range(
        cls, start: int, end: int, *, wanted: bool = True, pauses: Iterable[float] = ()
    ) -> Self:
        """For the bytes from ``start`` up to, not including, ``end``."""
        headers = {"Range": f"bytes={start}-{end - 1}"}
        return cls(headers, limit=end - start, wanted=wanted, pauses=pauses)

    @property
    def status(self) -> int | None:
        return None if self.answer is None else self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer."""
        return {} if self.answer is None else self.answer.headers

    @property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()

    def ask(self, headers: Mapping[str, str]) -> None:
        """Add to what is asked for."""
        self._headers |= headers

    def stop(self, reason: BaseException | None = None) -> BaseException:
        """End the transfer from this side, as an interruption does; gives the reason."""
        self._reason = reason or Stopped("the run was interrupted")
        if self._stop is not None:
            self._stop()
        return self._reason

    async def until_asked(self) -> None:
        """The handler has asked how the transfer can be stopped."""
        await self._until_true(lambda: self._stop is not None)

    async def until_paused(self) -> None:
        """The handler has been told to wait."""
        await self._until_true(lambda: self._until > time.monotonic())

    async def until_received(self, count: int = 1) -> None:
        await self._until_true(lambda: len(self.data) >= count)

    def _until_true(self, condition: Callable[[], bool]) -> Awaitable[None]:
        async def wait() -> None:
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        return asyncio.wait_for(wait(), 10)

    # --- What a handler calls --------------------------------------------------------------

    @property
    def stopped(self) -> BaseException | None:
        return self._reason

    def request_headers(self) -> Mapping[str, str]:
        self._note("request_headers")
        return self._headers

    def attach(self, stop: Callable[[], None]) -> None:
        if self._reason is not None:
            raise self._reason
        self._stop = stop
        self._changed.set()

    async def prepare(self, answer: Answer) -> None:
        self._note("prepare")
        await asyncio.sleep(0.01)
        if self._reason is not None:
            raise self._reason

    def begin(self, answer: Answer) -> bool:
        self._note("begin")
        if "prepare" not in self.calls:
            self.misuse.append("begin without prepare")
        self.answer = answer
        if self.refusal is not None:
            raise self.refusal
        return self._wanted

    def write(self, data: bytes | memoryview) -> bool:
        self._note("write")
        if self._full or not self._wanted:
            self.misuse.append("what is not wanted is written")
        if not data:
            self.misuse.append("an empty block is written")
        # Timers are not more exact than that.
        if time.monotonic() < self._until - 0.005:
            self.hasty += len(data)
        self.largest = max(self.largest, len(data))
        self.data += data if self._limit is None else data[: self._limit - len(self.data)]
        self._changed.set()
        self._full = self._limit is not None and len(self.data) >= self._limit
        if self._full and self.failure is not None:
            raise self.failure
        return not self._full

    def pace(self, size: int) -> float:
        self.asked.append(size)
        seconds = next(self._pauses, 0.0)
        self._until = time.monotonic() + seconds
        self._changed.set()
        return seconds

    def next_try(self) -> float | None:
        self.misuse.append("next_try is for the middleware")
        return None

    async def pause(self, seconds: float) -> None:
        self.misuse.append("pause is for the middleware")

    def _note(self, call: str) -> None:
        if self._reason is not None:
            self.misuse.append(f"{call} after the transfer was stopped")
        if (call == "write") is not ("begin" in self.calls):
            self.misuse.append(f"{call} after {self.calls}")
        if call != "write" or self.calls[-1] != "write":
            self.calls.append(call)


class PacedSink(RecordingSink):
    """Paces its handler by its share of a rate.

    :ivar curve: when how many bytes were there, after each block.
    """

    share: Share

    def __init__(self, headers: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(headers, **options)
        self.curve: list[tuple[float, int]] = []

    def write(self, data: bytes | memoryview) -> bool:
        self.share.read(len(data))
        wanted = super().write(data)
        self.curve.append((time.monotonic(), len(self.data)))
        return wanted

    def pace(self, size: int) -> float:
        return self.share.pace(size, time.monotonic())
