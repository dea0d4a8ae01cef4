"""PNG, JPEG and TIFF: range, orientation, alpha, pages, ceilings, damage."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError
from verticlip.core.limits import Limits
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.loaders import errors


def save(path, image, **options):
    image.save(path, **options)
    return path


def png(width, height, color, rows, bits=16):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path, suffix):
    values = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(values))
    assert np.array_equal(load_image(path, window=None).pixels[0], values)
    assert np.allclose(load_image(path).pixels[0], values / 65_535)
    assert load_image(path, window=(20_000, 10_000)).pixels.max() == 1


def test_big_endian_tiff(tmp_path):
    values = (np.arange(12) * 5000).astype(">u2").reshape(3, 4)
    image = Image.frombytes("I;16B", (4, 3), values.tobytes())
    path = save(tmp_path / "a.tif", image)
    assert np.array_equal(load_image(path, window=None).pixels[0], values.astype(int))


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize(("color", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_png_is_not_cut_to_eight(tmp_path, color, channels):
    values = (np.arange(2 * 3 * channels) * 3001 % 65_536).astype(">u2").reshape(2, 3, channels)
    if channels in (2, 4):
        values[..., -1] = 65_535
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 2, color, b"".join(b"\0" + row.tobytes() for row in values)))
    expected = values[..., : 3 if channels > 2 else 1].astype(int)
    expected = np.broadcast_to(expected, (2, 3, 3)).transpose(2, 0, 1)
    assert np.abs(load_image(path, window=None).pixels.numpy() - expected).max() < 0.01


def test_a_torchvision_without_decoders(tmp_path, monkeypatch):
    import torchvision.io

    monkeypatch.delattr(torchvision.io, "decode_image")
    (tmp_path / "a.png").write_bytes(png(1, 1, 2, bytes(7)))
    with pytest.raises(errors.UnsupportedEncoding, match="Save it as 8 bits"):
        load_image(tmp_path / "a.png")


def test_sixteen_bit_colour_tiff_is_refused(tmp_path):
    # a hand-written 1 x 1 TIFF of 3 x 16 bits
    bits_at, strip_at = 8 + 2 + 9 * 12 + 4, 8 + 2 + 9 * 12 + 4 + 6
    entries = [
        (256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, strip_at), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6),
    ]  # fmt: skip
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 9)
    data += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(data + struct.pack("<3H", 16, 16, 16) + struct.pack("<3H", 1, 2, 3))
    with pytest.raises(errors.UnsupportedEncoding, match="16-bit PNG"):
        load_image(tmp_path / "a.tif")


def test_alpha_is_composited_on_black(tmp_path):
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[..., 3] = [[255, 0], [51, 255]]
    loaded = load_image(save(tmp_path / "a.png", Image.fromarray(pixels, "RGBA")))
    assert loaded.pixels.shape == (3, 2, 2)
    assert np.allclose(loaded.pixels[0] * 255, [[200, 0], [40, 200]])
    assert "alpha: composited on black" in loaded.history


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("LA", 1)])
def test_modes(tmp_path, mode, channels):
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert(mode)
    pixels = load_image(save(tmp_path / "a.png", image)).pixels
    assert pixels.shape == (channels, 2, 2)
    assert pixels[0].tolist() == [[0, 1], [1, 0]]


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    assert load_image(save(tmp_path / "a.jpg", Image.new("CMYK", (4, 4)))).pixels.shape == (3, 4, 4)


def test_exif_orientation_is_applied_and_exif_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Zaphodius"
    image = Image.fromarray(np.zeros((4, 8, 3), np.uint8))
    loaded = load_image(save(tmp_path / "a.jpg", image, exif=exif))
    assert loaded.pixels.shape == (3, 8, 4)
    assert loaded.geometry.original_size == (8, 4)
    assert "Zaphodius" not in f"{loaded!r} {loaded.meta} {loaded.history}"


def test_float_tiff(tmp_path):
    values = np.array([[0.5, -2.0], [7.0, 1.0]], np.float32)
    path = save(tmp_path / "a.tif", Image.fromarray(values))
    assert np.array_equal(load_image(path, window=None).pixels[0], values)
    assert load_image(path).pixels.max() == 1


def test_pages_need_a_choice(tmp_path):
    pages = [Image.fromarray(np.full((2, 3), value, np.uint8)) for value in (0, 255)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(errors.FrameError, match="holds 2 frames"):
        load_image(tmp_path / "a.tif")
    assert load_image(tmp_path / "a.tif", frame=1).pixels.min() == 1
    assert load_image(tmp_path / "a.tif", frames="all").pixels.shape == (2, 1, 2, 3)


def test_pages_of_different_size(tmp_path):
    pages = [Image.fromarray(np.zeros(size, np.uint8)) for size in ((2, 3), (4, 4))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(errors.MedicalImageError, match="pages differ in size"):
        load_image(tmp_path / "a.tif", frames="all")


def test_box_and_size(tmp_path):
    values = np.arange(48, dtype=np.uint8).reshape(6, 8)
    path = save(tmp_path / "a.png", Image.fromarray(values))
    assert np.array_equal(load_image(path, window=None, box=(2, 1, 6, 5)).pixels[0], values[1:5, 2:6])
    assert load_image(path, box=(2, 1, 6, 5), size=(9, 7), channels=3).pixels.shape == (3, 9, 7)


def bomb():
    return png(30_000, 30_000, 0, bytes(1000), bits=8)


def test_a_png_bomb_is_refused_by_its_header(tmp_path, private):
    path = tmp_path / "Zaphodius.png"
    path.write_bytes(bomb())
    with pytest.raises(
        errors.OverLimit, match="pixels 900,000,000 is over the limit of 178,956,970"
    ) as caught:
        load_image(path)
    private(caught.value)


@pytest.mark.parametrize("limits", [Limits(pixels=5), Limits(decoded_bytes=20), Limits(file_bytes=10)])
def test_ceilings(tmp_path, private, limits):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((3, 4), np.uint8)))
    with pytest.raises(errors.OverLimit) as caught:
        load_image(path, limits=limits)
    private(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_cut_files_are_corrupt(tmp_path, private, kind):
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, kind)
    (tmp_path / "a").write_bytes(out.getvalue()[: len(out.getvalue()) // 2])
    with pytest.raises(errors.MedicalImageError) as caught:
        load_image(tmp_path / "a")
    assert caught.value.kind in ("corrupt", "not_an_image")
    private(caught.value)


def test_magic_without_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(errors.MedicalImageError):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": "header"}, "has no header window"),
        ({"normalize": "xrv"}, "defined for DICOM"),
        ({"window": "lungs"}, "Did you mean 'lung'"),
    ],
)
def test_windows_that_a_raster_file_cannot_have(tmp_path, options, said):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((3, 4), np.uint8)))
    with pytest.raises(errors.WindowError, match=said):
        load_image(path, **options)


def test_a_window_on_a_colour_file(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((3, 4, 3), np.uint8)))
    with pytest.raises(errors.WindowError, match="this one is colour"):
        load_image(path, window=(1, 2))


def test_an_icc_profile_is_used_only_on_request(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(values), icc_profile=profile)
    assert np.allclose(load_image(path, icc=True).pixels, load_image(path).pixels, atol=2 / 255)
    assert "color: ICC profile to sRGB" in load_image(path, icc=True).history
    broken = save(tmp_path / "b.png", Image.fromarray(values), icc_profile=b"no profile")
    with pytest.raises(errors.MedicalImageError, match="ICC profile cannot be used"):
        load_image(broken, icc=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"frame": "a"}, "frame must be a whole number or None, got 'a'"),
        ({"frames": ["a"]}, "frames must be 'all', a slice or numbers"),
        ({"size": 3}, "size must be a list of numbers, got 3"),
        ({"box": "abcd"}, "box must be a list of numbers, got 'abcd'"),
        ({"skip": "window"}, "skip must be a list of steps"),
        ({"force": "maybe"}, "force must be true or false, got 'maybe'"),
        ({"window": ["a", "b"]}, "A window is .center, width. in numbers, got"),
    ],
)
def test_options_of_the_wrong_type(tmp_path, option, message):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((3, 4), np.uint8)))
    with pytest.raises((errors.MedicalImageError, ConfigError), match=message):
        load_image(path, **option)


def test_a_path_the_system_refuses(tmp_path, private):
    with pytest.raises(errors.MedicalImageError, match="cannot be opened") as caught:
        load_image(tmp_path / ("x" * 300))
    private(caught.value)


def test_a_file_without_read_permission(tmp_path, private, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(np.zeros((3, 4), np.uint8)))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(errors.MedicalImageError, match="may not be read") as caught:
        load_image(path)
    private(caught.value)


@pytest.mark.parametrize("window", ["lung", "Soft-Tissue", "multi"])
def test_a_ct_preset_is_refused_for_greys(tmp_path, window: str) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    with pytest.raises(
        errors.WindowError, match="in Hounsfield units and this image holds grey values from 0 to 255"
    ):
        load_image(path, window=window)
    assert load_image(path, window=(128, 100)).pixels.max() == 1
