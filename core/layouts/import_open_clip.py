"""Any checkpoint of open_clip as a model: towers, tokenizer and preparation by its ``open_clip_config.json``.

Towers that are OpenAI CLIP's become our own. All others (timm, CoCa, SigLIP, MobileCLIP ...) stay what
open_clip builds from the same numbers. Text towers of transformers are known by name: the repository that
``hf_model_name`` stands for is not asked.

Reference: mlfoundations/open_clip; Cherti et al. 2022, Reproducible scaling laws for contrastive
language-image learning, arXiv 2212.07143.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import LN_100, ModelConfig, ProcessorConfig, TextProcessing
from ..conversion import Converted, build_empty, read_checkpoint, refuse_incomplete, rename_state
from ..errors import ConfigError, VerticlipError, WeightsError, nearest
from .foreign_config import OpenClipConfig, TextConfig, VisionConfig, read_open_clip
from .pictures import open_clip_pictures
from .vocabularies import Words, cleaned, read_words, without_closing

if TYPE_CHECKING:
    from ..model import ContrastiveModel

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_PLAIN_IMAGE = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"}
_PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio",
               "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"}  # fmt: skip
"""Settings that our own towers have; where another one is not at its default, open_clip's is built."""
_TEXT_NAMES = (
    "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "cls_emb",
)  # fmt: skip
_LEFT_OUT = ("text_decoder.", "attn_mask", "input_resolution", "context_length", "vocab_size")
_SCALARS = ("logit_scale", "logit_bias")
_SIMPLE_WORDS = 49_408
"""Tokens of open_clip's own tokenizer."""

