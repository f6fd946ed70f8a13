"""Stands between a client and a server of any protocol, to count, to cut and to keep silent."""

import fcntl
import select
import socket
import struct
import termios
import threading
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Passes on whatever comes to a free port of 127.0.0.1.

    :param target: the server's port.
    """

    def __init__(self, target: int) -> None:
        self.silent = False
        """Clients hear nothing: new connections lead nowhere, and on others the server's bytes are
        lost."""
        self.resets = False
        """Where the server ends a connection by FIN, the client gets RST, after all the bytes."""
        self.lost = 0
        """Bytes of the server that the clients have not heard."""
        self._target = target
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"relay-{self.port}")

    @property
    def connections(self) -> int:
        """Connections so far."""
        with self._lock:
            return len(self._links)

    @property
    def open(self) -> int:
        """Connections whose client has not gone."""
        with self._lock:
            return sum(not link.gone for link in self._links)

    def cut(self) -> None:
        """End all that are open, in both directions."""
        with self._lock:
            for link in self._links:
                link.cut()

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.cut()
        for link in self._links:
            link.join(10)
            if link.is_alive():
                raise TimeoutError(f"{link.name} does not end")

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

    def greet(self, client: socket.socket) -> None:
        """What has to be said before the client is connected; here nothing."""

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # `stop` has shut the listener.
            link = _Link(client, None if self.silent else self._target, self)
            with self._lock:
                self._links.append(link)
            link.start()


class _Link(threading.Thread):
    """One connection, and the thread that carries its bytes."""

    def __init__(self, client: socket.socket, target: int | None, relay: Relay) -> None:
        super().__init__(name=f"relay-{relay.port}-link")
        self.gone = False
        self._client = client
        self._target = target
        self._relay = relay
        self._lock = threading.Lock()
        self._open = {client}

    def cut(self) -> None:
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._close)
            with suppress(OSError):
                if self._target is None:
                    while self._client.recv(1 << 16):
                        pass
                else:
                    self._relay.greet(self._client)
                    self._carry(self._connect(self._target))

    def _connect(self, port: int) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", port), 10)
        server.settimeout(None)
        for end in (self._client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(server)
        return server

    def _carry(self, server: socket.socket) -> None:
        client, relay = self._client, self._relay
        ways = {client.fileno(): (client, server), server.fileno(): (server, client)}
        poll = select.poll()
        for descriptor in ways:
            poll.register(descriptor, select.POLLIN)
        while ways:
            for descriptor, _ in poll.poll():
                source, target = ways[descriptor]
                try:
                    data = source.recv(1 << 16)
                except ConnectionResetError:
                    if source is server:
                        self._reset()
                    return
                if data and source is server and relay.silent:
                    relay.lost += len(data)
                elif data:
                    target.sendall(data)
                elif source is server and relay.resets:
                    self._reset()
                    return
                else:
                    self.gone = self.gone or source is client
                    target.shutdown(socket.SHUT_WR)
                    poll.unregister(descriptor)
                    del ways[descriptor]

    def _reset(self) -> None:
        """RST to the client, once all that was sent has reached it."""
        client = self._client
        hung_up = select.poll()
        hung_up.register(client.fileno(), 0)
        while any(fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4))):
            if hung_up.poll(1):
                return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _close(self) -> None:
        self.gone = True
        with self._lock:
            for end in self._open:
                end.close()
            self._open.clear()


class Tunnel(Relay):
    """A web proxy that knows CONNECT only (RFC 9110, section 9.3.6); every host is the same one."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.asked: list[str] = []
        """The heads of what clients have asked for."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def greet(self, client: socket.socket) -> None:
        """Take the client's CONNECT; it sends nothing else before it is answered."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = client.recv(1 << 16)
            if not data:
                raise ConnectionAbortedError("the client has gone")
            head += data
        self.asked.append(head.decode("ascii"))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
