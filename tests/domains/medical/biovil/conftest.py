"""Small BioViL and BioViL-T models with random weights that are large enough to tell inputs apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("timm", reason="the medical extra is not installed")
pytest.importorskip("PIL", reason="the medical extra is not installed")

import torch
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.conversion import wordpiece_tokenizer
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.domains.medical.biovil.model import BioViL
from verticlip.facade import Model

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "no", "is", "of", "the", "than", "and", "has", "in",
    "since", "study", "prior", "lungs", "clear", "heart", "size", "normal", "left", "right", "small",
    "large", "new", "pleural", "effusion", "effusions", "pneumonia", "pneumothorax", "consolidation",
    "pulmonary", "edema", "interstitial", "opacity", "basilar", "findings", "suggesting", "evidence",
    "improved", "worsened", "unchanged", "increased", "decreased", "stable", "interval", "improvement",
    "progression", "change", "more", "less", "extensive", "before", "##s", ".", ",", "!", "?",
]  # fmt: skip
BLOCKS = {"layers": [1, 1, 1, 1], "channels": [4, 8, 16, 32]}
TEMPORAL = {"dim": 16, "grid": [2, 2], "heads": 2, "blocks": 2, "mlp_width": 16}


def _config(*, image: bool = True, text: bool = True, **options: Any) -> ModelConfig:
    towers: dict[str, Any] = {}
    mlp = {"projection": "mlp", "projection_hidden": 16}
    if image:
        towers["image"] = {"backend": "timm", "architecture": "resnet50", "options": BLOCKS, **mlp}
    if text:
        sizes = {"vocab_size": len(WORDS), "width": 16, "layers": 2, "heads": 2, "mlp_width": 32}
        towers["text"] = {"backend": "bert", "max_positions": 40, "dropout": 0.25, **sizes, **mlp}
    return ModelConfig.model_validate(
        {
            "name": "medical/small-biovil",
            "domain": "medical",
            "architecture": "biovil",
            "embed_dim": 12,
            "logit_scale": 0.6931471805599453,
            "towers": towers,
            "options": options,
        }
    )


@pytest.fixture(scope="session")
def config() -> Callable[..., ModelConfig]:
    """Return a function from options of the architecture to a small config."""
    return _config


@pytest.fixture(scope="session")
def network() -> Callable[..., BioViL]:
    """Return a function from options of the architecture to a small network in evaluation mode."""

    def build(**options: Any) -> BioViL:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = build_model(_config(**options))
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 and "trunk" not in name:
                    torch.nn.init.normal_(parameter, std=0.4)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                    module.running_mean.uniform_(-0.1, 0.1)
        assert isinstance(model, BioViL)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def processor(vocabulary: Path) -> Processor:
    image = ImageProcessing(
        size=64, short_side=72, interpolation="bilinear", resampler="pillow", mean=(0.0,) * 3, std=(1.0,) * 3,
        load={"normalize": "hi-ml"},
    )  # fmt: skip
    text = TextProcessing(
        context_length=40, clean="none", strip_end="!?.", allow_empty=True, allow_special=("[MASK]",)
    )
    return Processor(ProcessorConfig(image=image, text=text), wordpiece_tokenizer(vocabulary))


@pytest.fixture(scope="session")
def biovil(network: Callable[..., BioViL], processor: Processor) -> Model:
    """A single-image model as users hold it."""
    return Model(network(), processor)


@pytest.fixture(scope="session")
def biovil_t(network: Callable[..., BioViL], processor: Processor) -> Model:
    """A model that compares two images, as users hold it."""
    return Model(network(temporal=TEMPORAL), processor)


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three 16-bit pictures that are not square."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("studies")
    random = np.random.default_rng(0)
    paths = []
    for name in ("today", "yesterday", "other"):
        coarse = random.integers(0, 60_000, (9, 11)).astype(np.float32)
        smooth = np.asarray(Image.fromarray(coarse).resize((101, 83), Image.Resampling.BILINEAR))
        paths.append(folder / f"{name}.png")
        Image.fromarray(smooth.astype(np.uint16)).save(paths[-1])
    return paths
