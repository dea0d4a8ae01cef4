"""Small random models that know pictures and texts, one of each kind of product encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.facade import Model

WORDS = ("red", "blue", "green", "mug", "shoe", "lamp", "owl", "frog", "white", "steel", "a", "in")

IMAGE = {
    "backend": "vit",
    "image_size": 16,
    "patch_size": 8,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "mlp_width": 32,
    "projection": "linear",
}
BERT = {
    "backend": "bert",
    "vocab_size": 4 + len(WORDS),
    "width": 20,
    "layers": 1,
    "heads": 2,
    "mlp_width": 32,
    "projection": "linear",
}
CAUSAL = {
    "backend": "clip_text",
    "context_length": 12,
    "vocab_size": 4 + len(WORDS),
    "width": 20,
    "layers": 1,
    "heads": 2,
    "mlp_width": 32,
    "output_dim": 12,
}


def make_config(architecture: str, *, text: dict | None = None, **options: object) -> ModelConfig:
    """Return the config of a model of 12 dimensions."""
    domain = None if architecture == "contrastive" else "ecommerce"
    if architecture == "unified_product":
        options = {"width": 24, "heads": 4, "layers": 2, **options}
    return ModelConfig.model_validate(
        {
            "name": f"test/{architecture}",
            "domain": domain,
            "architecture": architecture,
            "embed_dim": 12,
            "towers": {"image": IMAGE, "text": text or BERT},
            "options": options,
        }
    )


def make_processor(*, padding: str = "longest") -> Processor:
    """Return a processor of pictures of 16 pixels and of texts of at most 12 tokens."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    text = TextProcessing(context_length=12, padding=padding)
    return Processor(ProcessorConfig(image=ImageProcessing(size=16), text=text), tokenizer.to_str())


def make_model(architecture: str, *, seed: int = 0, text: dict | None = None, **options: object) -> Model:
    """Return a random model in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(make_config(architecture, text=text, **options))
        for parameter in network.towers.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.4)
    return Model(network.eval(), make_processor(padding="longest" if text is None else "context"))


def save(model: Model, folder: Path) -> Path:
    """Return the folder the model was written to."""
    return model.save(folder)
