"""``python -m tests.benchmarks.first_request PORT COMMAND ...``: ends when the command has asked a
server on this port of loopback for something, and ends the command."""

from __future__ import annotations

import socket
import subprocess
import sys

LIMIT = 30.0
"""Seconds to wait for it."""


def main() -> int:
    """0: it has asked."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        server.settimeout(LIMIT)
        with subprocess.Popen(sys.argv[2:]) as process:
            try:
                connection, _ = server.accept()
                with connection:
                    return 0 if connection.recv(1) else 1
            except TimeoutError:
                return 1
            finally:
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
