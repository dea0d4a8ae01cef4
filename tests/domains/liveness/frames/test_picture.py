"""Still pictures of every kind as uint8 RGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.types import Sample
from verticlip.domains.liveness.frames.picture import read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


def test_what_a_picture_may_be(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    planes = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for item in (
        path,
        str(path),
        path.read_bytes(),
        PIXELS,
        Image.fromarray(PIXELS),
        planes,
        planes.float() / 255,
        PIXELS.astype(np.float32) / 255,
        PIXELS.astype(np.uint16) * 257,
        Sample(planes, "image", {}),
    ):
        found = read_picture(item)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        assert np.array_equal(found, PIXELS), type(item)


def test_grey_is_repeated() -> None:
    for item in (PIXELS[..., 0], PIXELS[..., :1], torch.from_numpy(PIXELS[..., 0])[None]):
        assert np.array_equal(read_picture(item), PIXELS[..., :1].repeat(3, axis=2))


def test_sixteen_bits_keep_their_range(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(path)
    assert np.array_equal(read_picture(path)[..., 1], PIXELS[..., 0])


def test_transparent_pixels_go_onto_black(tmp_path) -> None:
    alpha = np.full((12, 17, 1), 255, np.uint8)
    alpha[:6] = 0
    path = tmp_path / "a.png"
    Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)).save(path)
    found = read_picture(path)
    assert (found[:6] == 0).all()
    assert np.array_equal(found[6:], PIXELS[6:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_s_orientation_is_applied(tmp_path, orientation) -> None:
    turned = {
        1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2), 6: np.rot90(PIXELS, -1), 7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(read_picture(path), turned)
    assert np.array_equal(read_picture(path.read_bytes()), turned)
    with Image.open(path) as image:
        assert np.array_equal(read_picture(image), turned)


def test_what_is_none(tmp_path) -> None:
    text = tmp_path / "a.jpg"
    text.write_text("no picture")
    half = tmp_path / "b.jpg"
    stream = io.BytesIO()
    Image.fromarray(PIXELS.repeat(20, axis=0).repeat(20, axis=1)).save(stream, "JPEG")
    half.write_bytes(stream.getvalue()[:2000])
    for item, words in [
        (text, "a.jpg: not an image of a known format"),
        (half, "b.jpg: the image is damaged"),
        (stream.getvalue()[:2000], "picture in memory: the image is damaged"),
        (tmp_path / "gone.png", "gone.png: no such file"),
        (tmp_path, "is a folder"),
        (b"", "picture in memory: not an image"),
        (PIXELS.astype(np.float32), r"picture: values from 0 to 25\d; expected \[0, 1\]"),
        (PIXELS.astype(np.int64), "dtype int64 has no known range"),
        (np.zeros((4, 4, 5), np.uint8), "not \\[1, H, W\\]"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        (7, "int is not an image"),
    ]:
        with pytest.raises(InputError, match=words):
            read_picture(item)
    with pytest.raises(InputError, match="frame 3: dtype int64"):
        read_picture(PIXELS.astype(np.int64), name="frame 3")


def test_moving_pictures_are_refused(tmp_path) -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="a.gif: has 2 frames, expected a still image. Save one frame"):
        read_picture(path)


def test_ceilings(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    for item in (path, path.read_bytes(), PIXELS, torch.zeros(3, 12, 17)):
        with pytest.raises(LimitError, match="pixels 204 is over the limit of 200"):
            read_picture(item, limits=Limits(pixels=200))
    for item in (path, path.read_bytes()):
        with pytest.raises(LimitError, match="bytes"):
            read_picture(item, limits=Limits(file_bytes=20))
