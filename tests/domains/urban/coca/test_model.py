"""Our CoCa gives what open_clip's gives, whatever its sizes, and works like every other model."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
import verticlip
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, DependencyError, InputError
from verticlip.core.model import build_model
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch
from verticlip.domains.urban.coca import options
from verticlip.domains.urban.coca.convert import config_from_open_clip
from verticlip.domains.urban.coca.model import CoCaModel, name_here, name_in_open_clip
from verticlip.domains.urban.tile_settings import TileSettings, tile_settings

sys.path.insert(0, str(Path(__file__).parent))

import make_coca

NO_POOLING = {"vision__attentional_pool": False, "vision__width": 32}
VARIANTS = {
    "as published": {},
    "class token": {**NO_POOLING, "embed_dim": 24},
    "mean of patches": {**NO_POOLING, "vision__pool_type": "avg"},
    "norm after pooling": {**NO_POOLING, "vision__final_ln_after_pool": True},
    "quick GELU": {"quick_gelu": True},
    "layer scale": {"vision__ls_init_value": 0.1, "text__ls_init_value": 0.1, "decoder__ls_init_value": 0.2},
    "end of text": {"text__embed_cls": False},
    "other depths": {"text__layers": 3, "decoder__layers": 1, "vision__layers": 2, "decoder__heads": 8},
    "longer decoder": {"decoder__context_length": 30},
    "custom blocks": {"text__qk_norm": True},
}


def batch(ids, pixels):
    return Batch({"image": {"pixels": pixels}, "text": {"input_ids": ids}})


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_features_tokens_and_logits(changes):
    theirs, ours = make_coca.pair(**changes)
    ids, pixels = make_coca.texts(4), make_coca.images(4)
    with torch.no_grad():
        expected = theirs(pixels, ids)
        tokens = theirs.text(ids)[1]
        got = ours(batch(ids, pixels), tokens=("text",), extras=("caption_logits",))
    torch.testing.assert_close(got.embeddings["image"], expected["image_features"], atol=1e-6, rtol=0)
    torch.testing.assert_close(got.embeddings["text"], expected["text_features"], atol=1e-6, rtol=0)
    torch.testing.assert_close(got.extras["caption_logits"], expected["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.tokens["text"].tokens, tokens, atol=1e-6, rtol=0)
    assert got.tokens.keys() == {"text"}
    assert got.logit_scale == expected["logit_scale"]


@pytest.mark.parametrize("changes", [VARIANTS["as published"], VARIANTS["end of text"]])
def test_shorter_rows_are_filled_up(changes):
    theirs, ours = make_coca.pair(**changes)
    pixels, ids = make_coca.images(3), make_coca.texts(4)[1:]
    longest = int((ids != 0).sum(1).max())
    with torch.no_grad():
        whole = theirs(pixels, ids)
        got = ours(batch(ids[:, :longest], pixels), extras=("caption_logits",))
    torch.testing.assert_close(got.embeddings["text"], whole["text_features"], atol=1e-6, rtol=0)
    logits = got.extras["caption_logits"]
    assert logits.shape[1] == longest - 1
    words = ids[:, 1:longest] != 0
    torch.testing.assert_close(logits[words], whole["logits"][:, : longest - 1][words], atol=1e-5, rtol=0)
    loss = [F.cross_entropy(one.permute(0, 2, 1), ids[:, 1 : one.shape[1] + 1], ignore_index=0)
            for one in (logits, whole["logits"])]  # fmt: skip
    assert abs(float(loss[0] - loss[1])) < 1e-5


def test_rows_as_they_come():
    theirs, ours = make_coca.pair()
    short = make_coca.texts(4)[1:, :9]
    config = ours.config.model_copy(update={"options": {**ours.config.options, "pad_to_context": False}})
    loose = CoCaModel(config).eval()
    loose.load_state_dict(ours.state_dict())
    with torch.no_grad():
        expected, filled = theirs.encode_text(short), ours.encode("text", {"input_ids": short})
        assert (loose.encode("text", {"input_ids": short}) - expected).abs().max() < 1e-6
    # The class token stands elsewhere: another embedding.
    assert (filled - expected).abs().max() > 1e-3


def test_names_go_both_ways():
    theirs, ours = make_coca.pair()
    assert [name_in_open_clip(name) for name in ours.state_dict()] != list(ours.state_dict())
    assert {name_in_open_clip(name) for name in ours.state_dict()} == set(theirs.state_dict())
    assert {name_here(name) for name in theirs.state_dict()} == set(ours.state_dict())
    assert name_here("transformer.resblocks.0.ln_1.weight") is None


def test_a_new_model_has_no_weight_unset(monkeypatch):
    # What open_clip leaves unset is whatever lay in memory; here it would show.
    original = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **given: original(*size, **given).fill_(math.nan))
    torch.manual_seed(0)
    network = CoCaModel(config_from_open_clip("test/coca", make_coca.arguments()))
    monkeypatch.undo()
    assert all(bool(torch.isfinite(one).all()) for one in network.parameters())
    projection = network.decoder.text_projection
    assert abs(float(projection.detach().std()) - 32**-0.5) < 0.02


def test_training_moves_every_part_and_the_scale_stays_below_100():
    network = make_coca.pair()[1].train()
    ids = make_coca.texts(4)
    given = batch(ids, make_coca.images(4))
    objective = build_objective("coca", {"clip_weight": 1.0, "caption_weight": 1.0}, domain="urban")
    given = Batch(given.inputs, extras={"caption_labels": ids[:, 1:]})
    parts = objective(network(given, extras=objective.needs.output_extras), given)
    assert torch.equal(parts["loss"], parts["contrastive"] + parts["caption"])
    parts["loss"].backward()
    still = [name for name, one in network.named_parameters() if one.grad is None]
    assert still == []
    with torch.no_grad():
        network.logit_scale.fill_(9.0)
    network.clamp_scale_()
    assert network.scale().item() == pytest.approx(100.0, rel=1e-5)


def test_everyday_use(tmp_path):
    model = make_coca.word_model(tile_px=64, resolution_m=10.0, sensor="sentinel-2-rgb8")
    texts = ["a river", "houses in the red field", "trees"]
    vectors = model.embed(texts).vectors
    assert (vectors.norm(dim=1) - 1).abs().max() < 1e-6
    # An embedding is the same alone and beside longer texts.
    torch.testing.assert_close(model.embed("a river").vectors, vectors[:1], atol=1e-6, rtol=0)
    pictures = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    seen = model.embed(pictures, modality="image").vectors
    model.save(tmp_path / "coca")
    again = verticlip.from_pretrained(tmp_path / "coca")
    assert torch.equal(again.embed(texts).vectors, vectors)
    assert torch.equal(again.embed(pictures, modality="image").vectors, seen)
    assert all(torch.equal(a, b) for a, b in zip(
        again.network.state_dict().values(), model.network.state_dict().values(), strict=True))  # fmt: skip
    assert tile_settings(again.config) == TileSettings(
        tile_px=64, resolution_m=10.0, sensor="sentinel-2-rgb8"
    )
    answers = model.classify(pictures, ["river", "road"], templates=["a {}"])
    assert sum(answers[0].scores.values()) == pytest.approx(1.0, abs=1e-5)


def test_tokens_have_a_mask_and_no_projection():
    _, network = make_coca.pair()
    ids = make_coca.texts(3)
    found = network.encode_tokens("text", {"input_ids": ids})
    assert torch.equal(found.mask, ids != 0)
    assert network.encode_tokens("image", {"pixels": make_coca.images(2)}).tokens.shape == (2, 4, 32)
    with pytest.raises(InputError, match="for its decoder"):
        network.encode_tokens("image", {"pixels": make_coca.images(1)}, project=True)


def test_what_cannot_be_asked():
    _, network = make_coca.pair()
    ids, pixels = make_coca.texts(2), make_coca.images(2)
    with pytest.raises(InputError, match=r"no extra 'caption_logit'.*Did you mean 'caption_logits'"):
        network(batch(ids, pixels), extras=("caption_logit",))
    with pytest.raises(InputError, match="the batch has text"):
        network(Batch({"text": {"input_ids": ids}}), extras=("caption_logits",))
    with pytest.raises(InputError, match="begin with token 5"):
        network(batch(torch.full((2, 3), 5), pixels), extras=("caption_logits",))
    with pytest.raises(InputError, match="Texts of 15 tokens.*takes 14"):
        network.encode("text", {"input_ids": torch.ones(1, 15, dtype=torch.int64)})


def config(changes=None, **given):
    raw = config_from_open_clip("test/coca", make_coca.arguments(**(changes or {}))).model_dump()
    for path, value in given.items():
        place = raw
        *parts, last = path.split("__")
        for part in parts:
            place = place[part]
        place[last] = value
    return ModelConfig.model_validate(raw)


BAD = {
    "width": ({}, {"options__decoder__width": 48}, "decoder is 48 wide and the image tokens are 32"),
    "text width": ({"text__width": 64}, {}, "and the text tokens are 64"),
    "heads": ({}, {"options__decoder__heads": 5}, "width 32 is not a multiple of its 5 heads"),
    "decoder context": ({}, {"options__decoder__context_length": 8}, "shorter than the text tower's 14"),
    "misspelled": ({}, {"options__decoders": {}}, "unknown key 'decoders'. Did you mean 'decoder'"),
    "missing": ({}, {"options": {}}, "decoder"),
    "ids": ({}, {"options__start_id": 0}, "must differ and be below the vocabulary of 40"),
    "too high": ({}, {"options__end_id": 40}, "must differ and be below the vocabulary of 40"),
    "pad": ({}, {"options__pad_id": 3}, "masks pad_id 0 and the options say 3"),
    "timm": ({"vision__timm_model_name": "resnet50"}, {}, "towers of timm and residual networks give none"),
    "resnet": ({"vision__layers": [1, 1, 1, 1]}, {}, "Set 'layers' to a number"),
    "pooling": ({"vision__attentional_pool": "parallel"}, {}, "attentional_pool 'parallel'"),
    "no pooling": ({"vision__pool_type": "none"}, {}, "got pool_type 'none'"),
    "fetched": ({"text__hf_model_name": "roberta-base"}, {}, "hf_model_name is refused"),
    "sees ahead": ({"text__no_causal_mask": True}, {}, "see the words it has to predict"),
    "texts unpooled": ({"text__pool_type": "none"}, {}, "gives a text no embedding"),
    "end is not last": ({"text__embed_cls": False}, {"options__end_id": 3}, "Set pool_type to 'eos'"),
    "other end": (
        {"text__embed_cls": False, "text__pool_type": "eos"},
        {},
        "pools at eos_id 2 and texts end",
    ),
    "projection": ({}, {"towers__image__projection": "linear"}, "projection to 'none'"),
    "tile": ({}, {"options__tile_px": 0}, "tile_px"),
}


@pytest.mark.parametrize(("changes", "given", "message"), BAD.values(), ids=BAD)
def test_configs_that_make_no_coca(changes, given, message):
    with pytest.raises(ConfigError, match=message):
        build_model(config(changes, **given))


def test_towers_that_make_no_coca():
    made = config().model_dump()
    without = ModelConfig.model_validate({**made, "towers": {"image": made["towers"]["image"]}})
    with pytest.raises(ConfigError, match="has the towers image and text, not image"):
        build_model(without)
    plain = {"backend": "clip_text", "width": 32, "layers": 1, "heads": 4, "mlp_width": 64}
    other = ModelConfig.model_validate({**made, "towers": {**made["towers"], "text": plain}})
    with pytest.raises(ConfigError, match="takes an? text tower of backend 'open_clip'"):
        build_model(other)


@pytest.mark.parametrize("version", ["2.24.0", "2.20.0", "4.0.0", "4.2.0.dev0"])
def test_other_releases_of_open_clip(monkeypatch, version):
    monkeypatch.setattr(options.importlib.metadata, "version", lambda name: version)
    with pytest.raises(DependencyError, match=f"open_clip_torch {version}.*>=3.3,<4"):
        build_model(config())


def test_end_of_text_by_its_id():
    changes = {"text__embed_cls": False, "text__pool_type": "eos", "text__eos_id": 39}
    theirs, ours = make_coca.pair(**changes)
    ids = make_coca.texts(3)
    with torch.no_grad():
        expected = theirs.encode_text(ids)
    torch.testing.assert_close(ours.encode("text", {"input_ids": ids}).detach(), expected, atol=1e-6, rtol=0)
