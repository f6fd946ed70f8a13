"""What the add-on and its pipeline make of a project's settings."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured, NotSupported
from scrapy.http import Response
from scrapy.settings import Settings
from scrapy.utils.python import global_object_name

import fetcher
from fetcher.addon import HANDLERS
from fetcher.config import Config
from fetcher.errors import InvalidSettingError
from fetcher.handlers.plain import PlainHandler
from fetcher.middlewares.ranges import RangeMiddleware
from fetcher.pipelines import LargeFilesPipeline

RETRY = "scrapy.downloadermiddlewares.retry.RetryMiddleware"
REDIRECT = "scrapy.downloadermiddlewares.redirect.RedirectMiddleware"


class OwnHandler:
    """That of a project; it begins with the crawl."""

    lazy = False
    made = 0

    def __init__(self, crawler: Crawler) -> None:
        type(self).made += 1

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def download_request(self, request: Request) -> Response:
        return Response(request.url, body=b"by its own")

    async def close(self) -> None:
        type(self).made -= 1


class LazyHandler(OwnHandler):
    lazy = True


class AbsentHandler(OwnHandler):
    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        raise NotConfigured("its library is missing")


def settled(**own: Any) -> Settings:
    """A project's settings once the add-on has been loaded."""
    settings = Settings(own)
    fetcher.Addon().update_settings(settings)
    return settings


def middlewares(settings: Settings) -> dict[str, int]:
    components: Mapping[Any, int] = settings.get_component_priority_dict_with_base(
        "DOWNLOADER_MIDDLEWARES"
    )
    return {
        key if isinstance(key, str) else global_object_name(key): order
        for key, order in components.items()
    }


def test_it_brings_what_files_need_and_nothing_else() -> None:
    settings, plain = settled(), Settings()
    changed = {name for name in settings if settings[name] != plain[name]}
    assert changed == {
        *("DOWNLOAD_HANDLERS", "DOWNLOADER_MIDDLEWARES", "EXTENSIONS", "ITEM_PIPELINES"),
        *("DOWNLOADER", "CONCURRENT_REQUESTS"),
    }
    assert settings.getdict("DOWNLOAD_HANDLERS") == HANDLERS
    assert settings.getint("CONCURRENT_REQUESTS") == Config().least_concurrent_requests()
    before, after = middlewares(plain), middlewares(settings)
    assert before.items() <= after.items()
    orders = {path.rpartition(".")[2]: order for path, order in (after.items() - before.items())}
    assert orders["RangeMiddleware"] < min(before.values())
    assert orders["ResumeRetryMiddleware"] > before[RETRY]
    assert orders["OriginRedirectMiddleware"] > before[REDIRECT]


def test_what_the_project_has_set_stays() -> None:
    own = {
        "DOWNLOADER": "shop.Downloader",
        "CONCURRENT_REQUESTS": 4,
        "DOWNLOADER_MIDDLEWARES": {RETRY: None, RangeMiddleware: 40},
    }
    settings = settled(**own)
    assert settings["DOWNLOADER"] == "shop.Downloader"
    assert settings["CONCURRENT_REQUESTS"] == 4
    found = middlewares(settings)
    assert RETRY not in found
    assert found[global_object_name(RangeMiddleware)] == 40
    assert "fetcher.middlewares.retry.ResumeRetryMiddleware" in found
    assert settled(CONCURRENT_REQUESTS=0)["CONCURRENT_REQUESTS"] == 0


def test_more_connections_want_more_requests() -> None:
    assert settled(FETCHER_MAX_PARALLEL=10)["CONCURRENT_REQUESTS"] == 61


def test_handlers_of_the_project_keep_the_pages() -> None:
    own = {"https": OwnHandler, "ftp": None, "own": "shop.Handler", "http": HANDLERS["http"]}
    settings = settled(DOWNLOAD_HANDLERS=own)
    found = settings.getwithbase("DOWNLOAD_HANDLERS")
    assert found["https"] == HANDLERS["https"]
    assert found["ftp"] is None
    assert found["own"] == "shop.Handler"
    base, scrapys = settings["DOWNLOAD_HANDLERS_BASE"], Settings()["DOWNLOAD_HANDLERS_BASE"]
    assert base["https"] is OwnHandler
    assert {**base, "https": scrapys["https"]} == dict(scrapys)


@pytest.mark.parametrize(("handler", "made"), [(OwnHandler, 1), (LazyHandler, 0)])
def test_a_handler_of_the_project_begins_as_it_would(handler: type[OwnHandler], made: int) -> None:
    crawler = Crawler(Spider, settled(DOWNLOAD_HANDLERS={"http": handler}))

    async def fetch() -> bytes:
        plain = PlainHandler(crawler, "http")
        assert handler.made == made
        try:
            return (await plain.download_request(Request("http://127.0.0.1/"))).body
        finally:
            assert handler.made == 1
            await plain.close()

    assert asyncio.run(fetch()) == b"by its own"
    assert handler.made == 0


def test_a_handler_that_cannot_run_says_why() -> None:
    crawler = Crawler(Spider, settled(DOWNLOAD_HANDLERS={"sftp": AbsentHandler}))
    plain = PlainHandler(crawler, "sftp")
    for _ in range(2):
        with pytest.raises(NotSupported, match="its library is missing"):
            asyncio.run(plain.download_request(Request("sftp://127.0.0.1/a")))


def test_a_project_without_twisted_is_told_so() -> None:
    with pytest.raises(NotConfigured, match="TWISTED_REACTOR_ENABLED"):
        settled(TWISTED_REACTOR_ENABLED=False)


def test_a_setting_that_means_nothing_ends_the_crawl_at_its_start() -> None:
    with pytest.raises(InvalidSettingError, match="FETCHER_MAX_SPLITS=none"):
        settled(FETCHER_MAX_SPLITS="none")


def test_a_setting_that_is_misspelt_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    settled(FETCHER_MAX_SPLIT=3)
    assert "did you mean FETCHER_MAX_SPLITS" in caplog.text


def test_scrapys_defaults_for_pages_do_not_count_for_files() -> None:
    # How many connections go to a host is for both.
    assert Config.from_settings(Settings()) == Config(host_connections=8)
    chosen = {"DOWNLOAD_MAXSIZE": 1 << 30, "DOWNLOAD_VERIFY_CERTIFICATES": False}
    config = Config.from_settings(Settings(chosen))
    assert (config.max_size, config.verify_certificates) == (1 << 30, False)


@pytest.mark.parametrize("store", ["s3://bucket/files", "gs://bucket/files", "ftp://u:pw@host/f"])
def test_a_store_elsewhere_is_refused(store: str) -> None:
    crawler = Crawler(Spider, settled(FILES_STORE=store))
    with pytest.raises(InvalidSettingError, match="local folder") as caught:
        LargeFilesPipeline.from_crawler(crawler)
    assert "pw" not in caught.value.message


def test_the_pipeline_needs_the_addon(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"ADDONS = .*fetcher\.Addon"):
        LargeFilesPipeline.from_crawler(Crawler(Spider, {"FILES_STORE": str(tmp_path)}))


@pytest.mark.parametrize("store", ["", None])
def test_without_a_store_it_is_off(store: str | None) -> None:
    with pytest.raises(NotConfigured, match="FILES_STORE"):
        LargeFilesPipeline.from_crawler(Crawler(Spider, settled(FILES_STORE=store)))
