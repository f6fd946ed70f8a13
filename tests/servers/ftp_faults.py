"""What an FTP server says and does otherwise than an honest one: `Behaviour`, and its faults.

`after` counts bytes of one transfer, from where it begins; None stands for all of them.
"""

from dataclasses import dataclass, field
from typing import Protocol

from tests.servers.resource import Gate

BROKEN = "426 Failure writing network stream."
COMPLETE = "226 Transfer complete."


class Data(Protocol):
    """A data connection, as a fault can end it."""

    def complete(self) -> None:
        """As usual: FIN and 226."""

    def cut(self, reply: str | None, *, reset: bool = False, notify: bool = False) -> None:
        """FIN or RST, over TLS after a close_notify or without; and any reply or none."""

    def stall(self) -> None:
        """Nothing more, until the client goes or the server stops."""

    def hang_up(self, *, reset: bool = False, notify: bool = False) -> None:
        """The end of this connection and of the control connection, without a reply."""


class Control(Protocol):
    """A control connection."""

    def answer(self, line: str) -> None:
        """One line; a 421 is the last that the connection carries."""


class Fault:
    """One answer to RETR; the classes below say what is wrong with it."""

    after: int | None = None
    extra: int = 0
    """Zeros that follow the file."""
    resumes: bool = True
    """False: REST is forgotten."""

    def begin(self, control: Control) -> bool:
        """When RETR has come: whether a transfer follows."""
        return True

    def end(self, data: Data) -> None:
        """When `after` bytes are sent."""
        data.complete()


@dataclass(frozen=True)
class Normal(Fault):
    """Nothing goes wrong: for a list of faults whose first does not hit the first transfer."""


@dataclass(frozen=True)
class Cut(Fault):
    """The data connection ends after `after` bytes, by FIN (over TLS without close_notify) or, once
    they have reached the client's side, by RST; then comes `reply`, or none ever.

    `Cut(None, reply=None)` is a whole file without the reply that would say so."""

    after: int | None = 0
    reset: bool = False
    reply: str | None = BROKEN

    def end(self, data: Data) -> None:
        data.cut(self.reply, reset=self.reset, notify=self.after is None)


@dataclass(frozen=True)
class Short(Fault):
    """The server sends `after` bytes, and believes that to be all: FIN and 226."""

    after: int | None = 0

    def end(self, data: Data) -> None:
        data.cut(COMPLETE, notify=True)


@dataclass(frozen=True)
class ExtraBytes(Fault):
    """More bytes than the file has, and 226."""

    extra: int = 16


@dataclass(frozen=True)
class HangUp(Fault):
    """Control and data connection end together after `after` bytes, by FIN or RST. None: the data
    come whole, and then the control connection ends instead of saying 226."""

    after: int | None = 0
    reset: bool = False

    def end(self, data: Data) -> None:
        data.hang_up(reset=self.reset, notify=self.after is None)


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing more after `after` bytes, until the client goes or the server stops; all connections
    stay. None: RETR is never answered."""

    after: int | None = 0

    def begin(self, control: Control) -> bool:
        return self.after is not None

    def end(self, data: Data) -> None:
        data.stall()


@dataclass(frozen=True)
class Reply(Fault):
    """RETR is answered with this line and nothing else; after a 421 the connection ends."""

    line: str

    def begin(self, control: Control) -> bool:
        control.answer(self.line)
        return False


@dataclass(frozen=True)
class IgnoreRest(Fault):
    """REST was answered with 350, and the file comes from its beginning nevertheless."""

    resumes: bool = False


class DataGate(Gate):
    """A gate for a server that serves all connections in one thread, and so cannot wait at it."""

    def arrive(self) -> None:
        self._count(1)

    def leave(self) -> None:
        self._count(-1)


@dataclass
class Behaviour:
    """What tests set, before or while the server runs. Paths are as the client sees them, with a
    slash in front."""

    without: set[str] = field(default_factory=set)
    """Commands that get a 500; they are not in the answer to FEAT either."""
    replies: dict[str, str | None] = field(default_factory=dict)
    """What a command is answered with, each time, instead of being carried out; None: nothing ever.
    After a 421 the connection ends."""
    sizes: dict[str, int] = field(default_factory=dict)
    """What SIZE says of a path, true or not. The data stay true."""
    times: dict[str, str] = field(default_factory=dict)
    """What MDTM says of a path, as `20240131235959`."""
    forbidden: set[str] = field(default_factory=set)
    """Paths whose SIZE and MDTM are told, and whose RETR gets a 550."""
    max_connections: int | None = None
    """Sessions at a time; further ones get `too_many`."""
    too_many: str = "421 Too many connections from the same IP address."
    """With 530: the answer to PASS, where only those count that are logged in; the connection
    stays. Otherwise it comes in place of the greeting, and the connection ends."""
    pasv_host: str | None = None
    """The address that PASV names, in place of the server's own."""
    rate: int | None = None
    """Bytes a second for each data connection that begins from now on."""
    gates: dict[str, DataGate] = field(default_factory=dict)
    """Each transfer of a path that begins from now on is held at its gate."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """Taken off the front of a path's list, one for each RETR; after the last all is as usual."""
