"""Models of a few kilobytes with random weights, in every layout that another library can load."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from verticlip.core.audio_config import AudioProcessing
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.layouts.siglip_towers import BACKBONE
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.hub.export import Subject

SIZE, DIM, CONTEXT = 32, 12, 24
TOY = "vit_toy_patch16_siglip_32"
"""A name of timm that only :func:`teach_timm` knows."""
_TOY_NUMBERS = {"img_size": SIZE, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}

WORDS = tuple(
    word
    for line in (
        "a an the photo of cat dog red shirt , . : ! size harbour at low tide aerial photograph very long",
        "sentence about small house on hill beside sea under grey and windy sky two words it",
        "one three four five six seven eight nine ten eleven twelve north south east west up down left right",
        "old new river",
    )
    for word in line.split()
)
VIT = {
    "backend": "vit", "image_size": SIZE, "patch_size": 16, "width": 16, "layers": 2, "heads": 2, "mlp_width": 40,
}  # fmt: skip
CLIP_TEXT = {
    "backend": "clip_text", "context_length": CONTEXT, "vocab_size": 49_408, "width": 16, "layers": 2, "heads": 2,
    "mlp_width": 64,
}  # fmt: skip
RESNET = {
    "backend": "open_clip", "kind": "vision", "output_dim": DIM,
    "options": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
}  # fmt: skip
BERT = {
    "backend": "bert", "vocab_size": 64, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32,
    "projection": "linear",
}  # fmt: skip
SIGLIP_IMAGE = {
    "backend": "timm", "architecture": BACKBONE, "projection": "none",
    "options": {**_TOY_NUMBERS, "mlp_ratio": 4.0, "act_layer": "gelu"},
}  # fmt: skip
SIGLIP_TEXT = {
    "backend": "open_clip", "kind": "text", "output_dim": 16,
    "options": {
        "context_length": CONTEXT, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
    },
}  # fmt: skip
HALF = (0.5, 0.5, 0.5)


def out(tower: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a tower of ours that ends in the joint space."""
    return {**tower, "output_dim": DIM, **changes}


