"""Judging scored presentations."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liveness.evaluation import make_scores
from PIL import Image
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.calibration.threshold import Threshold
from verticlip.domains.liveness.evaluation import report as report_module
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate
from verticlip.domains.liveness.evaluation.table import read_scores, write_scores
from verticlip.domains.liveness.metrics.iso import iso_report
from verticlip.domains.liveness.metrics.thresholds import choose, settle

QUICK = EvaluationSettings(resamples=50)


def recounted(rows, threshold, column="margin"):
    """Errors by species, counted by hand from a table."""
    found = {}
    for row in rows:
        value = getattr(row, column)
        wrong = value is not None and (value >= threshold) != row.is_live
        errors, total = found.get(row.species, (0, 0))
        found[row.species] = (errors + wrong, total + 1)
    return found


def errors_of(report):
    counts = {name: (rate.errors, rate.n) for name, rate in report.iso.apcer.items()}
    return {**counts, "bona_fide": (report.iso.bpcer.errors, report.iso.bpcer.n)}


@pytest.mark.parametrize("rule", ["dev_eer", "dev_apcer=0.1", "dev_bpcer=0.05", "balanced"])
def test_the_threshold_of_one_set_is_applied_to_another(tmp_path, rule):
    dev, test = make_scores.population("dev", 5, seed=1), make_scores.population("test", 6, seed=2)
    report = evaluate([*dev, *test], rule, settings=QUICK)
    expected = choose(
        rule, [one.score for one in dev], [one.species for one in dev], margins=[one.margin for one in dev]
    )
    # As calibration puts it: a little below, so that the presentation it was found by stays accepted.
    assert report.threshold.applied == settle(expected.margin, [one.margin for one in dev])
    assert report.threshold.applied < expected.margin
    assert report.threshold.compared == "margin"
    assert not report.threshold.oracle_threshold
    assert report.development == replace(expected.report, threshold=report.threshold.applied)
    assert errors_of(report) == recounted(test, expected.margin)
    # The same numbers by the score, and from a table that went over the disk, with the sets apart.
    assert errors_of(report) == recounted(test, report.threshold.value, "score")
    write_scores(tmp_path / "dev.csv", dev)
    write_scores(tmp_path / "test.csv", test)
    again = evaluate(
        read_scores(tmp_path / "test.csv"), rule, dev=read_scores(tmp_path / "dev.csv"), settings=QUICK
    )
    assert again.to_dict() == report.to_dict()


@given(st.integers(0, 50), st.sampled_from(["dev_eer", "dev_apcer=0.05"]), st.floats(-3, 3))
@settings(max_examples=15)
def test_moving_all_scores_moves_the_threshold_and_nothing_else(seed, rule, shift):
    dev, test = (make_scores.population(name, 2, seed=seed + n) for n, name in enumerate(("dev", "test")))
    moved = [
        [replace(row, score=None if row.margin is None else row.margin + shift, margin=None) for row in rows]
        for rows in (dev, test)
    ]
    test, dev = ([replace(row, score=row.margin, margin=None) for row in rows] for rows in (test, dev))
    first = evaluate(test, rule, dev=dev, settings=EvaluationSettings(resamples=0))
    second = evaluate(moved[1], rule, dev=moved[0], settings=EvaluationSettings(resamples=0))
    assert first.iso.apcer == second.iso.apcer
    assert first.iso.bpcer == second.iso.bpcer
    assert second.threshold.applied == pytest.approx(first.threshold.applied + shift)


def test_a_stored_threshold():
    test = make_scores.population("test", 4)
    stored = Threshold.at_margin(
        0.7, rule="dev_eer", mode="balanced", dataset="elsewhere", n={"bona_fide": 9}
    )
    report = evaluate(test, stored, settings=QUICK)
    assert errors_of(report) == recounted(test, 0.7)
    assert report.threshold.mode == "balanced"
    assert not any("nothing here shows" in note for note in report.notes)
    own = stored.model_copy(update={"dataset": "made-up+casia"})
    assert any(
        "found on presentations of made-up too" in note for note in evaluate(test, own, settings=QUICK).notes
    )
    assert "dev_eer on elsewhere: 9 bona fide" in report.threshold.source
    # Without margins the same threshold is applied on the other scale.
    plain = [replace(row, margin=None) for row in test]
    assert errors_of(evaluate(plain, stored, settings=QUICK)) == recounted(test, stored.value, "score")
    fixed = evaluate(test, 0.5, settings=QUICK)
    assert errors_of(fixed) == recounted(test, 0.5, "score")
    assert (fixed.threshold.rule, fixed.threshold.source) == ("fixed=0.5", "given")


def test_oracle_figures_stand_apart_and_say_so():
    test = make_scores.population("test", 5)
    dev = make_scores.population("dev", 5, seed=3)
    report = evaluate(test, dev=dev, settings=QUICK).to_dict()
    assert report["at_threshold"]["oracle_threshold"] is False
    assert report["oracle"]["oracle_threshold"] is True
    for figure in ("eer", "tpr_at_fpr_1pct", "bpcer_at_apcer", "scan_eer"):
        assert figure in report["oracle"]
        assert figure not in report["at_threshold"]
    oracle = evaluate(test, "test_eer", settings=QUICK)
    assert oracle.to_dict()["at_threshold"]["oracle_threshold"] is True
    assert oracle.to_dict()["threshold"]["oracle_threshold"] is True
    assert "WARNING: The threshold was taken from the test set itself" in str(oracle)
    assert oracle.pooled.hter == pytest.approx(oracle.oracle.eer)


def test_saturated_scores_are_judged_by_their_margins():
    dev, test = (make_scores.population(name, 4, seed=n, scale=30) for n, name in enumerate(("dev", "test")))
    saturated = [[replace(row, score=None if row.score is None else float(np.float32(row.score))) for row in rows] for rows in (dev, test)]  # fmt: skip
    assert sum(row.score == 1.0 for row in saturated[1]) > 10
    report = evaluate(saturated[1], "dev_apcer=0.05", dev=saturated[0], settings=QUICK)
    assert errors_of(report) == errors_of(evaluate(test, "dev_apcer=0.05", dev=dev, settings=QUICK))
    # Scores alone cannot hold the rate: all or nothing.
    blind = [[replace(row, margin=None) for row in rows] for rows in saturated]
    report = evaluate(blind[1], "dev_apcer=0.05", dev=blind[0], settings=QUICK)
    assert report.threshold.value == math.inf
    assert "WARNING: The threshold refuses every presentation" in str(report)
    assert report.iso.bpcer.errors + report.iso.bpnrr.errors == report.iso.bpcer.n
    assert report.to_dict()["threshold"]["value"] == "Infinity"


def test_reversed_labels_are_noticed():
    rows = make_scores.population("test", 4, reverse=True)
    text = str(evaluate(rows, "fixed=0.5", settings=QUICK))
    assert text.startswith("WARNING: AUC is 0.0")
    assert "The labels look reversed" in text.replace("\n ", "")
    dev = make_scores.population("dev", 4, reverse=True)
    report = evaluate(make_scores.population("test", 4), "dev_eer", dev=dev, settings=QUICK)
    assert any("AUC of the development set is 0.0" in warning for warning in report.warnings)


def test_a_threshold_of_another_scale_is_noticed():
    rows = make_scores.population("test", 4, margins=False)
    warnings = evaluate(rows, "fixed=2", settings=QUICK).warnings
    assert any(
        "refuses every presentation that got a response. Scores run from 0." in one for one in warnings
    )
    assert any("accepts every" in one for one in evaluate(rows, "fixed=-1", settings=QUICK).warnings)
    assert not any(
        "every presentation" in one for one in evaluate(rows, "fixed=0.5", settings=QUICK).warnings
    )


def test_subjects_in_both_sets_stop():
    dev, test = make_scores.population("dev", 3), make_scores.population("test", 3)
    person = [replace(row, subject="dev0", dataset="made-up-too") for row in test[:2]]
    with pytest.raises(DataError, match=r"subjects stand in .*: made-up-too/dev0 .dev and test."):
        evaluate([*dev, *person, *test[2:]])
    with pytest.raises(DataError, match="videos stand in"):
        evaluate([*test, *(replace(row, subject="", split="dev") for row in test[:30])])
    with pytest.raises(DataError, match="subjects stand in"):
        evaluate(test, "fixed=0.5", dev=[replace(row, id=f"other {row.id}") for row in test])


def test_a_rule_without_a_development_set():
    test = make_scores.population("test", 3)
    for rule in ("dev_eer", "secure"):
        with pytest.raises(DataError, match="needs a development set, and there is none.*fixed=0.5"):
            evaluate(test, rule)
    with pytest.raises(DataError, match="needs bona fide and attack.*the set has 0 bona fide"):
        evaluate(test, dev=[row for row in make_scores.population("dev", 2) if not row.is_live])


def test_one_class_only():
    rows = make_scores.population("test", 3)
    live = evaluate([row for row in rows if row.is_live], "fixed=0.5", settings=QUICK)
    assert (live.iso.apcer_max, live.auc, live.oracle, live.pooled, live.det) == (None,) * 5
    assert live.iso.bpcer.n == 18
    assert "There are no attack presentations" in str(live)
    assert set(live.intervals.estimates) == {"bpcer", "bpnrr"}
    fake = evaluate([row for row in rows if not row.is_live], "fixed=0.5", settings=QUICK)
    assert fake.iso.bpcer.value is None
    assert "There are no bona fide presentations" in str(fake)
    json.dumps([live.to_dict(), fake.to_dict()], allow_nan=False)


def test_nobody_got_a_response(tmp_path):
    rows = [replace(row, score=None, margin=None) for row in make_scores.population("test", 2)]
    report = evaluate(rows, "fixed=0.5", settings=QUICK)
    assert (report.iso.bpnrr.value, report.iso.apcer_max, report.auc) == (1.0, 0.0, None)
    assert "36 of 36 presentations got no response" in str(report)
    silent = sum(bool(row.failed_checks) for row in rows)
    assert report.to_dict()["presentations"]["non_responses_failed"] == {"face_size": silent}
    assert f"did not pass: face_size {silent}." in str(report)
    assert {path.name for path in report.write(tmp_path)} == {"report.json", "det.png"}


def test_non_responses_stay_in_the_denominators():
    rows = make_scores.population("test", 5, silent=0.4)
    report = evaluate(rows, "fixed=0.5", settings=QUICK)
    assert report.iso.bpcer.n == sum(row.is_live for row in rows)
    assert report.iso.bpnrr.errors == sum(row.is_live and row.score is None for row in rows)
    assert report.pooled.responses == sum(row.score is not None for row in rows)
    assert report.to_dict()["presentations"]["non_responses"] == sum(row.score is None for row in rows)


def test_the_files_of_a_report(tmp_path):
    dev, test = make_scores.population("dev", 5, seed=1), make_scores.population("test", 6, seed=2)
    report = evaluate([*dev, *test], settings=EvaluationSettings(resamples=50, system="some/model"))
    assert [path.name for path in report.write(tmp_path)] == ["report.json", "det.png", "scores.png"]
    found = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert found.pop("date").endswith("+00:00")
    assert isinstance(found.pop("verticlip"), str)
    assert found == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    text = (tmp_path / "report.json").read_text()
    assert "mp4" not in text, "paths only where they were asked for"
    for name in ("det.png", "scores.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert picture.std() > 10, f"{name} is blank"
    # A later report of one class leaves no curve of this one behind.
    evaluate([row for row in test if row.is_live], "fixed=0.5", settings=QUICK).write(tmp_path)
    assert not (tmp_path / "det.png").exists()


def test_wrong_decisions_by_path_when_asked_for():
    rows = make_scores.population("test", 5)
    report = evaluate(rows, "fixed=0.5", settings=EvaluationSettings(resamples=0, worst=2))
    attacks = [one for one in report.worst if one.error == "attack accepted"]
    best = max(row.score for row in rows if not row.is_live and row.score is not None)
    assert (len(attacks), attacks[0].score) == (2, best)
    assert attacks[0].path.startswith("videos/test-")
    assert attacks[0].path in json.dumps(report.to_dict())
    assert attacks[0].path in str(report)
    assert not evaluate(rows, "fixed=0.5", settings=QUICK).worst


def test_the_text_reads_like_an_iso_table():
    dev, test = make_scores.population("dev", 5, seed=1), make_scores.population("test", 6, seed=2)
    report = evaluate([*dev, *test], settings=EvaluationSettings(system="some/model", trained_on=("casia",)))
    text = str(report)
    worst = report.iso.apcer[report.iso.worst_species]
    line = next(line for line in text.splitlines() if "max APCER (" in line)
    assert line.split()[2:5] == [f"({report.iso.worst_species})", str(worst.n), str(worst.errors)]
    assert f"{100 * worst.value:.2f} %  <= {100 * report.iso.apcer_max_upper:.2f} %" in line
    assert "some/model" in text
    assert "6 subjects are few" in text.replace("\n    ", " ")
    assert "Oracle figures: thresholds of this very set" in text
    assert "Cross-dataset zero-shot: trained on casia" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("trained_on", "kind"),
    [(None, "not stated"), ((), "prompt zero-shot"), (("casia",), "cross-dataset zero-shot"), (("casia", "Made-Up"), "trained on this set")],
)  # fmt: skip
def test_the_kind_of_zero_shot_is_named(trained_on, kind):
    settings = EvaluationSettings(resamples=0, trained_on=trained_on)
    report = evaluate(make_scores.population("test", 2), "fixed=0.5", settings=settings)
    assert report.to_dict()["zero_shot"]["kind"] == kind


def test_small_development_sets_cannot_show_small_rates():
    dev, test = make_scores.population("dev", 5, seed=1), make_scores.population("test", 3)
    text = str(evaluate([*dev, *test], "dev_apcer=0.01", settings=QUICK)).replace("\n  ", " ")
    assert "15 development presentations of mask cannot show this rate: with no error among them" in text
    assert "the 95 % bound is 18 %" in text
    text = str(evaluate([*dev, *test], "dev_bpcer=0.01", settings=QUICK)).replace("\n  ", " ")
    assert "30 development presentations of bona_fide cannot show" in text


def test_which_rows_are_judged():
    test = make_scores.population("test", 2)
    train = [replace(row, id=f"t {row.id}", subject="t", split="train") for row in test]
    report = evaluate([*test, *train], "fixed=0.5", settings=QUICK)
    assert len(report.rows) == len(test)
    assert "36 presentations of other splits than test and dev are left out." in report.notes
    alone = evaluate(train, "fixed=0.5", settings=QUICK)
    assert "All presentations are of the split train; it is judged as the test set." in alone.notes
    with pytest.raises(DataError, match="No presentation is of the split test; splits: eval, train"):
        evaluate([*train, *(replace(row, split="eval") for row in test)], "fixed=0.5")
    with pytest.raises(DataError, match="no presentations to judge"):
        evaluate([], "fixed=0.5")


def test_one_system():
    dev, test = make_scores.population("dev", 3), make_scores.population("test", 3)
    with pytest.raises(DataError, match="scored by 2 systems .fingerprints 0123456789abcdef, other"):
        evaluate(test, dev=[replace(row, fingerprint="other") for row in dev])
    unknown = [replace(row, fingerprint="") for row in test]
    assert "does not say which system made it" in str(evaluate(unknown, 0.5, settings=QUICK))


def test_unreadable_files_are_named_and_not_counted():
    rows = make_scores.population("test", 2)
    report = evaluate(rows, 0.5, settings=QUICK, failures=[Failure("a.mp4", "not a video")])
    digest = f"sha256:{hashlib.sha256(b'a.mp4').hexdigest()[:16]}"
    assert report.to_dict()["failures"] == [{"id": digest, "error": "not a video"}]
    assert f"1 presentations could not be read and are not counted, first {digest}" in str(report)
    assert report.to_dict()["presentations"]["all"] == len(rows)
    named = evaluate(rows, 0.5, settings=QUICK, failures=[Failure("visit 7.2", "too dark")]).to_dict()
    assert named["failures"] == [{"id": "visit 7.2", "error": "too dark"}]


@pytest.mark.parametrize("id", ["anna-schmidt.jpeg", "anna/1", "anna\\1", "x.y.JPG"])
def test_no_file_is_named_in_a_report(id):
    report = evaluate(make_scores.population("test", 2), 0.5, settings=QUICK, failures=[Failure(id, "no")])
    assert id not in json.dumps(report.to_dict(), ensure_ascii=False)
    assert id not in str(report)


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    dev, test = make_scores.population("dev", 5, seed=1), make_scores.population("test", 6, seed=2)
    evaluate([*dev, *test], settings=QUICK).write(tmp_path, table=[*dev, *test])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"report.json", "det.png", "scores.png", "scores.csv"}

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(report_module, "write_json_atomic", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(test, 0.5, settings=QUICK).write(tmp_path, table=test)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_bound_of_the_maximum_need_not_be_that_of_the_worst():
    rows = [
        *(make_scores.presentation(f"p{n}", 0.9 if n < 2 else 0.1, "print") for n in range(100)),
        *(make_scores.presentation(f"m{n}", 0.1, "mask") for n in range(3)),
        *(make_scores.presentation(f"b{n}", 0.9, "bona_fide") for n in range(60)),
    ]
    text = str(evaluate(rows, 0.5, settings=QUICK))
    line = next(line for line in text.splitlines() if "max APCER (print)" in line)
    assert "2.00 %  <= 63.16 %" in line
    assert "max APCER is bounded by mask (n=3), the species with the largest bound" in text
    # No error among 60: every resample says 0 %, the exact interval does not.
    line = next(line for line in text.splitlines() if line.startswith("  BPCER  "))
    assert line.split(maxsplit=3)[3] == "0.00 % to 5.96 % (exact)"
    assert "0.00 % to 0.00 %" not in text
    assert "those are left out of max APCER" in text.replace("\n   ", "")


def test_what_the_exact_bounds_assume():
    several, alone = make_scores.population("test", 4), make_scores.population("test", 1)
    note = f"take {len(several)} presentations as independent; they are of 4 subjects"
    assert any(note in one for one in evaluate(several, 0.5, settings=QUICK).notes)
    unknown = [replace(row, subject="") for row in alone]
    assert any(
        "they are of an unknown number of subjects" in one
        for one in evaluate(unknown, 0.5, settings=QUICK).notes
    )
    own = [replace(row, subject=row.id) for row in alone]
    assert not any("independent" in one for one in evaluate(own, 0.5, settings=QUICK).notes)


@pytest.mark.parametrize(
    ("trained_on", "dataset", "kind"),
    [("oulu", "OULU_NPU", "trained on this set"), ("msu-mfsd", "msu", "trained on this set"), ("msu", "oulu", "cross-dataset zero-shot")],
)  # fmt: skip
def test_two_names_of_one_set(trained_on, dataset, kind):
    rows = [replace(row, dataset=dataset) for row in make_scores.population("test", 2)]
    settings = EvaluationSettings(resamples=0, trained_on=(trained_on,))
    assert evaluate(rows, 0.5, settings=settings).zero_shot.kind == kind


def test_a_misspelt_training_set_is_asked_about():
    rows = [replace(row, dataset="branch-7") for row in make_scores.population("test", 2)]
    settings = EvaluationSettings(resamples=0, trained_on=("msu-msfd", "brunch-7", "our own"))
    warnings = [one for one in evaluate(rows, 0.5, settings=settings).warnings if "Trained on" in one]
    assert ["Did you mean 'msu-mfsd'?" in warnings[0], "Did you mean 'branch-7'?" in warnings[1]] == [
        True
    ] * 2
    assert len(warnings) == 2


def test_few_shot_is_no_zero_shot():
    rows = make_scores.population("test", 2)
    for trained_on, said in [(("casia",), "; also on casia."), (None, "among those judged.")]:
        settings = EvaluationSettings(resamples=0, trained_on=trained_on, shots=10)
        found = evaluate(rows, 0.5, settings=settings).zero_shot
        assert found.to_dict()["kind"] == "few-shot"
        assert "trained on 10 presentations of the tested set" in found.says
        assert found.says.endswith(said)


@pytest.mark.parametrize("ruling", [True, None, "dev_eeer", [0.5]])
def test_bad_rulings(ruling):
    with pytest.raises(ConfigError, match="rule"):
        evaluate(make_scores.population("test", 1), ruling)


def test_iso_report_agrees_with_the_report_of_the_table():
    rows = make_scores.population("test", 4)
    report = evaluate(rows, "fixed=0.25", settings=QUICK)
    alone = iso_report([row.score for row in rows], [row.species for row in rows], 0.25)
    assert report.iso.to_dict() == alone.to_dict()
