"""Published diffusion priors to our own model folder, whichever release of the reference wrote them.

Reference: lucidrains/DALLE2-pytorch: the names of its tensors, and how they changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from ....core.config import Config, ModelConfig, ProcessorConfig, parse_config
from ....core.conversion import (
    Converted,
    build_empty,
    count_blocks,
    dimension,
    read_checkpoint,
    refuse_incomplete,
    rename_state,
)
from ....core.errors import ConfigError, WeightsError
from ....core.files import read_json
from .prior_network import rotary_rates

SYSTEM = "a diffusion prior"
C = TypeVar("C", bound=Config)
VERSION = 1
"""Raised when the same file would be converted differently; stored conversions are then made anew."""

RELEASES: Mapping[str, Mapping[str, Any]] = {
    "0.2": {"attention": "scaled_dot", "bias_factor": 1, "stable_norms": "none", "padding": "mask"},
    "0.16.2": {"attention": "scaled_dot", "bias_factor": 1024, "stable_norms": "all", "padding": "mask"},
    "0.23.0": {"attention": "scaled_dot", "bias_factor": 1024, "stable_norms": "all", "padding": "table"},
    "0.23.3": {"attention": "scaled_dot", "bias_factor": 128, "stable_norms": "last", "padding": "table"},
    "1.4.3": {"attention": "cosine", "bias_factor": 1, "stable_norms": "last", "padding": "table"},
    "1.9.0": {"attention": "cosine", "bias_factor": 1, "stable_norms": "last", "padding": "table"},
    "1.10.3": {"attention": "cosine", "bias_factor": 1, "stable_norms": "last", "padding": "table"},
    "1.10.5": {"attention": "cosine", "bias_factor": 1, "stable_norms": "last", "padding": "table"},
}
"""{first release of the reference: what its network does}; the names of tensors do not tell all apart."""
_NULLS = (1, 9, 0)
"""First release with learned stand-ins for text and image that are left out."""
_GRID_FROM_MINUS_ONE = (1, 10, 3)
"""First release with the newer time steps of DDIM."""
_NOISE_AFTER_CLIP = (1, 10, 5)
"""First release whose DDIM takes the noise from x0 after it was clipped."""

_ENTRIES = ("ema_model", "ema", "model", "state_dict")
"""Where a trainer's file keeps the network; averaged weights first."""
_CLIP_TOKENS = 77
_QUERY = "net.learned_query"
_LAYERS = "net.causal_transformer.layers."
_LEFT_OUT = ("noise_scheduler.", "clip.", "_dummy")
_SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "p2_loss_weight",
)


class NetworkSettings(Config):
    """What is read of ``net`` in the reference's ``prior_config.json``; sizes are read from the tensors."""

    max_text_len: int | None = Field(default=None, ge=1)
    rotary_emb: bool = False
    self_cond: bool = False
    attn_dropout: float = Field(default=0.0, ge=0, lt=1)
    ff_dropout: float = Field(default=0.0, ge=0, lt=1)


class PriorSettings(Config):
    """What is read of ``prior`` in the reference's ``prior_config.json``."""

    timesteps: int | None = Field(default=None, ge=2)
    loss_type: str = "l2"
    predict_x_start: bool = True
    predict_v: bool = False
    beta_schedule: str = "cosine"
    condition_on_text_encodings: bool = True
    sampling_clamp_l2norm: bool = False
    sampling_final_clamp_l2norm: bool = False
    init_image_embed_l2norm: bool = False
    image_embed_scale: float | None = None
    cond_drop_prob: float = 0.0
    text_cond_drop_prob: float | None = None
    image_cond_drop_prob: float | None = None


class ConversionOptions(Config):
    """What the files do not say themselves."""

    release: str | None = Field(default=None, pattern=r"^\d+(\.\d+){0,2}$")
    """Release of the reference that trained it; None goes by the tensors, as far as they tell."""
    licence: str = "MIT"
    description: str = ""


