"""Thresholds are kept with their provenance, and refuse another detector or a changed byte."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.calibration.fingerprint import Fingerprint
from verticlip.domains.liveness.calibration.threshold import (
    Achieved,
    AchievedRate,
    Threshold,
    check_made_for,
    load_threshold,
    load_thresholds,
    log_odds,
    probability_of,
    save_threshold,
)

PRINT = Fingerprint(
    weights="sha256:1", taxonomy="t", crops="c", processing="p", aggregator="mean", detector="none"
)
NOTHING = AchievedRate(rate=0.0, errors=0, n=50, upper_95=0.0582)
ONE = AchievedRate(rate=0.02, errors=1, n=50, upper_95=0.0914)


def made(margin: float = 1.25, mode: str | None = "balanced", rule: str = "dev_eer") -> Threshold:
    """A threshold as calibration makes them."""
    return Threshold.at_margin(
        margin, rule=rule, mode=mode, dataset="branch", n={"bona_fide": 50, "print": 50, "mask": 50},
        fingerprint=PRINT, date="2026-01-02T03:04:05+00:00",
        achieved=Achieved(
            apcer={"mask": NOTHING, "print": ONE}, bpcer=ONE, apnrr={"print": NOTHING}, bpnrr=NOTHING, auc=0.99
        ),
    )  # fmt: skip


def test_both_scales_say_the_same():
    for value in (1e-9, 0.2, 0.5, 0.999999):
        assert probability_of(log_odds(value)) == pytest.approx(value, rel=1e-12)
    fixed = Threshold.fixed(0.5)
    assert (fixed.margin, fixed.rule, fixed.provenance) == (0.0, "fixed=0.5", "not calibrated")
    with pytest.raises(ValidationError, match="is not the probability of margin"):
        Threshold(value=0.9, margin=0.0, rule="dev_eer")


def test_margins_tell_apart_what_probabilities_round():
    high = made(margin=40.0)
    assert high.value == 1.0
    assert high.accepts(40.0)
    assert not high.accepts(math.nextafter(40.0, 0))


def test_equal_scores_are_accepted():
    assert made(margin=1.25).accepts(1.25)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, math.nan, True, "0.5"])
def test_a_number_that_decides_nothing(value):
    with pytest.raises(ConfigError, match="between 0 and 1, both excluded"):
        Threshold.fixed(value)


def test_says_where_it_comes_from():
    assert made().provenance == "dev_eer on branch: 50 bona fide, 100 attacks, 2026-01-02"
    assert made().achieved is not None
    assert made().achieved.worst_species == "print"
    said = "max APCER 2.00% (print, n 50), at most 9.14% (95 % bound), BPCER 2.00%, at most 9.14% (95 % bound"
    assert said in str(made().achieved)


def test_few_masks_bound_the_maximum_more_than_many_prints():
    few = AchievedRate(rate=0.0, errors=0, n=3, upper_95=0.6316)
    achieved = made().achieved.model_copy(update={"apcer": {"mask": few, "print": ONE}})
    assert achieved.apcer_max_upper_95 == 0.6316
    assert "max APCER 2.00% (print, n 50), at most 63.16% (95 % bound by mask, n 3), BPCER" in str(achieved)


def test_read_as_written(tmp_path):
    several = [made(), made(3.0, "secure", "dev_apcer=0.01"), made(0.5, None, "dev_apcer=0.05")]
    path = save_threshold(several, tmp_path / "threshold.json")
    assert load_thresholds(path) == several
    assert load_threshold(path, PRINT, mode="secure") == several[1]
    assert load_threshold(path, PRINT) == several[0]
    assert load_threshold(path, PRINT, mode="dev_apcer=0.05") == several[2]
    assert load_threshold(path, PRINT, mode="dev_apcer=0.01") == several[1]
    with pytest.raises(
        ConfigError, match=r"no threshold for 'convenient'; it holds: balanced, secure, dev_ap"
    ):
        load_threshold(path, mode="convenient")


def test_a_single_threshold_needs_no_mode(tmp_path):
    only = made(2.0, "secure", "dev_apcer=0.01")
    assert load_threshold(save_threshold(only, tmp_path / "t.json")) == only


def test_another_detector_is_named_part_by_part(tmp_path):
    path = save_threshold(made(), tmp_path / "t.json")
    other = PRINT.model_copy(update={"detector": "yunet:abc", "taxonomy": "u"})
    with pytest.raises(ConfigError) as refused:
        load_threshold(path, other)
    assert "categories and their texts (u here, t there)" in str(refused.value)
    assert "face detector (yunet:abc here, none there)" in str(refused.value)
    assert "calibrate again" in str(refused.value)
    check_made_for(Threshold.fixed(0.4), other)


def test_every_changed_byte_is_noticed(tmp_path):
    path = save_threshold(made(), tmp_path / "t.json")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ConfigError):
            load_thresholds(path)
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert load_thresholds(path) == [made()], "line ends of another system are no change"


@pytest.mark.parametrize("content", ["", "[]", '{"format": "x"}', "{" * 5000, '{"a": 1, "a": 2}'])
def test_files_of_another_kind(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="Make it again: verticlip liveness calibrate"):
        load_thresholds(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_thresholds(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="is a folder"):
        load_thresholds(tmp_path)
    with pytest.raises(ConfigError, match="There is no threshold to save"):
        save_threshold([], tmp_path / "t.json")
    with pytest.raises(ConfigError, match="Two thresholds are called balanced"):
        save_threshold([made(), made(2.0)], tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []
