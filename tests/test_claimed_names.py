"""One name, one row: also where a server gives a name while another process turns to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scrapy import Request
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import META_FETCH, META_SINK, Answer, FileProgress, plain_row
from fetcher.disk.ledger import Ledger
from fetcher.disk.promises import Promises
from fetcher.items import FileItem
from fetcher.transfer.commit import commit
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.hosts import Hosts
from fetcher.transfer.job import FileJob

URL = "http://127.0.0.1:9/x"


def file_job(out: Path, ledger: Ledger, name: str) -> FileJob:
    meta = plain_row(name, str(out))
    request = Request(URL, meta={META_FETCH: meta})
    crawl = Hosts(), Promises(), DiskWork()
    return FileJob(request, Config(), send, ledger, *crawl, FileProgress(name))


async def send(request: Request) -> Response:
    """A server with a file of three bytes."""
    sink = request.meta[META_SINK]
    sink.request_headers()
    await sink.prepare(Answer(request.url, 200))
    if sink.begin(Answer(request.url, 200, {"content-length": "3"})):
        sink.write(b"abc")
    return Response(request.url)


def test_a_name_that_a_server_gives_while_the_row_comes_to_its_turn_is_not_the_rows(
    tmp_path: Path,
) -> None:
    """Else the other row's file would be taken for there, with this one's bytes."""

    async def main() -> FileItem:
        ledger, other = Ledger(tmp_path), Ledger(tmp_path)
        try:
            job = file_job(tmp_path, ledger, "x.bin")
            # In another process; there is no part yet that would show who is at the name.
            assert other.claim_server_name("another row", "x.bin") == "x.bin"
            item = await job.run()
            assert other.claim_server_name("another row", "x.bin") == "x.bin"
            if item.download is not None:
                await commit(item.download)
                item.download.close()
            return item
        finally:
            ledger.close()
            other.close()

    item = asyncio.run(main())

    assert (item.status, item.name) == ("ok", "x.1.bin")
    assert (tmp_path / "x.1.bin").read_bytes() == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fetcher", "x.1.bin"]
