"""FLIP's stored cases, and cases of other sizes that an independent float64 computation made."""

from __future__ import annotations

import pytest
import torch
from liveness.models import flip_oracle as oracle
from safetensors.torch import load_file
from verticlip.core.config import ProcessorConfig, TextProcessing
from verticlip.core.processing import Processor
from verticlip.core.verify import replay
from verticlip.domains.liveness.models import goldens
from verticlip.domains.liveness.taxonomy import load_taxonomy


def passed(folder):
    report = replay("clipc8", folder)
    assert report.passed, [check for check in report.checks if check.status != "ok"]
    assert {check.status for check in report.checks} == {"ok"}


@pytest.mark.parametrize("case", ["flip_it", "flip_mcl", "flip_v_head"])
def test_the_reference_is_reproduced(small_golden, case):
    passed(small_golden / "clipc8" / case)


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        ({"image_resolution": 24, "vision_patch_size": 12}, {"batch": 1}),
        ({"vision_width": 128, "vision_layers": 2}, {"order": ("real", "spoof")}),
        ({"vision_width": 96, "embed_dim": 17}, {"spoof": 2, "real": 5}),
        ({"vision_width": 32, "image_resolution": 18}, {"real": 1}),
        ({"transformer_width": 24, "transformer_heads": 3, "transformer_layers": 2}, {"seed": 4}),
        ({"context_length": 77, "vocab_size": 26}, {"spoof": 8, "batch": 2}),
    ],
)
def test_flip_it_of_other_sizes(tmp_path, clip, options):
    passed(oracle.flip_it_case(tmp_path / "flip_it_twin", oracle.sizes(**clip), **options))


@pytest.mark.parametrize(
    ("clip", "mcl", "options"),
    [
        ({}, (10, 6), {"labels": (0, 1, 1, 0)}),
        ({"vision_width": 128, "transformer_heads": 4}, (7, 9), {"labels": (0, 0), "seed": 3}),
        (
            {"image_resolution": 24, "embed_dim": 9},
            (5, 4),
            {"labels": (1, 1, 0, 1, 0), "spoof": 5, "real": 7},
        ),
    ],
)
def test_a_step_of_flip_mcl_of_other_sizes(tmp_path, clip, mcl, options):
    widths = dict(zip(("ssl_mlp_dim", "ssl_emb_dim"), mcl, strict=True))
    passed(oracle.flip_mcl_case(tmp_path / "flip_mcl_twin", oracle.sizes(**clip), widths, **options))


@pytest.mark.parametrize(
    "options",
    [{"width": 33, "hidden": 8}, {"batch": 1, "classes": 4}, {"width": 768, "hidden": 512, "seed": 2}],
)
def test_heads_of_flip_v_of_other_sizes(tmp_path, options):
    passed(oracle.flip_v_case(tmp_path / "flip_v_head_twin", **options))


def test_whole_numbers_have_to_be_equal():
    assert goldens.tolerance("flip_mcl", "labels_ssl", torch.zeros(3, dtype=torch.int64)) == 0
    assert goldens.tolerance("flip_mcl", "loss_total", torch.tensor(2.0)) == pytest.approx(4e-4, rel=1e-3)


def test_the_tokenizer_is_that_of_the_reference(small_golden):
    """The prompts themselves are not ours to write down: their ids are read back and made again."""
    pytest.importorskip("open_clip")
    from open_clip.tokenizer import SimpleTokenizer

    inputs = load_file(small_golden / "clipc8" / "flip_it" / "inputs.safetensors")
    text = TextProcessing(tokenizer="open_clip_bpe", context_length=77, padding="context")
    processor = Processor(ProcessorConfig(text=text))
    reader = SimpleTokenizer()
    for name in ("spoof", "real"):
        ids = inputs[f"{name}_token_ids_full"]
        own = processor("text", list(load_taxonomy("binary").texts + load_taxonomy("default").texts))[
            "input_ids"
        ]
        assert not (own[:, None] == ids).all(dim=2).any()
        sentences = [reader.decode(row[1 : int(row.argmax())].tolist()) for row in ids]
        assert torch.equal(processor("text", sentences)["input_ids"], ids.long())
