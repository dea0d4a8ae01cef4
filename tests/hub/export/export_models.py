"""Models of a few kilobytes with random weights, one for every architecture that has towers."""

from __future__ import annotations

from typing import Any

import torch
from verticlip.core.audio_config import AudioProcessing, MelProcessing
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet
from verticlip.hub.export.dispatch import Subject

WORDS = [
    "a",
    "an",
    "the",
    "of",
    "photo",
    "red",
    "house",
    "beside",
    "old",
    "river",
    "with",
    "two",
    "small",
    "boats",
    "and",
    "many",
    "trees",
    "in",
    "autumn",
    "cat",
    "dog",
    "sound",
    "tone",
    "low",
    "high",
    "image",
    "X",
    "ray",
    "picture",
    "person",
    "real",
    "attack",
    "face",
    "live",
]
CONTEXT, SIZE, DIM = 12, 32, 16

VIT = {
    "backend": "vit",
    "image_size": SIZE,
    "patch_size": 8,
    "width": 32,
    "layers": 1,
    "heads": 4,
    "mlp_width": 64,
}
TEXT = {"width": 32, "layers": 1, "heads": 4, "mlp_width": 64, "vocab_size": 64}
CLIP_TEXT = {"backend": "clip_text", "context_length": CONTEXT, **TEXT}
BERT = {"backend": "bert", "max_positions": 24, **TEXT}
RESNET = {
    "backend": "timm", "architecture": "resnet10t",
    "options": {"channels": [8, 8, 16, 16], "stem_width": 8},
}  # fmt: skip
OPEN_VISION = {
    "backend": "open_clip", "kind": "vision", "output_dim": DIM,
    "options": {"image_size": SIZE, "patch_size": 8, "width": 32, "layers": 1, "head_width": 8},
}  # fmt: skip
OPEN_TEXT = {
    "backend": "open_clip", "kind": "text", "output_dim": DIM,
    "options": {"context_length": CONTEXT, "vocab_size": 64, "width": 32, "heads": 4, "layers": 1},
}  # fmt: skip
HF = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
HF_TEXT = {**HF, "vocab_size": 64, "max_position_embeddings": 24}


