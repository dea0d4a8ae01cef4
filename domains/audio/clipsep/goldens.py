"""Replay of the stored CLIPSep reference cases: model, losses, gradients, inference and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ....core.checkpoint import load_strict
from ....core.config import ModelConfig
from ....core.objectives.base import build_objective
from ....core.types import Batch
from .losses import NoiseInvariantLoss, bin_weights, target_masks, without_closest
from .model import EXTRAS, ClipSep
from .reference_inference import separate_as_published

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]

_SOFT_DB, _HARD_DB = 60.0, 35.0
"""Signal-to-noise ratio that soft- and hard-masked waveforms have to reach against the stored ones."""


def _model(config: Config, state: Tensors, kind: str, **options: Any) -> ClipSep:
    """Return the network of a case with the reference's tensors, in eval mode."""
    spectra = {
        "n_fft": config.get("n_fft", 1024),
        "hop_length": config.get("hop_len", 256),
        "win_length": config.get("win_len", 1024),
        "log_frequency": config.get("log_freq", True),
        "rows": config.get("freq_bins_warped", 256),
        **options.pop("spectra", {}),
    }
    settings = {
        "kind": kind,
        "layers": config["layers"],
        "channels": config["channels"],
        "ngf": config["ngf"],
        "sampling_rate": config.get("audio_rate", 16_000),
        "spectra": spectra,
        **options,
    }
    settings.setdefault("frames", 2 ** config["layers"])
    network = ClipSep(
        ModelConfig(
            name="golden/clipsep", domain="audio", architecture="clipsep", embed_dim=0, options=settings
        )
    )
    load_strict(network.separator, state, source="weights.safetensors")
    # The reference's layout in memory: then convolutions round as there. It decides about gradients where a
    # mask is within rounding of saturation.
    network.separator.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return network.eval()


