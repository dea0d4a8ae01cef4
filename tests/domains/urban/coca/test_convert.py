"""Checkpoints of open_clip become models that give the same, and nothing else is taken for one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import verticlip
from safetensors.torch import save_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.processing import Processor
from verticlip.domains.urban.coca import convert as module
from verticlip.domains.urban.coca.convert import convert

sys.path.insert(0, str(Path(__file__).parent))

import make_coca

SIZES = {"text__vocab_size": 49408, "decoder__vocab_size": 49408, "text__layers": 1, "decoder__layers": 1}
OPTIONS = {"head_width": 8, "pooler_heads": 4}


@pytest.fixture(scope="module")
def published():
    """open_clip's network with CLIP's vocabulary and heads of 8 values in every tower."""
    return make_coca.pair(vision__head_width=8, **SIZES)[0]


def write(path, state, *, pickled=True, wrap=None):
    state = {name: value.clone() for name, value in state.items()}
    if pickled:
        torch.save(wrap(state) if wrap else state, path)
    else:
        save_file(state, path)
    return {"weights": path}


def built(done):
    network = build_empty(done.config)
    # Nothing is drawn for weights that are about to be replaced; the causal masks are in no file.
    assert all(one.is_meta for one in network.parameters())
    assert not any(one.is_meta for one in network.buffers())
    load_strict(network, done.state, source="test")
    return verticlip.Model(network.eval(), Processor(done.processor, done.tokenizer_json))


FORMS = {
    "open_clip_pytorch_model.bin": {},
    "open_clip_model.safetensors": {"pickled": False},
    "epoch_3.pt": {"wrap": lambda state: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": {"lr": 1.0}}},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_what_open_clip_gives(published, tmp_path, name):
    from open_clip import get_tokenizer

    done = convert("urban/coca-test", write(tmp_path / name, published.state_dict(), **FORMS[name]), OPTIONS)
    assert done.report.complete
    assert {part: one.loaded for part, one in done.report.towers.items()}["scalars"] == 1
    model = built(done)
    texts = ["a satellite image of a harbor .", "Trees!"]
    with torch.no_grad():
        expected = published.encode_text(get_tokenizer("coca_ViT-B-32", context_length=14)(texts))
        pixels = model.processor("image", [torch.rand(3, 20, 30)])["pixels"]
        seen = published.encode_image(pixels)
    assert (model.embed(texts).vectors - expected).abs().max() < 1e-6
    assert (model.network.encode("image", {"pixels": pixels}) - seen).abs().max() < 1e-6
    assert done.config.options == {
        "decoder": {"heads": 4, "context_length": 14, "quick_gelu": False, "width": 32, "layers": 1}
    }
    assert (done.processor.image.size, done.processor.image.resampler) == (16, "pillow")
    assert done.processor.text.context_length == 14


SHAPES = {
    "no pooling": {"vision__attentional_pool": False, "vision__width": 32, "embed_dim": 24},
    "layer scale": {"vision__ls_init_value": 0.1, "text__ls_init_value": 0.2, "decoder__ls_init_value": 0.3},
    "no class token": {"text__embed_cls": False},
    "narrow": {"vision__mlp_ratio": 2.0, "text__mlp_ratio": 3.0, "vision__attn_pooler_queries": 3},
    "no norm before": {"vision__no_ln_pre": True},
}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_sizes_are_read_from_the_tensors(tmp_path, changes):
    theirs = make_coca.pair(vision__head_width=8, **{**SIZES, **changes})[0]
    model = built(convert("urban/coca-test", write(tmp_path / "w.bin", theirs.state_dict()), OPTIONS))
    ids, pixels = make_coca.texts(2, vocab=49408), make_coca.images(2)
    with torch.no_grad():
        expected = theirs(pixels, ids)
        batch = verticlip.core.types.Batch({"image": {"pixels": pixels}, "text": {"input_ids": ids}})
        got = model.network(batch, extras=("caption_logits",))
    assert (got.embeddings["image"] - expected["image_features"]).abs().max() < 1e-6
    assert (got.embeddings["text"] - expected["text_features"]).abs().max() < 1e-6
    assert (got.extras["caption_logits"] - expected["logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("size", ["coca_ViT-L-14", "coca_ViT-B-32", "coca_base"])
def test_published_sizes(size, monkeypatch):
    """On tensors without values: the configs that open_clip publishes are found again."""
    import open_clip
    from open_clip.coca_model import CoCa

    path = Path(open_clip.__file__).parent / "model_configs" / f"{size}.json"
    made = {key: value for key, value in json.loads(path.read_text()).items() if key != "custom_text"}
    with torch.device("meta"):
        state = CoCa(**made).state_dict()
    counted = sum(value.numel() for value in state.values())
    assert counted == {"coca_ViT-L-14": 638_450_177, "coca_ViT-B-32": 253_560_065}.get(size, counted)
    state["logit_scale"] = torch.tensor(4.6052)
    settings = module.ConversionOptions()
    if state["text.token_embedding.weight"].shape[0] != module.CLIP_VOCABULARY:
        with pytest.raises(WeightsError, match="a vocabulary of 64000 words; CLIP's tokenizer has 49408"):
            module.config_from_state("urban/coca", state, settings, source="x")
        return
    config = module.config_from_state("urban/coca", state, settings, source="x")
    theirs = module.config_from_open_clip("urban/coca", made)
    assert config.options["decoder"] == {
        key: theirs.options["decoder"][key]
        for key in ("heads", "context_length", "quick_gelu", "width", "layers")
    }
    for modality in ("image", "text"):
        ours = config.towers[modality].options
        stated = {
            key: value for key, value in theirs.towers[modality].options.items() if key != "output_tokens"
        }
        assert {key: ours[key] for key in stated} == stated
    with torch.device("meta"):
        assert {one.shape for one in build_empty(config).state_dict().values()} == {
            one.shape for one in state.values()
        }


def test_files_that_are_no_coca(published, tmp_path):
    state = published.state_dict()
    with pytest.raises(ConfigError, match="needs a 'weights' file"):
        convert("urban/coca", {}, {})
    with pytest.raises(ConfigError, match=r"unknown key 'heads'"):
        convert("urban/coca", write(tmp_path / "a.bin", state), {"heads": 3})
    clip = {name: value for name, value in state.items() if not name.startswith("text_decoder")}
    with pytest.raises(WeightsError, match=r"clip\.bin is no CoCa: it has no caption decoder"):
        convert("urban/coca", write(tmp_path / "clip.bin", clip), OPTIONS)
    less = {name: value for name, value in state.items() if name != "text_decoder.ln_final.bias"}
    with pytest.raises(WeightsError, match=r"decoder: 1 missing \(decoder\.ln_final\.bias\)"):
        convert("urban/coca", write(tmp_path / "b.bin", less), OPTIONS)
    with pytest.raises(WeightsError, match=r"1 unexpected \(project\.weight\)"):
        convert("urban/coca", write(tmp_path / "c.bin", {**state, "project.weight": torch.ones(2)}), OPTIONS)
    with pytest.raises(WeightsError, match="no multiple of heads of 64 values. Say head_width"):
        convert("urban/coca", write(tmp_path / "d.bin", state), {})


def test_old_files_hold_masks(published, tmp_path):
    state = {**published.state_dict(), "text.attn_mask": torch.zeros(14, 14)}
    done = convert("urban/coca", write(tmp_path / "w.bin", state), OPTIONS)
    assert done.report.towers["text"].dropped == ("text.attn_mask",)


class _Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_file_does_not_run(published, tmp_path, capsys):
    torch.save({"state_dict": published.state_dict(), "extra": _Code()}, tmp_path / "w.bin")
    done = convert("urban/coca", {"weights": tmp_path / "w.bin"}, OPTIONS)
    assert done.report.complete
    assert capsys.readouterr().out == ""
