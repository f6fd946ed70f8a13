"""A real nginx on a free port of loopback, serving one folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_CONFIG = """
daemon off; worker_processes 1; pid {state}/pid; error_log {state}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {state}/body; proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi; uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Nginx:
    """Serves ``root`` until it is left.

    :param state: a folder for its own files.
    :raises FileNotFoundError: nginx is not installed (Debian package ``nginx-light``).
    """

    def __init__(self, root: Path, state: Path) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        config = state / "nginx.conf"
        config.write_text(_CONFIG.format(state=state, port=self._port, root=root))
        self._process = subprocess.Popen(
            [program, "-c", config, "-e", state / "error.log"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def url(self, path: str) -> str:
        """The address of a file under the root."""
        return f"http://127.0.0.1:{self._port}/{path}"

    def __enter__(self) -> Self:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
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
