"""The settings leave out of Scrapy's lists what is named here, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scrapy.settings import default_settings

from fetcher import settings
from tests.crawl import PROJECT

LEFT_OUT = {
    "DOWNLOADER_MIDDLEWARES_BASE": {
        # Ours stand in for them.
        "scrapy.downloadermiddlewares.retry.RetryMiddleware",
        "scrapy.downloadermiddlewares.redirect.RedirectMiddleware",
        # Files are neither pages to be followed nor compressed on the way; a connection's silence
        # is timed, not the transfer.
        "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware",
        "scrapy.downloadermiddlewares.httpcompression.HttpCompressionMiddleware",
        "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware",
        "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware",
        "scrapy.downloadermiddlewares.downloadtimeout.DownloadTimeoutMiddleware",
        "scrapy.downloadermiddlewares.httpcache.HttpCacheMiddleware",
        # Its jar shares cookies between the ports and schemes of a host, and loads the public
        # suffix list from the network in the middle of the crawl.
        "scrapy.downloadermiddlewares.cookies.CookiesMiddleware",
        # Counts bytes of bodies, which do not pass here, and takes a thirtieth of the time that a
        # small file takes.
        "scrapy.downloadermiddlewares.stats.DownloaderStats",
        # Takes a login from the spider's attributes; each row has its own.
        "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware",
    },
    "SPIDER_MIDDLEWARES_BASE": {
        # A list is not a site: it has no depth, and a CDN's signed address may be long.
        "scrapy.spidermiddlewares.depth.DepthMiddleware",
        "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware",
        "scrapy.spidermiddlewares.metacopy.MetaCopyDetectionMiddleware",
        # Each is a layer around every file's item; and there are no pages, so no links from them,
        # no answers of other statuses, and nothing to do but to start.
        "scrapy.spidermiddlewares.httperror.HttpErrorMiddleware",
        "scrapy.spidermiddlewares.referer.RefererMiddleware",
        "scrapy.spidermiddlewares.start.StartSpiderMiddleware",
    },
    "EXTENSIONS_BASE": {
        # Both would run whatever a local user tells them.
        "scrapy.extensions.telnet.TelnetConsole",
        "scrapy.extensions.remote_control.RemoteControl",
        # The progress display says more.
        "scrapy.extensions.logstats.LogStats",
    },
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_scrapys_list_is_known(name: str) -> None:
    theirs, ours = getattr(default_settings, name), getattr(settings, name)
    assert set(theirs) - set(ours) == LEFT_OUT[name]
    assert {path: theirs[path] for path in ours} == ours


def test_what_is_left_out_is_not_loaded() -> None:
    script = (
        "import sys; sys.argv = ['scrapy', 'crawl', 'fetch', '-a', 'urls=/nowhere']\n"
        "from scrapy.cmdline import execute\n"
        "try: execute()\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'tldextract', 'rich', 'redis'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_handlers_load_slow_libraries_only_for_those_who_need_them() -> None:
    """Scrapy loads the classes of all schemes at every start."""
    paths = set(filter(None, settings.DOWNLOAD_HANDLERS.values()))
    script = (
        "import sys\nfrom scrapy.utils.misc import load_object\n"
        f"for path in {sorted(paths)}: load_object(path)\n"
        "print('paramiko' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_item_pipelines_load_what_unpacks_only_for_those_who_unpack() -> None:
    script = (
        "import sys\nfrom scrapy.utils.misc import load_object\n"
        f"for path in {sorted(settings.ITEM_PIPELINES)}: load_object(path)\n"
        "print({'tarfile', 'fetcher.disk.unpacking'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
