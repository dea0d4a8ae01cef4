"""Error rates of parts, and what may be said about their differences."""

from __future__ import annotations

import pytest
from liveness.evaluation import make_scores
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.evaluation.breakdown import break_down, by_dataset, group_columns


def people(counts):
    """{tone: (rejected, accepted)} bona fides; and one attack each."""
    rows = []
    for tone, (rejected, accepted) in counts.items():
        for number in range(rejected + accepted):
            score = 0.1 if number < rejected else 0.9
            rows.append(
                make_scores.presentation(f"{tone}{number}", score, "bona_fide", groups={"tone": tone})
            )
        rows.append(make_scores.presentation(f"{tone} attack", 0.2, "print", groups={"tone": tone}))
    return rows


def judged(rows):
    return break_down(rows, [row.score for row in rows], 0.5, "tone")


def test_each_part_has_its_rates_and_numbers():
    found = judged(people({"a": (1, 9), "b": (0, 5)}))
    assert {name: (part.bpcer.errors, part.bpcer.n) for name, part in found.parts.items()} == {"a": (1, 10), "b": (0, 5)}  # fmt: skip
    assert found.parts["b"].apcer["print"].n == 1
    assert found.to_dict()["parts"]["a"]["bpcer"]["upper_95"] == pytest.approx(0.394, abs=1e-3)


def test_differences_within_the_bounds_are_evidence_of_nothing():
    text = judged(people({"a": (1, 19), "b": (3, 17)})).findings[0]
    assert text.startswith("tone: BPCER runs from 5.00 % (a, 1 of 20) to 15.00 % (b, 3 of 20)")
    assert text.endswith("This is no evidence of a difference, and none of equality.")
    zero = judged(people({"a": (0, 20), "b": (0, 30)})).findings[0]
    assert "BPCER is 0 % in every part; of the smallest (n=20) this shows only that it is below 14 %" in zero
    assert "is the same in every part" in judged(people({"a": (2, 18), "b": (1, 9)})).findings[0]


def test_differences_beyond_the_bounds():
    text = judged(people({"a": (1, 199), "b": (60, 140), "c": (10, 90)})).findings[0]
    assert "from 0.50 % (a, 1 of 200) to 30.00 % (b, 60 of 200)" in text
    assert "do not overlap" in text
    assert "check how many subjects there are" in text
    assert text.endswith("Of many parts, some differ by chance.")


def test_one_part_has_nothing_to_be_compared_with():
    assert judged(people({"a": (1, 9)})).findings == ()


def test_rows_without_a_value_are_a_part():
    rows = [*people({"a": (0, 3)}), make_scores.presentation("x", None, "bona_fide")]
    found = judged(rows)
    assert found.parts["(not stated)"].bpnrr.value == 1
    assert any("BPNRR runs from 0.00 % (a" in finding for finding in found.findings)
    assert set(by_dataset(rows, [row.score for row in rows], 0.5).parts) == {"(not stated)"}


def test_which_columns():
    rows = [
        make_scores.presentation(
            str(n), 0.5, "print", groups={"serial": str(n), "light": str(n % 2), "site": "x"}
        )
        for n in range(30)
    ]
    kept, notes = group_columns(rows, None)
    assert kept == ["light"]
    assert notes == ["The column serial has 30 values and was not broken down by."]
    assert group_columns(rows, ["serial", "serial"])[0] == ["serial"]
    with pytest.raises(
        ConfigError, match=r"No presentation has a group 'ligth'. Did you mean 'light'\? Groups: "
    ):
        group_columns(rows, ["ligth"])
