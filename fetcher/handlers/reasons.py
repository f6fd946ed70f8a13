"""What can be wrong on the way to a server, in the same words for every protocol."""

from __future__ import annotations

from fetcher.errors import CertificateError, ConnectionFailedError, ConnectTimeoutError


def not_found(host: str) -> ConnectionFailedError:
    """The name has no address."""
    return ConnectionFailedError(
        f"the host {host} was not found: check the address and the network"
    )


def refused(host: str) -> ConnectionFailedError:
    """Nobody listens on the port."""
    return ConnectionFailedError(f"{host} refused the connection: is the server running?")


def unreachable(host: str) -> ConnectionFailedError:
    """There is no way to the address."""
    return ConnectionFailedError(f"{host} cannot be reached: check the network")


def unanswered(host: str) -> ConnectTimeoutError:
    """The connection was not made in time."""
    return ConnectTimeoutError(f"{host} did not answer in time: is it reachable?")


def silent(url: str, seconds: float) -> ConnectTimeoutError:
    """The connection was made, and no answer came.

    :param url: as it may be shown.
    """
    return ConnectTimeoutError(
        f"{url} gave no answer within {seconds:g} s: the server is down or busy"
    )


def broken(host: str, words: str = "") -> ConnectionFailedError:
    """The connection ended before its time.

    :param words: the server's last, as they may be shown.
    """
    sentence = f"the connection to {host} broke"
    return ConnectionFailedError(f"{sentence}: {words}" if words else sentence)


def untrusted(host: str) -> CertificateError:
    """The certificate is not to be trusted, or is another server's."""
    return CertificateError(
        f"the certificate of {host} is not trusted: check the address, or add the "
        "authority's certificate by SSL_CERT_FILE"
    )


def no_tls(host: str, reason: str) -> ConnectionFailedError:
    """TLS came to nothing for another reason."""
    return ConnectionFailedError(f"no TLS connection with {host}: {reason}")
