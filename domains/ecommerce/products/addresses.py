"""Addresses on the web that a table may name: public ones only, seen after names were resolved."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ....core.errors import InputError

Resolver = Callable[[str, int], Sequence[str]]
"""From a host and port to the IP addresses that may be connected to; raises InputError for none."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A checked address: ``host`` in ASCII, ``path`` with its query as it is sent."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_and_port(self) -> str:
        """The host as an address spells it, with a port that is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The address for messages, without its query, which may hold a key."""
        return f"{self.scheme}://{self.host_and_port}{self.path.partition('?')[0]}"[:200]


def parse_address(url: str, *, ports: Sequence[int], hosts: Sequence[str]) -> Address:
    """Return the parts of an address.

    Args:
        url: http or https.
        ports: that may be connected to.
        hosts: that may be; ``*.example.com`` stands for all below. None of them means any.

    Raises:
        InputError: another scheme, user names, a host or port that is not allowed, or no address.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InputError(f"{url[:120]!r} is no address.") from None
    if parts.scheme not in _PORTS:
        raise InputError(f"{url[:120]!r}: only http:// and https:// are fetched.")
    if "@" in parts.netloc:
        raise InputError(f"{parts.scheme}://...@{host[:100]}: addresses with user names are not fetched.")
    try:
        # Names in other scripts are sent as "xn--..."; figures in brackets are IPv6.
        host = host if ":" in host else host.rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise InputError(f"{host[:100]!r} is no host name.") from None
    if not host or any(ord(letter) <= 32 or letter in "/\\?#@" for letter in host):
        raise InputError(f"{url[:120]!r} names no host.")
    port = _PORTS[parts.scheme] if port is None else port
    if port not in ports:
        raise InputError(f"{host}:{port}: only the ports {', '.join(map(str, ports))} are connected to.")
    if hosts and not any(_fits(host, allowed) for allowed in hosts):
        raise InputError(f"{host} is not among the allowed hosts: {', '.join(hosts[:10])}.")
    path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*")
    query = quote(parts.query, safe="/%:=&?~+!$,;'@()*[]")
    return Address(parts.scheme, host, port, f"{path}?{query}" if query else path)


def resolve_public(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, all of them public.

    However the host is written (``127.1``, ``0x7f000001``, ``2130706433``, a name of one's own), what counts
    is what it resolves to.

    Raises:
        InputError: there is no such host, or one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"{host}: no such host, or no network.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        # One private address among public ones is how a name is turned against its resolver.
        if not is_public(address):
            raise InputError(f"{host}: {address} is not a public address; such hosts are not fetched from.")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address can be reached from anywhere: not private, local, shared or reserved.

    IPv6 addresses that stand for an IPv4 address (mapped, NAT64, 6to4, Teredo) are judged by that.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is None and int(ip) >> 32 == 0:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
        elif ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _fits(host: str, allowed: str) -> bool:
    allowed = allowed.lower().rstrip(".")
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return host == allowed