_BERTS = {
    "bert-base-uncased": "bert", "bert-base-cased": "bert", "bert-large-uncased": "bert",
    "bert-large-cased": "bert", "bert-base-multilingual-cased": "bert",
    "google-bert/bert-base-uncased": "bert", "google-bert/bert-base-cased": "bert",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract": "bert",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext": "bert",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": "bert",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext": "bert",
    "roberta-base": "roberta", "roberta-large": "roberta", "xlm-roberta-base": "roberta",
    "xlm-roberta-large": "roberta", "FacebookAI/roberta-base": "roberta",
    "FacebookAI/roberta-large": "roberta", "FacebookAI/xlm-roberta-base": "roberta",
    "FacebookAI/xlm-roberta-large": "roberta",
}  # fmt: skip
"""Text towers whose settings are known here: heads of 64 values, and what the family has in common."""
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "bert": {"layer_norm_eps": 1e-12, "pad_id": 0, "skipped": 0},
    "roberta": {"layer_norm_eps": 1e-5, "pad_id": 1, "skipped": 2},
}
"""Epsilon, padding token, and how many rows of the table of positions a RoBERTa never reads."""
_STRETCHED = "Imported from a checkpoint of open_clip; its tables of positions were stretched to other sizes."
_POOLS = {"mean_pooler": "mean", "cls_last_hidden_state_pooler": "cls"}
_HEAD = 64


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a checkpoint of open_clip as config, processor, tokenizer and renamed tensors.

    Args:
        name: of the model, for messages.
        files: ``config`` (open_clip_config.json), ``weights`` (safetensors or a pickled state dict), and
            the tokenizer files of :mod:`.vocabularies` where the config names a tokenizer.
        options: none are known.

    Raises:
        ConfigError: a setting that we cannot do, or a tokenizer that is not among the files.
        WeightsError: missing or unexpected tensors, or other sizes than the config states.

    Example:
        >>> files = {"config": Path("open_clip_config.json"), "weights": Path("open_clip_model.safetensors")}
        >>> convert("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", files, {})  # doctest: +SKIP
    """
    if options:
        raise ConfigError(f"{name}: no converter option {next(iter(options))!r}; there are none.")
    settings, pictures = read_open_clip(files["config"])
    state = _normalized(read_checkpoint(files["weights"], skip_objects=True))
    source = Path(files["weights"]).name
    image, image_names = _image(settings, name)
    text, text_names = _text(settings, name)
    words, processing = _words(settings, files, name)
    size = settings.vision_cfg.side
    tensors = _resized(state, settings, source)
    stretched = any(tensors[key] is not state[key] for key in state)
    if settings.text_cfg.hf_model_name:
        text, tensors = _bert(settings, text, tensors, source)
    raw: dict[str, Any] = {
        "name": "imported/model",
        "embed_dim": settings.embed_dim,
        "towers": {"image": image, "text": text},
        "logit_bias": _bias(settings, tensors),
        "description": _STRETCHED if stretched else "",
    }
    if "logit_scale" in tensors:
        raw["logit_scale"] = min(max(float(tensors["logit_scale"]), 0.0), LN_100)
    config = ModelConfig.model_validate(raw)
    if config.logit_bias is not None:
        # open_clip puts zero where the config wants a bias and the file has none.
        tensors.setdefault("logit_bias", torch.zeros(()))
    refuse_other_amount(config, tensors, source=source)
    wanted = _built(config, name).state_dict()
    rename = functools.partial(_ours, image_names, text_names)
    renamed, report = rename_state(tensors, rename, wanted, _part)
    refuse_incomplete(report, source=source, system="open_clip by its config")
    if words is not None:
        rows = settings.text_cfg.vocab_size
        words.check(int(text.get("vocab_size", rows)), source=source)
    processor = ProcessorConfig(
        image=open_clip_pictures(pictures, size, source=Path(files["config"]).name), text=processing
    )
    return Converted(config, processor, words.content if words else None, renamed, report)


def _ours(image_names: str, text_names: str, given: str) -> tuple[str, str | None]:
    """Return (part, our name) of a tensor, by what our names of the towers begin with; None is left out."""
    if given.startswith(_LEFT_OUT):
        return "other", None
    if given in _SCALARS:
        return "scalars", given
    if given.startswith("visual."):
        return "image", image_names + given.removeprefix("visual.")
    return "text", given if given.startswith("projections.") else text_names + given.removeprefix("text.")


def _built(config: ModelConfig, name: str) -> ContrastiveModel:
    try:
        return build_empty(config)
    except VerticlipError:
        raise
    except Exception as error:  # what open_clip and timm raise for numbers that do not go together
        raise ConfigError(
            f"{name}: open_clip builds no towers from these settings ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:160]})."
        ) from None


def _part(name: str) -> str:
    return next((part for part in ("image", "text") if f".{part}." in name), "scalars")


def _normalized(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of a model with a text tower of its own; scalars without an axis."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("embeddings.position_ids"):
            continue
        if name in _SCALARS and tensor.numel() == 1:
            tensor = tensor.float().reshape(())
        found[f"text.{name}" if name.startswith(_TEXT_NAMES) else name] = tensor
    return found


def _changed(settings: VisionConfig | TextConfig) -> dict[str, Any]:
    """Return the settings that are not the defaults."""
    return settings.model_dump(exclude_defaults=True)


def _image(settings: OpenClipConfig, name: str) -> tuple[dict[str, Any], str]:
    """Return (config of the image tower, what its parameter names begin with)."""
    vision = settings.vision_cfg
    size, changed = vision.side, _changed(vision)
    if set(changed) <= _PLAIN_IMAGE and isinstance(vision.layers, int) and vision.patch_size:
        return {
            "backend": "vit", "image_size": size, "patch_size": vision.patch_size, "width": vision.width,
            "layers": vision.layers, "heads": _heads(vision.width, vision.head_width, "vision_cfg"),
            "mlp_width": int(vision.width * vision.mlp_ratio), "quick_gelu": settings.quick_gelu,
            "output_dim": settings.embed_dim,
        }, "towers.image."  # fmt: skip
    if vision.timm_model_name:
        _known_to_timm(vision.timm_model_name, name)
        changed = {key: value for key, value in changed.items() if key.startswith("timm_")}
    elif not isinstance(vision.layers, int):
        changed |= {"layers": list(vision.layers)}
    return {
        "backend": "open_clip", "kind": "vision", "output_dim": settings.embed_dim,
        "quick_gelu": settings.quick_gelu, "options": {**changed, "image_size": size},
    }, "towers.image.model."  # fmt: skip


def _known_to_timm(architecture: str, name: str) -> None:
    import timm

    known = timm.list_models()
    if architecture not in known:
        raise ConfigError(
            f"{name}: the installed timm has no architecture {architecture!r}.{nearest(architecture, known)}"
        )


def _heads(width: int, head_width: int, where: str) -> int:
    if width < head_width or width % head_width:
        raise ConfigError(f"{where}: a width of {width} is no multiple of {head_width} values per head.")
    return width // head_width


def _text(settings: OpenClipConfig, name: str) -> tuple[dict[str, Any], str]:
    """Return (config of the text tower, what its parameter names begin with)."""
    text = settings.text_cfg
    changed = _changed(text)
    if text.hf_model_name:
        return _bert_settings(text, name), "towers.text."
    if text.width % text.heads:
        raise ConfigError(f"text_cfg: a width of {text.width} does not divide into {text.heads} heads.")
    if set(changed) <= _PLAIN_TEXT:
        return {
            "backend": "clip_text", "context_length": text.context_length, "vocab_size": text.vocab_size,
            "width": text.width, "layers": text.layers, "heads": text.heads,
            "mlp_width": int(text.width * text.mlp_ratio), "quick_gelu": settings.quick_gelu,
            "output_dim": settings.embed_dim,
        }, "towers.text."  # fmt: skip
    options = {key: value for key, value in changed.items() if not key.startswith(("hf_", "tokenizer_"))}
    return {
        "backend": "open_clip", "kind": "text", "output_dim": settings.embed_dim,
        "quick_gelu": settings.quick_gelu, "options": options,
    }, "towers.text.model."  # fmt: skip


def _bert_settings(text: TextConfig, name: str) -> dict[str, Any]:
    """Return what is known of a text tower of transformers before its tensors are read."""
    if text.hf_model_name not in _BERTS:
        raise ConfigError(
            f"{name}: its text tower is that of {text.hf_model_name!r}, a repository whose config would have "
            f"to be fetched; that is never done. Known by name: {', '.join(sorted(_BERTS)[:4])} and others."
            f"{nearest(text.hf_model_name or '', _BERTS)}"
        )
    if text.hf_pooler_type not in _POOLS:
        raise ConfigError(
            f"{name}: text_cfg.hf_pooler_type {text.hf_pooler_type!r} is not supported; there are "
            f"{', '.join(_POOLS)}."
        )
    if text.hf_proj_type not in ("linear", "mlp", None):
        raise ConfigError(f"{name}: text_cfg.hf_proj_type {text.hf_proj_type!r} is unknown; linear or mlp.")
    family = _FAMILIES[_BERTS[str(text.hf_model_name)]]
    return {
        "backend": "bert",
        "layer_norm_eps": family["layer_norm_eps"],
        "pooling": _POOLS[text.hf_pooler_type],
        "projection": text.hf_proj_type or "none",
    }


def _bert(
    settings: OpenClipConfig, text: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the text tower and all tensors, those of a BERT or RoBERTa under our names.

    A RoBERTa is a BERT that counts positions from the one after its padding token: without the rows
    before that, its table is ours.
    """
    from ..conversion import bert_tower

    start = "text.transformer."
    tower = {**bert_tower(tensors, start, heads=1, source=source), **text}
    tower["heads"] = _heads(tower["width"], _HEAD, "text tower")
    skipped = _FAMILIES[_BERTS[str(settings.text_cfg.hf_model_name)]]["skipped"]
    tower["max_positions"] -= skipped
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == f"{start}embeddings.position_embeddings.weight":
            found[name.removeprefix("text.transformer.").join(("text.", ""))] = tensor[skipped:]
        elif name.startswith(f"{start}pooler."):
            continue
        elif name.startswith(start):
            found["text." + name.removeprefix(start)] = tensor
        elif name.startswith("text.proj."):
            found["projections.text." + name.removeprefix("text.proj.")] = tensor
        else:
            found[name] = tensor
    return tower, found


