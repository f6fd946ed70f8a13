"""A web server for tests: honest by default, and on request as bad as any in the world.

    with Origin() as origin:
        origin.add("/a.bin", Resource(Content(10 << 20), faults=[Reset(after=1 << 20)]))
        ...  # fetch origin.url("/a.bin")
        assert [request.range for request in origin.requests] == [None, (1 << 20, None)]

Raw sockets and a thread for each connection, so that the bytes on the wire are just those that a
test asks for.
"""

import socket
import ssl
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.servers.content import Bytes, Source
from tests.servers.exchange import BadRequestError, Connection, Exchange, GoneError, Record
from tests.servers.faults import Normal, Status
from tests.servers.resource import Fault, Resource


class Origin:
    """HTTP/1.1 on a free port of 127.0.0.1, over TLS where a context is given."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.errors: list[Exception] = []
        """Bugs in scripted answers; `stop` raises the first."""
        self.failed_handshakes = 0
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._resources: dict[str, Resource] = {}
        self._log: list[Exchange] = []
        self._running: set[Exchange] = set()
        self._peak: Counter[str] = Counter()
        self._connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"origin-{self.port}")

    # --- What a test sets ------------------------------------------------------------------

    def add(self, path: str, resource: Resource | Source | Fault | bytes) -> str:
        """Put a resource, plain content, or an answer for ever (`Redirect`, `Status`) under a
        path, in place of what stands there, and give its URL. Answers that have begun go on as they
        were. A path with a query is only found with that query; one without, with any."""
        if isinstance(resource, bytes):
            resource = Bytes(resource)
        if isinstance(resource, Source):
            resource = Resource(resource)
        elif not isinstance(resource, Resource):
            always = resource
            resource = Resource(Bytes(b""), script=lambda _: always)
        with self._lock:
            self._resources[path] = resource
        return self.url(path)

    replace = add

    def remove(self, path: str) -> None:
        """From now on 404."""
        with self._lock:
            del self._resources[path]

    def fail(self, path: str, *faults: Fault) -> None:
        """Let the next requests for a path meet these faults, after those that still wait."""
        with self._lock:
            self._resources[path].faults.extend(faults)

    # --- What a test asks ------------------------------------------------------------------

    def url(self, path: str = "/", *, host: str = "127.0.0.1", userinfo: str = "") -> str:
        """`host="localhost"` is the same server under another name; `userinfo` is `user:pass`."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{userinfo}{'@' if userinfo else ''}{host}:{self.port}{path}"

    @property
    def requests(self) -> list[Record]:
        """Every request so far, in the order of arrival, as it stands at this moment."""
        with self._lock:
            return [exchange.record for exchange in self._log]

    def requests_for(self, path: str) -> list[Record]:
        return [record for record in self.requests if path in (record.path, record.target)]

    def sent(self, path: str | None = None) -> int:
        """Bytes of bodies, over all requests for a path, or over all."""
        records = self.requests if path is None else self.requests_for(path)
        return sum(record.sent for record in records)

    def active(self, path: str) -> int:
        """Answers that are being sent now."""
        with self._lock:
            return self._count(path)

    def peak(self, path: str) -> int:
        """The most answers that were being sent at one time, those refused not counted."""
        with self._lock:
            return self._peak[path]

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        with self._lock:
            return len(self._connections)

    # --- Start and end ---------------------------------------------------------------------

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Cut every connection and wait for every thread; raises what a scripted answer raised."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # It is stopped already.
        self._acceptor.join()
        self._listener.close()
        for connection in self._connections:
            connection.cut()
        for thread in self._threads:
            thread.join(10)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} does not end")
        if self.errors:
            raise self.errors[0]

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

    # --- The threads -----------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return  # `stop` has shut the listener.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ssl_context is not None:
                try:
                    accepted = self._ssl_context.wrap_socket(
                        accepted, server_side=True, do_handshake_on_connect=False
                    )
                except OSError:
                    accepted.close()
                    self.failed_handshakes += 1
                    continue
            connection = Connection(accepted, len(self._connections))
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"{self._acceptor.name}-connection"
            )
            with self._lock:
                self._connections.append(connection)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            try:
                connection.handshake()
            except OSError:
                with self._lock:
                    self.failed_handshakes += 1
                return
            while connection.open and self._next_exchange(connection):
                pass
        except (GoneError, OSError):
            pass  # The client went, as clients may.
        except Exception as error:  # noqa: BLE001 - it is raised in the test's own thread
            self.errors.append(error)
        finally:
            connection.close()

    def _next_exchange(self, connection: Connection) -> bool:
        """Whether another request may follow on the connection."""
        try:
            head = connection.read_head()
            if head is None:
                return False
            exchange = Exchange(connection, head)
        except BadRequestError:
            connection.send(memoryview(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
            return False
        connection.read_body(int(exchange.headers.get("content-length", 0)))
        resource, fault = self._arrive(exchange)
        try:
            if fault is None:
                scripted = resource.script(exchange) if resource.script is not None else None
                fault = scripted or Normal()
            fault.respond(exchange, resource)
        finally:
            exchange.end()
            with self._lock:
                self._running.discard(exchange)
        return exchange.keep_alive

    def _arrive(self, exchange: Exchange) -> tuple[Resource, Fault | None]:
        """Log a request, and find the resource and the fault that waits for it."""
        with self._lock:
            self._log.append(exchange)
            path = exchange.target if exchange.target in self._resources else exchange.path
            resource = self._resources.get(path)
            if resource is None:
                return Resource(Bytes(b"")), Status(404)
            running = self._count(exchange.path)
            if resource.max_parallel is not None and running >= resource.max_parallel:
                return resource, resource.busy or Status(503)
            self._running.add(exchange)
            self._peak[exchange.path] = max(self._peak[exchange.path], running + 1)
            return resource, resource.faults.pop(0) if resource.faults else None

    def _count(self, path: str) -> int:
        """Answers for a path whose end has not been sent."""
        records = [exchange.record for exchange in self._running]
        return sum(record.path == path and not record.ended for record in records)
