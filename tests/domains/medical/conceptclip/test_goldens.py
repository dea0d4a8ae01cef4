from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from verticlip.core.errors import WeightsError
from verticlip.core.processing import Processor
from verticlip.core.verify import replay
from verticlip.domains.medical.conceptclip import goldens


@pytest.mark.parametrize("case", ["tiny_a", "tiny_b"])
def test_every_stored_output_is_reproduced(small_golden, case):
    report = replay("conceptclip", small_golden / "conceptclip" / case)
    assert {check.name: check for check in report.checks if check.status != "ok"} == {}
    assert len(report.checks) > 120


def test_spans_come_from_the_characters_of_the_captions(small_golden, tmp_path):
    folder = tmp_path / "tiny_b"
    shutil.copytree(small_golden / "conceptclip" / "tiny_b", folder)
    text = (folder / "captions.json").read_text()
    (folder / "captions.json").write_text(text.replace('"start_char": 19', '"start_char": 9'))
    wrong = {check.name for check in replay("conceptclip", folder).checks if check.status != "ok"}
    assert {"loss_total", "loss_pc_align"} <= wrong
    assert "loss_it_align" not in wrong


def test_a_case_of_another_system_is_named(small_golden, tmp_path):
    folder = tmp_path / "tiny_b"
    shutil.copytree(small_golden / "conceptclip" / "tiny_b", folder)
    shutil.copy(small_golden / "unimed_clip" / "tiny_b16" / "weights.safetensors", folder)
    with pytest.raises(WeightsError, match="not a checkpoint of ConceptCLIP"):
        replay("conceptclip", folder)


def edited(small_golden, tmp_path, name, change):
    folder = shutil.copytree(small_golden / "conceptclip" / name, tmp_path / name)
    for file in ("config.json", "captions.json"):
        content = json.loads((folder / file).read_text())
        change(file, content)
        (folder / file).write_text(json.dumps(content))
    return folder


def replayed(folder):
    config = json.loads((folder / "config.json").read_text())
    return goldens.replay(config, load_file(folder / "inputs.safetensors"), folder)


def test_the_share_of_an_annotation_is_that_of_the_whole_picture(small_golden, tmp_path):
    """In zero-shot diagnosis the same word is the share of the patches."""
    whole = edited(small_golden, tmp_path / "whole", "tiny_a", _share(1.0))
    local = edited(small_golden, tmp_path / "local", "tiny_a", _share(0.0))
    weights = load_file(local / "weights.safetensors")
    # Without a scale the patches cannot tell, so that only the whole picture is left, or nothing.
    weights["concept_logit_scale"] = torch.tensor(-1e4)
    for folder in (whole, local):
        save_file(weights, folder / "weights.safetensors")
    by_picture, by_patches = (replayed(folder) for folder in (whole, local))
    torch.testing.assert_close(by_patches["annotation_probs"], torch.full((7, 2, 2), 0.5))
    assert (by_picture["annotation_probs"] - 0.5).abs().max() > 0.01
    assert (by_patches["zs_probs"] - 1 / 3).abs().max() > 0.01
    torch.testing.assert_close(by_picture["zs_probs"], torch.full((4, 3), 1 / 3))


def _share(alpha):
    def change(file, content):
        if file == "config.json":
            content["annotation"]["alpha"] = content["zero_shot"]["alpha"] = alpha

    return change


def test_captions_are_read_as_they_are(small_golden, tmp_path):
    """The reference's training code does not mend escapes and white space before it tokenizes."""
    caption = "knee  &amp; a   lesion"

    def change(file, content):
        if file == "captions.json":
            for one in content["batch"]:
                spans = [{"start_char": 0, "end_char": 4}, {"start_char": 16, "end_char": 22}]
                one.update(caption=caption, umls_meta_info=spans)

    folder = edited(small_golden, tmp_path, "tiny_b", change)
    converted = goldens._convert(json.loads((folder / "config.json").read_text()), folder)
    spans = goldens._spans(Processor(converted.processor, converted.tokenizer_json), folder)
    # knee, &, amp in pieces, ;, a, lesion
    assert spans[0, 0].tolist() == [0, 1]
    assert spans[0, 1, 0] > 4
