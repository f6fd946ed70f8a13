"""A real nginx on a free port of loopback, serving one folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

_CONFIG = """
daemon off; worker_processes 1; pid {state}/pid; error_log {state}/error.log;
events {{ worker_connections 512; }}
http {{
  {maps} access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {state}/body; proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi; uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi;
  server {{ listen 127.0.0.1:{port} {options}; root {root}; {more} }}
}}
"""


class Nginx:
    """Serves ``root`` until it is left.

    :param state: a folder for its own files.
    :param tls: over HTTPS.
    :param rate: most bytes a second over each connection, as nginx writes it; empty for no limit.
    :param slow: the same for one connection in five.
    :raises FileNotFoundError: nginx is not installed (Debian package ``nginx-light``).
    """

    def __init__(
        self, root: Path, state: Path, *, tls: bool = False, rate: str = "", slow: str = ""
    ) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._scheme = "https" if tls else "http"
        self.authority = state / "authority.pem"
        maps = f"map $connection $rate {{ ~[05]$ {slow}; default {rate}; }}" if slow else ""
        more = f"limit_rate {'$rate' if slow else rate};" if rate else ""
        if tls:
            more += self._certify(state)
        config = state / "nginx.conf"
        options = "ssl" if tls else ""
        config.write_text(
            _CONFIG.format(
                state=state, port=self.port, root=root, options=options, more=more, maps=maps
            )
        )
        self._process = subprocess.Popen(
            [program, "-c", config, "-e", state / "error.log"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _certify(self, state: Path) -> str:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        key = state / "key.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(key))
        return f"ssl_certificate {key}; ssl_certificate_key {key};"

    def url(self, path: str) -> str:
        """The address of a file under the root."""
        return f"{self._scheme}://127.0.0.1:{self.port}/{path}"

    def __enter__(self) -> Self:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.01)
        self._process.kill()
        raise TimeoutError("nginx does not answer")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
