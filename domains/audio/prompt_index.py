"""The prompt sets of the room: plain data, one YAML file each under ``prompts/``."""

from __future__ import annotations

from ...core.registry import PromptSpec

PROMPTS = (
    PromptSpec("tiny-tagger", "sound", "the twenty classes of audio/tiny-tagger"),
    # Public evaluation sets, with the sentence LAION-CLAP is evaluated with.
    PromptSpec("esc-50", "sound", "fifty environmental sounds"),
    PromptSpec("esc-10", "sound", "ten environmental sounds"),
    PromptSpec("urbansound8k", "sound", "ten sounds of a city"),
    PromptSpec("vggsound", "sound", "309 sounds of videos"),
    PromptSpec("audioset", "sound", "the 527 classes of AudioSet"),
    PromptSpec("fsd50k", "sound", "200 classes of the AudioSet ontology"),
    PromptSpec("gtzan", "music", "ten genres"),
    PromptSpec("clipsep", "music", "eleven instruments, in the four sentences of a CLIPSep query"),
    PromptSpec("clipsep-eval", "music", "eleven instruments, as the published CLIPSep scores ask for them"),
    PromptSpec("clipsep-train", "music", "eleven instruments, as CLIPSep is trained by text"),
)
"""Every set by its short name."""
