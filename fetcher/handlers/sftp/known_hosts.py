"""Which SSH host keys are trusted: a file as OpenSSH keeps it (sshd(8), SSH_KNOWN_HOSTS)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fetcher.errors import HostKeyError

if TYPE_CHECKING:
    from paramiko import PKey

_RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""Signature algorithms of the key type ``ssh-rsa`` (RFC 8332)."""


class KnownHosts:
    """A file of host keys; read for every connection, so that what is added counts at once.

    :param path: need not exist.
    :param accept_new: add the key of a host that is not in it.
    """

    def __init__(self, path: Path, *, accept_new: bool) -> None:
        self._path = path
        self._accept_new = accept_new
        self._lock = threading.Lock()

    def algorithms(self, host: str) -> list[str]:
        """Those by which a host can show a key that is known.

        :param host: as in the file: ``name``, or ``[name]:port`` for another port than 22.
        """
        known = [kind for kind, _ in self._keys(host)]
        return [name for kind in known for name in (_RSA if kind == "ssh-rsa" else (kind,))]

    def check(self, host: str, key: PKey) -> None:
        """Return if the host may have this key.

        :raises HostKeyError: it is another host's, or may be.
        """
        with self._lock:
            shown = f"{key.get_name()} {key.fingerprint}"
            if key.get_base64() in self._revoked():
                raise HostKeyError(
                    f"the host key of {host} ({shown}) is marked as revoked in {self._path}: do "
                    "not use it, ask the server's owner"
                )
            known = list(self._keys(host))
            if (key.get_name(), key.get_base64()) in known:
                return
            if known:
                raise HostKeyError(
                    f"the host key of {host} has changed (now {shown}), somebody may stand in "
                    "between: ask the server's owner, and if it is right, remove the old one by "
                    f'ssh-keygen -R "{host}" -f {self._path}'
                )
            if not self._accept_new:
                raise HostKeyError(
                    f"the host key of {host} ({shown}) is not known: compare it with what the "
                    f"server's owner says, and add it to {self._path} (ssh-keyscan), or set "
                    "FETCHER_SSH_HOST_KEY_POLICY=accept-new"
                )
            self._add(host, key)

    def _keys(self, host: str) -> Iterator[tuple[str, str]]:
        """Type and Base64 of each key that is known of a host."""
        for fields in self._lines():
            if not fields[0].startswith("@") and _matches(fields[0], host):
                yield fields[1], fields[2]

    def _revoked(self) -> set[str]:
        return {fields[3] for fields in self._lines() if fields[0] == "@revoked" and fields[3:]}

    def _lines(self) -> Iterator[list[str]]:
        """The fields of each line; those that make no sense are passed by, as OpenSSH does it."""
        try:
            text = self._path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostKeyError(
                f"the known host keys cannot be read from {self._path}: {error.strerror}"
            ) from error
        for line in text.splitlines():
            fields = line.split()
            if len(fields) >= 3 and not fields[0].startswith("#"):
                yield fields

    def _add(self, host: str, key: PKey) -> None:
        line = f"{host} {key.get_name()} {key.get_base64()}\n"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                unended = size and os.pread(descriptor, 1, size - 1) != b"\n"
                # One write: other processes may be adding theirs.
                os.write(descriptor, (("\n" if unended else "") + line).encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HostKeyError(
                f"the host key of {host} cannot be added to {self._path}: {error.strerror}"
            ) from error


def _matches(patterns: str, host: str) -> bool:
    """Whether a line's first field means a host: names, ``*`` and ``?``, ``!`` against, hashes."""
    found = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            found = found or _is_hash_of(pattern, host)
            continue
        if _fits(pattern.removeprefix("!").lower(), host.lower()):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _fits(pattern: str, host: str) -> bool:
    # One star is enough to go back to: what the earlier ones stand for can stay as it is.
    at = place = 0
    star, resume = -1, 0
    while at < len(host):
        if pattern[place : place + 1] == "*":
            star, resume = place, at
            place += 1
        elif pattern[place : place + 1] in ("?", host[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = resume, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def _is_hash_of(pattern: str, host: str) -> bool:
    # Not at the top: see fetcher.handlers.sftp.session.
    from paramiko import HostKeys

    try:
        return HostKeys.hash_host(host, pattern) == pattern
    except (ValueError, IndexError, AssertionError):
        return False
