"""What goes wrong on real servers, one small class each, for `Resource.faults`.

`after` counts bytes of this answer's body. Over TLS a `Close` comes without close_notify.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.servers.content import Content, Source
from tests.servers.exchange import Exchange
from tests.servers.resource import Resource, deliver, plan


@dataclass(frozen=True)
class Normal:
    """Nothing goes wrong: for a list of faults whose first does not hit the first request."""

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        deliver(exchange, resource, plan(exchange, resource))


@dataclass(frozen=True)
class Reset:
    """A TCP reset, once `after` bytes have reached the client's side. None: before the head."""

    after: int | None = 0

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        _begin(exchange, resource, self.after)
        exchange.reset()


@dataclass(frozen=True)
class Close:
    """The connection ends after `after` bytes. None: before the head. With the size of the body
    or more: a whole answer, and then the end of a connection that promised to stay."""

    after: int | None = 0

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        _begin(exchange, resource, self.after)
        exchange.close()


@dataclass(frozen=True)
class Stall:
    """Nothing more after `after` bytes, until the client goes or the server stops. None: not even
    the head comes."""

    after: int | None = 0

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        _begin(exchange, resource, self.after)
        exchange.wait()


@dataclass(frozen=True)
class Drip:
    """The usual answer, its body at so many bytes a second."""

    rate: int

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        slow = replace(resource, rate=self.rate)
        deliver(exchange, slow, plan(exchange, slow))


@dataclass(frozen=True)
class Instead:
    """The usual answer of another resource: what stands under the path now."""

    resource: Resource

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        deliver(exchange, self.resource, plan(exchange, self.resource))


@dataclass(frozen=True)
class IgnoreIfRange:
    """The range of another resource that was asked for, whatever the condition."""

    resource: Resource

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        given = exchange.headers.get("if-range")
        answer = plan(exchange, replace(self.resource, etag=given))
        headers = {name: value for name, value in answer.headers.items() if name != "ETag"}
        if self.resource.etag is not None:
            headers["ETag"] = self.resource.etag
        deliver(exchange, self.resource, replace(answer, headers=headers))


@dataclass(frozen=True)
class Status:
    """Another status, with its own headers and body; neither has to do with the resource."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        headers = dict(self.headers)
        if self.code >= 200 and self.code not in (204, 304):
            headers = {"Content-Length": str(len(self.body))} | headers
        body = self.body if exchange.method != "HEAD" else b""
        exchange.send_head(self.code, headers, last=not body)
        exchange.send(body, last=True)


@dataclass(frozen=True)
class Redirect:
    """To any URL, as it stands."""

    location: str
    status: int = 302
    headers: Mapping[str, str] = field(default_factory=dict)

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        Status(self.status, {"Location": self.location, **self.headers}).respond(exchange, resource)


@dataclass(frozen=True)
class Respond:
    """Whatever the callable sends. (An exception that it raises ends the test.)"""

    answer: Callable[[Exchange], None]

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        self.answer(exchange)


@dataclass(frozen=True)
class Headers:
    """The usual answer with other headers; None takes one away. The body is as it would be, so
    that `Content-Length` and `Content-Range` lie."""

    headers: Mapping[str, str | None]

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer = plan(exchange, resource)
        merged: dict[str, str | None] = {**answer.headers, **self.headers}
        kept = {name: value for name, value in merged.items() if value is not None}
        deliver(exchange, resource, replace(answer, headers=kept))


@dataclass(frozen=True)
class ShortRange:
    """A 206 for only the first `size` bytes of the range, and honest about it."""

    size: int

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer = plan(exchange, resource)
        if answer.status == 206:
            end = min(answer.start + self.size, answer.end)
            partial = {
                "Content-Range": f"bytes {answer.start}-{end - 1}/{resource.content.size}",
                "Content-Length": str(end - answer.start),
            }
            answer = replace(answer, headers=answer.headers | partial, end=end)
        deliver(exchange, resource, answer)


@dataclass(frozen=True)
class WrongContentRange:
    """The bytes that were asked for, under this `Content-Range`. None: without one."""

    value: str | None

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        Headers({"Content-Range": self.value}).respond(exchange, resource)


@dataclass(frozen=True)
class IgnoreRange:
    """200 and the whole file, though a range was asked for."""

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        deliver(exchange, resource, plan(exchange, replace(resource, ranges=False)))


@dataclass(frozen=True)
class ExtraBytes:
    """More bytes than `Content-Length` says, on a connection that then ends."""

    count: int = 16

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        deliver(exchange, resource, plan(exchange, resource))
        exchange.send(b"\0" * self.count)
        exchange.close()


@dataclass(frozen=True)
class NoContentLength:
    """No length at all: the body ends with the connection, after `after` bytes where given (and
    nobody can tell that it was cut)."""

    after: int | None = None

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer = plan(exchange, replace(resource, chunked=False))
        headers = {k: v for k, v in answer.headers.items() if k != "Content-Length"}
        headers["Connection"] = "close"
        deliver(exchange, resource, replace(answer, headers=headers), self.after)


@dataclass(frozen=True)
class WrongBytes:
    """The right head, and in the body the bytes of another content."""

    content: Source = field(default_factory=lambda: Content(1 << 50, seed=666))

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer = replace(plan(exchange, resource), source=self.content)
        deliver(exchange, resource, answer)


def _begin(exchange: Exchange, resource: Resource, after: int | None) -> None:
    if after is not None:
        deliver(exchange, resource, plan(exchange, resource), after)
