"""U-Net, queries and masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from verticlip.core.config import parse_config
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.clipsep.separator import Separator, SeparatorConfig
from verticlip.domains.audio.clipsep.unet import UNet, encoder_widths, initialize

KINDS = ("late", "nit", "middle", "pit", "label", "bert")


def small(kind: str = "late", **changes) -> Separator:
    settings = {"kind": kind, "layers": 5, "channels": 4, "ngf": 2, "query_dim": 6, "frames": 32, **changes}
    if kind == "label":
        settings.setdefault("n_labels", 3)
    torch.manual_seed(0)
    separator = Separator(SeparatorConfig(**settings))
    for one in separator.parameters():
        if one.ndim > 1:
            nn.init.normal_(one, std=0.1)
    return separator.eval()


def asked(kind: str, count: int = 2) -> torch.Tensor | None:
    generator = torch.Generator().manual_seed(1)
    if kind == "pit":
        return None
    if kind == "label":
        return torch.tensor([[0, 2, 1]]).expand(2, 3)[:, :count]
    return torch.randn(2, count, 6, generator=generator)


def picture(frames: int = 32) -> torch.Tensor:
    return torch.randn(2, 1, 256, frames, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_map_for_each_query(kind):
    separator = small(kind)
    wanted, noise = separator(picture(), asked(kind))
    assert wanted.shape == (2, 2, 256, 32)
    assert (None if noise is None else tuple(noise.shape)) == ((2, 2, 256, 32) if kind == "nit" else None)


@pytest.mark.parametrize("kind", ["late", "nit", "label", "bert"])
def test_one_pass_of_the_network_answers_all_queries(kind):
    separator, passes = small(kind), []
    separator.sound_net.register_forward_hook(lambda *_: passes.append(1))
    queries = asked(kind, 2)
    together = separator(picture(), queries)[0]
    assert len(passes) == 1
    for index in range(2):
        alone = separator(picture(), queries[:, index : index + 1])[0]
        assert torch.equal(alone[:, 0], together[:, index])


def test_noise_heads_see_the_mean_of_the_queries():
    separator = small("nit")
    features, queries = separator.features(picture()), asked("nit")
    both = separator.noise_logits(features, queries)
    mean = separator.noise_logits(features, queries.mean(dim=1, keepdim=True))
    assert torch.allclose(both, mean, atol=1e-5)
    assert torch.equal(both, separator.noise_logits(features, queries.flip(1)))


@pytest.mark.parametrize(("kind", "count"), [("late", 30_290_659), ("nit", 30_292_771)])
def test_the_published_sizes(kind, count):
    with torch.device("meta"):
        separator = Separator(SeparatorConfig(kind=kind))
    assert sum(one.numel() for one in separator.parameters()) == count


def test_the_names_are_those_of_published_checkpoints():
    with torch.device("meta"):
        names = {
            name: tuple(one.shape)
            for name, one in Separator(SeparatorConfig(kind="nit")).state_dict().items()
        }
    deepest = "sound_net.unet_block.model.1" + ".model.3" * 5
    assert names["sound_net.bn0.running_mean"] == (1,)
    assert names["sound_net.unet_block.model.0.weight"] == (64, 1, 4, 4)
    assert names["sound_net.unet_block.model.4.weight"] == (32, 128, 3, 3)
    assert names["sound_net.unet_block.model.1.model.6.weight"] == (64, 256, 3, 3)
    assert names["sound_net.unet_block.model.1.model.3.model.6.weight"] == (128, 512, 3, 3)
    assert names[f"{deepest}.model.4.weight"] == (512, 512, 3, 3)
    assert f"{deepest}.model.2.weight" not in names
    assert names["frame_net.weight"] == (32, 512)
    assert names["pit_nets.1.bias"] == (32,)
    assert names["synth_net.scale"] == (32,)
    assert names["synth_net.bias"] == (1,)


def test_the_initial_weights():
    torch.manual_seed(0)
    separator = Separator(SeparatorConfig(kind="nit", layers=5, ngf=16, frames=32))
    convolutions = [part for part in separator.modules() if isinstance(part, nn.Conv2d)]
    norms = [part for part in separator.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(float(part.weight.detach().std()) == pytest.approx(0.001, rel=0.2) for part in convolutions)
    assert all(float(part.bias.detach().abs().max()) == 0 for part in norms)
    assert float(torch.cat([part.weight.detach() for part in norms]).std()) == pytest.approx(0.02, rel=0.2)
    assert float(separator.frame_net.weight.detach().std()) == pytest.approx(1e-4, rel=0.1)
    assert float(separator.pit_nets[0].weight.detach().std()) == pytest.approx(1e-4, rel=0.1)
    # What has a bias keeps the usual one: zero gates and masks would all be alike.
    assert float(separator.frame_net.bias.detach().abs().max()) > 1e-3
    assert torch.equal(separator.synth_net.scale, torch.ones(32))


def test_a_label_table_keeps_its_usual_start():
    torch.manual_seed(0)
    separator = Separator(SeparatorConfig(kind="label", layers=5, ngf=1, frames=32, n_labels=50))
    assert float(separator.label_net.weight.detach().std()) == pytest.approx(1.0, rel=0.1)


def test_widths_double_up_to_eight_times():
    assert encoder_widths(7, 64) == [64, 128, 256, 512, 512, 512, 512]


def test_the_shortcut_carries_what_the_next_level_would_see_anyway():
    # Activations work in place; the same network without that has to agree, in values and gradients.
    torch.manual_seed(0)
    network = UNet(3, 5, 2)
    plain = UNet(3, 5, 2)
    initialize(network)
    for one in network.parameters():
        nn.init.normal_(one, std=0.2)
    plain.load_state_dict(network.state_dict())
    for part in plain.modules():
        if isinstance(part, nn.ReLU | nn.LeakyReLU):
            part.inplace = False
    values = picture()
    results = []
    for one in (network, plain):
        given = values.clone().requires_grad_()
        result = one(given)
        result.square().sum().backward()
        results.append((result.detach(), given.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-4)


def test_frames_that_do_not_halve_are_refused():
    with pytest.raises(
        InputError, match=r"5 levels takes \[B, 1, H, T\] with H and T multiples of 32, got .*33"
    ):
        small()(picture(33), asked("late"))


def test_bad_queries_say_what_is_wanted():
    separator = small()
    features = separator.features(picture())
    with pytest.raises(InputError, match=r"floats \[B, Q, 6\] with Q of at least 1, got float32 \[2, 2, 5\]"):
        separator.query_logits(features, torch.zeros(2, 2, 5))
    with pytest.raises(InputError, match="Q of at least 1"):
        separator.query_logits(features, torch.zeros(2, 0, 6))
    with pytest.raises(InputError, match="needs queries"):
        separator.query_logits(features, None)
    with pytest.raises(InputError, match="got int64"):
        separator.query_logits(features, torch.zeros(2, 2, 6, dtype=torch.int64))
    with pytest.raises(InputError, match=r"in 0..2, got 1..3"):
        small("label").gates(torch.tensor([[1, 3], [1, 1]]))
    with pytest.raises(InputError, match="takes no queries"):
        small("pit")(picture(), asked("late"))
    with pytest.raises(ConfigError, match="has no noise heads"):
        separator.noise_logits(features, asked("late"))
    with pytest.raises(ConfigError, match="once for each query"):
        small("middle").features(picture())


def test_gates_are_shares():
    gates = small("label").gates(torch.tensor([[0, 1], [2, 2]]))
    assert gates.shape == (2, 2, 4)
    assert bool(((gates > 0) & (gates < 1)).all())


def test_label_models_take_vectors_too():
    separator = small("label")
    vector = separator.label_net(torch.tensor([[2], [2]]))
    assert torch.equal(separator.gates(vector), separator.gates(torch.tensor([[2], [2]])))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"frames": 200},
            "7 layers need rows and frames that are multiples of 128, got 256 rows and 200 frames",
        ),
        ({"kind": "label"}, "n_labels None with kind 'label'"),
        ({"n_labels": 3}, "n_labels 3 with kind 'late'"),
        ({"kind": "label", "n_labels": 3, "labels": ["a"]}, "1 labels for n_labels 3"),
        ({"layers": 4}, "layers: Input should be greater than or equal to 5"),
        ({"kinds": "nit"}, "unknown key 'kinds'. Did you mean 'kind'"),
    ],
)
def test_bad_options_say_why(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(SeparatorConfig, settings, source="config.json: options")


def test_the_window_is_one_sample_short_of_whole_hops():
    assert SeparatorConfig().window_samples == 65_535


def test_weights_lie_channel_by_channel_after_loading_too(tmp_path):
    from verticlip.core.checkpoint import load_strict, read_weights, save_weights

    separator = small("nit")
    save_weights(separator, tmp_path / "weights.safetensors")
    other = small("nit")
    load_strict(other, read_weights(tmp_path / "weights.safetensors"), source="weights.safetensors")
    weight = other.sound_net.unet_block.model[4].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    first, second = separator(picture(), asked("nit")), other(picture(), asked("nit"))
    assert torch.equal(first[0], second[0])
    other.to(memory_format=torch.contiguous_format)
    assert torch.allclose(other(picture(), asked("nit"))[0], first[0], atol=1e-4)


@torch.no_grad()
def test_only_the_network_runs_in_half_precision():
    separator = small("nit")
    exact = separator(picture(), asked("nit"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = separator.features(picture())
        rounded = (
            separator.query_logits(features, asked("nit")),
            separator.noise_logits(features, asked("nit")),
        )
        gates = separator.gates(asked("nit"))
    assert torch.equal(gates, separator.gates(asked("nit")))
    assert torch.equal(rounded[0], separator.query_logits(features, asked("nit")))
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert float((one - other).abs().max()) < 0.05 * float(one.abs().max())
