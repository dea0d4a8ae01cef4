"""Replay of the stored reference results of the shared core (golden system ``core``).

A case is a folder with ``config.json``, ``inputs.safetensors`` and ``outputs.safetensors``. A replay
function gets the config and inputs and returns a tensor for each output it knows; it never reads
the outputs. Where an objective has a plain and a tiled path, both are run and must agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from .errors import VerticlipError
from .objectives.base import Objective, build_objective, file_process_group
from .objectives.caption import CoCa
from .objectives.distill import Distill
from .objectives.pairwise import CWCL, InfoNCE, Sigmoid, info_nce
from .objectives.streaming import Pairing, logit_statistics, sigmoid_sum
from .types import Batch, Outputs

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]
Replay = Callable[[Config, Tensors, Path], dict[str, Tensor]]
Job = tuple[str, "int | None", str, dict[str, Any]]

CHUNKS: tuple[int | None, ...] = (None, 1, 3, 512)
"""Tile sides every two-tower case is replayed with; None is the plain path."""

TOLERANCES: dict[str, Any] = {
    # Largest allowed difference, relative to the largest absolute value of the expected tensor.
    "relative": {"float32": 1e-5, "float64": 1e-12},
    # A bias cancels in a softmax: the stored gradient is rounding noise around an exact zero.
    "absolute": {"open_clip.clip_loss_bias": {"grad.logit_bias": 1e-6}},
}

_REFUSED = "gather_with_grad=False+local_loss=True"
NOT_REPLAYED = {
    "open_clip.multiprocess_clip": {
        f"{_REFUSED}.{name}": "InfoNCE refuses this mode: it loses the gradient of other ranks' rows"
        for name in ("loss", "grad.image_features", "grad.text_features", "grad.logit_scale")
    }
}
"""{case: {output: reason}} for outputs that are left out on purpose."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute difference allowed for output ``name`` of a case."""
    absolute = TOLERANCES["absolute"].get(case, {}).get(name)
    if absolute is not None:
        return absolute
    dtype = str(expected.dtype).removeprefix("torch.")
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return TOLERANCES["relative"].get(dtype, 0.0) * largest


def _leaves(inputs: Tensors, *names: str) -> dict[str, Tensor]:
    return {name: inputs[name].detach().clone().requires_grad_() for name in names if name in inputs}


