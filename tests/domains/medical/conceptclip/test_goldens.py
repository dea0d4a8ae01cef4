from __future__ import annotations

import shutil

import pytest
from verticlip.core.errors import WeightsError
from verticlip.core.verify import replay


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
