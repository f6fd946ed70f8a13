"""Logs in over SSH: ``~/.ssh/config``, host keys, user keys, password."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

from fetcher.errors import ConnectionFailedError, LoginError, ProtocolError
from fetcher.handlers.blocking import Login, Refused, TooManyConnections
from fetcher.handlers.blocking.sockets import Sockets
from fetcher.handlers.sftp.known_hosts import KnownHosts
from fetcher.rules.urls import DEFAULT_PORTS

WINDOW = 2 << 20
"""Bytes that a server may send ahead, as in OpenSSH's own client: with a round trip of 0.1 s enough
for 20 MB/s a connection, and about half of what one holds in memory at most."""
PACKET = 128 << 10
"""Bytes of an SSH packet at most; servers take 32 KiB by default, and larger ones cost less."""

LOG = "fetcher.handlers.sftp.paramiko"
logging.getLogger(LOG).setLevel(logging.CRITICAL)  # its errors, with their traces, are told as ours


@dataclass(frozen=True)
class Target:
    """What ``~/.ssh/config`` makes of an address (ssh_config(5)).

    :param host: where to connect to.
    :param name: under which its key is known.
    :param identities: private key files.
    """

    host: str
    port: int
    user: str
    name: str
    identities: tuple[str, ...]


def target(login: Login, config: Path) -> Target:
    """Where a login leads; what the address says comes first.

    :raises LoginError: the configuration cannot be read, or wants what is not there.
    """
    options = _lookup(login.host, config)
    for option in ("proxyjump", "proxycommand"):
        if options.get(option, "none") != "none":
            raise LoginError(
                f"{config} reaches {login.host} by {option}, which is not supported: open a tunnel "
                "(ssh -L), and give its address"
            )
    host = str(options.get("hostname", login.host))
    port = login.port or int(options.get("port", DEFAULT_PORTS["sftp"]))
    name = host if port == DEFAULT_PORTS["sftp"] else f"[{host}]:{port}"
    return Target(
        host=host,
        port=port,
        user=login.user or str(options.get("user") or getpass.getuser()),
        name=str(options.get("hostkeyalias", name)),
        identities=tuple(
            path for path in options.get("identityfile", ()) if Path(path).expanduser().is_file()
        ),
    )


def _lookup(host: str, config: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = paramiko.SSHConfig.from_path(str(config)).lookup(host)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ImportError, ConfigParseError, CouldNotCanonicalize) as error:
        raise LoginError(f"{config} cannot be used: {error}") from error
    return found


def connect(
    goal: Target,
    password: str | None,
    key: Path | None,
    known_hosts: KnownHosts,
    sockets: Sockets,
    timeout: float,
) -> paramiko.SSHClient:
    """A client that is logged in.

    :param key: the private key file to use; None for the agent's, those of the configuration and
        those in ``~/.ssh``.
    :param timeout: seconds for each step; who waits keeps the time of all.
    :raises TooManyConnections: the server hangs up before its greeting.
    :raises Refused: the login is refused.
    :raises FetchError: whatever else is wrong.
    """
    client = paramiko.SSHClient()
    client.set_log_channel(LOG)
    client.set_missing_host_key_policy(_Policy(goal.name, known_hosts))
    algorithms = known_hosts.algorithms(goal.name)
    private = _private_key(key) if key is not None else None
    # A list is documented, but its stub does not know.
    identities: Any = list(goal.identities) if private is None else None
    try:
        client.connect(
            goal.host,
            goal.port,
            goal.user,
            password,
            pkey=private,
            key_filename=identities,
            allow_agent=private is None,
            look_for_keys=private is None,
            sock=sockets.connect(goal.host, goal.port),
            timeout=timeout,
            # The one above is to end first: it knows what it means.
            banner_timeout=timeout * 2,
            auth_timeout=timeout,
            channel_timeout=timeout,
            transport_factory=partial(_transport, algorithms),
        )
    except BaseException as error:
        translated = _translated(error, client, goal)
        client.close()
        raise translated from error
    return client


def subsystem(client: paramiko.SSHClient, timeout: float) -> paramiko.Channel:
    """A channel with SFTP at its other end.

    :raises Refused: the server has none.
    """
    transport = client.get_transport()
    if transport is None:
        raise EOFError
    try:
        channel = transport.open_session(timeout=timeout)
        channel.invoke_subsystem("sftp")
    except paramiko.SSHException as error:
        if not transport.is_active():
            raise EOFError from error
        raise Refused(403, f"no SFTP here: {error}") from error
    return channel


def _private_key(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path.expanduser())
    except OSError as error:
        raise LoginError(f"the key {path} cannot be read: {error.strerror}") from error
    except paramiko.PasswordRequiredException as error:
        raise LoginError(
            f"the key {path} is encrypted: add it to the agent (ssh-add) and leave out "
            "FETCHER_SSH_KEY"
        ) from error
    except Exception as error:
        raise LoginError(f"{path} is no private key that can be used") from error


def _transport(algorithms: list[str], sock: socket.socket, **options: Any) -> paramiko.Transport:
    """Known host keys and AES-GCM first: GCM needs one pass over the data instead of two."""
    options |= {"default_window_size": WINDOW, "default_max_packet_size": PACKET}
    transport = paramiko.Transport(sock, **options)
    offered = transport.get_security_options()
    offered.key_types = sorted(offered.key_types, key=lambda name: name not in algorithms)
    offered.ciphers = sorted(offered.ciphers, key=lambda name: "gcm" not in name)
    return transport


class _Policy(paramiko.MissingHostKeyPolicy):
    """Asked about every host key, as the client itself is given none."""

    def __init__(self, name: str, known_hosts: KnownHosts) -> None:
        self._name = name
        self._known_hosts = known_hosts

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        self._known_hosts.check(self._name, key)


def _translated(error: BaseException, client: paramiko.SSHClient, goal: Target) -> BaseException:
    transport = client.get_transport()
    lost = transport is not None and not transport.is_active()
    words = " ".join(str(error).split())
    if isinstance(error, paramiko.PasswordRequiredException):
        return LoginError(
            f"no key lets {goal.user} in at {goal.name}, and one of ~/.ssh is encrypted: add it to "
            "the agent (ssh-add)"
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return ProtocolError(f"{goal.name} and this client have no algorithm in common: {words}")
    if isinstance(error, paramiko.AuthenticationException) and not lost:
        return Refused(401, words)
    if isinstance(error, paramiko.SSHException | EOFError):
        if "banner" in words:
            return TooManyConnections("it closed the connection before its greeting")
        if "authentication methods" in words:
            return Refused(401, words)
        return ConnectionFailedError(
            f"{goal.name} closed the connection during the login: {words or 'it gave no reason'}"
        )
    return error
