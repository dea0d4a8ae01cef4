"""Exporting trees without identity: names, dry runs, bad files, and targets that are not ours."""

from __future__ import annotations

import json
import os

import numpy as np
import pydicom
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.medical.io import DeidentifyOptions, deidentify, load_series
from verticlip.domains.medical.loaders import errors
from verticlip.domains.medical.loaders.export import RECORD, export_each

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)
KEY = b"k" * 32
UP = [(0, 0, 0), (0, 0, 2.5), (0, 0, 5)]


@pytest.fixture
def tree(make, tmp_path, wheel_file):
    """Two patients in folders that name them, a directory file, a note and a damaged file."""
    root = tmp_path / "Zaphodius_in"
    make.series(root / "Zaphodius^A" / "ct", UP)
    (root / "MRN-424242").mkdir()
    make.image(root / "MRN-424242" / "Zaphodius.dcm", RAMP)
    (root / "note.txt").write_text("Zaphodius")
    (root / "DICOMDIR").write_bytes(wheel_file("dicomdirtests/DICOMDIR").read_bytes())
    (root / "bad.dcm").write_bytes(bytes(128) + b"DICM" + b"\2\0\0\0junk")
    return root


def statuses(results):
    return [result.status for result in results]


def test_a_tree_goes_on_past_bad_files_and_names_no_one(tree, tmp_path, make, private):
    results = list(export_each(tree, tmp_path / "out"))
    assert sorted(statuses(results)) == ["failed", "skipped", "skipped", *["written"] * 4]
    for result in results:
        private(result)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 5
    names = " ".join(str(path.relative_to(tmp_path / "out")) for path in written)
    content = b"".join(path.read_bytes() for path in written)
    for secret in make.SECRETS:
        assert secret not in names
        assert secret.encode() not in content
    # The shape of the tree stays: one folder per patient, the series one below.
    depths = sorted(len(path.relative_to(tmp_path / "out").parts) for path in written)
    assert depths == [1, 2, 3, 3, 3]
    folder = next(path.parent for path in written if len(path.relative_to(tmp_path / "out").parts) == 3)
    volume = load_series(folder)
    assert volume.pixels.equal(load_series(tree / "Zaphodius^A").pixels)
    assert volume.notes == ()


def test_the_directory_file_is_skipped_with_a_reason(tree, tmp_path):
    reasons = {result.source.name: str(result.error) for result in export_each(tree, tmp_path / "out")}
    assert "a DICOM directory (DICOMDIR), which lists names" in reasons["DICOMDIR"]
    assert "not DICOM; the content looks like text" in reasons["note.txt"]
    with pytest.raises(errors.NotAMedicalImage, match="DICOMDIR"):
        deidentify(tree / "DICOMDIR", tmp_path / "b.dcm")


def test_a_dry_run_does_everything_but_write(tree, tmp_path):
    planned = list(export_each(tree, tmp_path / "out", secret=KEY, dry_run=True))
    assert not (tmp_path / "out").exists()
    written = list(export_each(tree, tmp_path / "out", secret=KEY))
    assert [one.target for one in planned] == [one.target for one in written]
    assert [one.removed for one in planned] == [one.removed for one in written]
    assert {"planned"} == set(statuses(planned)) - {"failed", "skipped"}


def test_names_can_be_kept(tree, tmp_path):
    list(export_each(tree, tmp_path / "out", options=DeidentifyOptions(keep_names=True)))
    kept = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.dcm")}
    assert kept == {str(path.relative_to(tree)) for path in tree.rglob("Zaphodius*.dcm")}


def test_the_same_secret_goes_on_in_the_same_folder(tree, tmp_path, make):
    first = [one.target for one in export_each(tree, tmp_path / "out", secret=KEY) if one.target]
    before = {path: path.read_bytes() for path in first}
    make.image(tree / "MRN-424242" / "new.dcm", RAMP, SOPInstanceUID="1.2.3.444.555.77")
    again = [one.target for one in export_each(tree, tmp_path / "out", secret=KEY) if one.target]
    assert set(first) < set(again)
    assert {path: path.read_bytes() for path in first} == before
    folders = {path.parent.name for path in again if path.parent.parent == tmp_path / "out"}
    assert len(folders) == 1


@pytest.mark.parametrize(
    "options", [None, DeidentifyOptions(keep_names=True), DeidentifyOptions(dates="keep")]
)
def test_other_settings_need_another_folder(tree, tmp_path, options):
    list(export_each(tree, tmp_path / "out", secret=KEY))
    secret = KEY if options else None
    with pytest.raises(ConfigError, match="another secret"):
        list(export_each(tree, tmp_path / "out", options=options, secret=secret))


