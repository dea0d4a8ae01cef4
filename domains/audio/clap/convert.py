"""CLAP checkpoints of transformers to our own model folder.

Reference: transformers, ``ClapModel`` and ``ClapFeatureExtractor``: the names of their tensors and settings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from ....core.audio_config import AudioProcessing
from ....core.config import LN_100, Config, ModelConfig, ProcessorConfig, TextProcessing, parse_config
from ....core.conversion import (
    Converted,
    build_empty,
    check_vocabulary,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, InputError, WeightsError
from ....core.files import read_json

SYSTEM = "CLAP"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

NAMES = {
    "audio_model.": "towers.audio.model.",
    "text_model.": "towers.text.model.",
    "audio_projection.": "projections.audio.",
    "text_projection.": "projections.text.",
    "logit_scale_a": "logit_scale",
    "logit_scale_t": "logit_scale_text",
}
_LEFT_OUT = ("text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids")
_PROMPTS = Path(__file__).parent.parent / "prompts"
_WORDS = "text_model.embeddings.word_embeddings.weight"
# Settings of the towers that change what they compute; everything else in config.json is left out.
_AUDIO = (
    "window_size",
    "num_mel_bins",
    "spec_size",
    "hidden_act",
    "patch_size",
    "patch_stride",
    "hidden_size",
    "depths",
    "num_attention_heads",
    "enable_fusion",
    "fusion_type",
    "patch_embed_input_channels",
    "flatten_patch_embeds",
    "patch_embeds_hidden_size",
    "enable_patch_layer_norm",
    "qkv_bias",
    "mlp_ratio",
    "aff_block_r",
    "layer_norm_eps",
)
_TEXT = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)
_TEXT_DEFAULTS = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
"""Of ``ClapTextConfig``, where they differ from RoBERTa's."""


