"""Text towers with random weights: short prompts, sentences of mixed length, BERT with a long context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ..core.config import BertTower, CausalTextTower
from ..core.inference import encode_by_length, prepare, uses_onednn
from ..core.towers import Tower
from ..core.transformer import Bert, CausalText
from .runner import Workload, require_at_least
from .stress import agreement

CLIP_TEXT = CausalTextTower(
    backend="clip_text", width=512, layers=12, heads=8, mlp_width=2048, output_dim=512
)
BERT_BASE = BertTower(backend="bert", vocab_size=30522, width=768, layers=12, heads=12, mlp_width=3072)
BERT_CONTEXT = 256
LEAST_COSINE = 0.999999
Inputs = dict[str, Tensor]


def make_texts(lengths: list[int], *, context: int, vocabulary: int) -> Inputs:
    """Return seeded token ids int64 [B, context] with the end token (the highest id) last, and their mask."""
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(context) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, vocabulary - 1, mask.shape, generator=generator) * mask
    ids[torch.arange(len(lengths)), mask.sum(dim=1) - 1] = vocabulary - 1
    return {"input_ids": ids, "attention_mask": mask}


def make_lengths(count: int, low: int, high: int) -> list[int]:
    """Return ``count`` seeded text lengths from ``low`` to ``high`` tokens, both included."""
    return torch.randint(low, high + 1, (count,), generator=torch.Generator().manual_seed(1)).tolist()


@torch.inference_mode()
def encode(tower: Tower, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return our pooled embeddings [B, D]."""
    return tower(inputs).pooled


@torch.inference_mode()
def encode_sorted(tower: Tower, inputs: Inputs) -> Tensor:
    """Return our pooled embeddings [B, D], computed in batches of similar length."""
    return encode_by_length(partial(encode, tower), inputs)


@torch.inference_mode()
def encode_padded(reference: torch.nn.Module, inputs: Inputs) -> Tensor:
    """Return open_clip's embeddings [B, D] of texts padded to the context."""
    return reference(inputs["input_ids"])


@torch.inference_mode()
def encode_bert(reference: torch.nn.Module, inputs: Inputs) -> Tensor:
    """Return the first state [B, D] of transformers' BERT on padded texts."""
    return reference(**inputs).last_hidden_state[:, 0]


def check(ours: Callable[[], Tensor], peer: Callable[[], Tensor]) -> Mapping[str, float]:
    """Return the least cosine between the two results."""
    return require_at_least(agreement(ours(), peer()), min_cosine=LEAST_COSINE)


def _clip_workloads(quick: bool) -> list[Workload]:
    from open_clip.transformer import TextTransformer

    torch.manual_seed(0)
    config = CLIP_TEXT
    reference = TextTransformer(
        config.context_length,
        config.vocab_size,
        config.width,
        config.heads,
        config.layers,
        output_dim=config.output_dim,
    ).eval()
    tower = CausalText(config).eval()
    tower.load_state_dict(reference.state_dict())
    fast = prepare(tower)
    texts = partial(make_texts, context=config.context_length, vocabulary=config.vocab_size)
    prompts = texts(make_lengths(16 if quick else 64, 14, 20))
    sentences = texts(make_lengths(32 if quick else 256, 9, 77))
    cases = (
        (
            f"{len(prompts['input_ids'])} prompts of 14-20 tokens",
            encode,
            prompts,
            6.0 if uses_onednn(torch.float32) else 4.0,
        ),
        (f"{len(sentences['input_ids'])} sentences of 9-77 tokens", encode_sorted, sentences, 2.0),
    )
    rows = []
    for name, function, inputs, gate in cases:
        ours, peer = partial(function, fast, inputs), partial(encode_padded, reference, inputs)
        rows.append(
            Workload(
                f"text CLIP {name}", ours, peer, "open_clip padded to 77", gate, partial(check, ours, peer)
            )
        )
    return rows


def _bert_workload(count: int) -> Workload:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BERT_BASE
    # The defaults of BertConfig are those of BERT base.
    reference = BertModel(BertConfig(), add_pooling_layer=False).eval()
    tower = Bert(config).eval()
    tower.load_state_dict(reference.state_dict())
    inputs = make_texts(make_lengths(count, 14, 20), context=BERT_CONTEXT, vocabulary=config.vocab_size)
    ours, peer = partial(encode, prepare(tower), inputs), partial(encode_bert, reference, inputs)
    return Workload(
        f"text BERT base {count} prompts of 14-20 tokens",
        ours,
        peer,
        f"transformers BERT padded to {BERT_CONTEXT}",
        12.0,
        partial(check, ours, peer),
    )


def workloads(quick: bool = False) -> list[Workload]:
    """Return the three comparisons in float32; inputs are padded to the context for both sides."""
    return [*_clip_workloads(quick), _bert_workload(4 if quick else 32)]
