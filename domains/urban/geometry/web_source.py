"""Tiles from a server of web maps, fetched one by one and only where the user allows it."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ....core.errors import ConfigError, InputError, LimitError
from ....core.files import atomic_path
from ..loaders.errors import RasterOpenError, TileOutsideBounds
from ..loaders.records import TileImage
from . import webmercator
from .covering import TileGrid
from .pictures import picture_tile
from .schemes import check_scheme
from .tiles import Tile

MAX_TILE_BYTES = 16 * 1024**2
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("z", "x", "y", "-y", "q")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRIES = 3
_SUFFIX_OF = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


class TileSource:
    """A server of tiles, described by an address with ``{z}``, ``{x}`` and ``{y}``.

    ``{-y}`` counts rows from the other end and ``{q}`` is a quadkey. Mind the terms of use of the server:
    most forbid fetching in bulk.

    Example::

        source = TileSource("https://tiles.example.org/{z}/{x}/{y}.png", allow_network=True)
        tiles = source.grid(zoom=16).cover(regions)
        image = source.read_tile(tiles[0])

    Attributes:
        name: host of the server; addresses, which may hold a key, are never shown.
    """

    def __init__(
        self,
        url_template: str,
        *,
        scheme: str = "webmercator",
        crs: str | None = None,
        allow_network: bool = False,
        timeout_s: float = 20.0,
        max_bytes: int = MAX_TILE_BYTES,
        cache: str | Path | None = None,
    ) -> None:
        """Check the address; nothing is fetched.

        Args:
            url_template: https address with placeholders in its path or query; http only for this machine.
            scheme: what x and y count; see :class:`.covering.TileGrid`.
            crs: what the scheme is counted in: "EPSG:4326", "GCJ-02" or "BD-09".
            allow_network: has to be True: reading tiles then sends requests to the server.
            timeout_s: seconds for one tile, in all.
            max_bytes: largest picture.
            cache: folder for fetched tiles, which are not fetched again; FolderTiles reads it.

        Raises:
            ConfigError: not allowed, or an address that is not acceptable.
        """
        self._scheme, self._crs = scheme, check_scheme(scheme, crs)
        self._template = _checked(url_template, scheme)
        self.name = urlsplit(url_template).hostname or ""
        if not allow_network:
            raise ConfigError(
                f"Tiles of {self.name} come over the network, which is never used unasked. "
                "Pass allow_network=True if that is what you want."
            )
        if not timeout_s > 0 or max_bytes < 1:
            raise ConfigError(f"timeout_s={timeout_s} and max_bytes={max_bytes} must be above 0.")
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._cache = None if cache is None else Path(cache)

    def __repr__(self) -> str:
        return f"TileSource({self.name!r}, scheme={self._scheme!r})"

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the address; what the server holds may change all the same."""
        return hashlib.sha256(self._template.encode()).hexdigest()[:32]

    def grid(self, zoom: int) -> TileGrid:
        """Return the grid of the server's tiles at a zoom level."""
        return TileGrid(self._scheme, zoom=zoom, crs=self._crs)

    def read_tile(self, tile: Tile, *, size: tuple[int, int] | None = None) -> TileImage:
        """Fetch the picture of a tile; see :func:`.pictures.picture_tile`.

        Raises:
            InputError: a tile without zoom, x and y.
            TileOutsideBounds: the server has no such tile.
            RasterOpenError: the server cannot be reached or refuses.
            RasterReadError, LimitError: what came is no picture, or too large.
        """
        if tile.zxy is None:
            raise InputError(
                f"Tile {tile.id!r} has no zoom, x and y, so {self.name} cannot be asked for it. "
                "Make tiles with TileSource.grid."
            )
        content = self._content(tile.zxy, tile.id)
        return picture_tile(content, tile, label=f"{self.name}: tile {tile.id}", size=size)

    def _content(self, zxy: tuple[int, int, int], name: str) -> bytes:
        zoom, x, y = zxy
        if self._cache is not None:
            for suffix in _SUFFIX_OF.values():
                kept = self._cache / str(zoom) / str(x) / f"{y}{suffix}"
                if kept.is_file():
                    return kept.read_bytes()
        content = self._fetched(_address(self._template, zxy), name)
        suffix = next((word for start, word in _SUFFIX_OF.items() if content.startswith(start)), None)
        if self._cache is not None and suffix is not None:
            with atomic_path(self._cache / str(zoom) / str(x) / f"{y}{suffix}") as temporary:
                temporary.write_bytes(content)
        return content

    def _fetched(self, address: str, name: str) -> bytes:
        """Return what the server sends, after up to three tries where trying again may help."""
        deadline = time.monotonic() + self._timeout_s
        reason = "no answer in time"
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(min(0.25 * 2**attempt, max(deadline - time.monotonic(), 0.0)))
            if (left := deadline - time.monotonic()) <= 0:
                break
            try:
                return self._once(address, left, deadline, name)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (204, 404, 410):
                        raise TileOutsideBounds(f"{self.name} has no tile {name}.") from None
                    reason = f"it answers {error.code} {error.reason}"
                    if error.code != 429 and error.code < 500:
                        break
            except (OSError, HTTPException) as error:
                reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise RasterOpenError(
            f"{self.name}: tile {name} cannot be fetched: {reason[:200]}. Check the address, the key and the "
            "connection."
        )

    def _once(self, address: str, timeout_s: float, deadline: float, name: str) -> bytes:
        request = urllib.request.Request(address, headers={"User-Agent": "verticlip", "Accept": "image/*"})
        opener = urllib.request.build_opener(_NoDetours(self.name))
        with opener.open(request, timeout=timeout_s) as answer:
            if answer.status == 204:
                raise TileOutsideBounds(f"{self.name} has no tile {name}.")
            content = bytearray()
            # One read of the socket at a time: filling a whole block could wait for a drip for ever.
            while block := answer.read1(65536):
                content += block
                if len(content) > self._max_bytes:
                    raise LimitError(
                        f"{self.name}: tile {name} is over {self._max_bytes:,} bytes. If that is as it "
                        "should be, pass a larger max_bytes."
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError("no answer in time")
            return bytes(content)


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """Follows redirections on the same host over https, and no others."""

    def __init__(self, host: str) -> None:
        self._host = host

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        parts = urlsplit(newurl)
        if parts.hostname != self._host or parts.scheme != urlsplit(req.full_url).scheme:
            raise OSError(f"it redirects to {parts.scheme}://{parts.hostname}, another server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _checked(template: str, scheme: str) -> str:
    """Return an address template that is acceptable."""
    parts = urlsplit(template)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ConfigError(f"A tile server is named by an https:// address, not {parts.scheme or 'a path'}.")
    if not host or "{" in parts.netloc or parts.username is not None:
        raise ConfigError(
            "The host of a tile server has to be fixed, without placeholders and without a login."
        )
    words = _PLACEHOLDER.findall(template)
    unknown = next((word for word in words if word not in _KNOWN), None)
    if unknown is not None:
        known = ", ".join(f"{{{word}}}" for word in _KNOWN)
        raise ConfigError(
            f"{{{unknown}}} in the address is unknown; known: {known}. Write the name of one server, and "
            "your key, in their places."
        )
    if not ({"z", "x"} <= set(words) and {"y", "-y"} & set(words)) and "q" not in words:
        raise ConfigError(
            "The address needs {z}, {x} and {y}, or {q}; otherwise every tile would be the same."
        )
    if scheme == "baidu" and {"-y", "q"} & set(words):
        raise ConfigError("{-y} and {q} belong to web mercator tiles; the Baidu scheme has {z}, {x} and {y}.")
    return template


def _address(template: str, zxy: tuple[int, int, int]) -> str:
    zoom, x, y = zxy
    words = {"z": str(zoom), "x": str(x), "y": str(y)}
    if "{-y}" in template:
        words["-y"] = str(int(webmercator.flip_y(y, zoom)))
    if "{q}" in template:
        words["q"] = webmercator.quadkey(x, y, zoom)
    return _PLACEHOLDER.sub(lambda found: words[found[1]], template)
