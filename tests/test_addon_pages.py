"""Requests that are no file's behave with the add-on as in plain Scrapy.

One spider asks for everything that a project may ask for, once with the add-on and once without:
all that it has seen, all stats but times, and all that the servers were asked, are the same.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import pytest

from tests.project import ADDED, Project
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Record
from tests.servers.faults import Close, NoContentLength, Redirect, Stall, Status
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Resource

SPIDER = """
import json

import scrapy
from scrapy import signals
from scrapy.exceptions import StopDownload

META = (
    "cookiejar", "depth", "download_slot", "download_timeout", "link_text", "max_retry_times",
    "proxy", "redirect_reasons", "redirect_times", "redirect_ttl", "redirect_urls", "retry_times",
)


class AllSpider(scrapy.Spider):
    name = "all"

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.seen, spider.heard, spider.received = {}, {}, {}
        for name in SIGNALS:
            crawler.signals.connect(getattr(spider, name), getattr(signals, name))
        return spider

    async def start(self):
        with open(self.requests) as file:
            for name, arguments in json.load(file).items():
                yield self.request(name, arguments)

    def request(self, name, arguments):
        return scrapy.Request(
            **arguments,
            dont_filter=True,
            callback=self.parse,
            errback=self.failed,
            cb_kwargs={"name": name},
        )

    def parse(self, response, name):
        request = response.request
        self.seen[name] = {
            "class": type(response).__name__,
            "url": response.url,
            "status": response.status,
            "headers": headers(response),
            "body": response.body.decode("latin-1"),
            "flags": response.flags,
            "certificate": response.certificate and response.certificate.getSubject().inspect(),
            "ip_address": str(response.ip_address),
            "protocol": response.protocol,
            "meta": {key: response.meta[key] for key in META if key in response.meta},
            "latency": "download_latency" in response.meta,
            "request": [request.method, request.url, headers(request), request.body.decode()],
        }
        if name == "cookies":
            yield response.follow("/eat/cookies", self.parse, cb_kwargs={"name": "eaten"})
        if name == "links":
            for link in response.css("a"):
                yield response.follow(link, self.parse, cb_kwargs={"name": link.attrib["id"]})

    def failed(self, failure):
        request = failure.request
        self.seen[request.cb_kwargs["name"]] = {
            "failure": failure.type.__name__,
            "message": str(failure.value),
            "meta": {key: request.meta[key] for key in META if key in request.meta},
        }

    def headers_received(self, headers, body_length, request, spider):
        self.hear(request, "headers", str(body_length), *sorted(map(str, headers)))
        if request.cb_kwargs.get("name") == "stopped by its head":
            raise StopDownload(fail=False)

    def bytes_received(self, data, request, spider):
        # How many come at a time is the system's choice.
        name = request.cb_kwargs.get("name", request.url)
        self.received[name] = self.received.get(name, b"") + data
        if request.cb_kwargs.get("name") == "stopped by its body":
            raise StopDownload

    def request_reached_downloader(self, request, spider):
        self.hear(request, "reached")

    def request_left_downloader(self, request, spider):
        self.hear(request, "left")

    def response_downloaded(self, response, request, spider):
        self.hear(request, "downloaded", response.status)

    def response_received(self, response, request, spider):
        self.hear(request, "received", response.status)

    def hear(self, request, *what):
        self.heard.setdefault(request.cb_kwargs.get("name", request.url), []).append(what)

    def closed(self, reason):
        stats = {key: str(value) for key, value in self.crawler.stats.get_stats().items()}
        received = {
            name: data.decode("latin-1")
            for name, data in self.received.items()
            if not name.startswith("too large")
        }
        found = {"seen": self.seen, "heard": self.heard, "received": received, "stats": stats}
        with open("found.json", "w") as file:
            json.dump(found, file, sort_keys=True)


SIGNALS = (
    "headers_received", "bytes_received", "request_reached_downloader",
    "request_left_downloader", "response_downloaded", "response_received",
)


def headers(message):
    return {name.decode(): [value.decode() for value in values] for name, values in
            message.headers.items() if name not in (b"Date", b"Proxy-Authorization")}
