"""``inspect`` says what a file is and never whose it is."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image
from verticlip.domains.medical.io import inspect
from verticlip.domains.medical.loaders import errors

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)


def test_dicom(make, tmp_path, private):
    path = make.image(
        tmp_path / "Zaphodius.dcm", RAMP, BodyPartExamined="HEAD", ImageType=["DERIVED", "SECONDARY"]
    )
    found = inspect(path)
    private(found)
    assert (found.kind, found.facts["rows"], found.facts["has_pixels"]) == ("dicom", 6, True)
    assert "rows: 6" in str(found)
    assert "warning: a head scan allows face reconstruction" in str(found)
    assert any("derived secondary" in text for text in found.warnings)


def test_objects_without_pixels(wheel_file):
    assert inspect(wheel_file("rtplan.dcm")).facts["has_pixels"] is False
    assert inspect(wheel_file("ExplVR_LitEndNoMeta.dcm"), force=True).kind == "dicom"


def test_nifti(tmp_path, private):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    image.header["descrip"] = b"Zaphodius"
    nibabel.save(image, tmp_path / "a.nii.gz")
    found = inspect(tmp_path / "a.nii.gz")
    private(found)
    assert found.facts["shape"] == (2, 3, 4)


def test_raster_with_text(tmp_path, private):
    exif = Image.Exif()
    exif[0x010E] = "Zaphodius"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    found = inspect(tmp_path / "a.jpg")
    private(found)
    assert (found.facts["width"], found.facts["height"]) == (5, 4)
    assert "EXIF" in found.warnings[0]
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff")
    assert inspect(tmp_path / "b.jpg").kind == "raster (damaged)"


def test_npz_and_others(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)))
    assert inspect(tmp_path / "a.npz").facts == {"arrays": {"x": "float64 [2, 3]"}}
    (tmp_path / "a.txt").write_text("words")
    assert inspect(tmp_path / "a.txt").kind == "unknown (text)"
    with pytest.raises(errors.MissingInput):
        inspect(tmp_path / "gone")
