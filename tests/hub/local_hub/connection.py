"""One connection: reading requests, sending answers, and everything that can go wrong in between."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .faults import Corrupt, Fault, IgnoreRange, LyingLength, Reset, Slow, Stall, Status, Truncate
from .store import Refused

if TYPE_CHECKING:
    from .server import LocalHub


@dataclass
class Request:
    """One request, in the log from the moment it was read.

    Attributes:
        method: of HTTP.
        path: unquoted, without the query. query: the rest of the URL.
        headers: by name in any case; ``headers["Range"]`` is None where there is none.
        status: of the answer; 0 where the connection broke before there was one.
        to: "hub", or "storage" for the origin of LFS objects.
        sent: bytes of content that were handed to the connection.
    """

    method: str
    path: str
    query: str
    headers: Message
    to: str
    status: int = 0
    sent: int = 0


class Gone(Exception):
    """The connection was ended on purpose."""


class Connection(BaseHTTPRequestHandler):
    """Reads a request, lets :meth:`answer` answer it, and applies the faults that are queued for it."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "local-hub", ""
    # Small answers go out at once; without it every one waits for the acknowledgement of the last.
    disable_nagle_algorithm = True
    hub: LocalHub
    origin = "hub"

    def answer(self, path: str, query: str, body: bytes) -> None:
        """Answer one request. ``path`` is as it was sent, quoted.

        Raises:
            Refused: answer with this error.
        """
        raise NotImplementedError

    # Each request

    def setup(self) -> None:
        super().setup()
        self.hub.opened(self.connection)

    def finish(self) -> None:
        self.hub.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        self._target = unquote(self.path)
        self._faults: tuple[Fault, ...] = ()
        self._noted = Request(self.command, unquote(path), query, self.headers, self.origin)
        self.hub.log(self._noted)
        try:
            body = self._body()
            self._faults = self.hub.faults.take(self._target, self.command, content=False)
            self._suffer(done=False)
            for fault in self._faults:
                if isinstance(fault, Status):
                    raise Refused(fault.code, HTTPStatus(fault.code).phrase, headers=fault.headers)
            self.answer(path, query, body)
        except Refused as error:
            self._refuse(error)
        except (Gone, ConnectionError):
            self.close_connection = True
        except Exception as error:
            # A mistake of this server, or a request it did not expect: never silent.
            traceback.print_exc()
            self._refuse(Refused(500, f"{type(error).__name__}: {error}"))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = bytearray()
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return bytes(content)
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        if len(content) < length:
            # The client died: nothing of what it meant to say is carried out.
            raise Gone
        return content

    # Answers

    def send(
        self, status: int, content: bytes = b"", *, kind: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send an answer, as bad as the queue wants it."""
        self._suffer(done=True)
        faults: tuple[Fault, ...] = ()
        if content and status == 200:
            faults = self.hub.faults.take(self._target, self.command, content=True)
        self._deliver(status, content, faults, {"Content-Type": kind or "text/plain", **(headers or {})})

    def send_json(self, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a JSON answer."""
        self.send(status, json.dumps(value).encode(), kind="application/json", headers=headers)

    def send_file(self, content: bytes, etag: str, headers: Mapping[str, str]) -> None:
        """Send a file, or the range of it that is asked for."""
        self._suffer(done=True)
        wanted = self.headers["Range"]
        faults = self.hub.faults.take(self._target, self.command, content=True, ranged=wanted is not None)
        condition = self.headers["If-Range"]
        if any(isinstance(fault, IgnoreRange) for fault in faults) or condition not in (None, f'"{etag}"'):
            wanted = None
        total = len(content)
        named = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        span = _span(wanted, total)
        if span is None:
            return self._deliver(200, content, faults, {**named, **headers})
        start, stop = span
        if start >= stop:
            raise Refused(
                416, "Requested Range Not Satisfiable", headers={"Content-Range": f"bytes */{total}"}
            )
        place = {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
        return self._deliver(206, content[start:stop], faults, {**named, **headers, **place})

    def _refuse(self, error: Refused) -> None:
        self._faults = ()
        headers = dict(error.headers)
        if error.code:
            headers["X-Error-Code"] = error.code
        headers["X-Error-Message"] = error.message
        with contextlib.suppress(Gone, ConnectionError):
            self._deliver(
                error.status,
                json.dumps({"error": error.message}).encode(),
                (),
                {"Content-Type": "application/json", **headers},
            )

    # Faults

    def _suffer(self, *, done: bool) -> None:
        """Apply the faults that concern a request itself, before (or, if ``done``, after) it is carried out."""
        for fault in self._faults:
            if isinstance(fault, Stall | Reset | Truncate) and (fault.at > 0) == done:
                if isinstance(fault, Stall):
                    self._wait(fault.seconds)
                elif isinstance(fault, Reset):
                    self._reset()
                else:
                    raise Gone

    def _deliver(
        self, status: int, content: bytes, faults: tuple[Fault, ...], headers: Mapping[str, str]
    ) -> None:
        total = announced = end = len(content)
        rate, events = 0.0, []
        for fault in (*faults, *(one for one in self._faults if isinstance(one, LyingLength))):
            if isinstance(fault, LyingLength):
                announced = max(0, total + fault.by)
                headers = {**headers, **_shifted(headers, fault.by)}
                self.close_connection = True
            elif isinstance(fault, Truncate):
                end = int(total * fault.at)
                announced = announced if fault.lie else end
                self.close_connection = True
            elif isinstance(fault, Corrupt) and total:
                place = min(int(total * fault.at), total - 1)
                content = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
            elif isinstance(fault, Slow):
                rate = fault.bytes_per_second
            elif isinstance(fault, Stall | Reset):
                events.append((int(total * fault.at), fault))
        self._noted.status = status
        self.send_response(status)
        for name, value in {"Content-Length": str(announced), **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        for place, fault in sorted(events, key=lambda event: event[0]):
            self._send_until(content, min(place, end), rate)
            if isinstance(fault, Stall):
                self._wait(fault.seconds)
            else:
                self._reset()
        self._send_until(content, end, rate)

    def _send_until(self, content: bytes, stop: int, rate: float) -> None:
        while self._noted.sent < stop:
            size = max(1, int(rate / 20)) if rate else 1024 * 1024
            part = content[self._noted.sent : min(stop, self._noted.sent + size)]
            # Noted first: who has read the last byte may look at the log at once.
            self._noted.sent += len(part)
            self.wfile.write(part)
            if rate:
                self._wait(len(part) / rate)

    def _wait(self, seconds: float) -> None:
        if self.hub.stopping.wait(seconds):
            raise Gone

    def _reset(self) -> None:
        # What was sent has to arrive first: a reset overtakes what still waits.
        time.sleep(0.05)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for one in (self.rfile, self.wfile, self.connection):
            one.close()
        raise Gone

    # Quiet: the log is for the tests.

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Serve the connection until either side ends it."""
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()


def _shifted(headers: Mapping[str, str], by: int) -> dict[str, str]:
    name = "X-Linked-Size"
    return {name: str(int(headers[name]) + by)} if name in headers else {}


def _span(wanted: str | None, total: int) -> tuple[int, int] | None:
    """Return (start, stop) of a ``Range``; None for the whole file, start >= stop where it holds nothing."""
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", wanted or "")
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return (max(0, total - int(match[2])), total)
    stop = int(match[2]) + 1 if match[2] else total
    # A range that ends before it starts is no range at all.
    return None if match[2] and stop <= int(match[1]) else (int(match[1]), min(stop, total))
