"""Replay of the stored ConceptCLIP reference cases, through converter, towers, losses and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ....core.checkpoint import load_strict
from ....core.conversion import Converted, build_empty
from ....core.files import read_json
from ....core.objectives.base import build_objective
from ....core.objectives.streaming import Pairing, sigmoid_sum
from ....core.processing import Processor
from ....core.prompts import PromptSet
from ....core.types import Batch, Outputs
from .collate import collate_all_concepts
from .concepts import AnnotationRule, ConceptSet, concept_vectors, presence
from .convert import convert
from .losses import PatchConceptAlignment, best_patches, collect_concepts, pool_spans
from .model import EXTRAS, ConceptClip
from .scoring import Weights, filled_prompts, global_classifier, local_classifier, score_images

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]


def replay(config: Config, inputs: Tensors, case_dir: Path) -> dict[str, Tensor]:
    """Return every output of a case by name; the outputs themselves are never read.

    Args:
        config: the case's config.json. inputs: images, token ids, spans.
        case_dir: holds ``weights.safetensors``, ``vocab.txt`` and ``captions.json``.
    """
    converted = _convert(config, case_dir)
    network, processor = _load(converted), Processor(converted.processor, converted.tokenizer_json)
    with torch.no_grad():
        got = {**_towers(network, inputs), **_zero_shot(network, processor, config, inputs)}
        got["annotation_probs"] = _annotation(network, processor, config, inputs)
    got["preprocessed_rgb"] = processor("image", [inputs["raw_rgb"].numpy()])["pixels"][0]
    spans = _spans(processor, case_dir)
    got |= _losses(network, config, inputs, spans)
    return got


def _convert(config: Config, case_dir: Path) -> Converted:
    files = {"weights": case_dir / "weights.safetensors", "vocab": case_dir / "vocab.txt"}
    return convert(
        f"golden/{config['case']}",
        files,
        {
            "image_size": config["vision"]["timm_kwargs"]["img_size"],
            "image_heads": config["vision"]["timm_kwargs"]["num_heads"],
            "text_heads": config["text"]["num_attention_heads"],
            "layer_norm_eps": config["text"]["layer_norm_eps"],
            "context_length": config["context_length"],
            "overlong": "truncate",
        },
    )


def _load(converted: Converted) -> ConceptClip:
    network = cast("ConceptClip", build_empty(converted.config))
    load_strict(network, converted.state, source="weights.safetensors")
    return cast("ConceptClip", network.eval())


def _texts(ids: Tensor) -> dict[str, Tensor]:
    return {"input_ids": ids}


def _towers(network: ConceptClip, inputs: Tensors) -> dict[str, Tensor]:
    images, texts = {"pixels": inputs["images"]}, _texts(inputs["token_ids"])
    image_raw, patches = network.embed("image", images, tokens=True)
    text_raw, tokens = network.embed("text", texts, tokens=True)
    outputs = network(Batch({"image": images, "text": texts}), extras=EXTRAS)
    left, right = outputs.embeddings["image"], outputs.embeddings["text"]
    states, spans = outputs.extras["text_concepts"], inputs["span_positions"]
    pooled, exists = pool_spans(states, spans, beyond="last")
    concepts = collect_concepts(states, spans, beyond="last")
    best, index = best_patches(outputs.extras["image_concepts"], concepts.vectors)
    scale, bias = outputs.extras["concept_scale"], outputs.extras["concept_bias"]
    return {
        "image_pooled_raw": image_raw,
        "text_pooled_raw": text_raw,
        "patch_tokens_raw": cast("Any", patches).tokens,
        "text_tokens_raw": cast("Any", tokens).tokens,
        "image_features": left,
        "text_features": right,
        "image_token_features": outputs.extras["image_concepts"],
        "text_token_features": outputs.extras["text_concepts"],
        "logit_scale": outputs.logit_scale,
        "logit_bias": cast("Tensor", outputs.logit_bias),
        "concept_logit_scale": scale,
        "concept_logit_bias": bias,
        "logits_per_image": network.logits(left, right),
        "softmax_without_bias": network.similarity(left, right, mode="softmax"),
        "concept_pooled": pooled,
        "concept_mask": exists,
        "concept_max_logit": scale * best + bias,
        "concept_argmax_patch": index,
    }


def _spans(processor: Processor, case_dir: Path) -> Tensor:
    """Return the spans that the collate makes of the captions' characters, int64 [B, K, 2].

    The training code, unlike the evaluation code, does not clean what it tokenizes.
    """
    text = cast("Any", processor.config.text).model_copy(update={"clean": "none"})
    as_given = Processor(processor.config.model_copy(update={"text": text}), processor.tokenizer_json)
    captions = read_json(case_dir / "captions.json")["batch"]
    extras = [
        {
            "concepts": [
                {"start": one["start_char"], "end": one["end_char"]} for one in given["umls_meta_info"]
            ]
        }
        for given in captions
    ]
    texts = [given["caption"] for given in captions]
    return collate_all_concepts(extras, texts, as_given)["concept_spans"]


def _zero_shot(
    network: ConceptClip, processor: Processor, config: Config, inputs: Tensors
) -> dict[str, Tensor]:
    asked = config["zero_shot"]
    prompts = PromptSet(
        name="golden",
        classes={name: (name,) for name in asked["classnames"]},
        templates=tuple(asked["templates"]),
    )
    whole = global_classifier(network, processor, prompts)
    words = local_classifier(network, processor, filled_prompts(prompts), reads="first_occurrence")
    weights = Weights(asked["alpha"], asked["topk"])
    scores = score_images(network, {"pixels": inputs["images"]}, (whole, words), weights)
    return {"zs_global_classifier": whole.T, "zs_local_classifier": words.T, "zs_probs": scores}


def _annotation(network: ConceptClip, processor: Processor, config: Config, inputs: Tensors) -> Tensor:
    asked = config["annotation"]
    text = cast("Any", processor.config.text).model_copy(update={"context_length": asked["context_length"]})
    wider = Processor(processor.config.model_copy(update={"text": text}), processor.tokenizer_json)
    concepts = ConceptSet(**asked["template"], concepts=tuple(asked["concepts"]))
    # There the share is that of the whole picture; in zero-shot diagnosis it is that of the patches.
    rule = AnnotationRule(1 - asked["alpha"], None, "last_position")
    vectors = concept_vectors(network, wider, concepts, rule)
    images = wider("image", list(inputs["annotation_raw_images"].numpy()))
    return presence(network, images, vectors, rule)[0].transpose(0, 1)


def _losses(network: ConceptClip, config: Config, inputs: Tensors, spans: Tensor) -> dict[str, Tensor]:
    given = {"image": {"pixels": inputs["images"]}, "text": _texts(inputs["token_ids"])}
    batch = Batch(given, extras={"concept_spans": spans})
    objective = build_objective(
        "conceptclip", {"weight": config["concept_loss_weight"], "beyond": "last"}, domain="medical"
    )
    network.zero_grad(set_to_none=True)
    outputs = network(batch, extras=objective.needs.output_extras)
    parts = objective(outputs, batch)
    parts["loss"].backward()
    gradients = {
        _source_name(name): torch.zeros_like(one) if one.grad is None else one.grad
        for name, one in network.named_parameters()
    }
    norms = {name: gradient.norm() for name, gradient in gradients.items()}
    got = {f"grad/{name}": gradient for name, gradient in gradients.items()}
    got |= {f"grad_norm/{name}": norm for name, norm in norms.items()}
    got["grad_norm_total"] = torch.stack(list(norms.values())).norm()
    network.zero_grad(set_to_none=True)
    with torch.no_grad():
        outputs = network(batch, extras=objective.needs.output_extras)
        got |= _loss_values(network, outputs, batch, inputs)
    total = {
        "loss_total": parts["loss"],
        "loss_it_align": parts["it_align"],
        "loss_concept_weighted": parts["pc_align"],
    }
    return {**got, **{name: value.detach() for name, value in total.items()}}


def _loss_values(network: ConceptClip, outputs: Outputs, batch: Batch, inputs: Tensors) -> dict[str, Tensor]:
    last = {"beyond": "last"}
    plain = cast("PatchConceptAlignment", build_objective("pc_align", last, domain="medical"))
    # One score at a time has to give what one block gives.
    pieces = cast(
        "PatchConceptAlignment", build_objective("pc_align", {**last, "budget": 1}, domain="medical")
    )
    value = plain(outputs, batch)["loss"]
    got = {
        "loss_pc_align": value,
        "loss_pc_align_check": pieces(outputs, batch)["loss"],
        "loss_stage1": build_objective("sigmoid")(outputs, batch)["loss"],
    }
    spans = batch.extras["concept_spans"]
    if bool((spans[..., 0] >= 0).any(dim=1).all()):
        joined = build_objective("pc_align", {**last, "reduction": "lse"}, domain="medical")
        got["loss_pc_lse_variant"] = joined(outputs, batch)["loss"]
    theirs = network(
        Batch({"image": {"pixels": inputs["other_images"]}, "text": _texts(inputs["other_token_ids"])}),
        extras=EXTRAS,
    )
    others = collect_concepts(theirs.extras["text_concepts"], inputs["other_span_positions"], beyond="last")
    got["loss_pc_negative_shard"] = plain.between(outputs, others, paired=False)
    image, text = outputs.embeddings["image"], theirs.embeddings["text"]
    got["loss_it_negative_shard"] = sigmoid_sum(
        image,
        text,
        scale=outputs.logit_scale,
        bias=outputs.logit_bias,
        pairing=replace(Pairing(), offset=None),
        chunk=None,
    ) / len(image)
    return got


def _source_name(name: str) -> str:
    """Return the reference's name of one of our parameters."""
    for ours, theirs in (
        ("towers.image.model.", "visual.trunk."),
        ("towers.text.", "text.transformer."),
        ("projections.text.", "text.proj."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


CASES = {"conceptclip": replay}
"""Golden cases by name."""

ANY_CASE = "conceptclip"
"""Replays every case: sizes, captions, classes and concepts all come from the case itself."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute difference allowed for an output."""
    if name.startswith("grad_norm/") and name.endswith(".key.bias"):
        # Zero in exact arithmetic: a key bias moves all scores of a query alike.
        return 1e-4
    largest = float(expected.double().abs().max()) if expected.numel() else 0.0
    if name.startswith("grad"):
        return 1e-6 + 1e-3 * largest
    if name in ("concept_mask", "concept_argmax_patch"):
        return 0.0
    if name.startswith("loss"):
        return 1e-4
    return 1e-5 * max(1.0, largest)
