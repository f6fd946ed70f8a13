"""Logs in over SSH: host key, user keys, password; and opens SFTP."""

from __future__ import annotations

import logging
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.buffered_pipe import BufferedPipe
from paramiko.packet import Packetizer
from paramiko.ssh_exception import IncompatiblePeer

from fetcher.errors import ConnectionFailedError, FetchError, LoginError, ProtocolError
from fetcher.handlers.blocking import Refused, TooManyConnections
from fetcher.handlers.blocking.sockets import Sockets
from fetcher.handlers.sftp.known_hosts import KnownHosts
from fetcher.handlers.sftp.ssh_config import Target
from fetcher.rules.replies import shown_reason

if TYPE_CHECKING:
    _Pipe = BufferedPipe[bytes]  # its stub only is generic
else:
    _Pipe = BufferedPipe

WINDOW = 2 << 20
"""Bytes that a server may send ahead, as in OpenSSH's own client: with a round trip of 0.1 s enough
for 20 MB/s a connection, and about half of what one holds in memory at most."""
PACKET = 128 << 10
"""Bytes of an SSH packet at most; servers take 32 KiB by default, and larger ones cost less."""

_MAX_GREETING = 64 << 10
"""Bytes of a server's version and of the lines before it (RFC 4253, section 4.2)."""

_ENDLESS = "a greeting without end"

LOG = "fetcher.handlers.sftp.paramiko"
logging.getLogger(LOG).setLevel(logging.CRITICAL)  # its errors, with their traces, are told as ours


def connect(
    goal: Target,
    password: str | None,
    key: Path | None,
    known_hosts: KnownHosts,
    sockets: Sockets,
    timeout: float,
) -> paramiko.SSHClient:
    """A client that is logged in.

    :param key: the private key file to use; None for those of the configuration, of the agent and
        of ``~/.ssh``.
    :param timeout: seconds for each step; who waits keeps the time of all.
    :raises TooManyConnections: the server hangs up before its greeting.
    :raises Refused: the login is refused.
    :raises FetchError: whatever else is wrong.
    """
    algorithms = known_hosts.algorithms(goal.name)
    private = _private_key(key) if key is not None else None
    means: dict[str, Any] = {
        "pkey": private,
        "key_filename": list(goal.identities) if private is None else None,
        "allow_agent": private is None,
        "look_for_keys": private is None,
    }
    alone = {"allow_agent": False, "look_for_keys": False}
    # Servers hang up after a few keys that they do not know, maybe before the password's turn.
    attempts = [means] if password is None else [means, alone]
    while True:
        means = attempts.pop(0)
        client = paramiko.SSHClient()
        client.set_log_channel(LOG)
        client.set_missing_host_key_policy(_Policy(goal.name, known_hosts))
        try:
            client.connect(
                goal.host,
                goal.port,
                goal.user,
                password,
                sock=sockets.connect(goal.host, goal.port),
                timeout=timeout,
                # The one above is to end first: it knows what it means.
                banner_timeout=timeout * 2,
                auth_timeout=timeout,
                transport_factory=partial(_transport, algorithms),
                **means,
            )
        except BaseException as error:
            hung_up = _is_lost(client) and _is_at_keys(client, error)
            translated = _translated(error, _is_lost(client), goal, password)
            client.close()
            if hung_up and attempts:
                continue
            if translated is error:
                raise
            raise translated from error
        else:
            return client


def open_sftp(client: paramiko.SSHClient, timeout: float) -> paramiko.Channel:
    """A channel with SFTP at its other end.

    :raises Refused: the server has none.
    """
    transport = client.get_transport()
    if transport is None:
        raise EOFError
    try:
        channel = transport.open_session(timeout=timeout)
        channel.in_buffer = _Bounded()
        channel.in_stderr_buffer = _Bounded()
        channel.invoke_subsystem("sftp")
    except paramiko.SSHException as error:
        if not transport.is_active():
            raise EOFError from error
        raise Refused(403, f"no SFTP here: {error}") from error
    except (OSError, EOFError):
        raise
    except Exception as error:
        raise _nonsense(shown_reason(str(error))) from error
    return channel


class _Bounded(_Pipe):
    """What a channel has received. The library does not hold a server to its window."""

    def feed(self, data: bytes) -> None:
        """:raises SSHException: too much; the connection ends."""
        if len(self) > 2 * WINDOW:
            raise paramiko.SSHException("the server sends more than it may")
        super().feed(data)


