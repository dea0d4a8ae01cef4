"""Asking the server without the client, byte by byte where that matters."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
from email.message import Message
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .server import LocalHub


def _address(hub: LocalHub, path: str) -> tuple[str, int]:
    place = urlsplit(hub.storage if path.startswith(("/lfs/", "/upload/", "/v1/")) else hub.endpoint)
    return str(place.hostname), int(place.port or 80)


def ask(
    hub: LocalHub,
    method: str,
    path: str,
    *,
    body: dict | bytes | None = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, Message, bytes]:
    """Return (status, headers, content) of one answer; ``If_Range="x"`` sends ``If-Range: x``."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(*_address(hub, path), timeout=5)
    try:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, body=content, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw(hub: LocalHub, path: str, method: str = "GET", **headers: str) -> tuple[bytes, bytes, str]:
    """Return (head, content, how the connection ended: "closed" or "reset") of one answer."""
    received, end = b"", "closed"
    with socket.create_connection(_address(hub, path), timeout=5) as connection:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            end = "reset"
    head, _, content = received.partition(b"\r\n\r\n")
    return head, content, end


def announced(head: bytes) -> int:
    """Return the ``Content-Length`` of a head."""
    found = re.search(rb"Content-Length: (\d+)", head)
    if found is None:
        raise ValueError(f"No length in {head!r}.")
    return int(found[1])


def place(hub: LocalHub, file: str = "/org/model/resolve/main/model.safetensors") -> str:
    """Return the path at which the storage serves an LFS object, with its signature."""
    status, headers, _ = ask(hub, "HEAD", file)
    if status != 302:
        raise ValueError(f"{file} was answered with {status}.")
    return headers["Location"].removeprefix(hub.storage)


def file_item(path: str, content: bytes) -> tuple[str, dict]:
    """Return the part of a commit that adds a regular file."""
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


def commit_lines(*items: tuple[str, dict]) -> bytes:
    """Return the body of a commit: a header, and then its parts."""
    header = ("header", {"summary": "Test", "description": ""})
    return b"\n".join(json.dumps({"key": key, "value": value}).encode() for key, value in (header, *items))
