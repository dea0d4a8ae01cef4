from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.domains.medical.conceptclip.convert import convert

HEADS = {"image_heads": 4, "text_heads": 4, "context_length": 24, "overlong": "truncate"}
LOCAL = ("image_proj.", "text_proj.", "concept_logit_")


@pytest.fixture
def state(files):
    return load_file(files["weights"])


def stored(tmp_path, state, files, **more):
    path = tmp_path / "changed.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return {"weights": path, "vocab": files["vocab"], **more}


def test_sizes_come_from_shapes(converted):
    config = converted.config
    assert config.embed_dim == 48
    image, text = config.towers["image"], config.towers["text"]
    assert image.options == {
        "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4,
        "mlp_ratio": pytest.approx(179.5 / 48),
    }  # fmt: skip
    assert (text.width, text.layers, text.mlp_width, text.max_positions, text.pooling) == (
        40,
        2,
        80,
        96,
        "mean",
    )
    assert converted.report.complete
    assert {part: one.loaded for part, one in converted.report.towers.items()} == {
        "image": 42, "text": 38, "concept heads": 6, "scalars": 2,
    }  # fmt: skip
    processing = converted.processor
    assert (processing.image.size, processing.image.resize, processing.image.resampler) == (
        32,
        "squash",
        "pillow",
    )
    assert processing.image.mean == (0.5, 0.5, 0.5)
    assert (processing.text.context_length, processing.text.overlong) == (24, "truncate")


def test_published_sizes_need_no_options():
    """The real widths, with one layer each so that the file stays small."""
    from verticlip.domains.medical.conceptclip.convert import ConceptClipConversion, _image_tower, _text_tower

    def empty(*shape):
        return torch.empty(shape, device="meta")

    named = {
        "towers.image.model.patch_embed.proj.weight": empty(1152, 3, 14, 14),
        "towers.image.model.pos_embed": empty(1, 729, 1152),
        "towers.image.model.blocks.0.mlp.fc1.weight": empty(4304, 1152),
        "towers.text.embeddings.word_embeddings.weight": empty(30522, 768),
        "towers.text.embeddings.position_embeddings.weight": empty(512, 768),
        "towers.text.embeddings.token_type_embeddings.weight": empty(2, 768),
        "towers.text.encoder.layer.0.intermediate.dense.weight": empty(3072, 768),
    }
    image = _image_tower(named, ConceptClipConversion(), "file")["options"]
    assert (image["img_size"], image["num_heads"], int(1152 * image["mlp_ratio"])) == (384, 16, 4304)
    assert _text_tower(named, ConceptClipConversion(), "file")["heads"] == 12


def test_a_size_that_leaves_a_margin_is_kept(files):
    got = convert("x", files, {**HEADS, "image_size": 37})
    assert (got.processor.image.size, got.config.towers["image"].options["img_size"]) == (37, 37)
    network = build_empty(got.config)
    load_strict(network, got.state, source="x")
    assert network.eval().encode("image", {"pixels": torch.zeros(1, 3, 37, 37)}).shape == (1, 48)


@pytest.mark.parametrize(
    ("outer", "visual", "text"),
    [("", "image_encoder", "text_encoder"), ("model.", "vision_model", "text_model")],
)
def test_other_prefixes_are_found_by_their_tensors(tmp_path, state, files, converted, outer, visual, text):
    renamed = {}
    for name, tensor in state.items():
        head, rest = name.split(".", 1) if "." in name else (name, "")
        head = {"visual": visual, "text": text}.get(head, head)
        renamed[outer + (f"{head}.{rest}" if rest else head)] = tensor
    got = convert("x", stored(tmp_path, renamed, files), HEADS)
    assert set(got.state) == set(converted.state)
    assert all(torch.equal(got.state[name], tensor) for name, tensor in converted.state.items())


def test_a_training_checkpoint_is_read(tmp_path, state, files, converted):
    path = tmp_path / "epoch_20.pt"
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 20, "name": "x", "state_dict": wrapped, "optimizer": {}}, path)
    got = convert("x", {"weights": path, "vocab": files["vocab"]}, HEADS)
    assert all(torch.equal(got.state[name], tensor) for name, tensor in converted.state.items())


