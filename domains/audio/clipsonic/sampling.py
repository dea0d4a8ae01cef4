"""From noise to mel spectrograms: samplers of diffusers around the denoiser, with guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, nearest, require
from .noise import signal_power
from .options import NoiseConfig

if TYPE_CHECKING:
    from .model import ClipSonic

Sampler = Literal["dpm", "ddim", "ddpm", "unipc", "deis", "euler"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
MAX_STEPS = 4000
_CLASSES = {
    "dpm": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
_OWN: dict[str, dict[str, Any]] = {
    "dpm": {"algorithm_type": "dpmsolver++", "solver_order": 2},
    # The range of the target; x_0 beyond it comes of strong guidance.
    "ddim": {"clip_sample": True, "clip_sample_range": 1.0, "set_alpha_to_one": True},
    "ddpm": {"clip_sample": True, "clip_sample_range": 1.0},
    "unipc": {"solver_order": 2},
    "deis": {"solver_order": 2},
}
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}


@dataclass(frozen=True)
class SamplingSettings:
    """How spectrograms are drawn.

    Attributes:
        steps: calls of the denoiser. guidance: 1 is the condition alone, more exaggerates it, 0 ignores it.
        sampler: ``dpm`` is DPM-Solver++ of second order in multistep form; ``ddim`` the reference, ``ddpm``
            that of the paper, for as many steps as in training.

    Raises:
        ConfigError: a value out of range, or an unknown sampler.
    """

    steps: int = 25
    guidance: float = 3.0
    sampler: Sampler = "dpm"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"No sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}."
                f"{nearest(self.sampler, SAMPLERS)}"
            )
        if isinstance(self.steps, bool) or not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"steps must be from 1 to {MAX_STEPS}, got {self.steps}.")
        if not 0.0 <= self.guidance <= 100.0:
            raise ConfigError(
                f"guidance must be from 0 (the condition is ignored) to 100, got {self.guidance:g}."
            )


def make_scheduler(noise: NoiseConfig, settings: SamplingSettings) -> Any:
    """Return the diffusers scheduler of a noise schedule, its time steps set.

    Raises:
        ConfigError: more steps than in training, or a schedule that the sampler cannot start from.
        DependencyError: ``diffusers`` is not installed (extra ``audio``).

    Reference: Ho et al., "Denoising Diffusion Probabilistic Models", 2020; Song et al., "Denoising Diffusion
    Implicit Models", 2021; Lu et al., "DPM-Solver++", 2022.
    """
    if settings.steps > noise.steps:
        raise ConfigError(
            f"steps {settings.steps} is more than the {noise.steps} that the model was trained with."
        )
    if noise.zero_terminal and settings.sampler not in ("ddim", "ddpm"):
        raise ConfigError(
            f"This model was trained to start from pure noise, which {settings.sampler!r} cannot. Use "
            "sampler 'ddim'."
        )
    power = signal_power(noise)
    before = torch.cat([torch.ones(1, dtype=power.dtype), power[:-1]])
    made = getattr(require("diffusers", extra="audio"), _CLASSES[settings.sampler])(
        num_train_timesteps=noise.steps,
        trained_betas=(1 - power / before).float().numpy(),
        prediction_type=_PREDICTIONS[noise.prediction],
        timestep_spacing="trailing",
        **_OWN.get(settings.sampler, {}),
    )
    made.set_timesteps(settings.steps)
    return made


@torch.inference_mode()
def sample_targets(
    network: ClipSonic,
    conditions: Tensor,
    settings: SamplingSettings,
    *,
    frames: int,
    generators: Sequence[torch.Generator],
    against: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return spectrograms float32 [B, F, frames] in [-1, 1], the same for equal generators.

    Rows do not depend on each other, up to the rounding of the convolutions.

    Args:
        network: in evaluation mode.
        conditions: unit vectors float32 [B, D] from :meth:`ClipSonic.condition`.
        settings: sampler, steps and guidance; both halves of guidance run as one batch.
        frames: any length; what the U-Net needs beyond it is made and cut off.
        generators: one per row, on the CPU; all noise comes from them.
        against: unit conditions [D] or [B, D] to lead away from instead of the null condition.
        progress: called with (steps done, steps) after each.

    Raises:
        ConfigError: as :func:`make_scheduler`. InputError: shapes that disagree.
    """
    if conditions.ndim != 2 or len(generators) != len(conditions) or frames < 1:
        raise InputError(
            f"Expected conditions [B, D] with B generators and at least one frame, got "
            f"{list(conditions.shape)}, {len(generators)} generators and {frames} frames."
        )
    options, device = network.options, network.device
    multiple = options.denoiser.multiple
    padded = -(-frames // multiple) * multiple
    shape = (1, options.target.mel.n_mels, padded)
    scheduler = make_scheduler(options.noise, settings)
    noise = torch.stack([torch.randn(shape, generator=one) for one in generators]).to(device)
    current = noise * scheduler.init_noise_sigma
    driven = _driven(network, conditions.to(device), against, settings.guidance)
    drawing = {"generator": list(generators)} if settings.sampler == "ddpm" else {}
    for number, step in enumerate(scheduler.timesteps, 1):
        entering = scheduler.scale_model_input(current, step)
        found = _guided(network, entering, step.to(device), driven, settings.guidance)
        current = scheduler.step(found, step, current, **drawing).prev_sample
        if progress is not None:
            progress(number, settings.steps)
    return current[:, 0, :, :frames].clamp(-1.0, 1.0)


def _driven(network: ClipSonic, conditions: Tensor, against: Tensor | None, guidance: float) -> Tensor:
    """Return what drives the U-Net: rows with the condition and, where guidance needs them, rows without."""
    driven = network.drive(conditions)
    if guidance == 1.0:
        return driven
    if against is None:
        kept = torch.zeros(len(conditions), dtype=torch.bool, device=conditions.device)
        return torch.cat([driven, network.drive(conditions, kept)])
    return torch.cat([driven, network.drive(against.to(conditions.device).expand_as(conditions))])


def _guided(network: ClipSonic, entering: Tensor, step: Tensor, driven: Tensor, guidance: float) -> Tensor:
    """Return the prediction led from the one without condition towards the one with it, and beyond."""
    halves = len(driven) // len(entering)
    both = torch.cat([entering] * halves).float()
    found = network.denoiser(both, step.long().expand(len(both)), driven)
    if halves == 1:
        return found
    led, free = found.chunk(2)
    return free + guidance * (led - free)
