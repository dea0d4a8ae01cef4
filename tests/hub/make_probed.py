"""A model of a few kilobytes for every architecture of every room, with weights that tell inputs apart."""

from __future__ import annotations

from typing import Any

import torch
from verticlip.core.audio_config import AudioProcessing, MelProcessing
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import ContrastiveModel, build_model
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet

_TEXT = """
a photo two red chairs beside window seen from above low noise without any speech cat dog live attack print screen
mask person real of the image
"""
WORDS = _TEXT.split()
CONTEXT, SIZE, DIM, RATE = 16, 32, 16, 8000

TEXT = {"width": 16, "layers": 2, "heads": 2, "mlp_width": 32, "vocab_size": 64}
BERT = {"backend": "bert", "max_positions": 24, **TEXT}
CLIP_TEXT = {"backend": "clip_text", "context_length": CONTEXT, "output_dim": DIM, **TEXT}
VIT = {
    "backend": "vit", "image_size": SIZE, "patch_size": 8, "width": 16, "layers": 2, "heads": 2, "mlp_width": 32,
}  # fmt: skip
CLIP = {"image": {**VIT, "output_dim": DIM}, "text": CLIP_TEXT}
RESNET = {
    "backend": "timm", "architecture": "resnet18d", "projection": "linear",
    "options": {"in_chans": 1, "channels": [4, 8, 8, 16], "stem_width": 4},
}  # fmt: skip
SOUND = {"audio": RESNET, "text": {**BERT, "projection": "linear", "pooling": "mean"}}
MLP = {"projection": "mlp", "projection_hidden": 16}
BIOVIL = {
    "image": {
        "backend": "timm", "architecture": "resnet50", "options": {"layers": [1] * 4, "channels": [4, 8, 16, 32]}, **MLP,
    },
    "text": {**BERT, **MLP},
}  # fmt: skip
OPEN_VISION = {
    "image_size": SIZE, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8, "attentional_pool": True,
    "attn_pooler_queries": 3, "attn_pooler_heads": 2, "output_tokens": True,
}  # fmt: skip
OPEN_TEXT = {
    "context_length": CONTEXT, "vocab_size": 64, "width": DIM, "heads": 2, "layers": 1, "embed_cls": True,
    "output_tokens": True,
}  # fmt: skip
COCA = {
    "image": {"backend": "open_clip", "kind": "vision", "output_dim": DIM, "options": OPEN_VISION},
    "text": {"backend": "open_clip", "kind": "text", "output_dim": DIM, "options": OPEN_TEXT},
}
HF_TEXT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 24, "pad_token_id": 0,
}  # fmt: skip
HTSAT = {
    "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "spec_size": 64,
    "num_mel_bins": 32, "window_size": 4, "hidden_size": 16, "enable_fusion": True, "projection_dim": DIM,
}  # fmt: skip
HF = {"backend": "transformers", "pooling": "pooler", "projection": "mlp"}
CLAP = {
    "audio": {**HF, "model_type": "clap_audio_model", "options": HTSAT},
    "text": {**HF, "model_type": "roberta", "options": HF_TEXT},
}
SEPARATOR = {
    "kind": "nit", "layers": 5, "channels": 4, "ngf": 2, "query_dim": DIM, "sampling_rate": 4000, "frames": 32,
    "spectra": {"n_fft": 128, "hop_length": 32, "win_length": 128, "rows": 32, "epsilon": 1e-3, "level": "window"},
}  # fmt: skip
VOCODER_MEL = {
    "n_fft": 256, "hop_length": 16, "n_mels": 16, "power": 1, "padding": "half_reflect", "magnitude_offset": 1e-9,
    "log": "ln", "floor": 1e-5,
}  # fmt: skip
GENERATOR = {"n_mels": 16, "channels": 8, "rates": [4, 4], "kernels": [8, 8]}
SONIC = {
    "target": {"sampling_rate": RATE, "frames": 32, "high": 2.0, "mel": VOCODER_MEL},
    "denoiser": {
        "channels": [8, 16], "attention": [False, True], "layers": 1, "head_width": 8, "groups": 4, "patch": 2,
    },
    "condition": {"modality": "audio"},
    "vocoder": {"kind": "bigvgan", "generator": GENERATOR},
}  # fmt: skip
PRIOR = {
    "timesteps": 20,
    "network": {
        "dim": 16, "depth": 1, "heads": 2, "head_dim": 8, "mlp_width": 32, "text_length": 8, "time_steps": 20,
        "text_tokens": 2, "self_conditioning": True,
    },
}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "contrastive": {"towers": CLIP, "logit_bias": -10.0},
    "biovil": {
        "domain": "medical", "towers": BIOVIL, "options": {
            "temporal": {"dim": 16, "grid": [1, 1], "heads": 2, "blocks": 1, "mlp_width": 16},
            "classifier": {"classes": 3, "tasks": 2},
        },
    },
    "biovil language": {
        "domain": "medical", "architecture": "biovil", "towers": {"text": {**BERT, "projection": "none"}},
        "options": {"joint_space": False},
    },
    "conceptclip": {
        "domain": "medical", "logit_bias": -10.0, "towers": {
            "image": {
                "backend": "timm", "architecture": "vit_tiny_patch16_224", "projection": "linear",
                "options": {"img_size": SIZE, "depth": 1},
            },
            "text": {**BERT, "projection": "linear"},
        },
    },
    "clap": {"domain": "audio", "towers": CLAP},
    "clipsep": {"domain": "audio", "towers": SOUND, "options": SEPARATOR},
    "clipsep of vectors": {
        "domain": "audio", "architecture": "clipsep", "towers": {}, "embed_dim": 0,
        "options": {**SEPARATOR, "kind": "label", "n_labels": 4},
    },
    "clipsonic": {"domain": "audio", "towers": SOUND, "options": SONIC},
    "bigvgan": {
        "domain": "audio", "towers": {}, "embed_dim": 0,
        "options": {"sampling_rate": RATE, "mel": VOCODER_MEL, "generator": GENERATOR},
    },
    "diffusion_prior": {"domain": "audio", "towers": {}, "embed_dim": 0, "options": PRIOR},
    "coca": {
        "domain": "urban", "towers": COCA, "options": {
            "tile_px": SIZE, "start_id": 2, "end_id": 63,
            "decoder": {"width": DIM, "heads": 2, "layers": 1, "context_length": CONTEXT},
        },
    },
    "unified_product": {
        "domain": "ecommerce", "options": {"width": 16, "layers": 1, "heads": 2},
        "towers": {"image": VIT, "text": {**BERT, "projection": "none"}},
    },
    "fused_product": {"domain": "ecommerce", "towers": CLIP},
    "categories": {"domain": "liveness", "towers": CLIP},
    "flip_mcl": {"domain": "liveness", "towers": CLIP, "options": {"ssl_width": 16, "ssl_dim": 8}},
    "flip_v": {
        "domain": "liveness", "towers": {"image": {**VIT, "projection": "linear", "projection_bias": True}},
    },
    "minifasnet": {
        "domain": "liveness", "towers": {}, "embed_dim": 0, "options": {
            "networks": [
                {"architecture": "MiniFASNetV2SE", "height": 48, "width": 48, "embedding": 16, "classes": 2, "fourier": True},
            ],
        },
    },
}  # fmt: skip
"""By name, whose first word is the architecture."""


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


