"""How the next word is chosen from its logits.

Each step is what transformers does under the same name (``MinLengthLogitsProcessor``,
``RepetitionPenaltyLogitsProcessor``, ``TopKLogitsWarper``, ``TopPLogitsWarper``), in the order in which
open_clip applies them: temperature comes last, after words have been left out.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ....core.config import Config

Method = Literal["greedy", "top_k", "top_p", "beam"]


class Decoding(Config):
    """How captions are written. The defaults are those UrbanCLIP describes places with."""

    method: Method = "top_p"
    """``greedy`` takes the likeliest word; ``top_k`` and ``top_p`` draw among the likeliest; ``beam`` keeps
    several texts and returns the best."""
    length: int = Field(default=30, ge=2, le=8193)
    """Most tokens of a caption, start and end included."""
    min_length: int = Field(default=5, ge=0)
    """No end before this many tokens, the start included."""
    top_k: int = Field(default=1, ge=1)
    top_p: float = Field(default=0.1, gt=0.0, le=1.0)
    """Draw from the fewest words that together have this probability; 0.1 is nearly ``greedy``."""
    temperature: float = Field(default=1.0, gt=0.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    """Above 1 makes words that the caption already has less likely."""
    beams: int = Field(default=2, ge=1, le=64)
    """Texts that ``beam`` keeps. open_clip's default, 6 beams in 3 groups without a penalty between them,
    is the same 2 beams three times."""
    beam_score: Literal["logits", "log_probabilities"] = "logits"
    """What ``beam`` adds up: open_clip takes raw logits; log-probabilities are what beam search is defined
    with."""

    @model_validator(mode="after")
    def _can_end(self) -> Decoding:
        if self.min_length >= self.length:
            raise ValueError(f"min_length {self.min_length} must be below length {self.length}")
        return self


def adjust(logits: Tensor, written: Tensor, end: int, settings: Decoding) -> Tensor:
    """Return logits [B, V] without an end that comes too early, and with repeated words made less likely.

    Args:
        logits: float [B, V]. written: int64 [B, L], the tokens so far.
        end: id of the end token.
    """
    if written.shape[1] < settings.min_length:
        logits = logits.clone()
        logits[:, end] = -torch.inf
    if settings.repetition_penalty != 1.0:
        own = logits.gather(1, written)
        penalty = settings.repetition_penalty
        logits = logits.scatter(1, written, torch.where(own < 0, own * penalty, own / penalty))
    return logits


def keep_top_k(logits: Tensor, count: int) -> Tensor:
    """Return logits [B, V], -inf below the ``count`` highest of each row; ties with the last one stay."""
    lowest = logits.topk(min(count, logits.shape[1]), dim=1).values[:, -1:]
    return logits.masked_fill(logits < lowest, -torch.inf)


def keep_top_p(logits: Tensor, share: float) -> Tensor:
    """Return logits [B, V], -inf but for the fewest words with a probability of ``share`` together.

    At least one word stays. Words are left out from the least likely on, as long as those left out have at
    most ``1 - share``.
    """
    ascending, order = logits.sort(dim=1)
    left_out = ascending.softmax(dim=1).cumsum(dim=1) <= 1 - share
    left_out[:, -1] = False
    return logits.masked_fill(left_out.scatter(1, order, left_out), -torch.inf)


def choose(logits: Tensor, settings: Decoding, generator: torch.Generator) -> Tensor:
    """Return one token int64 [B] per row of adjusted logits [B, V].

    Draws are made on the CPU: a seed gives the same words on every device that gives the same logits.
    """
    if settings.method in ("greedy", "beam"):
        return logits.argmax(dim=1)
    logits = logits.float().cpu()
    kept = (
        keep_top_k(logits, settings.top_k)
        if settings.method == "top_k"
        else keep_top_p(logits, settings.top_p)
    )
    odds = (kept / settings.temperature).softmax(dim=1)
    return torch.multinomial(odds, 1, generator=generator)[:, 0]
