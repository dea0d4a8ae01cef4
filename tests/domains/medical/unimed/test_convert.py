"""UniMed-CLIP checkpoints of every form a published file has, and everything that is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.processing import Processor
from verticlip.domains.medical.layouts import recognize
from verticlip.domains.medical.unimed.convert import convert, resize_position_table, source_name

OPTIONS = {"image_head_width": 16, "text_head_width": 10, "context_length": 32}


@pytest.fixture
def case(small_golden: Path) -> Path:
    return small_golden / "unimed_clip" / "tiny_b16"


@pytest.fixture
def state(case: Path) -> dict[str, torch.Tensor]:
    return load_file(case / "weights.safetensors")


@pytest.fixture
def run(case: Path, tmp_path: Path):
    """Convert a state dict, stored as the trainer stores it or as given."""

    def run(content, *, suffix: str = ".pt", **options):
        path = tmp_path / f"model{suffix}"
        if suffix == ".pt":
            torch.save(content, path)
        else:
            save_file(content, path)
        files = {"weights": path, "vocab": case / "vocab.txt"}
        return convert("medical/test", files, {**OPTIONS, **options})

    return run


def trained(state: dict[str, torch.Tensor], prefix: str = "module.") -> dict:
    """A training checkpoint: optimizer moments, a numpy learning rate, the gradient scaler's state."""
    moments = {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3), "step": torch.tensor(1.0)}
    group = {"lr": np.float64(1e-4), "betas": (0.9, 0.98), "params": [0]}
    return {
        "epoch": 10,
        "epoch_step": 3,
        "name": "run",
        "state_dict": {prefix + name: value for name, value in state.items()},
        "optimizer": {"state": {0: moments}, "param_groups": [group]},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
    }


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["training", "state dict", "safetensors"])
def test_every_form_of_a_checkpoint_gives_the_same_tensors(state, run, prefix, form) -> None:
    named = {prefix + name: value for name, value in state.items()}
    content = trained(state, prefix) if form == "training" else named
    converted = run(content, suffix=".safetensors" if form == "safetensors" else ".pt")
    assert len(converted.state) == len(state)
    for ours, value in converted.state.items():
        assert torch.equal(value, state[source_name(ours)]), ours
    assert converted.report.complete
    assert set(converted.state) == set(build_empty(converted.config).state_dict())


def test_old_pickles_that_cannot_be_mapped_are_read_too(state, case, tmp_path) -> None:
    path = tmp_path / "old.pt"
    torch.save(trained(state), path, _use_new_zipfile_serialization=False)
    converted = convert("medical/test", {"weights": path, "vocab": case / "vocab.txt"}, OPTIONS)
    assert torch.equal(converted.state["logit_scale"], state["logit_scale"])


def test_sizes_come_from_the_tensors(state, run) -> None:
    converted = run(state)
    image, text = converted.config.towers["image"], converted.config.towers["text"]
    assert (image.image_size, image.patch_size, image.width, image.layers, image.heads) == (32, 8, 48, 3, 3)
    assert (image.output_dim, image.quick_gelu, image.projection) == (24, True, "none")
    assert (text.width, text.layers, text.heads, text.mlp_width, text.max_positions) == (40, 2, 4, 80, 64)
    assert (text.projection, text.projection_hidden, text.pooling) == ("mlp", 32, "cls")
    processor = converted.processor
    assert (processor.image.size, processor.image.resampler, processor.image.resize) == (
        32,
        "pillow",
        "shortest",
    )
    assert (processor.text.context_length, processor.text.overlong, processor.text.clean) == (
        32, "error", "whitespace",
    )  # fmt: skip


def test_an_image_size_may_leave_part_of_a_patch(state, run) -> None:
    assert run(state, image_size=37).config.towers["image"].image_size == 37
    with pytest.raises(WeightsError, match="for images of 32 pixels; medical/test needs 40"):
        run(state, image_size=40)


def test_position_ids_are_dropped_and_said(state, run) -> None:
    name = "text_encoder.transformer.embeddings.position_ids"
    converted = run({**state, name: torch.arange(64)[None]})
    assert converted.report.towers["text"].dropped == (name,)
    assert converted.report.complete


def test_the_layout_of_open_clip_is_read_too(state, run) -> None:
    renamed = {name.replace("text_encoder.", "text."): value for name, value in state.items()}
    assert torch.equal(run(renamed).state["projections.text.0.weight"], state["text_encoder.proj.0.weight"])


def test_a_prompt_over_the_limit_is_an_error_that_names_it(state, run) -> None:
    converted = run(state)
    processor = Processor(converted.processor, converted.tokenizer_json)
    with pytest.raises(InputError, match=r"has \d+ tokens; this model takes 32. Shorten it"):
        processor("text", ["the liver and the kidney are normal " * 10])
    cut = run(state, overlong="truncate")
    ids = Processor(cut.processor, cut.tokenizer_json)("text", ["the liver and the kidney are normal " * 10])
    assert ids["input_ids"].shape == (1, 32)
    assert int(ids["input_ids"][0, -1]) == 3  # the closing token stays


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_size": 336}, "its position table is for images of 32 pixels; medical/test needs 336"),
        (
            {"text_width": 1024},
            "its text tower is 40 wide; medical/test needs 1024. It is the checkpoint of another",
        ),
        ({"image_width": 768}, "its image tower is 48 wide"),
        ({"embed_dim": 512}, "its joint space has 24 dimensions"),
        ({"context_length": 256}, "has 64 positions, fewer than the context of 256"),
        ({"image_head_width": 64}, "the image tower is 48 wide, no multiple of 64"),
    ],
)
def test_sizes_that_are_not_those_of_the_model(state, run, options, match) -> None:
    with pytest.raises(WeightsError, match=match):
        run(state, **options)


