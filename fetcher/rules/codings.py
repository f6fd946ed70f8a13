"""Undoes content codings (RFC 9110, section 8.4.1), and the compressions of archives, block by
block and in bounded memory.

Pure: takes blocks of bytes and gives blocks of at most :data:`BLOCK` bytes, so that whoever writes
them can stop a decompression bomb in time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from fetcher.errors import DecodeError

BLOCK = 1 << 20
"""Bytes of the largest block that comes out."""

_FIRST = 4 << 10
"""Bytes that a stream behind another is given first."""

_WINDOW_LOG = 27
"""Largest window of a zstd frame, 128 MiB: the most memory that a server may make us take."""

_XZ_MEMORY = (1 << _WINDOW_LOG) + (16 << 20)
"""The same for xz, whose limit counts all that it needs."""


class _Decoder(Protocol):
    """One coding, in the middle of its stream."""

    def blocks(self, data: bytes) -> Iterator[bytes]:
        """What comes out for more bytes."""

    @property
    def ended(self) -> bool:
        """Whether the stream may end here."""


def decoded(codings: Sequence[str], blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The plain bytes of a coded body.

    :param codings: of ``gzip``, ``deflate``, ``br``, ``zstd``, and ``bzip2`` and ``xz``, which are
        no content codings; in the order of their application.
    :param blocks: the coded bytes.
    :raises DecodeError: they are damaged, end early, or something else follows them.
    """
    plain = iter(blocks)
    for coding in reversed(codings):
        plain = _undone(coding, plain)
    return plain


def _undone(coding: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    decoder: _Decoder | None = None
    try:
        for block in blocks:
            if not block:
                continue
            if decoder is None:
                decoder = _DECODERS[coding]()
            yield from decoder.blocks(block)
    except DecodeError:
        raise
    except Exception as error:
        # Each library has an error of its own; what is raised here is always about the bytes.
        raise DecodeError(f"the {coding} compression is damaged ({error})") from error
    if decoder is not None and not decoder.ended:
        raise DecodeError(f"the {coding} compression ends in the middle")


class _Streams:
    """Streams one after the other, as gzip members (RFC 1952, 2.2) and zstd frames may come."""

    def __init__(self) -> None:
        self._stream = self._new()
        self._padding = False

    def _new(self) -> Any:
        raise NotImplementedError

    def _step(self, data: bytes) -> tuple[bytes, int, bool]:
        """A block, how much of the input is left, and whether the stream wants more input."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        return self._padding or bool(self._stream.eof)

    def blocks(self, data: bytes) -> Iterator[bytes]:
        at, size = 0, len(data)
        while True:
            if self._stream.eof and at < len(data):
                # Tapes and disks pad with zeros, and so do some who read from them.
                self._padding = self._padding or data[at] == 0
                if self._padding:
                    if data.count(0, at) < len(data) - at:
                        raise DecodeError("something follows the compressed bytes")
                    return
                self._stream = self._new()
                # What is left over is copied: of many small streams that is not to be all.
                size = _FIRST
            piece = data[at : at + size]
            block, left, hungry = self._step(piece)
            at += len(piece) - left
            size = len(data)
            if block:
                yield block
            if at == len(data) and (hungry or self._stream.eof):
                return


class _Gzip(_Streams):
    def _new(self) -> Any:
        return zlib.decompressobj(wbits=31)

    def _step(self, data: bytes) -> tuple[bytes, int, bool]:
        block = self._stream.decompress(data, BLOCK)
        left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return block, len(left), len(block) < BLOCK


class _Buffering(_Streams):
    """Streams that keep what they have not yet undone."""

    def _step(self, data: bytes) -> tuple[bytes, int, bool]:
        block = self._stream.decompress(data, BLOCK)
        if self._stream.eof:
            return block, len(self._stream.unused_data), True
        return block, 0, self._stream.needs_input


class _Zstd(_Buffering):
    def __init__(self) -> None:
        self._zstd = _zstd()
        super().__init__()

    def _new(self) -> Any:
        zstd = self._zstd
        return zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        )


class _Bzip2(_Buffering):
    def _new(self) -> Any:
        import bz2

        return bz2.BZ2Decompressor()


class _Xz(_Buffering):
    def _new(self) -> Any:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


class _Deflate:
    """In a zlib frame as RFC 9110 says, or bare, as some servers send it."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: Any = None

    @property
    def ended(self) -> bool:
        return self._stream is not None and bool(self._stream.eof)

    def blocks(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return
            framed = self._head[0] & 0x0F == 8 and int.from_bytes(self._head[:2]) % 31 == 0
            self._stream = zlib.decompressobj(wbits=15 if framed else -15)
            data = self._head
        if self._stream.eof:
            raise DecodeError("something follows the compressed bytes")
        while True:
            block = self._stream.decompress(data, BLOCK)
            data = self._stream.unconsumed_tail
            if block:
                yield block
            if self._stream.unused_data:
                raise DecodeError("something follows the compressed bytes")
            if self._stream.eof or (not data and len(block) < BLOCK):
                return


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._stream = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._stream.is_finished())

    def blocks(self, data: bytes) -> Iterator[bytes]:
        if self.ended:
            raise DecodeError("something follows the compressed bytes")
        while True:
            block = self._stream.process(data, output_buffer_limit=BLOCK)
            data = b""
            # It may give more than was asked for, and then has more to give.
            for start in range(0, len(block), BLOCK):
                yield block[start : start + BLOCK]
            if len(block) < BLOCK and self._stream.can_accept_more_data():
                return


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    return zstd


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
    "bzip2": _Bzip2,
    "xz": _Xz,
}