def convert(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Converted:
    """Return a diffusion prior as config and renamed tensors.

    Tensors do not say which attention a file was trained with: check the result with
    :func:`prior_check.agreement` before trusting it.

    Args:
        name: registry name of the model.
        files: ``weights``, a state dict or a trainer's ``.pth``, and ``config``, ``prior_config.json``.
        options: fields of :class:`ConversionOptions`.

    Raises:
        ConfigError: a file is not given, an unknown release, settings that contradict the tensors.
        WeightsError: another system's checkpoint, missing or unexpected tensors.

    Example:
        >>> files = {"weights": Path("best.pth"), "config": Path("prior_config.json")}
        >>> convert("audio/laion-prior-vit-l14", files, {"release": "1.1.0"})  # doctest: +SKIP
    """
    settings = parse_config(ConversionOptions, options, source=f"{name}: converter options")
    if "weights" not in files:
        raise ConfigError(f"{name}: the converter needs a 'weights' file; it got {', '.join(files)}.")
    state = read_checkpoint(files["weights"], entries=_ENTRIES, skip_objects=True)
    raw = read_json(files["config"]) if "config" in files else {}
    raw = raw.get("prior", raw) if isinstance(raw, Mapping) else raw
    return convert_state(name, state, raw, settings, source=Path(files["weights"]).name)


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
        raw: ``prior`` of the reference's ``prior_config.json``; sizes are read from the tensors.
        source: what messages call the weights.
    """
    prefix = _prefix(state, source)
    elsewhere = {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}
    state = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    release = _release(settings.release, state)
    options = _options(state, raw, release, name=name, source=source)
    config = ModelConfig.model_validate(
        {
            "name": name,
            "domain": "audio",
            "architecture": "diffusion_prior",
            "embed_dim": 0,
            "licence": settings.licence,
            "description": settings.description or f"Run as release {release} of its authors' code does.",
            "options": options,
        }
    )
    _check_rotation(state, source)
    wanted = set(build_empty(config).state_dict()) - {"logit_scale"}
    everything = {**state, **{f"beside:{key}": tensor for key, tensor in elsewhere.items()}}
    renamed, report = rename_state(everything, _rename, wanted, lambda _: "prior")
    refuse_incomplete(report, source=source, system=f"{SYSTEM} of release {release}")
    renamed["logit_scale"] = torch.tensor(config.logit_scale)
    return Converted(config, ProcessorConfig(), None, renamed, report)


def _prefix(state: Mapping[str, Tensor], source: str) -> str:
    """Return what wrappers put before the names of the prior; averaged weights win."""
    found = [key.removesuffix(_QUERY) for key in state if key.endswith(_QUERY)]
    if not found:
        raise WeightsError(f"{source} is not {SYSTEM}: it has no {_QUERY!r}. Use the prior's own file.")
    return min(found, key=lambda prefix: ("ema_model." not in prefix, len(prefix)))


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def _release(wanted: str | None, state: Mapping[str, Tensor]) -> str:
    """Return the release in :data:`RELEASES` that ``wanted`` behaves as, or that the tensors point to."""
    if wanted is not None:
        known = [release for release in RELEASES if _numbers(release) <= _numbers(wanted)]
        if not known:
            raise ConfigError(f"release {wanted!r} is older than {next(iter(RELEASES))!r}, the first known.")
        return known[-1]
    if "net.null_text_encodings" in state:
        return list(RELEASES)[-1]
    if "net.null_text_embed" in state:
        return "0.23.3"
    return "0.2" if any(key.endswith(".gamma") for key in state) else "0.16.2"


def _read(cls: type[C], raw: Any, name: str) -> C:
    """Return the settings that ``cls`` knows; the files hold many that only training needs."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name}: prior_config.json holds {type(raw).__name__}, not settings.")
    known = {key: raw[key] for key in cls.model_fields if raw.get(key) is not None}
    return parse_config(cls, known, source=f"{name}: prior_config.json")


