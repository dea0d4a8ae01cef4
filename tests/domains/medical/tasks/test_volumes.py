from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import DEFAULT, Limits
from verticlip.domains.medical.io import MedicalVolume, load_series, load_volume
from verticlip.domains.medical.loaders.errors import (
    FrameError,
    MissingInput,
    MissingSliceError,
    NotAVolume,
    WindowError,
)
from verticlip.domains.medical.tasks import VolumeOptions, classify_volume
from verticlip.domains.medical.tasks.volume_slices import (
    SliceStack,
    VolumeSource,
    choose_slices,
    open_volume,
)
from verticlip.domains.medical.tasks.volumes import _aggregated

nibabel = pytest.importorskip("nibabel", reason="the medical extra is not installed")
LABELS = ["red square", "blue square"]
SPAN = (24, 30, 20)  # voxels from right to left, front to back, foot to head
STEP = (1.0, 1.0, 2.0)


def phantom(order: tuple[int, int, int], signs: tuple[int, int, int]) -> MedicalVolume:
    """One patient, stored with voxel axes (i, j, k) along LPS axes ``order``, reversed where the sign is -1.

    Bright spots: left front at the head, and right back at the feet.
    """
    lps = np.full(SPAN, 0.2, np.float32)
    lps[16:22, 4:10, 14:18] = 1.0
    lps[3:6, 24:28, 2:4] = 0.7
    voxels = lps.transpose(order)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for voxel, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        if sign < 0:
            voxels = np.flip(voxels, voxel)
            affine[axis, 3] = STEP[axis] * (SPAN[axis] - 1)
        affine[axis, voxel] = sign * STEP[axis]
    pixels = torch.from_numpy(voxels.transpose(2, 1, 0).copy())[None]
    return MedicalVolume(pixels, "volume", {}, None, affine, "LPS", ("window: given",))


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_pictures_are_the_same_whatever_the_order_of_axes_in_the_file(axis):
    def pictures(volume: MedicalVolume) -> list[torch.Tensor]:
        stack = SliceStack(volume, axis, limits=DEFAULT)
        order = sorted(range(len(stack)), key=stack.position_mm)
        return [stack[index] for index in order]

    expected = pictures(phantom((0, 1, 2), (1, 1, 1)))
    for order, signs in ORIENTATIONS:
        for volume in (phantom(order, signs), phantom(order, signs).to_space("RAS")):
            found = pictures(volume)
            # Millimetres grow to the left and back in LPS, to the right and front in RAS.
            if volume.space == "RAS" and axis != "axial":
                found = found[::-1]
            assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_pictures_show_the_patient_as_radiologists_expect():
    volume = phantom((2, 0, 1), (-1, 1, -1))
    axial = SliceStack(volume, "axial", limits=DEFAULT)
    assert axial.size == (30, 24)
    head = max(range(len(axial)), key=lambda index: float(axial[index].mean()))
    y, x = divmod(int(axial[head][0].argmax()), 24)
    assert y < 15  # the front is at the top
    assert x > 12  # the patient's left is on the right
    assert axial.position_mm(head) > 20
    for axis in ("coronal", "sagittal"):
        stack = SliceStack(volume, axis, limits=DEFAULT)
        assert stack.size[0] == 40  # two millimetres from slice to slice, one within: pixels are square
        best = max(range(len(stack)), key=lambda index, stack=stack: float(stack[index].mean()))
        y, x = divmod(int(stack[best][0].argmax()), stack.size[1])
        assert y < 20  # the head is at the top
        assert (x > 12) if axis == "coronal" else (x < 15)  # the left on the right; the front on the left


def test_numbers_and_positions_agree_with_the_volume():
    volume = phantom((1, 2, 0), (1, -1, 1))
    stack = SliceStack(volume, "axial", limits=DEFAULT)
    raw = volume.slice(3, axis="axial")[0]
    assert torch.equal(stack[3].flatten().sort().values, raw.flatten().sort().values)
    assert stack.position_mm(3) == pytest.approx(2.0 * (19 - 3))


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        (None, list(range(10))),
        (3, [1, 5, 8]),
        (1, [5]),
        (99, list(range(10))),
        (slice(2, 9, 3), [2, 5, 8]),
        ([7, 2, 7], [7, 2]),
        (range(3), [0, 1, 2]),
    ],
)
def test_which_slices(slices, expected):
    assert choose_slices(slices, 10) == expected


