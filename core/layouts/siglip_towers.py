"""What a SigLIP is made of here: towers of timm and open_clip, however its file names them.

Reference: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, arXiv 2303.15343.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ..config import LN_100, ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from ..conversion import Converted, build_empty, check_vocabulary, refuse_incomplete, rename_state
from ..errors import WeightsError
from ..registry import ROOMS

SYSTEM = "SigLIP"
BACKBONE = "vit_base_patch16_siglip_224"
"""timm's name of the smallest one; every other size is this one with other options."""
IMAGE, TEXT = "towers.image.model.", "towers.text.model."
"""What our parameter names begin with."""
SCALARS = ("logit_scale", "logit_bias")

Activation = Literal["gelu", "gelu_tanh"]
"""timm's names; no tensor tells which of the two a file needs."""


@dataclass(frozen=True)
class ImageSizes:
    """Numbers of the image tower: pixels of a side and of a patch, values of a state and of its MLP."""

    size: int
    patch: int
    width: int
    layers: int
    heads: int
    mlp_width: int


@dataclass(frozen=True)
class TextSizes:
    """Numbers of the text tower; ``output`` is the joint dimension."""

    context: int
    vocabulary: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    output: int


@dataclass(frozen=True)
class SiglipText:
    """How texts become tokens.

    Attributes:
        tokenizer_json: content of ``tokenizer.json``. file: what messages call it.
        pad_id: token that fills a text up. clean: as in :class:`core.config.TextProcessing`.
    """

    tokenizer_json: str
    file: str
    pad_id: int = 1
    clean: Literal["whitespace", "canonicalize"] = "whitespace"


def image_grid(places: int, source: str) -> int:
    """Return the side of the square of image positions.

    Raises:
        WeightsError: they are no square.
    """
    grid = math.isqrt(places)
    if grid * grid != places:
        raise WeightsError(f"{source}: its {places} image positions are no square. It is another model.")
    return grid


def image_tower(sizes: ImageSizes, *, activation: Activation) -> dict[str, Any]:
    """Return the config of the image tower: a Vision Transformer with attention pooling."""
    return {
        "backend": "timm",
        "architecture": BACKBONE,
        "projection": "none",
        "options": {
            "img_size": sizes.size,
            "patch_size": sizes.patch,
            "embed_dim": sizes.width,
            "depth": sizes.layers,
            "num_heads": sizes.heads,
            "mlp_ratio": _ratio(sizes.mlp_width, sizes.width),
            "act_layer": activation,
        },
    }


def text_tower(sizes: TextSizes, *, activation: Activation) -> dict[str, Any]:
    """Return the config of the text tower: every token sees every other; the last one is the text."""
    return {
        "backend": "open_clip",
        "kind": "text",
        "output_dim": sizes.output,
        "options": {
            "context_length": sizes.context,
            "vocab_size": sizes.vocabulary,
            "width": sizes.width,
            "heads": sizes.heads,
            "layers": sizes.layers,
            "mlp_ratio": _ratio(sizes.mlp_width, sizes.width),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh" if activation == "gelu_tanh" else "none"},
        },
    }


def refuse_other_sizes(
    name: str,
    towers: Mapping[str, Mapping[str, Any]],
    embed_dim: int | None,
    image_size: int | None,
    *,
    source: str,
) -> None:
    """Raise ``WeightsError`` where a file has other sizes than the registry states."""
    options = towers["image"]["options"]
    for what, want, have in (
        ("embed_dim", embed_dim, options["embed_dim"]),
        ("image_size", image_size, options["img_size"]),
    ):
        if want is not None and want != have:
            raise WeightsError(
                f"{source} has {what} {have}; {name} has {want}. It is another model of the family."
            )


def siglip_model(
    name: str,
    towers: Mapping[str, Mapping[str, Any]],
    renamed: Mapping[str, Tensor],
    text: SiglipText,
    *,
    source: str,
) -> Converted:
    """Return a whole model of tensors that bear our names already.

    Raises:
        WeightsError: missing or unexpected tensors, or another vocabulary.
    """
    options = towers["image"]["options"]
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": room if (room := name.partition("/")[0]) in ROOMS else None,
            "embed_dim": int(options["embed_dim"]),
            "towers": towers,
            # Published scales lie above ln 100: the tensor keeps the value, training starts at the limit.
            "logit_scale": min(float(renamed["logit_scale"]), LN_100) if "logit_scale" in renamed else LN_100,
            "logit_bias": float(renamed["logit_bias"]) if "logit_bias" in renamed else -10.0,
        }
    )
    wanted = build_empty(config).state_dict()
    tensors, report = rename_state(renamed, lambda given: (_part(given), given), wanted, _part)
    refuse_incomplete(report, source=source, system=SYSTEM)
    words = towers["text"]["options"]
    check_vocabulary(text.tokenizer_json, words["vocab_size"], name=text.file, source=source)
    processor = ProcessorConfig(
        image=ImageProcessing(
            size=int(options["img_size"]), resize="squash", interpolation="bicubic", resampler="pillow",
            mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
        ),
        # Padding is attended to, as it was in training: every text has the full length.
        text=TextProcessing(
            context_length=int(words["context_length"]), pad_id=text.pad_id, padding="context",
            clean=text.clean,
        ),
    )  # fmt: skip
    return Converted(config, processor, text.tokenizer_json, tensors, report)


def _ratio(mlp_width: int, width: int) -> float:
    # timm cuts width x ratio to a whole number; half a unit more lands on the one in the file.
    return (mlp_width + 0.5) / width


def _part(name: str) -> str:
    if name in SCALARS:
        return "scalars"
    return "image" if name.startswith(IMAGE) else "text" if name.startswith(TEXT) else "other"
