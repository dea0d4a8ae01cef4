"""Thresholds of a development set: recounted by hand, with everything that is to be warned of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.calibration.calibrate import DevSet, calibrate_scores
from verticlip.domains.liveness.calibration.fingerprint import Fingerprint
from verticlip.domains.liveness.calibration.temperature import Temperature
from verticlip.domains.liveness.calibration.threshold import load_thresholds, probability_of
from verticlip.domains.liveness.evaluation.table import ScoredPresentation

PRINT = Fingerprint(
    weights="sha256:1", taxonomy="t", crops="c", processing="p", aggregator="mean", detector="none"
)


def dev_set(groups: dict[str, list[float | None]]) -> DevSet:
    """Return presentations of {species: margins}."""
    rows = [
        ScoredPresentation(
            id=f"{species}{number}",
            score=None if margin is None else probability_of(margin),
            margin=margin,
            species=species,
        )
        for species, margins in groups.items()
        for number, margin in enumerate(margins)
    ]
    return DevSet(rows, "branch")


def population(seed: int = 0, count: int = 400, shift: float = 2.0) -> DevSet:
    rng = np.random.default_rng(seed)
    return dev_set(
        {
            "bona_fide": rng.normal(shift, 1.5, count).tolist(),
            "print": rng.normal(-shift, 1.5, count).tolist(),
            "display": rng.normal(-shift + 1, 1.5, count // 2).tolist(),
        }
    )


def recount(dev: DevSet, margin: float) -> tuple[float, float]:
    """Return (max APCER, BPCER) by counting."""
    shares = {}
    for name in set(dev.species):
        own = [one for one, species in zip(dev.margins, dev.species, strict=True) if species == name]
        shares[name] = sum(one is not None and one >= margin for one in own) / len(own)
    refused = [one for one, name in zip(dev.margins, dev.species, strict=True) if name == "bona_fide"]
    bpcer = sum(one is not None and one < margin for one in refused) / len(refused)
    return max(share for name, share in shares.items() if name != "bona_fide"), bpcer


def test_three_modes_keep_their_rules():
    dev = population()
    found = calibrate_scores(dev, PRINT)
    assert [one.mode for one in found.thresholds] == ["secure", "balanced", "convenient"]
    secure, balanced, convenient = (found[name] for name in ("secure", "balanced", "convenient"))
    assert secure.margin > balanced.margin > convenient.margin
    assert recount(dev, secure.margin)[0] <= 0.01
    assert recount(dev, convenient.margin)[1] <= 0.01
    for one in found.thresholds:
        assert one.achieved is not None
        apcer, bpcer = recount(dev, one.margin)
        assert one.achieved.apcer[one.achieved.worst_species].rate == apcer
        assert one.achieved.bpcer.rate == bpcer
        assert one.n == {"bona_fide": 400, "display": 200, "print": 400}
        assert (one.dataset, one.fingerprint) == ("branch", PRINT)
    # One step lower, an attack too many is accepted; one step higher, a bona fide too many refused.
    attacks = sorted(m for m, name in zip(dev.margins, dev.species, strict=True) if name != "bona_fide" and m)
    below = max(margin for margin in attacks if margin < secure.margin)
    assert recount(dev, below)[0] > 0.01
    assert recount(dev, convenient.margin + 1e-3)[1] >= 0.01


def test_further_rules_and_single_modes():
    found = calibrate_scores(population(), PRINT, modes=["secure"], rules=["dev_apcer=0.05", "dev_eer"])
    assert [one.name for one in found.thresholds] == ["secure", "dev_apcer=0.05", "dev_eer"]
    with pytest.raises(ConfigError, match="No threshold for 'balanced'"):
        found["balanced"]


def test_saturated_scores_are_told_apart_by_their_margins():
    dev = dev_set({"bona_fide": [60.0, 70.0, 80.0], "print": [40.0, 45.0, 50.0]})
    assert len({one.score for one in dev.scored}) == 1, "all probabilities are 1.0"
    found = calibrate_scores(dev, PRINT, modes=["balanced"])["balanced"]
    assert 50 < found.margin <= 60
    assert recount(dev, found.margin) == (0.0, 0.0)


def test_few_presentations_are_warned_of():
    dev = dev_set(
        {"bona_fide": [3.0 + n / 10 for n in range(20)], "print": [-3.0 - n / 10 for n in range(20)]}
    )
    notes = " ".join(calibrate_scores(dev, PRINT).notes)
    assert "dev_apcer=0.01 on 20 presentations of print" in notes
    assert "the rate may be 13.9% (95 % bound). Showing 1.00% takes at least 299" in notes
    assert "dev_eer on 20 bona fide presentations: each of them moves the rate by 5.0%" in notes
    assert not any(
        "dev_apcer" in note for note in calibrate_scores(population(), PRINT, modes=["balanced"]).notes
    )


def test_reversed_labels_are_warned_of():
    notes = calibrate_scores(population(shift=-2.0), PRINT, modes=["balanced"]).notes
    assert any("AUC is 0.0" in note and "Labels are probably reversed" in note for note in notes)
    assert any("of bona fides are rejected at this threshold" in note for note in notes)


def test_non_responses_stay_in_the_denominators():
    dev = dev_set({"bona_fide": [3.0, 4.0, None, None], "print": [-3.0, -4.0, None, -5.0]})
    found = calibrate_scores(dev, PRINT, modes=["balanced"])
    achieved = found["balanced"].achieved
    assert achieved is not None
    assert (achieved.bpnrr.rate, achieved.apnrr["print"].rate) == (0.5, 0.25)
    assert achieved.bpcer.n == 4
    assert any(note.startswith("3 of 8 presentations got no response") for note in found.notes)


def test_many_non_responses_do_not_refuse_a_rule_of_bona_fides():
    # Rejecting both that got a response would be 1 % of all, and no way to work.
    dev = dev_set({"bona_fide": [3.0, 4.0, *[None] * 198], "print": [-3.0]})
    found = calibrate_scores(dev, PRINT)
    assert not found.refused
    assert recount(dev, found["convenient"].margin) == (0.0, 1 / 200)


def test_a_tie_of_all_scores_is_called_so():
    with pytest.raises(DataError, match="balanced: every response has the same score: no threshold tells"):
        calibrate_scores(dev_set({"bona_fide": [1.0, 1.0], "print": [1.0]}), PRINT, modes=["balanced"])


def test_bounds_say_what_they_assume():
    rows = [replace(one, subject=f"s{n % 3}") for n, one in enumerate(population(count=20).scored)]
    notes = calibrate_scores(DevSet(rows, "branch"), PRINT, modes=["balanced"]).notes
    assert any("take 50 presentations as independent; they are of 3 subjects" in note for note in notes)
    alone = [replace(one, subject=one.id) for one in rows]
    notes = calibrate_scores(DevSet(alone, "branch"), PRINT, modes=["balanced"]).notes
    assert not any("independent" in note for note in notes)


def test_the_bound_of_the_maximum_is_that_of_the_species_with_most_room():
    groups = {"bona_fide": [2.0] * 100, "print": [1.5, 1.5, *[-2.0] * 98], "mask": [-2.0] * 3}
    rule = "dev_apcer=0.02"
    found = calibrate_scores(dev_set(groups), PRINT, modes=[], rules=[rule])[rule].achieved
    assert found is not None
    assert found.apcer["print"].errors + found.apcer["mask"].errors <= 2
    assert found.apcer_max_upper_95 == pytest.approx(1 - 0.05 ** (1 / 3))


def test_a_rule_that_only_refusing_everyone_keeps():
    dev = dev_set({"bona_fide": [1.0, 2.0, 3.0], "print": [-1.0, 9.0], "mask": [-2.0]})
    found = calibrate_scores(dev, PRINT)
    assert [one.mode for one in found.thresholds] == ["balanced", "convenient"]
    with pytest.raises(
        ConfigError, match=r"only refusing everyone keeps dev_apcer=0.01.*bona fide: 1 of print"
    ):
        found["secure"]
    with pytest.raises(DataError, match="secure: only refusing everyone keeps"):
        calibrate_scores(dev, PRINT, modes=["secure"])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"bona_fide": [1.0]}, "needs bona fide and attack presentations; the set has 1 bona fide and 0"),
        ({"print": [1.0]}, "the set has 0 bona fide and 1 attack"),
        ({"print": [None], "bona_fide": [1.0]}, "failed a quality gate"),
    ],
)
def test_sets_without_both_sides(groups, message):
    with pytest.raises(DataError, match=message):
        calibrate_scores(dev_set(groups), PRINT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modes": ["secured"]}, "Unknown mode 'secured'; .* Did you mean 'secure'"),
        ({"modes": [], "rules": ["fixed=0.5"]}, "not found on a development set"),
        ({"modes": [], "rules": ["test_eer"]}, "not found on a development set"),
        ({"modes": []}, "name at least one mode or rule"),
    ],
)
def test_usage(arguments, message):
    with pytest.raises(ConfigError, match=message):
        calibrate_scores(population(), PRINT, **arguments)


def test_temperature_is_kept_beside(tmp_path):
    found = calibrate_scores(population(), PRINT, temperature=True)
    assert found.temperature is not None
    assert found.temperature.nll_after <= found.temperature.nll_before
    files = found.save(tmp_path)
    assert [path.name for path in files] == ["threshold.json", "temperature.json"]
    assert load_thresholds(files[0]) == list(found.thresholds)
    assert Temperature.load(files[1], PRINT) == found.temperature
    apart = calibrate_scores(
        dev_set({"bona_fide": [3.0, 2.0], "print": [-3.0]}), PRINT, modes=["balanced"], temperature=True
    )
    assert apart.temperature is None
    assert any(note.startswith("No temperature: Every bona fide") for note in apart.notes)
