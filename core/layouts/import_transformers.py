"""Any ``CLIPModel`` or ``SiglipModel`` of transformers as a model, by the files beside its weights.

Reference: Radford et al. 2021, arXiv 2103.00020; Zhai et al. 2023, Sigmoid Loss for Language Image
Pre-Training, arXiv 2303.15343; transformers, ``CLIPConfig`` and ``SiglipConfig``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from ..clip_layout import clip_towers, read_clip
from ..config import LN_100, Config, ModelConfig, ProcessorConfig, TextProcessing
from ..conversion import Converted, build_empty, refuse_incomplete, rename_state
from ..errors import ConfigError, WeightsError
from ..files import read_json, write_text_atomic
from . import siglip
from .foreign_config import choice, close, part_of, read_transformers, square
from .pictures import transformers_pictures
from .vocabularies import Words, read_words

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_Width = Annotated[int, Field(ge=1, le=16_384)]
_Side = Annotated[int, Field(ge=1, le=4096)]
_Square = _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)]
_QUICK = {"quick_gelu": "quick", "gelu": "exact"}


class _Tower(Config):
    hidden_size: _Width = 768
    intermediate_size: Annotated[int, Field(ge=1, le=131_072)] = 3072
    num_hidden_layers: Annotated[int, Field(ge=1, le=256)] = 12
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    projection_dim: int | None = None
    num_channels: int = 3

    @property
    def head_width(self) -> int:
        """Values of an attention head."""
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"config.json: a width of {self.hidden_size} does not divide into {self.num_attention_heads} "
                "heads."
            )
        return self.hidden_size // self.num_attention_heads


class _Vision(_Tower):
    image_size: _Square = 224
    patch_size: _Square = 32
    vision_use_head: bool = True


class _Text(_Tower):
    hidden_size: _Width = 512
    intermediate_size: Annotated[int, Field(ge=1, le=131_072)] = 2048
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 8
    vocab_size: Annotated[int, Field(ge=1, le=2_000_000)] = 49_408
    max_position_embeddings: Annotated[int, Field(ge=1, le=8192)] = 77
    eos_token_id: int | None = 49_407
    pad_token_id: int | None = None
    projection_size: int | None = None


def convert_clip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a ``CLIPModel`` as config, processor, tokenizer and renamed tensors.

    Args:
        name: of the model, for messages.
        files: ``config`` (config.json), ``weights``, tokenizer files of :mod:`.vocabularies`, and
            ``preprocessor`` (preprocessor_config.json) or ``processor`` (processor_config.json).
        options: none are known.

    Raises:
        ConfigError: a setting that we cannot do, or no tokenizer.
        WeightsError: another system's file, missing or unexpected tensors, other sizes than stated.
    """
    _no_options(name, options)
    raw = read_transformers(files["config"])
    source = Path(files["weights"]).name
    image, text = _parts(raw, _Vision, _Text)
    acts = _activations(image, text)
    state = dict(read_clip(files["weights"]))
    if "vision_model.embeddings.class_embedding" not in state:
        raise WeightsError(
            f"{source} is no CLIPModel of transformers: it has no vision_model with a class token."
        )
    found = clip_towers(
        state,
        source=source,
        quick_gelu=acts["vision_config"] == "quick",
        image_head_width=image.head_width,
        text_head_width=text.head_width,
    )
    towers = {
        "image": {**found.towers["image"], "heads": image.num_attention_heads},
        "text": {**found.towers["text"], "heads": text.num_attention_heads,
                 "quick_gelu": acts["text_config"] == "quick"},
    }  # fmt: skip
    _agree(towers, image, text, source)
    tensors = dict(found.state)
    words = read_words(files, name=name)
    words.check(text.vocab_size, source=source)
    if not _ends_highest(text, words):
        towers["text"], tensors = _pooled_by_number(towers["text"], tensors, text)
    scale = tensors.get("logit_scale")
    config = ModelConfig.model_validate(
        {
            "name": "imported/model", "embed_dim": found.embed_dim, "towers": towers,
            **({} if scale is None else {"logit_scale": min(max(float(scale), 0.0), LN_100)}),
        }
    )  # fmt: skip
    wanted = build_empty(config).state_dict()
    renamed, report = rename_state(tensors, lambda given: (_part(given), given), wanted, _part)
    refuse_incomplete(report, source=source, system="CLIP")
    size = square(image.image_size, "config.json: vision_config.image_size")
    processor = ProcessorConfig(
        image=transformers_pictures(_preparation(files), size, siglip=False), text=_texts(words, text)
    )
    return Converted(config, processor, words.content, renamed, found.report)


