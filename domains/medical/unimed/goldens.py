"""Replay of stored UniMed-CLIP reference results, through converter, network, processor and objective."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.checkpoint import load_strict
from ....core.config import ProcessorConfig, TextProcessing
from ....core.conversion import Converted, build_empty
from ....core.errors import DataError, InputError, VerticlipError
from ....core.files import read_json
from ....core.heads.zero_shot import class_embeddings
from ....core.model import ContrastiveModel
from ....core.objectives.pairwise import InfoNCE
from ....core.processing import Processor
from ....core.prompts import PromptSet
from ....core.types import Batch
from .convert import convert, resize_position_table, source_name
from .drawing import NO_REPORT, candidates, draw

ANY_CASE = "any"
"""Every case has the same outputs at other sizes, so one replay serves whatever the name."""

_DRAW_SEED = 7


def replay(config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path) -> dict[str, Tensor]:
    """Return every output of a case; texts.json is compared on the way.

    Raises:
        InputError: a setting of the case that UniMed-CLIP does not have.
        VerticlipError: token ids, or the captions that may be drawn, differ from the stored ones.
    """
    texts = read_json(case_dir / "texts.json")
    converted = _convert(config, case_dir)
    network = build_empty(converted.config)
    load_strict(network, converted.state, source=case_dir.name)
    network.eval()
    processor = Processor(_as_reference(converted.processor), converted.tokenizer_json)
    _compare_tokens(processor, texts["texts"], inputs["token_ids"])
    prompts = [prompt for own in texts["class_prompts"].values() for prompt in own]
    _compare_tokens(processor, prompts, inputs["zeroshot_prompt_ids"])
    _compare_captions(texts.get("caption_sampling", []))
    outputs = _features(network, processor, inputs["images"], texts["texts"])
    outputs |= _training(network, processor, inputs["images"], texts["texts"])
    outputs |= _zero_shot(network, processor, texts["class_prompts"], outputs["image_features"])
    side = int(config["resize_pos_embed_grid"])
    table = network.state_dict()["towers.image.positional_embedding"]
    outputs["pos_embed_resized"] = resize_position_table(table, (side, side))
    for name in ("rgb", "gray"):
        if f"raw_{name}" in inputs:
            image = inputs[f"raw_{name}"].numpy()
            outputs[f"preprocessed_{name}"] = processor("image", [image])["pixels"][0]
    return outputs


def _convert(config: Mapping[str, Any], case_dir: Path) -> Converted:
    text, vision = config["text"], config["vision_cfg"]
    for key, value, wanted in (
        ("pooler", text.get("pooler"), "cls_last_hidden_state_pooler"),
        ("hidden_act", text.get("hidden_act"), "gelu"),
        ("pad_token_id", text.get("pad_token_id"), 0),
    ):
        if value not in (None, wanted):
            raise InputError(f"{case_dir.name}: {key} is {value!r}; UniMed-CLIP has {wanted!r}.")
    options = {
        "image_size": vision["image_size"],
        "image_head_width": vision["head_width"],
        "text_head_width": text["hidden_size"] // text["num_attention_heads"],
        "quick_gelu": config["quick_gelu"],
        "layer_norm_eps": text["layer_norm_eps"],
        "context_length": config["context_length"],
        "overlong": "truncate",
    }
    files = {
        "weights": case_dir / "weights.safetensors",
        "vocab": case_dir / config["tokenizer"]["vocab_file"],
    }
    return convert("golden", files, options)


def _as_reference(config: ProcessorConfig) -> ProcessorConfig:
    """Return the processor that also encodes an empty text, which is [CLS][SEP] to the reference."""
    text = cast("TextProcessing", config.text).model_copy(update={"allow_empty": True})
    return config.model_copy(update={"text": text})


def _compare_tokens(processor: Processor, texts: list[str], expected: Tensor) -> None:
    """Raise unless our ids are the stored ones, which are padded to the context length."""
    ids = processor("text", texts)["input_ids"]
    padded = F.pad(ids, (0, expected.shape[1] - ids.shape[1]))
    wrong = (padded != expected).any(dim=1).nonzero().flatten().tolist()
    if wrong:
        raise VerticlipError(
            f"The tokens of text {wrong[0]} ({texts[wrong[0]][:60]!r}) differ from the stored."
        )


def _compare_captions(stored: list[dict[str, Any]]) -> None:
    """Raise unless the candidates, and the one drawn after seeding, are those of the reference.

    Our own reader gives the same captions but those that are none: empty ones and the word that stands
    for a missing report, which are a known defect there.
    """
    for number, case in enumerate(stored):
        text, expected = case["stored_text"], sorted(set(case["possible_captions"]))
        found = candidates(text, reference=True)
        if sorted(set(found)) != expected:
            raise VerticlipError(
                f"caption_sampling {number}: candidates {sorted(set(found))}, not {expected}."
            )
        no_caption = {"", NO_REPORT}
        wanted = {caption.strip() for caption in expected} - no_caption
        ours = set(_own_candidates(text)) - no_caption
        if ours != wanted:
            raise VerticlipError(
                f"caption_sampling {number}: candidates {sorted(ours)}, not {sorted(wanted)}."
            )
        picked = draw(found, _DRAW_SEED)
        if picked != case.get("pick_with_random_seed_7", picked):
            raise VerticlipError(f"caption_sampling {number}: {picked!r} drawn, not the stored caption.")


def _own_candidates(text: str) -> list[str]:
    try:
        return candidates(text)
    except DataError:
        # Nothing but empty pieces, which the reference draws from all the same.
        return []


@torch.no_grad()
def _features(
    network: ContrastiveModel, processor: Processor, images: Tensor, texts: list[str]
) -> dict[str, Tensor]:
    image = network.encode("image", {"pixels": images}, normalize=False)
    text = network.encode("text", processor("text", texts), normalize=False)
    units = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    logits = network.logits(*units)
    return {
        "image_features": image,
        "text_features": text,
        "image_features_norm": units[0],
        "text_features_norm": units[1],
        "logit_scale_exp": network.scale(),
        "logits_per_image": logits,
        "probs": logits.softmax(dim=-1),
    }


def _training(
    network: ContrastiveModel, processor: Processor, images: Tensor, texts: list[str]
) -> dict[str, Tensor]:
    """Return loss and gradients by the reference's parameter names."""
    batch = Batch({"image": {"pixels": images}, "text": processor("text", texts)})
    loss = InfoNCE()(network(batch), batch)["loss"]
    named = dict(network.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()))
    by_source = {source_name(name): found for name, found in zip(named, gradients, strict=True)}
    norms = {f"grad_norm/{name}": found.norm() for name, found in by_source.items()}
    return {
        "clip_loss": loss.detach(),
        "grad_norm_total": torch.stack(list(norms.values())).norm(),
        **norms,
        **{f"grad/{name}": found for name, found in by_source.items()},
    }


