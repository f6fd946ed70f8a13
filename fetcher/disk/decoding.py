"""Decodes a compressed part into the file that gets the final name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fetcher.disk.part import Part
from fetcher.disk.room import Growth
from fetcher.errors import DecodeError, TooLargeError
from fetcher.rules.codings import decoded
from fetcher.rules.pieces import PieceReader, Pieces

_READ = 256 << 10


class Decoding:
    """One part's decoding; belongs in a thread.

    :param part: open and whole.
    :param size: bytes of the compressed form.
    :param codings: see :class:`fetcher.rules.answers.Version`.
    :param algorithms: checksums to compute of the plain bytes.
    :param limit: the most plain bytes that are allowed; 0 for no limit but the disk's.
    :param pieces: the hashes of the plain file's pieces, if the list says.

    :ivar size: bytes of the plain form, once :meth:`run` is through.
    """

    def __init__(
        self,
        part: Part,
        size: int,
        codings: Sequence[str],
        algorithms: Iterable[str],
        limit: int,
        pieces: Pieces | None = None,
    ) -> None:
        self.size = 0
        self._part = part
        self._coded_size = size
        self._codings = codings
        self._hashes: dict[str, Any] = {
            name: hashlib.new(name, usedforsecurity=False) for name in algorithms
        }
        self._limit = limit
        self._pieces = PieceReader(pieces, part.name) if pieces is not None else None
        self._stopped: BaseException | None = None

    def stop(self, reason: BaseException) -> None:
        """Break off; :meth:`run` raises ``reason``. May be called from another thread."""
        self._stopped = reason

    def run(self) -> dict[str, str]:
        """Algorithm to ``algorithm:hex`` of the plain bytes.

        :raises DecodeError: the bytes are damaged, or not all there.
        :raises TooLargeError: there is more in them than ``DOWNLOAD_MAXSIZE`` allows.
        :raises ChecksumMismatchError: a piece is wrong.
        :raises SizeMismatchError: a file of that size has other pieces.
        :raises DiskError: the plain file cannot be written.
        """
        name, fd = self._part.name, self._part.open_decoded()
        growth = Growth(self._part.path)
        try:
            for block in decoded(self._codings, self._blocks()):
                if self._limit and self.size + len(block) > self._limit:
                    raise TooLargeError(
                        f"{name} came compressed and has more than DOWNLOAD_MAXSIZE allows "
                        f"({self._limit} bytes): raise that, or leave the file out"
                    )
                growth.grow(len(block))
                self._write(fd, block)
        except DecodeError as error:
            raise DecodeError(
                f"{name} came compressed, and {error}: it was fetched twice, so ask its server's "
                "owner"
            ) from error
        if self._pieces is not None:
            self._pieces.end()
        return {name: f"{name}:{each.hexdigest()}" for name, each in self._hashes.items()}

    def _blocks(self) -> Iterator[bytes]:
        offset = 0
        while offset < self._coded_size:
            if self._stopped is not None:
                raise self._stopped
            with self._part.told("read back"):
                block = os.pread(self._part.fd, min(_READ, self._coded_size - offset), offset)
            if not block:
                raise DecodeError(f"the file ends at {offset} instead of {self._coded_size}")
            offset += len(block)
            yield block

    def _write(self, fd: int, block: bytes) -> None:
        if self._stopped is not None:
            raise self._stopped
        for each in self._hashes.values():
            each.update(block)
        if self._pieces is not None:
            self._pieces.read(block)
        left = memoryview(block)
        with self._part.told("decoded"):
            while left:
                left = left[os.write(fd, left) :]
        self.size += len(block)