def _with_gradients(values: Tensors, leaves: Tensors) -> dict[str, Tensor]:
    """Return ``values``, detached, and the gradients of ``values["loss"]`` as ``grad.<leaf>``."""
    gradients = torch.autograd.grad(values["loss"], list(leaves.values()))
    return {
        **{name: value.detach() for name, value in values.items()},
        **{f"grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)},
    }


def _agreed(case: str, runs: Mapping[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the first run after checking that the others agree with it.

    Two float32 paths may each be off by the tolerance, in cases near convergence by more: ten times
    the tolerance still catches a wrong formula.
    """
    labels = list(runs)
    first = runs[labels[0]]
    for label in labels[1:]:
        for name, expected in first.items():
            difference = float((runs[label][name] - expected).abs().max())
            allowed = 10 * tolerance(case, name, expected)
            if not difference <= allowed:
                raise VerticlipError(
                    f"{case}: {name} with {label} differs from {labels[0]} by {difference:.2e}, "
                    f"more than {allowed:.2e}."
                )
    return first


def _run_two_tower(
    inputs: Tensors, objective: Objective, extra: tuple[str, ...] = (), batch: Batch | None = None
) -> dict[str, Tensor]:
    """Return parts and gradients of an objective on the usual names of a two-tower case."""
    leaves = _leaves(inputs, "image_features", "text_features", "logit_scale", "logit_bias", *extra)
    outputs = Outputs(
        {"image": leaves["image_features"], "text": leaves["text_features"]},
        logit_scale=leaves["logit_scale"],
        logit_bias=leaves.get("logit_bias"),
        extras={"caption_logits": leaves["logits"]} if "logits" in leaves else {},
    )
    parts = objective(outputs, Batch({}) if batch is None else batch)
    return _with_gradients(parts, leaves)


def clip_loss(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE, with or without a bias."""
    runs = {f"chunk={chunk}": _run_two_tower(inputs, InfoNCE(chunk=chunk)) for chunk in CHUNKS}
    result = _agreed(config["case"], runs)
    logits = inputs["logit_scale"] * inputs["image_features"] @ inputs["text_features"].T
    return {**result, "logits_per_image": logits, "logits_per_text": logits.T}


def siglip_loss(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Pairwise sigmoid loss."""
    runs = {f"chunk={chunk}": _run_two_tower(inputs, Sigmoid(chunk=chunk)) for chunk in CHUNKS}
    result = _agreed(config["case"], runs)
    logits = inputs["logit_scale"] * inputs["image_features"] @ inputs["text_features"].T
    return {**result, "logits": logits + inputs["logit_bias"]}


def siglip_loss_negative_only(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Sigmoid loss of a block whose columns came from another process."""
    runs = {}
    for chunk in CHUNKS:
        leaves = _leaves(inputs, "image_features", "text_features", "logit_scale", "logit_bias")
        total = sigmoid_sum(
            leaves["image_features"],
            leaves["text_features"],
            scale=leaves["logit_scale"],
            bias=leaves["logit_bias"],
            pairing=Pairing(offset=None),
            chunk=chunk,
        )
        loss = total / len(leaves["image_features"])
        runs[f"chunk={chunk}"] = _with_gradients({"loss": loss}, leaves)
    return _agreed(config["case"], runs)


def coca_loss(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE plus captioning."""
    batch = Batch({}, extras={"caption_labels": inputs["labels"]})
    weights = float(config["clip_loss_weight"]), float(config["caption_loss_weight"])
    runs = {
        f"chunk={chunk}": _run_two_tower(
            inputs, CoCa(*weights, pad_id=int(config["pad_id"]), chunk=chunk), ("logits",), batch
        )
        for chunk in CHUNKS
    }
    result = _agreed(config["case"], runs)
    return {**result, "contrastive_loss": result["contrastive"], "caption_loss": result["caption"]}


def distill_clip_loss(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE plus soft distillation."""
    batch = Batch(
        {},
        extras={"teacher_image": inputs["dist_image_features"], "teacher_text": inputs["dist_text_features"]},
    )
    teacher_scale = float(inputs["dist_logit_scale"])
    runs = {
        f"chunk={chunk}": _run_two_tower(inputs, Distill(teacher_scale, chunk=chunk), batch=batch)
        for chunk in CHUNKS
    }
    result = _agreed(config["case"], runs)
    return {**result, "contrastive_loss": result["contrastive"], "distill_loss": result["distill"]}


def label_smoothed_infonce(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE with label smoothing; the scale comes from the config."""
    given = {**inputs, "logit_scale": torch.tensor(config["logit_scale"], dtype=torch.float64)}
    smoothing = float(config["label_smoothing"])
    runs = {f"chunk={chunk}": _run_two_tower(given, InfoNCE(smoothing, chunk=chunk)) for chunk in CHUNKS}
    return _agreed(config["case"], runs)


def cwcl(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Continuously weighted InfoNCE; the case states its temperature ``tau = 1 / scale``."""
    runs = {}
    for chunk in CHUNKS:
        leaves = _leaves(inputs, "frozen_features", "trained_features")
        leaves["tau"] = torch.tensor(config["tau"], dtype=torch.float64, requires_grad=True)
        outputs = Outputs(
            {"image": leaves["frozen_features"], "text": leaves["trained_features"]}, 1 / leaves["tau"]
        )
        parts = CWCL(chunk=chunk)(outputs, Batch({}))
        runs[f"chunk={chunk}"] = _with_gradients(parts, leaves)
    result = _agreed(config["case"], runs)
    frozen = inputs["frozen_features"]
    return {
        **result,
        "weights": (frozen @ frozen.T + 1) / 2,
        "loss_weighted": result["weighted"],
        "loss_plain": result["plain"],
    }


def streaming_infonce(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE in tiles, square and symmetric or rectangular with rows only."""
    symmetric, pairing = bool(config["symmetric"]), Pairing(int(config["label_offset"]))
    runs = {}
    for chunk in (None, *config["chunk_sizes_to_test"]):
        leaves = _leaves(inputs, "query", "keys")
        leaves["logit_scale"] = torch.tensor(config["logit_scale"], dtype=torch.float64, requires_grad=True)
        query, keys, scale = leaves.values()
        stats = logit_statistics(query, keys, scale=scale, pairing=pairing, columns=symmetric, chunk=chunk)
        loss = info_nce(query, keys, scale=scale, pairing=pairing, symmetric=symmetric, chunk=chunk)
        result = {
            "row_lse": stats.row_loss + stats.partner,
            "positive_logit": stats.partner,
            "loss_rows": stats.row_loss.mean(),
            "loss": loss,
        }
        if stats.column_loss is not None:
            result["col_lse"] = stats.column_loss + stats.partner
            result["loss_cols"] = stats.column_loss.mean()
        runs[f"chunk={chunk}"] = _with_gradients(result, leaves)
    return _agreed(config["case"], runs)


def multiprocess_clip(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """InfoNCE over several processes in every gather mode but the one that is refused."""
    modes = {
        f"gather_with_grad={with_grad}+local_loss={local}": {
            "gather_with_grad": with_grad,
            "local_loss": local,
        }
        for with_grad, local in ((True, True), (True, False), (False, False))
    }
    return _multiprocess(config, inputs, "infonce", modes)


def multiprocess_siglip(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Sigmoid loss over several processes in every exchange mode."""
    modes = {exchange: {"exchange": exchange} for exchange in ("bidir", "shift", "reduce", "gather")}
    return _multiprocess(config, inputs, "sigmoid", modes)


def _multiprocess(
    config: Config, inputs: Tensors, objective: str, modes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Return each mode's loss and gradients stacked over ranks, and those of one process."""
    jobs = [
        (mode, chunk, objective, {**options, "chunk": chunk})
        for mode, options in modes.items()
        for chunk in (None, 3)
    ]
    world_size = int(config["world_size"])
    with tempfile.TemporaryDirectory() as folder:
        spawn(run_rank, args=(world_size, folder, dict(inputs), jobs), nprocs=world_size)
        ranks = [load_file(Path(folder) / f"rank{rank}.safetensors") for rank in range(world_size)]
    stacked = {name: torch.stack([rank[name] for rank in ranks]) for name in ranks[0]}
    flat = {name: tensor.flatten(0, 1) if tensor.ndim == 3 else tensor for name, tensor in inputs.items()}
    single = _run_two_tower(flat, build_objective(objective))
    results = {
        f"single.{name}": tensor.reshape(inputs[name.removeprefix("grad.")].shape) if tensor.ndim else tensor
        for name, tensor in single.items()
    }
    for mode in modes:
        names = ("loss", *(name for name in single if name.startswith("grad.")))
        runs = {
            f"{mode} chunk={chunk}": {name: stacked[f"{mode}/{chunk}/{name}"] for name in names}
            for chunk in (None, 3)
        }
        agreed = _agreed(config["case"], runs)
        results.update({f"{mode}.{name}": tensor for name, tensor in agreed.items()})
    return results


def run_rank(rank: int, world_size: int, folder: str, inputs: Tensors, jobs: Sequence[Job]) -> None:
    """Run every job as one rank of a gloo group and store ``rank<r>.safetensors`` in ``folder``.

    Args:
        rank: this process.
        world_size: number of processes.
        folder: shared folder for the rendezvous file and the results.
        inputs: tensors [world_size, B, ...], of which this rank uses its own; scalars are shared.
        jobs: ``(mode, chunk, objective name, its options)``; results are ``mode/chunk/name``.
    """
    torch.set_num_threads(1)
    mine = {name: tensor[rank] if tensor.ndim else tensor for name, tensor in inputs.items()}
    batch = Batch({}, labels=mine.pop("labels", None))
    results = {}
    with file_process_group(rank, world_size, Path(folder) / "rendezvous"):
        for mode, chunk, objective, options in jobs:
            found = _run_two_tower(mine, build_objective(objective, options), batch=batch)
            results.update({f"{mode}/{chunk}/{name}": tensor for name, tensor in found.items()})
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in results.items()},
        Path(folder) / f"rank{rank}.safetensors",
    )


CASES: dict[str, Replay] = {
    "open_clip.clip_loss": clip_loss,
    "open_clip.clip_loss_bias": clip_loss,
    "open_clip.siglip_loss": siglip_loss,
    "open_clip.siglip_loss_negative_only": siglip_loss_negative_only,
    "open_clip.coca_loss": coca_loss,
    "open_clip.distill_clip_loss": distill_clip_loss,
    "open_clip.multiprocess_clip": multiprocess_clip,
    "open_clip.multiprocess_siglip": multiprocess_siglip,
    "formula.streaming_infonce": streaming_infonce,
    "formula.label_smoothed_infonce": label_smoothed_infonce,
    "formula.cwcl": cwcl,
}
