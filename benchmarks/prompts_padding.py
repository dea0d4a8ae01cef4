"""What dynamic padding is worth: one BERT base tower on short prompts, cut to the longest or padded to 256.

Medical text towers are trained with long contexts and asked short questions. Both sides run the same
tower on the same fast path, so the ratio is that of the padding alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.blocks import Embedded
from ..core.errors import VerticlipError
from ..core.inference import prepare
from ..core.transformer import Bert
from .runner import Workload
from .text_embed import BERT_BASE, BERT_CONTEXT, encode, make_lengths, make_texts

GATE = 5.0
LARGEST_DIFFERENCE = 1e-5


class PaddedBert(Bert):
    """The tower as most code calls it: every column is computed, padding masked."""

    def embed(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return the embedded tokens [B, L, W], padding included."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        return Embedded(self.embeddings(ids), key_mask=mask, read=torch.zeros(len(ids), dtype=torch.long))


def check(ours: partial[Tensor], peer: partial[Tensor]) -> dict[str, float]:
    """Return the largest difference of unit embeddings; raise when it is more than rounding."""
    difference = float((F.normalize(ours(), dim=-1) - F.normalize(peer(), dim=-1)).abs().max())
    if not difference <= LARGEST_DIFFERENCE:
        raise VerticlipError(f"Padding changes the embeddings by {difference:.2g}; they must be equal.")
    return {"largest_difference": difference}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the one comparison: 32 prompts of 8 to 20 tokens, 2 of them when ``quick``."""
    torch.manual_seed(0)
    padded = PaddedBert(BERT_BASE).eval()
    cut = Bert(BERT_BASE).eval()
    cut.load_state_dict(padded.state_dict())
    count = 2 if quick else 32
    texts = make_texts(make_lengths(count, 8, 20), context=BERT_CONTEXT, vocabulary=BERT_BASE.vocab_size)
    ours, peer = partial(encode, prepare(cut), texts), partial(encode, prepare(padded), texts)
    return [
        Workload(
            f"text BERT base {count} prompts, dynamic padding",
            ours,
            peer,
            f"the same tower padded to {BERT_CONTEXT}",
            GATE,
            partial(check, ours, peer),
        )
    ]
