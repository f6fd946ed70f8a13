"""What ``~/.ssh/config`` makes of an address (ssh_config(5))."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from fetcher.errors import LoginError
from fetcher.handlers.blocking import Login
from fetcher.rules.urls import DEFAULT_PORTS


@dataclass(frozen=True)
class Target:
    """Where a login leads.

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

    :param config: need not exist.
    :raises LoginError: the configuration cannot be read, or wants what is not there.
    """
    options = _lookup(login.host, config)
    for option in ("proxyjump", "proxycommand"):
        if options.get(option) not in (None, "none"):
            raise LoginError(
                f"{config} reaches {login.host} by {option}, which is not supported: open a tunnel "
                "(ssh -L), and give its address"
            )
    host = str(options.get("hostname", login.host))
    port = login.port or _port(options, config)
    name = host if port == DEFAULT_PORTS["sftp"] else f"[{host}]:{port}"
    return Target(
        host=host,
        port=port,
        user=login.user or str(options.get("user") or _local_user(login.host)),
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
    except Exception as error:
        # Whatever the library makes of a file that it does not understand.
        raise LoginError(
            f"{config} cannot be used: {str(error) or type(error).__name__}"
        ) from error
    return found


def _port(options: Mapping[str, Any], config: Path) -> int:
    text = str(options.get("port", DEFAULT_PORTS["sftp"]))
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise LoginError(f"{config} has the port {text!r}: write a number up to 65535")
    return int(text)


def _local_user(host: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise LoginError(
            f"this process has no user name to log in with at {host}: give one in the address"
        ) from error
