"""Series to volumes: order, affine, gaps, groups, enhanced objects, real files of the pydicom wheel."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError
from verticlip.core.limits import Limits
from verticlip.core.types import Sample
from verticlip.domains.medical.io import load_series
from verticlip.domains.medical.loaders import errors
from verticlip.domains.medical.loaders.stacks import Slice, Stack, find_gaps, sort_stack

UP = [(0, 0, 0), (0, 0, 2.5), (0, 0, 5)]


def test_ct5n_is_five_ascending_slices_whatever_the_file_order(wheel_file, tmp_path):
    source = wheel_file("dicomdirtests/98892001/CT5N")
    volume = load_series(source)
    assert volume.pixels.shape == (1, 5, 16, 16)
    expected = np.diag([0.488281, 0.488281, 2.5, 1])
    expected[:3, 3] = [-72.199997, -143, -1.2375]
    assert np.allclose(volume.affine, expected, atol=1e-6)
    names = sorted(path.name for path in source.iterdir())
    for number, name in enumerate(reversed(names)):
        shutil.copy(source / name, tmp_path / f"{number}")
    again = load_series(tmp_path)
    assert again.pixels.equal(volume.pixels)
    assert np.array_equal(again.affine, volume.affine)


def test_ct2_names_its_gap(wheel_file, private):
    with pytest.raises(errors.MissingSliceError, match=r"between -99\.48 and 103\.02 mm") as caught:
        load_series(wheel_file("dicomdirtests/77654033/CT2"))
    private(caught.value)


@pytest.mark.parametrize(
    ("folder", "said"), [("98892003/MR700", "7 single slices"), ("98892001/CT2N", "localizer")]
)
def test_radial_slices_and_localisers_are_no_volume(wheel_file, folder, said):
    with pytest.raises(errors.NotAVolume, match=said):
        load_series(wheel_file(f"dicomdirtests/{folder}"))


def test_headers_without_pixels(wheel_file):
    with pytest.raises(errors.NoPixelData):
        load_series(wheel_file("dicomdirtests/TINY_ALPHA"))


def test_split_finds_every_stack_and_says_what_was_left_out(wheel_file, private):
    found = load_series(wheel_file("dicomdirtests"), split=True)
    assert [list(volume.pixels.shape) for volume in found] == [[1, 5, 16, 16]]
    assert len(found) == 1
    assert found[0:1] == found.volumes
    kinds = {item.kind for item in found.left_out}
    assert {"localizer", "no_pixels", "no_position", "single_slice", "missing_slice"} <= kinds
    private(found)


def test_a_volume_is_a_sample_in_modality_units(make, tmp_path, private):
    make.series(tmp_path / "s", UP, RescaleIntercept=-1000)
    volume = load_series(tmp_path / "s")
    assert isinstance(volume, Sample)
    assert (volume.modality, volume.meta.units) == ("volume", "HU")
    assert volume.pixels[0, :, 0, 0].tolist() == [-990, -989, -988]
    assert volume.spacing == pytest.approx((0.5, 0.8, 2.5))
    private(volume)
    private(volume.meta)


def test_positions_rule_over_names_and_numbers(make, tmp_path):
    make.series(tmp_path / "s", UP[::-1], InstanceNumber=[1, 2, 3])
    assert load_series(tmp_path / "s").pixels[0, :, 0, 0].tolist() == [12, 11, 10]


def test_spacing_comes_from_positions_not_from_thickness(make, tmp_path):
    make.series(tmp_path / "s", UP, SliceThickness=9, SpacingBetweenSlices=9)
    volume = load_series(tmp_path / "s")
    assert volume.spacing[2] == pytest.approx(2.5)
    assert volume.meta.slice_thickness == 9


def test_ras_is_lps_with_two_axes_turned(make, tmp_path):
    make.series(tmp_path / "s", UP)
    lps, ras = load_series(tmp_path / "s"), load_series(tmp_path / "s", space="RAS")
    assert np.array_equal(ras.affine, np.diag([-1, -1, 1, 1]) @ lps.affine)
    assert np.array_equal(ras.to_space("LPS").affine, lps.affine)
    for call in (lambda: load_series(tmp_path / "s", space="LAS"), lambda: lps.to_space("LAS")):
        with pytest.raises(ConfigError, match="space must be"):
            call()


def test_gaps_by_choice(make, tmp_path):
    make.series(tmp_path / "s", [(0, 0, z) for z in (0, 1, 2, 4)])
    with pytest.raises(errors.MissingSliceError, match=r"between 2\.00 and 4\.00 mm"):
        load_series(tmp_path / "s")
    filled = load_series(tmp_path / "s", on_gap="resample")
    assert filled.pixels[0, :, 0, 0].tolist() == [10, 11, 12, 12.5, 13]
    assert filled.spacing[2] == pytest.approx(1)
    assert "filled by linear interpolation" in filled.notes[0]
    kept = load_series(tmp_path / "s", on_gap="keep")
    assert kept.pixels.shape[1] == 4
    assert "kept" in kept.notes[0]
    with pytest.raises(ConfigError, match="on_gap"):
        load_series(tmp_path / "s", on_gap="ignore")


def test_small_jitter_is_no_gap(make, tmp_path):
    make.series(tmp_path / "s", [(0, 0, z) for z in (0, 1.004, 2, 3.003)])
    assert load_series(tmp_path / "s").pixels.shape[1] == 4


def test_duplicates(make, tmp_path):
    same = np.full((4, 6), 5, np.uint16)
    make.series(tmp_path / "a", [*UP, UP[1]], pixels=[same] * 4)
    volume = load_series(tmp_path / "a")
    assert volume.pixels.shape[1] == 3
    assert "1 identical duplicate" in volume.notes[0]
    make.series(tmp_path / "b", [*UP, UP[1]])
    with pytest.raises(errors.DuplicateSliceError, match=r"at 2\.50 mm"):
        load_series(tmp_path / "b")


def test_overlapping_acquisitions_are_two_stacks(make, tmp_path):
    make.series(tmp_path / "s", UP + UP, AcquisitionNumber=[1, 1, 1, 2, 2, 2])
    with pytest.raises(errors.NotAVolume, match="2 different groups"):
        load_series(tmp_path / "s")
    found = load_series(tmp_path / "s", split=True)
    assert sorted(volume.pixels[0, 0, 0, 0].item() for volume in found) == [10, 13]


@pytest.mark.parametrize(
    ("modality", "element", "values"),
    [
        ("MR", "EchoTime", [1, 1, 1, 9, 9, 9]),
        ("MR", "DiffusionBValue", [0.0, 0.0, 0.0, 800.0, 800.0, 800.0]),
        ("CT", "TemporalPositionIdentifier", [1, 1, 1, 2, 2, 2]),
        ("CT", "SeriesInstanceUID", ["1.2.3"] * 3 + ["1.2.4"] * 3),
    ],
)
def test_what_divides_a_folder(make, tmp_path, modality, element, values):
    make.series(tmp_path / "s", UP + UP, Modality=modality, **{element: values})
    assert len(load_series(tmp_path / "s", split=True)) == 2


def test_gantry_tilt_keeps_the_shear_and_says_so(make, tmp_path):
    make.series(tmp_path / "s", [(0, 0.5 * k, 2.0 * k) for k in range(4)])
    volume = load_series(tmp_path / "s")
    assert volume.affine[:3, 2] == pytest.approx([0, 0.5, 2])
    assert "gantry tilt" in volume.notes[0]


def test_other_files_are_noted(make, tmp_path):
    make.series(tmp_path / "s", UP)
    (tmp_path / "s" / "README.txt").write_text("about Zaphodius")
    assert "left out: 1 files (not_an_image)" in load_series(tmp_path / "s").notes


def test_a_damaged_slice_is_an_error(make, tmp_path, private):
    paths = make.series(tmp_path / "s", UP)
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(errors.CorruptFile) as caught:
        load_series(tmp_path / "s")
    private(caught.value)


def test_orientation_that_is_not_orthogonal(make, tmp_path):
    make.series(tmp_path / "s", UP, orientation=(1, 0, 0, 1, 0, 0))
    with pytest.raises(errors.CorruptFile, match="ImageOrientationPatient"):
        load_series(tmp_path / "s")


def test_windows_apply_to_the_whole_volume(make, tmp_path):
    make.series(tmp_path / "s", UP)
    assert load_series(tmp_path / "s", window="minmax").pixels[0, :, 0, 0].tolist() == [0, 0.5, 1]
    inverted = make.series(tmp_path / "i", UP, PhotometricInterpretation="MONOCHROME1")
    assert load_series(inverted, window="minmax").pixels[0, :, 0, 0].tolist() == [1, 0.5, 0]
    with pytest.raises(errors.NotAVolume, match="one channel"):
        load_series(tmp_path / "s", window="multi")


def test_colour_slices(make, tmp_path):
    make.series(tmp_path / "s", UP, pixels=[np.zeros((4, 6, 3), np.uint8)] * 3)
    with pytest.raises(errors.NotAVolume, match="colour"):
        load_series(tmp_path / "s")


def test_enhanced_frames_are_slices(make, tmp_path):
    path = make.enhanced(tmp_path / "a.dcm", [4, 0, 2], [1, 2, 3])
    volume = load_series(path)
    assert volume.pixels[0, :, 0, 0].tolist() == [-80, -70, -90]
    assert volume.spacing == pytest.approx((0.5, 0.8, 2))


def test_ceilings(make, tmp_path):
    make.series(tmp_path / "s", UP)
    with pytest.raises(errors.OverLimit, match=r"series: files"):
        load_series(tmp_path / "s", limits=Limits(frames=2))
    with pytest.raises(errors.OverLimit, match="decoded bytes"):
        load_series(tmp_path / "s", limits=Limits(decoded_bytes=100))


def test_anatomical_slices(make, tmp_path):
    make.series(tmp_path / "s", UP)
    volume = load_series(tmp_path / "s")
    assert volume.slice(1).equal(volume.pixels[:, 1])
    assert volume.slice(2, axis="coronal").equal(volume.pixels[:, :, 2])
    assert volume.slice(3, axis="sagittal").equal(volume.pixels[:, :, :, 3])
    with pytest.raises(ConfigError, match="axis has 3"):
        volume.slice(3)
    with pytest.raises(ConfigError, match="Did you mean 'axial'"):
        volume.slice(0, axis="axiel")


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(7)), st.floats(0.5, 5), st.floats(-1, 1), st.floats(-1, 1))
def test_any_order_gives_one_affine_that_maps_every_slice(order, step, tilt, turn):
    row = np.array([np.cos(turn), np.sin(turn), 0])
    column = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    normal = np.cross(row, column)
    orientation = np.concatenate([row, column])
    group = [
        Slice(None, "", 0, np.array([3.0, -2, 5]) + k * step * normal, orientation, (0.8, 0.5), ())  # type: ignore[arg-type]
        for k in order
    ]
    stack: Stack = sort_stack(group)
    assert not find_gaps(stack)
    assert not stack.notes
    for k, item in enumerate(stack.slices):
        assert np.allclose((stack.affine() @ [0, 0, k, 1])[:3], item.position, atol=1e-9)


def test_a_linked_folder_belongs_to_the_series(make, tmp_path):
    make.series(tmp_path / "ct", UP)
    whole = load_series(tmp_path / "ct")
    (tmp_path / "elsewhere").mkdir()
    files = sorted((tmp_path / "ct").iterdir())
    for file in files[len(files) // 2 :]:
        file.rename(tmp_path / "elsewhere" / file.name)
    (tmp_path / "ct" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "ct")
    assert load_series(tmp_path / "ct").value.shape == whole.value.shape


def test_a_folder_that_may_not_be_read_is_an_error(make, tmp_path, monkeypatch):
    make.series(tmp_path / "ct", UP)
    (tmp_path / "ct" / "more").mkdir()
    scandir = os.scandir

    def refuse(path="."):
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(errors.MedicalImageError, match="cannot be read .Permission denied.*could be missing"):
        load_series(tmp_path / "ct")
