"""The stored reference cases of e-commerce, replayed."""

from __future__ import annotations

import json
import shutil

import pytest
from verticlip.core import verify
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce import goldens


@pytest.mark.parametrize("case", goldens.CASES)
def test_every_output_is_within_its_tolerance(small_golden, case):
    report = verify.replay("ecommerce", small_golden / "ecommerce" / case)
    assert report.passed, report
    assert {check.status for check in report.checks} <= {"ok", "documented"}


def test_a_case_of_another_name_and_size_is_replayed(small_golden, tmp_path):
    folder = tmp_path / "gcl_weighted_worked_b"
    shutil.copytree(small_golden / "ecommerce" / "gcl_weighted_worked", folder)
    for file in (folder, *folder.iterdir()):
        file.chmod(0o755)
    case = json.loads((folder / "case.json").read_text())
    case["case"] = folder.name
    (folder / "case.json").write_text(json.dumps(case))
    assert verify.replay("ecommerce", folder).passed
    case["expected"]["by_score_to_weight"]["linear"]["loss_mean"] += 1e-6
    (folder / "case.json").write_text(json.dumps(case))
    report = verify.replay("ecommerce", folder)
    over = [check.name for check in report.checks if check.status == "over"]
    assert over == ["by_score_to_weight.linear.loss_mean"]
    case["expected"]["logits"] = "none"
    (folder / "case.json").write_text(json.dumps(case))
    with pytest.raises(InputError, match=r"expected.logits is no array of numbers"):
        verify.replay("ecommerce", folder)
