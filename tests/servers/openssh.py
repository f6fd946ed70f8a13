"""A real OpenSSH server on a free port of loopback, which serves the whole machine's files."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Debian's; OpenSSH does not start as root without it."""


class OpenSSH:
    """Lets the current user in, with `client_key` and over SFTP, until it is left.

    :param state: a folder for its own files.
    :param settings: lines of its configuration, in place of those given here or beside them.
    :raises FileNotFoundError: it is not installed (Debian package ``openssh-server``).
    """

    def __init__(self, state: Path, settings: Mapping[str, str] | None = None) -> None:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise FileNotFoundError("sshd is not installed: apt-get install openssh-server")
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.client_key = state / "client_key"
        """Ed25519, not encrypted."""
        self.authorized_keys = state / "authorized_keys"
        """May be changed at any time."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._program = program
        self._state = state
        self._log = state / "log"
        self._log_begins = 0
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._host_keys: dict[str, str] = {}
        public = _write_key(self.client_key, ed25519.Ed25519PrivateKey.generate())
        self.authorized_keys.write_text(f"{public}\n", encoding="utf-8")
        self._new_host_keys()

    # --- What a test asks ------------------------------------------------------------------

    def url(self, path: str | Path) -> str:
        """The address of a file, by its absolute path on this machine."""
        return f"sftp://{quote(self.user)}@127.0.0.1:{self.port}{quote(str(path))}"

    def known_hosts(self, path: Path, *, types: Sequence[str] | None = None) -> Path:
        """Write a file that says which keys this server has: `ed25519`, `ecdsa` and `rsa`, or only
        those of some types, in that order."""
        lines = [
            f"[127.0.0.1]:{self.port} {self._host_keys[name]}\n"
            for name in (self._host_keys if types is None else types)
        ]
        path.write_text("".join(lines), encoding="utf-8")
        return path

    @property
    def log(self) -> str:
        """Its standard error, from when it was up."""
        with self._log.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._log_begins)
            return file.read()

    @property
    def connections(self) -> int:
        """Those that are served now."""
        assert self._process is not None, "it is not running"
        return list(self._descendants().values()).count(self._process.pid)

    def new_host_keys(self) -> None:
        """Start anew on the same port with other keys of the same types. Connections end."""
        self._stop()
        self._new_host_keys()
        self._start()

    # --- Start and end ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _new_host_keys(self) -> None:
        keys: dict[str, _PrivateKey] = {
            "ed25519": ed25519.Ed25519PrivateKey.generate(),
            "ecdsa": ec.generate_private_key(ec.SECP256R1()),
            "rsa": rsa.generate_private_key(65537, 2048),
        }
        self._host_keys = {
            name: _write_key(self._state / f"host_{name}", key) for name, key in keys.items()
        }

    def _start(self) -> None:
        if os.getuid() == 0 and _PRIVILEGE_SEPARATION.parent.is_dir():
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        config = self._state / "sshd_config"
        config.write_text(self._config(), encoding="utf-8")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", "-e", "-f", config, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self._stop()
            raise

    def _config(self) -> str:
        ours = {
            "ListenAddress": "127.0.0.1",
            "PidFile": f'"{self._state}/pid"',
            "AuthorizedKeysFile": f'"{self.authorized_keys}"',
            "StrictModes": "no",
            "UsePAM": "no",
            "UseDNS": "no",
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "Subsystem": "sftp internal-sftp",
            "LogLevel": "VERBOSE",
        }
        if _version(self._program) >= (9, 8):
            ours["PerSourcePenalties"] = "no"  # Tests do come and go without logging in.
        theirs = {name.lower() for name in self._settings}
        lines = [f"HostKey {self._state}/host_{name}" for name in self._host_keys]
        lines += [f"{name} {value}" for name, value in self._settings.items()]
        lines += [f"{name} {value}" for name, value in ours.items() if name.lower() not in theirs]
        return "\n".join([*lines, ""])

    def _wait_until_up(self) -> None:
        """Until a banner was read, and the connection that read it is forgotten."""
        process = self._process
        assert process is not None
        for _ in range(1000):
            if process.poll() is not None:
                raise RuntimeError(f"sshd does not start: {self._log.read_text()}")
            with (
                suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", self.port), 10) as probe,
            ):
                if not probe.recv(4).startswith(b"SSH-"):
                    raise RuntimeError(f"this is no sshd: {self._log.read_text()}")
                break
            time.sleep(0.01)
        else:
            raise TimeoutError("sshd does not answer")
        for _ in range(1000):
            if not self.connections:
                self._log_begins = self._log.stat().st_size
                return
            time.sleep(0.005)
        raise TimeoutError("sshd does not end a connection")

    def _stop(self) -> None:
        """First the processes that serve connections, from the last descendants up, so that each
        is taken leave of by its parent; then the one that begets them. That one stands still
        whenever its children are counted."""
        process = self._process
        if process is None:
            return
        begun = time.monotonic()
        while process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            parents = self._descendants()
            if not parents:
                process.terminate()
            process.send_signal(signal.SIGCONT)
            waited = time.monotonic() - begun
            if waited > 10:
                process.kill()
                process.wait()
                raise TimeoutError(f"sshd does not end, nor do {sorted(parents)}")
            for child in parents if waited > 2 else parents.keys() - parents.values():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        process.wait()
        self._process = None

    def _descendants(self) -> dict[int, int]:
        """The processes that serve connections, and the parent of each."""
        assert self._process is not None, "it is not running"
        parents = _parents()
        family = {self._process.pid}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return {child: parents[child] for child in family - {self._process.pid}}


_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _write_key(path: Path, key: _PrivateKey) -> str:
    """Gives the public half, as in `known_hosts` and `authorized_keys`."""
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _version(program: str) -> tuple[int, int]:
    """Old ones do not know ``-V``, but tell their version where they say so."""
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", said.stdout + said.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _parents() -> dict[int, int]:
    """Of each process on this machine."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It has ended meanwhile.
            after_name = entry.read_text(errors="replace").rpartition(")")[2]
            parents[int(entry.parent.name)] = int(after_name.split()[1])
    return parents
