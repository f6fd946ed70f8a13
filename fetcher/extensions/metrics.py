"""How the crawl gets on, for Prometheus: ``FETCHER_METRICS_PORT``, on the loopback interface.

Text in the exposition format (https://prometheus.io/docs/instrumenting/exposition_formats/), under
``/metrics``. Who collects it from another machine puts a proxy before it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import create_looping_call
from scrapy.utils.reactor import listen_tcp

from fetcher import contract
from fetcher.config import Config
from fetcher.contract import STAT_QUEUE
from fetcher.extensions.tally import Tally

if TYPE_CHECKING:
    from prometheus_client import Metric
    from twisted.internet.tcp import Port

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"

INTERVAL = 1.0
"""Seconds between two looks at the speed."""


class Metrics:
    """Extension: serves the numbers of the crawl while it runs.

    :param ports: the first of these that is free.
    """

    def __init__(self, crawler: Crawler, ports: tuple[int, int]) -> None:
        self._crawler = crawler
        self._ports = ports
        self._tally = Tally(time.monotonic())
        self._tally.follow(crawler)
        self._retries: Counter[str] = Counter()
        self._look = create_looping_call(self.look)
        self._port: Port | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """:raises NotConfigured: it is off."""
        ports = Config.from_settings(crawler.settings).metrics_port
        if ports is None:
            # Were a reason given, Scrapy would warn of it.
            raise NotConfigured
        extension = cls(crawler, ports)
        connect = crawler.signals.connect
        connect(extension.retried, contract.retried)
        connect(extension.spider_opened, signals.spider_opened)
        connect(extension.spider_closed, signals.spider_closed)
        return extension

    def retried(self, reason: str) -> None:
        self._retries[reason] += 1

    def spider_opened(self, spider: Spider) -> None:
        """Begin to serve."""
        # Only who asks for it pays for loading these.
        from twisted.internet.error import CannotListenError

        from fetcher.extensions.exposition import site

        try:
            self._port = listen_tcp(list(self._ports), HOST, site(self))
        except CannotListenError:
            first, last = self._ports
            logger.warning(
                "no metrics: port %s of %s is in use; give a range, such as "
                "FETCHER_METRICS_PORT=9410-9429",
                first if first == last else f"{first} to {last}",
                HOST,
            )
            return
        self._look.start(INTERVAL, now=False)
        logger.info("metrics: http://%s:%d/metrics", HOST, self._port.getHost().port)

    async def spider_closed(self, spider: Spider) -> None:
        """Serve no more."""
        if self._look.running:
            self._look.stop()
        if self._port is not None:
            await self._port.stopListening()

    def look(self) -> None:
        """Take a sample of the speed."""
        self._tally.look(time.monotonic())

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self.look()
        tally = self._tally
        files = CounterMetricFamily(
            "fetcher_files", "Files that have been reported.", labels=["status"]
        )
        for status in ("ok", "unchanged", "failed", "stopped"):
            files.add_metric([status], tally.files[status])
        yield files
        retries = CounterMetricFamily(
            "fetcher_retries", "Requests that were repeated.", labels=["reason"]
        )
        for reason, count in self._retries.items():
            retries.add_metric([reason], count)
        yield retries
        yield CounterMetricFamily(
            "fetcher_received_bytes", "Bytes over the network, counting repeats.", tally.moved
        )
        yield CounterMetricFamily(
            "fetcher_resumed_bytes", "Bytes that were already there.", tally.resumed
        )
        in_flight = [tracked.progress for tracked in tally.active]
        connections = sum(progress.connections for progress in in_flight)
        gauges = {
            "fetcher_speed_bytes_per_second": ("Bytes a second, smoothed.", tally.speed),
            "fetcher_files_in_flight": ("Files whose turn it is.", len(in_flight)),
            "fetcher_connections": ("Connections that transfer.", connections),
        }
        if tally.rows_left is not None:
            gauges["fetcher_rows_left"] = ("Rows read and not yet reported.", tally.rows_left)
        queued = self._crawler.stats.get_value(STAT_QUEUE)
        if queued is not None:
            gauges["fetcher_queue_rows"] = ("Rows of the shared queue that are not done.", queued)
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)
