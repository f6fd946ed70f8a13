"""The limits of one run, shared out among the processes that do it together."""

from __future__ import annotations

from typing import Any

from scrapy.settings import BaseSettings

from fetcher.config import Config, parse_size
from fetcher.errors import InvalidSettingError
from fetcher.rules.shares import shares

PER_HOST = ("CONCURRENT_REQUESTS_PER_DOMAIN", "CONCURRENT_REQUESTS_PER_IP")
"""Connections per host; the second one counts where it is not 0."""


class Limits:
    """What one process may do, and what each of several may.

    :raises InvalidSettingError: a setting has a value that means nothing.
    """

    def __init__(self, settings: BaseSettings) -> None:
        config = Config.from_settings(settings)
        self._max_splits = config.max_splits
        self._rate = _size(settings, "FETCHER_RATE_LIMIT")
        self._delay = _number(settings, "DOWNLOAD_DELAY")
        self._slots: dict[str, dict[str, Any]] = settings.getdict("DOWNLOAD_SLOTS")
        self._shared = {"FETCHER_MAX_PARALLEL": config.max_parallel}
        for name in PER_HOST:
            if (limit := int(_number(settings, name))) > 0:
                self._shared[name] = limit

    def fitting(self, count: int) -> tuple[int, str | None]:
        """``count`` processes, or as many as the limits have something for; why, if it is fewer."""
        limits = self._shared | {
            f"the concurrency in DOWNLOAD_SLOTS of {host}": int(slot["concurrency"])
            for host, slot in self._slots.items()
            if "concurrency" in slot
        }
        name, least = min(limits.items(), key=lambda limit: limit[1])
        if count <= least:
            return count, None
        return max(1, least), (
            f"processes: {least} instead of {count}, as each needs its part of {name}={least}; "
            "raise that to have more"
        )

    def of_each(self, count: int) -> list[dict[str, Any]]:
        """Settings for each of ``count`` processes, in place of those of one.

        Files at a time, connections per host and bytes a second add up to what one process has; who
        pauses between requests does so ``count`` times as long.

        :param count: at most what is :meth:`fitting`.
        """
        return [self._of(number, count) for number in range(count)]

    def _of(self, number: int, count: int) -> dict[str, Any]:
        own = {name: shares(limit, count)[number] for name, limit in self._shared.items()}
        per_host = [own[name] for name in PER_HOST if name in own]
        settings: dict[str, Any] = {
            **own,
            "FETCHER_MAX_SPLITS": min([self._max_splits, *per_host]),
            "DOWNLOAD_DELAY": self._delay * count,
        }
        if self._rate:
            settings["FETCHER_RATE_LIMIT"] = max(1, shares(self._rate, count)[number])
        if self._slots:
            settings["DOWNLOAD_SLOTS"] = {
                host: _slot(slot, number, count) for host, slot in self._slots.items()
            }
        return settings


def _slot(slot: dict[str, Any], number: int, count: int) -> dict[str, Any]:
    own = dict(slot)
    if "concurrency" in own:
        own["concurrency"] = shares(int(own["concurrency"]), count)[number]
    if "delay" in own:
        own["delay"] = float(own["delay"]) * count
    return own


def _number(settings: BaseSettings, name: str) -> float:
    try:
        return settings.getfloat(name)
    except (TypeError, ValueError) as error:
        raise InvalidSettingError(f"{name}={settings.get(name)}: give a number") from error


def _size(settings: BaseSettings, name: str) -> int:
    try:
        return parse_size(settings.get(name) or 0)
    except ValueError as error:
        raise InvalidSettingError(f"{name}: {error}") from error
