"""Servers that have too much to do, and those that bear few connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import cache, partial
from itertools import pairwise

from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row, content
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Normal, Reset, Respond, Status
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Resource

family = Family("load", "Load")

RETRIED = "is asked again after a while, and comes right"
OBEYED = "is waited for as long as it says, and comes right"
CAPPED = "is waited for as long as `FETCHER_MAX_RETRY_AFTER`, and comes right"
GIVEN_UP = "fails after `FETCHER_MAX_TRIES`"
FEWER = "comes right, over fewer connections"

TRIES = 3
LONGEST = 2.0
"""`FETCHER_MAX_TRIES` and, in seconds, `FETCHER_MAX_RETRY_AFTER` in the matrix."""

SLOW = 400 * KIB
"""Bytes a second: a file is at work long enough for others to come in its way."""


def waits(outcome: Outcome) -> list[float]:
    """Seconds from each request to the next."""
    times = [record.arrived for record in outcome.requests]
    return [late - early for early, late in pairwise(times)]


def waited(least: float, most: float) -> Callable[[Outcome], None]:
    """Between the first request, which was refused, and the next one."""

    def check(outcome: Outcome) -> None:
        assert least <= waits(outcome)[0] < most, waits(outcome)
        assert outcome.report["retries"] == 1

    return check


# --- for a while, or for ever --------------------------------------------------------------------


def once(status: int) -> Callable[[Place], Row]:
    def put(place: Place) -> Row:
        return place.serve(
            Resource(content(), faults=[Status(status)]), check=waited(0.02, LONGEST)
        )

    put.__name__ = f"once_{status}"
    return put


for status in (429, 500, 502, 503, 504):
    family.case(f"answers {status} once", RETRIED)(once(status))


@family.case("answers 503 to one of several connections", RETRIED)
def beside(place: Place) -> Row:
    return place.serve(Resource(content(), faults=[Normal(), Status(503), Normal(), Status(500)]))


@family.case("answers 503 for ever", GIVEN_UP, fails="StatusError")
def for_ever(place: Place) -> Row:
    return Row(place.alone().add(place.path, Status(503)), check=tried_in_vain)


@family.case("answers 503 for ever, but other files come from it", GIVEN_UP, fails="StatusError")
def for_ever_beside_others(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        # Some are not counted, while it may be that the server has too many connections.
        assert TRIES <= len(outcome.requests) <= 2 * TRIES + 1

    return place.serve(Status(503), check=check)


@family.case("answers 429 for ever, with a `Retry-After` of a day", GIVEN_UP, fails="StatusError")
def for_ever_and_a_day(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        tried_in_vain(outcome)
        assert all(LONGEST <= wait < 2 * LONGEST for wait in waits(outcome))

    fault = Status(429, {"Retry-After": "86400"})
    return Row(place.alone().add(place.path, fault), check=check)


def tried_in_vain(outcome: Outcome) -> None:
    assert len(outcome.requests) == TRIES
    assert f"status {outcome.requests[0].status}" in outcome.report["error"]["message"]


# --- Retry-After (RFC 9110, section 10.2.3) ------------------------------------------------------


def retry_after(place: Place, value: str, check: Callable[[Outcome], None]) -> Row:
    fault = Status(503, {"Retry-After": value})
    return place.serve(Resource(content(), faults=[fault]), check=check)


@family.case("answers 503 with `Retry-After` in seconds", OBEYED)
def seconds(place: Place) -> Row:
    return retry_after(place, "1", waited(1, LONGEST))


@family.case("answers 429 with `Retry-After` to one of several connections", OBEYED)
def seconds_beside(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        (refused,) = (record for record in outcome.requests if record.status == 429)
        later = [record for record in outcome.requests if record.range == refused.range]
        assert later[1].arrived - refused.arrived >= 1

    fault = Status(429, {"Retry-After": "1"})
    # Slow enough that the range is not taken over by a connection that has nothing left to do.
    return place.serve(Resource(content(), faults=[Normal(), fault], rate=SLOW), check=check)


@family.case("answers 503 with a date as `Retry-After`", OBEYED)
def later_date(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        # Of a whole second: that is between one and two from now.
        date = formatdate(time.time() + 2, usegmt=True)
        exchange.send_head(503, {"Retry-After": date, "Content-Length": "0"}, last=True)

    return place.serve(
        Resource(content(), faults=[Respond(answer)]), check=waited(0.9, 2 * LONGEST)
    )


@family.case("answers 503 with a `Retry-After` of a day", CAPPED)
def absurd(place: Place) -> Row:
    return retry_after(place, "86400", waited(LONGEST, 2 * LONGEST))


@family.case("answers 503 with a `Retry-After` of a thousand digits", CAPPED)
def endless_number(place: Place) -> Row:
    return retry_after(place, "9" * 1000, waited(LONGEST, 2 * LONGEST))


@family.case("answers 503 with a `Retry-After` in the year 9999", CAPPED)
def absurd_date(place: Place) -> Row:
    date = "Fri, 31 Dec 9999 23:59:59 GMT"
    return retry_after(place, date, waited(LONGEST, 2 * LONGEST))


def in_vain(key: str, value: str) -> Callable[[Place], Row]:
    def put(place: Place) -> Row:
        return retry_after(place, value, waited(0.02, LONGEST))

    put.__name__ = key
    return put


for key, value, what in (
    ("negative", "-5", "a negative `Retry-After`"),
    ("past", "Fri, 31 Dec 1999 23:59:59 GMT", "a date in the past as `Retry-After`"),
    ("rubbish", "soon; perhaps", "a `Retry-After` that is none"),
):
    family.case(f"answers 503 with {what}", RETRIED)(in_vain(key, value))


# --- few connections at a time -------------------------------------------------------------------


class Doors:
    """Lets so many answers of a server go on at a time, whatever they are for.

    :param most: of them.
    :param busy: what all others meet.
    """

    def __init__(self, most: int, busy: Fault) -> None:
        self.refused = 0
        self.peak = 0
        self._most = most
        self._busy = busy
        self._lock = threading.Lock()
        self._inside: list[Exchange] = []

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        """See `Fault`."""
        with self._lock:
            # An answer whose last byte is out is over for its client, who may be back already.
            self._inside = [other for other in self._inside if not other.record.ended]
            admitted = len(self._inside) < self._most
            if admitted:
                self._inside.append(exchange)
                self.peak = max(self.peak, len(self._inside))
            else:
                self.refused += 1
        try:
            (Normal() if admitted else self._busy).respond(exchange, resource)
        finally:
            exchange.end()


def behind(place: Place, origin: Origin, doors: Doors, *, seed: int = 0) -> Row:
    """A file of a few seconds at a server with so many doors."""
    source = Content(MIB, seed)
    resource = Resource(source, rate=SLOW, script=lambda _: doors)
    return Row(origin.add(place.path, resource), source, check=partial(let_in, doors))


def let_in(doors: Doors, outcome: Outcome) -> None:
    """By all doors that there are, and without running against closed ones all the time."""
    assert doors.peak == 2
    assert 1 <= doors.refused <= 12, doors.refused
    assert outcome.report["connections"] <= 2
    assert outcome.report["restarts"] == 0


def for_one(key: str) -> Callable[[Place], Row]:
    def put(place: Place) -> Row:
        return behind(place, place.alone(), Doors(2, FULL[key]))

    put.__name__ = f"two_by_{key}"
    return put


def for_several(key: str, number: int) -> Callable[[Place], Row]:
    def put(place: Place) -> Row:
        origin, doors = shared(place.alone, key)
        return behind(place, origin, doors, seed=number)

    put.__name__ = f"several_by_{key}_{number}"
    return put


@cache
def shared(alone: Callable[[], Origin], key: str) -> tuple[Origin, Doors]:
    """One server for several cases of the family."""
    return alone(), Doors(2, FULL[key])


FULL: dict[str, Fault] = {
    "503": Status(503),
    "429": Status(429),
    "403": Status(403),
    "reset": Reset(None),
}

for key in FULL:
    answer = key if key.isdigit() else f"a {key}"
    family.case(f"answers a third connection with {answer}", FEWER)(for_one(key))
    for number in (1, 2, 3):
        family.case(
            f"answers a third connection with {answer}, whichever of three files it is for", FEWER
        )(for_several(key, number))
