"""De-identified export: every element of the profile is treated, UIDs stay consistent, pixels stay equal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.medical.io import DeidentifyOptions, deidentify, load_image, load_series
from verticlip.domains.medical.loaders import deidentify as module
from verticlip.domains.medical.loaders import errors

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)
KEY = b"k" * 32
UP = [(0, 0, 0), (0, 0, 2.5), (0, 0, 5)]


def elements(dataset):
    """Yield every element, sequences included."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def table():
    data = json.loads(Path(module.__file__).with_name("confidentiality.json").read_text())
    return {
        int(group + tag, 16): code
        for code, groups in data["actions"].items()
        for group, tags in groups.items()
        for tag in tags.split()
    }


def test_the_table_is_complete():
    counts: dict[str, int] = {}
    for code in table().values():
        counts[code] = counts.get(code, 0) + 1
    # three of the 383 X rows are the curve and overlay masks, treated as groups
    assert counts == {
        "D": 92, "Z": 42, "X": 380, "U": 54, "Z/D": 6, "X/Z": 11, "X/D": 22, "X/Z/D": 8, "X/Z/U*": 2,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # reading rtdose.dcm here, not ours
@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "examples_overlay.dcm",
     "examples_ybr_color.dcm", "693_J2KI.dcm", "image_dfl.dcm", "liver_1frame.dcm", "rtdose.dcm"],
)  # fmt: skip
def test_no_element_of_the_profile_is_left_as_it_was(wheel_file, tmp_path, name):
    before = {int(e.tag): e for e in elements(pydicom.dcmread(wheel_file(name)))}
    deidentify(wheel_file(name), tmp_path / "out.dcm", secret=KEY)
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert after.preamble == bytes(128)
    assert "SourceApplicationEntityTitle" not in after.file_meta
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    actions = table()
    for element in elements(after):
        assert element.tag.group % 2 == 0
        assert element.tag.group >> 8 not in (0x50, 0x60)
        action = actions.get(int(element.tag))
        old = before.get(int(element.tag))
        if action == "X":
            pytest.fail(f"{element.tag} should be gone")
        if action == "Z":
            assert element.is_empty
        elif action and old is not None and old.VR != "SQ" and not old.is_empty:
            assert element.value != old.value or str(old.value) in ("19000101", "000000")
    assert (after.PatientIdentityRemoved, after.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    options = {"window": None, "frames": "all"}
    assert load_image(tmp_path / "out.dcm", **options).pixels.equal(
        load_image(wheel_file(name), **options).pixels
    )


def test_planted_values_are_gone(make, tmp_path, private):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    item = make.dataset(RAMP, PatientComments="Zaphodius")
    nested, deeper = Dataset(), Dataset()
    deeper.PatientName, deeper.ReferencedSOPInstanceUID = "Zaphodius", "1.2.3.444.555.9"
    deeper.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "private-note-777")
    nested.PurposeOfReferenceCodeSequence = Sequence([deeper])
    item.ReferencedStudySequence = Sequence([nested])
    item.SourceImageSequence = Sequence([nested])
    source = make.write(tmp_path / "Zaphodius.dcm", item)
    report = deidentify(source, tmp_path / "out" / "a.dcm")
    content = (tmp_path / "out" / "a.dcm").read_bytes()
    for secret in make.SECRETS:
        assert secret.encode() not in content
    private(report)
    assert report.removed > 0
    kept = pydicom.dcmread(report.written[0])
    reference = kept.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].ReferencedSOPInstanceUID
    assert reference == kept.SOPInstanceUID


def test_a_folder_keeps_its_series_together(make, tmp_path):
    make.series(tmp_path / "in", UP)
    (tmp_path / "in" / "note.txt").write_text("Zaphodius")
    report = deidentify(tmp_path / "in", tmp_path / "out")
    assert len(report.written) == 3
    assert any("not a DICOM object, not copied" in text for text in report.warnings)
    assert all(path.name.startswith("2.25.") for path in report.written)
    volume = load_series(tmp_path / "out")
    assert volume.pixels.equal(load_series(tmp_path / "in").pixels)


def test_copies_of_one_object_are_not_written_over_each_other(make, tmp_path, private):
    make.series(tmp_path / "in", UP, SOPInstanceUID="1.2.3.444.555.9")
    with pytest.raises(errors.MedicalImageError, match="share one SOPInstanceUID") as caught:
        deidentify(tmp_path / "in", tmp_path / "out")
    private(caught.value)


def test_uids_follow_the_secret(make, tmp_path):
    source = make.image(tmp_path / "a.dcm", RAMP)

    def uid(secret, name):
        deidentify(source, tmp_path / name, secret=secret)
        return pydicom.dcmread(tmp_path / name).StudyInstanceUID

    assert uid(KEY, "1") == uid(KEY, "2")
    assert uid(KEY, "0") != uid(b"q" * 32, "3")
    assert uid(None, "4") != uid(None, "5")
    with pytest.raises(ConfigError, match="at least 16 bytes"):
        deidentify(source, tmp_path / "6", secret=b"short")


