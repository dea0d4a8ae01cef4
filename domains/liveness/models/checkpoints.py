"""Published checkpoints as liveness models: FLIP's own, and general CLIPs that answer by text alone.

FLIP's files are pickled training checkpoints: the weights lie under ``state_dict`` beside numbers of the
run. They are read without running any code of theirs; see :func:`core.conversion.read_checkpoint`. FLIP
normalizes pixels with the mean and deviation of ImageNet, not those of CLIP, and squashes a picture to a
square; both are stored with the converted weights.

Reference: Srivatsan et al. 2023, FLIP, arXiv 2309.16649, and koushiksrivats/FLIP; Radford et al. 2021, CLIP,
arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import Field
from torch import Tensor

from ....core.clip_layout import HEAD_WIDTH, clip_processor, clip_towers, image_tower
from ....core.config import (
    LN_100,
    Config,
    ImageProcessing,
    ModelConfig,
    ProcessorConfig,
    parse_config,
)
from ....core.conversion import (
    Converted,
    LoadReport,
    TowerReport,
    build_empty,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import WeightsError
from ....core.layouts import open_clip, transformers
from ..faces.crop import CropConfig
from ..taxonomy import Taxonomy, load_taxonomy
from .base import Average, liveness_options
from .flip_mcl import Projector

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FLIP_CROPS = {
    # Cut tight, turned and scaled by five points, as the frames of these sets were prepared.
    "mcio": CropConfig(scale=1.0, align=True),
    # The released frames as they are, without detection.
    "wcs": CropConfig(scale=None),
}
"""What FLIP's models of each benchmark were shown."""

CONTEXT_CROP = CropConfig(scale=2.0, square=True)
"""What a general CLIP is shown: the face with as much around it, where hands, edges and bezels are."""

_PREFIX = "model."
_PROJECTOR = "image_mlp."
_VIT = "backbone.vit."
_HIDDEN = "embedder.bottleneck_layer_fc."
_HIDDEN_ALIAS = "embedder.bottleneck_layer.0."
_CLASSIFIER = "classifier.classifier_layer."


class FlipOptions(Config):
    """What a FLIP checkpoint does not say itself.

    Attributes:
        crops: benchmark that the weights were trained for: ``mcio`` aligned faces, ``wcs`` whole frames.
        taxonomy: two categories, the attack first; its texts replace the prompts of training, which are not
            ours to ship.
        quick_gelu: activation of the towers; FLIP starts from OpenAI's weights.
        image_head_width, text_head_width: values of an attention head.
        image_size: that the file must have; None takes what is there.
        entry: where the weights lie in the file.
    """

    crops: Literal["mcio", "wcs"] = "mcio"
    taxonomy: str = "binary"
    quick_gelu: bool = True
    image_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    text_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    entry: str = "state_dict"


class GeneralOptions(Config):
    """How a general CLIP becomes a liveness model; all else goes to the converter of its layout.

    Attributes:
        taxonomy: name or file; its content is stored with the weights.
        crops: what the model is shown.
        average: how the texts of a category become one vector.
        resize: ``squash`` keeps all of a crop that is no square; ``shortest`` cuts its longer side, as CLIP
            was trained.
    """

    taxonomy: str = "default"
    crops: tuple[CropConfig, ...] = Field(default=(CONTEXT_CROP,), min_length=1)
    average: Average = "raw"
    resize: Literal["squash", "shortest"] = "squash"


@dataclass(frozen=True)
class FlipParts:
    """A FLIP checkpoint in our terms.

    Attributes:
        architecture: ``categories`` (FLIP-IT), ``flip_mcl`` or ``flip_v``.
        towers: {modality: tower config}. embed_dim: D.
        state: {our parameter name: tensor}. report: what became of every tensor.
        options: of the architecture, read from shapes.
        classes: number of classes, where the weights tell it (FLIP-V).
    """

    architecture: str
    towers: Mapping[str, Mapping[str, Any]]
    embed_dim: int
    state: Mapping[str, Tensor]
    report: LoadReport
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None


