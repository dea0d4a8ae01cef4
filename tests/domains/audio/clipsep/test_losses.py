"""Losses of CLIPSep on numbers that can be followed by hand, and when what starts or stops."""

from __future__ import annotations

import math

import pytest
import torch
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.audio.clipsep.losses import bin_weights, pair_cosines, target_masks, without_closest
from verticlip.domains.audio.clipsep.model import ClipSep


def outputs(logits, mixture, sources, noise=None) -> Outputs:
    extras = {"query_logits": logits, "mixture_magnitude": mixture, "source_magnitudes": sources}
    if noise is not None:
        extras["noise_logits"] = noise
    return Outputs({}, torch.tensor(1.0), extras=extras)


def random_outputs(rows: int = 3, sources: int = 2, *, noise: bool = False, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    magnitudes = torch.rand(rows, sources, 8, 8, generator=generator)
    heads = torch.randn(rows, 2, 8, 8, generator=generator) if noise else None
    logits = torch.randn(rows, sources, 8, 8, generator=generator)
    return outputs(logits, magnitudes.sum(1, keepdim=True) + 1e-10, magnitudes, heads)


def asked(rows: int = 3) -> Batch:
    angles = torch.linspace(0.2, 1.4, rows)
    pairs = torch.stack(
        [torch.tensor([1.0, 0.0]).expand(rows, 2), torch.stack([angles.cos(), angles.sin()], 1)], 1
    )
    return Batch(
        {"mixture": {"magnitude": torch.arange(rows)[:, None]}}, None, tuple("abc"[:rows]), {"queries": pairs}
    )


def test_targets_and_weights():
    mixture = torch.tensor([[[[0.0, 1.0, 1e6]]]])
    sources = torch.tensor([[[[0.0, 0.6, 5e5]], [[0.0, 0.2, 7e5]]]])
    assert target_masks(mixture, sources)[0, :, 0].tolist() == [[0, 1, 0], [0, 0, 1]]
    ratio = target_masks(mixture, sources, "ratio")[0, :, 0]
    assert torch.allclose(ratio, torch.tensor([[0.0, 0.75, 5 / 12], [0.0, 0.25, 7 / 12]]))
    assert torch.allclose(bin_weights(mixture).flatten(), torch.tensor([1e-3, math.log(2), 10.0]))
    assert bin_weights(mixture, weighted=False).unique().tolist() == [1.0]


def test_the_loss_of_one_bin():
    one = torch.ones(1, 1, 1, 1)
    given = outputs(
        torch.tensor([0.3, -1.2]).view(1, 2, 1, 1), one, torch.tensor([0.8, 0.1]).view(1, 2, 1, 1)
    )
    wanted = math.log(2) * (math.log(1 + math.exp(-0.3)) + math.log(1 + math.exp(-1.2))) / 2
    loss = build_objective("clipsep", domain="audio")(given, Batch({}))
    assert float(loss["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert set(loss) == {"loss", "separation"}


def test_three_sources_are_three_terms():
    given = random_outputs(sources=3)
    loss = build_objective("clipsep", domain="audio")(given, Batch({}))["loss"]
    assert math.isfinite(float(loss))


def test_ratio_targets_reward_the_ratio():
    magnitudes = torch.tensor([0.7, 0.3]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    exact = torch.logit(magnitudes)
    objective = build_objective("clipsep", {"targets": "ratio"}, domain="audio")
    mixture = magnitudes.sum(1, keepdim=True)
    best = float(objective(outputs(exact, mixture, magnitudes), Batch({}))["loss"])
    for shift in (-0.5, 0.5):
        assert float(objective(outputs(exact + shift, mixture, magnitudes), Batch({}))["loss"]) > best


def test_close_pairs_count_less_only_after_the_step_and_only_in_training():
    given, batch = random_outputs(), asked()
    plain = float(build_objective("clipsep", domain="audio")(given, batch)["loss"])
    objective = build_objective("clipsep", {"drop_closest": -1, "drop_closest_after": 1}, domain="audio")
    seen = [float(objective(given, batch)["loss"]) for _ in range(3)]
    assert seen[:2] == [plain, plain]
    assert seen[2] < plain
    objective.eval()
    assert float(objective(given, batch)["loss"]) == plain
    with torch.no_grad():
        assert float(objective.train()(given, batch)["loss"]) == plain
    # A resumed run goes on where it was.
    again = build_objective("clipsep", {"drop_closest": -1, "drop_closest_after": 1}, domain="audio")
    again.load_state_dict(objective.state_dict())
    assert float(again(given, batch)["loss"]) == seen[2]


def test_the_closest_pair_can_be_left_out_of_the_loss():
    given, batch = random_outputs(), asked()
    objective = build_objective("clipsep", {"drop_closest": 1, "drop_closest_after": -1}, domain="audio")
    rest = outputs(
        *(given.extras[name][1:] for name in ("query_logits", "mixture_magnitude", "source_magnitudes"))
    )
    plain = build_objective("clipsep", domain="audio")(rest, batch)["loss"]
    assert float(objective(given, batch)["loss"]) == pytest.approx(float(plain), rel=1e-6)
    too_many = build_objective("clipsep", {"drop_closest": 3, "drop_closest_after": -1}, domain="audio")
    with pytest.raises(InputError, match="drop_closest 3 leaves nothing of 3 mixtures"):
        too_many(given, batch)


def test_a_batch_without_its_closest_pairs():
    batch = asked()
    fewer = without_closest(batch, 1)
    # Row a has the smallest angle; the others come farthest first.
    assert fewer.ids == ("c", "b")
    assert fewer.inputs["mixture"]["magnitude"].flatten().tolist() == [2, 1]
    assert bool(pair_cosines(fewer.extras["queries"]).diff() > 0)
    by_hand = without_closest(batch, 2, similarity=torch.tensor([0.1, 0.9, 0.5]))
    assert by_hand.ids == ("a",)
    with pytest.raises(InputError, match="3 of 3 mixtures cannot be left out. Make the batch larger by 3"):
        without_closest(batch, 3)
    with pytest.raises(InputError, match=r"needs batch.extras\['queries'\]"):
        without_closest(Batch({}), 1)
    with pytest.raises(InputError, match=r"two query vectors a mixture; got queries \[3, 3, 2\]"):
        pair_cosines(torch.zeros(3, 3, 2))


def test_the_noise_heads_may_be_swapped_in_each_mixture_by_itself():
    given = random_outputs(noise=True)
    objective = build_objective("clipsep_nit", {"activity_weight": 0.0}, domain="audio")
    same, swapped = objective.pairings(given)
    parts = objective(given, Batch({}))
    assert float(parts["separation"]) == pytest.approx(float(torch.minimum(same, swapped).mean()), rel=1e-6)
    turned = outputs(
        given.extras["query_logits"],
        given.extras["mixture_magnitude"],
        given.extras["source_magnitudes"],
        given.extras["noise_logits"].flip(1),
    )
    assert torch.equal(objective.pairings(turned)[0], swapped)
    assert float(parts["activity"]) == 0.0


def test_active_noise_heads_cost():
    given = random_outputs(noise=True)
    activity = float(given.extras["noise_logits"].sigmoid().sum(1).mean())
    parts = build_objective("clipsep_nit", {"activity_weight": 2.0}, domain="audio")(given, Batch({}))
    assert float(parts["activity"]) == pytest.approx(2.0 * (activity - 0.25), rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(float(parts["separation"] + parts["activity"]), rel=1e-6)


def test_the_margin_costs_where_the_query_adds_little():
    given = random_outputs(noise=True)
    plain = build_objective("clipsep_nit", {}, domain="audio")
    strict = build_objective("clipsep_nit", {"margin_weight": 1.0, "margin": 100.0}, domain="audio")
    assert float(strict(given, Batch({}))["loss"]) > float(plain(given, Batch({}))["loss"]) + 50


def test_warm_up_trains_the_query_masks_alone():
    given = random_outputs(noise=True)
    objective = build_objective("clipsep_nit", {"warmup_steps": 2}, domain="audio")
    alone = float(build_objective("clipsep", domain="audio")(given, Batch({}))["loss"])
    seen = [float(objective(given, Batch({}))["loss"]) for _ in range(3)]
    assert seen[:2] == pytest.approx([alone, alone], rel=1e-6)
    assert seen[2] != pytest.approx(alone, rel=1e-3)


def test_a_union_has_no_dead_bins():
    one = torch.ones(1, 1, 1, 1)
    for combine, dead in (("clamp", True), ("union", False)):
        logits = torch.full((1, 2, 1, 1), 3.0, requires_grad=True)
        given = outputs(logits, one, torch.zeros(1, 2, 1, 1), torch.full((1, 2, 1, 1), 3.0))
        build_objective("clipsep_nit", {"combine": combine}, domain="audio")(given, Batch({}))[
            "loss"
        ].backward()
        assert bool((logits.grad == 0).all()) is dead


def test_permutation_invariance():
    given = random_outputs()
    objective = build_objective("clipsep_pit", domain="audio")
    logits, mixture, sources = (
        given.extras[name] for name in ("query_logits", "mixture_magnitude", "source_magnitudes")
    )
    there = objective(outputs(logits, mixture, sources), Batch({}))["loss"]
    turned = objective(outputs(logits.flip(1), mixture, sources), Batch({}))["loss"]
    assert float(there) == pytest.approx(float(turned), rel=1e-6)


@pytest.mark.parametrize("name", ["clipsep_nit", "clipsep_pit"])
def test_two_sources_only(name):
    with pytest.raises(InputError, match="compares two sources a mixture, got 3"):
        build_objective(name, domain="audio")(random_outputs(sources=3, noise=True), Batch({}))


def test_half_precision_logits_are_widened():
    given = random_outputs(noise=True)
    half = outputs(
        given.extras["query_logits"].bfloat16(),
        given.extras["mixture_magnitude"],
        given.extras["source_magnitudes"],
        given.extras["noise_logits"].bfloat16(),
    )
    for name in ("clipsep", "clipsep_nit", "clipsep_pit"):
        loss = build_objective(name, domain="audio")(half, Batch({}))["loss"]
        assert loss.dtype == torch.float32
        assert math.isfinite(float(loss))


def test_what_does_not_fit_is_named():
    given = random_outputs()
    short = outputs(
        given.extras["query_logits"][:, :1], *(given.extras[name] for name in list(given.extras)[1:])
    )
    with pytest.raises(InputError, match="one query for each source, in the same order"):
        build_objective("clipsep", domain="audio")(short, Batch({}))
    with pytest.raises(InputError, match="reads outputs.extras"):
        build_objective("clipsep_nit", domain="audio")(given, Batch({}))
    with pytest.raises(ConfigError, match="got -2 and 10000"):
        build_objective("clipsep", {"drop_closest": -2}, domain="audio")
    with pytest.raises(ConfigError, match="activity_weight -1"):
        build_objective("clipsep_nit", {"activity_weight": -1.0}, domain="audio")
    with pytest.raises(ConfigError, match="no option 'reg2_coef'"):
        build_objective("clipsep_nit", {"reg2_coef": 0.1}, domain="audio")


def test_a_small_network_learns_which_source_is_asked_for():
    torch.manual_seed(0)
    options = {"kind": "nit", "layers": 5, "channels": 4, "ngf": 2, "query_dim": 2, "frames": 32}
    options["spectra"] = {"rows": 32, "n_fft": 128, "hop_length": 32, "win_length": 128}
    network = ClipSep(
        ModelConfig(name="a/b", domain="audio", architecture="clipsep", embed_dim=0, options=options)
    )
    for one in network.separator.parameters():
        if one.ndim > 1:
            torch.nn.init.kaiming_normal_(one)
    time = torch.arange(31 * 32) / 4000
    tones = torch.stack([(6.28 * 300 * time).sin(), (6.28 * 1500 * time).sin()]) * 0.25
    batch = Batch({"mixture": {"waves": tones[None]}}, extras={"queries": torch.eye(2)[None]})
    objective = build_objective("clipsep_nit", {}, domain="audio")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(network(batch, extras=objective.needs.output_extras), batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