def _options(
    state: Mapping[str, Tensor], raw: Any, release: str, *, name: str, source: str
) -> dict[str, Any]:
    settings = _read(PriorSettings, raw, name)
    network = _network(state, _read(NetworkSettings, raw.get("net", raw), name), release, source)
    drops = (
        settings.cond_drop_prob if own is None else own
        for own in (settings.text_cond_drop_prob, settings.image_cond_drop_prob)
    )
    knows_nothing = network["null_parameters"] or network["padding"] == "mask"
    x0 = settings.predict_x_start
    return {
        "network": network,
        "timesteps": settings.timesteps or network["time_steps"] or 1000,
        "schedule": settings.beta_schedule,
        "objective": "v" if settings.predict_v else "x0" if x0 else "noise",
        "loss": settings.loss_type,
        "scale": settings.image_embed_scale,
        "clip": ("norm" if settings.sampling_clamp_l2norm else "none") if x0 else "values",
        "unit_start": settings.init_image_embed_l2norm,
        "unit_result": settings.sampling_final_clamp_l2norm and x0,
        "uses_encodings": settings.condition_on_text_encodings,
        "guidance": knows_nothing and min(drops) > 0,
        "grid": "from_minus_one" if _numbers(release) >= _GRID_FROM_MINUS_ONE else "from_zero",
        "noise_before_clip": _numbers(release) < _NOISE_AFTER_CLIP,
    }


def _network(
    state: Mapping[str, Tensor], settings: NetworkSettings, release: str, source: str
) -> dict[str, Any]:
    """Return the network's sizes, from the tensors, and what its release does."""

    def has(name: str) -> bool:
        return name in state or name.removesuffix(".g") + ".gamma" in state

    def side(name: str, axis: int) -> int:
        return dimension(state, name, axis, source=source)

    def tokens(name: str) -> int:
        return side(name, 0) // dim if name in state else 1

    dim, first = side(_QUERY, 0), f"{_LAYERS}0."
    table = state.get("net.null_text_encodings", state.get("net.null_text_embed"))
    return {
        **RELEASES[release],
        "null_parameters": _numbers(release) >= _NULLS,
        "dim": dim,
        "depth": count_blocks(state, _LAYERS),
        "heads": side("net.causal_transformer.rel_pos_bias.relative_attention_bias.weight", 1),
        "head_dim": side(f"{first}0.null_kv", 1),
        "mlp_width": side(f"{first}1.5.weight", 1),
        "text_length": settings.max_text_len or _CLIP_TOKENS if table is None else int(table.shape[1]),
        "text_tokens": tokens("net.to_text_embeds.0.weight"),
        "image_tokens": tokens("net.to_image_embeds.0.weight"),
        "norm_in": has("net.causal_transformer.init_norm.g"),
        "norm_out": has("net.causal_transformer.norm.g"),
        "project_out": has("net.causal_transformer.project_out.weight"),
        "normformer": has(f"{first}1.3.g"),
        "rotary": f"{first}0.rotary_emb.freqs" in state or settings.rotary_emb,
        "self_conditioning": settings.self_cond,
        "attention_dropout": settings.attn_dropout,
        "mlp_dropout": settings.ff_dropout,
        **_time(state, dim, source),
    }


def _time(state: Mapping[str, Tensor], dim: int, source: str) -> dict[str, Any]:
    """Return the rows of the time table, None for sines, and the number of time tokens."""
    table, last = "net.to_time_embeds.0.weight", "net.to_time_embeds.0.1.net.2.weight"
    if table in state:
        tokens = dimension(state, table, 1, source=source) // dim
        return {"time_steps": dimension(state, table, 0, source=source), "time_tokens": tokens}
    return {"time_steps": None, "time_tokens": dimension(state, last, 0, source=source) // dim}


def _check_rotation(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse rotations that were learned: ours are computed."""
    for name, tensor in state.items():
        if name.endswith("rotary_emb.freqs"):
            expected = rotary_rates(2 * tensor.numel(), torch.device("cpu"))
            if not torch.allclose(tensor.float(), expected, rtol=1e-2, atol=1e-6):
                raise WeightsError(f"{source}: {name} is not the usual rotation of base 10,000.")


def _rename(name: str) -> tuple[str, str | None] | None:
    if name.startswith(_LEFT_OUT) or name.endswith("rotary_emb.freqs"):
        return "prior", None
    if name.startswith("beside:"):
        # The other copy of the weights, and counters of the trainer.
        return "trainer", None
    if not name.startswith("net."):
        return ("prior", None) if name.startswith(_SCHEDULE_BUFFERS) else None
    if name.endswith(".beta"):
        return "prior", None
    if name == "net.null_text_embed":
        return "prior", "net.null_text_encodings"
    return "prior", name.removesuffix(".gamma") + ".g" if name.endswith(".gamma") else name
