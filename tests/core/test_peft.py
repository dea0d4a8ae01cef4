from __future__ import annotations

import copy

import pytest
import torch
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError
from verticlip.core.model import ContrastiveModel
from verticlip.core.optim_config import OptimConfig
from verticlip.core.peft import (
    apply_policy,
    layers_above,
    merged,
    parameter_groups,
    tower_layers,
    trainable,
)
from verticlip.core.recipe import PeftConfig

VIT = {
    "backend": "vit",
    "image_size": 16,
    "patch_size": 8,
    "width": 16,
    "layers": 3,
    "heads": 2,
    "mlp_width": 32,
}
BERT = {
    "backend": "bert",
    "vocab_size": 20,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "mlp_width": 32,
    "dropout": 0.1,
}
RESNET = {
    "backend": "timm",
    "architecture": "resnet10t",
    "options": {"channels": [8, 8, 16, 16], "stem_width": 8},
}


def model(image: dict | None = None) -> ContrastiveModel:
    torch.manual_seed(0)
    towers = {"image": {**(image or VIT), "projection": "linear"}, "text": {**BERT, "projection": "linear"}}
    built = ContrastiveModel(ModelConfig.model_validate({"name": "m", "embed_dim": 8, "towers": towers}))
    for parameter in built.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Residual branches begin at zero, where their convolutions have no gradient.
            torch.nn.init.ones_(module.weight)
    return built


def inputs() -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 20, (4, 6), generator=generator)
    return {
        "image": {"pixels": torch.randn(4, 3, 16, 16, generator=generator)},
        "text": {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    }


def step(network: ContrastiveModel, lr: float = 0.05) -> None:
    """One step of SGD that moves everything that may move."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for _ in range(2):
        loss = sum((network.encode(name, given) * torch.arange(8)).sum() for name, given in inputs().items())
        (loss * network.scale()).backward()
        torch.optim.SGD(learning, lr=lr).step()


def test_only_adapters_and_the_named_parameters_learn() -> None:
    network, before = model(), model().state_dict()
    adapted = apply_policy(network, PeftConfig(policy="lora", rank=2))
    assert "towers.image.transformer.resblocks.0.attn.in_proj_weight" in adapted, "packed projections too"
    assert "towers.text.encoder.layer.1.attention.self.value.weight" in adapted
    assert len(adapted) == 3 * 2 + 2 * 4
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert names == {"logit_scale"} | {
        f"{name.rpartition('.')[0]}.parametrizations.{name.rpartition('.')[2]}.0.{part}"
        for name in adapted
        for part in ("up", "down")
    }
    counts = trainable(network)
    assert 0 < counts["trainable"] < counts["parameters"] / 5
    network.train()
    assert not network.towers["text"].training, "a frozen tower has no dropout"
    step(network)
    after = merged(network).state_dict()
    assert after.keys() == before.keys(), "the result is a plain model"
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(adapted) | {"logit_scale"}


@pytest.mark.parametrize("image", [VIT, RESNET])
def test_adding_the_adapters_to_the_weights_changes_no_output(image: dict) -> None:
    network = model(image)
    untouched = copy.deepcopy(network)
    targets = (*PeftConfig().targets, "*.conv?.weight")
    adapted = apply_policy(network, PeftConfig(policy="lora", rank=3, targets=targets))
    if image is RESNET:
        assert any(".conv2." in name for name in adapted), "kernels of convolutions too"
    network.eval(), untouched.eval()
    for name, given in inputs().items():
        assert torch.equal(network.encode(name, given), untouched.encode(name, given)), (
            "starts where it began"
        )
    step(network, lr=1e-5 if image is RESNET else 0.05)
    plain = merged(network)
    assert plain is not network
    assert merged(plain) is plain
    for name, given in inputs().items():
        ours, theirs = plain.encode(name, given), network.encode(name, given)
        assert (ours - theirs).abs().max() <= 1e-6
        assert (ours - untouched.eval().encode(name, given)).abs().max() > 1e-4


def test_the_rank_is_at_most_that_of_the_matrix_and_the_scale_is_alpha_over_rank() -> None:
    network = model()
    name = "towers.image.transformer.resblocks.0.attn.out_proj.weight"
    apply_policy(network, PeftConfig(policy="lora", rank=64, alpha=32, targets=(name,)))
    adapter = network.get_submodule(
        "towers.image.transformer.resblocks.0.attn.out_proj"
    ).parametrizations.weight[0]
    assert adapter.down.shape == (16, 16)
    assert adapter.scale == 0.5
    with torch.no_grad():
        adapter.up.normal_()
    given = torch.zeros(16, 16)
    assert torch.allclose(adapter(given), 0.5 * adapter.up @ adapter.down)


def test_targets_that_match_nothing_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"match no weight of m; it has, for example, .*weight"):
        apply_policy(model(), PeftConfig(policy="lora", targets=("*.qkvv.weight",)))


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("towers.image.conv1.weight", 4),
        ("towers.image.positional_embedding", 4),
        ("towers.image.ln_pre.weight", 4),
        ("towers.image.transformer.resblocks.0.ln_1.weight", 3),
        ("towers.image.transformer.resblocks.2.mlp.c_fc.weight", 1),
        ("towers.image.ln_post.weight", 0),
        ("towers.text.embeddings.word_embeddings.weight", 3),
        ("towers.text.embeddings.LayerNorm.weight", 3),
        ("towers.text.encoder.layer.0.output.dense.weight", 2),
        ("towers.text.encoder.layer.1.output.dense.weight", 1),
        ("projections.image.weight", 0),
        ("logit_scale", 0),
        ("objective.linear.weight", 0),
    ],
)
def test_layers_of_our_towers(name: str, above: int) -> None:
    network = model()
    assert name.startswith("objective") or name in dict(network.named_parameters())
    assert layers_above(name, tower_layers(network)) == above


def test_layers_of_timm_towers() -> None:
    vit = {
        "backend": "timm",
        "architecture": "vit_so400m_patch14_siglip_384",
        "options": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 27, "num_heads": 2},
    }
    network = model(vit)
    layers = tower_layers(network)
    rates = {name: 0.75 ** layers_above(name, layers) for name, _ in network.named_parameters()}
    # The published fine-tuning of this tower: embeddings layer 0, block i layer i + 1, the rest layer 28.
    assert rates["towers.image.model.patch_embed.proj.weight"] == 0.75**28
    assert rates["towers.image.model.pos_embed"] == 0.75**28
    assert rates["towers.image.model.blocks.0.attn.qkv.weight"] == 0.75**27
    assert rates["towers.image.model.blocks.26.attn.qkv.weight"] == 0.75
    assert rates["towers.image.model.norm.weight"] == 1.0
    residual = model(RESNET)
    stages = tower_layers(residual)
    wanted = {"conv1.0": 5, "bn1": 5, "layer1.0.conv1": 4, "layer4.0.conv1": 1}
    assert {key: layers_above(f"towers.image.model.{key}.weight", stages) for key in wanted} == wanted


class _TwoStacks(torch.nn.Module):
    """A tower whose second stack of blocks has numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        tower = torch.nn.Module()
        tower.patch_embed = torch.nn.Linear(2, 2)
        tower.stages = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(2))
        tower.blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
        self.towers = torch.nn.ModuleDict({"image": tower})


