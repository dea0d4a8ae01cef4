"""Points of a Qdrant collection, and what stands in one beside the rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..config_base import Config
from ..errors import ConfigError, require
from .columns import Column, column_kind
from .qdrant_filter import key_of
from .settings import IndexDescription

if TYPE_CHECKING:
    import pyarrow
    from qdrant_client import QdrantClient

ID, INDEX = "@id", "@index"
"""Payload fields of a row's id, and of what made the vectors."""
_TIMEOUT_S = 60
_NAMES = uuid.UUID("6f1d0a52-6d0c-5c7e-9a57-2b8f4e3c1d90")
"""Namespace of the UUIDs; changing it would orphan every collection."""


class State(Config):
    """What the point beside the rows says."""

    description: IndexDescription
    columns: tuple[Column, ...]
    version: int = 0


def connect(server: str | QdrantClient, api_key: str | None) -> QdrantClient:
    """Return a client of a server; one that is given as it is."""
    library = require("qdrant_client", extra="qdrant")
    if not isinstance(server, str):
        return server
    if server != ":memory:" and not server.startswith(("http://", "https://")):
        # The client would also take a folder, whose files it reads with pickle: they could run code.
        raise ConfigError(f"{server!r} is no address of a Qdrant server; write http://host:6333.")
    if server == ":memory:":
        return library.QdrantClient(server)
    return library.QdrantClient(url=server, api_key=api_key, timeout=_TIMEOUT_S)


def is_local(client: QdrantClient) -> bool:
    """Tell whether a client is its own stand-in for a server, without graphs and payload indexes."""
    return client.init_options.get("location") == ":memory:"


def asked(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return the answer of the server, or say that there is none."""
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        return call(*arguments, **named)
    except (ResponseHandlingException, UnexpectedResponse, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"The Qdrant server did not do as asked ({reason:.200}).") from error


def point_id(one: str) -> str:
    """Return the UUID of a row; that of the empty id is the point that describes the index."""
    return str(uuid.uuid5(_NAMES, one))


def point_of_state(state: State) -> Any:
    """Return the point that describes the index."""
    from qdrant_client import models

    return models.PointStruct(
        id=point_id(""), vector={}, payload={ID: "", INDEX: state.model_dump(mode="json")}
    )


def keys_of(picked: pyarrow.Schema) -> list[str]:
    """Return the payload fields to read."""
    return [key_of(ID), *(key_of(name) for name in picked.names)]


def to_json(value: object) -> object:
    """Return a value of the payload as JSON holds it."""
    return value.isoformat() if isinstance(value, datetime) else value


def from_json(value: Any, kind: pyarrow.DataType) -> Any:
    """Return what :func:`to_json` was given."""
    return datetime.fromisoformat(value) if value is not None and column_kind(kind) == "time" else value