def _words(
    settings: OpenClipConfig, files: Mapping[str, Path], name: str
) -> tuple[Words | None, TextProcessing]:
    """Return (tokenizer, or None for open_clip's own; how texts become tokens)."""
    text = settings.text_cfg
    shared: dict[str, Any] = {
        "context_length": text.context_length, "padding": "context", "allow_empty": True,
    }  # fmt: skip
    asked = dict(text.tokenizer_kwargs or {})
    clean = asked.pop("clean", None)
    strip = bool(asked.pop("strip_sep_token", False))
    if asked or text.tokenizer_mode:
        what = f"tokenizer_kwargs.{next(iter(asked))}" if asked else f"tokenizer_mode {text.tokenizer_mode!r}"
        raise ConfigError(f"{name}: text_cfg.{what} is not supported. Use another checkpoint.")
    if not (text.hf_tokenizer_name or text.hf_model_name):
        if clean not in (None, "lower", "canonicalize"):
            raise ConfigError(f"{name}: text_cfg.tokenizer_kwargs.clean {clean!r} is not supported here.")
        if text.vocab_size < _SIMPLE_WORDS:
            raise ConfigError(
                f"{name}: text_cfg.vocab_size is {text.vocab_size}; open_clip's tokenizer has "
                f"{_SIMPLE_WORDS} tokens, and the config names no other."
            )
        # That tokenizer makes letters small by itself.
        kept = "canonicalize" if clean == "canonicalize" else "whitespace"
        return None, TextProcessing(tokenizer="open_clip_bpe", clean=kept, overlong="truncate", **shared)
    if "tokenizer" not in files:
        raise ConfigError(
            f"{name}: its config names the tokenizer {text.hf_tokenizer_name or text.hf_model_name!r}, and "
            "there is no tokenizer.json beside it. Other repositories are never followed; add the file to a "
            "folder with the checkpoint and load that."
        )
    words, kept = cleaned(read_words(files, name=name), str(clean or "whitespace"), name=name)
    if strip:
        words = without_closing(words, name=name)
    pad = words.pad_id()
    if text.hf_model_name and pad != (wanted := _FAMILIES[_BERTS[text.hf_model_name]]["pad_id"]):
        raise ConfigError(f"{name}: its tokenizer pads with token {pad}, {text.hf_model_name} with {wanted}.")
    overlong = "truncate" if words.closes else "error"
    return words, TextProcessing(pad_id=pad, clean=kept, overlong=overlong, **shared)


