"""Configs of open_clip and transformers, read as data: which keys count, how large a number may be.

Three kinds of keys. Those that change what a model computes are fields below, or are refused where we
cannot do what they ask for. Those that only training, generation or book-keeping read are passed over;
they are listed. Any other key is refused: it may belong to a release that computes something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config import Config, parse_config
from ..errors import ConfigError, nearest
from ..files import read_json

_Width = Annotated[int, Field(ge=1, le=16_384)]
_Depth = Annotated[int, Field(ge=1, le=256)]
_Side = Annotated[int, Field(ge=1, le=4096)]
_Ratio = Annotated[float, Field(gt=0, le=64)]
_Some = Annotated[int, Field(ge=1, le=4096)]
_Plain = dict[Annotated[str, Field(max_length=64)], float | bool | str | None]

_CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_code")
"""Keys that name code; a config with one of them does not load anywhere in it."""


class _Blocks(Config):
    """What both towers of open_clip say of their layers."""

    mlp_ratio: _Ratio = 4.0
    ls_init_value: float | None = None
    final_ln_after_pool: bool = False
    act_kwargs: _Plain | None = None
    norm_kwargs: _Plain | None = None
    block_type: Literal["default", "custom"] | None = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


class VisionConfig(_Blocks):
    """``vision_cfg`` of open_clip, with its defaults."""

    layers: _Depth | Annotated[list[_Depth], Field(min_length=4, max_length=4)] = 12
    width: _Width = 768
    head_width: _Width = 64
    patch_size: _Side | None = 16
    image_size: _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)] = 224
    attentional_pool: bool | Literal["parallel", "cascade"] = False
    attn_pooler_queries: _Some = 256
    attn_pooler_heads: _Some = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    pool_type: Literal["tok", "avg"] = "tok"
    timm_model_name: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$", max_length=96)] | None = None
    timm_pool: Literal["", "avg", "max", "avgmax", "token", "map", "abs_attn", "rot_attn"] | None = "avg"
    timm_proj: Literal["", "none", "linear", "mlp"] | None = "linear"
    timm_proj_bias: bool = False

    @property
    def side(self) -> int:
        """Pixels of a side of the picture.

        Raises:
            ConfigError: pictures are no squares.
        """
        return square(self.image_size, "vision_cfg.image_size")


class TextConfig(_Blocks):
    """``text_cfg`` of open_clip, with its defaults."""

    context_length: Annotated[int, Field(ge=1, le=8192)] = 77
    vocab_size: Annotated[int, Field(ge=1, le=2_000_000)] = 49_408
    hf_tokenizer_name: str | None = None
    tokenizer_mode: str | None = None
    tokenizer_kwargs: _Plain | None = None
    width: _Width = 512
    heads: _Some = 8
    layers: _Depth = 12
    embed_cls: bool = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: bool = False
    pool_type: Literal["argmax", "eos", "last", "first"] = "argmax"
    proj_bias: bool = False
    proj_type: Literal["linear", "none"] | None = "linear"
    hf_model_name: str | None = None
    hf_proj_type: str | None = "mlp"
    hf_pooler_type: str | None = "mean_pooler"


class OpenClipConfig(Config):
    """``model_cfg`` of open_clip."""

    embed_dim: _Width
    vision_cfg: VisionConfig
    text_cfg: TextConfig
    quick_gelu: bool = False
    init_logit_bias: float | None = None
    generates: bool = False
    """Whether a decoder that writes captions (CoCa) lies beside the towers; it is left out."""


_OPEN_CLIP_PASSED = {
    "": (
        "custom_text", "init_logit_scale", "nonscalar_logit_scale", "cast_dtype", "output_dict",
        "multimodal_cfg",
    ),
    "vision_cfg": (
        "patch_dropout", "output_tokens", "timm_model_pretrained", "timm_drop", "timm_drop_path",
        "input_patchnorm", "global_average_pool",
    ),
    "text_cfg": ("output_tokens", "hf_model_pretrained", "hf_tokenizer_pretrained"),
}  # fmt: skip
"""Read in training, or said again by the tensors themselves."""
_OFF = ("input_patchnorm", "global_average_pool")
"""Of early releases: passed over while they are off, refused when on."""


def read_open_clip(path: Path) -> tuple[OpenClipConfig, Mapping[str, Any]]:
    """Return (``model_cfg``, ``preprocess_cfg``) of ``open_clip_config.json``.

    Raises:
        ConfigError: not such a file, a number over its limit, or a key that asks for what we cannot do.
    """
    raw = _mapping(read_json(path), path.name)
    refuse_code(raw, path.name)
    model = _mapping(raw.get("model_cfg", raw), f"{path.name}: model_cfg")
    parts = {"": dict(model)}
    for part in ("vision_cfg", "text_cfg"):
        parts[part] = dict(_mapping(model.get(part), f"{path.name}: {part}"))
    for part, content in parts.items():
        for key in _OPEN_CLIP_PASSED[part]:
            if key in _OFF and content.get(key):
                raise ConfigError(f"{path.name}: {part}.{key} is not supported. Use another checkpoint.")
            content.pop(key, None)
    settings = parts[""] | {name: parts[name] for name in ("vision_cfg", "text_cfg")}
    settings["generates"] = "multimodal_cfg" in model
    found = parse_config(OpenClipConfig, settings, source=f"{path.name}: model_cfg")
    return found, _mapping(raw.get("preprocess_cfg") or {}, f"{path.name}: preprocess_cfg")


_GENERAL = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
        "_commit_hash", "_from_auto", "_name_or_path", "add_cross_attention", "architectures",
        "attention_dropout", "attn_implementation", "bad_words_ids", "begin_suppress_tokens",
        "bos_token_id", "chunk_size_feed_forward", "classifier_dropout",
        "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
        "dropout", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id",
        "forced_eos_token_id", "gradient_checkpointing", "id2label", "initializer_factor",
        "initializer_range", "is_decoder", "is_encoder_decoder", "label2id", "length_penalty",
        "logit_scale_init_value", "max_length", "min_length", "model_type", "no_repeat_ngram_size",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions",
        "output_hidden_states", "output_past", "output_scores", "pad_token_id", "prefix",
        "problem_type", "remove_invalid_values", "repetition_penalty", "return_dict",
        "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
        "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings",
        "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version",
        "typical_p", "use_bfloat16", "use_cache", "xla_device",
    }
)  # fmt: skip
"""Keys of any config of transformers that no tower of a CLIP or SigLIP reads when it answers."""


def read_transformers(path: Path) -> Mapping[str, Any]:
    """Return ``config.json`` of transformers, unchecked but for keys that name code.

    Raises:
        ConfigError: no mapping, or a key that names code.
    """
    raw = _mapping(read_json(path), path.name)
    refuse_code(raw, path.name)
    return raw


def part_of(raw: Mapping[str, Any], part: str, known: type[Config], source: str) -> Config:
    """Return one tower's settings, ``text_config`` or ``vision_config``, as ``known``.

    ``text_config_dict`` of early releases replaces ``text_config``, as transformers has it.

    Raises:
        ConfigError: a number over its limit, or a key that asks for what we cannot do.
    """
    older = raw.get(f"{part}_dict")
    content = _mapping(older if older is not None else raw.get(part) or {}, f"{source}: {part}")
    return settings_of(content, known, f"{source}: {part}")


def settings_of(content: Mapping[str, Any], known: type[Config], source: str) -> Config:
    """Return the fields of ``known``; keys that matter to no answer are passed over, others refused."""
    if content.get("pruned_heads"):
        raise ConfigError(f"{source}: pruned_heads is not supported. Use the model before pruning.")
    kept = {
        key: value
        for key, value in content.items()
        if key in known.model_fields or (key not in _GENERAL and key != "pruned_heads" and value is not None)
    }
    return parse_config(known, kept, source=source)


def refuse_code(raw: Any, source: str) -> None:
    """Raise ``ConfigError`` where a config names code, at whatever depth."""
    for key in _keys(raw):
        if key in _CODE:
            raise ConfigError(
                f"{source}: {key!r} names code of the repository, which is never run. Use a checkpoint of a "
                "class that open_clip or transformers itself has."
            )


def _keys(raw: Any, depth: int = 0) -> Iterator[str]:
    if depth > 64:
        raise ConfigError("The config is nested more than 64 levels deep. It is no config of a model.")
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield str(key)
            yield from _keys(value, depth + 1)
    elif isinstance(raw, list):
        for value in raw:
            yield from _keys(value, depth + 1)


def _mapping(value: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{source} holds {type(value).__name__}, not settings.")
    return value


def square(size: int | list[int], where: str) -> int:
    """Return the side of a square.

    Raises:
        ConfigError: height and width differ.
    """
    sides = size if isinstance(size, list) else [size]
    if len(set(sides)) > 1:
        raise ConfigError(f"{where} is {sides}; only square pictures are supported.")
    return sides[0]


def choice(value: Any, known: Mapping[Any, str], where: str) -> str:
    """Return our word for a value.

    Raises:
        ConfigError: another value; the known ones are named.
    """
    if isinstance(value, (list, dict)) or value not in known:
        words = ", ".join(repr(word) for word in known)
        hint = (
            nearest(value, [word for word in known if isinstance(word, str)])
            if isinstance(value, str)
            else ""
        )
        raise ConfigError(f"{where} is {value!r}; supported are {words}.{hint}")
    return known[value]


def close(value: float, wanted: float) -> bool:
    """Return whether two settings are the same number, written differently perhaps."""
    return math.isclose(value, wanted, rel_tol=1e-6)
