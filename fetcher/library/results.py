"""What has become of the files that a program had downloaded."""

from __future__ import annotations

from typing import NamedTuple

from fetcher.rules.urls import redact


class Success(NamedTuple):
    """A file that is there, whole and verified."""

    path: str
    url: str


class Error(NamedTuple):
    """A file that is not."""

    filepath_partial: str
    """Where it would stand; what there is of it is beside that, and is used the next time."""
    url: str
    exception: Exception


class Results(list[str]):
    """The paths of the files that are there, in the order in which they were enqueued.

    :ivar success: path and URL of each of them.
    :ivar errors: the files that failed, and why.
    """

    def __init__(self, success: list[Success] | None = None, errors: list[Error] | None = None):
        self.success = success or []
        self.errors = errors or []
        super().__init__(file.path for file in self.success)

    @property
    def urls(self) -> list[str]:
        """The URLs of the files that are there."""
        return [file.url for file in self.success]

    def __str__(self) -> str:
        """All of it as text, without the logins and signatures that the URLs may hold."""
        lines = ["Success:", *(f"{path} {redact(url)}" for path, url in self.success)]
        if self.errors:
            lines += ["", "Errors:"]
            lines += [f"({redact(url)},\n{error!r})" for _, url, error in self.errors]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)
