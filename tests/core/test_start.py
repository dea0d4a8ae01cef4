"""Which model a run trains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from verticlip.core.config import ModelConfig
from verticlip.core.recipe import Recipe
from verticlip.core.start import model_config

TOWER = {"backend": "timm", "architecture": "resnet10t"}


@pytest.mark.parametrize(
    ("theirs", "own", "expected"), [(None, "audio", "audio"), ("medical", None, "medical")]
)
def test_a_start_without_a_domain_joins_the_recipes(theirs, own, expected):
    found = ModelConfig.model_validate(
        {"name": "them/it", "domain": theirs, "embed_dim": 4, "towers": {"image": TOWER}}
    )
    start = SimpleNamespace(network=SimpleNamespace(config=found), prompts=None)
    recipe = Recipe.model_validate(
        {
            "name": "mine",
            "domain": own,
            "start": "them/it",
            "data": {"sources": [{"name": "a", "path": "a"}]},
            "optim": {"lr": 1e-3},
            "batch_size": 4,
            "epochs": 1,
        }
    )
    config = model_config(recipe, start)
    assert config.domain == expected
    assert config.name == "mine"
