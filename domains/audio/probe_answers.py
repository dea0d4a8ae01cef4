"""What stored probes ask the architectures of the room beside their towers; see ``core/probe_inputs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F

from ...core.probe_inputs import ProbeInputs, scale_answers, tower_answers

if TYPE_CHECKING:
    from torch import Tensor

    from ...core.model import ContrastiveModel
    from .clap.model import Clap
    from .clipsep.model import ClipSep
    from .clipsonic.bigvgan import BigVgan, Generator
    from .clipsonic.model import ClipSonic
    from .clipsonic.prior import DiffusionPrior

_FRAMES = 48
"""Of the mixture: a fraction of what separators are trained on, filled up with silence."""
_MEL_FRAMES = 4
_NOISY_FRAMES = 16
_TOKENS = 6
_QUERIES = 3


def answers_of_clap(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return the scale of the other direction as well, and a recording that is longer than the window."""
    model = cast("Clap", network)
    found = {**tower_answers(model, inputs), "scale.text": model.logit_scale_text.exp().reshape(1)}
    audio = inputs.processor.config.audio
    if model.fuses and inputs.waves is not None and audio is not None:
        # Repeated rather than stored: ten seconds are two megabytes.
        wave = inputs.waves[0].repeat(2 * audio.window_samples // inputs.waves.shape[1] + 1)
        whole = model.inputs_of_whole("audio", wave, inputs.processor)
        found["audio.whole"] = model.embed("audio", {k: t.to(model.device) for k, t in whole.items()})[0]
    return found


def answers_of_clipsep(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return the masks of a mixture for queries of every tower, and what the noise heads say."""
    model = cast("ClipSep", network)
    found = tower_answers(model, inputs)
    mixture = inputs.draw("mixture", 1, 1, _FRAMES * model.spectra.hop_length, std=0.1)
    _, log_magnitude = model.spectra.log_magnitude(model.spectra.stft(mixture).abs())
    wanted, noise = model.mask_logits(log_magnitude, _queries(model, inputs))
    found["masks"] = wanted
    return found if noise is None else {**found, "noise": noise}


def _queries(model: ClipSep, inputs: ProbeInputs) -> Tensor | None:
    options = model.options
    if options.kind == "pit":
        return None
    if options.n_labels is not None:
        return torch.arange(min(_QUERIES, options.n_labels), device=model.device)
    if not model.modalities:
        return inputs.draw("queries", _QUERIES, options.query_dim)
    return torch.cat([model.query(name, inputs.prepared[name]) for name in model.modalities])


def answers_of_clipsonic(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return one step of the diffusion with and without condition, the conditions, and the vocoder's wave."""
    model = cast("ClipSonic", network)
    found = tower_answers(model, inputs)
    own, options = model.options.condition.modality, model.options
    for modality in model.modalities:
        if modality == own or (model.bridge.knows(modality) and model.bridge.knows(own)):
            unit = F.normalize(found[f"{modality}.embedding"], dim=-1)
            found[f"{modality}.condition"] = model.condition(unit, modality)
    # Deviations are read by one of the ways across alone.
    found |= {f"bridge.{name}": buffer for name, buffer in model.bridge.named_buffers()}
    multiple, mel = options.denoiser.multiple, options.target.mel
    frames = -(-_NOISY_FRAMES // multiple) * multiple
    noisy = inputs.draw("noisy_mel", 3, 1, mel.n_mels, frames)
    count = options.noise.steps
    steps = torch.tensor([count // 20, count // 2, count - 1], device=model.device)
    kept = torch.tensor([True, True, False], device=model.device)
    condition = found[f"{own}.condition"][:1].expand(3, -1)
    found["denoised"] = model.denoiser(noisy, steps, model.drive(condition, kept))
    return found if model.vocoder is None else {**found, "wave": _wave(model.vocoder, inputs)}


def answers_of_bigvgan(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return the wave of a few frames."""
    return {**scale_answers(network), "wave": _wave(cast("BigVgan", network).generator, inputs)}


def _wave(generator: Generator, inputs: ProbeInputs) -> Tensor:
    return generator(inputs.draw("vocoder_mel", 1, generator.config.n_mels, _MEL_FRAMES, mean=-4.0, std=2.0))


def answers_of_diffusion_prior(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return one step of the diffusion with text and image, and with either left out."""
    model = cast("DiffusionPrior", network)
    options, dim = model.options, model.dim
    noisy, text = inputs.draw("noisy", 2, dim), inputs.draw_unit("text_embed", 2, dim)
    given: dict[str, Tensor] = {"text_embed": text}
    if options.uses_encodings and options.network.text_length:
        length = min(_TOKENS, options.network.text_length)
        encodings = inputs.draw("text_encodings", 2, length, dim).clone()
        encodings[1, length // 2 :] = 0.0  # padding: what a shorter text ends in
        given["text_encodings"] = encodings
    if options.network.self_conditioning:
        given["previous"] = inputs.draw("previous", 2, dim)
    times = torch.tensor([1, options.timesteps - 1], device=model.device)
    found = {**scale_answers(model), "predicted": model.net(noisy, times, **given)}
    if options.network.can_drop_text:
        text_only, image_only = (
            torch.tensor(row, device=model.device) for row in ([False, True], [True, False])
        )
        found["dropped"] = model.net(noisy, times, **given, drop_text=text_only, drop_image=image_only)
    return found
