"""Plain image files: values kept, sizes checked first, damage named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import InputError, LimitError
from verticlip.core.images import load_image
from verticlip.core.limits import Limits


def gradient(dtype: type = np.uint8, top: int = 255) -> np.ndarray:
    return np.linspace(0, top, 30 * 20).reshape(30, 20).astype(dtype)


def test_grey_and_colour_stay_eight_bit(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "grey.png")
    sample = load_image(tmp_path / "grey.png")
    assert sample.value.dtype == torch.uint8
    assert torch.equal(sample.value[0], torch.from_numpy(gradient()))
    assert sample.meta == {"format": "PNG", "height": 30, "width": 20}
    colour = np.stack([gradient(), gradient() // 2, gradient() // 3], axis=2)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    assert torch.equal(load_image(tmp_path / "colour.png").value, torch.from_numpy(colour).permute(2, 0, 1))


def test_sixteen_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    stored = gradient(np.uint16, 65535)
    Image.fromarray(stored).save(tmp_path / "deep.png")
    value = load_image(tmp_path / "deep.png").value
    assert value.dtype == torch.float32
    torch.testing.assert_close(value[0], torch.from_numpy(stored.astype(np.float32) / 65535))


def test_camera_orientation_is_undone_and_recorded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient()).save(tmp_path / "turned.png", exif=exif)
    sample = load_image(tmp_path / "turned.png")
    assert sample.value.shape == (1, 20, 30)
    assert sample.meta["exif_orientation"] == 6
    assert torch.equal(sample.value[0], torch.from_numpy(np.rot90(gradient(), -1).copy()))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds next to nothing."""
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_a_decompression_bomb_is_stopped_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(LimitError, match=r"bomb\.png: pixels .* is over the limit of 178,956,970"):
        load_image(tmp_path / "bomb.png")


def test_limits_can_be_lowered_and_raised(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "grey.png")
    with pytest.raises(LimitError, match=r"grey\.png: pixels 600 is over the limit of 599"):
        load_image(tmp_path / "grey.png", limits=Limits(pixels=599))
    with pytest.raises(LimitError, match=r"grey\.png: bytes"):
        load_image(tmp_path / "grey.png", limits=Limits(file_bytes=10))
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    with pytest.raises(LimitError, match="more pixels than Pillow decodes"):
        load_image(tmp_path / "bomb.png", limits=Limits(pixels=10**12))


def test_animations_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"moving\.gif: has 2 frames, expected a still image"):
        load_image(tmp_path / "moving.gif")


def test_missing_files_folders_and_other_content(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^none\.png: no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(InputError, match=r"is a folder. Give one image file"):
        load_image(tmp_path)
    for name in ("nul\0.png", "a" * 5000):
        with pytest.raises(InputError, match="no such file"):
            load_image(tmp_path / name)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png: not an image of a known format \(PNG, JPEG"):
        load_image(tmp_path / "text.png")
    with pytest.raises(InputError, match=str(tmp_path)):
        load_image(tmp_path / "text.png", show_paths=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow comments on damaged TIFF tags
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif"])
def test_damage_anywhere_gives_one_kind_of_error(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(gradient()).save(whole)
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / f"damaged.{suffix}"
    for cut in np.linspace(0, len(content) - 1, 25).astype(int):
        flipped = bytearray(content)
        flipped[int(rng.integers(len(content)))] ^= int(rng.integers(1, 256))
        for damaged in (content[:cut], bytes(flipped)):
            path.write_bytes(damaged)
            message = refusal(path)
            assert message is None or f"damaged.{suffix}" in message


def refusal(path: Path) -> str | None:
    """Return why a file is refused, or None when it loads; other errors pass."""
    try:
        load_image(path)
    except InputError as error:
        return str(error)
    return None
