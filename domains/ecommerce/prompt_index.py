"""Prompt sets of the room, as plain data."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS: tuple[PromptSpec, ...] = ()
"""Prompt sets that users can name."""