def _weights(case_dir: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(case_dir / "weights.safetensors")


def _batch(config: Config, inputs: Tensors, queries: Tensor | None = None) -> Batch:
    sources = torch.cat([inputs[f"mags{source}"] for source in range(config["n_mix"])], dim=1)
    extras = {"source_magnitudes": sources}
    if queries is not None:
        extras["queries"] = queries
    return Batch({"mixture": {"magnitude": inputs["mag_mix"]}}, extras=extras)


def _queries(config: Config, inputs: Tensors) -> Tensor:
    return torch.stack([inputs[f"query{source}"] for source in range(config["n_mix"])], dim=1)


def _loss(network: ClipSep, batch: Batch, name: str, **options: Any) -> Tensor:
    objective = build_objective(name, options, domain="audio")
    outputs = network(batch, extras=objective.needs.output_extras)
    return objective(outputs, batch)["loss"]


def _trained(network: ClipSep, loss: Tensor, name: str) -> dict[str, Tensor]:
    """Return a training loss, its gradients under the reference's names, and their norm."""
    loss.backward()
    separator = network.separator
    gradients = {key: one.grad for key, one in separator.named_parameters() if one.grad is not None}
    norm = torch.stack([one.norm() for one in gradients.values()]).norm()
    got = {f"train.grad.{key}": one for key, one in gradients.items()}
    return {**got, f"train.{name}": loss.detach(), "train.grad_norm": norm}


def replay_late(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay late fusion: masks, targets, losses in eval mode; loss and gradients in train mode."""
    state = _weights(case_dir)
    options = {"query_dim": config.get("query_dim", 512)}
    network = _model(config, state, "late", **options)
    batch = _batch(config, inputs, _queries(config, inputs))
    weighted = {"weighted": config.get("weighted_loss", True)}
    with torch.no_grad():
        found = network(batch, extras=EXTRAS[:1] + EXTRAS[2:]).extras
        mixture, sources = found["mixture_magnitude"], found["source_magnitudes"]
        targets = target_masks(mixture, sources)
        linear = _model(config, state, "late", **options, spectra={"log_frequency": False})
        got = {
            "eval.mag_mix_warped": mixture,
            "eval.weight": bin_weights(mixture, **weighted),
            "eval.loss": _loss(network, batch, "clipsep", **weighted),
            "eval.loss_unweighted": _loss(network, batch, "clipsep", weighted=False),
            "eval.loss_linear_freq_first512": _loss(linear, batch, "clipsep", **weighted),
        }
        for source in range(config["n_mix"]):
            one = slice(source, source + 1)
            got[f"eval.mags{source}_warped"] = sources[:, one]
            got[f"eval.gt_mask{source}"] = targets[:, one]
            got[f"eval.pred_mask{source}"] = found["query_logits"][:, one].sigmoid()
        if config["n_mix"] == 2:
            for count in range(1, len(mixture)):
                fewer = without_closest(batch, count)
                got[f"eval.loss_drop_closest_{count}"] = _loss(network, fewer, "clipsep", **weighted)
    if config["n_mix"] == 2:
        dropped = {"drop_closest": -1, "drop_closest_after": -1}
        got["eval.loss_drop_closest_-1"] = _loss(network, batch, "clipsep", **weighted, **dropped).detach()
    network.train()
    got |= _trained(network, _loss(network, batch, "clipsep", **weighted), "loss")
    norm = cast("Any", network.separator.sound_net).bn0
    got |= {
        "train.bn0.running_mean_after": norm.running_mean,
        "train.bn0.running_var_after": norm.running_var,
    }
    return got


def replay_nit(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay CLIPSep-NIT: logits, pairings, regularisers, warm-up, one query alone; training."""
    network = _model(config, _weights(case_dir), "nit", query_dim=config.get("query_dim", 512))
    queries = _queries(config, inputs)
    batch = _batch(config, inputs, queries)
    options = {
        "weighted": config.get("weighted_loss", True),
        "activity_weight": config["reg2_coef"],
        "activity_limit": config["reg2_epsilon"],
        "margin_weight": config["reg_coef"],
        "margin": config["reg_epsilon"],
    }
    plain = {**options, "activity_weight": 0.0, "margin_weight": 0.0}
    with torch.no_grad():
        outputs = network(batch, extras=EXTRAS)
        wanted, noise = outputs.extras["query_logits"], outputs.extras["noise_logits"]
        objective = cast("NoiseInvariantLoss", build_objective("clipsep_nit", plain, domain="audio"))
        same, swapped = objective.pairings(outputs)
        alone, heads = network.mask_logits(outputs.extras["mixture_magnitude"].log(), queries[:, :1])
        margin = {**plain, "margin_weight": 0.5, "margin": 0.1}
        got = {
            "eval.loss_reg2": _loss(network, batch, "clipsep_nit", **options),
            "eval.loss_plain_nit": _loss(network, batch, "clipsep_nit", **plain),
            "eval.loss_reg1_coef0.5_eps0.1": _loss(network, batch, "clipsep_nit", **margin),
            "eval.loss_pairing_identity": same,
            "eval.loss_pairing_swapped": swapped,
            "eval.mean_act": wanted.sigmoid().sum(dim=1).mean(),
            "eval.mean_pit_act": noise.sigmoid().sum(dim=1).mean(),
            "infer.pred_logits": alone,
        }
        for index in range(2):
            one = slice(index, index + 1)
            got[f"eval.pred_logits{index}"] = wanted[:, one]
            got[f"eval.pit_logits{index}"] = noise[:, one]
            got[f"infer.pit_logits{index}"] = cast("Tensor", heads)[:, one]
    warmup = _loss(network, batch, "clipsep_nit", **options, warmup_steps=1)
    got["eval.loss_no_pit_warmup"] = warmup.detach()
    network.train()
    return got | _trained(network, _loss(network, batch, "clipsep_nit", **options), "loss_reg2")


def replay_variants(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay PIT, label table, sentence vectors and middle fusion in eval mode."""
    state = _weights(case_dir)
    labels = torch.tensor(config["labels"]).T if "labels" in config else None
    got: dict[str, Tensor] = {}
    for prefix in dict.fromkeys(name.split(".")[0] for name in state):
        own = {
            name.removeprefix(f"{prefix}."): one
            for name, one in state.items()
            if name.startswith(f"{prefix}.")
        }
        options: dict[str, Any] = {}
        queries: Tensor | None = None
        if prefix == "label":
            rows, width = own["label_net.weight"].shape
            options, queries = {"n_labels": rows, "query_dim": width}, labels
        elif prefix == "bert":
            vectors = inputs["bert_embeddings"]
            options, queries = {"query_dim": vectors.shape[1]}, vectors[labels]
        elif prefix == "mid":
            queries = _queries(config, inputs)
            options = {"query_dim": queries.shape[-1]}
        network = _model(config, own, {"mid": "middle"}.get(prefix, prefix), **options)
        batch = _batch(config, inputs, queries)
        with torch.no_grad():
            masks = network(batch, extras=("query_logits",)).extras["query_logits"].sigmoid()
            got[f"{prefix}.loss"] = _loss(network, batch, "clipsep_pit" if prefix == "pit" else "clipsep")
        for source in range(masks.shape[1]):
            got[f"{prefix}.pred_mask{source}"] = masks[:, source : source + 1]
    return got


def replay_inference(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay the published program from waveform to waveforms, hard and soft masks."""
    state = _weights(case_dir)
    kind = "nit" if "pit_nets.0.weight" in state else "late"
    network = _model(config, state, kind, query_dim=config.get("query_dim", 512), frames=256)
    given = network, inputs["waveform"], inputs["query"]
    length = config.get("audio_len")
    hard = separate_as_published(*given, threshold=config.get("mask_threshold", 0.5), length=length)
    soft = separate_as_published(*given, threshold=None, length=length)
    got: dict[str, Tensor] = {}
    for word, found in (("hard", hard), ("soft", soft)):
        got[f"target.{word}.wav"] = found.waves[0]
        if found.noise is not None:
            got |= {f"pit{head + 1}.{word}.wav": wave for head, wave in enumerate(found.noise)}
    got["mask_warped.target"] = soft.masks[None]
    got["mask_linear.target.first64frames"] = soft.linear_masks[None, ..., :64]
    if soft.noise_masks is not None:
        got |= {f"mask_warped.pit{head + 1}": mask[None, None] for head, mask in enumerate(soft.noise_masks)}
    return got


def replay_bss_eval(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay the separation metrics: BSS Eval of images (v4) and sources (v3), plain and scale-free SDR."""
    from ..metrics.separation import bss_eval, plain_sdr, si_sdr

    references, estimates = inputs["references"], inputs["estimates"]
    mixture = inputs["mixture"].expand_as(references)
    taps = config.get("filters_len", 512)
    order = torch.arange(len(references))
    runs = {
        "museval_v4": bss_eval(references, estimates, filter_length=taps),
        "museval_v4_mixture": bss_eval(references, mixture, filter_length=taps),
        "museval_v4_len64": bss_eval(references, estimates, filter_length=64),
        "museval_v3_sources": bss_eval(references, estimates, filter_length=taps, version=3),
    }
    got = {
        f"{run}.{name}": torch.as_tensor(value).float()[:, None]
        for run, values in runs.items()
        for name, value in {**values, "perm": order}.items()
    }
    sources = {**runs["museval_v3_sources"], "perm": order}
    got |= {f"mir_eval_sources.{name}": torch.as_tensor(one).float() for name, one in sources.items()}
    plain = torch.as_tensor(plain_sdr(references, estimates)).float()
    return got | {
        "audiosep.sdr": plain,
        "plain_snr_float64": plain,
        "audiosep.sdr_mixture": torch.as_tensor(plain_sdr(references, mixture)).float(),
        "audiosep.sisdr": torch.as_tensor(si_sdr(references, estimates)).float(),
    }


def replay(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay a case of any name: what it holds says what it is."""
    if "references" in inputs:
        return replay_bss_eval(config, inputs, case_dir)
    if "waveform" in inputs:
        return replay_inference(config, inputs, case_dir)
    if "models" in config:
        return replay_variants(config, inputs, case_dir)
    nit = "reg2_coef" in config
    return replay_nit(config, inputs, case_dir) if nit else replay_late(config, inputs, case_dir)


CASES = {
    "clipsep": replay,
    "clipsep_late": replay_late,
    "clipsep_nit": replay_nit,
    "variants": replay_variants,
    "inference": replay_inference,
    "bss_eval": replay_bss_eval,
}
"""Golden cases by name."""

ANY_CASE = "clipsep"
"""Replays cases of other names."""

_METRICS = ("museval", "mir_eval", "audiosep", "plain_snr")


def error(case: str, name: str, got: Tensor, expected: Tensor) -> float | None:
    """Return the relative root-mean-square error of a waveform; None asks for the largest difference.

    A bin whose mask lies within rounding of the threshold may flip, which is a large difference in few
    samples: waveforms are judged by their energy.
    """
    if not name.endswith(".wav"):
        return None
    wave = expected.double()
    return float((got.double() - wave).norm() / wave.norm().clamp(min=torch.finfo(torch.float32).tiny))


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error allowed for an output, in the terms of :func:`error`."""
    if name.endswith(".wav"):
        return 10 ** (-(_HARD_DB if ".hard." in name else _SOFT_DB) / 20)
    if name.startswith("mask_"):
        return 2e-3
    if name.startswith(_METRICS):
        return 0.01
    return 1e-5 if "loss" in name else 1e-4
