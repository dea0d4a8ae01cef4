"""Liveness models of a few kilobytes, with a tokenizer that knows the words of the taxonomies."""

from __future__ import annotations

import re

import torch
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.domains.liveness.models.base import liveness_options
from verticlip.domains.liveness.taxonomy import load_taxonomy
from verticlip.facade import Model

SIZE, DIM = 16, 12


def tokenizer_json() -> str:
    """Return a tokenizer with one id per word of both taxonomies; the end has the highest id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    texts = " ".join(text for name in ("default", "binary") for text in load_taxonomy(name).texts)
    words = sorted(set(re.findall(r"\w+|[^\w\s]", texts)))
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[START]", *words, "[END]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[START] $A [END]", special_tokens=[("[START]", 2), ("[END]", len(vocabulary) - 1)]
    )
    return tokenizer.to_str()


def processor() -> Processor:
    """Return the processor of the models here."""
    config = ProcessorConfig(
        image=ImageProcessing(size=SIZE, resize="squash"), text=TextProcessing(context_length=24)
    )
    return Processor(config, tokenizer_json())


def towers(text: bool = True, **image: object) -> dict[str, object]:
    """Return the config of small towers in CLIP's layout."""
    found: dict[str, object] = {
        "image": {
            "backend": "vit", "image_size": SIZE, "patch_size": 8, "width": 16, "layers": 1, "heads": 2,
            "mlp_width": 32, "output_dim": DIM, **image,
        }
    }  # fmt: skip
    if text:
        found["text"] = {
            "backend": "clip_text", "context_length": 24, "vocab_size": 256, "width": 16, "layers": 1,
            "heads": 2, "mlp_width": 32, "output_dim": DIM,
        }  # fmt: skip
    return found


def network(architecture: str = "categories", taxonomy="default", crops=None, **options):
    """Return a random model in evaluation mode."""
    raw = {
        "name": "test/live", "embed_dim": DIM, "towers": towers(), "architecture": architecture,
        "domain": "liveness",
    }  # fmt: skip
    if architecture == "flip_v":
        raw["towers"] = towers(text=False, output_dim=None, projection="linear", projection_bias=True)
    if architecture != "contrastive":
        raw["options"] = liveness_options(taxonomy, crops, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build_model(ModelConfig.model_validate(raw))
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def handle(architecture: str = "categories", **settings) -> Model:
    """Return what users hold."""
    return Model(network(architecture, **settings), processor())


def pictures(count: int, *, seed: int = 0, height: int = 20, width: int = 18):
    """Return uint8 noise [H, W, 3], ``count`` times."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8).numpy()
        for _ in range(count)
    ]
