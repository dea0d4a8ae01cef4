"""The architecture: shapes, sizes of the published models, training modes, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip import from_pretrained
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.optim_config import OptimConfig
from verticlip.core.peft import parameter_groups
from verticlip.core.types import Batch
from verticlip.facade import Model

TEMPORAL = {"dim": 16, "grid": [2, 2], "heads": 2, "blocks": 2, "mlp_width": 16}
WORDS = 60


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def previous():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def tokens(*lengths):
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(length) % 20 + 5 + row
        ids[row, 0], ids[row, length - 1] = 2, 3
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def published(**options):
    """The architecture at the sizes of the published checkpoints, without values."""
    bert = {"vocab_size": 30522, "width": 768, "layers": 12, "heads": 12, "mlp_width": 3072}
    config = ModelConfig.model_validate(
        {
            "name": "medical/biovil",
            "domain": "medical",
            "architecture": "biovil",
            "embed_dim": 128,
            "towers": {
                "image": {"backend": "timm", "architecture": "resnet50", "projection": "mlp"}
                | {"projection_hidden": 128},
                "text": {"backend": "bert", "projection": "mlp", "projection_hidden": 128} | bert,
            },
            "options": options,
        }
    )
    with torch.device("meta"):
        return build_model(config)


@pytest.mark.parametrize(
    ("options", "count", "tensors"), [({}, 25_835_944, 328), ({"temporal": {}}, 27_349_928, 372)]
)
def test_sizes_of_the_published_models(options, count, tensors):
    model = published(**options)
    names = [name for name in model.state_dict() if "image" in name]
    unused = 1000 * 2048 + 1000
    assert sum(p.numel() for name, p in model.named_parameters() if "image" in name) + unused == count
    assert len(names) + 2 == tensors
    text = [
        (name, p) for name, p in model.named_parameters() if "image" not in name and name != "logit_scale"
    ]
    assert sum(p.numel() for _, p in text) == 109_629_498
    # The decoder's weight and bias are stored twice in the published file.
    assert len(text) + 2 == 210


def test_the_embedding_is_the_mean_of_the_projected_patches(network, pixels):
    model = network()
    states = model.image_states({"pixels": pixels})
    assert states.patches.shape == (3, 128, 2, 2)
    assert torch.allclose(
        states.projected.mean(dim=(2, 3)), model.encode("image", {"pixels": pixels}, normalize=False)
    )
    # Not equal to projecting the mean, because of the ReLU between the two layers.
    pooled_first = model.projections["image"](states.patches.mean(dim=(2, 3), keepdim=True)).flatten(1)
    assert (pooled_first - states.embedding).abs().max() > 1e-3
    patches = model.encode_patches({"pixels": pixels})
    assert patches.shape == (3, 2, 2, 12)
    assert torch.allclose(patches.norm(dim=-1), torch.ones(3, 2, 2), atol=1e-5)
    assert torch.allclose(patches, F.normalize(states.projected, dim=1).permute(0, 2, 3, 1), atol=1e-6)
    raw = model.encode_patches({"pixels": pixels}, normalize=False)
    assert torch.equal(raw.permute(0, 3, 1, 2), states.projected)


def test_a_batch_answers_as_each_image_alone(network, pixels, previous):
    for model in (network(), network(temporal=TEMPORAL)):
        inputs = {"pixels": pixels}
        if model.options.temporal:
            inputs["previous"] = previous
        alone = [{name: value[row : row + 1] for name, value in inputs.items()} for row in range(3)]
        for answer in (
            lambda given, model=model: model.encode("image", given),
            lambda given, model=model: model.encode_patches(given),
            lambda given, model=model: model.phrase_maps(
                given, tokens(5, 3), phrases=["a", "b"], processor=None
            )[0],
        ):
            assert (answer(inputs) - torch.cat([answer(one) for one in alone])).abs().max() < 1e-5
    texts = tokens(7, 4, 5)
    rows = [{name: value[row : row + 1] for name, value in texts.items()} for row in range(3)]
    together, apart = model.encode("text", texts), torch.cat([model.encode("text", row) for row in rows])
    assert (together - apart).abs().max() < 1e-5


def test_phrase_maps_are_cosines(network, pixels):
    model = network()
    maps, scores = model.phrase_maps({"pixels": pixels}, tokens(5, 3), phrases=["a", "b"], processor=None)
    patches, texts = model.encode_patches({"pixels": pixels}), model.encode("text", tokens(5, 3))
    assert maps.shape == (3, 2, 2, 2)
    assert scores.shape == (3, 2)
    assert torch.allclose(maps[1, 0], patches[1] @ texts[0], atol=1e-6)
    assert torch.allclose(scores, model.encode("image", {"pixels": pixels}) @ texts.T, atol=1e-6)
    assert model.map_range == (-1.0, 1.0)
    assert model.map_smoothing == 1.5


def test_a_previous_image_changes_the_answer_and_its_order_matters(network, pixels, previous):
    model = network(temporal=TEMPORAL)
    alone = model.encode("image", {"pixels": pixels})
    pair = model.encode("image", {"pixels": pixels, "previous": previous})
    swapped = model.encode("image", {"pixels": previous, "previous": pixels})
    same = model.encode("image", {"pixels": pixels, "previous": pixels})
    for other in (alone, swapped, same):
        assert (pair - other).abs().max() > 1e-3
    # An identical previous image is a comparison, not a missing one.
    assert (same - alone).abs().max() > 1e-3
    assert model.image_states({"pixels": pixels}).patches.shape[1] == 32


def test_rows_without_a_previous_image_answer_as_if_there_were_none(network, pixels, previous):
    model = network(temporal=TEMPORAL)
    has = torch.tensor([True, False, True])
    mixed = model.encode("image", {"pixels": pixels, "previous": previous, "has_previous": has})
    pair = model.encode("image", {"pixels": pixels, "previous": previous})
    alone = model.encode("image", {"pixels": pixels})
    assert (mixed - torch.where(has[:, None], pair, alone)).abs().max() < 1e-5
    none = model.encode("image", {"pixels": pixels, "previous": previous, "has_previous": ~has & has})
    assert (none - alone).abs().max() < 1e-6


def test_without_a_previous_image_any_size_works(network):
    model = network(temporal=TEMPORAL)
    assert model.encode_patches({"pixels": torch.rand(1, 3, 96, 130)}).shape == (1, 3, 5, 12)


def test_a_previous_image_is_refused_where_it_cannot_be_compared(network, pixels, previous):
    with pytest.raises(ValueError, match=r"small-biovil takes one image .* use a BioViL-T model"):
        network().encode("image", {"pixels": pixels, "previous": previous})
    model = network(temporal=TEMPORAL)
    with pytest.raises(InputError, match=r"pixels: got \[1, 3, 96, 96\].*Resize and crop both to 64 x 64"):
        model.encode("image", {"pixels": torch.rand(1, 3, 96, 96), "previous": torch.rand(1, 3, 96, 96)})
    with pytest.raises(InputError, match=r"previous: got \[2, 3, 64, 64\]"):
        model.encode("image", {"pixels": pixels, "previous": previous[:2]})
    with pytest.raises(InputError, match=r"has_previous: expected bool \[3\]"):
        wrong = torch.tensor([True, False])
        model.encode("image", {"pixels": pixels, "previous": previous, "has_previous": wrong})


def test_the_published_grid_names_448(config):
    model = build_model(config(temporal={"dim": 16, "heads": 2})).eval()
    wrong = torch.rand(1, 3, 480, 480)
    with pytest.raises(ValueError, match="448 x 448"):
        model.encode("image", {"pixels": wrong, "previous": wrong})


def test_pixels_of_another_shape_are_refused(network):
    with pytest.raises(InputError, match=r"pixels: expected \[B, 3, H, W\], got \[2, 1, 64, 64\]"):
        network().encode("image", {"pixels": torch.rand(2, 1, 64, 64)})


def test_a_finer_grid_shares_the_weights(network, pixels):
    model = network()
    fine = model.dilated()
    assert fine.encode_patches({"pixels": pixels}).shape == (3, 4, 4, 12)
    assert fine.encode("text", tokens(4)).equal(model.encode("text", tokens(4)))
    assert fine.logit_scale is model.logit_scale
    model.projections["image"][3].bias.data += 1
    assert torch.equal(fine.projections["image"][3].bias, model.projections["image"][3].bias)
    with pytest.raises(InputError, match="fixed grid"):
        network(temporal=TEMPORAL).dilated()


def test_a_network_of_basic_blocks(config, pixels):
    raw = config().model_dump(mode="json")
    raw["towers"]["image"] |= {"architecture": "resnet18", "options": {"channels": [4, 8, 16, 32]}}
    model = build_model(ModelConfig.model_validate(raw)).eval()
    assert model.encode_patches({"pixels": pixels}).shape == (3, 2, 2, 12)
    with pytest.raises(InputError, match="bottleneck"):
        model.dilated()


@pytest.mark.parametrize("hidden", [None, 6])
def test_classifier_heads_train_alone_when_the_encoder_is_frozen(network, pixels, hidden):
    model = network(classifier={"classes": 2, "tasks": 5, "hidden": hidden})
    assert model.class_logits({"pixels": pixels}).shape == (3, 2, 5)
    model.freeze("image")
    model.train()
    before = model.image_states({"pixels": pixels}).pooled
    logits = model.class_logits({"pixels": pixels})
    logits.sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained
    assert all(name.startswith("classifier.") for name in trained)
    # Batch norm of the trunk and the projector goes on as in evaluation.
    assert torch.equal(before, model.image_states({"pixels": pixels}).pooled)
    assert not model.projections["image"].training
    assert model.classifier.training


def test_training_mode_changes_the_embedding(network, pixels):
    model = network()
    calm = model.encode("image", {"pixels": pixels})
    assert (model.train().encode("image", {"pixels": pixels}) - calm).abs().max() > 1e-3


def test_the_extras_that_objectives_read(network, pixels, previous):
    model = network(temporal=TEMPORAL)
    texts = tokens(7, 4, 5)
    labels = torch.full((3, 7), -100)
    labels[0, 2], labels[2, 1], labels[2, 3] = 9, 8, 7
    more = {"mlm_input_ids": texts["input_ids"], "mlm_attention_mask": texts["attention_mask"]}
    for name in ("findings", "impression"):
        more |= {f"{name}_{key}": value for key, value in tokens(5, 2, 3).items()}
    batch = Batch(
        {"image": {"pixels": pixels, "previous": previous}, "text": texts},
        extras={**more, "mlm_labels": labels},
    )
    names = (
        "patch_embeddings", "word_embeddings", "word_mask", "mlm_logits", "findings_embeddings",
        "impression_embeddings",
    )  # fmt: skip
    outputs = model(batch, extras=names, tokens=("image", "text"))
    assert set(outputs.extras) == set(names)
    assert outputs.extras["patch_embeddings"].shape == (3, 2, 2, 12)
    assert outputs.extras["word_mask"].sum(dim=1).tolist() == [5, 2, 3]
    assert not outputs.extras["word_mask"][:, 0].any()
    assert outputs.extras["mlm_logits"].shape == (3, WORDS)
    whole = model.word_logits(texts)
    assert torch.allclose(outputs.extras["mlm_logits"], whole[labels != -100], atol=1e-6)
    assert torch.allclose(outputs.extras["findings_embeddings"], outputs.extras["impression_embeddings"])
    pair = model.encode("image", {"pixels": pixels, "previous": previous})
    assert torch.allclose(outputs.embeddings["image"], pair, atol=1e-6)
    assert outputs.tokens["image"].grid == (2, 2)
    assert outputs.tokens["image"].tokens.shape == (3, 4, 32)
    assert model(batch).extras == {}


def test_extras_that_cannot_be_given_are_named(network, pixels):
    model = network()
    batch = Batch({"image": {"pixels": pixels}})
    with pytest.raises(InputError, match=r"gives no extra 'patches'.*Did you mean"):
        model(batch, extras=("patches",))
    for extra, own, other in (("word_mask", "text", "image"), ("patch_embeddings", "image", "text")):
        with pytest.raises(InputError, match=f"'{extra}' needs '{own}' in the batch, which has {other}"):
            model(Batch({other: {}}), extras=(extra,))
    with pytest.raises(InputError, match="no extra 'mlm_labels'.*report_sections"):
        model(batch, extras=("mlm_logits",))
    with pytest.raises(InputError, match="no 'audio' tower; it takes: image, text"):
        model(Batch({"audio": {}}))
    with pytest.raises(InputError, match="no classifier"):
        model(batch, extras=("class_logits",))


def test_projected_tokens(network, pixels):
    model = network()
    patches = model.encode_tokens("image", {"pixels": pixels}, project=True)
    assert patches.grid == (2, 2)
    assert torch.allclose(
        patches.tokens.mean(dim=1), model.encode("image", {"pixels": pixels}, normalize=False)
    )
    words = model.encode_tokens("text", tokens(5, 3), project=True).tokens
    assert torch.allclose(words[:, 0], model.encode("text", tokens(5, 3), normalize=False), atol=1e-6)
    assert model.encode_tokens("image", {"pixels": pixels}).tokens.shape == (3, 4, 128)


def test_a_language_model_without_joint_space():
    raw = {
        "name": "medical/general", "domain": "medical", "architecture": "biovil", "embed_dim": 16,
        "towers": {"text": {"backend": "bert", "vocab_size": WORDS, "width": 16, "layers": 1, "heads": 2}
        | {"mlp_width": 32, "projection": "none"}},
        "options": {"joint_space": False},
    }  # fmt: skip
    model = build_model(ModelConfig.model_validate(raw)).eval()
    assert model.word_logits(tokens(5, 3)).shape == (2, 5, WORDS)
    for call in (
        lambda: model.encode("text", tokens(4)),
        lambda: model.encode_tokens("text", tokens(4), project=True),
    ):
        with pytest.raises(InputError, match="medical/general predicts masked words only"):
            call()
    with pytest.raises(InputError, match="reads text only"):
        model.encode_patches({"pixels": torch.rand(1, 3, 64, 64)})
    assert model.encode_tokens("text", tokens(4)).tokens.shape == (1, 4, 16)


def test_no_masked_word_head(network):
    with pytest.raises(InputError, match="no masked-word head"):
        network(masked_words=False).word_logits(tokens(4))


def test_gradients_reach_pixels_words_and_both_towers(network, pixels, previous):
    model = network(temporal=TEMPORAL)
    pixels.requires_grad_(True)
    image = model.encode("image", {"pixels": pixels, "previous": previous})
    model.similarity(image, model.encode("text", tokens(5, 3))).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().max() > 0
    silent = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # What a pair does not use: the missing image, the masked-word head, the scale.
    used = ("towers.", "projections.")
    assert {name for name in silent if name.startswith(used)} == {"towers.image.temporal.missing_previous"}


def test_half_precision_keeps_cosines_in_float32(network, pixels):
    model = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = model.encode("image", {"pixels": pixels})
        texts = model.encode("text", tokens(5, 3))
    assert vectors.dtype == texts.dtype == torch.float32
    exact = model.encode("image", {"pixels": pixels})
    assert F.cosine_similarity(vectors, exact).min() > 0.99


def test_start_values_of_the_temporal_encoder(config):
    torch.manual_seed(0)
    temporal = build_model(config(temporal={"dim": 64, "heads": 8})).image_tower.temporal
    weights = torch.cat([block.attn.proj_q.weight.flatten() for block in temporal.blocks])
    assert abs(float(weights.detach().std()) - 0.02) < 2e-3
    assert float(temporal.type_embed.detach().std()) < 0.03
    assert float(temporal.missing_previous.detach().abs().max()) > 0
    assert all(bool((block.mlp.fc1.bias == 0).all()) for block in temporal.blocks)
    assert bool((temporal.norm.weight == 1).all())


def test_layer_wise_rates_follow_the_way_of_the_image(network):
    model = network(temporal=TEMPORAL)
    config = OptimConfig(lr=1.0, layer_decay=0.5)
    rates = {id(p): g["lr"] for g in parameter_groups(model, None, config) for p in g["params"]}
    found = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    above = {
        "trunk.conv1": 7, "trunk.bn1": 7, "trunk.layer1.0.conv1": 6, "trunk.layer4.0.conv3": 3,
        "temporal.reduce": 2, "temporal.blocks.0.attn.proj": 2, "temporal.blocks.1.mlp.fc1": 1, "temporal.norm": 0,
    }  # fmt: skip
    assert {name: found[f"towers.image.{name}.weight"] for name in above} == {
        name: 0.5**count for name, count in above.items()
    }
    assert found["towers.image.temporal.type_embed"] == 0.5**2
    assert found["towers.image.temporal.missing_previous"] == 1.0
    assert found["projections.image.0.weight"] == 1.0
    assert found["towers.text.embeddings.word_embeddings.weight"] == 0.5**3
    alone = network()
    rates = {id(p): g["lr"] for g in parameter_groups(alone, None, config) for p in g["params"]}
    found = {name: rates[id(parameter)] for name, parameter in alone.named_parameters()}
    assert found["towers.image.trunk.conv1.weight"] == 0.5**5
    assert found["towers.image.trunk.layer4.0.conv1.weight"] == 0.5


def test_what_weight_decay_leaves_alone(network):
    assert network(temporal=TEMPORAL).no_weight_decay == {"towers.image.temporal.type_embed"}
    assert network().no_weight_decay == frozenset()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"temporl": {}}}, "unknown key 'temporl'.*Did you mean 'temporal'"),
        ({"options": {"temporal": {"dim": 24, "heads": 16}}}, "dim 24 is not a multiple of heads 16"),
        ({"options": {"joint_space": False}}, "joint_space is false, which is for text alone"),
    ],
)
def test_configs_that_do_not_fit(config, changes, message):
    raw = config().model_dump(mode="json") | changes
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig.model_validate(raw))


def test_other_towers_are_refused(config):
    raw = config().model_dump(mode="json")
    vit = {"backend": "vit", "image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2}
    raw["towers"]["image"] = {**vit, "mlp_width": 32, "output_dim": 12}
    with pytest.raises(ConfigError, match="not 'image' of backend 'vit'"):
        build_model(ModelConfig.model_validate(raw))
    del raw["towers"]["image"]
    raw["options"] = {"classifier": {"classes": 2, "tasks": 1}}
    with pytest.raises(ConfigError, match="need an image tower"):
        build_model(ModelConfig.model_validate(raw))


def test_a_saved_model_answers_the_same(biovil_t, studies, tmp_path):
    folder = Model.save(biovil_t, tmp_path / "model")
    again = from_pretrained(folder, device="cpu", dtype="float32")
    for items, modality in ((studies, "image"), (["pleural effusion"], "text")):
        stored, fresh = (model.embed(items, modality=modality).vectors for model in (again, biovil_t))
        assert (stored - fresh).abs().max() < 1e-6


def test_the_facade_classifies(biovil, studies):
    answers = biovil.classify(studies, ["pneumonia", "pleural effusion", "clear lungs"], batch_size=2)
    assert [answer.id for answer in answers] == [str(path) for path in studies]
    assert all(abs(sum(answer.scores.values()) - 1) < 1e-5 for answer in answers)


def test_every_tensor_is_made_on_the_models_device(network, pixels, previous):
    # The meta device refuses to mix with the CPU, so this needs no GPU.
    tower = network(temporal=TEMPORAL).image_tower.to("meta")
    inputs = {"pixels": pixels.to("meta"), "previous": previous.to("meta")}
    assert tower.patches(inputs).device.type == "meta"
    assert tower.patches({"pixels": inputs["pixels"]}).shape == (3, 32, 2, 2)


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu(network, pixels, previous):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    model = network(temporal=TEMPORAL)
    inputs = {"pixels": pixels, "previous": previous}
    expected = model.encode("image", inputs)
    model = model.cuda()
    moved = {name: value.cuda() for name, value in inputs.items()}
    assert (model.encode("image", moved).cpu() - expected).abs().max() < 1e-3


def test_two_dilated_stages_give_a_grid_four_times_as_fine(network, pixels):
    assert network().dilated(2).encode_patches({"pixels": pixels}).shape == (3, 8, 8, 12)
    with pytest.raises(ConfigError, match="stages must be 1 or 2"):
        network().dilated(3)


def test_the_projection_keeps_its_own_epsilon(config):
    """The reference fixes it; the text tower's is a setting."""
    raw = config().model_dump(mode="json")
    raw["towers"]["text"]["layer_norm_eps"] = 1e-5
    model = build_model(ModelConfig.model_validate(raw))
    assert model.projections["text"].norm.eps == 1e-12
