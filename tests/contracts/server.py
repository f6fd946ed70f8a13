"""What the suite asks of a server, each protocol's in its own way."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.servers.content import Source
from tests.servers.relay import Relay

USER = "user"
PASSWORD = "pa:ss/wörd 100%"
DATE = 1_700_000_000
"""Seconds since 1970: when the files were modified."""
PATH = "/a.bin"
"""Where the file is that most tests ask for."""


class Server(ABC):
    """A server, and the ways of its protocol in which it goes wrong; behind a relay.

    :param scheme: of its addresses.
    :param port: where it listens itself.
    """

    settings: Mapping[str, object] = {}
    """What a handler must be told so that it can use this server."""

    def __init__(self, scheme: str, port: int) -> None:
        self.scheme = scheme
        self.relay = Relay(port)

    def url(self, path: str = PATH, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """Of a path as it would be written in a folder's listing."""
        return f"{self.scheme}://{host}:{port or self.relay.port}{quote(path)}"

    @abstractmethod
    def put(self, path: str, source: Source) -> None:
        """A file, modified at ``DATE``, which the user may read."""

    @abstractmethod
    def forbid(self, path: str) -> None:
        """The file is there, but not for this user."""

    @abstractmethod
    def overstate(self, path: str, by: int) -> None:
        """From now on the file is said to have so many bytes more than it has."""

    @abstractmethod
    def hide_size(self, path: str) -> None:
        """From now on its size is not told before it is sent."""

    @abstractmethod
    def cut(self, path: str, after: int, *, reset: bool) -> None:
        """The next transfer's connection ends after so many bytes: by FIN, or by RST."""

    @abstractmethod
    def stall(self, path: str, after: int) -> None:
        """The next transfer comes to a standstill after so many bytes."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        self.relay.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.relay.stop()
        self.stop()
