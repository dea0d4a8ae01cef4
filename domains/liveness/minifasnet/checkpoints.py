"""Released MiniFASNet files to our own model folder: one network, or several whose answers are averaged.

A file's name says what its tensors do not: ``2.7_80x80_MiniFASNetV2.pth`` is for crops of 2.7 times the
detector's box, resized to 80 x 80; ``org`` in place of the number stands for the whole picture.

Reference: minivision-ai/Silent-Face-Anti-Spoofing, ``src/utility.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ....core.config import Config, ImageProcessing, ModelConfig, ProcessorConfig, parse_config
from ....core.conversion import (
    Converted,
    build_empty,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, WeightsError
from ..faces.crop import CropConfig
from ..taxonomy import Taxonomy, load_taxonomy
from .network import NetworkConfig
from .shapes import SYSTEM, describe, inference_part

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

CATEGORIES = Path(__file__).with_name("categories.yaml")
"""Taxonomy of the released networks."""

# 2.7_80x80_MiniFASNetV2.pth, 4_0_0_80x80_MiniFASNetV1SE.pth, org_1_80x60_MiniFASNetV1.pth
_NAME = re.compile(
    r"^(?P<scale>org|\d+(?:\.\d+)?)(?:_\d+)*_(?P<height>\d+)x(?P<width>\d+)_(?P<network>\w+)\."
)


class SourceOptions(Config):
    """What one file is for, where its name does not say it or says it wrongly."""

    scale: float | None = Field(default=None, gt=0, le=16)
    """Sides of the crop over those of the detector's box; None, stated, is the whole picture."""
    size: int | None = Field(default=None, ge=16, le=1024)
    """Height and width of the crop in pixels."""


class ConversionOptions(Config):
    """What the files do not say themselves."""

    sources: dict[str, SourceOptions] = Field(default_factory=dict)
    """{role: what that file is for}."""
    taxonomy: Taxonomy | None = None
    """Categories in class order; None is the released networks' three."""
    licence: str = "Apache-2.0"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return released networks as config and renamed tensors; values and dtypes are unchanged.

    Args:
        name: registry name of the model.
        files: {role: released file}; one network each. Several become an ensemble, the mean of whose
            probabilities is the answer. A training checkpoint loses its Fourier branch.
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: a file's name does not say scale and size and no option does, or it says another network
            than its tensors.
        WeightsError: another system's checkpoint, missing or unexpected tensors.

    Example:
        >>> files = {"v2": Path("2.7_80x80_MiniFASNetV2.pth")}
        >>> convert("liveness/minifasnet-v2", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    unknown = sorted(set(settings.sources) - set(files))
    if not files or unknown:
        what = (
            f"there is no {unknown[0]!r} file for the option of that name" if unknown else "no file was given"
        )
        raise ConfigError(f"{name}: {what}; the converter got: {', '.join(files) or 'none'}.")
    states: list[dict[str, Tensor]] = []
    networks: list[NetworkConfig] = []
    crops: list[CropConfig] = []
    for role, path in files.items():
        state = inference_part(read_checkpoint(path))
        network, crop = _read_source(Path(path).name, state, settings.sources.get(role, SourceOptions()))
        states.append(state)
        networks.append(network)
        crops.append(crop)
    return _join(
        name, settings, states, (networks, crops), source=" and ".join(p.name for p in files.values())
    )


def _read_source(
    file: str, state: Mapping[str, Tensor], stated: SourceOptions
) -> tuple[NetworkConfig, CropConfig]:
    """Return the network in one file and the crop it reads."""
    said = _NAME.match(file)
    if said is None and not {"scale", "size"} <= stated.model_fields_set:
        raise ConfigError(
            f"{file}: the name does not say what crop the network reads, as 2.7_80x80_MiniFASNetV2.pth does. "
            "State both, for example --option 'sources={v2: {scale: 2.7, size: 80}}'; a scale of null is the "
            "whole picture."
        )
    height, width = (int(said["height"]), int(said["width"])) if said else (0, 0)
    scale = None if said is None or said["scale"] == "org" else float(said["scale"])
    if stated.size is not None:
        height = width = stated.size
    if "scale" in stated.model_fields_set:
        scale = stated.scale
    if height != width:
        raise ConfigError(
            f"{file}: the network reads {height} x {width} pixels; only square crops are supported here."
        )
    network = describe(state, source=file, size=(height, width))
    if said is not None and said["network"].startswith(SYSTEM) and said["network"] != network.architecture:
        raise ConfigError(
            f"{file}: by its name a {said['network']}, by its tensors a {network.architecture}."
        )
    crop = {"scale": scale, "size": height, "shift": scale is not None}
    return network, parse_config(CropConfig, crop, source=file)


def _join(
    name: str,
    settings: ConversionOptions,
    states: list[dict[str, Tensor]],
    parts: tuple[list[NetworkConfig], list[CropConfig]],
    *,
    source: str,
) -> Converted:
    networks, crops = parts
    taxonomy = settings.taxonomy or load_taxonomy(CATEGORIES)
    config = ModelConfig(
        name=name,
        domain="liveness",
        architecture="minifasnet",
        embed_dim=0,
        licence=settings.licence,
        description=settings.description,
        options={
            "taxonomy": taxonomy.model_dump(mode="json"),
            "crops": [crop.model_dump(mode="json") for crop in crops],
            "networks": [network.model_dump(mode="json") for network in networks],
        },
    )
    joined = {
        f"networks.{place}.{key}": value for place, state in enumerate(states) for key, value in state.items()
    }
    wanted = set(build_empty(config).state_dict()) - {"logit_scale"}
    renamed, report = rename_state(joined, lambda key: (_part(key), key), wanted, _part)
    refuse_incomplete(report, source=source, system=f"{SYSTEM} of these sizes")
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in renamed.values()):
        raise WeightsError(f"{source}: holds tensors that are not float32, as every released network is.")
    renamed["logit_scale"] = torch.tensor(config.logit_scale)
    # Crops come resized already: what is left is to put their bytes into [0, 1]. The network does the rest.
    image = ImageProcessing(
        size=networks[0].height,
        resize="squash",
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return Converted(config, ProcessorConfig(image=image), None, renamed, report)


def _part(key: str) -> str:
    return ".".join(key.split(".")[:2])
