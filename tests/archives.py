"""Archives for tests: what `tar` and `zip` would make, and what only somebody hostile would."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from backports import zstd

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd.compress,
    ".tzst": zstd.compress,
}

END = bytes(1024)
"""Of a tar."""


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **facts: Any) -> bytes:
    """One member of a tar, whatever it says of itself: `linkname`, `mode`, `mtime`, `size`,
    `pax_headers`."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % 512)


def symlink(name: str, target: str) -> bytes:
    return entry(name, kind=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, kind=tarfile.LNKTYPE, linkname=target)


def folder(name: str, mode: int = 0o755) -> bytes:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + END


def tar_of(files: dict[str, bytes]) -> bytes:
    return tar(*(entry(name, data) for name, data in files.items()))


def zip_of(
    files: dict[str, bytes] | Iterable[tuple[zipfile.ZipInfo, bytes]],
    compression: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return made.getvalue()


def zip_entry(name: str, mode: int = 0o100644, system: int = 3) -> zipfile.ZipInfo:
    """An entry with a Unix mode, of which a link and a device are made."""
    info = zipfile.ZipInfo(name)
    info.filename = info.orig_filename = name
    info.create_system, info.external_attr = system, mode << 16
    return info


def overlapping_zip(count: int, size: int) -> bytes:
    """A bomb: so many entries that share the bytes of one (D. Fifield, "A better zip bomb")."""
    one = zip_of({"a": bytes(size)})
    end = one.rindex(b"PK\5\6")
    start = one.index(b"PK\1\2")
    listed = one[start:end] * count
    few = count & 0xFFFF
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, len(listed), start, 0)
    return one[:start] + listed + tail
