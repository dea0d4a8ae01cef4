"""Which prompt sets this room has; the files are in ``prompts/``."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS: tuple[PromptSpec, ...] = ()
"""Prompt sets users can name."""