def test_dates_by_choice(make, tmp_path):
    source = make.image(tmp_path / "a.dcm", RAMP, AcquisitionDateTime="19710210101112")

    def out(dates):
        deidentify(source, tmp_path / dates, options=DeidentifyOptions(dates=dates), secret=KEY)
        return pydicom.dcmread(tmp_path / dates)

    assert out("remove").StudyDate == ""
    assert out("keep").StudyDate == "19710203"
    shifted = out("shift")
    assert shifted.StudyDate not in ("", "19710203")
    assert shifted.AcquisitionDateTime[8:] == "101112"
    days = [
        np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}")
        for text in (shifted.StudyDate, shifted.AcquisitionDateTime)
    ]
    assert days[1] - days[0] == np.timedelta64(7, "D")
    assert shifted.LongitudinalTemporalInformationModified == "MODIFIED"
    assert shifted.PatientBirthDate == pydicom.dcmread(tmp_path / "keep").PatientBirthDate == ""


def test_retained_groups(make, tmp_path):
    source = make.image(tmp_path / "a.dcm", RAMP, PatientAge="044Y", StationName="CT1")
    options = DeidentifyOptions(retain=("patient", "device", "institution", "uids"))
    deidentify(source, tmp_path / "b.dcm", options=options)
    kept = pydicom.dcmread(tmp_path / "b.dcm")
    assert (kept.PatientAge, kept.StationName, kept.InstitutionName) == ("044Y", "CT1", "SecretHospital")
    assert kept.SOPInstanceUID == "1.2.3.444.555.9"
    codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113108", "113109", "113112", "113110"]
    for options in ({"retain": ("name",)}, {"dates": "blur"}):
        with pytest.raises(ConfigError):
            DeidentifyOptions(**options)


@pytest.mark.parametrize("pixels", [RAMP, np.dstack([RAMP] * 3).astype(np.uint8)])
def test_blanked_boxes(make, tmp_path, pixels):
    source = make.image(tmp_path / "a.dcm", pixels + 1)
    deidentify(source, tmp_path / "b.dcm", options=DeidentifyOptions(blank=((1, 2, 4, 5),)))
    loaded = load_image(tmp_path / "b.dcm", window=None).pixels
    assert loaded[:, 2:5, 1:4].max() == 0
    assert loaded[:, 5, 7].min() == 48


def test_blanking_needs_native_pixels(wheel_file, tmp_path):
    options = DeidentifyOptions(blank=((0, 0, 1, 1),))
    with pytest.raises(errors.MedicalImageError, match="native"):
        deidentify(wheel_file("693_J2KI.dcm"), tmp_path / "b.dcm", options=options)


def test_the_source_is_never_overwritten(make, tmp_path, private):
    source = make.image(tmp_path / "a.dcm", RAMP)
    before = source.read_bytes()
    with pytest.raises(errors.MedicalImageError, match="target is the source") as caught:
        deidentify(source, tmp_path / "." / "a.dcm")
    private(caught.value)
    with pytest.raises(errors.MedicalImageError, match="target lies in the source folder"):
        deidentify(tmp_path, tmp_path / "clean")
    assert source.read_bytes() == before


def test_what_cannot_be_exported(make, tmp_path, private):
    with pytest.raises(errors.MissingInput):
        deidentify(tmp_path / "gone.dcm", tmp_path / "b.dcm")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(errors.NotAMedicalImage, match="PNG"):
        deidentify(tmp_path / "a.png", tmp_path / "b.dcm")
    source = make.image(tmp_path / "a.dcm", RAMP)
    source.write_bytes(source.read_bytes().replace(b"\x08\0\x18\0UI", b"\x08\0\x19\0UI"))
    with pytest.raises(errors.CorruptFile, match="no SOPInstanceUID") as caught:
        deidentify(source, tmp_path / "b.dcm")
    private(caught.value)
    source = make.image(tmp_path / "c.dcm", RAMP)
    source.write_bytes(source.read_bytes().replace(b"\x08\0\x16\0UI", b"\x08\0\x16\0QQ"))
    with pytest.raises(errors.CorruptFile, match="an element cannot be read") as caught:
        deidentify(source, tmp_path / "b.dcm")
    private(caught.value)
    assert not (tmp_path / "b.dcm").exists()


def test_risky_pixels_are_reported(make, tmp_path):
    source = make.image(tmp_path / "a.dcm", RAMP, Modality="US", BurnedInAnnotation="YES")
    warnings = " ".join(deidentify(source, tmp_path / "b.dcm").warnings)
    assert "BurnedInAnnotation is YES" in warnings
    assert "modality US" in warnings


def test_a_target_that_cannot_be_written_is_not_called_corrupt(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", np.zeros((4, 4), np.uint16))
    (tmp_path / "file").write_text("")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        deidentify(path, tmp_path / "file" / "b.dcm")
