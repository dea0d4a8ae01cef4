"""Replay of the stored reference cases of vocoder and diffusion prior, through the code that users run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.checkpoint import load_strict, read_weights
from ....core.conversion import Converted, build_empty
from ....core.errors import InputError
from . import bigvgan_convert, prior_convert
from .bigvgan import BigVgan
from .prior import Conditions, DiffusionPrior, guided
from .prior_schedule import ddim_times

Tensors = Mapping[str, Tensor]
_WEIGHTS = "weights.safetensors"
_FOLDED = "weights_folded.safetensors"


def _built(done: Converted) -> nn.Module:
    network = build_empty(done.config)
    load_strict(network, done.state, source=_WEIGHTS)
    return network.eval()


def replay_bigvgan(config: Mapping[str, Any], inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Return log-mel, waveform and states of a generator, from its weights with and without normalization."""
    vocoder = _vocoder(config, case_dir / _WEIGHTS)
    states: dict[str, Tensor] = {}
    named = dict(vocoder.generator.named_modules())
    watched = {name: module for name, module in named.items() if name.count(".") <= 1 and name}

    def keeping(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, state: states.update({name: state})

    hooks = [
        module.register_forward_hook(keeping(f"act.{name.replace('.', '')}"))
        for name, module in watched.items()
    ]
    outputs: dict[str, Tensor] = {}
    try:
        outputs["log_mel"] = (
            vocoder.log_mel(inputs["waveform"]) if "waveform" in inputs else inputs["log_mel"]
        )
        with torch.inference_mode():
            outputs["generated"] = vocoder.generator(outputs["log_mel"])
    finally:
        for hook in hooks:
            hook.remove()
    outputs |= {name.replace("resblocks", "resblock"): state for name, state in states.items()}
    if (case_dir / _FOLDED).is_file():
        folded = _vocoder(config, case_dir / _FOLDED)
        outputs["generated_after_folding"] = folded.synthesize(outputs["log_mel"])
    return outputs


def _vocoder(config: Mapping[str, Any], weights: Path) -> BigVgan:
    settings = bigvgan_convert.ConversionOptions()
    done = bigvgan_convert.convert_state(
        "audio/golden", read_weights(weights), config, settings, source=weights.name
    )
    return cast("BigVgan", _built(done))


def replay_prior(config: Mapping[str, Any], inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Return predictions, loss, posterior and a deterministic sample of a prior."""
    settings = prior_convert.ConversionOptions(release=config.get("release"))
    done = prior_convert.convert_state(
        "audio/golden", read_weights(case_dir / _WEIGHTS), config, settings, source=_WEIGHTS
    )
    prior = cast("DiffusionPrior", _built(done))
    times, noise = inputs["t"].long(), inputs["noise"]
    clean = inputs["image_embed"] * prior.embed_scale
    conditions = Conditions(inputs["text_embed"], inputs.get("text_encodings"))
    with torch.inference_mode():
        noisy = prior.schedule.noised(clean, times, noise)
        predicted = prior.predict(noisy, times, conditions)
        loss = prior.loss(inputs["image_embed"], conditions, times=times, noise=noise)
        mean, log_variance = prior.schedule.posterior(prior.clean_of(predicted, noisy, times), noisy, times)
        outputs = {
            "noisy_image_embed": noisy,
            "pred": predicted,
            "pred_cond": predicted,
            "loss": loss,
            "loss_no_drop": loss,
            "posterior_mean": mean,
            "posterior_log_variance_clipped": log_variance,
            **_without(prior, noisy, times, conditions),
        }
    steps = int(config["ddim_steps"])
    sampled = prior.denoise(inputs["ddim_start"], conditions, steps=steps, eta=0.0)
    visited = ddim_times(steps, prior.options.timesteps, grid=prior.options.grid)
    return {
        **outputs,
        "ddim_eta0_final_scaled": sampled,
        "ddim_eta0_final": sampled / prior.embed_scale,
        "ddim_eta0_final_normalised": F.normalize(sampled, dim=-1),
        "ddim_times": torch.tensor(visited, dtype=torch.float32),
    }


def _without(
    prior: DiffusionPrior, noisy: Tensor, times: Tensor, conditions: Conditions
) -> dict[str, Tensor]:
    """Return predictions with conditions left out, and guided away from those."""
    everyone = torch.ones(len(noisy), dtype=torch.bool)
    given = {"text_embed": conditions.text_embed, "text_encodings": conditions.text_encodings}
    if not prior.options.uses_encodings:
        given["text_encodings"] = None
    without = prior.net(noisy, times, **given, drop_text=everyone, drop_image=everyone)
    outputs = {
        "pred_uncond": without,
        "pred_text_dropped_only": prior.net(noisy, times, **given, drop_text=everyone),
        "pred_image_dropped_only": prior.net(noisy, times, **given, drop_image=everyone),
        "pred_cfg_2.5": prior.predict(noisy, times, conditions, guidance=2.5),
    }
    # Cases name the scale; any of these may be asked for.
    answer = prior.predict(noisy, times, conditions)
    scales = {*(step / 10 for step in range(101)), *(step / 4 for step in range(41))} - {2.5}
    for scale in scales:
        moved = guided(answer, without, scale)
        outputs |= {f"pred_cfg_{scale}": moved, f"pred_cfg_{scale:g}": moved}
    return outputs


def replay_any(config: Mapping[str, Any], inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Return the outputs of a case of another name, told by the settings that it has."""
    kinds = {"upsample_rates": replay_bigvgan, "ddim_steps": replay_prior}
    found = next((kind for key, kind in kinds.items() if key in config), None)
    if found is None:
        raise InputError(
            f"{case_dir.name}: config.json has none of {', '.join(kinds)}; not a case of CLIPSonic."
        )
    return found(config, inputs, case_dir)


ANY_CASE = "any"

CASES = {
    "bigvgan": replay_bigvgan,
    "diffusion_prior": replay_prior,
    "diffusion_prior_v1_1": replay_prior,
    ANY_CASE: replay_any,
}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute difference allowed for an output.

    1e-4 of the largest magnitude (at least 1e-5) for tensors, 1e-3 of it after a chain of network calls,
    and 0 for the list of time steps.
    """
    if name.endswith("_times"):
        return 0.0
    largest = float(expected.double().abs().nan_to_num(0.0).max())
    if name.startswith("ddim"):
        return max(1e-5, 1e-3 * largest)
    return max(1e-5, 1e-4 * largest)