def processor(config: ModelConfig) -> Processor:
    """Return what prepares the modalities of a model."""
    sound = None
    if "audio" in config.towers:
        mel = MelProcessing(n_fft=256, hop_length=80, n_mels=32, win_length=200)
        sound = AudioProcessing(sampling_rate=RATE, window_s=0.6, mel=mel)
    sees = "image" in config.towers or config.architecture == "minifasnet"
    padding = "context" if config.architecture == "coca" else "longest"
    text = (
        TextProcessing(context_length=CONTEXT, padding=padding, overlong="truncate")
        if "text" in config.towers
        else None
    )
    parts = ProcessorConfig(image=ImageProcessing(size=SIZE) if sees else None, text=text, audio=sound)
    return Processor(parts, tokenizer_json() if text else None)


def model(name: str) -> tuple[ContrastiveModel, Processor, PromptSet | None]:
    """Return what loading returns for the model of :data:`CASES`."""
    settings = {
        "architecture": name.split()[0],
        "embed_dim": DIM,
        "name": f"test/{name.split()[0]}",
        **CASES[name],
    }
    if settings.get("domain") == "liveness":
        from verticlip.domains.liveness.faces.crop import CropConfig
        from verticlip.domains.liveness.models.base import liveness_options

        crops = [CropConfig(size=48)] if name == "minifasnet" else None
        settings["options"] = liveness_options("binary", crops, **settings.get("options", {}))
    config = ModelConfig.model_validate(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(config).eval()
        _stir(network)
        if name == "clipsonic":
            for modality in network.modalities:
                unit = torch.nn.functional.normalize(torch.randn(10, DIM) + 1, dim=-1)
                network.bridge.measure(modality, unit)  # pyright: ignore
    return network, processor(config), None


def _stir(network: torch.nn.Module) -> None:
    """Fill weights and statistics with numbers of no fresh network."""
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if not tensor.is_floating_point() or tensor.ndim == 0 or "mask" in name or name.endswith("index"):
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.7, 1.3)
            elif tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn(tensor.shape))
            elif torch.isfinite(tensor).all():
                fan = tensor[0].numel()
                tensor.normal_(std=(1.0 / fan) ** 0.5 if "embed" not in name else 0.3)
