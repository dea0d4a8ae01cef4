from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.heads import AttentionMIL, LinearProbe, MILOptions, load_head, save_head
from verticlip.core.metrics import auc
from verticlip.core.types import Outputs

NAMES = ["benign", "tumor"]
SMALL = MILOptions(hidden=64, attention=32, learning_rate=1e-3, epochs=15, patience=5)


def make_bags(count: int, seed: int) -> tuple[list[torch.Tensor], np.ndarray, list[torch.Tensor]]:
    """Bags of 30 to 59 tiles in which one tile in twenty decides, and a colour shift of each slide."""
    generator = torch.Generator().manual_seed(seed)
    bags, keys = [], []
    for number in range(count):
        tiles = int(torch.randint(30, 60, (1,), generator=generator))
        bag = torch.randn(tiles, 32, generator=generator)
        key = torch.randperm(tiles, generator=generator)[: round(tiles / 20)]
        start = 4 * (number % 2)
        bag[key, start : start + 4] += 3
        bags.append(bag + 0.5 * torch.randn(32, generator=generator))
        keys.append(key)
    return bags, np.arange(count) % 2, keys


@lru_cache
def fitted(gated: bool) -> AttentionMIL:
    bags, targets, _ = make_bags(80, 0)
    held_out, held_targets, _ = make_bags(40, 1)
    options = MILOptions(**{**SMALL.__dict__, "gated": gated})
    return AttentionMIL.fit(bags, targets, NAMES, validation=(held_out, held_targets), options=options)


@pytest.mark.parametrize("gated", [False, True])
def test_the_head_finds_the_tiles_that_decide_and_mean_pooling_does_not(gated):
    bags, targets, keys = make_bags(100, 2)
    probabilities, attention = fitted(gated).predict(bags)
    assert auc(probabilities.numpy(), targets, resamples=0).value > 0.97
    mass = np.mean([float(row[key].sum()) for row, key in zip(attention, keys, strict=True)])
    share = np.mean([len(key) / len(row) for row, key in zip(attention, keys, strict=True)])
    assert mass > 7 * share
    train, train_targets, _ = make_bags(80, 0)
    probe = LinearProbe.fit(torch.stack([bag.mean(0) for bag in train]), train_targets, NAMES, c=0.01)
    pooled = probe.scores(torch.stack([bag.mean(0) for bag in bags]))
    assert auc(pooled.numpy(), targets, resamples=0).value < 0.8


def test_attention_sums_to_one_and_the_order_of_tiles_plays_no_part():
    head = fitted(True)
    bag = make_bags(1, 5)[0][0]
    probabilities, (attention,) = head.predict([bag])
    assert attention.sum() == pytest.approx(1, abs=1e-6)
    order = torch.randperm(len(bag), generator=torch.Generator().manual_seed(0))
    turned, (permuted,) = head.predict([bag[order]])
    torch.testing.assert_close(turned, probabilities)
    torch.testing.assert_close(permuted, attention[order])


def test_batches_with_padding_give_what_single_bags_give():
    head = fitted(False)
    bags = [*make_bags(6, 7)[0], torch.zeros(1, 32)]
    alone, single = head.predict(bags)
    together, batched = head.predict(bags, batch_size=4)
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)
    for one, other in zip(single, batched, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    # Whatever stands at padded places, even NaN, changes nothing.
    padded = torch.full((1, 80, 32), torch.nan)
    padded[0, : len(bags[0])] = bags[0]
    logits, attention = head.logits(padded, torch.arange(80)[None] < len(bags[0]))
    torch.testing.assert_close(logits.softmax(1), alone[:1], atol=1e-6, rtol=0)
    assert float(attention[0, len(bags[0]) :].abs().sum()) == 0


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    bags, targets, _ = make_bags(12, 3)
    options = MILOptions(hidden=8, attention=4, epochs=2, seed=4)
    torch.manual_seed(11)
    expected = torch.rand(5)
    torch.manual_seed(11)
    first = AttentionMIL.fit(bags, targets, NAMES, options=options)
    assert torch.equal(torch.rand(5), expected)
    torch.manual_seed(99)
    second = AttentionMIL.fit(bags, targets, NAMES, options=options)
    other = AttentionMIL.fit(
        bags, targets, NAMES, options=MILOptions(hidden=8, attention=4, epochs=2, seed=5)
    )
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name])
    assert not torch.equal(first.tensors()["embed.weight"], other.tensors()["embed.weight"])


