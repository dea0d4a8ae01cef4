"""Reference cases of FLIP: logits by text, every part of the training loss, the head of FLIP-V.

Sizes come from the stored tensors and, where no tensor tells, from ``config.json``; the weights are read by
the converter's own reading of keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....core.checkpoint import load_strict, read_weights
from ....core.config import ModelConfig
from ....core.errors import InputError
from ....core.model import build_model
from ....core.types import Batch
from ..objectives.flip import FlipMCLLoss, simclr_logits
from ..taxonomy import BONA_FIDE, Category, Taxonomy
from .base import Scores, liveness_options
from .categories import CategoryModel
from .checkpoints import FlipParts, flip_parts
from .flip_mcl import FlipMCL
from .flip_v import FlipV

_LIVE = "real"
"""What the cases call a live presentation."""


def flip_taxonomy(order: tuple[str, ...], inputs: Mapping[str, Tensor]) -> Taxonomy:
    """Return categories in the case's order, with as many (empty of meaning) texts as it has prompts."""
    return Taxonomy(
        name="golden",
        categories=tuple(
            Category(
                id=name,
                kind="live" if name == _LIVE else "attack",
                species=BONA_FIDE if name == _LIVE else "attack",
                texts=tuple(f"{name} {row}" for row in range(len(inputs[f"{name}_token_ids"]))),
            )
            for name in order
        ),
    )


def class_order(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes in the order of the logits' columns."""
    return tuple(config.get("class_order", ("spoof", _LIVE)))


def build_flip(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], parts: FlipParts, architecture: str
) -> CategoryModel:
    """Return the case's network with its weights, in evaluation mode, and its prompts as tokens."""
    order = class_order(config)
    options = liveness_options(flip_taxonomy(order, inputs), **parts.options)
    raw = {
        "name": "golden/flip", "domain": "liveness", "architecture": architecture,
        "embed_dim": parts.embed_dim, "towers": parts.towers, "options": options,
    }  # fmt: skip
    network = build_model(ModelConfig.model_validate(raw))
    if not isinstance(network, CategoryModel):
        raise InputError(f"Architecture {architecture!r} does not compare pictures with texts.")
    load_strict(network, parts.state, source="weights.safetensors")
    network.set_taxonomy_tokens(
        {"input_ids": torch.cat([inputs[f"{name}_token_ids"].long() for name in order])}
    )
    return network.eval()


