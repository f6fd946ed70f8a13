"""What is to be fetched in a case: files, where they stand, and how they are compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure import Contender, UnfitError
from tests.servers.content import Content


@dataclass(frozen=True)
class Load:
    """Files to fetch.

    :param count: how many.
    :param size: bytes of each.
    :param parallel: files at a time.
    :param splits: connections for each.
    """

    count: int
    size: int
    parallel: int
    splits: int

    @property
    def names(self) -> list[str]:
        """The files' names."""
        return [f"file-{number:05}.bin" for number in range(self.count)]

    def content(self, number: int) -> Content:
        """A file's bytes; some are alike, so that many are made in a moment."""
        return Content(self.size, seed=number % 7 + 1)

    def put(self, folder: Path) -> None:
        """Write the files."""
        for number, name in enumerate(self.names):
            self.content(number).write_to(folder / name)


@dataclass(frozen=True)
class Job:
    """One case, ready to be done by any program.

    :param load: the files.
    :param out: where to fetch them to.
    :param list: a file with an address a line.
    :param addresses: the same.
    :param authority: the certificate to be trusted, of a server over TLS.
    :param begun: a folder that ``out`` is to be a copy of, by the program's name.
    """

    load: Load
    out: Path
    list: Path
    addresses: Sequence[str]
    authority: Path | None = None
    begun: Mapping[str, Path] = field(default_factory=dict)

    def contender(
        self, name: str, *command: str | Path, env: Mapping[str, str] | None = None
    ) -> Contender:
        """A program that does the job; compared byte for byte after each run."""
        return Contender(name, command, self._check(name), lambda: self._clean(name), env or {})

    def _clean(self, name: str) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        begun = self.begun.get(name)
        if begun is None:
            self.out.mkdir()
        else:
            shutil.copytree(begun, self.out)

    def _check(self, name: str) -> Callable[[], None]:
        def check() -> None:
            for number, file in enumerate(self.load.names):
                path = self.out / file
                if (
                    not path.exists()
                    or self.load.content(number).first_difference(path) is not None
                ):
                    raise UnfitError(f"did not fetch {file} right")

        return check
