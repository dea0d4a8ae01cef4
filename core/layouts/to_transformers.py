"""Models in the words of transformers: config and parameter names of ``CLIPModel`` and ``SiglipModel``.

Reference: transformers 5.23, ``CLIPConfig`` and ``SiglipConfig``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..config import (
    BertTower,
    CausalTextTower,
    ModelConfig,
    OpenClipTower,
    TextProcessing,
    TimmTower,
    TowerConfig,
    VisionTransformerTower,
)
from .exported import Exported, NotExpressible, need_towers, room_layout
from .to_open_clip import on_meta

_LIBRARY = "transformers"
_CLIP_END = 49407
"""End-of-text token of OpenAI's vocabulary."""
_LEGACY_END = 2
"""An ``eos_token_id`` by which transformers pools at the highest token, as our text tower does."""
_IMAGE_BLOCKS, _TEXT_BLOCKS = "vision_model.encoder.layers.", "text_model.encoder.layers."

_CLIP_OUTSIDE = {
    "towers.image.class_embedding": "vision_model.embeddings.class_embedding",
    "towers.image.conv1.": "vision_model.embeddings.patch_embedding.",
    "towers.image.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "towers.image.ln_pre.": "vision_model.pre_layrnorm.",
    "towers.image.ln_post.": "vision_model.post_layernorm.",
    "towers.image.transformer.resblocks.": _IMAGE_BLOCKS,
    "towers.text.token_embedding.": "text_model.embeddings.token_embedding.",
    "towers.text.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "towers.text.ln_final.": "text_model.final_layer_norm.",
    "towers.text.transformer.resblocks.": _TEXT_BLOCKS,
    "projections.image.": "visual_projection.",
    "projections.text.": "text_projection.",
}
_SIGLIP_OUTSIDE = {
    "towers.image.model.patch_embed.proj.": "vision_model.embeddings.patch_embedding.",
    "towers.image.model.pos_embed": "vision_model.embeddings.position_embedding.weight",
    "towers.image.model.blocks.": _IMAGE_BLOCKS,
    "towers.image.model.norm.": "vision_model.post_layernorm.",
    "towers.image.model.attn_pool.latent": "vision_model.head.probe",
    "towers.image.model.attn_pool.proj.": "vision_model.head.attention.out_proj.",
    "towers.image.model.attn_pool.norm.": "vision_model.head.layernorm.",
    "towers.image.model.attn_pool.mlp.": "vision_model.head.mlp.",
    "towers.text.model.token_embedding.": "text_model.embeddings.token_embedding.",
    "towers.text.model.positional_embedding": "text_model.embeddings.position_embedding.weight",
    "towers.text.model.transformer.resblocks.": _TEXT_BLOCKS,
    "towers.text.model.ln_final.": "text_model.final_layer_norm.",
    "towers.text.model.text_projection.": "text_model.head.",
}
_CLIP_INSIDE = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}
_TIMM_INSIDE = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attn.proj.": ".self_attn.out_proj.",
}
"""{our name: name in transformers}, of what stands outside and inside of blocks."""
_MODEL, _TRUNK = "towers.image.model.", "towers.image.model.trunk."
_POOL = f"{_MODEL}attn_pool."


def transformers_layout(config: ModelConfig, text: TextProcessing | None = None) -> Exported:
    """Return a model as transformers describes it.

    Args:
        config: of the model.
        text: how texts become tokens; None is OpenAI's vocabulary.

    Raises:
        NotExpressible: transformers has no class for it.
    """
    own = room_layout(config, _LIBRARY)
    if own is not None:
        return own
    need_towers(config, "image", _LIBRARY)
    image, words = config.towers["image"], config.towers["text"]
    backbone = _backbone(image)
    if backbone is not None and isinstance(words, OpenClipTower):
        return Exported(_siglip_settings(config, backbone, words, text), _siglip_tensors)
    if isinstance(image, VisionTransformerTower) and isinstance(words, CausalTextTower):
        return Exported(_clip_settings(config, image, words, text), _clip_tensors)
    if isinstance(image, VisionTransformerTower) and isinstance(words, BertTower):
        raise NotExpressible(
            "VisionTextDualEncoderModel, which holds a Vision Transformer and a BERT, reads its "
            "pooler; this model's has none."
        )
    raise NotExpressible(
        f"its towers are {_called(image)} and {_called(words)}; transformers has a class for Vision "
        "Transformer and causal text transformer (CLIPModel) and for SigLIP (SiglipModel)."
    )