def _parts(config: Mapping[str, Any], case_dir: Path) -> FlipParts:
    clip = config["clip"]
    vision, text = int(clip["vision_width"]), int(clip["transformer_width"])
    heads = int(config.get("vision_heads", 0)) or max(1, vision // 64)
    found = flip_parts(
        read_weights(case_dir / "weights.safetensors"),
        source="weights.safetensors",
        quick_gelu=config.get("activation", "quick_gelu") == "quick_gelu",
        image_head_width=vision // heads,
        text_head_width=text // int(clip["transformer_heads"]),
    )
    # Pixels beyond the last whole patch leave no trace in the weights.
    image = {**found.towers["image"], "image_size": int(clip["image_resolution"])}
    return replace(found, towers={**found.towers, "image": image})


def before_projection(network: CategoryModel, pixels: Tensor) -> Tensor:
    """Return the class token [B, W] after the last norm and before CLIP's projection."""
    tower: Any = network.towers["image"]
    return tower.normalize(tower.encode(tower.embed({"pixels": pixels}))[:, 0])


@torch.no_grad()
def replay_flip_it(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return embeddings, logits and probabilities of a FLIP-IT case.

    Args:
        config: ``clip`` sizes, ``class_order``.
        inputs: ``image`` [B, 3, S, S] normalized, ``<class>_token_ids`` [P, L].
        case_dir: holds ``weights.safetensors`` under the reference's names.
    """
    network = build_flip(config, inputs, _parts(config, case_dir), "categories")
    texts = network.text_embeddings().split(list(network.taxonomy.counts))
    logits = network.liveness_scores([{"pixels": inputs["image"]}])
    order = class_order(config)
    return {
        "image_features": network.encode("image", {"pixels": inputs["image"]}, normalize=False),
        "image_features_pre_projection": before_projection(network, inputs["image"]),
        "logits": logits,
        f"prob_{_LIVE}": Scores(logits, network.taxonomy).p_live.float(),
        **{f"{name}_prompt_embeddings": own for name, own in zip(order, texts, strict=True)},
    }


def replay_flip_mcl(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return losses, gradients and running statistics of one training step of FLIP-MCL.

    Args:
        config: as for :func:`replay_flip_it`, with ``ssl_temperature`` and ``loss_weights``.
        inputs: further ``view_1``, ``view_2``, ``labels`` and the prompts drawn, by class.
        case_dir: as for :func:`replay_flip_it`.
    """
    network = build_flip(config, inputs, _parts(config, case_dir), "flip_mcl")
    if not isinstance(network, FlipMCL):
        raise InputError("Architecture 'flip_mcl' is not that of this package.")
    temperature = float(config.get("ssl_temperature", 0.1))
    weights = config.get("loss_weights", {})
    loss = FlipMCLLoss(
        temperature,
        classification_weight=weights.get("cls", 1.0),
        simclr_weight=weights.get("simclr", 1.0),
        consistency_weight=weights.get("mse", 1.0),
    )
    labels = inputs["labels"].long()
    first_text = torch.tensor([0, *network.taxonomy.counts]).cumsum(0)[labels][:, None]
    views = {}
    for number in (1, 2):
        drawn = inputs[f"prompt_view_{number}_indices"].long()
        views[f"prompt_view_{number}"] = torch.where(drawn < 0, drawn, drawn + first_text)
    batch = Batch(
        {"image": {"pixels": inputs["image"]}},
        labels,
        extras={"view_1": inputs["view_1"], "view_2": inputs["view_2"], **views},
    )
    network.train()
    outputs = network(batch, extras=loss.needs.output_extras)
    parts = loss(outputs, batch)
    parts["loss"].backward()
    projected = (outputs.extras[f"view_{number}_projections"] for number in (1, 2))
    found = {
        "logits": outputs.extras["category_logits"],
        "logits_ssl": simclr_logits(*projected, temperature=temperature),
        "labels_ssl": torch.zeros(2 * len(labels), dtype=torch.int64),
        "loss_cls": parts["classification"] / loss.weights["classification"],
        "loss_simclr": parts["simclr"] / loss.weights["simclr"],
        "loss_mse": parts["consistency"] / loss.weights["consistency"],
        "loss_total": parts["loss"],
        **_gradients(network),
    }
    for name, buffer in network.image_mlp.named_buffers():
        found[f"{name.replace('.', '_')}_after"] = buffer
    with torch.no_grad():
        found["logits_eval_after"] = network.eval().liveness_scores([{"pixels": inputs["image"]}])
    return found


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    """Return the norm of the gradient of every parameter and of all, under the reference's names."""
    grads = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    found = {"grad_norm_total": torch.stack([grad.norm() for grad in grads.values()]).norm()}
    for name, grad in grads.items():
        short = name.removeprefix("towers.text.").replace("towers.image.", "visual.").replace(".", "_")
        found[f"grad_norm_{short}"] = grad.norm()
        found[f"grad_{short}"] = grad
    return found


@torch.no_grad()
def replay_flip_v_head(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return hidden state, embedding, logits and normalized weight of the head of FLIP-V.

    Args:
        config: unused; the tensors tell all sizes.
        inputs: ``features`` [B, W], the class token before CLIP's projection.
        case_dir: as for :func:`replay_flip_it`.
    """
    state = read_weights(case_dir / "weights.safetensors")
    weight, bias = (state[f"embedder.bottleneck_layer_fc.{kind}"] for kind in ("weight", "bias"))
    classes = state["classifier.classifier_layer.weight"]
    kinds = ["attack"] * (len(classes) - 1) + ["live"]
    taxonomy = Taxonomy(
        name="golden",
        categories=tuple(
            Category(
                id=f"class_{row}",
                kind="live" if kind == "live" else "attack",
                species=BONA_FIDE if kind == "live" else "attack",
                texts=(kind,),
            )
            for row, kind in enumerate(kinds)
        ),
    )
    # The smallest tower that ends in this width; only the head behind it is called.
    tower = {
        "backend": "vit", "image_size": 1, "patch_size": 1, "width": weight.shape[1], "layers": 1, "heads": 1,
        "mlp_width": 1, "projection": "linear", "projection_bias": True,
    }  # fmt: skip
    raw = {
        "name": "golden/flip", "domain": "liveness", "architecture": "flip_v", "embed_dim": len(weight),
        "towers": {"image": tower}, "options": liveness_options(taxonomy),
    }  # fmt: skip
    network = FlipV(ModelConfig.model_validate(raw)).eval()
    load_strict(network.projections["image"], {"weight": weight, "bias": bias}, source="weights.safetensors")
    own = {"weight": classes, "bias": state["classifier.classifier_layer.bias"]}
    load_strict(network.classifier, own, source="weights.safetensors")
    found = network.head(inputs["features"])
    return {
        "embedding": found.embedding,
        "embedding_no_norm": found.hidden,
        "logits": found.logits,
        "classifier_weight_after_forward": network.classifier.normalized(),
    }


CASES = {
    "flip_it": replay_flip_it,
    "flip_mcl": replay_flip_mcl,
    "flip_v_head": replay_flip_v_head,
}
"""Golden cases by name."""

_RELATIVE = {"flip_it": 0.0, "flip_mcl": 2e-4, "flip_v_head": 0.0}
_ABSOLUTE = {"flip_it": 1e-4, "flip_mcl": 1e-8, "flip_v_head": 1e-5}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output that its case allows; whole numbers have to be equal."""
    if not expected.is_floating_point():
        return 0.0
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return _ABSOLUTE[case] + _RELATIVE[case] * largest
