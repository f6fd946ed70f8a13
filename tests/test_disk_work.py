"""What waits for a disk: in place where it is quick, in threads where it is not or may not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from fetcher.disk.database import Busy
from fetcher.errors import DiskError
from fetcher.transfer import disk_work
from fetcher.transfer.disk_work import DiskWork

LOOP = threading.current_thread()


def where() -> str:
    return "in place" if threading.current_thread() is LOOP else "in a thread"


def brief(wait: bool) -> str:
    return f"{where()}, waiting: {wait}"


AT_ONCE, IN_A_THREAD = "in place, waiting: False", "in a thread, waiting: True"


def test_what_is_quick_is_done_in_place() -> None:
    async def main() -> list[str]:
        disk = DiskWork()
        return [await disk.run_brief(brief) for _ in range(3)]

    assert asyncio.run(main()) == [AT_ONCE] * 3


def test_who_would_have_to_wait_for_others_does_so_in_a_thread() -> None:
    def busy(wait: bool) -> str:
        if not wait:
            raise Busy
        return brief(wait)

    async def main() -> list[str]:
        disk = DiskWork()
        return [await disk.run_brief(busy), await disk.run_brief(brief)]

    assert asyncio.run(main()) == [IN_A_THREAD, AT_ONCE]


def test_after_something_slow_threads_are_used_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_work, "AFTER_SLOW", 2)

    async def main() -> list[str]:
        disk = DiskWork()
        with monkeypatch.context() as patch:
            patch.setattr(disk_work, "BRIEF_SECONDS", 0.0)
            found = [await disk.run_brief(brief)]
        return found + [await disk.run_brief(brief) for _ in range(3)]

    assert asyncio.run(main()) == [AT_ONCE, IN_A_THREAD, IN_A_THREAD, AT_ONCE]


def test_an_error_of_what_is_done_in_place_is_its_callers() -> None:
    def fail(wait: bool) -> None:
        raise DiskError("broken")

    with pytest.raises(DiskError, match="broken"):
        asyncio.run(DiskWork().run_brief(fail))


def test_no_file_is_begun_in_place_while_many_wait_for_their_names() -> None:
    """They would become more and more, and each is open."""
    go_on = threading.Event()

    def wait_for_it(things: Sequence[int]) -> list[None]:
        go_on.wait(10)
        return [None] * len(things)

    async def main() -> list[str]:
        disk = DiskWork()
        waiting = [
            asyncio.ensure_future(disk.run_together(wait_for_it, number))
            for number in range(disk_work.MOST_WAITING)
        ]
        await asyncio.sleep(0)
        found = [await disk.run_brief(brief)]
        go_on.set()
        await asyncio.gather(*waiting)
        return [*found, await disk.run_brief(brief)]

    assert asyncio.run(main()) == [IN_A_THREAD, AT_ONCE]


def test_things_that_are_ready_at_a_time_are_worked_on_together() -> None:
    begun, go_on = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def work(things: Sequence[int]) -> list[Exception | None]:
        batches.append(list(things))
        assert where() == "in a thread"
        begun.set()
        go_on.wait(10)
        return [DiskError(f"{thing} is broken") if thing % 2 else None for thing in things]

    async def main() -> list[BaseException | None]:
        disk = DiskWork()

        def start(number: int) -> asyncio.Future[None]:
            return asyncio.ensure_future(disk.run_together(work, number))

        running = [start(0)]
        await asyncio.to_thread(begun.wait, 10)
        count = disk_work.MOST_TOGETHER + 2
        running += [start(number) for number in range(1, count)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait(running)
        # And once more, after the queue has been empty.
        running.append(start(count))
        await asyncio.wait(running)
        return [task.exception() for task in running]

    errors = asyncio.run(main())
    most, last = disk_work.MOST_TOGETHER, disk_work.MOST_TOGETHER + 1
    assert batches == [[0], list(range(1, most + 1)), [last], [last + 1]]
    for number, error in enumerate(errors):
        assert (None if error is None else str(error)) == (
            f"{number} is broken" if number % 2 else None
        )


def test_work_that_breaks_breaks_for_all() -> None:
    def work(things: Sequence[int]) -> list[None]:
        raise RuntimeError("a bug")

    async def main() -> list[BaseException | None]:
        disk = DiskWork()
        running = [asyncio.ensure_future(disk.run_together(work, number)) for number in range(2)]
        done, pending = await asyncio.wait(running, timeout=5)
        assert not pending
        return [task.exception() for task in done]

    assert [str(error) for error in asyncio.run(main())] == ["a bug"] * 2