def test_aggregates():
    probabilities = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [0.3, 0.7]])
    logits = torch.tensor([[0.0, 9.0], [1.0, 0.0], [50.0, 0.0], [0.0, 0.0]])

    def scores(name: str, **more: int) -> list[float]:
        return _aggregated(probabilities, logits, VolumeOptions(aggregate=name, **more)).tolist()

    assert scores("mean") == pytest.approx([0.45, 0.55])
    assert scores("max") == pytest.approx([0.9, 0.9])
    assert scores("top", top=2) == pytest.approx([0.7, 0.8])
    assert scores("top", top=99) == pytest.approx([0.45, 0.55])
    assert scores("attention") == pytest.approx([0.9, 0.9], abs=1e-3)


def bright_volume(tmp_path: Path, **header: float) -> Path:
    """A NIfTI file in arbitrary units: air at both ends, and a bright spot that is largest in slice 6."""
    rng = np.random.default_rng(0)
    values = rng.integers(100, 200, (20, 24, 12)).astype(np.int16)
    values[:, :, [0, 11]] = 0
    for index, half in ((5, 2), (6, 5), (7, 3)):
        values[8 - half : 8 + half, 14 - half : 14 + half, index] = 2000
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = (-10, -12, -9)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "Zaphodius.nii.gz")
    return tmp_path / "Zaphodius.nii.gz"


def test_a_report_of_a_nifti_file(spots, tmp_path: Path):
    path = bright_volume(tmp_path)
    report = classify_volume(spots(), path, LABELS, keep=2, aggregate="mean")
    assert report.window.startswith("range ")
    assert "foreground:1,99" in report.window
    assert report.indices == tuple(range(1, 11))
    assert report.notes == ("left out: 2 slices that show nothing",)
    assert report.positions_mm[0] == pytest.approx(-6)
    assert report.per_slice.shape == (10, 2)
    assert sum(report.scores.values()) == pytest.approx(1, abs=1e-5)
    assert report.score == max(report.scores.values()) == report.scores[report.label]
    for column, label in enumerate(report.scores):
        best = report.best[label]
        assert [one.score for one in best] == pytest.approx(
            report.per_slice[:, column].topk(2).values.tolist(), abs=1e-6
        )
    found = report.best[report.label][0]
    assert found.heat_map is not None
    assert found.heat_map.values.shape == found.image.shape == (24, 20)
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert [row["index"] for row in plain["slices"]] == list(report.indices)
    assert (plain["space"], plain["spacing_mm"], plain["id"]) == ("RAS", [1, 1, 3], str(path))


def test_slices_share_one_grey_scale(spots, tmp_path: Path):
    path = bright_volume(tmp_path)
    volume, values, _ = open_volume(path, None, VolumeSource(), limits=DEFAULT)
    stack = SliceStack(volume, "axial", values, limits=DEFAULT)
    # Percentiles of each slice by itself would stretch slice 2, which holds no spot, to white.
    assert float(stack[2].max()) < 0.1
    assert float(stack[6].max()) == 1.0


def test_the_map_of_the_best_slice_lies_on_its_spot(spots, tmp_path: Path):
    report = classify_volume(spots(resize="squash"), bright_volume(tmp_path), LABELS, slices=[6], keep=1)
    (found,) = report.best["red square"]
    assert found.index == 6
    x, y = found.heat_map.peak
    # Stored left to right and back to front: the picture shows both the other way round.
    assert (x, y) == (pytest.approx(12, abs=3), pytest.approx(10, abs=3))
    assert float(found.image[y, x]) == 1.0