@torch.no_grad()
def _zero_shot(
    network: ContrastiveModel, processor: Processor, prompts: Mapping[str, list[str]], images: Tensor
) -> dict[str, Tensor]:
    # Numbers, since a prompt set refuses names that a user could not tell apart ("a b" and "A_B").
    numbered = {f"class {number}": list(texts) for number, texts in enumerate(prompts.values())}
    named = PromptSet.model_validate(
        {"name": "case", "classes": {name: [name] for name in numbered}, "prompts": numbered}
    )
    classes = class_embeddings(named, lambda texts: network.encode("text", processor("text", texts)))
    return {
        "zeroshot_class_features": classes,
        "zeroshot_cosine": network.similarity(F.normalize(images, dim=-1), classes),
    }


CASES = {ANY_CASE: replay}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest absolute difference allowed for an output.

    Two float32 implementations of the same formulas: 1e-5 for features, 1e-4 for logits and loss, a
    thousandth for gradients. The gradient of a key bias is zero but for rounding.
    """
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    if name.startswith("grad"):
        return 1e-4 if name.endswith("self.key.bias") else 1e-3 * largest + 1e-6
    if name.startswith(("logits", "clip_loss")):
        return 1e-4
    if name == "logit_scale_exp":
        return 1e-6 * largest
    return 1e-5
