"""CLIPs in the layout of open_clip.

Which activation a file needs cannot be read from it: weights that were trained from OpenAI's need
x sigmoid(1.702 x), those trained from LAION's need GELU. The registry states it for every file.

Reference: mlfoundations/open_clip; Cherti et al. 2022, Reproducible scaling laws for contrastive
language-image learning, arXiv 2212.07143.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ..clip_layout import HEAD_WIDTH, ClipTowers, clip_processor, clip_towers, read_clip
from ..config import LN_100, Config, ModelConfig, parse_config
from ..conversion import Converted
from ..errors import ConfigError, WeightsError

VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""


class OpenClipOptions(Config):
    """What the file does not say itself, and what it has to agree with."""

    quick_gelu: bool
    """Activation x sigmoid(1.702 x) instead of GELU; never guessed."""
    entry: str = "state_dict"
    """Where the weights of a training checkpoint lie; a file without it holds the weights alone."""
    image_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    text_head_width: int = Field(default=HEAD_WIDTH, ge=1)
    embed_dim: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)
    """Sizes that the file must have: published files are told apart by them. None takes what is there."""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a CLIP in open_clip's layout as config, processor and renamed tensors.

    Args:
        name: registry name of the model.
        files: ``weights``: a state dict or training checkpoint of open_clip, pickled or safetensors.
        options: fields of :class:`OpenClipOptions`.

    Raises:
        ConfigError: no ``weights``, or options without the activation.
        WeightsError: another system's file, missing or unexpected tensors, other sizes than stated.

    Example:
        >>> files = {"weights": Path("RemoteCLIP-ViT-B-32.pt")}
        >>> convert("urban/remoteclip-vit-b32", files, {"quick_gelu": True})  # doctest: +SKIP
    """
    settings = parse_config(OpenClipOptions, options, source=f"{name}: converter options")
    path = weights_file(name, files)
    found = clip_towers(
        # Training checkpoints hold the state of optimizer and scaler beside the weights.
        read_clip(path, entries=(settings.entry,), skip_objects=True),
        source=path.name,
        quick_gelu=settings.quick_gelu,
        image_head_width=settings.image_head_width,
        text_head_width=settings.text_head_width,
    )
    return converted(name, found, settings.embed_dim, settings.image_size, source=path.name)


def weights_file(name: str, files: Mapping[str, Path]) -> Path:
    """Return the ``weights`` among the files.

    Raises:
        ConfigError: there is none.
        WeightsError: it is the archive that the file was downloaded in.
    """
    if "weights" not in files:
        raise ConfigError(f"{name}: the converter needs a 'weights' file.")
    path = Path(files["weights"])
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = [entry for entry in archive.namelist() if entry.endswith((".pt", ".pth", ".bin"))]
        if inside:
            raise WeightsError(f"{path.name} is the download itself. Unpack it and give {inside[0]} of it.")
    return path


def room_of(name: str) -> str:
    """Return the room of a registry name: ``urban`` of ``urban/remoteclip-vit-b32``."""
    return name.partition("/")[0]


def converted(
    name: str, found: ClipTowers, embed_dim: int | None, image_size: int | None, *, source: str
) -> Converted:
    """Return towers as a model of the room that ``name`` begins with, of the sizes that are expected.

    Raises:
        WeightsError: other sizes.
    """
    processor = clip_processor(found.towers)
    side = processor.image.size if processor.image else 0
    for what, want, have in (("embed_dim", embed_dim, found.embed_dim), ("image_size", image_size, side)):
        if want is not None and want != have:
            raise WeightsError(
                f"{source} has {what} {have}; {name} has {want}. It is another model of the family; convert "
                "it under that name."
            )
    raw: dict[str, Any] = {
        "name": name, "domain": room_of(name), "embed_dim": found.embed_dim, "towers": dict(found.towers),
    }  # fmt: skip
    if "logit_scale" in found.state:
        # 4.6052 in OpenAI's file, which rounding may lift over ln 100.
        raw["logit_scale"] = min(float(found.state["logit_scale"]), LN_100)
    config = ModelConfig.model_validate(raw)
    state = {**found.state, "logit_scale": torch.tensor(config.logit_scale)}
    return Converted(config, processor, None, state, found.report)
