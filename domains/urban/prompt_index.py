"""The prompt sets of the room by name. Plain data."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS: tuple[PromptSpec, ...] = (
    PromptSpec("tiny", "satellite", "the ten land uses of urban/tiny"),
    # Public evaluation sets; the names are those of the sets.
    PromptSpec("eurosat", "satellite", "ten land uses of Sentinel-2 at 10 m"),
    PromptSpec("aid", "aerial", "thirty scenes"),
    PromptSpec("resisc45", "aerial", "45 scenes"),
    PromptSpec("patternnet", "aerial", "38 scenes"),
    PromptSpec("ucm", "aerial", "21 land uses of cities in the United States"),
    PromptSpec("whu-rs19", "satellite", "nineteen scenes"),
    PromptSpec("rsicd-30", "aerial", "the thirty categories of RSICD"),
)
