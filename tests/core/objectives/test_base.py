"""The registry of objectives and their declared needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import verticlip.core.objectives as objectives
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import (
    Needs,
    Objective,
    build_objective,
    gather,
    list_objectives,
    register_objective,
    world,
)
from verticlip.core.objectives.pairwise import InfoNCE, Sigmoid
from verticlip.core.types import Batch, Outputs


def test_every_registered_objective_is_buildable_with_its_defaults():
    assert list_objectives() == (
        *("aligned_retrieval", "coca", "cross_entropy", "cwcl", "distill", "infonce", "margin_softmax"),
        "sigmoid",
    )
    for name in list_objectives():
        assert isinstance(build_objective(name), Objective)


def test_options_reach_the_constructor():
    built = build_objective(
        "infonce",
        {"label_smoothing": 0.1, "chunk": None, "modalities": ["audio", "text"], "positives": "labels"},
    )
    assert isinstance(built, InfoNCE)
    assert (built.label_smoothing, built.chunk, built.modalities) == (0.1, None, ("audio", "text"))
    assert built.needs == Needs(modalities=("audio", "text"), labels=True)
    sigmoid = build_objective("sigmoid", {"exchange": "shift"})
    assert isinstance(sigmoid, Sigmoid)
    assert sigmoid.exchange == "shift"


def test_unknown_objective_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"Unknown objective 'infonse'; known: aligned_retrieval.*Did you mean 'infonce'"
    ):
        build_objective("infonse")


def test_unknown_option_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"'infonce' has no option 'label_smooth'.*Did you mean 'label_smoothing'"
    ):
        build_objective("infonce", {"label_smooth": 0.1})


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("sigmoid", {"exchange": "ring"}, "exchange"),
        ("infonce", {"chunk": "many"}, "chunk"),
        ("infonce", {"modalities": ["image"]}, "modalities.1"),
    ],
)
def test_bad_option_value_names_the_option(name, options, where):
    with pytest.raises(ConfigError, match=f"Objective '{name}': option {where}"):
        build_objective(name, options)


def test_option_out_of_range_is_refused_by_the_constructor():
    with pytest.raises(ConfigError, match="label_smoothing must be in"):
        build_objective("infonce", {"label_smoothing": 2})


def test_a_taken_name_is_refused_and_registering_twice_is_not():
    register_objective("infonce")(InfoNCE)
    with pytest.raises(ConfigError, match="'infonce' is taken by InfoNCE"):
        register_objective("infonce")(Sigmoid)


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (Needs(tokens=("text",)), r"outputs.tokens\['text'\], which has nothing"),
        (Needs(output_extras=("masks",)), r"outputs.extras\['masks'\], which has logits"),
        (Needs(batch_extras=("targets",)), r"batch.extras\['targets'\], which has nothing"),
    ],
)
def test_missing_needs_are_named(needs, message):
    outputs = Outputs({}, torch.tensor(1.0), extras={"logits": torch.zeros(1)})
    with pytest.raises(InputError, match=message):
        needs.check(outputs, Batch({}))


def test_parts_sum_to_the_loss_and_compute_sees_full_precision():
    class Two(Objective):
        needs = Needs(modalities=("image",))

        def compute(self, outputs, batch):
            assert outputs.embeddings["image"].dtype == outputs.logit_scale.dtype == torch.float32
            assert outputs.logit_scale.shape == ()
            return {"a": outputs.logit_scale * 2, "b": outputs.embeddings["image"].sum()}

    half = torch.ones(2, 2, dtype=torch.bfloat16)
    parts = Two()(Outputs({"image": half}, torch.tensor([3.0], dtype=torch.float16)), Batch({}))
    assert {name: float(part) for name, part in parts.items()} == {"loss": 10.0, "a": 6.0, "b": 4.0}


def test_an_objective_without_compute_says_so():
    with pytest.raises(NotImplementedError, match="Objective must implement compute"):
        Objective()(Outputs({}, torch.tensor(1.0)), Batch({}))


def test_one_process_is_a_world_of_one():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert world() == (0, 1)
    assert gather(tensor, with_grad=True) is tensor


def test_only_base_touches_the_process_group(root):
    for path in (root / "core").rglob("*.py"):
        if path.name != "base.py":
            assert "torch.distributed" not in path.read_text(), path


def test_names_are_imported_on_first_use():
    code = "import sys, verticlip.core.objectives as o; assert 'torch' not in sys.modules; o.InfoNCE"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in objectives.__all__:
        assert getattr(objectives, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'InfoNSE'"):
        _ = objectives.InfoNSE
