"""No file that verticlip writes from a DICOM header holds a name, number, date or UID of it (bytes are searched)."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import verticlip
from verticlip.core.data.manifest import Manifest
from verticlip.domains.medical.io import deidentify, inspect, load_image, load_series
from verticlip.evaluation import evaluate_folder

PLANTED = {
    "PatientName": "Zaphodius^Anna",
    "PatientID": "MRN-424242",
    "OtherPatientIDs": "MRN-424242",
    "PatientBirthDate": "19710203",
    "PatientAddress": "SecretHospital street 5",
    "StudyDate": "19710203",
    "SeriesDate": "19710203",
    "AcquisitionDateTime": "19710203101112",
    "AccessionNumber": "ACC-777000",
    "ReferringPhysicianName": "Zaphodius^Bernd",
    "StudyDescription": "SecretHospital follow-up of Zaphodius",
    "ImageComments": "ask Zaphodius",
    "StationName": "SECRETSTATION",
    "DeviceSerialNumber": "SN-313131",
    "FrameOfReferenceUID": "1.2.3.444.555.7",
}
VALUES = ("Zaphodius", "MRN-424242", "19710203", "ACC-777000", "SecretHospital", "SECRETSTATION")
VALUES += ("SN-313131", "private-note-777", "1.2.3.444")


def assert_clean(*contents: bytes) -> None:
    for content in contents:
        for value in VALUES:
            for text in (value.encode(), value.encode("utf-16-le")):
                assert text not in content, value


@pytest.fixture(scope="module")
def study(make, tmp_path_factory) -> Path:
    """Two classes of two planted files each; the names of the files say nothing."""
    root = tmp_path_factory.mktemp("planted") / "study"
    rng = np.random.default_rng(0)
    for label in ("glioma", "meningioma"):
        (root / label).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 4000, (40, 48), dtype=np.uint16)
            uid = f"1.2.3.444.555.9.{1 + len(label)}{number}"
            make.image(root / label / f"{number}.dcm", pixels, Modality="MR", SOPInstanceUID=uid, **PLANTED)
    assert all(value.encode() in (root / "glioma" / "0.dcm").read_bytes() for value in VALUES)
    return root


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained("medical/tiny")


def test_exported_dicom(study, tmp_path):
    deidentify(study, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert_clean(*(path.read_bytes() for path in files), str(files).encode())


def test_loaded_images_volumes_and_summaries(study, make, tmp_path):
    image = load_image(study / "glioma" / "0.dcm")
    paths = make.series(tmp_path / "series", [(0, 0, 0), (0, 0, 2.5)], **PLANTED)
    volume = load_series(tmp_path / "series")
    summary = inspect(paths[0])
    for record in (image, volume, summary):
        assert_clean(pickle.dumps(record), repr(record).encode(), str(record).encode())


def test_embeddings_and_their_failures(model, study, make, tmp_path):
    damaged = make.image(tmp_path / "Zaphodius.dcm", np.zeros((40, 48), np.uint16), **PLANTED)
    damaged.write_bytes(damaged.read_bytes()[:-999])
    files = [(f"scan-{number}", path) for number, path in enumerate([*sorted(study.rglob("*.dcm")), damaged])]
    report = model.embed_files(files, tmp_path / "out" / "vectors.parquet")
    assert (report.embedded, report.failed) == (4, 1)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 2
    assert_clean(*(path.read_bytes() for path in written))


def test_an_unfinished_run(model, study, tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("verticlip.core.embed_run.EmbedRun.merge", killed)
    files = [(f"scan-{number}", path) for number, path in enumerate(sorted(study.rglob("*.dcm")))]
    with pytest.raises(KeyboardInterrupt):
        model.embed_files(files, tmp_path / "vectors.parquet")
    parts = [path for path in (tmp_path / "vectors.parquet.parts").rglob("*") if path.is_file()]
    assert {path.name for path in parts} >= {"run.json", "part-000000.parquet"}
    assert_clean(*(path.read_bytes() for path in parts))


def test_manifests_and_evaluation_reports(model, study, tmp_path):
    (study / "glioma" / "damaged.dcm").write_bytes((study / "glioma" / "0.dcm").read_bytes()[:900])
    try:
        Manifest.from_folder(study).save(tmp_path / "manifest.jsonl")
        result = evaluate_folder(model, study, tmp_path / "report")
    finally:
        (study / "glioma" / "damaged.dcm").unlink()
    assert result.report.rows == 4
    assert len(result.failures) == 1
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert_clean(*(path.read_bytes() for path in written))


def test_answers(model, study):
    answers = list(model.classify_each(sorted(study.rglob("*.dcm")), ["glioma", "meningioma"]))
    for answer in answers:
        assert_clean(json.dumps(answer.to_dict(), default=str).encode(), pickle.dumps(answer.meta))


def test_a_training_run_and_its_card(study, shapes, make, tmp_path):
    """The run folder names inputs by their paths below the data folder and holds nothing of their headers."""
    pytest.importorskip("lightning", reason="the train extra is not installed")
    rng = np.random.default_rng(1)
    for label in ("circle", "square"):
        (tmp_path / "data" / "scans" / label).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 4000, (32, 32), dtype=np.uint16)
            uid = f"1.2.3.444.555.9.{1 + len(label)}{number + 10}"
            path = tmp_path / "data" / "scans" / label / f"{number}.dcm"
            make.image(path, pixels, Modality="MR", SOPInstanceUID=uid, **PLANTED)
    recipe = (shapes / "recipe.yaml").read_text().replace("path: photos", "path: scans")
    recipe = recipe.replace(
        "name: test/shapes\n", "name: test/shapes\n  domain: medical\n  licence: MIT\n  description: Test.\n"
    )
    recipe = "domain: medical\n" + recipe
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "words.yaml").write_text((shapes / "words.yaml").read_text())
    changes = ["epochs=1", "checkpoint_steps=1", "evaluation.min_above_chance=-1"]
    result = verticlip.train(tmp_path / "recipe.yaml", tmp_path / "data", tmp_path / "run", overrides=changes)
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert (result.model / "README.md") in written
    assert len(written) > 8
    assert_clean(*(path.read_bytes() for path in written))
