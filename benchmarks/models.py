"""Random-weight models of published sizes with a small vocabulary, for workloads that need a whole model."""

from __future__ import annotations

from typing import Any

import torch

from ..core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from ..core.model import ContrastiveModel
from ..core.processing import Processor
from ..facade import Model

WORDS = (
    "left",
    "right",
    "lung",
    "heart",
    "base",
    "pleural",
    "effusion",
    "opacity",
    "nodule",
    "edema",
    "a",
    "of",
)
BERT_BASE_SIZE = {
    "backend": "bert", "vocab_size": 30522, "width": 768, "layers": 12, "heads": 12, "mlp_width": 3072,
}  # fmt: skip


def make_phrases(count: int) -> list[str]:
    """Return ``count`` different phrases of four words."""
    size = len(WORDS)
    return [
        " ".join(WORDS[number] for number in (k % size, k // size % size, k // size**2 % size, -1))
        for k in range(count)
    ]


def word_tokenizer() -> str:
    """Return ``tokenizer.json`` that gives each of :data:`WORDS` a token, between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: k for k, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str()


def random_model(
    image: dict[str, Any], text: dict[str, Any], processing: ImageProcessing, *, embed_dim: int,
    build: type[ContrastiveModel] = ContrastiveModel, **settings: Any,
) -> Model:  # fmt: skip
    """Return a model with seeded random weights.

    Args:
        image, text: the towers as in ``config.json``.
        processing: of images.
        build: class of the network. settings: further fields of its config.
    """
    config = ModelConfig.model_validate(
        {"name": "random", "embed_dim": embed_dim, "towers": {"image": image, "text": text}, **settings}
    )
    torch.manual_seed(0)
    network = build(config).eval()
    words = TextProcessing(context_length=256)
    return Model(network, Processor(ProcessorConfig(image=processing, text=words), word_tokenizer()))
