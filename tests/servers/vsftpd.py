"""A real vsftpd on a port of loopback, serving one folder to anonymous logins."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.crawl import wait_for

_LISTENING = "0A"


class Vsftpd:
    """Serves `root` until it is left.

    It runs as who started it. Under root, `root` is made readable for all, and is the `/` of
    sessions, which are those of the user `ftp`: mode bits keep them out. Under anyone else sessions
    begin in `root` and see all folders, so that only relative paths are the same.

    :param state: a folder for its own files.
    :param certificate: a file with the key and the chain; without it there is no TLS.
    :param implicit: TLS from the first byte, instead of after AUTH.
    :param require_tls: logins and data in the clear are refused.
    :param require_ssl_reuse: data connections have to resume the control connection's session.
    :param port: by default, a free one.
    :param password: the only one that anonymous logins may give; by default, any.
    :param settings: more lines for its configuration, which win over those made here.
    :raises FileNotFoundError: vsftpd is not installed.
    :raises RuntimeError: it did not start; the message is its own.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        *,
        certificate: Path | None = None,
        implicit: bool = False,
        require_tls: bool = False,
        require_ssl_reuse: bool = True,
        port: int | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        program = shutil.which("vsftpd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise FileNotFoundError("vsftpd is not installed: apt-get install vsftpd")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = port or free.getsockname()[1]
        self._log = state / "log"
        self._output = state / "output"
        self._scheme = "ftp" if certificate is None else "ftps"
        root.chmod(0o755)
        nowhere = state / "nowhere"
        nowhere.mkdir(mode=0o755)
        lines = {
            "listen": "YES",
            "background": "NO",
            "listen_address": "127.0.0.1",
            "listen_port": str(self.port),
            "run_as_launching_user": _word(os.geteuid() != 0),
            "secure_chroot_dir": str(nowhere),
            "seccomp_sandbox": "NO",
            "isolate": "NO",
            "isolate_network": "NO",
            "anonymous_enable": "YES",
            "local_enable": "NO",
            "anon_root": str(root),
            "anon_world_readable_only": "NO",
            "delay_failed_login": "0",
            "xferlog_enable": "YES",
            "xferlog_std_format": "NO",
            "log_ftp_protocol": "YES",
            "vsftpd_log_file": str(self._log),
        }
        if password is not None:
            passwords = state / "passwords"
            passwords.write_text(f"{password}\n")
            lines["secure_email_list_enable"] = "YES"
            lines["email_password_file"] = str(passwords)
        if certificate is not None:
            lines |= {
                "ssl_enable": "YES",
                "allow_anon_ssl": "YES",
                "force_anon_logins_ssl": _word(require_tls),
                "force_anon_data_ssl": _word(require_tls),
                "implicit_ssl": _word(implicit),
                "require_ssl_reuse": _word(require_ssl_reuse),
                "rsa_cert_file": str(certificate),
                "rsa_private_key_file": str(certificate),
                "ssl_ciphers": "HIGH",
            }
        lines |= settings or {}
        config = state / "vsftpd.conf"
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self._command = [program, str(config)]

    # --- What a test asks ------------------------------------------------------------------

    def url(self, path: str = "/", *, host: str = "127.0.0.1", userinfo: str = "") -> str:
        """Of a path under the root; `userinfo` is `user:password`, percent-encoded as needed."""
        userinfo += "@" if userinfo else ""
        return f"{self._scheme}://{userinfo}{host}:{self.port}/{quote(path.removeprefix('/'))}"

    @property
    def log(self) -> str:
        """All commands and replies so far, with a process number for each session. What is not
        ASCII stands there as question marks."""
        return self._log.read_text("ascii", "replace") if self._log.exists() else ""

    @property
    def connections(self) -> int:
        """Control connections so far, those turned away included."""
        return len(re.findall(r"\] CONNECT: ", self.log))

    def asked(self, command: str) -> list[str]:
        """The arguments with which a command came, in order."""
        found = re.findall(r'FTP command: Client "[^"]*", "(\S+) ?(.*)"', self.log)
        return [argument for name, argument in found if name == command]

    def transfers(self, path: str) -> int:
        """How often a path was asked for, with a slash in front or without."""
        name = re.sub(rb"[^ -~]", b"?", path.removeprefix("/").encode()).decode()
        return sum(asked.removeprefix("/") == name for asked in self.asked("RETR"))

    # --- Start and end ---------------------------------------------------------------------

    def start(self) -> None:
        # Each of its processes has one end of this pipe, so that the other tells when all are gone.
        self._all_gone, self._held = os.pipe()
        # It complains to what it takes for the client: standard input.
        with self._output.open("w+b") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=output,
                stdout=output,
                stderr=output,
                pass_fds=[self._held],
            )
        os.close(self._held)
        try:
            wait_for(self._is_up, 10, "vsftpd")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of its processes, and wait until there are none."""
        wait_for(self._is_gone, 10, "the end of vsftpd")
        self._process.wait()
        os.close(self._all_gone)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_up(self) -> bool:
        """Told without a connection, which would count as a session for a while."""
        if self._process.poll() is not None:
            raise RuntimeError(f"vsftpd does not start: {self._output.read_text().strip()}")
        address = f"0100007F:{self.port:04X}"
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return any(fields[1] == address and fields[3] == _LISTENING for fields in sockets)

    def _is_gone(self) -> bool:
        """Kills what there is. (Its sessions have process groups of their own.)"""
        pipe = Path(f"/proc/self/fd/{self._all_gone}").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "fd" / str(self._held)).readlink() == pipe:
                    os.kill(int(process.name), signal.SIGKILL)
        return bool(select.select([self._all_gone], [], [], 0)[0])


def _word(value: bool) -> str:
    return "YES" if value else "NO"
