"""Checksums as lists and servers state them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

ALGORITHMS = ("sha256", "sha512", "sha1", "md5")
"""What can be compared, strongest habit first; names as :mod:`hashlib` has them."""

_HEX_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
# RFC 9530 writes sha-256, RFC 3230 SHA-256 and MD5.
_HEADER_NAMES = {
    "sha-256": "sha256",
    "sha-512": "sha512",
    "sha": "sha1",
    "sha-1": "sha1",
    "md5": "md5",
}


def parse_checksum(text: str) -> str:
    """``algorithm:hex``, ``algorithm=hex`` or bare hex, as ``algorithm:hex`` in lower case.

    :raises ValueError: when the algorithm is unknown or the digits do not fit it.
    """
    text = text.strip()
    algorithm, separator, digits = text.partition(":")
    if not separator:
        algorithm, separator, digits = text.partition("=")
    if not separator:
        digits = text
        by_length = {length: name for name, length in _HEX_LENGTHS.items()}
        algorithm = by_length.get(len(digits), "")
    algorithm = algorithm.strip().lower().replace("-", "")
    digits = digits.strip().lower()
    if algorithm not in _HEX_LENGTHS:
        raise ValueError(
            f"{text!r} is no checksum; write algorithm:hex with one of {', '.join(ALGORITHMS)}"
        )
    if len(digits) != _HEX_LENGTHS[algorithm] or not _HEX.fullmatch(digits):
        raise ValueError(
            f"{text!r} is no {algorithm} checksum; that has "
            f"{_HEX_LENGTHS[algorithm]} hexadecimal digits"
        )
    return f"{algorithm}:{digits}"


def stated_checksums(status: int, headers: Mapping[str, str]) -> dict[str, str]:
    """What an answer's headers say of the *whole* file: header name to ``algorithm:hex``.

    ``Repr-Digest`` (RFC 9530, section 3) and ``Digest`` (RFC 3230) speak of the whole even on a
    206; ``Content-MD5`` and ``Content-Digest`` speak of the message, so only on a 200.
    Object stores state theirs in headers of their own. What cannot be read, or cannot be
    computed here, is passed over: a server's statement is an offer, not an order.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return {}
    found: dict[str, str] = {}
    for header in ("repr-digest", "digest"):
        _add_listed(found, header, headers.get(header, ""))
    _add_listed(found, "x-goog-hash", headers.get("x-goog-hash", ""))
    for algorithm in ("sha256", "sha1"):
        header = f"x-amz-checksum-{algorithm}"
        _add_base64(found, header, algorithm, headers.get(header, ""))
    if status == 200:
        _add_base64(found, "content-md5", "md5", headers.get("content-md5", ""))
        _add_listed(found, "content-digest", headers.get("content-digest", ""))
    return found


def _add_listed(found: dict[str, str], header: str, value: str) -> None:
    """Entries such as ``sha-256=:base64:`` or ``md5=base64``, the strongest known one."""
    entries: dict[str, str] = {}
    for entry in value.split(","):
        name, separator, digest = entry.strip().partition("=")
        algorithm = _HEADER_NAMES.get(name.strip().lower())
        if separator and algorithm:
            entries.setdefault(algorithm, digest.strip().strip(":"))
    for algorithm in ALGORITHMS:
        if algorithm in entries:
            _add_base64(found, header, algorithm, entries[algorithm])
            return


def _add_base64(found: dict[str, str], header: str, algorithm: str, value: str) -> None:
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return
    if len(digest) * 2 == _HEX_LENGTHS[algorithm]:
        found[header] = f"{algorithm}:{digest.hex()}"
