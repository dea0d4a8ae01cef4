"""Prompt sets of the room, as plain data."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS: tuple[PromptSpec, ...] = (
    PromptSpec("tiny", "product photo", "the ten kinds of garment of ecommerce/tiny"),
)
"""Prompt sets that users can name."""
