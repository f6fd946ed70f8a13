"""A loopback HTTP server over the files of the demonstration, with their faults."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fetcher.demo.files import DemoFile

_BLOCK = 64 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class UnsatisfiableError(Exception):
    """The range asked for lies outside the file (RFC 9110, section 15.5.17)."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of what a ``Range`` header asks for.

    None when the header is to be ignored: another unit, several ranges, no range at all
    (RFC 9110, section 14.2).

    :raises UnsatisfiableError: when nothing of it is inside ``size`` bytes.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), size
        if match[2]:
            if int(match[2]) < start:
                return None
            end = min(size, int(match[2]) + 1)
    if start >= end:
        raise UnsatisfiableError
    return start, end


class HTTPDemoServer(ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1 from its making until :meth:`close`."""

    daemon_threads = False  # so that server_close() waits for them
    request_queue_size = 128

    def __init__(self, files: Iterable[DemoFile]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {file.name: file for file in files}
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="demo-http")
        self._thread.start()

    def url(self, name: str) -> str:
        """The address of the file of this name."""
        return f"http://127.0.0.1:{self.server_port}/{quote(name)}"

    def settings(self, folder: Path) -> Mapping[str, str]:
        """None: any client gets along with it."""
        return {}

    def close(self) -> None:
        """Stop, cut what is open and wait for every thread."""
        self.closing.set()
        for file in self.files.values():
            file.faults.release()
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that goes away in the middle: it is asked to."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: HTTPDemoServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        file = self.server.files.get(unquote(self.path.lstrip("/")))
        if file is None:
            self._answer(HTTPStatus.NOT_FOUND)
        elif file.faults.refuses():
            self._answer(
                HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(file.faults.retry_after)}
            )
        else:
            self._answer_with(file)

    def _answer_with(self, file: DemoFile) -> None:
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{file.sha256[:16]}"',
            "Last-Modified": formatdate(file.path.stat().st_mtime, usegmt=True),
        }
        condition = self.headers.get("If-Range")
        part = None
        # RFC 9110, section 13.1.5: another version is sent whole.
        if condition in (None, headers["ETag"], headers["Last-Modified"]):
            try:
                part = parse_range(self.headers.get("Range", ""), file.size)
            except UnsatisfiableError:
                headers["Content-Range"] = f"bytes */{file.size}"
                self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
                return
        start, end = part or (0, file.size)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        headers["Content-Type"] = "application/octet-stream"
        self._answer(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK, headers, end - start)
        self._send(file, start, end)

    def _answer(
        self, status: HTTPStatus, headers: dict[str, str] | None = None, length: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, file: DemoFile, start: int, end: int) -> None:
        break_after = file.faults.breaks_after(end - start)
        if break_after is not None:
            end = start + break_after
            self.close_connection = True
        began = time.monotonic()
        with file.path.open("rb") as stream:
            stream.seek(start)
            for position in range(start, end, _BLOCK):
                block = stream.read(min(_BLOCK, end - position))
                file.faults.before(len(block))
                if self.server.closing.is_set():
                    self.close_connection = True
                    return
                self.wfile.write(block)
                if file.faults.pace:
                    due = began + (position - start) / file.faults.pace
                    self.server.closing.wait(max(0.0, due - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Nothing: standard error belongs to the command."""
