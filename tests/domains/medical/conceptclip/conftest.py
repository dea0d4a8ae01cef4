"""The reduced reference model as users hold it."""

from __future__ import annotations

import pytest
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.processing import Processor
from verticlip.domains.medical.conceptclip.convert import convert
from verticlip.facade import Model

HEADS = {"image_heads": 4, "text_heads": 4, "context_length": 24, "overlong": "truncate"}


@pytest.fixture(scope="session")
def case_dir(small_golden):
    return small_golden / "conceptclip" / "tiny_a"


@pytest.fixture(scope="session")
def files(case_dir):
    return {"weights": case_dir / "weights.safetensors", "vocab": case_dir / "vocab.txt"}


@pytest.fixture(scope="session")
def converted(files):
    return convert("test/conceptclip", files, HEADS)


@pytest.fixture(scope="session")
def model(converted):
    network = build_empty(converted.config)
    load_strict(network, converted.state, source="test")
    return Model(network.eval(), Processor(converted.processor, converted.tokenizer_json))


@pytest.fixture(scope="session")
def processor(model):
    return model.processor


@pytest.fixture(scope="session")
def network(model):
    return model.network


@pytest.fixture(scope="session")
def picture():
    import numpy as np

    return np.random.default_rng(0).integers(0, 255, (40, 52, 3), dtype=np.uint8)
