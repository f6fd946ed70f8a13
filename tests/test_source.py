"""One address of a file."""

from typing import Any, cast

import pytest
from scrapy import Request
from scrapy.http import Response

from fetcher.contract import Answer, FileProgress
from fetcher.rules.bucket import Bucket
from fetcher.rules.resource import Resource
from fetcher.transfer.hosts import Host
from fetcher.transfer.source import Source


async def nobody(_: Request) -> Response:
    raise AssertionError("nothing is asked")


async def nothing(_: Answer) -> None:
    raise AssertionError("nothing is answered")


def source_of(bucket: Bucket | None) -> Source:
    no_intake = cast("Any", None)
    request = Request("http://h/f")
    return Source(
        request, nobody, Host(), FileProgress("f"), no_intake, Resource(), {}, nothing, bucket
    )


def test_the_speed_is_what_its_connections_have_had_lately() -> None:
    source = source_of(None)
    source.note_bytes(0, 1.0)
    source.note_bytes(100, 0.0)
    assert source.speed is None
    source.note_bytes(1000, 2.0)
    source.note_speed(1500)
    assert source.speed == pytest.approx(1000)


def test_those_that_are_faster_than_the_crawl_may_be_are_equals() -> None:
    """What comes out of a buffer at once tells mirrors apart by chance."""
    one, other = source_of(Bucket(1000)), source_of(Bucket(1000))
    one.note_speed(5_000)
    other.note_speed(900_000)
    assert one.speed == other.speed == 1000