def tokenizer_json() -> str:
    """Return a tokenizer with one id per word; the end has the highest id, as CLIP's has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[START]", *WORDS])}
    vocabulary["[END]"] = 63
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[START] $A [END]", special_tokens=[("[START]", 2), ("[END]", 63)]
    )
    return tokenizer.to_str()


def audio_processing(**changes: Any) -> AudioProcessing:
    """Return settings of half a second at 8 kHz: 51 frames of 16 mels."""
    mel = MelProcessing(n_fft=256, hop_length=80, n_mels=changes.pop("n_mels", 16), win_length=200)
    return AudioProcessing(sampling_rate=8000, window_s=changes.pop("window_s", 0.5), mel=mel, **changes)


def processor(image: Any = None, text: Any = None, audio: AudioProcessing | None = None) -> Processor:
    """Return a processor of 32 x 32 pictures, texts of 12 words and short recordings."""
    image = ImageProcessing(size=SIZE, **(image or {}))
    text = TextProcessing(context_length=CONTEXT, **(text or {}))
    return Processor(ProcessorConfig(image=image, text=text, audio=audio), tokenizer_json())


def subject(towers: dict[str, Any], processing: Processor | None = None, **config: Any) -> Subject:
    """Return a random model of these towers, large enough weights to tell inputs apart."""
    raw = {"name": "test/small", "embed_dim": DIM, "licence": "MIT", "towers": towers, **config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(ModelConfig.model_validate(raw))
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
    prompts = PromptSet(name="pets", classes={"cat": ("cat",), "dog": ("dog", "small dog")})
    return Subject(
        network.eval(), processing or processor(audio=audio_processing()), prompts, "test/small", "0" * 40
    )


def linear(tower: dict[str, Any]) -> dict[str, Any]:
    """Return a tower with a projection to the joint space."""
    return {**tower, "projection": "linear"}


def out(tower: dict[str, Any]) -> dict[str, Any]:
    """Return a tower of ours that ends in the joint space."""
    return {**tower, "output_dim": DIM}


def clap(*, fusion: bool) -> Subject:
    """Return a small CLAP."""
    audio = {
        "patch_embeds_hidden_size": 8, "depths": [1], "num_attention_heads": [2], "spec_size": 128,
        "num_mel_bins": 64, "window_size": 4, "hidden_size": 8, "enable_fusion": fusion, "projection_dim": DIM,
    }  # fmt: skip
    towers = {
        "audio": {"backend": "transformers", "model_type": "clap_audio_model", "pooling": "pooler"}
        | {"options": audio, "projection": "mlp"},
        "text": {"backend": "transformers", "model_type": "roberta", "pooling": "pooler"}
        | {"options": {**HF_TEXT, "pad_token_id": 0}, "projection": "mlp"},
    }
    sound = audio_processing(n_mels=64, window_s=2.0)
    return subject(towers, processor(audio=sound), domain="audio", architecture="clap")


SIGLIP = {
    "image": {
        "backend": "timm", "architecture": "vit_tiny_patch16_224", "projection": "linear",
        "options": {"img_size": SIZE, "global_pool": "map", "class_token": False, "depth": 1},
    },
    "text": {
        "backend": "open_clip", "kind": "text", "output_dim": DIM,
        "options": {
            **OPEN_TEXT["options"], "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    },
}  # fmt: skip
COCA = {
    "towers": {
        "image": {**OPEN_VISION, "options": {
            **OPEN_VISION["options"], "attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2,
            "output_tokens": True,
        }},
        "text": {**OPEN_TEXT, "options": {**OPEN_TEXT["options"], "width": DIM, "embed_cls": True, "output_tokens": True}},
    },
    "domain": "urban", "architecture": "coca",
    "options": {
        "tile_px": SIZE, "pad_to_context": True, "start_id": 2, "end_id": 63,
        "decoder": {"width": DIM, "heads": 4, "layers": 1, "context_length": CONTEXT},
    },
}  # fmt: skip
BIOVIL = {
    "towers": {
        "image": {"backend": "timm", "architecture": "resnet50", "projection": "mlp", "projection_hidden": 16}
        | {"options": {"layers": [1, 1, 1, 1], "channels": [4, 8, 16, 32]}},
        "text": {**BERT, "projection": "mlp", "projection_hidden": 16},
    },
    "domain": "medical", "architecture": "biovil",
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "vit and clip_text": {"towers": {"image": out(VIT), "text": out(CLIP_TEXT)}},
    "timm and bert": {"towers": {"image": linear(RESNET), "text": linear({**BERT, "pooling": "mean"})}},
    "bert of its first token": {"towers": {"text": linear(BERT)}},
    "open_clip": {"towers": {"image": OPEN_VISION, "text": OPEN_TEXT}, "padding": "context"},
    "open_clip resnet": {"towers": {"image": {**OPEN_VISION, "options": {
        "image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}}}, "size": 64},
    "clip of transformers": {"towers": {
        "image": linear({"backend": "transformers", "model_type": "clip_vision_model", "pooling": "pooler"})
        | {"options": {**HF, "image_size": SIZE, "patch_size": 8}},
        "text": linear({"backend": "transformers", "model_type": "clip_text_model", "pooling": "pooler"})
        | {"options": {**HF_TEXT, "eos_token_id": 63}},
    }},
    "siglip of transformers": {"padding": "context", "towers": {
        "image": linear({"backend": "transformers", "model_type": "siglip_vision_model", "pooling": "pooler"})
        | {"options": {**HF, "image_size": SIZE, "patch_size": 8}},
        "text": linear({"backend": "transformers", "model_type": "siglip_text_model", "pooling": "pooler"})
        | {"options": {**HF_TEXT, "max_position_embeddings": CONTEXT, "projection_size": 32}},
    }, "logit_bias": -10.0},
    "bert of transformers": {"towers": {"text": linear(
        {"backend": "transformers", "model_type": "bert", "pooling": "mean", "options": HF_TEXT})}},
    "siglip of open_clip": {"towers": SIGLIP, "padding": "context", "logit_bias": -10.0},
    "coca": COCA,
    "biovil": BIOVIL,
    "biovil-t": {**BIOVIL, "options": {"temporal": {"dim": 16, "grid": [1, 1], "heads": 2, "blocks": 2, "mlp_width": 16}}},
    "fused_product": {"towers": {"image": out(VIT), "text": out(CLIP_TEXT)},
        "domain": "ecommerce", "architecture": "fused_product"},
    "unified_product": {"towers": {"image": VIT | {"output_dim": DIM}, "text": linear(BERT)},
        "domain": "ecommerce", "architecture": "unified_product",
        "options": {"width": 16, "layers": 1, "heads": 2}},
}  # fmt: skip


def case(name: str) -> Subject:
    """Return the model of :data:`CASES`."""
    settings = dict(CASES[name])
    padding = settings.pop("padding", "longest")
    image = {"size": settings.pop("size", SIZE)}
    config = ProcessorConfig(
        image=ImageProcessing(**image), text=TextProcessing(context_length=CONTEXT, padding=padding)
    )
    return subject(settings.pop("towers"), Processor(config, tokenizer_json()), **settings)


def separator() -> Subject:
    """Return a small CLIPSep that takes query vectors."""
    spectra = {
        "n_fft": 128,
        "hop_length": 32,
        "win_length": 128,
        "rows": 32,
        "epsilon": 1e-3,
        "level": "window",
    }
    options = {
        "kind": "late", "layers": 5, "channels": 4, "ngf": 2, "query_dim": 8, "normalize_queries": True,
        "sampling_rate": 4000, "frames": 32, "spectra": spectra,
    }  # fmt: skip
    empty = Processor(ProcessorConfig())
    return subject({}, empty, domain="audio", architecture="clipsep", embed_dim=0, options=options)


def vocoder() -> Subject:
    """Return a small BigVGAN: 4 samples a frame."""
    from verticlip.domains.audio.clipsonic.bigvgan import vocoder_mel

    sizes = {"n_mels": 8, "channels": 8, "rates": (4,), "kernels": (8,), "block_kernels": (3,)}
    mel = vocoder_mel(8, n_fft=64, hop_length=4, win_length=64).model_dump(mode="json")
    options = {"sampling_rate": 8000, "mel": mel, "generator": {**sizes, "block_dilations": ((1,),)}}
    empty = Processor(ProcessorConfig())
    return subject({}, empty, domain="audio", architecture="bigvgan", embed_dim=0, options=options)


def liveness(architecture: str) -> Subject:
    """Return a small liveness model of the binary taxonomy."""
    from verticlip.domains.liveness.models.base import liveness_options

    towers = {"image": out(VIT), "text": linear({**BERT, "max_positions": 64, "vocab_size": 64})}
    config = ProcessorConfig(
        image=ImageProcessing(size=SIZE, resize="squash"), text=TextProcessing(context_length=40)
    )
    options = liveness_options("binary")
    made = Processor(config, tokenizer_json())
    return subject(towers, made, domain="liveness", architecture=architecture, options=options)