"""

SETTINGS = """\
COOKIES_ENABLED = True
REFERRER_POLICY = "unsafe-url"
REDIRECT_MAX_TIMES = 3
"""
CACHED = "CONCURRENT_REQUESTS = 1\nHTTPCACHE_ENABLED = True\n"

TIMES = ("_time", "elapsed", "memusage/", "_per_minute", "downloader/max", "log_count/INFO")

TEXT = b"<html><p>A page with some text.</p></html>" * 20


def pages(origin: Origin, secure: Origin) -> None:
    """All that is asked for over HTTP, as it is at first."""
    html = "text/html; charset=utf-8"

    def respond(fault: Fault) -> Resource:
        return Resource(Bytes(b""), script=lambda _: fault)

    origin.add("/plain", Resource(Bytes(TEXT), content_type=html))
    origin.add("/cookies", Resource(Bytes(TEXT), headers={"Set-Cookie": "taste=sweet; Path=/eat"}))
    origin.add("/eat/cookies", Resource(Bytes(TEXT)))
    for status in (301, 302, 303, 307, 308):
        origin.add(f"/to-cookies/{status}", respond(Redirect(origin.url("/plain"), status)))
    origin.add("/relative", respond(Redirect("plain?relative#there")))
    origin.add("/away", respond(Redirect(origin.url("/plain", host="localhost"))))
    origin.add("/loop", respond(Redirect(origin.url("/loop"))))
    origin.add("/to-file", respond(Redirect("file:///etc/hostname")))
    origin.add("/no-location", respond(Status(302)))
    origin.add("/bad-location", respond(Redirect("http://[bad")))
    refresh = b'<html><meta http-equiv="refresh" content="0;url=/plain?refreshed"></html>'
    origin.add("/refresh", Resource(Bytes(refresh), content_type=html))
    for coding, compress in CODINGS.items():
        headers = {"Content-Encoding": coding}
        origin.add(
            f"/{coding}", Resource(Bytes(compress(TEXT)), content_type=html, headers=headers)
        )
    origin.add("/unknown-coding", Resource(Bytes(TEXT), headers={"Content-Encoding": "own"}))
    origin.add(
        "/bomb",
        Resource(
            Bytes(gzip.compress(bytes(90_000), mtime=0)), headers={"Content-Encoding": "gzip"}
        ),
    )
    origin.add("/404", respond(Status(404, body=b"nothing")))
    origin.add("/500", respond(Status(500, body=b"broken")))
    origin.add("/204", respond(Status(204)))
    origin.add("/503-once", Resource(Bytes(TEXT), faults=[Status(503)]))
    origin.add("/silent", respond(Stall(None)))
    origin.add("/stalled", Resource(Bytes(TEXT), script=lambda _: Stall(10)))
    origin.add("/hung-up", respond(Close(None)))
    origin.add("/cut", Resource(Bytes(TEXT), script=lambda _: Close(10)))
    origin.add("/large", Resource(Content(100_000)))
    origin.add("/large-chunked", Resource(Content(100_000), chunked=True))
    origin.add("/endless", Resource(Bytes(TEXT), script=lambda _: NoContentLength()))
    origin.add("/robots.txt", b"User-agent: *\nDisallow: /forbidden")
    # Scrapy tells only the first of those who wait for a robots.txt what is in it.
    anchors = {"first": "/plain?1", "second": "/away?2", "forbidden": "/forbidden"}
    links = "".join(f'<a id="{name} link" href="{path}">' for name, path in anchors.items())
    origin.add("/links", Resource(Bytes(links.encode()), content_type=html))

    secure.add("/plain", TEXT)
    secure.add("/none", Status(204))


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, mtime=0),
    "deflate": zlib.compress,
    "br": brotli.compress,
}


def requests(origin: Origin, secure: Origin, ftp: FTPServer, file: Path) -> dict[str, Any]:
    """What is asked for: a name of ours, to the arguments of the request."""
    found: dict[str, Any] = {
        path[1:]: {"url": origin.url(path)}
        for path in (
            *("/plain", "/cookies", "/relative", "/away", "/loop", "/to-file"),
            *("/no-location", "/bad-location", "/refresh", "/gzip", "/deflate", "/br", "/links"),
            *("/unknown-coding", "/404", "/500", "/204", "/503-once", "/hung-up", "/cut"),
            *("/large", "/large-chunked", "/endless"),
        )
    }
    for status in (301, 302, 303, 307, 308):
        url = origin.url(f"/to-cookies/{status}")
        found[f"{status} GET"] = {"url": url}
        found[f"{status} POST"] = {
            "url": url,
            "method": "POST",
            "body": "a=1",
            "headers": {"Content-Type": "application/x-www-form-urlencoded", "X-Own": "1"},
        }
        found[f"{status} HEAD"] = {"url": url, "method": "HEAD"}
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        body = "" if method == "HEAD" else "some=body"
        found[method] = {"url": origin.url("/plain"), "method": method, "body": body}
    small, silence = {"download_maxsize": 50_000}, {"download_timeout": 0.3}
    lossy = {"download_fail_on_dataloss": False}
    logged_in = {"Authorization": "Basic YTpi", "Cookie": "b=2", "Referer": "http://else.where/"}
    return found | {
        "logged in and away": {"url": origin.url("/away"), "headers": logged_in},
        "own cookies": {
            "url": origin.url("/plain"),
            "cookies": {"c": "3"},
            "meta": {"cookiejar": 2},
        },
        "a jar": {"url": origin.url("/plain"), "cookies": {"d": "4"}, "meta": {"cookiejar": 1}},
        "not redirected": {"url": origin.url("/away"), "meta": {"dont_redirect": True}},
        "handled 302": {"url": origin.url("/away"), "meta": {"handle_httpstatus_list": [302]}},
        "handled 500": {"url": origin.url("/500"), "meta": {"handle_httpstatus_all": True}},
        "not retried": {"url": origin.url("/500"), "meta": {"dont_retry": True}},
        "retried once": {"url": origin.url("/500"), "meta": {"max_retry_times": 1}},
        "silent": {"url": origin.url("/silent"), "meta": silence | {"dont_retry": True}},
        "stalled": {"url": origin.url("/stalled"), "meta": silence | {"max_retry_times": 1}},
        "lossy": {"url": origin.url("/cut"), "meta": lossy},
        "too large": {"url": origin.url("/large"), "meta": small},
        "too large in chunks": {"url": origin.url("/large-chunked"), "meta": small},
        "warned of": {"url": origin.url("/large"), "meta": {"download_warnsize": 10}},
        "a bomb": {"url": origin.url("/bomb"), "meta": small},
        "stopped by its head": {"url": origin.url("/large")},
        "stopped by its body": {"url": origin.url("/plain")},
        "of a slot": {"url": origin.url("/plain"), "meta": {"download_slot": "other"}},
        "by a proxy": {"url": "http://localhost:1/plain", "meta": {"proxy": origin.url("")}},
        "refused": {"url": "http://127.0.0.1:1/", "meta": {"max_retry_times": 1}},
        "https": {"url": secure.url("/plain")},
        "https without a body": {"url": secure.url("/none")},
        "data": {"url": "data:text/plain,hello%20data"},
        "file": {"url": file.as_uri()},
        "no file": {"url": file.with_name("none").as_uri()},
        "ftp": {"url": ftp.url("/some.txt")},
        "no ftp": {"url": ftp.url("/none.txt")},
        "unknown scheme": {"url": "gopher://127.0.0.1/"},
    }


@pytest.mark.parametrize(
    ("settings", "only"),
    [
        ("CONCURRENT_REQUESTS = 100\n", None),
        # In an order that is always the same.
        (CACHED, {"plain", "POST", "301 GET", "relative", "gzip", "br", "404", "links", "HEAD"}),
    ],
    ids=["at once", "by a cache"],
)
def test_pages_are_as_in_plain_scrapy(
    origin: Origin, tls_origin: Origin, tmp_path: Path, settings: str, only: set[str] | None
) -> None:
    file = tmp_path / "srv/some.txt"
    file.parent.mkdir()
    file.write_bytes(TEXT)
    with FTPServer(file.parent) as ftp:
        plain, with_addon = (
            run(
                Project(tmp_path / name, SPIDER, SETTINGS + settings + lines),
                lambda: pages(origin, tls_origin),
                {
                    name: arguments
                    for name, arguments in requests(origin, tls_origin, ftp, file).items()
                    if only is None or name in only
                },
                lambda: [*origin.requests, *tls_origin.requests],
            )
            for name, lines in (("without", ""), ("with", ADDED))
        )
    assert len(plain["seen"]) > (60 if only is None else len(only))
    for name, seen in plain.pop("seen").items():
        assert with_addon["seen"].pop(name, None) == seen, name
    for name, heard in plain.pop("heard").items():
        assert with_addon["heard"].pop(name, None) == heard, name
    assert with_addon == plain | {"seen": {}, "heard": {}}


def run(
    project: Project,
    reset: Callable[[], None],
    asked_for: dict[str, Any],
    log: Callable[[], list[Record]],
) -> dict[str, Any]:
    """What the spider has seen, and the servers have been asked."""
    reset()
    before = len(log())
    listed = project.folder / "requests.json"
    listed.write_text(json.dumps(asked_for))
    project.crawl("all", requests=str(listed))
    found: dict[str, Any] = json.loads((project.folder / "found.json").read_text())
    found["stats"] = {
        key: value
        for key, value in found["stats"].items()
        if not any(part in key for part in TIMES)
    }
    asked = sorted(log(), key=lambda each: each.arrived)[before:]
    # Twisted itself asks once more where a connection was closed that had been used before.
    found["asked"] = {
        (each.method, each.target, tuple(sorted(each.headers.items()))) for each in asked
    }
    return found
