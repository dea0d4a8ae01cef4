"""What the room's models give to other runtimes beside their towers; see ``core/graphs.py``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.graph_trials import BATCHES, recordings
from ...core.graphs import Graph
from ...core.model import ContrastiveModel
from ...core.processing import Processor
from .clap.features import PIECES, fused_features
from .clap.model import Clap
from .clipsep.model import ClipSep
from .clipsonic.bigvgan import BigVgan


def clap(network: ContrastiveModel, processor: Processor) -> list[Graph]:
    """Return the audio tower of a model that fuses; one that does not is a tower like any other.

    Its input is always that of a whole recording and three pieces of it: transformers picks the rows that
    are longer than a window, which no graph can, so here every row is fused and then one of both is taken.
    """
    config = processor.config.audio
    if not isinstance(network, Clap) or not network.fuses or config is None:
        return []
    short = recordings(config.sampling_rate, config.window_s)
    long = [*recordings(config.sampling_rate, 2.3 * config.window_s)[:2], *short[:2]]
    rows = [fused_features(torch.from_numpy(wave), config) for wave in [*short[:4], *long]]
    return [
        Graph(
            name="audio",
            run=functools.partial(_fuse, network),
            trials=_batches({name: torch.cat([row[name] for row in rows]) for name in rows[0]}),
            output="embedding",
            meaning=f"unit embeddings float32 [B, {network.config.embed_dim}]",
            expect=functools.partial(network.encode, "audio"),
            unit=True,
            note="features [B, 4, frames, mels] are the whole recording and three pieces of it where "
            "is_longer is set, else one window four times.",
        )
    ]


def _fuse(network: Clap, inputs: Mapping[str, Tensor]) -> Tensor:
    tower: Any = network.towers["audio"]
    patches = tower.model.audio_encoder.patch_embed
    patches.forward = functools.partial(_fused_patches, patches, inputs["is_longer"])
    try:
        return network.encode("audio", inputs)
    finally:
        del patches.forward


def _fused_patches(embed: Any, longer: Tensor, states: Tensor, _: Tensor | None = None) -> Tensor:
    """Return patches [B, N, W] of spectrograms [B, 4, F, T]: fused where ``longer``, else of the first."""
    first = embed.proj(states[:, :1])
    pieces = embed.mel_conv2d(states[:, 1:].flatten(0, 1)[:, None]).unflatten(0, (-1, PIECES))
    beside = pieces.permute(0, 2, 3, 1, 4).flatten(3)
    beside = F.pad(beside, (0, first.shape[-1] - beside.shape[-1]))
    found = torch.where(longer[:, :, None, None], embed.fusion_model(first, beside), first)
    return embed.norm(found.flatten(2).transpose(1, 2) if embed.flatten else found)


def clipsep(network: ContrastiveModel, processor: Processor) -> list[Graph]:
    """Return the mask network."""
    separator = cast("ClipSep", network)
    options, spectra = separator.options, separator.spectra
    generator = torch.Generator().manual_seed(0)
    waves = torch.rand(max(BATCHES), options.window_samples, generator=generator) * 2 - 1
    waves[1] = 0.0
    with torch.no_grad():
        _, level = spectra.log_magnitude(spectra.stft(waves[:, None]).abs())
    frames = level.shape[-1] // options.frames_multiple * options.frames_multiple
    inputs = {"log_magnitude": level[..., :frames].contiguous()}
    if options.kind == "label":
        inputs["queries"] = torch.randint(options.n_labels or 1, (len(waves), 1), generator=generator)
    elif options.kind != "pit":
        queries = torch.randn(len(waves), 1, options.query_dim, generator=generator)
        inputs["queries"] = F.normalize(queries, dim=-1) if options.normalize_queries else queries

    def masks(given: Mapping[str, Tensor]) -> Tensor:
        return separator.separator(given["log_magnitude"], given.get("queries"))[0].sigmoid()

    return [
        Graph(
            name="masks",
            run=masks,
            trials=_batches(inputs),
            output="masks",
            meaning=f"masks float32 [B, {2 if options.kind == 'pit' else 1}, H, T] in [0, 1]",
            expect=lambda given: separator.masks(given["log_magnitude"], given.get("queries")),
            note=f"masks.onnx takes windows of {frames} frames. The transform around it is not in the file: "
            "audio/separate of verticlip, or the settings in options.spectra of config.json.",
        )
    ]


def bigvgan(network: ContrastiveModel, processor: Processor) -> list[Graph]:
    """Return the generator: log-mels to waveforms."""
    vocoder = cast("BigVgan", network)
    generator = torch.Generator().manual_seed(0)
    samples = 24 * vocoder.mel.hop_length
    waves = (torch.rand(max(BATCHES), samples, generator=generator) - 0.5) * 0.6
    waves[1] = 0.0
    with torch.no_grad():
        mel = vocoder.log_mel(waves)
    trials: dict[str, Mapping[str, Tensor]] = {**_batches({"mel": mel})}
    trials["nine frames"] = {"mel": mel[:2, :, :9].contiguous()}
    return [
        Graph(
            name="waves",
            run=lambda given: vocoder.generator(given["mel"]),
            trials=trials,
            output="waves",
            meaning="waveforms float32 [B, 1, frames * hop] in [-1, 1]",
            free={"mel": (2,)},
            # Sines of large arguments amplify what rounding changes; this is 80 dB below full scale.
            tolerance=1e-4,
        )
    ]


def _batches(inputs: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {f"batch of {rows}": {name: value[-rows:] for name, value in inputs.items()} for rows in BATCHES}
