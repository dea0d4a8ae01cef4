"""Published product encoders: where they are, what they are under, what they may be used for. Plain data."""

from __future__ import annotations

from ...core.registry import ModelSpec

PUBLISHED: tuple[ModelSpec, ...] = ()
"""Models whose weights are their authors'."""