class _Packetizer(Packetizer):
    """What comes from the server. The library believes whatever length it is told."""

    _greeting = 0

    def _read_timeout(self, timeout: float) -> bytes:
        """Bytes of the greeting. Private, and all that reads them.

        :raises ProtocolError: there are too many.
        """
        received: bytes = super()._read_timeout(timeout)  # type: ignore[misc] # not in the stubs
        self._greeting += len(received)
        if self._greeting > _MAX_GREETING:
            raise _nonsense(_ENDLESS)
        return received

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Bytes of a packet.

        :raises ProtocolError: it is larger than OpenSSH's own, whose limit is 256 KiB.
        """
        if n > 2 * PACKET:
            raise _nonsense("a packet is larger than any of SSH")
        return super().read_all(n, check_rekey)


def _private_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path.expanduser())
    except OSError as error:
        raise LoginError(f"the key {path} cannot be read: {error.strerror}") from error
    except (TypeError, paramiko.PasswordRequiredException) as error:
        # The first is what the library below raises for want of a passphrase.
        raise LoginError(
            f"the key {path} is encrypted: add it to the agent (ssh-add) and leave out "
            "FETCHER_SSH_KEY"
        ) from error
    except Exception as error:
        raise LoginError(f"{path} is no private key that can be used") from error


def _transport(algorithms: list[str], sock: socket.socket, **options: Any) -> paramiko.Transport:
    """Known host keys and AES-GCM first: GCM needs one pass over the data instead of two.

    CBC is left out: with a server that knows no strict key exchange, a stranger on the way could
    take packets out of it unseen (CVE-2023-48795).
    """
    options |= {
        "default_window_size": WINDOW,
        "default_max_packet_size": PACKET,
        "packetizer_class": _Packetizer,
    }
    transport = paramiko.Transport(sock, **options)
    offered = transport.get_security_options()
    offered.key_types = sorted(offered.key_types, key=lambda name: name not in algorithms)
    ciphers = [name for name in offered.ciphers if "cbc" not in name]
    offered.ciphers = sorted(ciphers, key=lambda name: "gcm" not in name)
    return transport


class _Policy(paramiko.MissingHostKeyPolicy):
    """Asked about every host key, as the client itself is given none."""

    def __init__(self, name: str, known_hosts: KnownHosts) -> None:
        self._name = name
        self._known_hosts = known_hosts

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        self._known_hosts.check(self._name, key)


def _is_lost(client: paramiko.SSHClient) -> bool:
    transport = client.get_transport()
    return transport is not None and not transport.is_active()


def _is_at_keys(client: paramiko.SSHClient, error: BaseException) -> bool:
    """Whether logging in had begun: the host key had been accepted."""
    begun = getattr(client.get_transport(), "auth_handler", None) is not None
    return begun and isinstance(error, paramiko.SSHException)


def _translated(
    error: BaseException, lost: bool, goal: Target, password: str | None
) -> BaseException:
    if isinstance(error, FetchError | OSError):
        return error
    words = shown_reason(str(error), (password or "",))
    if isinstance(error, paramiko.PasswordRequiredException):
        return LoginError(
            f"no key lets {goal.user} in at {goal.name}, and one of ~/.ssh is encrypted: add it to "
            "the agent (ssh-add)"
        )
    if isinstance(error, IncompatiblePeer):
        return ProtocolError(f"{goal.name} and this client have no algorithm in common: {words}")
    if isinstance(error, paramiko.AuthenticationException) and (password or not lost):
        # Not to be tried again and again: that is how accounts are locked.
        return Refused(401, words)
    if isinstance(error, paramiko.SSHException | EOFError):
        if _ENDLESS in words:
            return _nonsense(_ENDLESS)
        if "reading SSH protocol banner" in words:
            return TooManyConnections("it closed the connection before its greeting")
        if "authentication methods" in words:
            return Refused(401, words)
        return ConnectionFailedError(
            f"{goal.name} closed the connection during the login: {words or 'it gave no reason'}"
        )
    if isinstance(error, Exception):
        return _nonsense(words)
    return error


def _nonsense(words: str) -> ProtocolError:
    """For whatever the library raises over messages that it does not understand."""
    return ProtocolError(f"the server's SSH makes no sense: {words}")