class ConversionOptions(Config):
    """What the files do not say themselves."""

    overlong: Literal["error", "truncate"] = "error"
    hop_s: float | None = Field(default=None, gt=0)
    """From one window of a longer recording to the next; None is the window itself."""
    licence: str = "Apache-2.0"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CLAP model as config, processor, tokenizer and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights`` (``model.safetensors`` or ``pytorch_model.bin``), ``config`` (``config.json``),
            ``preprocessor`` (``preprocessor_config.json``) and ``tokenizer`` (``tokenizer.json``), or
            instead of the last ``vocab`` and ``merges`` (``vocab.json``, ``merges.txt``).
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: a file is not given, or asks for what this architecture does not do.
        WeightsError: another system's checkpoint, missing or unexpected tensors, another tokenizer.

    Example:
        >>> names = ("pytorch_model.bin", "config.json", "preprocessor_config.json", "tokenizer.json")
        >>> files = dict(zip(("weights", "config", "preprocessor", "tokenizer"), map(Path, names)))
        >>> convert("audio/clap-htsat-unfused", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    for role in ("weights", "config", "preprocessor"):
        if role not in files:
            raise ConfigError(f"{name}: the converter needs a {role!r} file; it got {', '.join(files)}.")
    source = Path(files["weights"]).name
    state = read_checkpoint(files["weights"])
    raw, prepares = (_mapping(files[role]) for role in ("config", "preprocessor"))
    if _WORDS not in state or "audio_projection.linear1.weight" not in state:
        raise WeightsError(
            f"{source} is not a {SYSTEM} model with both towers. Use the repository's own file."
        )
    tokenizer = _tokenizer(name, files)
    check_vocabulary(tokenizer, len(state[_WORDS]), name="the tokenizer", source=source)
    config = _config(name, raw, state, settings, source)
    wanted = set(build_empty(config).state_dict())
    renamed, report = rename_state(state, _rename, wanted, _part)
    refuse_incomplete(report, source=source, system=SYSTEM)
    processor = _processor(name, prepares, config, settings)
    prompts = (_PROMPTS / f"{config.prompts}.yaml").read_text(encoding="utf-8")
    return Converted(config, processor, tokenizer, renamed, report, prompts)


def _mapping(path: Path) -> Mapping[str, Any]:
    raw = read_json(path)
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{Path(path).name} holds {type(raw).__name__}, not settings.")
    return raw


def _tokenizer(name: str, files: Mapping[str, Path]) -> str:
    if "tokenizer" in files:
        try:
            return Path(files["tokenizer"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            file = Path(files["tokenizer"]).name
            raise InputError(f"{file}: not a tokenizer file ({type(error).__name__}).") from error
    if "vocab" in files and "merges" in files:
        return byte_level_tokenizer(files["vocab"], files["merges"])
    raise ConfigError(f"{name}: the converter needs a 'tokenizer' file, or 'vocab' and 'merges'.")


def byte_level_tokenizer(vocab: str | Path, merges: str | Path) -> str:
    """Return ``tokenizer.json`` that splits text as RoBERTa's own tokenizer does with these files.

    Raises:
        InputError: the files are not a byte-level vocabulary with ``<s>`` and ``</s>``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    try:
        words = json.loads(Path(vocab).read_text(encoding="utf-8"))
        tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
        end, start = (("</s>", int(words["</s>"])), ("<s>", int(words["<s>"])))
    except Exception as error:  # tokenizers raises plain Exception for malformed files
        raise InputError(
            f"{Path(vocab).name} and {Path(merges).name}: not the vocabulary of a RoBERTa "
            f"({type(error).__name__}: {str(error)[:80]})."
        ) from None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(end, start, add_prefix_space=False)
    specials = [token for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>") if token in words]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer.to_str()


def _config(
    name: str, raw: Mapping[str, Any], state: Mapping[str, Tensor], settings: ConversionOptions, source: str
) -> ModelConfig:
    if raw.get("model_type") != "clap":
        raise ConfigError(
            f"{name}: config.json describes a model of type {raw.get('model_type')!r}, not a 'clap'."
        )
    # Newer files state only what differs from the defaults of transformers.
    audio, text = raw.get("audio_config") or {}, raw.get("text_config") or {}
    for where, part in (("", raw), ("audio_config.", audio), ("text_config.", text)):
        if part.get("projection_hidden_act", "relu") != "relu":
            raise ConfigError(
                f"{name}: {where}projection_hidden_act {part['projection_hidden_act']!r} is not supported; "
                "published models have 'relu'."
            )
    scale = float(state["logit_scale_a"]) if "logit_scale_a" in state else math.log(1 / 0.07)
    shared = {"backend": "transformers", "pooling": "pooler", "projection": "mlp", "projection_bias": True}
    return ModelConfig.model_validate(
        {
            "name": name,
            "domain": "audio",
            "architecture": "clap",
            "embed_dim": dimension(state, "audio_projection.linear2.weight", 0, source=source),
            "towers": {
                "audio": {**shared, "model_type": "clap_audio_model", "options": _known(audio, _AUDIO)},
                "text": {
                    **shared,
                    "model_type": "roberta",
                    "options": {**_TEXT_DEFAULTS, **_known(text, _TEXT)},
                },
            },
            "logit_scale": min(max(scale, 0.0), LN_100),
            "prompts": "esc-50",
            "licence": settings.licence,
            "description": settings.description,
        }
    )


def _known(raw: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: raw[key] for key in names if raw.get(key) is not None}


def _rename(name: str) -> tuple[str, str | None] | None:
    if name.startswith(_LEFT_OUT):
        return "text", None
    for start, ours in NAMES.items():
        if name.startswith(start):
            return _part(ours), ours + name.removeprefix(start)
    return None


def _part(name: str) -> str:
    return next((part for part in ("audio", "text") if f".{part}." in name), "scalars")


def _processor(
    name: str, raw: Mapping[str, Any], config: ModelConfig, settings: ConversionOptions
) -> ProcessorConfig:
    """Return our settings of ``preprocessor_config.json``.

    Longer recordings are seen window by window: the random crop of the reference would give a recording
    another embedding every time.
    """
    cuts, padding = raw.get("truncation", "fusion"), raw.get("padding", "repeatpad")
    if cuts not in ("fusion", "rand_trunc") or padding not in ("repeatpad", "pad"):
        raise ConfigError(
            f"{name}: preprocessor_config.json asks for truncation {cuts!r} and padding {padding!r}; "
            "supported are fusion or rand_trunc, and repeatpad or pad."
        )
    if raw.get("top_db") is not None:
        raise ConfigError(f"{name}: preprocessor_config.json asks for top_db, which no published model uses.")
    # The filters follow what the reference was trained with: torchaudio's for fusion, librosa's otherwise.
    filters = {"scale": "htk", "norm": "none"} if cuts == "fusion" else {"scale": "slaney", "norm": "slaney"}
    audio = {
        "sampling_rate": raw.get("sampling_rate", 48_000),
        "window_s": raw.get("max_length_s", 10),
        "hop_s": settings.hop_s,
        "padding": "repeat" if padding == "repeatpad" else "zeros",
        "mel": {
            "n_fft": raw.get("fft_window_size", 1024),
            "hop_length": raw.get("hop_length", 480),
            "n_mels": raw.get("feature_size", 64),
            "f_min": raw.get("frequency_min", 0),
            "f_max": raw.get("frequency_max", 14_000),
            **filters,
        },
    }
    text = config.towers["text"].model_dump()["options"]
    return ProcessorConfig(
        audio=parse_config(AudioProcessing, audio, source=f"{name}: preprocessor_config.json"),
        text=TextProcessing(
            # Positions count from the one after the padding token's.
            context_length=text["max_position_embeddings"] - text["pad_token_id"] - 1,
            pad_id=text["pad_token_id"],
            clean="none",
            allow_special=(),
            overlong=settings.overlong,
        ),
    )
