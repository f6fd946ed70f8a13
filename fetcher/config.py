"""The settings, read once into one frozen record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Protocol

from fetcher.contract import FileMeta
from fetcher.errors import InvalidSettingError
from fetcher.rules.checksums import ALGORITHMS

_SIZE = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE | re.ASCII)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_PREFIX = "FETCHER_"
_SCRAPYS = {"FETCHER_HOST_CONNECTIONS", "FETCHER_MAX_SIZE", "FETCHER_VERIFY_CERTIFICATES"}
"""What the fields for Scrapy's own settings would be called here."""
_DEFAULT_PRIORITY = 0
"""Of what stands in :mod:`scrapy.settings.default_settings`."""
_CLOSE = 0.85
"""How alike names are of which one is taken to be a misspelt other, out of 1."""
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

IF_EXISTS = ("skip", "update", "overwrite", "rename")
CHECKSUM_POLICIES = ("auto", "require", "off")
HOST_KEY_POLICIES = ("reject", "accept-new")
FTP_TLS_MODES = ("auto", "require")
PROGRESS_MODES = ("auto", "bar", "log", "none")


class Settings(Protocol):
    """What is needed of :class:`scrapy.settings.BaseSettings`."""

    def get(self, name: str, default: Any = None) -> Any: ...

    def __iter__(self) -> Iterator[str]: ...


def parse_size(value: object) -> int:
    """Bytes from ``8M``, ``1.5G``, ``1024`` or a number; powers of 1024.

    :raises ValueError: when it is neither.
    """
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no size; write bytes, or 8M, 1G")
    return int(Fraction(match[1]) * 1024 ** _POWERS[match[2].upper()])


def unknown_settings(settings: Settings) -> Iterator[str]:
    """A sentence for each setting that bears this project's prefix and that nobody reads."""
    known = {f"{_PREFIX}{field.name.upper()}" for field in fields(Config)} - _SCRAPYS
    for name in sorted(set(settings) - known):
        if name.startswith(_PREFIX):
            close = get_close_matches(name, sorted(known), 1, _CLOSE)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"the setting {name} is not known and is passed over{hint}"


@dataclass(frozen=True)
class Config:
    """The ``FETCHER_*`` settings (see :mod:`fetcher.settings`); bytes and seconds."""

    output_dir: str = "output"
    max_parallel: int = 5
    max_splits: int = 5
    min_split_size: int = 8 << 20
    if_exists: str = "skip"
    max_tries: int = 5
    retry_backoff: float = 1.0
    max_retry_after: float = 300.0
    stall_timeout: float = 60.0
    stall_speed: int = 1024
    connect_timeout: float = 20.0
    rate_limit: int = 0
    checksum: str = "auto"
    record_checksum: str = "sha256"
    unpack: bool = False
    progress: str = "auto"
    ssh_known_hosts: str = "~/.ssh/known_hosts"
    ssh_host_key_policy: str = "reject"
    ssh_key: str | None = None
    cookies: str = ""
    ftp_tls: str = "auto"
    metrics_port: tuple[int, int] | None = None
    queue: str = field(default="", repr=False)
    queue_name: str = ""
    queue_lease: float = 60.0
    host_connections: int = 16
    max_size: int = 0
    verify_certificates: bool = True

    @classmethod
    def from_settings(cls, settings: Settings) -> Config:
        """:raises InvalidSettingError: naming the setting, its value and what it may be."""
        read = _Reader(settings)
        # Scrapy's own defaults of these are about pages, and nobody has chosen them for files.
        chosen = _Reader(settings, defaults=False)
        return cls(
            # Scrapy takes 0, too, and then asks for nothing for ever.
            host_connections=read.integer(
                "CONCURRENT_REQUESTS_PER_DOMAIN", cls.host_connections, least=1
            ),
            output_dir=str(settings.get("FETCHER_OUTPUT_DIR") or "output"),
            max_parallel=read.integer("FETCHER_MAX_PARALLEL", cls.max_parallel, least=1),
            max_splits=read.integer("FETCHER_MAX_SPLITS", cls.max_splits, least=1),
            min_split_size=read.size("FETCHER_MIN_SPLIT_SIZE", cls.min_split_size, least=1),
            if_exists=read.choice("FETCHER_IF_EXISTS", cls.if_exists, IF_EXISTS),
            max_tries=read.integer("FETCHER_MAX_TRIES", cls.max_tries, least=1),
            retry_backoff=read.seconds("FETCHER_RETRY_BACKOFF", cls.retry_backoff),
            max_retry_after=read.seconds("FETCHER_MAX_RETRY_AFTER", cls.max_retry_after),
            stall_timeout=read.seconds("FETCHER_STALL_TIMEOUT", cls.stall_timeout, positive=True),
            stall_speed=read.size("FETCHER_STALL_SPEED", cls.stall_speed),
            connect_timeout=read.seconds(
                "FETCHER_CONNECT_TIMEOUT", cls.connect_timeout, positive=True
            ),
            rate_limit=read.size("FETCHER_RATE_LIMIT", cls.rate_limit),
            checksum=read.choice("FETCHER_CHECKSUM", cls.checksum, CHECKSUM_POLICIES),
            record_checksum=read.choice(
                "FETCHER_RECORD_CHECKSUM", cls.record_checksum, ("", *ALGORITHMS)
            ),
            unpack=read.flag("FETCHER_UNPACK", cls.unpack),
            progress=read.choice("FETCHER_PROGRESS", cls.progress, PROGRESS_MODES),
            ssh_known_hosts=str(settings.get("FETCHER_SSH_KNOWN_HOSTS") or cls.ssh_known_hosts),
            ssh_host_key_policy=read.choice(
                "FETCHER_SSH_HOST_KEY_POLICY", cls.ssh_host_key_policy, HOST_KEY_POLICIES
            ),
            cookies=str(settings.get("FETCHER_COOKIES") or ""),
            ssh_key=str(settings.get("FETCHER_SSH_KEY") or "") or None,
            ftp_tls=read.choice("FETCHER_FTP_TLS", cls.ftp_tls, FTP_TLS_MODES),
            metrics_port=read.ports("FETCHER_METRICS_PORT"),
            queue=str(settings.get("FETCHER_QUEUE") or ""),
            queue_name=str(settings.get("FETCHER_QUEUE_NAME") or ""),
            queue_lease=read.seconds("FETCHER_QUEUE_LEASE", cls.queue_lease, positive=True),
            max_size=chosen.size("DOWNLOAD_MAXSIZE", cls.max_size),
            verify_certificates=chosen.flag(
                "DOWNLOAD_VERIFY_CERTIFICATES", cls.verify_certificates
            ),
        )

    def of_file(self, meta: FileMeta) -> Config:
        """The settings for one file, which may have some of its own."""
        # Who makes such a request without a list may leave these keys out.
        own = {
            "max_splits": meta.get("splits"),
            "max_tries": meta.get("tries"),
            "if_exists": meta.get("if_exists"),
        }
        changes: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        splits = changes.get("max_splits", self.max_splits)
        if splits > self.host_connections and not meta.get("mirrors"):
            # More ranges than connections would only be more requests, each with its delay.
            changes["max_splits"] = self.host_connections
        return replace(self, **changes) if changes else self

    def least_concurrent_requests(self) -> int:
        """``CONCURRENT_REQUESTS`` below this would starve files of their turn.

        A file's own request and those of its ranges count together, and a next file has to fit.
        """
        return self.max_parallel * (self.max_splits + 1) + 1


