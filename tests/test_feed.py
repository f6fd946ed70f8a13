"""Rows read ahead."""

import asyncio
from collections.abc import Iterator

import pytest

from fetcher.contract import ListProgress
from fetcher.errors import InvalidListError
from fetcher.lists import BadRow, Row
from fetcher.lists.feed import AHEAD, AHEAD_BYTES, RowFeed
from fetcher.rules.pieces import Pieces

HEX = "0" * 40


def most_ahead(row: Row, count: int) -> int:
    """The most rows that are read before they are asked for."""
    read = most = 0

    def rows() -> Iterator[Row | BadRow]:
        nonlocal read
        for _ in range(count):
            read += 1
            yield row

    async def main() -> int:
        nonlocal most
        feed = RowFeed(rows(), lambda row: row.memory, ListProgress())
        taken = 0
        async for together in feed:
            for _ in together:
                await asyncio.sleep(0)
                taken += 1
                most = max(most, read - taken)
        feed.close()
        # Its thread wakes the loop once more, which has to be there.
        await asyncio.to_thread(feed.join)
        return taken

    assert asyncio.run(main()) == count
    return most


def test_whatever_goes_wrong_in_the_thread_ends_the_list() -> None:
    def rows() -> Iterator[Row]:
        yield Row(1, "http://h/a", None, None, None, ())
        raise ValueError("nobody has thought of this")

    async def main() -> None:
        feed = RowFeed(rows(), lambda row: row.memory, ListProgress())
        try:
            async with asyncio.timeout(10):
                async for _ in feed:
                    pass
        finally:
            feed.close()
            await asyncio.to_thread(feed.join)

    with pytest.raises(InvalidListError, match="nobody has thought of this"):
        asyncio.run(main())


def test_few_rows_are_read_ahead() -> None:
    assert most_ahead(Row(1, "http://h/a", None, None, None, ()), 5 * AHEAD) <= AHEAD + 1


def test_fewer_where_they_are_large() -> None:
    pieces = Pieces(1, "sha1", (HEX,) * (AHEAD_BYTES // 200))
    assert most_ahead(Row(1, "http://h/a", None, None, None, (), pieces=pieces), AHEAD) < 5


def test_one_row_there_always_is_room_for() -> None:
    pieces = Pieces(1, "sha1", (HEX,) * (AHEAD_BYTES // 40))
    assert most_ahead(Row(1, "http://h/a", None, None, None, (), pieces=pieces), 9) <= 2
