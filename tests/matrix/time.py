"""Answers that come late, in drops, or not at all."""

from __future__ import annotations

import socket

from tests.matrix.cases import KIB, Family, Outcome, Place, Row, content
from tests.servers.exchange import Exchange
from tests.servers.faults import Drip, Normal, Respond, ShortRange, Stall
from tests.servers.resource import Fault, Resource

family = Family("time", "Time")

RETRIED = "is asked again for what is missing, and comes right"
TAKEN_OVER = "another connection takes over what is missing, or asks again; comes right"
SILENT = "fails after `FETCHER_MAX_TRIES`: no answer within `FETCHER_CONNECT_TIMEOUT`"
STALLED = "fails after `FETCHER_MAX_TRIES`: slower than `FETCHER_STALL_SPEED`"
UNREACHED = "fails after `FETCHER_MAX_TRIES`: there is no server"
PATIENT = "comes right, without a retry"

TRIES = 3
"""`FETCHER_MAX_TRIES` in the matrix."""
SPLITS = 3
FIRST = 256 * KIB
"""What the first request asks for."""


def tried_in_vain(outcome: Outcome) -> None:
    """As often as the setting says, and the file's address is in the error.

    Of a server of its own: one that serves other files meanwhile is waited for.
    """
    assert len(outcome.requests) == TRIES
    assert outcome.requests[0].path in outcome.report["error"]["message"]


def retried(outcome: Outcome) -> None:
    assert outcome.report["retries"] == 1
    assert outcome.report["restarts"] == 0


def taken_over(outcome: Outcome) -> None:
    """By another connection that has nothing else to do, or by its own after the stall timeout;
    whichever is first."""
    assert outcome.report["retries"] <= 1
    assert outcome.report["restarts"] == 0
    assert outcome.report["received"] == outcome.report["size"]
    assert len(outcome.requests) >= 2


@family.case("never answers", SILENT, fails="ConnectTimeoutError")
def no_answer(place: Place) -> Row:
    return place.serve(Stall(None), origin=place.alone(), check=tried_in_vain)


@family.case("does not answer the first request", RETRIED)
def no_answer_once(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Stall(None)]), check=retried)


@family.case("does not answer one of several connections", RETRIED)
def no_answer_beside(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Normal(), Stall(None)]), check=retried)


@family.case("takes the connection and reads nothing", SILENT, fails="ConnectTimeoutError")
def unread(place: Place) -> Row:
    return Row(f"http://127.0.0.1:{deaf(place)}/unread.bin")


@family.case("begins no TLS handshake", SILENT, fails="ConnectTimeoutError")
def no_handshake(place: Place) -> Row:
    return Row(f"https://127.0.0.1:{deaf(place)}/no-handshake.bin")


@family.case("drips its headers, byte by byte", SILENT, fails="ConnectTimeoutError")
def dripping_head(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        exchange.send_raw(b"HTTP/1.1 206 Partial Content\r\nX-Padding: ")
        while True:
            exchange.send_raw(b"x")
            exchange.wait(0.05)

    return place.serve(Respond(answer), origin=place.alone(), check=tried_in_vain)


@family.case("stops in the middle of its headers", SILENT, fails="ConnectTimeoutError")
def half_a_head(place: Place) -> Row:
    return place.serve(Respond(begin_a_head), origin=place.alone(), check=tried_in_vain)


@family.case("stops in the middle of its headers, once", RETRIED)
def half_a_head_once(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Respond(begin_a_head)]), check=retried)


@family.case("stops before the first byte of the body, always", STALLED, fails="StalledError")
def stalled(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert (
            "/stalled stalled: under 1024 bytes a second for 2 s"
            in (outcome.report["error"]["message"])
        )
        assert len(outcome.requests) <= TRIES * SPLITS

    return place.serve(Resource(content(), script=lambda _: Stall(0)), check=check)


@family.case("stops in the middle of the body, once", RETRIED)
def stalled_once(place: Place) -> Row:
    """So small a file that there is nothing for another connection to take over."""

    def check(outcome: Outcome) -> None:
        retried(outcome)
        assert any((record.range or (0,))[0] == 100_000 for record in outcome.requests[1:])
        assert outcome.report["received"] == outcome.report["size"]

    return place.serve(Resource(content(FIRST), faults=[Stall(100_000)]), check=check)


@family.case("stops on one of several connections", TAKEN_OVER)
def stalled_beside(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Normal(), Stall(10_000)]), check=taken_over)


@family.case("stops again and again, a little further on each time", STALLED, fails="StalledError")
def stalled_further_on(place: Place) -> Row:
    """A thousand bytes in two seconds are no progress: at that speed it would go on for hours."""
    resource = Resource(content(FIRST), script=lambda _: Stall(1000))
    return place.serve(resource, check=tried_in_vain)


@family.case("drips the body on one of several connections", TAKEN_OVER)
def dripping_beside(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Normal(), Drip(300)]))


@family.case("drips the body on all connections", STALLED, fails="StalledError")
def dripping(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert len(outcome.requests) <= TRIES * SPLITS

    return place.serve(Resource(content(), script=lambda _: Drip(300)), check=check)


@family.case("answers each request with a few bytes, and honestly", STALLED, fails="StalledError")
def crumbs(place: Place) -> Row:
    """Twenty bytes in a twentieth of a second, each answer whole and right."""

    def script(exchange: Exchange) -> Fault:
        exchange.wait(0.05)
        return ShortRange(20)

    def check(outcome: Outcome) -> None:
        assert len(outcome.requests) <= TRIES * SPLITS
        assert "its answers end early" in outcome.report["error"]["message"]

    return place.serve(Resource(content(), script=script), check=check)


@family.case("is slow, but not slower than `FETCHER_STALL_SPEED`", PATIENT)
def slow(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert len(outcome.requests) == 1
        assert outcome.report["seconds"] > 2 * 2, "two windows have passed"

    return place.serve(Resource(content(14 * KIB), rate=3 * KIB), check=check)


@family.case("refuses the connection", UNREACHED, fails="ConnectionFailedError")
def refused(place: Place) -> Row:
    sock = place.held.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))  # Nobody else gets the port, and nobody listens.
    return Row(f"http://127.0.0.1:{sock.getsockname()[1]}/refused.bin")


@family.case(
    "has a name without an address",
    UNREACHED,
    # Where the network does not answer questions about names at all, that is what it is.
    fails=("ConnectionFailedError", "ConnectTimeoutError"),
)
def unknown_host(place: Place) -> Row:
    return Row("http://nowhere.invalid/unknown-host.bin")


def begin_a_head(exchange: Exchange) -> None:
    exchange.send_raw(b"HTTP/1.1 206 Partial Content\r\nContent-Le")
    exchange.wait()


def deaf(place: Place) -> int:
    """A port where the system makes the connections and nobody ever takes them up."""
    sock = place.held.enter_context(socket.create_server(("127.0.0.1", 0)))
    port: int = sock.getsockname()[1]
    return port