def flip_parts(
    state: Mapping[str, Tensor],
    *,
    source: str,
    quick_gelu: bool = True,
    image_head_width: int = HEAD_WIDTH,
    text_head_width: int = HEAD_WIDTH,
) -> FlipParts:
    """Return the parts of a FLIP state dict; which variant it is, its keys tell.

    Args:
        state: tensors under the names of FLIP's checkpoints. source: what messages call the file.
        quick_gelu, image_head_width, text_head_width: as in :func:`core.clip_layout.clip_towers`.

    Raises:
        WeightsError: another system's file, or tensors that are missing or do not belong there.
    """
    if any(name.startswith(_VIT) for name in state):
        return _flip_v(state, source, quick_gelu, image_head_width)
    clip = {name.removeprefix(_PREFIX): one for name, one in state.items() if name.startswith(_PREFIX)}
    projector = {name: one for name, one in state.items() if name.startswith(_PROJECTOR)}
    strangers = [name for name in state if not name.startswith((_PREFIX, _PROJECTOR))]
    if not clip or strangers:
        first = f" It holds {strangers[0]!r}." if strangers else ""
        raise WeightsError(
            f"{source} is no checkpoint of FLIP, whose tensors are called {_PREFIX}... (FLIP-IT, FLIP-MCL) "
            f"or {_VIT}... (FLIP-V).{first}"
        )
    found = clip_towers(
        clip,
        source=source,
        quick_gelu=quick_gelu,
        image_head_width=image_head_width,
        text_head_width=text_head_width,
    )
    if "logit_scale" not in found.state:
        raise WeightsError(f"{source}: {_PREFIX}logit_scale is missing. Fetch it again.")
    if not projector:
        return FlipParts("categories", found.towers, found.embed_dim, found.state, found.report)
    missing = sorted({f"{_PROJECTOR}{name}" for name in Projector(1, 1, 1).state_dict()} ^ set(projector))
    if missing:
        raise WeightsError(
            f"{source}: the projector is not whole or not FLIP's ({missing[0]}). Fetch it again."
        )
    sizes = {
        "ssl_width": dimension(state, f"{_PROJECTOR}layer1.weight", 0, source=source),
        "ssl_dim": dimension(state, f"{_PROJECTOR}layer3.weight", 0, source=source),
    }
    towers = {**found.report.towers, "projector": TowerReport(loaded=len(projector))}
    return FlipParts(
        "flip_mcl", found.towers, found.embed_dim, {**found.state, **projector}, LoadReport(towers), sizes
    )


def _flip_v(state: Mapping[str, Tensor], source: str, quick_gelu: bool, head_width: int) -> FlipParts:
    visual = {
        f"visual.{name.removeprefix(_VIT)}": one for name, one in state.items() if name.startswith(_VIT)
    }
    for name, one in state.items():
        if name.startswith(_HIDDEN_ALIAS):
            twin = state.get(name.replace(_HIDDEN_ALIAS, _HIDDEN))
            if twin is not None and not torch.equal(one, twin):
                raise WeightsError(f"{source}: {name} and its second name hold different values.")
    hidden = _HIDDEN if f"{_HIDDEN}weight" in state else _HIDDEN_ALIAS
    embed_dim = dimension(state, f"{hidden}weight", 0, source=source)
    # The head reads the class token before CLIP's projection, which is left out.
    without = {name: one for name, one in visual.items() if name != "visual.proj"}
    tower = image_tower(without, source, quick_gelu, head_width)
    tower.update(projection="linear", projection_bias=True)

    def rename(name: str) -> tuple[str, str | None] | None:
        if name == f"{_VIT}proj":
            return "image", None
        if name.startswith(_VIT):
            return "image", f"towers.image.{name.removeprefix(_VIT)}"
        if name.startswith(hidden):
            return "head", f"projections.image.{name.removeprefix(hidden)}"
        if name.startswith(_HIDDEN_ALIAS):
            return "head", None
        if name.startswith(_CLASSIFIER):
            return "head", f"classifier.{name.removeprefix(_CLASSIFIER)}"
        return None

    classes = dimension(state, f"{_CLASSIFIER}weight", 0, source=source)
    raw = {"name": "flip/v", "embed_dim": embed_dim, "towers": {"image": tower}}
    wanted = [name for name in build_empty(ModelConfig.model_validate(raw)).state_dict() if "." in name]
    renamed, report = rename_state(
        state,
        rename,
        [*wanted, "classifier.weight", "classifier.bias"],
        lambda name: "image" if name.startswith("towers.") else "head",
    )
    refuse_incomplete(report, source=source, system="FLIP-V")
    return FlipParts("flip_v", {"image": tower}, embed_dim, renamed, report, classes=classes)


