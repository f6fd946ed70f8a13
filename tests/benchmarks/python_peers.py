"""Downloaders in Python, each in a few lines: ``python python_peers.py NAME LIST OUT PARALLEL
SPLITS``, by an interpreter that has them. It imports nothing of this project."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def pymatris(addresses: list[str], out: str, parallel: int, splits: int) -> None:
    """https://github.com/zhuolisam/pymatris"""
    from pymatris import Downloader  # type: ignore[import-not-found]

    downloader: Any = Downloader(max_parallel=parallel, max_splits=splits)
    for address in addresses:
        downloader.enqueue_file(address, path=out)
    downloader.download()


def parfive(addresses: list[str], out: str, parallel: int, splits: int) -> None:
    """https://parfive.readthedocs.io"""
    from parfive import Downloader  # type: ignore[import-not-found]

    downloader: Any = Downloader(max_conn=parallel, max_splits=splits, progress=False)
    for address in addresses:
        downloader.enqueue_file(address, path=out)
    downloader.download()


def pypdl(addresses: list[str], out: str, parallel: int, splits: int) -> None:
    """https://github.com/mjishnu/pypdl"""
    from pypdl import Pypdl  # type: ignore[import-not-found]

    downloader: Any = Pypdl(max_concurrent=parallel)
    tasks = [{"url": address, "file_path": out + "/"} for address in addresses]
    downloader.start(tasks=tasks, segments=splits, display=False, overwrite=True)


def requests(addresses: list[str], out: str, parallel: int, splits: int) -> None:
    """A pool of threads, ``requests`` and ``shutil.copyfileobj``; one connection a file."""
    import shutil
    from concurrent.futures import ThreadPoolExecutor

    from requests import get  # type: ignore[import-untyped,unused-ignore]

    def fetch(address: str) -> None:
        with get(address, stream=True, timeout=60) as answer:
            answer.raise_for_status()
            with Path(out, address.rpartition("/")[2]).open("wb") as file:
                shutil.copyfileobj(answer.raw, file, 1 << 20)

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(fetch, addresses))


def files_pipeline(addresses: list[str], out: str, parallel: int, splits: int) -> None:
    """Scrapy's own way to store files: whole in memory, one connection a file."""
    from urllib.parse import urlsplit

    import scrapy
    from scrapy.crawler import CrawlerProcess
    from scrapy.pipelines.files import FilesPipeline

    class Named(FilesPipeline):
        def file_path(self, request: Any, *args: Any, **kwargs: Any) -> str:
            return str(urlsplit(request.url).path.rpartition("/")[2])

    class Spider(scrapy.Spider):
        name = "files"

        async def start(self) -> Any:
            yield {"file_urls": addresses}

    process = CrawlerProcess(
        {
            "ITEM_PIPELINES": {Named: 1},
            "FILES_STORE": out,
            "LOG_LEVEL": "ERROR",
            "CONCURRENT_REQUESTS": parallel,
            "CONCURRENT_REQUESTS_PER_DOMAIN": parallel,
            "DOWNLOAD_MAXSIZE": 0,
            "DOWNLOAD_WARNSIZE": 0,
        }
    )
    process.crawl(Spider)
    process.start()


PEERS = {
    "pymatris": pymatris,
    "parfive": parfive,
    "pypdl": pypdl,
    "requests, threads": requests,
    "Scrapy's FilesPipeline": files_pipeline,
}

if __name__ == "__main__":
    name, list_, out, parallel, splits = sys.argv[1:]
    PEERS[name](Path(list_).read_text().split(), out, int(parallel), int(splits))
