"""What users do with satellite models beyond embedding and classifying; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES: dict[str, str] = {}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
