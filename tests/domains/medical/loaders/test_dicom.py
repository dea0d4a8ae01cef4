"""Values of DICOM files: every file of the pydicom wheel, and each step of the pipeline on its own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError
from verticlip.core.types import Sample
from verticlip.domains.medical.io import ImageOptions, load_image
from verticlip.domains.medical.loaders.errors import (
    CorruptFile,
    FrameError,
    GeometryError,
    MedicalImageError,
    WindowError,
)

MR = [
    "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm",
    "MR_small_padded.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
]  # fmt: skip
RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)

# name: (frames, channels, height, width, minimum, maximum) of the modality values
WHEEL = {
    "CT_small.dcm": (1, 1, 128, 128, -896, 1167),
    "693_J2KI.dcm": (1, 1, 512, 512, -3995, 1812),
    "J2K_pixelrep_mismatch.dcm": (1, 1, 512, 512, -2000, 1896),
    "JPEG2000.dcm": (1, 1, 1024, 256, -30, 245),
    "GDCMJ2K_TextGBR.dcm": (1, 3, 400, 400, 0, 255),
    "JPEGLSNearLossless_08.dcm": (1, 1, 45, 10, 0, 255),
    "JPEGLSNearLossless_16.dcm": (1, 1, 50, 10, 0, 65535),
    "SC_rgb_jls_lossy_line.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_jls_lossy_sample.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_jpeg_dcmtk.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_gdcm_KY.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_rle.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_rle_2frame.dcm": (2, 3, 100, 100, 0, 255),
    "SC_rgb_rle_16bit_2frame.dcm": (2, 3, 100, 100, 0, 65535),
    "SC_ybr_full_422_uncompressed.dcm": (1, 3, 100, 100, 0, 255),
    "SC_rgb_small_odd_big_endian.dcm": (1, 3, 3, 3, 52, 176),
    "ExplVR_BigEnd.dcm": (1, 3, 60, 80, 0, 255),
    "examples_palette.dcm": (1, 3, 350, 800, 0, 255),
    "examples_rgb_color.dcm": (1, 3, 240, 320, 0, 255),
    "examples_ybr_color.dcm": (30, 3, 240, 320, 0, 220),
    "examples_jpeg2k.dcm": (1, 3, 480, 640, 0, 255),
    "examples_overlay.dcm": (1, 1, 300, 484, 0, 1123),
    "image_dfl.dcm": (1, 1, 512, 512, 0, 255),
    "liver_1frame.dcm": (1, 1, 512, 512, 0, 1),
    "liver_expb_1frame.dcm": (1, 1, 512, 512, 0, 1),
    "rtdose.dcm": (15, 1, 10, 10, 795000, 1254000),
    "rtdose_rle.dcm": (15, 1, 10, 10, 795000, 1254000),
    "rtdose_expb_1frame.dcm": (1, 1, 10, 10, 795000, 1254000),
}  # fmt: skip


@pytest.mark.parametrize("name", WHEEL)
def test_files_of_the_wheel(wheel_file, name):
    image = load_image(wheel_file(name), window=None, frames="all")
    assert tuple(image.pixels.shape) == WHEEL[name][:4]
    assert image.pixels.dtype == torch.float32
    assert (image.pixels.min().item(), image.pixels.max().item()) == WHEEL[name][4:]


@pytest.mark.parametrize("name", WHEEL)
@pytest.mark.filterwarnings("ignore:No window in the header")
def test_default_window_gives_unit_range(wheel_file, name):
    pixels = load_image(wheel_file(name), frames="all").pixels
    assert 0 <= pixels.min() < pixels.max() <= 1


@pytest.mark.parametrize("name", MR[1:])
def test_the_eight_mr_variants_agree(wheel_file, name):
    assert load_image(wheel_file(name), window=None).pixels.equal(
        load_image(wheel_file(MR[0]), window=None).pixels
    )


@pytest.mark.parametrize(
    "name", ["SC_rgb_small_odd.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"]
)
def test_colour_equals_the_reference_decoder(wheel_file, name):
    import pydicom

    expected = pydicom.dcmread(wheel_file(name)).pixel_array
    assert np.array_equal(load_image(wheel_file(name), window=None).pixels.permute(1, 2, 0), expected)


def test_an_image_is_a_sample(wheel_file):
    image = load_image(wheel_file("CT_small.dcm"), window="lung")
    assert isinstance(image, Sample)
    assert image.value is image.pixels
    assert (image.modality, image.meta.units, image.meta["modality"]) == ("image", "HU", "CT")
    assert image.history == (
        "decode: native",
        "rescale: 1 * x + -1024",
        "window: LINEAR center -600 width 1500 (preset lung)",
    )
    assert image.geometry.spacing_mm == (0.661468, 0.661468)
    with pytest.raises(AttributeError, match="meta has no 'patient_name'"):
        _ = image.meta.patient_name


def test_a_ct_without_any_window_warns(wheel_file):
    with pytest.warns(UserWarning, match="preset 'abdomen' is used"):
        load_image(wheel_file("CT_small.dcm"))


def test_meta_and_pickle_hold_no_identity(make, tmp_path, private):
    image = load_image(make.image(tmp_path / "Zaphodius.dcm", RAMP), window="minmax")
    private(image)
    private(image.meta)
    stored = pickle.dumps(image)
    for secret in (*make.SECRETS, "Zaphodius", str(tmp_path)):
        assert secret.encode() not in stored


def test_free_text_in_an_allowed_element_is_dropped(make, tmp_path):
    with pytest.warns(UserWarning, match="Invalid value for VR CS"):  # the writer's, not ours
        path = make.image(tmp_path / "a.dcm", RAMP, BodyPartExamined="CHEST", ViewPosition="Dr. X, call!")
    meta = load_image(path, window=None).meta
    assert meta.body_part_examined == "CHEST"
    assert "view_position" not in meta


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"RescaleSlope": 2}, 2.0 * RAMP),
        ({"RescaleIntercept": -5}, RAMP - 5.0),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 3}, 0.5 * RAMP + 3),
        ({}, 1.0 * RAMP),
    ],
)
def test_one_of_slope_and_intercept_is_enough(make, tmp_path, elements, expected):
    pixels = load_image(make.image(tmp_path / "a.dcm", RAMP, **elements), window=None).pixels
    assert np.array_equal(pixels[0], expected)


def test_a_modality_table_wins_over_the_rescale(make, tmp_path):
    path = make.image(
        tmp_path / "a.dcm", RAMP, ModalityLUTSequence=make.lut([7, 9, 11], 10, 16), RescaleSlope=5
    )
    expected = np.array([7, 9, 11])[np.clip(RAMP.astype(int) - 10, 0, 2)]
    assert np.array_equal(load_image(path, window=None).pixels[0], expected)


def test_a_table_of_no_stated_entries_has_65536(make, tmp_path):
    table = list(range(65_535, -1, -1))
    path = make.image(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=make.lut(table, 0, 16))
    assert np.array_equal(load_image(path, window=None).pixels[0], 65_535 - RAMP.astype(int))


def test_a_table_shorter_than_declared(make, tmp_path, private):
    sequence = make.lut([1, 2, 3], 0, 16)
    sequence[0].LUTDescriptor = [9, 0, 16]
    path = make.image(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=sequence)
    with pytest.raises(WindowError, match="declares 9 entries and holds 6 bytes") as caught:
        load_image(path, window=None)
    private(caught.value)


def test_padding_takes_the_minimum_and_the_mask_is_kept(make, tmp_path):
    pixels = RAMP.astype(np.int16)
    pixels[0, :3] = -2000
    path = make.image(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000, RescaleIntercept=-10)
    image = load_image(path, window=None)
    assert image.mask is not None
    assert image.mask.sum() == 3
    assert image.pixels.min() == 3 - 10
    shown = load_image(path, window=(20, 10))
    assert shown.pixels[0, 0, :3].tolist() == [0, 0, 0]
    untouched = load_image(path, window=None, skip=("padding",))
    assert untouched.pixels.min() == -2010
    assert untouched.mask is None


def test_a_padding_range(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP, PixelPaddingValue=4, PixelPaddingRangeLimit=0)
    assert load_image(path, window=None).mask.sum() == 5


def test_padding_stays_black_when_inverted(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    image = load_image(path, window="minmax")
    assert image.pixels[0, 0, 0] == 0
    assert image.pixels[0, 0, 1] == 1


@pytest.mark.parametrize(("center", "width"), [(1900, 2600), (40, 80), (2048, 4096), (700.5, 33)])
def test_monochrome1_equals_monochrome2_of_the_complement(make, tmp_path, center, width):
    x = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    one = make.image(
        tmp_path / "1.dcm", x, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11
    )
    two = make.image(tmp_path / "2.dcm", 4095 - x, BitsStored=12, HighBit=11)
    ours = load_image(one, window=(center, width)).pixels
    assert torch.allclose(ours, load_image(two, window=(4096 - center, width)).pixels, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
        ({"PresentationLUTShape": "IDENTITY"}, False),
    ],
)
def test_inversion_happens_once(make, tmp_path, elements, inverted):
    path = make.image(tmp_path / "a.dcm", RAMP, **elements)
    image = load_image(path, window="minmax")
    assert image.pixels[0, 0, 0] == float(inverted)
    assert ("invert: 1 - u" in image.history) is inverted
    assert load_image(path, window="minmax", skip=("invert",)).pixels[0, 0, 0] == 0


def test_skip_rescale_gives_stored_values(wheel_file):
    image = load_image(wheel_file("CT_small.dcm"), window=None, skip=("rescale",))
    assert (image.pixels.min(), image.pixels.max(), image.meta.units) == (128, 2191, "stored")


def test_header_windows_by_index(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP, WindowCenter=[10, 30], WindowWidth=[5, 21])
    for index, window in enumerate([(10, 5), (30, 21)]):
        header = load_image(path, window=f"header:{index}").pixels
        assert header.equal(load_image(path, window=window).pixels)
    assert load_image(path).pixels.equal(load_image(path, window="header").pixels)
    with pytest.raises(WindowError, match="no such window"):
        load_image(path, window="header:2")
    with pytest.raises(WindowError, match="give a number from 0"):
        load_image(path, window="header:x")


def test_a_table_wins_over_a_window_unless_told(make, tmp_path):
    path = make.image(
        tmp_path / "a.dcm", RAMP, VOILUTSequence=make.lut([0, 1023], 20, 10), WindowCenter=20, WindowWidth=10
    )
    assert load_image(path, window="header").pixels.unique().tolist() == [0, 1]
    by_window = load_image(path, window="header", prefer_lut=False)
    assert by_window.pixels.equal(load_image(path, window=(20, 10)).pixels)


def test_a_signed_table_start(make, tmp_path):
    table = make.lut([5, 6, 7], 65_534, 8)
    path = make.image(tmp_path / "a.dcm", RAMP, VOILUTSequence=table, RescaleIntercept=-10)
    # HU -2, -1, 0 are stored 8, 9, 10
    assert (load_image(path, window="header").pixels[0, 1, :3] * 255).round().tolist() == [5, 6, 7]


def test_an_unknown_function_is_named(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP, WindowCenter=2, WindowWidth=3, VOILUTFunction="SIGMOYD")
    with pytest.raises(WindowError, match=r"SIGMOYD.*Did you mean 'SIGMOID'"):
        load_image(path, window="header")


def test_a_function_that_is_no_slip_is_not_quoted(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP, WindowCenter=2, WindowWidth=3, VOILUTFunction="ZAPHOD")
    with pytest.raises(WindowError, match="VOILUTFunction of the header is none of LINEAR") as caught:
        load_image(path, window="header")
    assert "ZAPHOD" not in str(caught.value)


def test_multi_stacks_three_windows(wheel_file):
    path = wheel_file("CT_small.dcm")
    stacked = load_image(path, window="multi").pixels
    assert stacked.shape == (3, 128, 128)
    for channel, name in enumerate(["lung", "mediastinum", "bone"]):
        assert stacked[channel].equal(load_image(path, window=name).pixels[0])


@pytest.mark.parametrize(
    ("modality", "rule"),
    [("MR", "foreground:1,99"), ("PT", "percentile:0,99.5"), ("CR", "percentile:0.5,99.5"), ("OT", "full")],
)
def test_the_default_rule_follows_the_modality(make, tmp_path, modality, rule):
    image = load_image(make.image(tmp_path / "a.dcm", RAMP, Modality=modality))
    assert any(rule in step for step in image.history)


def test_units_of_pet(make, tmp_path):
    assert load_image(make.image(tmp_path / "a.dcm", RAMP, Modality="PT", Units="BQML")).meta.units == "BQML"
    path = make.image(tmp_path / "b.dcm", RAMP, Modality="PT", Units="ZAPHOD")
    assert load_image(path).meta.units == "unspecified"


def test_float_pixels(make, tmp_path):
    pixels = np.linspace(-1.5, 2.5, 48, dtype=np.float32).reshape(6, 8)
    path = make.image(tmp_path / "a.dcm", pixels, Modality="OT")
    assert np.array_equal(load_image(path, window=None).pixels[0], pixels)
    assert load_image(path).pixels.max() == 1


def test_unused_high_bits_are_cleared(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP | 0xF000, BitsStored=12, HighBit=11)
    assert np.array_equal(load_image(path, window=None).pixels[0], RAMP)
    signed = (RAMP.astype(np.int16) - 20) & 0x0FFF
    path = make.image(tmp_path / "b.dcm", signed.astype(np.int16), BitsStored=12, HighBit=11)
    assert np.array_equal(load_image(path, window=None).pixels[0], RAMP.astype(int) - 20)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32])
def test_native_types_in_both_byte_orders(make, tmp_path, dtype):
    pixels = (np.arange(48) * 5).astype(dtype).reshape(6, 8)
    little = make.image(tmp_path / "l.dcm", pixels)
    assert np.array_equal(load_image(little, window=None).pixels[0], pixels)
    if pixels.dtype.itemsize == 2:
        big = make.image(tmp_path / "b.dcm", pixels, syntax=make.BIG)
        assert np.array_equal(load_image(big, window=None).pixels[0], pixels)


def test_palette_without_its_table(make, tmp_path, private):
    path = make.image(tmp_path / "a.dcm", RAMP.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(CorruptFile, match="without its red table") as caught:
        load_image(path)
    private(caught.value)
    assert load_image(path, skip=("color",)).pixels.shape == (1, 6, 8)


def test_a_segmented_palette(make, tmp_path):
    # one discrete segment of four 16-bit entries
    words = np.array([0, 4, 0, 0x1000, 0x8000, 0xFF00], "<u2").tobytes()
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        elements[f"Segmented{color}PaletteColorLookupTableData"] = words
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    pixels = load_image(make.image(tmp_path / "a.dcm", stored, **elements), window=None).pixels
    assert pixels[0].tolist() == [[0, 0x10], [0x80, 0xFF]]
    elements["SegmentedRedPaletteColorLookupTableData"] = np.array([7, 4], "<u2").tobytes()
    with pytest.raises(CorruptFile, match="segmented palette is damaged"):
        load_image(make.image(tmp_path / "b.dcm", stored, **elements))


def test_an_icc_profile_of_a_dicom_file(make, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path = make.image(tmp_path / "a.dcm", colour, ICCProfile=profile + b"\0" * (len(profile) % 2))
    assert "color: ICC profile to sRGB" in load_image(path, icc=True).history
    assert np.allclose(load_image(path, icc=True).pixels, load_image(path).pixels, atol=2 / 255)
    deep = make.image(tmp_path / "b.dcm", colour.astype(np.uint16), ICCProfile=profile)
    with pytest.raises(MedicalImageError, match="needs 8-bit colour"):
        load_image(deep, icc=True)


def test_a_window_on_colour_is_refused(wheel_file):
    with pytest.raises(WindowError, match="this one is colour"):
        load_image(wheel_file("examples_rgb_color.dcm"), window="lung")
    with pytest.raises(WindowError, match="this one is colour"):
        load_image(wheel_file("examples_rgb_color.dcm"), normalize="xrv")


def test_channel_rules(wheel_file):
    colour = load_image(wheel_file("examples_rgb_color.dcm"))
    gray = load_image(wheel_file("examples_rgb_color.dcm"), channels=1)
    luma = (colour.pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    assert torch.allclose(gray.pixels, luma, atol=1e-6)
    repeated = load_image(wheel_file("MR_small.dcm"), channels=3).pixels
    assert repeated.shape == (3, 64, 64)
    assert repeated[0].equal(repeated[2])


def test_frames(wheel_file):
    path = wheel_file("examples_ybr_color.dcm")
    every = load_image(path, frames="all")
    assert every.modality == "video"
    assert load_image(path, frame=7).pixels.equal(every.pixels[7])
    assert load_image(path, frames=slice(0, 30, 10)).pixels.equal(every.pixels[[0, 10, 20]])
    assert load_image(path, frames=[3, 1]).pixels.equal(every.pixels[[3, 1]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "holds 30 frames. Pass frame=0"),
        ({"frame": 30}, r"it has 30 \(0 to 29\)"),
        ({"frame": -1}, "outside the file"),
        ({"frames": slice(40, 50)}, "outside the file"),
        ({"frames": "some"}, "must be 'all'"),
    ],
)
def test_frame_choices_outside_the_file(wheel_file, options, said):
    with pytest.raises(FrameError, match=said):
        load_image(wheel_file("examples_ybr_color.dcm"), **options)


def test_cine_frame_times(make, tmp_path):
    cine = np.stack([RAMP] * 4)
    path = make.image(tmp_path / "xa.dcm", cine, Modality="XA", FrameTime=40)
    assert load_image(path, frames=[0, 3]).meta.frame_times_s == (0.0, 0.12)
    path = make.image(tmp_path / "b.dcm", cine, Modality="XA", FrameTimeVector=[0, 40, 50, 60])
    assert load_image(path, frames="all").meta.frame_times_s == (0.0, 0.04, 0.09, 0.15)


def test_enhanced_objects_rescale_each_frame_once(make, tmp_path):
    path = make.enhanced(tmp_path / "a.dcm", [0, 2, 4], [1, 2, 3])
    assert load_image(path, window=None, frames="all").pixels[:, 0, 0, 0].tolist() == [-90, -80, -70]
    image = load_image(path, window="header", frame=2)
    assert image.meta.units == "HU"
    assert image.geometry.position_mm == (0, 0, 4)
    assert image.geometry.spacing_source == "PixelMeasuresSequence"
    shown = load_image(path, window="header", frames="all").pixels[:, 0, 0, 0]
    expected = [(value + 0.5) / (width - 1) + 0.5 for value, width in [(-90, 100), (-80, 200), (-70, 300)]]
    assert shown.tolist() == pytest.approx([max(value, 0) for value in expected], abs=1e-6)


def test_xrv_range(make, tmp_path):
    x = np.array([[0, 4095], [1000, 2000]], np.uint16)
    common = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
    path = make.image(tmp_path / "a.dcm", x, **common)
    expected = (2 * (x / 4095) - 1) * 1024
    assert np.allclose(load_image(path, normalize="xrv").pixels[0], expected, atol=1e-3)
    one = make.image(tmp_path / "b.dcm", x, PhotometricInterpretation="MONOCHROME1", **common)
    assert np.allclose(load_image(one, normalize="xrv").pixels[0], -expected, atol=1e-3)
    windowed = make.image(tmp_path / "c.dcm", x, WindowCenter=2048, WindowWidth=4096, **common)
    assert np.allclose(load_image(windowed, normalize="xrv", window="header").pixels[0], expected, atol=0.6)
    with pytest.raises(WindowError, match="header has no such window"):
        load_image(path, normalize="xrv", window="header")
    with pytest.raises(WindowError, match="window='header' or no window"):
        load_image(path, normalize="xrv", window="lung")


@pytest.mark.parametrize(
    ("elements", "spacing", "source"),
    [
        ({"PixelSpacing": [0.4, 0.6], "ImagerPixelSpacing": [1, 1]}, (0.4, 0.6), "PixelSpacing"),
        (
            {"PixelSpacing": [0.4, 0.6], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.4, 0.6),
            "PixelSpacing (GEOMETRY)",
        ),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2), "ImagerPixelSpacing"),
        ({"NominalScannedPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "NominalScannedPixelSpacing"),
        ({}, None, None),
    ],
)
def test_spacing_says_where_it_is_from(make, tmp_path, elements, spacing, source):
    geometry = load_image(make.image(tmp_path / "a.dcm", RAMP, **elements), window=None).geometry
    assert (geometry.spacing_mm, geometry.spacing_source) == (spacing, source)


def test_ultrasound_regions_give_spacing(make, tmp_path):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    region = Dataset()
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    path = make.image(tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=Sequence([region]))
    assert load_image(path, window=None).geometry.spacing_mm == pytest.approx((0.3, 0.2))


def test_crop_and_resize_map_back(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", RAMP)
    image = load_image(path, window=None, box=(2, 1, 6, 5))
    assert np.array_equal(image.pixels[0], RAMP[1:5, 2:6])
    resized = load_image(path, window=None, box=(2, 1, 6, 5), size=(8, 8))
    assert resized.pixels.shape == (1, 8, 8)
    assert resized.geometry.to_original(4, 4) == (4.0, 3.0)
    assert resized.geometry.original_size == (6, 8)


@pytest.mark.parametrize("box", [(0, 0, 9, 6), (3, 0, 3, 2), (-1, 0, 2, 2), (0.5, 0, 2, 2), (0, 0, 1)])
def test_boxes_outside_the_image(make, tmp_path, box):
    with pytest.raises(GeometryError, match="box"):
        load_image(make.image(tmp_path / "a.dcm", RAMP), window=None, box=box)


def test_a_transform_of_the_caller_comes_last(make, tmp_path):
    image = load_image(make.image(tmp_path / "a.dcm", RAMP), window=None, transform=lambda pixels: pixels + 1)
    assert image.pixels[0, 0, 0] == 1
    with pytest.raises(GeometryError, match="no known inverse"):
        image.geometry.to_original(0, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"windw": "lung"}, "Unknown option 'windw'.*Did you mean 'window'"),
        ({"skip": ("rescal",)}, "Unknown step 'rescal'"),
        ({"channels": 2}, "channels must be"),
        ({"normalize": "imagenet"}, "normalize must be"),
        ({"frame": 0, "frames": "all"}, "not both"),
        ({"size": (0, 4)}, "size must be"),
    ],
)
def test_bad_options(wheel_file, options, said):
    with pytest.raises(ConfigError, match=said):
        load_image(wheel_file("CT_small.dcm"), **options)


def test_options_object(wheel_file):
    options = ImageOptions(window="lung", channels=3)
    image = load_image(wheel_file("CT_small.dcm"), options, window="bone")
    assert image.pixels.shape[0] == 3
    assert "preset bone" in image.history[-2]


@pytest.mark.data
def test_the_chest_x_ray(data_dir):
    image = load_image(data_dir / "medical" / "dicom" / "cxr_1.dcm", window=None)
    assert image.pixels.shape == (1, 256, 256)
    assert image.pixels.unique().tolist() == [1]  # the file is constant
    assert image.geometry.spacing_source == "NominalScannedPixelSpacing"
