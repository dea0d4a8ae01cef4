"""NIfTI volumes: scaling, affines, frames, orientation, resampling, damage, ceilings."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.limits import Limits
from verticlip.domains.medical.io import load_image, load_volume, resample
from verticlip.domains.medical.loaders import errors

AFFINE = np.array([[-2.0, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def save(path, values=VALUES, affine=AFFINE, **header):
    image = (nibabel.Nifti2Image if header.pop("two", False) else nibabel.Nifti1Image)(values, affine)
    image.header.set_xyzt_units(header.pop("units", "mm"))
    image.header["descrip"] = b"Zaphodius"
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("two", [False, True])
def test_values_and_affine(tmp_path, private, name, two):
    volume = load_volume(save(tmp_path / name, two=two))
    assert volume.pixels.shape == (1, 6, 5, 4)
    assert volume.pixels[0, 5, 4, 3] == VALUES[3, 4, 5]
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.spacing == (2, 3, 4)
    private(volume)
    private(volume.meta)


def test_the_suffix_does_not_matter(tmp_path):
    save(tmp_path / "a.nii.gz").rename(tmp_path / "a.bin")
    assert load_volume(tmp_path / "a.bin").pixels.shape == (1, 6, 5, 4)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"), [(2.0, -1.0, 2.0 * VALUES - 1), (0.0, 5.0, 1.0 * VALUES)]
)
def test_slope(tmp_path, slope, intercept, expected):
    path = save(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(data)
    assert np.array_equal(load_volume(path).pixels[0].permute(2, 1, 0), expected)


def test_sform_wins_and_a_disagreement_is_noted(tmp_path):
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.set_qform(np.diag([1.0, 1, 1, 1]), code=1)
    image.set_sform(AFFINE, code=2)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii")
    volume = load_volume(tmp_path / "a.nii")
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.notes == ("sform and qform disagree; the sform is used",)


@pytest.mark.parametrize(("codes", "source"), [((0, 1), "qform"), ((0, 0), "pixdim")])
def test_where_the_affine_comes_from(tmp_path, codes, source):
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.set_qform(AFFINE, code=codes[1])
    image.set_sform(AFFINE, code=codes[0])
    nibabel.save(image, tmp_path / "a.nii")
    volume = load_volume(tmp_path / "a.nii")
    assert volume.meta.affine_source == source
    assert volume.spacing == pytest.approx((2, 3, 4))


@pytest.mark.parametrize(("units", "factor"), [("meter", 1000), ("micron", 0.001)])
def test_lengths_become_millimetres(tmp_path, units, factor):
    assert load_volume(save(tmp_path / "a.nii", units=units)).spacing == pytest.approx(
        np.array([2, 3, 4]) * factor
    )


def test_unknown_lengths_are_noted(tmp_path):
    assert "no unit of length" in load_volume(save(tmp_path / "a.nii", units="unknown")).notes[0]


def test_an_unknown_orientation_is_noted(tmp_path):
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), None)
    image.to_filename(path)
    assert "which side is left is a guess" in " ".join(load_volume(path).notes)


def test_four_axes_need_a_frame(tmp_path):
    values = np.stack([VALUES, VALUES + 500], axis=-1)
    path = save(tmp_path / "a.nii", values)
    with pytest.raises(errors.FrameError, match="4-D with 2 frames"):
        load_volume(path)
    assert load_volume(path, frame=1).pixels[0, 0, 0, 0] == 500
    with pytest.raises(errors.FrameError, match="frame 2 asked for"):
        load_volume(path, frame=2)
    assert load_volume(save(tmp_path / "b.nii", values[..., :1])).pixels.shape == (1, 6, 5, 4)
    with pytest.raises(errors.UnsupportedEncoding, match="more than four axes"):
        load_volume(save(tmp_path / "c.nii", np.zeros((2, 2, 2, 2, 3), np.int16)))


def test_canonical_returns_the_transform(tmp_path):
    volume = load_volume(save(tmp_path / "a.nii"), canonical=True)
    assert volume.meta.reorientation == ((0, -1), (1, 1), (2, 1))
    assert volume.pixels[0, 0, 0, 0] == VALUES[3, 0, 0]
    assert np.allclose(volume.affine @ [0, 0, 0, 1], AFFINE @ [3, 0, 0, 1])


def test_axial_is_chosen_by_the_affine(tmp_path):
    swapped = AFFINE[:, [2, 1, 0, 3]]
    volume = load_volume(save(tmp_path / "a.nii", affine=swapped))
    assert volume.slice(1, axis="axial").equal(volume.pixels[..., 1])


def test_window_and_space(tmp_path):
    path = save(tmp_path / "a.nii")
    assert load_volume(path, window="minmax").pixels.max() == 1
    assert load_volume(path, window=(60, 20)).pixels[0, 0, 0, 0] == 0
    assert load_volume(path, space="LPS").affine[0, 0] == 2
    with pytest.raises(ConfigError, match="space must be"):
        load_volume(path, space="RPS")
    with pytest.raises(errors.WindowError, match="one channel"):
        load_volume(path, window="multi")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"Zaphodius " * 100, errors.NotAMedicalImage),
        (bytes(500), errors.NotAMedicalImage),
        (b"", errors.NotAMedicalImage),
        (b"\x1f\x8b" + bytes(200), errors.NotAMedicalImage),
    ],
)
def test_other_content(tmp_path, private, content, kind):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(kind) as caught:
        load_volume(tmp_path / "a.nii")
    private(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_short_data_raises_at_load(tmp_path, private, name):
    path = save(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(errors.CorruptFile) as caught:
        load_volume(path)
    private(caught.value)


def test_a_header_of_200_bytes(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(errors.NotAMedicalImage):
        load_volume(path)


def test_voxels_that_are_no_numbers(tmp_path):
    rgb = np.zeros((2, 2, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(errors.UnsupportedEncoding, match="voxels of type"):
        load_volume(save(tmp_path / "a.nii", rgb))


def test_a_flat_affine(tmp_path):
    path = save(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[280:328] = bytes(48)
    path.write_bytes(data)
    with pytest.raises(errors.CorruptFile, match="not finite or not invertible"):
        load_volume(path)


def test_a_gzip_bomb_is_refused_by_its_header(tmp_path, private):
    plain = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16)).read_bytes()
    header = bytearray(plain[:352])
    header[40:56] = np.array([3, 2000, 2000, 200, 1, 1, 1, 1], "<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(header) + bytes(1000)))
    with pytest.raises(errors.OverLimit) as caught:
        load_volume(tmp_path / "b.nii.gz")
    private(caught.value)


@pytest.mark.parametrize("limits", [Limits(decoded_bytes=500), Limits(frames=5), Limits(file_bytes=100)])
def test_ceilings(tmp_path, limits):
    with pytest.raises(errors.OverLimit):
        load_volume(save(tmp_path / "a.nii"), limits=limits)


def test_images_and_volumes_point_at_each_other(tmp_path, wheel_file):
    with pytest.raises(errors.NotAMedicalImage, match="load_series"):
        load_volume(wheel_file("CT_small.dcm"))
    with pytest.raises(errors.MedicalImageError, match="load_volume"):
        load_image(save(tmp_path / "a.nii.gz"))


@pytest.mark.slow  # importing monai takes seconds
def test_resample_keeps_places(tmp_path):
    pytest.importorskip("monai", reason="the medical extra is not installed")
    smooth = np.add.outer(np.add.outer(np.arange(4.0), 10 * np.arange(5.0)), 100 * np.arange(6.0))
    volume = load_volume(save(tmp_path / "a.nii", smooth.astype(np.float32)))
    turned = resample(volume, axcodes="RAS")
    assert np.allclose(turned.affine @ [0, 0, 0, 1], AFFINE @ [3, 0, 0, 1])
    fine = resample(volume, (1, 1.5, 2))
    assert fine.spacing == pytest.approx((1, 1.5, 2))
    assert fine.pixels.shape == (1, 11, 9, 7)
    assert fine.pixels[0, 2, 2, 2] == pytest.approx(111, abs=1e-3)
    assert fine.space == volume.space


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spacing_mm": (1, 0, 1)}, "spacing_mm"),
        ({"axcodes": "RAX"}, "axcodes"),
        ({"axcodes": "RRA"}, "axcodes"),
        ({"mode": "cubic"}, "mode"),
    ],
)
def test_bad_grids(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        resample(load_volume(save(tmp_path / "a.nii")), **options)
