"""Checksums as lists and servers state them."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.rules.checksums import ALGORITHMS, parse_checksum, stated_checksums

DATA = b"data"


def hexadecimal(algorithm: str) -> str:
    return hashlib.new(algorithm, DATA).hexdigest()


def base_64(algorithm: str) -> str:
    return base64.b64encode(hashlib.new(algorithm, DATA).digest()).decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_forms_of_a_list(algorithm: str) -> None:
    digits = hexadecimal(algorithm)
    expected = f"{algorithm}:{digits}"
    dashed = algorithm.replace("sha", "SHA-")
    for text in (
        digits,
        digits.upper(),
        f"{algorithm}:{digits}",
        f"{algorithm}={digits}",
        f" {algorithm.upper()} : {digits} ",
        f"{dashed}={digits.upper()}",
    ):
        assert parse_checksum(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "md5:",
        "md5:12",
        "crc32:12345678",
        "x" * 32,
        "0" * 33,
        "sha1:" + "0" * 64,
        "md5:" + "٣" * 32,
        "sha256:" + "0" * 63 + "g",
    ],
)
def test_what_is_no_checksum(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no .*checksum"):
        parse_checksum(text)


@given(st.text())
def test_whatever_the_text(text: str) -> None:
    try:
        found = parse_checksum(text)
    except ValueError:
        return
    assert parse_checksum(found) == found


@pytest.mark.parametrize(
    ("header", "value", "algorithm"),
    [
        ("repr-digest", f"sha-256=:{base_64('sha256')}:", "sha256"),
        ("repr-digest", f"sha-512=:{base_64('sha512')}:,sha-256=:{base_64('sha256')}:", "sha256"),
        ("repr-digest", f"unixsum=:AAAA:, sha-512=:{base_64('sha512')}:", "sha512"),
        ("digest", f"SHA-256={base_64('sha256')}", "sha256"),
        ("digest", f"MD5={base_64('md5')},SHA={base_64('sha1')}", "sha1"),
        ("x-goog-hash", f"crc32c=AAAAAA==, md5={base_64('md5')}", "md5"),
        ("x-amz-checksum-sha256", base_64("sha256"), "sha256"),
        ("x-amz-checksum-sha1", base_64("sha1"), "sha1"),
        ("content-md5", base_64("md5"), "md5"),
        ("content-digest", f"sha-256=:{base_64('sha256')}:", "sha256"),
    ],
)
def test_headers(header: str, value: str, algorithm: str) -> None:
    expected = {header: f"{algorithm}:{hexadecimal(algorithm)}"}
    assert stated_checksums(200, {header: value}) == expected
    assert stated_checksums(200, {header: value, "content-encoding": "gzip"}) == {}
    assert stated_checksums(200, {header: value, "content-encoding": "Identity"}) == expected
    of_the_message = header.startswith("content-")
    assert stated_checksums(206, {header: value}) == ({} if of_the_message else expected)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("repr-digest", ""),
        ("repr-digest", "sha-256"),
        ("repr-digest", "sha-256=:!!!:"),
        ("repr-digest", "sha-256=:AAAA:"),
        ("digest", "crc32c=AAAAAA=="),
        ("content-md5", "d41d8cd98f00b204e9800998ecf8427e"),
        # The checksum of a multipart upload's checksums: not one of the file.
        ("x-amz-checksum-sha256", base_64("sha256") + "-3"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("etag", hexadecimal("md5")),
    ],
)
def test_headers_that_say_nothing(header: str, value: str) -> None:
    assert stated_checksums(200, {header: value}) == {}


@given(st.text(), st.text())
def test_whatever_the_headers(digest: str, md5: str) -> None:
    headers = {"repr-digest": digest, "content-md5": md5, "x-goog-hash": digest}
    for found in stated_checksums(200, headers).values():
        assert parse_checksum(found) == found
