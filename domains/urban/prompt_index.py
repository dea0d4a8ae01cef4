"""The prompt sets of the room by name. Plain data."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS: tuple[PromptSpec, ...] = ()