class _Reader:
    """Settings as typed values, each with an error that names the setting.

    :param defaults: whether Scrapy's own defaults count.
    """

    def __init__(self, settings: Settings, *, defaults: bool = True) -> None:
        self._settings = settings
        priority: Callable[[str], int | None] | None = getattr(settings, "getpriority", None)
        self._priority = None if defaults else priority

    def _value(self, name: str, default: Any) -> Any:
        if self._priority is not None and self._priority(name) == _DEFAULT_PRIORITY:
            return default
        value = self._settings.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int, *, least: int = 0) -> int:
        value = self._value(name, default)
        try:
            number = int(str(value))
        except (TypeError, ValueError, OverflowError):
            number = least - 1
        if number < least:
            raise InvalidSettingError(f"{name}={value}: give a whole number from {least} on")
        return number

    def size(self, name: str, default: int, *, least: int = 0) -> int:
        value = self._value(name, default)
        try:
            size = parse_size(value)
        except ValueError as error:
            raise InvalidSettingError(f"{name}: {error}") from error
        if size < least:
            raise InvalidSettingError(f"{name}={value}: give at least {least} bytes")
        return size

    def seconds(self, name: str, default: float, *, positive: bool = False) -> float:
        value = self._value(name, default)
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = -1.0
        if not 0 <= seconds < float("inf") or (positive and seconds == 0):
            raise InvalidSettingError(f"{name}={value}: give a number of seconds")
        return seconds

    def ports(self, name: str) -> tuple[int, int] | None:
        value = self._settings.get(name)
        if value in (None, ""):
            return None
        match = _PORTS.fullmatch(str(value))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < 1 << 16:
            raise InvalidSettingError(f"{name}={value}: give a port, or two, such as 9410-9429")
        return first, last

    def flag(self, name: str, default: bool) -> bool:
        value = str(self._value(name, default)).strip().lower()
        if value not in _FLAGS:
            raise InvalidSettingError(f"{name}={value}: give True or False")
        return _FLAGS[value]

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = str(self._value(name, default)).strip().lower()
        if value not in choices:
            known = ", ".join(choice or "(empty)" for choice in choices)
            raise InvalidSettingError(f"{name}={value}: give one of {known}")
        return value
