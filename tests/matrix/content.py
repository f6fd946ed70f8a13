"""Pages instead of files, and compression that nobody asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Callable

import brotli

from tests.matrix.cases import MIB, Family, Outcome, Place, Row, content
from tests.servers.content import Bytes, Content
from tests.servers.resource import Resource
from tests.test_codings import ENCODERS, bare_deflate

family = Family("content", "Content")

DECODED = "is decoded, and comes right"
DAMAGED = "fails after a second try"
LISTED = "fails: the list knows better"

PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>\n"
PLAIN = Content(300_000, seed=3)
DATA = PLAIN.read(0, PLAIN.size)


def page() -> Resource:
    return Resource(Bytes(PAGE), content_type="text/html; charset=utf-8")


@family.case(
    "sends a page with status 200 where the list knows the size", LISTED, "SizeMismatchError"
)
def page_and_size(place: Place) -> Row:
    return place.serve(page(), size=MIB)


@family.case(
    "sends a page with status 200 where the list knows the checksum",
    "fails after a second try",
    "ChecksumMismatchError",
)
def page_and_checksum(place: Place) -> Row:
    return place.serve(page(), checksum=f"sha256:{content().sha256}")


@family.case(
    "sends a page as `text/html` where a file of another kind was asked for",
    "fails: a page is no such file",
    "ProtocolError",
)
def page_and_type(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert "web page" in outcome.report["error"]["message"]
        assert not outcome.final.with_name(outcome.final.name + ".part").exists()

    return place.serve(page(), check=check)


@family.case("sends a page where a page was asked for", "comes right")
def page_wanted(place: Place) -> Row:
    return place.serve(page(), name="content/index.html")


@family.case("calls a file of another kind `text/html`", "comes right")
def mislabelled(place: Place) -> Row:
    return place.serve(Resource(content(), content_type="text/html"))


# --- compression (RFC 9110, section 8.4) ---------------------------------------------------------


def coded(place: Place, coding: str, data: bytes, **row: object) -> Row:
    """The plain content, as a server sends it that compresses all the same."""
    resource = Resource(Bytes(data), headers={"Content-Encoding": coding})
    return Row(place.origin.add(place.path, resource), PLAIN, **row)  # type: ignore[arg-type]


def compressed(name: str, coding: str, encode: Callable[[bytes], bytes]) -> None:
    def put(place: Place) -> Row:
        return coded(place, coding, encode(DATA))

    put.__name__ = name
    family.case(
        f"sends `Content-Encoding: {coding}`" + (", bare" if "bare" in name else ""), DECODED
    )(put)


compressed("gzip", "gzip", gzip.compress)
compressed("x_gzip", "x-gzip", gzip.compress)
compressed("deflate", "deflate", zlib.compress)
compressed("deflate_bare", "deflate", bare_deflate)
compressed("br", "br", lambda data: brotli.compress(data, quality=1))
compressed("zstd", "zstd", ENCODERS["zstd"][1])
compressed("twice", "gzip, gzip", lambda data: gzip.compress(gzip.compress(data)))
compressed(
    "three",
    "br, gzip, zstd",
    lambda data: ENCODERS["zstd"][1](gzip.compress(brotli.compress(data, quality=1))),
)


@family.case("sends gzip, where the list knows size and checksum of the plain file", DECODED)
def gzip_and_list(place: Place) -> Row:
    data = gzip.compress(DATA)
    return coded(place, "gzip", data, size=PLAIN.size, checksum=f"sha256:{PLAIN.sha256}")


@family.case("sends gzip, where the list knows another size", LISTED, "SizeMismatchError")
def gzip_and_size(place: Place) -> Row:
    return coded(place, "gzip", gzip.compress(DATA), size=PLAIN.size - 1)


@family.case("sends gzip in several ranges", DECODED)
def gzip_in_ranges(place: Place) -> Row:
    plain = content(MIB, seed=5)
    data = gzip.compress(plain.read(0, plain.size), compresslevel=1)
    resource = Resource(Bytes(data), headers={"Content-Encoding": "gzip"})

    def check(outcome: Outcome) -> None:
        assert outcome.report["connections"] > 1

    return Row(place.origin.add(place.path, resource), plain, check=check)


@family.case("sends gzip in chunks, without a length", DECODED)
def gzip_in_chunks(place: Place) -> Row:
    resource = Resource(
        Bytes(gzip.compress(DATA)),
        headers={"Content-Encoding": "gzip"},
        chunked=True,
        ranges=False,
        etag='W/"1"',
    )
    return Row(place.origin.add(place.path, resource), PLAIN)


@family.case("sends gzip that ends early", DAMAGED, "DecodeError")
def gzip_cut(place: Place) -> Row:
    return coded(place, "gzip", gzip.compress(DATA)[:-9], check=asked_twice)


@family.case("sends gzip that is damaged", DAMAGED, "DecodeError")
def gzip_damaged(place: Place) -> Row:
    data = bytearray(gzip.compress(DATA))
    data[len(data) // 2] ^= 1
    return coded(place, "gzip", bytes(data), check=asked_twice)


def asked_twice(outcome: Outcome) -> None:
    assert outcome.report["restarts"] == 1


@family.case(
    "sends a gzip bomb", "fails before it is larger than `DOWNLOAD_MAXSIZE`", "TooLargeError"
)
def bomb(place: Place) -> Row:
    return coded(place, "gzip", gzip.compress(bytes(200 * MIB), compresslevel=9))


@family.case(
    "compresses in a way that is not known, or too many times over",
    "fails: it cannot be undone",
    "ProtocolError",
)
def unknown_coding(place: Place) -> Row:
    return coded(place, "rot13", DATA)


@family.case(
    "compresses in a way that is not known, or too many times over",
    "fails: it cannot be undone",
    "ProtocolError",
)
def too_many_codings(place: Place) -> Row:
    return coded(place, ", ".join(["gzip"] * 20), DATA)


@family.case("sends `Content-Encoding: identity`", "comes right")
def identity(place: Place) -> Row:
    return coded(place, "identity", DATA)


# --- checksums that the server states ------------------------------------------------------------


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@family.case("states a `Repr-Digest` that fits", "comes right")
def digest_right(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert "repr-digest" in outcome.report["verified_by"]

    headers = {"Repr-Digest": f"sha-256=:{sha256(DATA)}:"}
    return place.serve(Resource(PLAIN, headers=headers), check=check)


@family.case(
    "states a `Repr-Digest` or `Content-MD5` that does not fit", DAMAGED, "ChecksumMismatchError"
)
def digest_wrong(place: Place) -> Row:
    headers = {"Repr-Digest": f"sha-256=:{sha256(DATA[:-1])}:"}
    return place.serve(Resource(PLAIN, headers=headers), check=asked_twice)


@family.case(
    "states a `Repr-Digest` or `Content-MD5` that does not fit", DAMAGED, "ChecksumMismatchError"
)
def md5_wrong(place: Place) -> Row:
    wrong = base64.b64encode(hashlib.md5(b"", usedforsecurity=False).digest()).decode()
    resource = Resource(PLAIN, headers={"Content-MD5": wrong}, ranges=False)
    return place.serve(resource, check=asked_twice)
