"""From manifests to scored presentations, by a stand-in for a detector."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from liveness.evaluation import make_scores
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate
from verticlip.domains.liveness.evaluation.scoring import score_entries
from verticlip.domains.liveness.evaluation.sources import from_tables, read_sets, score_sets
from verticlip.domains.liveness.evaluation.table import write_scores
from verticlip.domains.liveness.protocols.entry import Entry


def from_manifest(detector, manifest, **options):
    return score_sets(detector, read_sets(manifest, **options))


def entry(video, species="bona_fide", split="test", **rest):
    label = "live" if species == "bona_fide" else "attack"
    return Entry(Path(f"faces/{video}.png"), video, label, species, "7", split, "made-up", **rest)


def test_each_presentation_with_its_provenance():
    row, silent = score_entries(
        make_scores.Oracle(), [entry("a_2.0", groups={"light": "day"}), entry("b_none", "print")]
    )
    # Before any temperature: the score is the probability of the margin, whatever p_live was softened to.
    assert row.score == pytest.approx(1 / (1 + math.exp(-2)))
    assert (row.margin, row.id, row.species, row.subject, row.dataset) == (
        2.0,
        "a_2.0",
        "bona_fide",
        "7",
        "made-up",
    )
    assert (row.split, row.path, row.fingerprint) == ("test", "faces/a_2.0.png", "feedc0de00000000")
    assert dict(row.groups) == {"light": "day"}
    # A gate refused, although the model had an answer.
    assert (silent.score, silent.margin, silent.species) == (None, None, "print")
    assert silent.failed_checks == ("face_size", "blur")


def test_unreadable_files():
    entries = [entry("a_1.0"), entry("b_bad")]
    with pytest.raises(DataError, match="b_bad: not a picture"):
        score_entries(make_scores.Oracle(), entries)
    failures, seen = [], []
    rows = score_entries(
        make_scores.Oracle(), entries, failures=failures, progress=lambda *at: seen.append(at)
    )
    assert [row.id for row in rows] == ["a_1.0"]
    assert [failure.to_dict() for failure in failures] == [{"id": "b_bad", "error": "not a picture"}]
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(
        DataError, match="None of 1 presentations could be read; the first, b_bad: not a picture"
    ):
        score_entries(make_scores.Oracle(), entries[1:], failures=[])
    with pytest.raises(DataError, match="no presentations to score"):
        score_entries(make_scores.Oracle(), [])


def test_a_manifest_with_its_own_development_set(tmp_path):
    path = make_scores.write_manifest(tmp_path, make_scores.both_splits())
    found = from_manifest(make_scores.Oracle(), path)
    report = evaluate(found.rows, "dev_eer", settings=EvaluationSettings(resamples=20))
    # Equal errors on dev: above the display attack, below every bona fide.
    assert report.threshold.margin == pytest.approx(1.0, abs=1e-4)
    assert (report.iso.bpcer.errors, report.iso.bpcer.n) == (1, 3)
    assert (report.iso.apcer["display"].errors, report.iso.apnrr["display"].errors) == (0, 1)
    assert set(report.groups) == set(), "one value is no grouping"
    assert all(row.path and str(tmp_path) not in row.path for row in found.rows), "named as in the manifest"


def test_development_sets_apart(tmp_path):
    rows = make_scores.both_splits()
    test = make_scores.write_manifest(tmp_path, rows[7:], "test.csv", split=False)
    dev = make_scores.write_manifest(tmp_path, rows[:7], "dev.csv", split=False)
    whole = make_scores.write_manifest(tmp_path, rows, "whole.csv")
    found = from_manifest(make_scores.Oracle(), test, dev=dev)
    assert {row.split for row in found.rows} == {"dev", "test"}
    expected = from_manifest(make_scores.Oracle(), whole)
    assert evaluate(found.rows).to_dict() == evaluate(expected.rows).to_dict()
    # A development set apart takes the place of the manifest's own.
    apart = make_scores.write_manifest(tmp_path, make_scores.both_splits("other"), "apart.csv")
    found = from_manifest(make_scores.Oracle(), whole, dev=apart)
    assert {row.subject for row in found.rows if row.split == "dev"} == {
        "otherdev0",
        "otherdev1",
        "otherdev2",
    }
    assert len(found.rows) == 14


def test_a_threshold_that_is_given_needs_no_development_set(tmp_path):
    path = make_scores.write_manifest(tmp_path, make_scores.both_splits())
    found = from_manifest(make_scores.Oracle(), path, needs_dev=False)
    assert {row.split for row in found.rows} == {"test"}


def test_a_calibrated_mode_without_a_development_set(tmp_path):
    path = make_scores.write_manifest(tmp_path, make_scores.both_splits()[7:])
    with pytest.raises(DataError, match="manifest.csv: no presentation is of the split dev.*--dev MANIFEST"):
        from_manifest(make_scores.Oracle(), path)
    only_dev = make_scores.write_manifest(tmp_path, make_scores.both_splits()[:7], "d.csv")
    with pytest.raises(DataError, match="d.csv: no presentation is of the split test; nothing can be judged"):
        from_manifest(make_scores.Oracle(), only_dev)
    train = [(*row[:3], "train" if row[3] == "dev" else "test") for row in make_scores.both_splits("x")]
    with pytest.raises(DataError, match="t.csv: no presentation is of the split dev"):
        from_manifest(make_scores.Oracle(), path, dev=make_scores.write_manifest(tmp_path, train, "t.csv"))


def test_nobody_is_scored_before_the_splits_are_known_to_be_apart(tmp_path):
    class Untouched:
        fingerprint = ""

        def predict_each(self, items, *, batch_size=8):
            raise AssertionError("scored")

    rows = [(video, species, "same", part) for video, species, _, part in make_scores.both_splits()]
    with pytest.raises(DataError, match=r"made-up/same .dev and test."):
        from_manifest(Untouched(), make_scores.write_manifest(tmp_path, rows))
    rows = [(video, species, subject.replace("dev", "test"), part.replace("dev", "train")) for video, species, subject, part in make_scores.both_splits()]  # fmt: skip
    with pytest.raises(DataError, match=r"made-up/test0 .train and test."):
        from_manifest(Untouched(), make_scores.write_manifest(tmp_path, rows), needs_dev=False)


def test_shots_may_be_of_people_who_are_tested_only_when_allowed(tmp_path):
    rows = [(f"shot{n}_1.0", "bona_fide", "test0", "train") for n in range(2)] + make_scores.both_splits()
    path = make_scores.write_manifest(tmp_path, rows)
    lines = path.read_text().splitlines()
    marked = [f"{line},{'yes' if 'shot' in line else ''}" for line in lines[1:]]
    path.write_text("\n".join([f"{lines[0]},few_shot", *marked]) + "\n")
    with pytest.raises(DataError, match=r"made-up/test0 .train and test.*few_shot"):
        read_sets(path)
    found = from_manifest(make_scores.Oracle(), path, few_shot=True)
    assert found.shots == 2
    assert {row.split for row in found.rows} == {"dev", "test"}, "shots are not judged"
    # Nobody else of the training part may be tested, whatever is allowed.
    path.write_text(path.read_text().replace(",train,yes", ",train,"))
    with pytest.raises(DataError, match="made-up/test0"):
        read_sets(path, few_shot=True)


def test_shots_of_a_table(tmp_path):
    shots = [
        make_scores.presentation(str(n), 0.5, "print", split="train", groups={"few_shot": "1"})
        for n in range(3)
    ]
    write_scores(tmp_path / "a.csv", [*make_scores.population("test", 2), *shots])
    assert from_tables(tmp_path / "a.csv").shots == 3


def test_failures_do_not_repeat_the_file_name():
    failures = []

    class Refusing:
        fingerprint = ""

        def predict_each(self, items, *, batch_size=8):
            yield Failure("x", "a_1.0.png: not an image.")
            yield from make_scores.Oracle().predict_each(items[1:])

    score_entries(Refusing(), [entry("a_1.0"), entry("b_1.0")], failures=failures)
    assert failures == [Failure("a_1.0", "not an image.")]


def test_tables(tmp_path):
    dev, test = make_scores.population("dev", 2), make_scores.population("test", 2)
    write_scores(tmp_path / "dev.csv", dev)
    write_scores(tmp_path / "test.csv", test)
    found = from_tables(tmp_path / "test.csv", tmp_path / "dev.csv")
    assert [row.id for row in found.dev or ()] == [row.id for row in dev]
    assert from_tables(tmp_path / "test.csv").dev is None
    with pytest.raises(DataError, match="no such file"):
        from_tables(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="No presentation has a group"):
        evaluate(found.rows, dev=found.dev, settings=EvaluationSettings(group_by=("age",)))
