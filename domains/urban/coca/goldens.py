"""Replay of the stored UrbanCLIP cases of the model: features, losses, gradients, one step, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.checkpoint import load_strict
from ....core.config import LN_100
from ....core.errors import VerticlipError
from ....core.files import read_json
from ....core.objectives.base import build_objective
from ....core.types import Batch, Outputs
from .convert import config_from_open_clip
from .model import CoCaModel, name_here, name_in_open_clip
from .validation import caption_losses, evaluate_pairs

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]

_EVALUATED = {
    "published_generative_loss": "eval_ref.val_generative_loss",
    "val_generative_loss": "eval_fixed.generative_loss_ignore_pad",
    "val_generative_loss_with_pad": "eval_fixed.generative_loss_with_pad",
}
"""{name of :func:`evaluate_pairs`: output of a case}; the others are ``eval_ref.<name>``."""


def load_coca_from_golden(config: Config, tensors: Tensors) -> CoCaModel:
    """Return the network of a case in evaluation mode.

    Args:
        config: the case's; ``model`` holds the arguments of open_clip's CoCa class.
        tensors: its state under open_clip's names, also with the prefix ``coca.``; tensors of other
            modules beside it (a regressor's) are left alone when the prefix is there.

    Raises:
        ConfigError: ``model`` describes what the architecture does not do.
        WeightsError: missing, unexpected or misshapen tensors.

    Example:
        >>> network = load_coca_from_golden(config, load_file("weights.safetensors"))  # doctest: +SKIP
    """
    if any(name.startswith("coca.") for name in tensors):
        tensors = {
            name.removeprefix("coca."): value for name, value in tensors.items() if name.startswith("coca.")
        }
    network = CoCaModel(config_from_open_clip(str(config.get("case", "coca")), config["model"]))
    state = {name_here(name) or name: value for name, value in tensors.items()}
    load_strict(network, state, source="weights.safetensors")
    return network.eval()


def replay_coca_loss(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Replay one forward and backward pass, one step of the optimizer and the evaluation."""
    from safetensors.torch import load_file

    run = config["run"]
    arguments = {**read_json(case_dir / "config.json"), "case": config["case"]}
    network = load_coca_from_golden(arguments, load_file(case_dir / "weights.safetensors"))
    # The reference pads a case to its own length, which need not be the context.
    network.options = network.options.model_copy(update={"pad_to_context": False})
    found = _evaluated(network, inputs, run)
    got = {_EVALUATED.get(name, f"eval_ref.{name}"): value for name, value in found.items()}
    got["eval_ref.epoch"] = torch.tensor(0.0)
    network.train()
    return {**got, **_step(network, inputs, run)}


def _batch(images: Tensor, texts: Tensor) -> Batch:
    given = {"image": {"pixels": images}, "text": {"input_ids": texts}}
    return Batch(given, extras={"caption_labels": texts[:, 1:]})


def _evaluated(network: CoCaModel, inputs: Tensors, run: Config) -> dict[str, Tensor]:
    size = int(run["val_batch"])
    images, texts = inputs["val_images"].split(size), inputs["val_texts"].split(size)
    found = evaluate_pairs(network, [_batch(*pair) for pair in zip(images, texts, strict=True)])
    return {name: torch.tensor(value) for name, value in found.items()}


def _step(network: CoCaModel, inputs: Tensors, run: Config) -> dict[str, Tensor]:
    """Return features, losses, gradients, and the parameters after one step.

    Where a parameter has no influence (the bias of keys), its gradient is rounding, and AdamW makes a step of
    full length of it. The gradients are therefore those of the losses as the reference writes them, which
    rounds as it does, once the objective that recipes use has been seen to agree.
    """
    batch = _batch(inputs["images"], inputs["texts"])
    labels, pad_id = batch.extras["caption_labels"], network.special.pad
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=float(run["lr"]), weight_decay=float(run["wd"]), betas=(0.9, 0.999), eps=1e-8
    )
    weights = {"clip_weight": float(run["wcon"]), "caption_weight": float(run["wcap"])}
    objective = build_objective("coca", {**weights, "pad_id": pad_id}, domain="urban")
    parts = objective(network(batch, extras=objective.needs.output_extras), batch)
    parts["loss"].backward()
    used = _gradients(network)
    optimizer.zero_grad()
    outputs = network(batch, tokens=("image", "text"), extras=objective.needs.output_extras)
    logits = outputs.extras["caption_logits"]
    contrastive, caption = written_out(outputs, labels, pad_id, **weights)
    total = contrastive + caption
    total.backward()
    gradients = _gradients(network)
    _check_agree(parts["loss"], total, used, gradients)
    got = {
        "image_features": outputs.embeddings["image"],
        "text_features": outputs.embeddings["text"],
        "image_features_unnormalized": network.encode("image", batch.inputs["image"], normalize=False),
        "image_tokens": outputs.tokens["image"].tokens,
        "text_tokens": _words_only(outputs.tokens["text"].tokens, inputs["texts"] != pad_id),
        "logits": _words_only(logits, labels != pad_id),
        "labels": labels,
        "logit_scale": outputs.logit_scale,
        "contrastive_loss": parts["contrastive"],
        "caption_loss": parts["caption"],
        "total_loss": parts["loss"],
        "generative_loss_with_pad": torch.tensor(caption_losses(logits, labels, pad_id)[1]),
        "grad_norm_total": torch.stack([one.double().norm() for one in gradients.values()]).norm(),
    }
    got = {name: value.detach().clone() for name, value in got.items()}
    got |= {f"grad.{name_in_open_clip(name)}": value for name, value in gradients.items()}
    optimizer.step()
    with torch.no_grad():
        low, high = run.get("logit_scale_clamp", (0.0, LN_100))
        network.logit_scale.clamp_(low, high)
    for name, parameter in network.named_parameters():
        got[f"after_step.{name_in_open_clip(name)}"] = parameter.detach()
    return got