def _backbone(tower: TowerConfig) -> Any:
    """Return the image tower of a SigLIP without values, None for any other tower."""
    if isinstance(tower, TimmTower):
        name, options, projected = tower.architecture, tower.options, tower.projection != "none"
    elif isinstance(tower, OpenClipTower) and tower.options.get("timm_model_name"):
        name, options = str(tower.options["timm_model_name"]), {}
        projected = tower.options.get("timm_proj", "linear") != "none"
    else:
        return None
    if projected or not name.startswith("vit_"):
        return None
    network: Any = on_meta(name, options)
    plain = type(network).__name__ == "VisionTransformer" and isinstance(network.fc_norm, nn.Identity)
    return network if plain and network.global_pool == "map" and not network.num_prefix_tokens else None


def _called(tower: TowerConfig) -> str:
    if isinstance(tower, TimmTower):
        return f"timm's {tower.architecture}"
    if isinstance(tower, OpenClipTower):
        resnet = isinstance(tower.options.get("layers"), (list, tuple))
        return "the ResNet of CLIP" if resnet else f"a {tower.kind} tower of open_clip"
    if isinstance(tower, VisionTransformerTower):
        return "a Vision Transformer"
    return "a causal text transformer" if isinstance(tower, CausalTextTower) else tower.backend.upper()


def _clip_settings(
    config: ModelConfig, image: VisionTransformerTower, words: CausalTextTower, text: TextProcessing | None
) -> dict[str, Any]:
    if config.logit_bias is not None:
        raise NotExpressible("it adds a bias to its logits; a CLIPModel has none.")
    for name, tower in (("image", image), ("text", words)):
        once = (tower.output_dim is not None) == (tower.projection == "none")
        if tower.projection == "mlp" or tower.projection_bias or not once:
            raise NotExpressible(
                f"its {name} projection is not one matrix without a bias, as a CLIPModel's is."
            )
    if image.channels != 3:
        raise NotExpressible(f"its image tower takes {image.channels} channels; a CLIPProcessor makes 3.")
    openai = text is None or text.tokenizer == "open_clip_bpe"
    end = _CLIP_END if openai else _LEGACY_END
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "dtype": "float32",
        "projection_dim": config.embed_dim,
        "logit_scale_init_value": config.logit_scale,
        "vision_config": {
            "model_type": "clip_vision_model",
            **_sizes(image),
            "image_size": image.image_size,
            "patch_size": image.patch_size,
            "num_channels": 3,
            "projection_dim": config.embed_dim,
        },
        "text_config": {
            "model_type": "clip_text_model",
            **_sizes(words),
            "vocab_size": words.vocab_size,
            "max_position_embeddings": words.context_length,
            "projection_dim": config.embed_dim,
            "bos_token_id": _CLIP_END - 1 if openai else None,
            "eos_token_id": end,
            "pad_token_id": end if openai else (text.pad_id if text else 0),
        },
    }


def _sizes(tower: VisionTransformerTower | CausalTextTower) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": "quick_gelu" if tower.quick_gelu else "gelu",
        "layer_norm_eps": 1e-5,
    }


def _clip_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        # Bare matrices of open_clip are the other way round than the linear layers of transformers.
        if name == "towers.image.proj":
            found["visual_projection.weight"] = tensor.T
        elif name == "towers.text.text_projection":
            found["text_projection.weight"] = tensor.T
        elif ".attn.in_proj_" in name:
            _split(found, _renamed(name, _CLIP_OUTSIDE, {}), ".attn.in_proj_", tensor)
        else:
            found[_renamed(name, _CLIP_OUTSIDE, _CLIP_INSIDE)] = tensor
    return found


