"""Rows of a catalogue: fields, files they come from, and the text that is made of them."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "FieldMap": "fields",
    "ImageRef": "record",
    "ImageRoot": "pictures",
    "Product": "record",
    "ProductReader": "read",
    "ProductText": "text",
    "Reject": "record",
    "RemotePolicy": "remote",
    "TextTemplate": "text",
    "fetch_image": "remote",
    "read_products": "read",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
