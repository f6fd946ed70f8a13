"""Where the project is deployed to, as ``scrapy.cfg`` has it for scrapyd-deploy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

from scrapy.utils.conf import get_config

URL = "http://localhost:6800/"
PROJECT = "fetcher"


@dataclass(frozen=True)
class Target:
    """A Scrapyd and the name of the project there.

    :param address: with the login in it, where there is one.
    """

    address: str
    project: str

    @classmethod
    def configured(cls) -> Self:
        """The section ``[deploy]``; see scrapyd-client's documentation."""
        config = get_config()

        def value(name: str, default: str = "") -> str:
            return os.path.expandvars(config.get("deploy", name, fallback=default, raw=True))

        address, user = value("url", URL), value("username")
        if user:
            parts = urlsplit(address)
            login = f"{quote(user, safe='')}:{quote(value('password'), safe='')}"
            address = urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
        return cls(address, value("project", PROJECT))
