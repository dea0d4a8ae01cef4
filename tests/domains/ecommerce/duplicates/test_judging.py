"""What groups do with labelled pairs is counted on those that chose nothing."""

from __future__ import annotations

import pytest
from verticlip.core.errors import InputError
from verticlip.core.index.base import Identity
from verticlip.domains.ecommerce.duplicates.fitting import LabelledPair, held_out
from verticlip.domains.ecommerce.duplicates.judging import judge_groups
from verticlip.domains.ecommerce.duplicates.report import DuplicateReport, Group
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings, Fit, Thresholds

FIT = Fit(
    target=0.9,
    confidence=0.9,
    pairs=40,
    positives=20,
    held_out=20,
    accepted=10,
    wrong=0,
    precision=1.0,
    precision_low=0.9,
    recall=0.5,
)


def report(*groups, fit=FIT):
    settings = DuplicateSettings(thresholds=Thresholds(fit=fit))
    made_by = Identity("m", "1", "p", 4)
    found = tuple(Group(members[0], tuple(members), ()) for members in groups)
    return DuplicateReport(1, made_by, settings, 100, found, (), ())


def test_held_out_pairs_in_one_group_are_counted():
    # a0 to a5 became one group by a chain; only neighbors in it are one product.
    names = [f"a{number}" for number in range(6)]
    pairs = [
        LabelledPair(first, second, abs(int(first[1]) - int(second[1])) == 1, 0.9)
        for number, first in enumerate(names)
        for second in names[number + 1 :]
    ]
    pairs += [LabelledPair(f"b{number}", f"c{number}", False, 0.8) for number in range(15)]
    held = held_out(pairs)
    inside = [pair for pair in held if pair.first.startswith("a")]
    wrong = sum(not pair.is_duplicate for pair in inside)
    assert 0 < wrong < len(inside)
    fit = judge_groups(report(names, ("b0", "x")), pairs).settings.thresholds.fit
    assert fit is not None
    assert (fit.joined, fit.joined_wrong) == (len(inside), wrong)
    assert fit.joined_precision == pytest.approx(1 - wrong / len(inside))
    assert fit.groups_fall_short
    assert f"join {len(inside)} of them, of which {len(inside) - wrong} are right" in fit.words()
    other = judge_groups(report(names), pairs, seed=1).settings.thresholds.fit
    assert other is not None
    assert other.joined == sum(pair.first.startswith("a") for pair in held_out(pairs, 1))


def test_groups_without_a_labelled_pair_say_nothing():
    pairs = [LabelledPair("b", "c", True, 0.9), LabelledPair("d", "e", True, 0.9)]
    fit = judge_groups(report(("x", "y")), pairs).settings.thresholds.fit
    assert fit is not None
    assert (fit.joined, fit.joined_precision, fit.groups_fall_short) == (0, None, False)
    assert "join" not in FIT.words()


def test_thresholds_that_nobody_fitted_are_refused():
    with pytest.raises(InputError, match="were not fitted"):
        judge_groups(report(fit=None), [])
