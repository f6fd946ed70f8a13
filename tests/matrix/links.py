"""Links that expire, and redirects that lead astray."""

from __future__ import annotations

from collections.abc import Callable

from tests.matrix.cases import Family, Outcome, Place, Row, content
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Redirect, Respond, Status
from tests.servers.resource import Fault, Resource

family = Family("links", "Links and redirects")

FRESH = "the list's address is asked again, and the file comes right"
NOWHERE = "fails: no http or https address"
RIGHT = "comes right"
KEPT = "comes right; nothing secret goes along"

SECRET = "anna:sesame"


def expires(status: int, after: int) -> Callable[[Exchange], Fault | None]:
    """A link that is good for so many requests."""
    left = iter(range(after))
    return lambda _: None if next(left, None) is not None else Status(status)


@family.case("answers 403 in mid-file, for ever", "fails; what is there is kept", "StatusError")
def expired(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert "fresh link" in outcome.report["error"]["message"]
        assert outcome.final.with_name(outcome.final.name + ".part.json").exists()

    return place.serve(Resource(content(), script=expires(403, 2)), check=check)


def target_expires(status: int) -> Callable[[Place], Row]:
    def put(place: Place) -> Row:
        """Each target is good for two ranges."""
        targets = iter(range(100))
        source = content()

        def redirect(_: Exchange) -> Fault:
            path = f"{place.path}-target-{next(targets)}"
            place.origin.add(path, Resource(source, script=expires(status, 2)))
            return Redirect(place.origin.url(path))

        url = place.origin.add(place.path, Resource(source, script=redirect))

        def check(outcome: Outcome) -> None:
            assert 2 <= len(outcome.requests) <= 30

        return Row(url, source, check=check)

    put.__name__ = f"target_expires_{status}"
    return put


for code in (401, 403, 404, 410):
    family.case(f"redirects to an address that answers {code} in mid-file", FRESH)(
        target_expires(code)
    )


@family.case("redirects five times in a row", RIGHT)
def chain(place: Place) -> Row:
    for number in range(4):
        place.origin.add(f"{place.path}-{number}", Redirect(f"{place.path}-{number + 1}"))
    place.origin.add(f"{place.path}-4", Resource(content()))
    return Row(place.origin.add(place.path, Redirect(f"{place.path}-0")), content())


@family.case("redirects in a circle", "fails after 20 redirects", "RedirectError")
def loop(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert len(outcome.requests) <= 21

    return Row(place.origin.add(place.path, Redirect(place.origin.url(place.path))), check=check)


@family.case("redirects to new addresses without end", "fails after 20 redirects", "RedirectError")
def endless(place: Place) -> Row:
    count = iter(range(1000))

    def check(outcome: Outcome) -> None:
        assert len(outcome.requests) <= 21

    resource = Resource(content(), script=lambda _: Redirect(f"{place.path}?n={next(count)}"))
    return Row(place.origin.add(place.path, resource), check=check)


def elsewhere(name: str, what: str, target: Callable[[Place], str]) -> None:
    """The row's login and cookies stay with the list's address."""

    def put(place: Place) -> Row:
        seen: list[str] = []

        def script(exchange: Exchange) -> None:
            seen.extend(set(exchange.headers) & {"authorization", "cookie"})

        goal = target(place)
        server = place.tls if goal.startswith(place.tls.url("/")) else place.origin
        server.add(f"{place.path}-goal", Resource(content(), script=script))
        setting = {"Set-Cookie": "session=sesame"}
        server = place.tls if name == "downgrade" else place.origin
        server.add(place.path, Redirect(goal, headers=setting))

        def check(outcome: Outcome) -> None:
            assert outcome.requests[0].headers["authorization"].startswith("Basic ")
            assert not seen
            assert "sesame" not in str(outcome.report)

        return Row(server.url(place.path, userinfo=SECRET), content(), check=check)

    put.__name__ = name
    family.case(what, KEPT)(put)


elsewhere(
    "other_host",
    "redirects to another host, with a login for the first",
    lambda place: place.origin.url(f"{place.path}-goal", host="localhost"),
)
elsewhere(
    "other_port",
    "redirects to another port, with a login for the first",
    lambda place: place.tls.url(f"{place.path}-goal"),
)
elsewhere(
    "downgrade",
    "redirects from https to http, with a login for the first",
    lambda place: place.origin.url(f"{place.path}-goal"),
)


@family.case(
    "redirects to an address with a login of its own", "comes right; that login is not used"
)
def login_in_target(place: Place) -> Row:
    seen: list[str] = []

    def script(exchange: Exchange) -> None:
        seen.extend(set(exchange.headers) & {"authorization"})

    path = f"{place.path}-goal"
    place.origin.add(path, Resource(content(), script=script))
    goal = Redirect(place.origin.url(path, userinfo="eve:evil"))

    def check(outcome: Outcome) -> None:
        assert not seen
        assert "evil" not in str(outcome.report)

    return Row(place.origin.add(place.path, goal), content(), check=check)


def astray(name: str, location: str | None) -> None:
    def put(place: Place) -> Row:
        headers = {} if location is None else {"Location": location}
        return Row(place.origin.add(place.path, Status(302, headers)))

    put.__name__ = name
    what = "redirects to `file:`, `ftp:`, `data:`, `javascript:`, or nowhere"
    family.case(what, NOWHERE, "RedirectError")(put)


astray("to_file", "file:///etc/passwd")
astray("to_ftp", "ftp://127.0.0.1/x")
astray("to_data", "data:,x")
astray("to_javascript", "javascript:alert(1)")
astray("without_location", None)


@family.case("redirects with CR LF in the address", RIGHT)
def crlf(place: Place) -> Row:
    """What is percent-encoded stays so; a bare line end begins another header."""

    def answer(exchange: Exchange) -> None:
        exchange.status = 302
        goal = f"{place.path}-goal%0d%0aX-Injected:%201"
        exchange.send_raw(
            f"HTTP/1.1 302 Found\r\nLocation: {goal}\r\nContent-Length: 0\r\n\r\n".encode(),
            last=True,
        )

    seen: list[str] = []

    def script(exchange: Exchange) -> None:
        seen.extend(set(exchange.headers) & {"x-injected"})

    def check(outcome: Outcome) -> None:
        assert not seen

    place.origin.add(f"{place.path}-goal%0d%0aX-Injected:%201", Resource(content(), script=script))
    return Row(place.origin.add(place.path, Respond(answer)), content(), check=check)


@family.case("redirects to a path of its own", RIGHT)
def relative(place: Place) -> Row:
    place.origin.add(f"{place.path}-goal", Resource(content()))
    return Row(place.origin.add(place.path, Redirect(f".{place.path}-goal", 307)), content())


@family.case("redirects later ranges to another version", "comes right, from one answer")
def other_version(place: Place) -> Row:
    new = Content(content().size, seed=9)
    place.origin.add(f"{place.path}-goal", Resource(new))

    def script(exchange: Exchange) -> Fault | None:
        later = exchange.range is not None and exchange.range[0]
        return Redirect(f"{place.path}-goal") if later else None

    return place.serve(Resource(content(), script=script))


@family.case("redirects with a page in the body", RIGHT)
def with_body(place: Place) -> Row:
    place.origin.add(f"{place.path}-goal", Resource(content()))
    moved = Status(301, {"Location": f"{place.path}-goal"}, b"<html>Moved</html>" * 999)
    return Row(place.origin.add(place.path, moved), content())