def test_the_formula_by_hand():
    head = fitted(True)
    weights = {name: tensor.double() for name, tensor in head.tensors().items()}
    bag = make_bags(1, 8)[0][0]
    states = (bag.double() @ weights["embed.weight"].T + weights["embed.bias"]).clamp(min=0)
    gate = torch.sigmoid(states @ weights["gate.weight"].T + weights["gate.bias"])
    inner = torch.tanh(states @ weights["tanh.weight"].T + weights["tanh.bias"]) * gate
    attention = (inner @ weights["attend.weight"].T + weights["attend.bias"])[:, 0].softmax(0)
    logits = (attention @ states) @ weights["classify.weight"].T + weights["classify.bias"]
    probabilities, (found,) = head.predict([bag])
    torch.testing.assert_close(found, attention.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probabilities[0], logits.softmax(0).float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gated", [False, True])
def test_saved_and_loaded_it_answers_the_same(gated, tmp_path: Path):
    head = fitted(gated)
    save_head(head, tmp_path)
    loaded = load_head(tmp_path)
    bag = make_bags(1, 5)[0][0]
    assert isinstance(loaded, AttentionMIL)
    assert loaded.class_names == tuple(NAMES)
    assert torch.equal(loaded.scores(bag), head.scores(bag))
    outputs = Outputs({"image": bag}, torch.tensor(1.0))
    answers = loaded(outputs)
    assert answers["probabilities"].shape == (1, 2)
    assert answers["attention"].shape == (1, len(bag))


def test_a_foreign_file_is_refused(tmp_path: Path):
    head = fitted(False)
    config, tensors = head.to_config(), head.tensors()
    with pytest.raises(WeightsError, match="expected"):
        AttentionMIL.from_config({**config, "gated": True}, tensors)
    with pytest.raises(WeightsError, match="'classify.weight' has shape"):
        AttentionMIL.from_config(config, {**tensors, "classify.weight": torch.zeros(2, 9)})
    with pytest.raises(WeightsError, match=r"'attend.weight' has shape \(1, 9\)"):
        AttentionMIL.from_config(config, {**tensors, "attend.weight": torch.zeros(1, 9)})
    with pytest.raises(WeightsError, match="names 3 outputs"):
        AttentionMIL.from_config({**config, "class_names": ["a", "b", "c"]}, tensors)


def test_training_stops_when_validation_gets_no_better(caplog):
    bags, targets, _ = make_bags(20, 3)
    noise = [torch.randn(10, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    options = MILOptions(hidden=8, attention=4, epochs=40, patience=2, learning_rate=1e-2)
    with caplog.at_level("INFO"):
        AttentionMIL.fit(bags, targets, NAMES, validation=(noise, np.arange(8) % 2), options=options)
    assert any("no better validation for 2 epochs" in message for message in caplog.messages)


def test_three_classes_and_balanced_weights():
    bags, targets, _ = make_bags(30, 3)
    labels = np.where(np.arange(30) < 3, 2, targets)
    options = MILOptions(hidden=8, attention=4, epochs=2, balanced=True, standardize=False)
    head = AttentionMIL.fit(bags, labels, ["a", "b", "c"], options=options)
    assert head.predict(bags)[0].shape == (30, 3)


def test_messages():
    bags, targets, _ = make_bags(6, 0)
    head = fitted(False)
    with pytest.raises(InputError, match="no bags to fit on"):
        AttentionMIL.fit([], [], NAMES)
    with pytest.raises(InputError, match=r"bag 1 must be \[N, 32\] with at least one tile, got \[0, 32\]"):
        AttentionMIL.fit([bags[0], bags[1][:0]], [0, 1], NAMES)
    with pytest.raises(InputError, match="Class 'tumor' has no training bags"):
        AttentionMIL.fit(bags, [0] * 6, NAMES)
    with pytest.raises(InputError, match="6 class indices, got int64"):
        AttentionMIL.fit(bags, [0, 1], NAMES)
    with pytest.raises(InputError, match=r"targets must lie in \[0, 2\).* got 0 to 2"):
        AttentionMIL.fit(bags, [0, 1, 2, 0, 1, 2], NAMES)
    with pytest.raises(InputError, match="validation needs bags of at least two classes"):
        AttentionMIL.fit(bags, targets, NAMES, validation=(bags[:2], [1, 1]))
    with pytest.raises(InputError, match=r"bag 0 must be \[N, 32\]"):
        head.predict([torch.zeros(4, 31)])
    with pytest.raises(InputError, match="bag 0 holds an embedding that is not finite"):
        head.predict([torch.full((4, 32), torch.inf)])
    with pytest.raises(InputError, match=r"tiles must be \[B, N, 32\], got \[4, 32\]"):
        head.logits(torch.zeros(4, 32))
    with pytest.raises(InputError, match="at least one tile per bag"):
        head.logits(torch.zeros(1, 4, 32), torch.zeros(1, 4, dtype=torch.bool))
    with pytest.raises(ConfigError, match="dropout must be 0 or more and below 1, got 1"):
        MILOptions(dropout=1)
    with pytest.raises(ConfigError, match="patience must be 1 or more"):
        MILOptions(patience=0)
