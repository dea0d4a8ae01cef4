"""Published generators of BigVGAN to our own model folder.

Reference: NVIDIA/BigVGAN, ``bigvgan.py``: the names of its tensors; ``configs/*.json``: of its settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.config import Config, ModelConfig, ProcessorConfig, parse_config
from ....core.conversion import (
    Converted,
    build_empty,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, WeightsError
from ....core.files import read_json
from .bigvgan import lowpass, vocoder_mel

SYSTEM = "BigVGAN"
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

_FILTER = re.compile(r"(upsample|downsample\.lowpass)\.filter$")
# Weight normalization as an attribute pair, and as newer torch stores it.
_MAGNITUDES = {
    "weight_g": "weight_v",
    "parametrizations.weight.original0": "parametrizations.weight.original1",
}
_NEEDED = (
    "num_mels",
    "n_fft",
    "hop_size",
    "win_size",
    "sampling_rate",
    "upsample_rates",
    "upsample_kernel_sizes",
    "upsample_initial_channel",
    "resblock_kernel_sizes",
    "resblock_dilation_sizes",
)


class ConversionOptions(Config):
    """What the files do not say themselves."""

    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a BigVGAN generator as config and renamed tensors, weight normalization folded in.

    Args:
        name: registry name of the model.
        files: ``weights``, ``bigvgan_generator.pt`` (or the generator's tensors alone, folded or not),
            and ``config``, its ``config.json``.
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: a file is not given, or the config does not describe a generator.
        WeightsError: another system's checkpoint, missing or unexpected tensors, other filters.

    Example:
        >>> files = {"weights": Path("bigvgan_generator.pt"), "config": Path("config.json")}
        >>> convert("audio/bigvgan-v2-22khz-80band-256x", files, {})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    for role in ("weights", "config"):
        if role not in files:
            raise ConfigError(f"{name}: the converter needs a {role!r} file; it got {', '.join(files)}.")
    state = read_checkpoint(files["weights"], entries=("generator", "state_dict"))
    return convert_state(
        name, state, read_json(files["config"]), settings, source=Path(files["weights"]).name
    )


def convert_state(
    name: str,
    state: Mapping[str, Tensor],
    raw: Any,
    settings: ConversionOptions,
    *,
    source: str,
) -> Converted:
    """Return tensors and settings that are already read as :func:`convert` returns files.

    Args:
        raw: content of the reference's ``config.json``.
        source: what messages call the weights.
    """
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": "audio",
            "architecture": "bigvgan",
            "embed_dim": 0,
            "licence": settings.licence,
            "description": settings.description,
            "options": _options(raw, name),
        }
    )
    if "conv_pre.bias" not in state:
        raise WeightsError(
            f"{source} is not a generator of {SYSTEM}: it has no 'conv_pre'. Use its own file."
        )
    _check_filters(state, source)
    folded = fold_weight_norm(state, source=source)
    wanted = set(build_empty(config).state_dict()) - {"logit_scale"}
    renamed, report = rename_state(folded, _rename, wanted, lambda _: "generator")
    refuse_incomplete(report, source=source, system=f"{SYSTEM} of these sizes")
    renamed["logit_scale"] = torch.tensor(config.logit_scale)
    return Converted(config, ProcessorConfig(), None, renamed, report)


def _options(raw: Any, name: str) -> dict[str, Any]:
    """Return our settings of the reference's ``config.json``; what it says of training is left out."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name}: config.json holds {type(raw).__name__}, not the settings of a {SYSTEM}.")
    missing = [key for key in _NEEDED if key not in raw]
    if missing:
        raise ConfigError(f"{name}: config.json has no {missing[0]!r}; it is not the config of a {SYSTEM}.")
    mel = vocoder_mel(
        raw["num_mels"],
        n_fft=raw["n_fft"],
        hop_length=raw["hop_size"],
        win_length=raw["win_size"],
        f_min=raw.get("fmin") or 0.0,
        f_max=raw.get("fmax"),
    )
    return {
        "sampling_rate": raw["sampling_rate"],
        "mel": mel.model_dump(mode="json"),
        "generator": {
            "n_mels": raw["num_mels"],
            "channels": raw["upsample_initial_channel"],
            "rates": raw["upsample_rates"],
            "kernels": raw["upsample_kernel_sizes"],
            "block": str(raw.get("resblock", "1")),
            "block_kernels": raw["resblock_kernel_sizes"],
            "block_dilations": raw["resblock_dilation_sizes"],
            "activation": raw.get("activation", "snakebeta"),
            "log_scale": bool(raw.get("snake_logscale", True)),
            # Both flags came with the second version; a config without them is of the first.
            "tanh": bool(raw.get("use_tanh_at_final", True)),
            "final_bias": bool(raw.get("use_bias_at_final", True)),
        },
    }


def fold_weight_norm(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Return ``state`` with each pair of magnitude and direction as the one weight they stand for.

    Magnitudes belong to the first axis, as the reference normalizes both kinds of convolution.

    Raises:
        WeightsError: one of a pair is missing.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in state.items():
        suffix = next((ending for ending in _MAGNITUDES if name.endswith(f".{ending}")), None)
        if suffix is not None:
            direction = state.get(name.removesuffix(suffix) + _MAGNITUDES[suffix])
            if direction is None:
                raise WeightsError(f"{source}: {name} has no direction beside it. Fetch the file again.")
            weight = torch._weight_norm(direction.float(), tensor.float(), 0)
            folded[f"{name.removesuffix(suffix)}weight"] = weight.to(direction.dtype)
        elif not name.endswith(tuple(f".{ending}" for ending in _MAGNITUDES.values())):
            folded[name] = tensor
    return folded


def _check_filters(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse anti-aliasing filters other than the one that every published model has."""
    expected = lowpass(torch.device("cpu"), torch.float32)
    for name, tensor in state.items():
        if _FILTER.search(name) and (
            tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected, atol=1e-3)
        ):
            raise WeightsError(
                f"{source}: {name} is another filter than that of the published models (12 taps, cutoff "
                "0.25). This variant is not supported."
            )


def _rename(name: str) -> tuple[str, str | None]:
    if _FILTER.search(name):
        return "generator", None
    flat = re.sub(r"^ups\.(\d+)\.0\.", r"ups.\1.", name)
    flat = re.sub(r"(activations\.\d+|activation_post)\.act\.", r"\1.", flat)
    return "generator", f"generator.{flat}"
