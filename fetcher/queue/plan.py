"""Which queue a process works for, and whether it is there; told before anything is started."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from typing import Any

from fetcher.errors import InvalidSettingError
from fetcher.rules.urls import redact

SCHEMES = ("redis", "rediss", "unix")

PATIENCE_SECONDS = 5.0
"""How long a Redis may take to answer."""

LEAST_VERSION = (6, 2)
"""Of Redis: ``XPENDING`` has ``IDLE`` since then."""

_CONNECTING = re.compile(r"Error (-?[0-9]+) connecting to \S+\. (.*[^.])")
_SCRIPT = re.compile(r"^Error running script .*@user_script: ?[0-9]+: ")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(frozen=True)
class QueuePlan:
    """A queue, and this process as one of its workers.

    :param url: of the Redis, with its login.
    :param name: of the queue.
    :param lease: seconds without a sign of life after which a row is free for other workers.
    :param worker: what the process is called; no other one that works for the queue is called so.
    """

    url: str = field(repr=False)
    name: str
    lease: float
    worker: str = field(default_factory=lambda: worker_name())

    @property
    def shown(self) -> str:
        """The queue as people read it, without the login."""
        return f"the queue {self.name!r} at {redact(self.url)}"


def make_plan(url: str, name: str, lease: float) -> QueuePlan:
    """See :class:`QueuePlan`.

    :raises InvalidSettingError: the Redis cannot be used, in one sentence.
    """
    # It takes a tenth of a second to load.
    import redis

    plan = QueuePlan(url, name, lease)
    if url.partition("://")[0].lower() not in SCHEMES:
        raise InvalidSettingError(
            "FETCHER_QUEUE is no address of a Redis; give redis://host:port/db"
        )
    client = None
    try:
        client = redis.Redis.from_url(url, **connection_options())
        found = client.info()
    except (redis.RedisError, OSError, ValueError) as error:
        raise InvalidSettingError(
            f"FETCHER_QUEUE: {plan.shown} cannot be used: {explain(error)}; start that Redis, or "
            "correct the setting"
        ) from error
    finally:
        if client is not None:
            client.close()
    _check(plan, found)
    return plan


def connection_options() -> dict[str, Any]:
    """For either kind of client of the library: fail soon, and leave it to us to try again."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_connect_timeout": PATIENCE_SECONDS,
        "socket_timeout": PATIENCE_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": True,
    }


def explain(error: BaseException) -> str:
    """Why a Redis is of no use, in a few words and without secrets."""
    import redis

    if connecting := _CONNECTING.match(str(error)):
        number = int(connecting[1])
        # Below 0 are those of getaddrinfo(3).
        return os.strerror(number) if number > 0 else connecting[2]
    if isinstance(error, ValueError):
        # What it quotes may be a part of the password.
        return "its address cannot be read, signs in a password have to be percent-encoded"
    if isinstance(error, redis.AuthenticationError):
        return "it wants another login"
    if isinstance(error, redis.TimeoutError):
        return f"no answer within {PATIENCE_SECONDS:.0f} s"
    if isinstance(error, redis.InvalidResponse):
        return "what answers there is no Redis"
    text = _SCRIPT.sub("", str(error)).rstrip(".")
    return text.splitlines()[0] if text else type(error).__name__


def worker_name() -> str:
    """``HOST-PID``, as it is also in the names of reports."""
    return f"{_UNSAFE.sub('_', socket.gethostname())}-{os.getpid()}"


def _check(plan: QueuePlan, found: dict[str, Any]) -> None:
    version = str(found.get("redis_version", "0"))
    numbers = tuple(int(text) for text in re.findall(r"[0-9]+", version)[:2])
    if numbers < LEAST_VERSION:
        raise InvalidSettingError(
            f"FETCHER_QUEUE: {plan.shown} has version {version} of Redis; 6.2 or later is needed"
        )
    if found.get("role") not in (None, "master"):
        raise InvalidSettingError(
            f"FETCHER_QUEUE: {plan.shown} is a replica, which takes no rows; give its primary"
        )
    if int(found.get("maxmemory", 0)) and str(found.get("maxmemory_policy")).startswith("allkeys"):
        raise InvalidSettingError(
            f"FETCHER_QUEUE: {plan.shown} throws keys away when its memory is full; set its "
            "maxmemory-policy to noeviction"
        )
