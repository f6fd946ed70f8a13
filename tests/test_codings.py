"""Content codings undone: every byte or an error, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import DecodeError
from fetcher.rules import codings
from fetcher.rules.codings import BLOCK, decoded
from tests.effort import at_most

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from backports import zstd


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "bzip2": ("bzip2", bz2.compress),
    "xz": ("xz", lzma.compress),
}


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@given(
    st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=3),
    st.binary(max_size=3000).map(lambda data: data * 7),
    st.integers(1, 4000),
)
def test_what_was_applied_is_undone(kinds: list[str], data: bytes, size: int) -> None:
    coded = data
    for kind in kinds:
        coded = ENCODERS[kind][1](coded)
    assert b"".join(decoded([ENCODERS[kind][0] for kind in kinds], cut(coded, size))) == data


@pytest.mark.parametrize("kind", ENCODERS)
def test_blocks_stay_small_however_much_comes_out(kind: str) -> None:
    coding, encode = ENCODERS[kind]
    coded = encode(bytes(20 << 20))
    total = 0
    for block in decoded([coding], [coded]):
        assert len(block) <= BLOCK
        total += len(block)
    assert total == 20 << 20


@pytest.mark.parametrize("kind", ENCODERS)
def test_cut_anywhere_it_is_an_error(kind: str) -> None:
    coding, encode = ENCODERS[kind]
    coded = encode(random.Random(1).randbytes(300))
    for end in range(1, len(coded)):
        with pytest.raises(DecodeError):
            list(decoded([coding], cut(coded[:end], 50)))


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_a_flipped_bit_never_gives_other_bytes(kind: str) -> None:
    """gzip and zlib carry a checksum of their own."""
    coding, encode = ENCODERS[kind]
    data = b"To be or not to be, that is the question. " * 5
    coded = bytearray(encode(data))
    for position in range(len(coded) * 8):
        coded[position // 8] ^= 1 << position % 8
        try:
            found = b"".join(decoded([coding], [bytes(coded)]))
        except DecodeError:
            found = data
        # A flag of gzip's head may be another: the name of the file, its date.
        assert found == data
        coded[position // 8] ^= 1 << position % 8


@pytest.mark.parametrize("kind", ["deflate", "bare deflate", "br"])
def test_something_behind_the_end(kind: str) -> None:
    coding, encode = ENCODERS[kind]
    for blocks in ([encode(b"abc") + b"x"], [encode(b"abc"), b"x"]):
        with pytest.raises(DecodeError):
            list(decoded([coding], blocks))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_several_streams_and_padding(kind: str) -> None:
    coding, encode = ENCODERS[kind]
    coded = encode(b"abc") + encode(b"def")
    assert b"".join(decoded([coding], cut(coded, 7))) == b"abcdef"
    assert b"".join(decoded([coding], [coded + bytes(600), bytes(3)])) == b"abcdef"
    for blocks in ([coded + b"x" * 30], [coded, b"\0\0", b"x"]):
        with pytest.raises(DecodeError):
            list(decoded([coding], blocks))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_streams_of_nothing_one_after_the_other(kind: str) -> None:
    coding, encode = ENCODERS[kind]
    empty = encode(b"")
    many = empty * ((256 << 10) // len(empty)) + encode(b"end")
    with at_most(1):
        assert b"".join(decoded([coding], [many])) == b"end"


def test_an_empty_body_is_an_empty_file() -> None:
    assert list(decoded(["gzip"], [])) == []
    assert list(decoded(["gzip", "br"], [b""])) == []


def test_a_frame_that_wants_more_memory_than_a_server_may_ask_for() -> None:
    options = {zstd.CompressionParameter.window_log: codings._WINDOW_LOG + 1}
    stream = zstd.ZstdCompressor(options=options)
    coded = stream.compress(b"abc", zstd.ZstdCompressor.FLUSH_BLOCK) + stream.flush()
    with pytest.raises(DecodeError):
        list(decoded(["zstd"], [coded]))


def test_an_xz_stream_that_wants_more_memory_than_that() -> None:
    coded = bytearray(lzma.compress(b"abc", check=lzma.CHECK_NONE))
    # The one filter of the block's header: LZMA2, a byte of properties: its dictionary's size.
    assert coded[14:16] == b"\x21\x01"
    coded[16] = 32  # 256 MiB
    coded[20:24] = zlib.crc32(coded[12:20]).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="Memory"):
        list(decoded(["xz"], [bytes(coded)]))