def test_the_answer_does_not_depend_on_the_batch(spots, tmp_path: Path):
    path = bright_volume(tmp_path)
    one, other = (classify_volume(spots(), path, LABELS, batch_size=size) for size in (1, 7))
    torch.testing.assert_close(one.per_slice, other.per_slice, atol=1e-5, rtol=0)
    assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_memory_holds_one_batch_of_pictures(spots, tmp_path: Path, monkeypatch):
    model = spots()
    sizes = []
    embed = model.embed

    def counted(items, **options):
        if not isinstance(items[0], str):
            sizes.append(len(items))
        return embed(items, **options)

    monkeypatch.setattr(model, "embed", counted)
    classify_volume(model, bright_volume(tmp_path), LABELS, batch_size=4, keep=0)
    assert sizes == [4, 4, 2]


def test_a_folder_of_dicom_slices(spots, make, tmp_path: Path):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(1000, 1200, (4, 6)).astype(np.uint16) for _ in range(5)]
    make.series(
        tmp_path / "s", [(0, 0, 2.5 * k) for k in range(5)], pixels=pixels, RescaleIntercept=-1024, RescaleSlope=1
    )  # fmt: skip
    report = classify_volume(spots(), tmp_path / "s", LABELS, window="brain")
    assert report.window == "LINEAR center 40 width 80 (preset brain)"
    assert report.space == "LPS"
    assert report.positions_mm == pytest.approx((0, 2.5, 5, 7.5, 10))
    volume = load_series(tmp_path / "s")
    again = classify_volume(spots(), volume, LABELS, window="brain")
    torch.testing.assert_close(report.per_slice, again.per_slice, atol=1e-5, rtol=0)
    with pytest.raises(WindowError, match=r"Hounsfield units .* Pass window=: .*brain, .*lung"):
        classify_volume(spots(), volume, LABELS)
    windowed = load_series(tmp_path / "s", window="brain")
    torch.testing.assert_close(
        classify_volume(spots(), windowed, LABELS).per_slice, report.per_slice, atol=1e-5, rtol=0
    )
    with pytest.raises(ConfigError, match="loaded with a window already"):
        classify_volume(spots(), windowed, LABELS, window="lung")


def test_errors_of_the_loaders_pass_through(spots, make, private, tmp_path: Path):
    pixels = [np.arange(24, dtype=np.uint16).reshape(4, 6) + k for k in range(4)]
    make.series(tmp_path / "gap", [(0, 0, k) for k in (0, 1, 2, 5)], pixels=pixels)
    with pytest.raises(MissingSliceError, match="between 2.00 and 5.00 mm") as caught:
        classify_volume(spots(), tmp_path / "gap", LABELS, window="brain")
    private(caught.value)
    kept = classify_volume(spots(), tmp_path / "gap", LABELS, window=(12, 4), on_gap="keep", slices=None)
    assert any("gaps kept" in note for note in kept.notes)
    make.series(tmp_path / "mixed/a", [(0, 0, k) for k in range(3)])
    make.series(tmp_path / "mixed/b", [(0, 0, k) for k in range(3)], SeriesInstanceUID="1.2.3.444.555.7")
    with pytest.raises(NotAVolume, match="2 different groups of slices"):
        classify_volume(spots(), tmp_path / "mixed", LABELS, window="brain")
    with pytest.raises(MissingInput, match="no such file") as caught:
        classify_volume(spots(), tmp_path / "none", LABELS)
    private(caught.value)


def test_the_wheel_s_real_series(tiny, wheel_file):
    folder = wheel_file("dicomdirtests") / "98892001"
    report = classify_volume(tiny, folder / "CT5N", ["normal chest", "pneumonia"], window="lung")
    assert len(report.indices) <= 5
    assert report.positions_mm[0] == pytest.approx(-1.24, abs=0.01)
    with pytest.raises(MissingSliceError, match="-99.48 and 103.02"):
        classify_volume(tiny, wheel_file("dicomdirtests") / "77654033/CT2", LABELS)