def written_out(
    outputs: Outputs, labels: Tensor, pad_id: int, *, clip_weight: float, caption_weight: float
) -> tuple[Tensor, Tensor]:
    """Return the weighted contrastive and caption loss in the plainest form.

    Args:
        outputs: with ``caption_logits`` [B, L, V]. labels: int64 [B, L].

    Reference: open_clip 3.3, ``CoCaLoss``.
    """
    logits = outputs.extras["caption_logits"].permute(0, 2, 1)
    caption = caption_weight * F.cross_entropy(logits, labels, ignore_index=pad_id)
    if not clip_weight:
        return torch.zeros_like(caption), caption
    images, texts = outputs.embeddings["image"], outputs.embeddings["text"]
    target = torch.arange(len(images), device=images.device)
    rows = F.cross_entropy(outputs.logit_scale * images @ texts.T, target)
    columns = F.cross_entropy(outputs.logit_scale * texts @ images.T, target)
    return clip_weight * ((rows + columns) / 2), caption


def _gradients(network: CoCaModel) -> dict[str, Tensor]:
    return {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}


def _check_agree(loss: Tensor, total: Tensor, used: Tensors, gradients: Tensors) -> None:
    """Raise ``VerticlipError`` unless the objective gives the loss and gradients of :func:`written_out`."""
    largest = max((float(one.norm()) for one in gradients.values()), default=0.0)
    differences = {name: float((used[name] - one).norm()) for name, one in gradients.items()}
    name = max(differences, key=lambda key: differences[key])
    found, written = float(loss.detach()), float(total.detach())
    if abs(found - written) > 1e-5 * max(1.0, written) or differences[name] > 1e-4 * largest:
        raise VerticlipError(
            f"The objective 'coca' gives the loss {found:.6f}, written out it is {written:.6f}; the "
            f"gradients of {name} differ by {differences[name]:.2e} (largest norm {largest:.2e})."
        )


def _words_only(values: Tensor, real: Tensor) -> Tensor:
    """Return values [B, L, D] with not-a-number at padding, where releases of open_clip differ.

    A value of a word that is not a number becomes infinite: it would pass for padding.
    """
    return values.nan_to_num(nan=torch.inf).masked_fill(~real[..., None], torch.nan)


def error(case: str, name: str, got: Tensor, expected: Tensor) -> float | None:
    """Return what is compared with the tolerance: of logits and text tokens the largest error at a word;
    of gradients the largest error beyond 1e-4 of the value."""
    if name in ("logits", "text_tokens"):
        real = ~got.isnan()
        return float((got[real] - expected[real]).abs().max()) if bool(real.any()) else 0.0
    if name.startswith("grad."):
        difference = (got.double() - expected.double()).abs() - 1e-4 * expected.double().abs()
        return float(difference.max().clamp(min=0)) if difference.numel() else 0.0
    return None


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output: 1e-5, of gradients 1e-6 beyond :func:`error`'s share."""
    if name == "labels" or name.endswith(("num_samples", "epoch")):
        return 0.0
    if name.startswith("grad."):
        return 1e-6
    if name == "grad_norm_total":
        return 1e-6 + 1e-4 * float(expected.abs().max())
    return 1e-5


CASES = {"coca_loss": replay_coca_loss}