def test_stacks_of_one_tower_are_not_mixed_up() -> None:
    layers = tower_layers(_TwoStacks())
    wanted = {"patch_embed": 6, "stages.0": 5, "stages.1": 4, "blocks.0": 3, "blocks.2": 1}
    assert {name: layers_above(f"towers.image.{name}.weight", layers) for name in wanted} == wanted


def test_a_model_may_tell_the_order_itself() -> None:
    network = _TwoStacks()
    stacks = [(f"towers.image.{stack}",) for stack in ("blocks", "stages")]
    network.layer_order = {"image": [(), *stacks]}
    layers = tower_layers(network)
    assert layers_above("towers.image.blocks.2.weight", layers) == 2
    assert layers_above("towers.image.stages.0.weight", layers) == 1
    assert layers_above("towers.image.patch_embed.weight", layers) == 0


def test_groups_cover_every_parameter_once() -> None:
    network = model()
    config = OptimConfig(
        lr=1e-2, weight_decay=0.1, layer_decay=0.5, lr_groups={"projections.*": 10.0, "*": 1.0}
    )
    groups = parameter_groups(network, torch.nn.Linear(8, 3), config)
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(members) == len(set(members)) == len(list(network.parameters())) + 2
    by_parameter = {id(parameter): group for group in groups for parameter in group["params"]}
    named = dict(network.named_parameters())
    found = {
        name: (by_parameter[id(p)]["lr"], by_parameter[id(p)]["weight_decay"]) for name, p in named.items()
    }
    assert found["projections.image.weight"] == (pytest.approx(1e-1), 0.1)
    assert found["towers.image.transformer.resblocks.2.attn.in_proj_weight"] == (pytest.approx(5e-3), 0.1)
    assert found["towers.image.transformer.resblocks.2.attn.in_proj_bias"] == (pytest.approx(5e-3), 0.0)
    assert found["towers.text.embeddings.word_embeddings.weight"] == (pytest.approx(1e-2 / 8), 0.1)
    assert found["logit_scale"] == (pytest.approx(1e-2), 0.0)


def test_plain_settings_give_the_two_groups_of_before() -> None:
    network = model()
    groups = parameter_groups(network, None, OptimConfig(lr=1e-3, weight_decay=0.2))
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-3, 0.2), (1e-3, 0.0)]
    assert [p.ndim >= 2 for p in groups[0]["params"]] == [True] * len(groups[0]["params"])


def test_what_a_model_spares_has_no_weight_decay() -> None:
    network = model()
    network.no_weight_decay = frozenset({"projections.image.weight"})
    groups = parameter_groups(network, None, OptimConfig(lr=1e-3, weight_decay=0.2))
    assert any(network.projections["image"].weight is p for p in groups[1]["params"])


def test_nothing_trainable_and_patterns_without_a_parameter_are_errors() -> None:
    network = model()
    with pytest.raises(ConfigError, match=r"lr_groups: 'projection\.\*' fits no trainable parameter"):
        parameter_groups(network, None, OptimConfig(lr=1e-3, lr_groups={"projection.*": 2.0}))
    network.requires_grad_(False)
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        parameter_groups(network, None, OptimConfig(lr=1e-3))


def test_everything_may_decay() -> None:
    network = model()
    network.no_weight_decay = frozenset({"projections.image.weight"})
    decayed, spared = parameter_groups(network, None, OptimConfig(lr=1e-3, weight_decay=0.2, decay="all"))
    assert len(decayed["params"]) == len(list(network.parameters()))
    assert (decayed["weight_decay"], spared["params"]) == (0.2, [])