@pytest.mark.data
def test_a_volume_of_the_model_s_own_classes_and_montage(tiny, data_dir: Path, tmp_path: Path):
    names = [sorted((data_dir / "medical/brain_mri/train/no_tumor").iterdir())[k] for k in range(3, 9)]
    rows = [np.asarray(Image.open(name).convert("L").resize((60, 80)), np.float32) for name in names]
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])  # columns to the left, rows to the back
    nibabel.save(nibabel.Nifti1Image(np.stack(rows).transpose(2, 1, 0), affine), tmp_path / "v.nii")
    report = classify_volume(tiny, tmp_path / "v.nii", aggregate="mean")
    assert report.label == "no tumor"
    assert set(report.scores) == set(tiny.prompts.class_names)
    assert next(iter(report.best)) == "no tumor"
    drawn = [label for label, found in report.best.items() if found[0].image is not None]
    assert drawn == list(report.best)[:8]
    assert len(report.best) == 9
    assert all(found[0].position_mm is not None for found in report.best.values())
    assert report.best["no tumor"][0].image.shape == (80, 60)
    report.save_montage(tmp_path / "best.png", labels=2)
    with Image.open(tmp_path / "best.png") as drawn:
        assert drawn.width > 800


def test_a_model_without_maps_still_answers(model_folder: Path, tmp_path: Path):
    import verticlip

    report = classify_volume(verticlip.from_pretrained(model_folder), bright_volume(tmp_path))
    assert report.best[report.label][0].heat_map is None
    report.save_montage(tmp_path / "best.png")


@pytest.mark.filterwarnings("error")
def test_four_dimensions_need_a_frame(spots, tmp_path: Path):
    values = np.random.default_rng(0).random((6, 7, 8, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(FrameError, match="Pass frame=0 to 2"):
        classify_volume(spots(), tmp_path / "v.nii", LABELS)
    assert len(classify_volume(spots(), tmp_path / "v.nii", LABELS, frame=1).indices) == 8


def test_messages(spots, tmp_path: Path):
    model, path = spots(), bright_volume(tmp_path)
    for changes, message in (
        (
            {"axis": "axail"},
            "axis must be one of axial, coronal, sagittal, got 'axail'. Did you mean 'axial'",
        ),
        ({"agregate": "mean"}, "Unknown option 'agregate'.*Did you mean 'aggregate'"),
        ({"aggregate": "meen"}, "aggregate must be one of .* got 'meen'. Did you mean 'mean'"),
        ({"top": 0}, "top must be 1 or more, got 0"),
        ({"slices": [12]}, r"slices=\[12\] asks for none, or for more than the volume has: 0 to 11"),
        ({"slices": 0}, "slices=0: ask for at least one, or None for all"),
    ):
        with pytest.raises(ConfigError, match=message):
            classify_volume(model, path, LABELS, **changes)
    with pytest.raises(ConfigError, match="frame= is for 4-D NIfTI files"):
        classify_volume(model, tmp_path, LABELS, frame=0)
    with pytest.raises(WindowError, match="'lungs' is not known"):
        classify_volume(model, path, LABELS, window="lungs")
    with pytest.raises(WindowError, match="A volume has one channel"):
        classify_volume(model, path, LABELS, window="multi")
    with pytest.raises(InputError, match="None of the 2 axial slices shows anything"):
        classify_volume(model, path, LABELS, slices=[0, 11])
    with pytest.raises(InputError, match="kept no slices to draw"):
        classify_volume(model, path, LABELS, keep=0).save_montage(tmp_path / "x.png")
    with pytest.raises(LimitError, match="axial slice: pixels 480 is over the limit of 9"):
        SliceStack(load_volume(path), "axial", limits=Limits(pixels=9))
    broken = load_volume(path)
    broken.pixels[0, 3] = torch.nan
    with pytest.raises(InputError, match="values that are not finite"):
        classify_volume(model, broken, LABELS)
    with pytest.raises(InputError, match="windowed volume lies in"):
        odd = phantom((0, 1, 2), (1, 1, 1))
        odd.pixels.mul_(5)
        classify_volume(model, odd, LABELS)