def test_leftovers_of_older_libraries_are_dropped_and_reported(tmp_path, state, files):
    old = {
        **state,
        "text.transformer.embeddings.position_ids": torch.arange(96)[None],
        "logit_scale": state["logit_scale"].reshape(1),
    }
    got = convert("x", stored(tmp_path, old, files), HEADS)
    assert got.report.towers["text"].dropped == ("text.transformer.embeddings.position_ids",)
    assert got.state["logit_scale"].shape == ()


def test_first_stage_weights_need_a_decision(tmp_path, state, files):
    first = {name: tensor for name, tensor in state.items() if not name.startswith(LOCAL)}
    given = stored(tmp_path, first, files)
    with pytest.raises(
        WeightsError, match=r"has no concept heads: weights of the first.*concept_heads='none'"
    ):
        convert("x", given, HEADS)
    plain = convert("x", given, {**HEADS, "concept_heads": "none"})
    assert plain.report.complete
    load_strict(build_empty(plain.config), plain.state, source="x")
    started = convert("x", given, {**HEADS, "concept_heads": "new"})
    assert not started.report.complete
    assert len(started.report.towers["concept heads"].missing) == 6
    load_strict(build_empty(started.config), started.state, source="x")
    assert started.state["concept_logit_bias"].item() == -10.0
    assert started.state["text_proj.0.weight"].std() > 0.01
    again = convert("x", given, {**HEADS, "concept_heads": "new"})
    assert torch.equal(started.state["image_proj.0.weight"], again.state["image_proj.0.weight"])
    # Anything else that is missing is still an error.
    del first["logit_bias"]
    with pytest.raises(WeightsError, match="scalars: 1 missing"):
        convert("x", stored(tmp_path, first, files), {**HEADS, "concept_heads": "new"})


def test_damage_is_named(tmp_path, state, files, small_golden):
    def refused(changed, message, options=HEADS, error=WeightsError, **more):
        with pytest.raises(error, match=message):
            convert("x", stored(tmp_path, changed, files, **more), options)

    half = {name: tensor for name, tensor in state.items() if name != "text_proj.2.weight"}
    refused(half, r"concept heads: 1 missing \(text_proj.2.weight\)")
    refused({**state, "visual.extra": torch.zeros(1)}, r"other: 1 unexpected \(visual.extra\)")
    refused(
        {**state, "image_proj.0.weight": torch.zeros(48, 40)},
        r"image_proj.0.weight has shape \[48, 40\], ConceptCLIP of this size has \[48, 48\]",
    )
    holes = {name: tensor for name, tensor in state.items() if "blocks.0." not in name}
    refused(holes, "some are missing|no tensor", error=(ConfigError, WeightsError))
    refused({**state, "visual.trunk.pos_embed": torch.zeros(1, 17, 48)}, "17 positions are not a square grid")
    refused(state, "number of attention heads of the image tower of width 48", options={}, error=ConfigError)
    refused(state, "unknown key 'heads'", options={"heads": 4}, error=ConfigError)
    refused(
        state,
        "an image_size of 40 makes 5 x 5. Give 32 to 39",
        options={**HEADS, "image_size": 40},
        error=ConfigError,
    )
    with pytest.raises(
        WeightsError, match=r"not a checkpoint of ConceptCLIP.*named like those of UniMed-CLIP"
    ):
        other = small_golden / "unimed_clip" / "tiny_b16" / "weights.safetensors"
        convert("x", {"weights": other, "vocab": files["vocab"]}, HEADS)


def test_the_vocabulary_has_to_fit(tmp_path, state, files, converted):
    with pytest.raises(InputError, match="needs its vocabulary"):
        convert("x", {"weights": files["weights"]}, HEADS)
    short = tmp_path / "vocab.txt"
    short.write_text("\n".join(files["vocab"].read_text().split("\n")[:50]))
    with pytest.raises(
        WeightsError, match=r"vocab\.txt has 50 pieces, the word table of weights\.safetensors"
    ):
        convert("x", {**files, "vocab": short}, HEADS)
    path = tmp_path / "tokenizer.json"
    path.write_text(converted.tokenizer_json)
    given = {"weights": files["weights"], "tokenizer": path}
    assert convert("x", given, HEADS).tokenizer_json is not None
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json: not a tokenizer file"):
        convert("x", given, HEADS)


def test_texts_over_the_context_are_refused_by_default(files) -> None:
    options = {key: value for key, value in HEADS.items() if key != "overlong"}
    text = convert("x", files, options).processor.text
    assert text is not None
    assert text.overlong == "error"