def test_a_foreign_folder_is_left_alone(tree, tmp_path, private):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="is not empty and holds no export") as caught:
        deidentify(tree, tmp_path / "out")
    private(caught.value)
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.MedicalImageError, match="a folder is exported to a folder"):
        deidentify(tree, tmp_path / "file")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_source_without_dicom_leaves_no_trace(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("x")
    assert deidentify(tmp_path / "in", tmp_path / "out").written == ()
    assert not (tmp_path / "out").exists()


def test_a_file_is_never_written_over_another(make, tmp_path, private):
    source = make.image(tmp_path / "a.dcm", RAMP)
    other = make.image(tmp_path / "b.dcm", RAMP)
    before = other.read_bytes()
    with pytest.raises(errors.MedicalImageError, match="exists already") as caught:
        deidentify(source, other)
    private(caught.value)
    assert other.read_bytes() == before
    with pytest.raises(errors.MedicalImageError, match="Name the file to write"):
        deidentify(source, tmp_path)


def test_the_record_holds_settings_and_nothing_else(tree, tmp_path):
    list(export_each(tree, tmp_path / "out", secret=KEY))
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record.pop("secret") not in ("", KEY.decode())
    assert record == {"blank": [], "dates": "remove", "keep_names": False, "retain": []}


def test_what_the_table_leaves_out(make, tmp_path):
    """Names and dates that the table does not list, instance UIDs of other modules, unknown elements."""
    item = make.dataset(RAMP)
    item.EvaluatorName, item.ExpirationDateTime = "Zaphodius", "19710203101112"
    item.SOPInstanceUIDOfConcatenationSource = "1.2.3.444.555.9"
    item.SOPClassesInStudy = ["1.2.840.10008.5.1.4.1.1.2"]
    item.add_new(0x00080003, "LO", "Zaphodius")
    item.add_new(0x00090000 + 0x10000 * 9, "UL", 4)
    source = make.write(tmp_path / "a.dcm", item)
    deidentify(source, tmp_path / "b.dcm")
    clean = pydicom.dcmread(tmp_path / "b.dcm")
    assert (clean.EvaluatorName, clean.ExpirationDateTime) == ("", "")
    assert clean.SOPInstanceUIDOfConcatenationSource == clean.SOPInstanceUID
    assert clean.SOPClassesInStudy == "1.2.840.10008.5.1.4.1.1.2"
    assert 0x00080003 not in clean
    assert b"Zaphodius" not in (tmp_path / "b.dcm").read_bytes()


def test_an_element_of_another_representation_is_judged_by_both(make, tmp_path):
    """A date stored as text still is a date; a person's name hidden in another element still is a name."""
    item = make.dataset(RAMP)
    item.add_new(0x00080416, "LO", "19710203")
    item.add_new(0x00181030, "PN", "Zaphodius")
    item.add_new(0x00081090, "PN", "Zaphodius")
    source = make.write(tmp_path / "a.dcm", item)
    deidentify(source, tmp_path / "b.dcm")
    content = (tmp_path / "b.dcm").read_bytes()
    assert b"Zaphodius" not in content
    assert b"19710203" not in content


@pytest.fixture
def locked(monkeypatch):
    """Return a function that makes a folder unreadable, for an administrator too."""
    scandir = os.scandir

    def lock(folder):
        def refuse(path="."):
            if str(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return lock


def test_nothing_in_a_tree_is_passed_over_in_silence(make, tmp_path, locked):
    root = tmp_path / "in"
    (root / "closed").mkdir(parents=True)
    make.image(root / "a.dcm", RAMP)
    (root / "gone.dcm").symlink_to(root / "nowhere")
    (tmp_path / "other").mkdir()
    (root / "linked").symlink_to(tmp_path / "other")
    locked(root / "closed")
    found = {one.source.name: one for one in export_each(root, tmp_path / "out", show_paths=True)}
    assert {name: one.status for name, one in found.items()} == {
        "a.dcm": "written", "closed": "failed", "gone.dcm": "failed", "linked": "skipped",
    }  # fmt: skip
    assert "a folder that may not be read" in str(found["closed"].error)
    assert "a link to a folder, which is not followed" in str(found["linked"].error)
    assert "no such file" in str(found["gone.dcm"].error)


def test_a_copy_of_cut_pixels_says_so(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP)
    path = tmp_path / "a.dcm"
    (whole,) = export_each(path, tmp_path / "whole.dcm")
    assert not any("fewer pixels" in text for text in whole.warnings)
    path.write_bytes(path.read_bytes()[:-20])
    (cut,) = export_each(path, tmp_path / "cut.dcm")
    assert cut.status == "written"
    assert "fewer pixels than the header says: a copy of a damaged file" in cut.warnings
