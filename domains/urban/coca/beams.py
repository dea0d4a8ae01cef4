"""Beam search over captions, with the bookkeeping of open_clip and of the transformers class it uses.

Reference: open_clip 3.3, ``CoCa._generate_beamsearch``; transformers 4, ``BeamSearchScorer`` with a length
penalty of 1 and without early stopping.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .choosing import Decoding, adjust
from .decoding_state import TextStates
from .options import SpecialTokens

_NEVER = -1e9
"""Score of beams that have not begun: all begin alike, and only one of them may go on."""


@dataclass
class _Finished:
    """The best ended texts of one image: (mean score, tokens), at most ``size`` of them."""

    size: int
    texts: list[tuple[float, Tensor]] = field(default_factory=list)
    done: bool = False

    @property
    def worst(self) -> float:
        return min(score for score, _ in self.texts) if self.texts else 1e9

    def add(self, tokens: Tensor, total: float, length: int) -> None:
        """Take a text in; its score is divided by its length, the end token counted where it has one."""
        score = total / length
        if len(self.texts) < self.size or score > self.worst:
            self.texts.append((score, tokens))
            if len(self.texts) > self.size:
                # The first of equally bad ones goes.
                self.texts.pop(min(range(len(self.texts)), key=lambda at: self.texts[at][0]))

    def close(self, best_total: float, length: int) -> None:
        """Be done when no open text could still become better than the worst ended one."""
        if len(self.texts) == self.size and self.worst >= best_total / length:
            self.done = True

    def best(self) -> Tensor:
        """Return the tokens of the best text, of equal ones the latest."""
        return sorted(self.texts, key=lambda one: one[0])[-1][1]


def beam_search(
    states: TextStates, begun: Tensor, logits: Tensor, *, special: SpecialTokens, settings: Decoding
) -> Tensor:
    """Return captions int64 [B, L] without their end token where they are cut at the length.

    Args:
        states: of B rows that have read ``begun``. begun: int64 [B, L0].
        logits: float [B, V] of what comes after it.
    """
    width, count = settings.beams, len(begun)
    device = begun.device
    states.take(torch.arange(count, device=device).repeat_interleave(width))
    written = begun.repeat_interleave(width, dim=0)
    logits = logits.repeat_interleave(width, dim=0)
    scores = torch.full((count, width), _NEVER, device=device)
    scores[:, 0] = 0.0
    finished = [_Finished(width) for _ in range(count)]
    while True:
        found = _candidates(logits, written, scores, special, settings)
        scores, tokens, sources = _sort_out(found, written, finished, special)
        rows = (sources + width * torch.arange(count, device=device)[:, None]).flatten()
        written = torch.cat([written[rows], tokens.flatten()[:, None]], dim=1)
        if all(one.done for one in finished) or written.shape[1] >= settings.length:
            break
        states.take(rows)
        logits = states.extend(written[:, -1:])
    for image, one in enumerate(finished):
        if not one.done:
            for beam in range(width):
                one.add(written[image * width + beam], float(scores[image, beam]), written.shape[1])
    return _stacked([one.best() for one in finished], special, settings.length)


def _candidates(
    logits: Tensor, written: Tensor, scores: Tensor, special: SpecialTokens, settings: Decoding
) -> tuple[Tensor, Tensor, Tensor]:
    """Return totals, tokens and beams [B, 2 x width] of the best next steps of each image."""
    logits = logits.float()
    if settings.beam_score == "log_probabilities":
        logits = logits.log_softmax(dim=1)
    totals = adjust(logits, written, special.end, settings) + scores.view(-1, 1)
    vocabulary = logits.shape[1]
    # Twice as many as there are beams: when half of them end, as many go on.
    best = totals.view(len(scores), -1).topk(2 * settings.beams, dim=1)
    return best.values, best.indices % vocabulary, best.indices // vocabulary


def _sort_out(
    found: tuple[Tensor, Tensor, Tensor], written: Tensor, finished: list[_Finished], special: SpecialTokens
) -> tuple[Tensor, Tensor, Tensor]:
    """Return totals, tokens and beams [B, width] of the texts that go on; ended ones are put away."""
    width, length = finished[0].size, written.shape[1]
    totals, tokens, sources = (part.cpu() for part in found)
    going = [torch.zeros(len(finished), width, dtype=part.dtype) for part in (totals, tokens, sources)]
    going[1].fill_(special.pad)
    for image, one in enumerate(finished):
        if one.done:
            continue
        beam = 0
        for place in range(2 * width):
            total, token, source = totals[image, place], int(tokens[image, place]), int(sources[image, place])
            if token == special.end:
                # An end that is not among the best as many as there are beams is not taken.
                if place < width:
                    one.add(written[image * width + source], float(total), length + 1)
                continue
            going[0][image, beam], going[1][image, beam], going[2][image, beam] = total, token, source
            beam += 1
            if beam == width:
                break
        one.close(float(totals[image].max()), length + 1)
    device = written.device
    return going[0].to(device), going[1].to(device), going[2].to(device)


def _stacked(texts: list[Tensor], special: SpecialTokens, length: int) -> Tensor:
    """Return texts in one tensor, each with its end token where there is room."""
    room = min(max(len(text) for text in texts) + 1, length)
    stacked = torch.full((len(texts), room), special.pad, dtype=torch.int64, device=texts[0].device)
    for row, text in enumerate(texts):
        stacked[row, : len(text)] = text
        if len(text) < room:
            stacked[row, len(text)] = special.end
    return stacked
