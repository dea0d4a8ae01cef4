"""Published liveness models: where they are, what they are under, what they may be used for. Plain data."""

from __future__ import annotations

from ...core.registry import ModelSpec

PUBLISHED: tuple[ModelSpec, ...] = ()
"""Models whose files are fetched or given by the user, and converted on this machine."""