def convert_siglip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a ``SiglipModel`` as config, processor, tokenizer and renamed tensors.

    Args:
        name, files, options: as in :func:`convert_clip`; ``pieces`` (spiece.model) is SigLIP's own tokenizer.

    Raises:
        ConfigError: a setting that we cannot do, or no tokenizer.
        WeightsError: another system's file, missing or unexpected tensors, other sizes than stated.
    """
    _no_options(name, options)
    raw = read_transformers(files["config"])
    image, text = _parts(raw, _SiglipVision, _SiglipText)
    if not image.vision_use_head:
        raise ConfigError("config.json: vision_use_head false leaves no picture embedding to compare.")
    if image.num_channels != 3:
        raise ConfigError(f"config.json: pictures of {image.num_channels} channels are not supported (3).")
    words = read_words(files, name=name, siglip=True)
    # The layout reads a file; a tokenizer that was put together lies nowhere yet.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder) / words.file
        write_text_atomic(tokenizer, words.content)
        given = {"config": Path(files["config"]), "tokenizer": tokenizer}
        made = siglip.convert("imported/model", Path(files["weights"]), given, siglip.SiglipOptions())
    _agree_siglip(made.config, image, text, Path(files["weights"]).name)
    size = square(image.image_size, "config.json: vision_config.image_size")
    processor = ProcessorConfig(
        image=transformers_pictures(_preparation(files), size, siglip=True), text=_texts(words, text)
    )
    return Converted(made.config, processor, words.content, made.state, made.report)


def _activations(image: _Vision, text: _Text) -> dict[str, str]:
    """Return {part of the config: activation} of towers of a CLIP.

    Raises:
        ConfigError: a setting of a tower that we cannot do.
    """
    parts = {"vision_config": image, "text_config": text}
    for where, part in parts.items():
        if not close(part.layer_norm_eps, 1e-5):
            raise ConfigError(
                f"config.json: {where}.layer_norm_eps {part.layer_norm_eps} is not supported (1e-05)."
            )
    if image.num_channels != 3:
        raise ConfigError(f"config.json: pictures of {image.num_channels} channels are not supported (3).")
    return {
        where: choice(part.hidden_act, _QUICK, f"config.json: {where}.hidden_act")
        for where, part in parts.items()
    }


class _SiglipVision(_Vision):
    patch_size: _Square = 16
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


class _SiglipText(_Text):
    hidden_size: _Width = 768
    intermediate_size: Annotated[int, Field(ge=1, le=131_072)] = 3072
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 12
    vocab_size: Annotated[int, Field(ge=1, le=2_000_000)] = 32_000
    max_position_embeddings: Annotated[int, Field(ge=1, le=8192)] = 64
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


def _no_options(name: str, options: Mapping[str, Any]) -> None:
    if options:
        raise ConfigError(f"{name}: no converter option {next(iter(options))!r}; there are none.")


def _parts(raw: Mapping[str, Any], vision: type[_Vision], text: type[_Text]) -> tuple[_Vision, _Text]:
    if raw.get("quantization_config"):
        raise ConfigError("config.json: quantized weights are not supported. Use the model before that.")
    one, other = (
        part_of(raw, "vision_config", vision, "config.json"),
        part_of(raw, "text_config", text, "config.json"),
    )
    if not (isinstance(one, _Vision) and isinstance(other, _Text)):
        raise ConfigError("config.json: vision_config and text_config are needed.")
    return one, other


def _agree(towers: Mapping[str, Mapping[str, Any]], image: _Vision, text: _Text, source: str) -> None:
    """Raise ``WeightsError`` where tensors have other sizes than config.json states."""
    stated = {
        "image": {
            "image_size": square(image.image_size, "config.json: vision_config.image_size"),
            "patch_size": square(image.patch_size, "config.json: vision_config.patch_size"),
            "width": image.hidden_size, "layers": image.num_hidden_layers,
            "mlp_width": image.intermediate_size,
        },
        "text": {
            "context_length": text.max_position_embeddings, "vocab_size": text.vocab_size,
            "width": text.hidden_size, "layers": text.num_hidden_layers, "mlp_width": text.intermediate_size,
        },
    }  # fmt: skip
    # A picture that its patches do not fill leaves a margin that no position stands for.
    patch = stated["image"]["patch_size"]
    stated["image"]["image_size"] -= stated["image"]["image_size"] % patch
    for part, values in stated.items():
        for key, value in values.items():
            if towers[part].get(key) != value:
                raise WeightsError(
                    f"{source}: the {part} tower has {key} {towers[part].get(key)}, config.json states "
                    f"{value}. The files belong to different models."
                )
    size = square(image.image_size, "config.json: vision_config.image_size")
    if size % patch:
        raise ConfigError(f"config.json: pictures of {size} pixels are not filled by patches of {patch}.")


def _agree_siglip(config: ModelConfig, image: _Vision, text: _Text, source: str) -> None:
    found = {part: tower.model_dump()["options"] for part, tower in config.towers.items()}
    stated = (
        ("image", "embed_dim", image.hidden_size), ("image", "depth", image.num_hidden_layers),
        ("image", "patch_size", square(image.patch_size, "config.json: vision_config.patch_size")),
        ("text", "width", text.hidden_size), ("text", "layers", text.num_hidden_layers),
        ("text", "context_length", text.max_position_embeddings), ("text", "vocab_size", text.vocab_size),
    )  # fmt: skip
    for part, key, value in stated:
        if found[part][key] != value:
            raise WeightsError(
                f"{source}: the {part} tower has {key} {found[part][key]}, config.json states {value}. The "
                "files belong to different models."
            )


def _ends_highest(text: _Text, words: Words) -> bool:
    """Return whether the token with the highest number is where a text is read: our own tower's rule.

    transformers looks for ``eos_token_id``, and for the highest number where that is 2, as old files say.
    """
    return text.eos_token_id in (2, None) or text.eos_token_id == text.vocab_size - 1


def _pooled_by_number(
    tower: Mapping[str, Any], tensors: Mapping[str, Tensor], text: _Text
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the text tower as open_clip's, which reads a text at the first token of a given number."""
    options = {
        "context_length": tower["context_length"], "vocab_size": tower["vocab_size"],
        "width": tower["width"], "heads": tower["heads"], "layers": tower["layers"],
        "mlp_ratio": (tower["mlp_width"] + 0.5) / tower["width"], "pool_type": "eos",
        "eos_id": text.eos_token_id,
    }  # fmt: skip
    start = "towers.text."
    renamed = {
        start + "model." + name.removeprefix(start) if name.startswith(start) else name: tensor
        for name, tensor in tensors.items()
    }
    return {
        "backend": "open_clip", "kind": "text", "output_dim": tower["output_dim"],
        "quick_gelu": tower["quick_gelu"], "options": options,
    }, renamed  # fmt: skip


def _part(name: str) -> str:
    return next((part for part in ("image", "text") if f".{part}." in name), "scalars")


def _texts(words: Words, text: _Text) -> TextProcessing:
    """Return how texts become tokens: as the tokenizer's files have it, cut to what both take."""
    length = min(words.longest or text.max_position_embeddings, text.max_position_embeddings)
    return TextProcessing(
        context_length=length,
        pad_id=words.pad_id(),
        clean="none",
        padding="context",
        allow_empty=True,
        overlong="truncate" if words.closes else "error",
    )


def _preparation(files: Mapping[str, Path]) -> Mapping[str, Any]:
    """Return the settings of the image processor; newer releases keep them in ``processor_config.json``."""
    from .foreign_config import refuse_code

    for role, key in (("processor", "image_processor"), ("preprocessor", None)):
        if role not in files:
            continue
        raw = read_json(files[role])
        refuse_code(raw, files[role].name)
        found = raw.get(key) if key and isinstance(raw, Mapping) else raw
        if isinstance(found, Mapping):
            return found
    return {}
