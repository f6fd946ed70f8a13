"""Which SSH host keys are trusted: a file as OpenSSH keeps it (sshd(8), SSH_KNOWN_HOSTS)."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fetcher.errors import HostKeyError

if TYPE_CHECKING:
    from paramiko import HostKeys, PKey

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
        keys, _ = self._read()
        types = [str(entry) for entry in keys.lookup(host) or ()]
        return [name for kind in types for name in (_RSA if kind == "ssh-rsa" else (kind,))]

    def check(self, host: str, key: PKey) -> None:
        """Return if the host may have this key.

        :raises HostKeyError: it is another host's, or may be.
        """
        with self._lock:
            keys, revoked = self._read()
            shown = f"{key.get_name()} {key.fingerprint}"
            if key.get_base64() in revoked:
                raise HostKeyError(
                    f"the host key of {host} ({shown}) is marked as revoked in {self._path}: do "
                    "not use it, ask the server's owner"
                )
            if keys.check(host, key):
                return
            if keys.lookup(host) is not None:
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

    def _read(self) -> tuple[HostKeys, set[str]]:
        """The keys, and those that are marked as revoked. Lines that make no sense are passed by,
        as OpenSSH does it."""
        # Not at the top: see fetcher.handlers.sftp.session.
        from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

        keys: HostKeys = HostKeys()
        revoked: set[str] = set()
        try:
            lines = self._path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise HostKeyError(
                f"the known host keys cannot be read from {self._path}: {error.strerror}"
            ) from error
        for line in map(str.strip, lines):
            if line.startswith("@revoked"):
                revoked.update(line.split()[3:4])
            if not line or line.startswith(("#", "@")):
                continue
            try:
                entry = HostKeyEntry.from_line(line)
            except InvalidHostKey:
                continue
            if entry is not None and entry.key is not None:
                for name in entry.hostnames or ():
                    keys.add(name, entry.key.get_name(), entry.key)
        return keys, revoked

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