def convert_flip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a checkpoint of FLIP-IT, FLIP-MCL or FLIP-V as config, processor and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: a training checkpoint of FLIP, or its weights alone.
        options: fields of :class:`FlipOptions`.

    Raises:
        ConfigError: no ``weights``, or unknown options.
        WeightsError: a file that cannot be read without running code, another system's file, missing or
            unexpected tensors, other classes than the taxonomy has.
    """
    settings = parse_config(FlipOptions, options, source=f"{name}: converter options")
    path = open_clip.weights_file(name, files)
    parts = flip_parts(
        read_checkpoint(path, entries=(settings.entry,)),
        source=path.name,
        quick_gelu=settings.quick_gelu,
        image_head_width=settings.image_head_width,
        text_head_width=settings.text_head_width,
    )
    taxonomy = load_taxonomy(settings.taxonomy)
    _refuse_other_classes(taxonomy, parts, path.name)
    image = ImageProcessing(
        size=int(parts.towers["image"]["image_size"]),
        resize="squash",
        interpolation="bicubic",
        resampler="pillow",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    if settings.image_size not in (None, image.size):
        raise WeightsError(
            f"{path.name} sees pictures of {image.size} pixels; {name} of {settings.image_size}."
        )
    text = clip_processor(parts.towers).text if "text" in parts.towers else None
    scale = parts.state.get("logit_scale")
    raw: dict[str, Any] = {
        "name": name,
        "domain": "liveness",
        "architecture": parts.architecture,
        "embed_dim": parts.embed_dim,
        "towers": dict(parts.towers),
        "options": liveness_options(taxonomy, (FLIP_CROPS[settings.crops],), **parts.options),
    }
    if scale is not None:
        # FLIP does not hold it below ln 100; the weights keep its own value.
        raw["logit_scale"] = min(max(float(scale), 0.0), LN_100)
    if text is not None:
        raw["prompts"] = taxonomy.name
    config = ModelConfig.model_validate(raw)
    state = {"logit_scale": torch.tensor(config.logit_scale), **parts.state}
    prompts = _prompts_yaml(taxonomy) if text is not None else None
    return Converted(config, ProcessorConfig(image=image, text=text), None, state, parts.report, prompts)


def _refuse_other_classes(taxonomy: Taxonomy, parts: FlipParts, source: str) -> None:
    if parts.classes is None:
        return  # classes are what the texts say
    if taxonomy.live != (len(taxonomy.categories) - 1,):
        raise WeightsError(
            f"{source} has the live class last; in taxonomy {taxonomy.name!r} it is not. Put it there."
        )
    if parts.classes != len(taxonomy.categories):
        raise WeightsError(
            f"{source} tells {parts.classes} classes apart; taxonomy {taxonomy.name!r} has "
            f"{len(taxonomy.categories)}. Name a taxonomy with as many."
        )


def convert_open_clip(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CLIP in open_clip's layout as a model that answers by the texts of a taxonomy.

    Args:
        name, files: as for :func:`core.layouts.open_clip.convert`.
        options: fields of :class:`GeneralOptions` beside those of that converter.

    Raises:
        ConfigError, WeightsError: as there, or a taxonomy that cannot be read.
    """
    own, rest = _split(name, options)
    return _with_categories(open_clip.convert(name, files, rest), own)


def convert_transformers(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a ``CLIPModel`` of transformers as a model that answers by the texts of a taxonomy.

    Args:
        name, files: as for :func:`core.layouts.transformers.convert_clip`.
        options: fields of :class:`GeneralOptions` beside those of that converter.

    Raises:
        ConfigError, WeightsError: as there, or a taxonomy that cannot be read.
    """
    own, rest = _split(name, options)
    return _with_categories(transformers.convert_clip(name, files, rest), own)


def _split(name: str, options: Mapping[str, Any]) -> tuple[GeneralOptions, dict[str, Any]]:
    known = GeneralOptions.model_fields
    own = {key: value for key, value in options.items() if key in known}
    rest = {key: value for key, value in options.items() if key not in known}
    return parse_config(GeneralOptions, own, source=f"{name}: converter options"), rest


def _with_categories(found: Converted, options: GeneralOptions) -> Converted:
    taxonomy = load_taxonomy(options.taxonomy)
    raw = found.config.model_dump(mode="json")
    raw.update(
        domain="liveness",
        architecture="categories",
        options=liveness_options(taxonomy, options.crops, average=options.average),
        prompts=taxonomy.name,
    )
    image = found.processor.image
    if image is not None:
        image = image.model_copy(update={"resize": options.resize})
    processor = found.processor.model_copy(update={"image": image})
    return Converted(
        ModelConfig.model_validate(raw), processor, found.tokenizer_json, found.state, found.report,
        _prompts_yaml(taxonomy),
    )  # fmt: skip


def _prompts_yaml(taxonomy: Taxonomy) -> str:
    """Return ``prompts.yaml``: the same texts for classification by any label."""
    content = taxonomy.prompts().model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