def linear(tower: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a tower with a projection behind it."""
    return {**tower, "projection": "linear", **changes}


def tokenizer_json(*, end: int = 63) -> str:
    """Return a tokenizer of 64 whole words that closes every text by token ``end``, 1 or 63."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    vocabulary["<end>"] = 63
    closing = "</s>" if end == 1 else "<end>"
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(f"$A {closing}", special_tokens=[(closing, end)])
    return tokenizer.to_str()


def processor(image: Any = None, text: Any = None, **settings: Any) -> Processor:
    """Return the processor of OpenAI's CLIP at a small size, or another one."""
    image = ImageProcessing(**{"size": SIZE, "resampler": "pillow", **(image or {})})
    text = TextProcessing(**{"context_length": CONTEXT, "tokenizer": "open_clip_bpe", **(text or {})})
    own = text.tokenizer == "tokenizer_json"
    return Processor(
        ProcessorConfig(image=image, text=text, **settings),
        tokenizer_json(**({"end": 1} if text.pad_id else {})) if own else None,
    )


def subject(towers: dict[str, Any], processing: Processor | None = None, **config: Any) -> Subject:
    """Return a model of these towers whose every weight counts."""
    raw = {"name": "test/small", "embed_dim": DIM, "licence": "MIT", "towers": towers, **config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(ModelConfig.model_validate(raw))
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
            elif parameter.ndim > 1:
                # Larger than at the start of training: pictures and words shall come out different.
                torch.nn.init.normal_(parameter, std=2 * parameter[0].numel() ** -0.5)
    return Subject(network.eval(), processing or processor(), None, "test/small", "0" * 40)


def clip(**settings: Any) -> Subject:
    """Return a CLIP as OpenAI and open_clip build it."""
    quick = {"quick_gelu": True}
    return subject({"image": out(VIT, **quick), "text": out(CLIP_TEXT, **quick)}, **settings)


def word_clip(image: Any = None, **config: Any) -> Subject:
    """Return a CLIP of 64 words, as a recipe of ours trains one: linear projections behind its towers."""
    text = {**CLIP_TEXT, "vocab_size": 64}
    words = {"tokenizer": "tokenizer_json", "overlong": "truncate"}
    return subject({"image": linear(VIT), "text": linear(text)}, processor(image, words), **config)


def trained_clip() -> Subject:
    """Return the same with the preprocessing that training has unless told otherwise."""
    return word_clip({"resampler": "torch", "resize": "squash", "interpolation": "bilinear"})


def siglip(clean: str = "canonicalize") -> Subject:
    """Return a SigLIP of the size that :func:`teach_timm` gives a name to."""
    words = {"tokenizer": "tokenizer_json", "pad_id": 1, "padding": "context", "clean": clean}
    return subject(
        {"image": SIGLIP_IMAGE, "text": SIGLIP_TEXT},
        processor({"resize": "squash", "mean": HALF, "std": HALF}, words),
        embed_dim=16,
        logit_scale=4.5,
        logit_bias=-12.0,
    )


def coca() -> Subject:
    """Return a CoCa of open_clip with OpenAI's vocabulary."""
    shared = {"backend": "open_clip", "output_dim": DIM}
    image = {
        "image_size": SIZE, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8, "attentional_pool": True,
        "attn_pooler_queries": 3, "attn_pooler_heads": 2,
    }  # fmt: skip
    text = {
        "context_length": CONTEXT, "vocab_size": 49_408, "width": DIM, "heads": 2, "layers": 1, "embed_cls": True,
    }  # fmt: skip
    return subject(
        {
            "image": {**shared, "kind": "vision", "options": image},
            "text": {**shared, "kind": "text", "options": text},
        },
        domain="urban",
        architecture="coca",
        options={"decoder": {"width": DIM, "heads": 2, "layers": 1, "context_length": CONTEXT}},
    )


def clap(*, fusion: bool) -> Subject:
    """Return a CLAP of transformers that hears one second."""
    audio = {
        "patch_embeds_hidden_size": 8, "depths": [1, 2], "num_attention_heads": [2, 4], "spec_size": 128,
        "num_mel_bins": 64, "window_size": 4, "hidden_size": 16, "enable_fusion": fusion,
    }  # fmt: skip
    text = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": CONTEXT + 2, "pad_token_id": 1, "type_vocab_size": 1,
    }  # fmt: skip
    shared = {"backend": "transformers", "pooling": "pooler", "projection": "mlp", "projection_bias": True}
    filters = {"scale": "htk", "norm": "none"} if fusion else {}
    sound = AudioProcessing.model_validate(
        {
            "sampling_rate": 8000,
            "window_s": 1,
            "padding": "repeat",
            "mel": {
                "n_fft": 512,
                "hop_length": 40,
                "n_mels": 64,
                "f_min": 50,
                "f_max": 3500,
                **filters,
                "log": "db",
            },
        }
    )
    words = {"tokenizer": "tokenizer_json", "pad_id": 1, "clean": "none"}
    return subject(
        {
            "audio": {**shared, "model_type": "clap_audio_model", "options": audio},
            "text": {**shared, "model_type": "roberta", "options": text},
        },
        processor(None, words, audio=sound),
        domain="audio",
        architecture="clap",
    )


def teach_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let timm know the image tower of :func:`siglip` by a name; its own smallest one has 90 million values."""
    import timm

    create, names = timm.create_model, timm.list_models

    def create_model(name: str, **options: Any) -> Any:
        return create(BACKBONE, **{**options, **_TOY_NUMBERS}) if name == TOY else create(name, **options)

    def list_models(pattern: str = "", **options: Any) -> list[str]:
        return [*names(pattern, **options), *([TOY] if pattern in ("", "vit_*_patch16_siglip_32") else [])]

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(timm, "list_models", list_models)