def test_a_position_table_that_is_no_square(state, run) -> None:
    table = "visual.positional_embedding"
    with pytest.raises(WeightsError, match="has 13 places besides the class token, which is no square"):
        run({**state, table: state[table][:14].clone()})


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


def test_missing_and_unexpected_tensors_are_named(state, run) -> None:
    with pytest.raises(WeightsError, match=r"image: 1 missing \(towers.image.ln_post.bias\)"):
        run(without(state, "visual.ln_post.bias"))
    with pytest.raises(WeightsError, match=r"other: 1 unexpected \(surprise\)"):
        run({**state, "surprise": torch.zeros(1)})
    with pytest.raises(ConfigError, match="are numbered .* some are missing"):
        run({name: value for name, value in state.items() if "resblocks.1." not in name})


@pytest.mark.parametrize(
    ("names", "system"),
    [
        (["visual.trunk.pos_embed", "text.transformer.embeddings.x", "image_proj.0.weight"], "ConceptCLIP"),
        (["encoder.encoder.conv1.weight", "projector.model.0.weight"], "the image tower of BioViL"),
        (["encoder.encoder.conv1.weight", "encoder.vit_pooler.x", "projector.model.0.weight"], "BioViL-T"),
        (["bert.encoder.layer.0.x", "cls_projection_head.x"], "text tower of BioViL"),
        (["bert.encoder.layer.0.x", "cls.predictions.bias"], "CXR-BERT-general"),
        (["visual.conv1.weight", "token_embedding.weight"], "MetaCLIP"),
        (["model.layers.0"], "no image tower and medical text tower"),
    ],
)
def test_a_checkpoint_of_another_system_is_refused_by_name(run, names, system) -> None:
    with pytest.raises(WeightsError, match=rf"model.pt is not a checkpoint of UniMed-CLIP: .*{system}"):
        run({name: torch.zeros(1) for name in names})
    assert recognize(["nothing"]) is None


def test_another_vocabulary_is_refused(state, case, tmp_path) -> None:
    pieces = (case / "vocab.txt").read_text().split("\n")
    (tmp_path / "vocab.txt").write_text("\n".join(pieces[:100]))
    save_file(state, tmp_path / "model.safetensors")
    files = {"weights": tmp_path / "model.safetensors", "vocab": tmp_path / "vocab.txt"}
    with pytest.raises(WeightsError, match="has 100 pieces, the word table of model.safetensors 134 rows"):
        convert("medical/test", files, OPTIONS)


def test_unknown_options_are_refused(state, run) -> None:
    with pytest.raises(ConfigError, match="unknown key 'context'"):
        run(state, context=3)


def test_resized_positions_keep_the_class_token_and_equal_grids() -> None:
    table = torch.randn(17, 6)
    assert torch.equal(resize_position_table(table, (4, 4)), table)
    bigger = resize_position_table(table, (7, 5))
    assert bigger.shape == (36, 6)
    assert torch.equal(bigger[0], table[0])
    # With aligned corners the corner places keep their values.
    assert torch.allclose(bigger[1], table[1], atol=1e-6)
    assert torch.allclose(bigger[-1], table[-1], atol=1e-6)
    with pytest.raises(ConfigError, match=r"A position table of shape \[16, 6\]"):
        resize_position_table(torch.zeros(16, 6), (4, 4))


@pytest.mark.parametrize(
    ("size", "width", "embed_dim", "text_width", "parameters"),
    [
        (224, 768, 512, 768, 195_903_489),
        (336, 1024, 768, 768, 414_365_185),
        (336, 1024, 768, 1024, 639_991_809),
    ],
)
def test_full_size_models_have_the_published_number_of_parameters(
    size, width, embed_dim, text_width, parameters
) -> None:
    image = {
        "backend": "vit", "image_size": size, "patch_size": 16 if size == 224 else 14, "width": width,
        "layers": width // 64 if width == 768 else 24, "heads": width // 64, "mlp_width": 4 * width,
        "output_dim": embed_dim,
    }  # fmt: skip
    text = {
        "backend": "bert", "vocab_size": 30522, "width": text_width, "layers": 12 if text_width == 768 else 24,
        "heads": text_width // 64, "mlp_width": 4 * text_width, "projection": "mlp",
    }  # fmt: skip
    raw = {"name": "full", "embed_dim": embed_dim, "towers": {"image": image, "text": text}}
    network = build_empty(ModelConfig.model_validate(raw))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_the_published_sizes_are_those_of_the_catalogue() -> None:
    from verticlip.core import registry

    for name, tokens in (("b16", 197), ("l14-336-base-text", 577), ("l14-336-large-text", 577)):
        sizes = registry.model_spec(f"medical/unimed-clip-vit-{name}").weights.options
        patch = 16 if name == "b16" else 14
        assert math.isqrt(tokens - 1) * patch == sizes["image_size"]
        assert sizes["image_width"] % 64 == sizes["text_width"] % 64 == 0