def _siglip_settings(
    config: ModelConfig, image: Any, words: OpenClipTower, processing: TextProcessing | None
) -> dict[str, Any]:
    text = dict(words.options)
    tanh = text.pop("act_kwargs", None) == {"approximate": "tanh"}
    fixed = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
    sizes = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
    other = [key for key, value in fixed.items() if text.pop(key, None) != value]
    other += [key for key in text if key not in sizes]
    if words.projection != "none" or words.quick_gelu:
        other.append("projection" if words.projection != "none" else "quick_gelu")
    if other:
        raise NotExpressible(f"the setting {other[0]!r} of its text tower is not that of a SiglipModel.")
    if config.logit_bias is None:
        raise NotExpressible("its logits have no bias; a SiglipModel's have.")
    width = int(_number(text, "width", 512))
    return {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "dtype": "float32",
        "vision_config": _siglip_image(image),
        "text_config": {
            "model_type": "siglip_text_model",
            "hidden_size": width,
            "intermediate_size": int(width * _number(text, "mlp_ratio", 4.0)),
            "num_hidden_layers": int(_number(text, "layers", 12)),
            "num_attention_heads": int(_number(text, "heads", 8)),
            "vocab_size": int(_number(text, "vocab_size", 49408)),
            "max_position_embeddings": int(_number(text, "context_length", 77)),
            "projection_size": words.output_dim,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": processing.pad_id if processing else 1,
            "hidden_act": _siglip_activation(tanh),
            "layer_norm_eps": 1e-6,
        },
    }


def _siglip_image(network: Any) -> dict[str, Any]:
    """Return ``vision_config`` of a backbone of timm."""
    block, patches = network.blocks[0], network.patch_embed
    if block.attn.num_heads != network.attn_pool.num_heads or patches.proj.bias is None:
        raise NotExpressible("its image tower pools with other heads than its blocks have.")
    activation = type(block.mlp.act).__name__
    if activation not in ("GELU", "GELUTanh"):
        raise NotExpressible(f"its image tower has the activation {activation}, not one of a SiglipModel.")
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": network.embed_dim,
        "intermediate_size": block.mlp.fc1.out_features,
        "num_hidden_layers": len(network.blocks),
        "num_attention_heads": block.attn.num_heads,
        "image_size": patches.img_size[0],
        "patch_size": patches.patch_size[0],
        "num_channels": patches.proj.in_channels,
        "hidden_act": _siglip_activation(activation == "GELUTanh"),
        "layer_norm_eps": network.norm.eps,
    }


def _siglip_activation(tanh: bool) -> str:
    return "gelu_pytorch_tanh" if tanh else "gelu"


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotExpressible(f"its setting {name!r} is {value!r}, not one number.")
    return value


def _siglip_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    # A backbone that open_clip holds has one more word in its names.
    state = {name.replace(_TRUNK, _MODEL): tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        if name in ("logit_scale", "logit_bias"):
            found[name] = tensor.reshape(1)
        elif name == "towers.image.model.pos_embed":
            found["vision_model.embeddings.position_embedding.weight"] = tensor[0]
        elif name.startswith(f"{_POOL}q."):
            kind = name.rpartition(".")[2]
            found[f"vision_model.head.attention.in_proj_{kind}"] = torch.cat(
                [tensor, state[f"{_POOL}kv.{kind}"]]
            )
        elif name.startswith(f"{_POOL}kv."):
            continue
        elif ".attn.qkv." in name:
            _split(found, _renamed(name, _SIGLIP_OUTSIDE, {}), ".attn.qkv.", tensor)
        elif ".attn.in_proj_" in name:
            _split(found, _renamed(name, _SIGLIP_OUTSIDE, {}), ".attn.in_proj_", tensor)
        else:
            inside = _TIMM_INSIDE if name.startswith("towers.image.") else _CLIP_INSIDE
            found[_renamed(name, _SIGLIP_OUTSIDE, inside)] = tensor
    return found


def _renamed(name: str, outside: Mapping[str, str], inside: Mapping[str, str]) -> str:
    for ours, theirs in outside.items():
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    if name.startswith((_IMAGE_BLOCKS, _TEXT_BLOCKS)):
        for ours, theirs in inside.items():
            name = name.replace(ours, theirs)
    return name


def _split(found: dict[str, Tensor], name: str, joint: str, tensor: Tensor) -> None:
    """Put query, key and value, which stand in one here, into ``found`` one by one."""
    block, kind = name.split(joint)
    for part, values in zip("qkv", tensor.chunk(3), strict=True):
        found[f"{block}.self_attn.{part}_proj.{kind}"] = values
