"""Models for the tasks: the packaged one, and one that sees bright spots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
from torch.nn import functional as F
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig
from verticlip.core.model import ContrastiveModel
from verticlip.core.processing import Processor


class BrightSpots(ContrastiveModel):
    """Finds brightness for any phrase; a phrase of more words finds less of it."""

    map_range = (-1.0, 1.0)
    map_smoothing: float | None = None

    def phrase_maps(self, image_inputs: Any, text_inputs: Any, *, phrases: Any, processor: Any) -> Any:
        pixels = image_inputs["pixels"].mean(dim=1, keepdim=True)
        maps = F.avg_pool2d(pixels, 2)
        gain = 1 / text_inputs["attention_mask"].sum(dim=1).float()
        assert len(phrases) == len(gain)
        maps = maps * gain[None, :, None, None]
        return maps, maps.amax(dim=(2, 3))


@pytest.fixture(scope="session")
def tiny() -> verticlip.Model:
    return verticlip.from_pretrained("medical/tiny")


@pytest.fixture(scope="session")
def spots(model_folder: Path) -> Callable[..., verticlip.Model]:
    """Return a function from image processing to a model of the medical domain that sees bright spots."""

    def build(smoothing: float | None = None, **processing: Any) -> verticlip.Model:
        raw = {**json.loads((model_folder / "config.json").read_text()), "domain": "medical", "prompts": None}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = BrightSpots(ModelConfig.model_validate(raw))
        network.map_smoothing = smoothing
        stored = Processor.load(model_folder)
        plain = {"size": 16, "mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bilinear"}
        config = ProcessorConfig(image=ImageProcessing(**{**plain, **processing}), text=stored.config.text)
        return verticlip.Model(
            network.eval(), Processor(config, (model_folder / "tokenizer.json").read_text())
        )

    return build