def _bias(settings: OpenClipConfig, tensors: Mapping[str, Tensor]) -> float | None:
    if "logit_bias" in tensors:
        return float(tensors["logit_bias"])
    return None if settings.init_logit_bias is None else 0.0


def _resized(state: Mapping[str, Tensor], settings: OpenClipConfig, source: str) -> dict[str, Tensor]:
    """Return the tensors with tables of positions stretched to the sizes of the config, as open_clip does."""
    found = dict(state)
    vision, text = settings.vision_cfg, settings.text_cfg
    image, line = "visual.positional_embedding", "text.positional_embedding"
    if image in found and not vision.timm_model_name and vision.patch_size:
        side = vision.side // vision.patch_size
        table = found[image]
        old = round(max(len(table) - 1, 0) ** 0.5)
        if table.ndim == 2 and len(table) != side * side + 1 and old and old * old == len(table) - 1:
            grid = table[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True, align_corners=False)
            flat = grid.permute(0, 2, 3, 1).reshape(side * side, -1)
            found[image] = torch.cat([table[:1], flat.to(table.dtype)])
    if line in found and not text.hf_model_name and found[line].ndim == 2:
        table = found[line]
        rows = text.context_length + int(text.embed_cls)
        if len(table) != rows and len(table):
            long = F.interpolate(table.float().T[None], rows, mode="linear", align_corners=False)[0].T
            found[line] = long.to(table.dtype)
    return found


def refuse_other_amount(config: ModelConfig, state: Mapping[str, Tensor], *, source: str) -> None:
    """Raise where a config describes a much larger network than a file holds, before it is built.

    Raises:
        WeightsError: with both numbers of values.
    """
    from ..model import build_model

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build_model(config)
    except ConfigError:
        raise
    except Exception:  # some towers compute with real values while they are built; see build_empty
        return
    described = sum(tensor.numel() for tensor in network.state_dict().values())
    held = sum(tensor.numel() for tensor in state.values())
    if described > 2 * held + 1_000_000:
        raise WeightsError(
            f"{source}: the config describes {described:,} values and the file holds {held:,}. They belong "
            "to different models."
        )
