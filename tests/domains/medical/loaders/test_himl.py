"""Grey levels as BioViL was trained on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.loaders.himl import remap_to_uint8


def reference(array, percentiles=None):
    """The stated formula, literally."""
    values = array.astype(float)
    if percentiles is not None:
        values = np.clip(values, *np.percentile(values, percentiles))
    values -= values.min()
    values /= values.max()
    values *= 255
    return values.astype(np.uint8)


def levels(image):
    found = image.pixels[0].numpy() * 255
    assert np.allclose(found, found.round(), atol=1e-4)
    return found.round().astype(np.uint8)


@pytest.fixture
def wide():
    return np.random.default_rng(0).integers(3, 60_000, (37, 53)).astype(np.uint16)


@pytest.fixture
def color():
    return np.random.default_rng(1).integers(20, 200, (21, 34, 3)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("percentiles", [None, (1, 99), (0.5, 99.5)])
def test_remap_is_the_stated_formula(dtype, percentiles):
    array = np.random.default_rng(2).integers(0, 255, (40, 41)).astype(dtype) - (dtype is np.int16) * dtype(
        90
    )
    assert np.array_equal(remap_to_uint8(array, percentiles), reference(array, percentiles))


def test_plain_pictures_come_out_as_in_the_reference(wide, color, tmp_path):
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(color).save(tmp_path / "color.png")
    Image.fromarray(color).save(tmp_path / "color.jpg")
    jpeg = np.asarray(Image.open(tmp_path / "color.jpg"))
    for parity in (False, True):
        options = {"normalize": "hi-ml", "parity": parity}
        assert np.array_equal(levels(load_image(tmp_path / "wide.png", **options)), reference(wide))
        for name, array in (("color.png", color), ("color.jpg", jpeg)):
            expected = np.asarray(Image.fromarray(reference(array)).convert("L"))
            assert np.array_equal(levels(load_image(tmp_path / name, **options)), expected)


def test_luma_rounds_as_pillow_does():
    from verticlip.domains.medical.loaders.himl import _luma

    rgb = np.random.default_rng(3).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    assert np.array_equal(_luma(np.moveaxis(rgb, -1, 0)), np.asarray(Image.fromarray(rgb).convert("L")))


def test_alpha_counts_among_the_extremes_only_in_parity(color, tmp_path):
    rgba = np.concatenate([color, np.full((*color.shape[:2], 1), 255, np.uint8)], axis=-1)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    exact = np.asarray(Image.fromarray(reference(rgba)).convert("L"))
    path = tmp_path / "alpha.png"
    assert np.array_equal(levels(load_image(path, normalize="hi-ml", parity=True)), exact)
    ours = np.asarray(Image.fromarray(reference(color)).convert("L"))
    assert np.array_equal(levels(load_image(path, normalize="hi-ml")), ours)


def test_exif_orientation_is_ignored_only_in_parity(color, tmp_path):
    picture = Image.fromarray(color)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    path = tmp_path / "turned.png"
    assert load_image(path, normalize="hi-ml").pixels.shape == (1, 34, 21)
    assert load_image(path, normalize="hi-ml", parity=True).pixels.shape == (1, 21, 34)


def test_dicom_goes_through_our_own_steps_unless_parity_is_asked_for(make, tmp_path):
    stored = np.random.default_rng(4).integers(100, 4000, (30, 40)).astype(np.uint16)
    path = make.image(
        tmp_path / "one.dcm", stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11,
        Modality="DX", WindowCenter=2000, WindowWidth=3000, RescaleSlope=2, RescaleIntercept=-100,
    )  # fmt: skip
    exact = load_image(path, normalize="hi-ml", parity=True)
    assert np.array_equal(levels(exact), reference(stored))
    assert not any("rescale" in step or "invert" in step for step in exact.history)
    ours = load_image(path, normalize="hi-ml")
    unit = load_image(path).pixels[0].numpy()
    assert np.array_equal(levels(ours), reference(unit))
    assert any("invert" in step for step in ours.history)
    # Inverted, as a viewer would show it.
    assert np.corrcoef(levels(ours).ravel(), levels(exact).ravel())[0, 1] < -0.8
    window = load_image(path, normalize="hi-ml", window=(1000, 500)).pixels[0].numpy()
    assert not np.array_equal(window, ours.pixels[0].numpy())


def test_palette_indices_in_parity(wheel_file):
    path = wheel_file("examples_palette.dcm")
    import pydicom

    stored = pydicom.dcmread(path).pixel_array
    assert np.array_equal(levels(load_image(path, normalize="hi-ml", parity=True)), reference(stored))
    assert not np.array_equal(levels(load_image(path, normalize="hi-ml")), reference(stored))


def test_real_ct_slice_in_parity(wheel_file):
    import pydicom

    path = wheel_file("CT_small.dcm")
    found = load_image(path, normalize="hi-ml", parity=True)
    assert np.array_equal(levels(found), reference(pydicom.dcmread(path).pixel_array))
    assert found.history[-1] == "grey levels: 8 bits between the extremes of the image"


@pytest.mark.data
def test_a_development_file_without_contrast(data_dir):
    # Every stored value is 1: the reference divides 0 by 0 here.
    path = data_dir / "medical" / "dicom" / "cxr_1.dcm"
    for parity in (False, True):
        with pytest.warns(UserWarning, match="so the image is black"):
            found = load_image(path, normalize="hi-ml", parity=parity)
        assert found.pixels.shape == (1, 256, 256)
        assert not found.pixels.any()


def test_a_flat_nifti_file(wide, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    from verticlip.domains.medical.loaders.errors import MedicalImageError

    # NIfTI counts columns first; the reference's reader turns that around and drops the slice axis.
    nibabel.Nifti1Image(wide.astype(np.int32).T[..., None], np.eye(4)).to_filename(tmp_path / "flat.nii.gz")
    found = load_image(tmp_path / "flat.nii.gz", normalize="hi-ml", parity=True)
    assert np.array_equal(levels(found), reference(wide))
    nibabel.Nifti1Image(np.zeros((4, 5, 3), np.float32), np.eye(4)).to_filename(tmp_path / "deep.nii.gz")
    with pytest.raises(MedicalImageError, match="a NIfTI volume of 3 slices. Use load_volume"):
        load_image(tmp_path / "deep.nii.gz", normalize="hi-ml")
    with pytest.raises(MedicalImageError, match="Use load_volume"):
        load_image(tmp_path / "flat.nii.gz")


def test_percentiles_and_channels(wide, tmp_path):
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = load_image(tmp_path / "wide.png", normalize="hi-ml", percentiles=(1, 99), channels=3)
    assert found.pixels.shape == (3, 37, 53)
    assert np.array_equal(levels(found), reference(wide, (1, 99)))
    assert "percentiles 1 and 99" in " ".join(found.history)
    cut = load_image(tmp_path / "wide.png", normalize="hi-ml", box=(3, 4, 20, 30))
    assert np.array_equal(levels(cut), reference(wide)[4:30, 3:20])


def test_a_constant_image_is_black_with_a_warning(private, tmp_path):
    Image.fromarray(np.full((8, 9), 77, np.uint8)).save(tmp_path / "flat.png")
    with pytest.warns(UserWarning, match="every pixel has the same value"):
        found = load_image(tmp_path / "flat.png", normalize="hi-ml")
    assert not found.pixels.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning) as caught:
            load_image(tmp_path / "flat.png", normalize="hi-ml")
    private(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "himl"}, "'unit', 'xrv' or 'hi-ml', got 'himl'. Did you mean 'hi-ml'"),
        ({"parity": True}, "belong to normalize='hi-ml'"),
        ({"percentiles": (1, 99)}, "belong to normalize='hi-ml'"),
        ({"normalize": "hi-ml", "parity": 1}, "parity must be true or false"),
        ({"normalize": "hi-ml", "parity": True, "window": "lung"}, "takes the stored values and no window"),
        ({"normalize": "hi-ml", "percentiles": (99, 1)}, "within 0 to 100"),
        ({"normalize": "hi-ml", "percentiles": "1,99"}, "percentiles must be a list of numbers"),
    ],
)
def test_options_that_contradict(options, message, tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=message):
        load_image(tmp_path / "a.png", **options)


def test_alpha_of_a_grey_picture_counts_among_the_extremes_in_parity(tmp_path):
    array = np.random.default_rng(4).integers(40, 120, (17, 23, 2)).astype(np.uint8)
    array[0, 0, 1], array[0, 1, 1] = 0, 255
    Image.fromarray(array).save(tmp_path / "a.png")
    found = levels(load_image(tmp_path / "a.png", normalize="hi-ml", parity=True))
    assert np.array_equal(found, reference(array)[..., 0])
