"""The stored case of the model, and others made here by the reference's formulas."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from verticlip.core import verify
from verticlip.core.errors import ConfigError, VerticlipError, WeightsError
from verticlip.core.objectives.caption import CoCa
from verticlip.domains.urban.coca import goldens

sys.path.insert(0, str(Path(__file__).parent))

import make_coca


@pytest.fixture(autouse=True)
def only_the_model(monkeypatch):
    """The room's module of goldens holds the cases of other parts as well."""
    monkeypatch.setattr(verify, "_find", lambda system, case: (goldens, "coca_loss"))


def checks(folder):
    return {check.name: check for check in verify.replay("urbanclip", folder).checks}


def test_the_stored_case(small_golden):
    found = checks(small_golden / "urbanclip" / "coca_loss_a")
    assert {check.status for check in found.values()} == {"ok"}
    assert {"eval_ref.val_generative_loss", "eval_fixed.generative_loss_ignore_pad"} <= set(found)
    assert found["after_step.visual.conv1.weight"].error < 1e-6
    assert len(found) == 45


def stored(folder, *, rows=4, length=14, scale=2.6, clip=1.0, caption=1.0, **changes):
    """Write a case as the reference computes it, with plain open_clip and written-out losses."""
    theirs, _ = make_coca.pair(**changes)
    with torch.no_grad():
        theirs.logit_scale.fill_(scale)
    ids, pixels = make_coca.texts(rows, length), make_coca.images(rows)
    run = {"wcon": clip, "wcap": caption, "lr": 3e-4, "wd": 0.01, "val_batch": 3, "logit_scale_clamp": [0, math.log(100)]}  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"case": "coca_loss_z", "model": make_coca.arguments(**changes), "run": run})
    )
    save_file({k: v.clone() for k, v in theirs.state_dict().items()}, folder / "weights.safetensors")
    given = {"images": pixels, "texts": ids, "val_images": pixels.flip(0).contiguous(), "val_texts": ids}
    save_file({name: value.clone() for name, value in given.items()}, folder / "inputs.safetensors")
    got = theirs.train()(pixels, ids)
    target = torch.arange(rows)
    logits = got["logit_scale"] * got["image_features"] @ got["text_features"].T
    contrastive = clip * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    words = caption * F.cross_entropy(got["logits"].permute(0, 2, 1), got["labels"], ignore_index=0)
    (contrastive + words).backward()
    outputs = {
        "contrastive_loss": contrastive, "caption_loss": words, "total_loss": contrastive + words,
        "image_features": got["image_features"], "logits": got["logits"], "logit_scale": got["logit_scale"],
    }  # fmt: skip
    outputs |= {f"grad.{name}": one.grad for name, one in theirs.named_parameters()}
    save_file({k: v.detach().clone() for k, v in outputs.items()}, folder / "outputs.safetensors")
    return folder


CASES = {
    "plain": {},
    "shorter than the context": {"length": 9},
    "one pair": {"rows": 1},
    "scale at its end": {"scale": math.log(100)},
    "weights": {"clip": 0.5, "caption": 2.0},
    "no pooling": {"vision__attentional_pool": False, "embed_dim": 24},
    "two queries": {"vision__attn_pooler_queries": 2},
    "one layer": {"text__layers": 1, "decoder__layers": 1},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_cases_made_with_open_clip(tmp_path, changes):
    found = checks(stored(tmp_path / "coca_loss_z", **changes))
    over = {name: check for name, check in found.items() if check.status != "ok"}
    assert over == {}


def test_a_wrong_objective_is_noticed(tmp_path, monkeypatch):
    folder = stored(tmp_path / "coca_loss_z")
    original = CoCa._caption
    monkeypatch.setattr(
        CoCa, "_caption", lambda self, logits, labels: original(self, logits, labels.roll(1, 1))
    )
    with pytest.raises(VerticlipError, match="written out it is"):
        checks(folder)


def test_a_wrong_weight_is_noticed(tmp_path):
    folder = stored(tmp_path / "coca_loss_z")
    weights = load_file(folder / "weights.safetensors")
    weights["text_decoder.cross_attn.0.ln_1_kv.weight"] += 1e-3
    save_file(weights, folder / "weights.safetensors")
    statuses = {name: check.status for name, check in checks(folder).items()}
    assert statuses["logits"] == "over"
    assert statuses["image_features"] == "ok"


def test_padding_is_not_compared_and_words_are():
    got = goldens._words_only(torch.tensor([[[1.0], [math.nan], [3.0]]]), torch.tensor([[True, True, False]]))
    expected = torch.tensor([[[1.0], [2.0], [99.0]]])
    assert goldens.error("coca_loss", "logits", got, expected) == math.inf
    got[0, 1] = 4.5
    assert goldens.error("coca_loss", "logits", got, expected) == 2.5
    assert goldens.error("coca_loss", "image_features", got, expected) is None


def test_the_network_of_a_regressor_case(small_golden):
    folder = small_golden / "urbanclip" / "mlp_probe_a"
    config = json.loads((folder / "config.json").read_text())
    network = goldens.load_coca_from_golden(config, load_file(folder / "weights.safetensors"))
    expected = load_file(folder / "outputs.safetensors")["image_features"]
    pixels = load_file(folder / "inputs.safetensors")["images"]
    with torch.no_grad():
        assert (network.encode("image", {"pixels": pixels}) - expected).abs().max() < 1e-5


def test_damaged_cases(small_golden):
    folder = small_golden / "urbanclip" / "coca_loss_a"
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    weights.pop("visual.proj")
    with pytest.raises(WeightsError, match="1 missing"):
        goldens.load_coca_from_golden(config, weights)
    del config["model"]["text_cfg"]
    with pytest.raises(ConfigError, match="no 'text_cfg'"):
        goldens.load_coca_from_golden(config, weights)
