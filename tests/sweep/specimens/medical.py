"""UniMed-CLIP, ConceptCLIP, BioViL and CXR-BERT."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from verticlip.core.config import ModelConfig
from verticlip.core.model import build_model
from verticlip.core.registry import ModelSpec
from verticlip.domains.medical.unimed.convert import source_name

from .specimen import GOLDEN, Specimen, place, published, put


def unimed(patch: int) -> Specimen:
    """Return a UniMed-CLIP of the registered widths, which tell its files apart: one thin block a tower."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        options = published(spec).options
        vocabulary = place(spec, folder, "vocab")
        shutil.copy(GOLDEN / "unimed_clip" / "tiny_b16" / "vocab.txt", vocabulary)
        thin = {"layers": 1, "mlp_width": 16}
        image = {"backend": "vit", "patch_size": patch, "image_size": options["image_size"], **thin}
        text = {"backend": "bert", "max_positions": 256, "pooling": "cls", **thin}
        config = ModelConfig.model_validate(
            {
                "name": spec.name,
                "embed_dim": options["embed_dim"],
                "towers": {
                    "image": {
                        **image,
                        "width": options["image_width"],
                        "heads": options["image_width"] // 64,
                        "output_dim": options["embed_dim"],
                    },
                    "text": {
                        **text,
                        "width": options["text_width"],
                        "heads": options["text_width"] // 64,
                        "vocab_size": len(vocabulary.read_text(encoding="utf-8").splitlines()),
                        "projection": "mlp",
                        "projection_hidden": 16,
                        "projection_bias": False,
                    },
                },
            }
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            state = build_model(config).state_dict()
        trained = {f"module.{source_name(name)}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 10, "state_dict": trained}, place(spec, folder, "weights"))
        return {"weights": place(spec, folder, "weights"), "vocab": vocabulary}

    return Specimen("words and pictures", make)


def _conceptclip(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    case = GOLDEN / "conceptclip" / "tiny_a"
    weights, vocabulary = place(spec, folder, "weights"), place(spec, folder, "vocab")
    shutil.copy(case / "weights.safetensors", weights)
    shutil.copy(case / "vocab.txt", vocabulary)
    return {"weights": weights, "vocab": vocabulary}


def _text(spec: ModelSpec, folder: Path, *, joint: bool = True) -> dict[str, Path]:
    """Write a CXR-BERT, with its head for the joint space or without."""
    case = GOLDEN / "biovil" / "phrase_grounding"
    state = _part(case, "text_model.")
    if not joint:
        state = {name: one for name, one in state.items() if not name.startswith("cls_projection_head.")}
    shutil.copy(case / "vocab.txt", place(spec, folder, "vocab"))
    return {"text": put(spec, folder, state, "text"), "vocab": place(spec, folder, "vocab")}


def _biovil(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    image = _thinned(_part(GOLDEN / "biovil" / "phrase_grounding", "image_model."))
    return {"image": put(spec, folder, image, "image"), **_text(spec, folder)}


def _biovil_t(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    image = _thinned(load_file(GOLDEN / "biovil" / "image_encoder_temporal" / "weights.safetensors"))
    files = _text(spec, folder)
    # The two cases have joint spaces of 32 and 24 values; the wider one is cut.
    width = len(torch.load(files["text"])["cls_projection_head.dense_to_output.weight"])
    last = "projector.model.3."
    image |= {last + part: image[last + part][:width] for part in ("weight", "bias")}
    return {"image": put(spec, folder, image, "image"), **files}


def _part(case: Path, start: str) -> dict[str, torch.Tensor]:
    state = load_file(case / "weights.safetensors")
    return {name.removeprefix(start): one for name, one in state.items() if name.startswith(start)}


def _thinned(image: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return an image model with the first two of each group of residual blocks."""
    late = re.compile(r"encoder\.encoder\.layer\d\.([2-9]|\d\d)\.")
    return {name: one for name, one in image.items() if not late.match(name)}


SPECIMENS = {
    "medical/unimed-clip-vit-b16": unimed(16),
    "medical/unimed-clip-vit-l14-336-base-text": unimed(14),
    "medical/unimed-clip-vit-l14-336-large-text": unimed(14),
    # Heads are known for the published widths alone.
    "medical/conceptclip": Specimen(
        "conceptclip", _conceptclip, {"image_heads": 4, "text_heads": 4}, dimension=48
    ),
    "medical/biovil": Specimen("biovil", _biovil, dimension=24),
    "medical/biovil-t": Specimen("biovil", _biovil_t, dimension=24),
    "medical/cxr-bert-general": Specimen(
        "masked words", lambda spec, folder: _text(spec, folder, joint=False), dimension=40
    ),
}
