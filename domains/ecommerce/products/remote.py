"""Pictures fetched from the web, only when asked, only from public hosts, never more than allowed."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urljoin

from pydantic import Field, field_validator

from ....core.config_base import Config
from ....core.errors import InputError, LimitError
from ....core.limits import MiB
from .addresses import Address, Resolver, parse_address, resolve_public

_REDIRECTS = (301, 302, 303, 307, 308)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_BINARY = ("application/octet-stream", "binary/octet-stream")
_HEADERS = {
    "User-Agent": "verticlip",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class RemotePolicy(Config):
    """What may be fetched.

    Connections are made to the very address that was checked: a name that resolves otherwise a moment
    later changes nothing. Proxies of the environment are not used, because a proxy would resolve the name
    once more.
    """

    hosts: tuple[str, ...] = ()
    """Hosts that are allowed; ``*.example.com`` stands for all below it. Empty: every public host."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """For one picture as a whole, redirects included, once its host is resolved."""
    max_bytes: int = Field(default=20 * MiB, ge=1)
    max_redirects: int = Field(default=3, ge=0, le=20)
    retries: int = Field(default=2, ge=0, le=10)
    """Tries after the first one failed in a way that may pass."""
    backoff_s: float = Field(default=0.5, ge=0, le=60)
    """Pause before the second try; it doubles with each further one."""
    ports: tuple[int, ...] = (80, 443)

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host.strip() or any(letter in host for letter in "/:@ "):
                raise ValueError(f"{host!r} is no host name; write one such as cdn.example.com")
        return hosts


def fetch_image(url: str, policy: RemotePolicy | None = None, *, resolve: Resolver = resolve_public) -> bytes:
    """Return the bytes of a picture on the web, not decoded.

    Args:
        url: http or https.
        policy: hosts, sizes and times that are allowed.
        resolve: turns hosts into addresses that may be connected to; the default allows public ones.

    Raises:
        InputError: the address is not allowed, not there, not a picture, or was cut off.
        LimitError: it is larger than allowed.

    Example:
        >>> fetch_image("http://169.254.169.254/key")
        Traceback (most recent call last):
        ...
        verticlip.core.errors.InputError: 169.254.169.254: 169.254.169.254 is not a public address; ...
    """
    policy = policy or RemotePolicy()
    for failed in range(policy.retries):
        try:
            return _fetch_once(url, policy, resolve)
        except _MayPass:
            time.sleep(policy.backoff_s * 2**failed)
    try:
        return _fetch_once(url, policy, resolve)
    except _MayPass as error:
        raise InputError(str(error)) from None


class _MayPass(Exception):
    """A failure after which another try is worth making; its text is for the user."""


def _fetch_once(url: str, policy: RemotePolicy, resolve: Resolver) -> bytes:
    deadline: float | None = None
    address = parse_address(url, ports=policy.ports, hosts=policy.hosts)
    for _ in range(policy.max_redirects + 1):
        ips = resolve(address.host, address.port)
        # Resolving is left to the system, which has limits of its own.
        deadline = deadline or time.monotonic() + policy.timeout_s
        found = _ask(address, ips, policy, deadline)
        if isinstance(found, bytes):
            return found
        target = urljoin(f"{address.scheme}://{address.host_and_port}{address.path}", found)
        following = parse_address(target, ports=policy.ports, hosts=policy.hosts)
        if address.scheme == "https" and following.scheme == "http":
            raise InputError(f"{address.shown}: leads from https to http, which is not followed.")
        address = following
    raise InputError(f"{address.shown}: over {policy.max_redirects} redirects.")


def _ask(address: Address, ips: Sequence[str], policy: RemotePolicy, deadline: float) -> bytes | str:
    """Return the body, or where it is to be found instead."""
    connection = _Pinned(address, ips, deadline)
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), connection.interrupt)
    watch.daemon = True
    watch.start()
    try:
        connection.request("GET", address.path, headers={**_HEADERS, "Host": address.host_and_port})
        response = connection.getresponse()
        if response.status in _REDIRECTS:
            location = response.getheader("Location")
            if not location:
                raise InputError(f"{address.shown}: a redirect to nowhere.")
            # Headers are read as Latin-1; servers write addresses in UTF-8.
            return location.encode("latin-1", "replace").decode("utf-8", "replace")
        _check(response, address, policy)
        found = _body(response, address, policy, deadline)
        if time.monotonic() < deadline:
            return found
        # The timer may have shut the socket, which looks like the end of a body of unknown length.
        raise TimeoutError
    except ssl.SSLCertVerificationError as error:
        raise InputError(f"{address.shown}: its certificate is not valid ({error.verify_message}).") from None
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        # A socket that the timer shut ends reading in one of several ways.
        late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
        reason = (
            f"no answer within {policy.timeout_s:g} s" if late else f"the connection failed ({_kind(error)})"
        )
        raise _MayPass(f"{address.shown}: {reason}.") from None
    finally:
        watch.cancel()
        connection.close()


def _check(response: http.client.HTTPResponse, address: Address, policy: RemotePolicy) -> None:
    if response.status in _AGAIN:
        raise _MayPass(f"{address.shown}: the server answered {response.status} {response.reason[:40]}.")
    if response.status != 200:
        raise InputError(f"{address.shown}: the server answered {response.status} {response.reason[:40]}.")
    kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and kind not in _BINARY:
        raise InputError(f"{address.shown}: is {kind[:60]}, not a picture.")
    if (response.getheader("Content-Encoding") or "identity").lower() not in ("identity", ""):
        raise InputError(f"{address.shown}: was sent compressed although that was not asked for.")
    if response.length is not None and response.length > policy.max_bytes:
        raise _too_large(address, policy)


def _body(
    response: http.client.HTTPResponse, address: Address, policy: RemotePolicy, deadline: float
) -> bytes:
    announced, parts, size = response.length, [], 0
    while part := response.read(min(64 * 1024, policy.max_bytes + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > policy.max_bytes:
            raise _too_large(address, policy)
    if announced is not None and size != announced:
        if time.monotonic() >= deadline:
            raise TimeoutError
        raise _MayPass(f"{address.shown}: cut off after {size:,} of {announced:,} bytes.")
    if not size:
        raise InputError(f"{address.shown}: the answer is empty.")
    return b"".join(parts)


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were checked, whatever the name resolves to by now."""

    def __init__(self, address: Address, ips: Sequence[str], deadline: float) -> None:
        super().__init__(address.host, address.port)
        self._address, self._ips, self._deadline = address, ips, deadline
        self._wire: socket.socket | None = None

    def connect(self) -> None:
        failure: OSError | None = None
        for ip in self._ips[:4]:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                plain = socket.create_connection((ip, self._address.port), timeout=left)
            except OSError as error:
                failure = error
                continue
            self.sock = self._wire = plain
            if self._address.scheme == "https":
                self.sock = self._wire = _tls().wrap_socket(plain, server_hostname=self._address.host)
            return
        raise failure or OSError("no address")

    def interrupt(self) -> None:
        """End whatever waits for the other side; called by a timer when the time is over."""
        # The library forgets its socket as soon as an answer has begun.
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _too_large(address: Address, policy: RemotePolicy) -> LimitError:
    return LimitError(f"{address.shown}: is over the limit of {policy.max_bytes:,} bytes for one picture.")


def _kind(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
