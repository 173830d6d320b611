"""HTTP clients that connect to public addresses only, whatever a caller's address or a redirect names.

A name is resolved once, every address it has is judged, and the connection is made to one that passed: so a name that
answers differently the next time gains nothing. The name itself stays in the Host header and in TLS. It does not know
what is fetched, or what for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpcore2
import httpx2

from stream_server import __version__

MAX_REDIRECTS: Final = 5
CONNECT_TIMEOUT_SEC: Final = 10.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What Python's own tables call global although nothing that is meant for the public answers there.
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols, and the metadata service of Oracle
        "168.63.129.16/32",  # the metadata service of Azure
        "192.88.99.0/24",  # relays of 6to4
    )
)
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# Addresses that hold an IPv4 address or a tunnel, and what only stands in books. Those that map IPv4 (::ffff:0:0/96,
# ::/96), NAT64 (64:ff9b::/96) and all private ones lie outside of 2000::/3.
_NO_UNICAST: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


class AddressRefused(Exception):  # noqa: N818 - what happened, and no fault of ours
    """The address leads to where we do not connect; the message says which, and what would allow it."""


class AddressGuard:
    """Judges addresses. ``allowed``: host names and networks that are let through although they are not public.

    Raises:
        ValueError: an entry has a slash and is no network.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allowed:
            if "/" in entry or _literal(entry) is not None:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            else:
                self._hosts.add(entry.lower().rstrip("."))

    def allows(self, host: str, address: Address) -> bool:
        """Whether a connection for ``host`` may be made to this address of it."""
        return (
            host.lower().rstrip(".") in self._hosts
            or is_public(address)
            or any(address in network for network in self._networks)
        )

    def check(self, url: str) -> None:
        """What can be said without a resolver: the scheme, and a host that is written as an address.

        Raises:
            AddressRefused
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise AddressRefused(f"it is not a valid address: {error}") from None
        _check_form(parsed)
        address = _literal(parsed.host)
        if address is not None and not self.allows(parsed.host, address):
            raise _refusal(parsed.host)

    def choose(self, host: str, found: Iterable[Any]) -> list[str]:
        """The addresses among those ``found`` (as `socket.getaddrinfo` gives them) that may be connected to.

        Raises:
            AddressRefused: none of them.
        """
        addresses = [str(entry[4][0]) for entry in found]
        good = [text for text in dict.fromkeys(addresses) if self.allows(host, ipaddress.ip_address(text))]
        if not good:
            raise _refusal(host)
        return good


def is_public(address: Address) -> bool:
    """Whether anyone on the internet may reach this address, so that reaching it through us gives them nothing."""
    if any(address in network for network in _SPECIAL):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address in _UNICAST and not any(address in network for network in _NO_UNICAST)
    return address.is_global and not address.is_multicast and not address.is_reserved


def guarded_client(allowed: Sequence[str], *, timeout: float, total: float = math.inf) -> httpx2.Client:
    """A client that follows a few redirects and connects to public addresses only.

    allowed: see `AddressGuard`. timeout: seconds that a read or a write may take. total: seconds from now after which
    nothing more is read or written, however little comes at a time. Requests raise `AddressRefused`, or what httpx2
    raises.
    """
    return httpx2.Client(transport=_Transport(AddressGuard(allowed), time.monotonic() + total), **_options(timeout))


def guarded_async_client(allowed: Sequence[str], *, timeout: float) -> httpx2.AsyncClient:
    """The same for the event loop, where `asyncio.timeout` bounds the whole."""
    return httpx2.AsyncClient(transport=_AsyncTransport(AddressGuard(allowed)), **_options(timeout))


def _options(timeout: float) -> dict[str, Any]:
    return {
        "timeout": httpx2.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_SEC)),
        "follow_redirects": True,
        "max_redirects": MAX_REDIRECTS,
        "trust_env": False,  # no proxy, which would connect in our place to where it likes, and no password of ours
        "headers": {"User-Agent": f"stream-server/{__version__}"},
    }


class _Transport(httpx2.HTTPTransport):
    def __init__(self, guard: AddressGuard, deadline: float) -> None:
        context = httpx2.create_ssl_context(trust_env=False)
        super().__init__(verify=context)
        self._pool = httpcore2.ConnectionPool(ssl_context=context, network_backend=_Backend(guard, deadline))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        _check_form(request.url)  # also of every redirect
        return super().handle_request(request)


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, guard: AddressGuard) -> None:
        context = httpx2.create_ssl_context(trust_env=False)
        super().__init__(verify=context)
        self._pool = httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=_AsyncBackend(guard))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        _check_form(request.url)
        return await super().handle_async_request(request)


class _Backend(httpcore2.SyncBackend):
    def __init__(self, guard: AddressGuard, deadline: float) -> None:
        self._guard = guard
        self._deadline = deadline

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        *others, last = self._guard.choose(host, found)
        for address in others:
            try:
                return self._connect(address, port, timeout, *args, **options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(last, port, timeout, *args, **options)

    def _connect(
        self, address: str, port: int, timeout: float | None, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        left = _left(self._deadline, timeout, httpcore2.ConnectTimeout)
        return _TimedStream(super().connect_tcp(address, port, left, *args, **options), self._deadline)


class _TimedStream(httpcore2.NetworkStream):
    """A connection that is of no use after ``deadline``."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _left(self._deadline, timeout, httpcore2.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore2.AnyIOBackend):
    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        *others, last = self._guard.choose(host, found)
        for address in others:
            try:
                return await super().connect_tcp(address, port, *args, **options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await super().connect_tcp(last, port, *args, **options)


def _left(deadline: float, timeout: float | None, error: type[Exception]) -> float | None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the time for this is up")
    return timeout if math.isinf(left) else left if timeout is None else min(left, timeout)


def _check_form(url: httpx2.URL) -> None:
    if url.scheme not in ("http", "https"):
        raise AddressRefused(f"addresses begin with http:// or https://, not {url.scheme or 'nothing'}://")
    if url.userinfo:
        raise AddressRefused("an address with a user name or a password in it is not used")
    if not url.host:
        raise AddressRefused("the address names no host")
    if url.port is not None and url.port > 65535:
        raise AddressRefused(f"there is no port {url.port}")


def _literal(host: str) -> Address | None:
    """The address that a host is written as, in any of the ways in which resolvers take one; else None."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    if re.fullmatch(r"(0[xX])?[0-9a-fA-F]+(\.(0[xX])?[0-9a-fA-F]+){0,3}\.?", host):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
        except OSError:
            return None
    return None


def _refusal(host: str) -> AddressRefused:
    return AddressRefused(
        f"{host} is not a public address; the setting allowed_hosts names the private ones that may be used"
    )
