import io

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import InputError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.ecommerce.loaders.image import SHORTEST_SIDE, load_image


def picture(mode="RGB", size=(96, 80), **options):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def test_files_and_bytes_are_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    from_file, from_bytes = load_image(tmp_path / "a.png"), load_image(picture())
    assert torch.equal(from_file.value, from_bytes.value)
    assert from_file.value.dtype == torch.uint8
    assert tuple(from_file.value.shape) == (3, 80, 96)
    assert from_file.id == "a.png"
    assert from_file.meta == {"format": "PNG", "height": 80, "width": 96}
    assert load_image(str(tmp_path / "a.png"), show_paths=True).id == str(tmp_path / "a.png")
    assert tuple(load_image(picture("L")).value.shape) == (1, 80, 96)


def test_transparent_pixels_lie_on_white():
    pixels = np.zeros((80, 80, 4), np.uint8)
    pixels[:40] = (200, 100, 0, 255)
    pixels[40:60] = (200, 100, 0, 128)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    sample = load_image(buffer.getvalue())
    assert sample.meta["alpha"] == "white"
    assert sample.value[:, 0, 0].tolist() == [200, 100, 0]
    assert sample.value[:, 50, 0].tolist() == [227, 177, 127]
    assert sample.value[:, 79, 79].tolist() == [255, 255, 255]
    assert tuple(sample.value.shape) == (3, 80, 80)


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_other_kinds_of_transparency(mode):
    image = Image.new("LA" if mode == "LA" else "P", (70, 70))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert (load_image(buffer.getvalue()).value == 255).all()


def test_pictures_are_turned_upright():
    image = Image.new("RGB", (100, 70))
    exif = image.getexif()
    exif[0x0112] = 6
    sample = load_image(picture(size=(100, 70), format="JPEG", exif=exif))
    assert tuple(sample.value.shape) == (3, 100, 70)
    assert sample.meta["exif_orientation"] == 6


def test_cmyk_and_sixteen_bits():
    assert tuple(load_image(picture("CMYK", format="JPEG")).value.shape) == (3, 80, 96)
    buffer = io.BytesIO()
    Image.fromarray(np.full((70, 70), 40_000, np.uint16)).save(buffer, "PNG")
    value = load_image(buffer.getvalue()).value
    assert value.dtype == torch.float32
    assert value.max() == pytest.approx(40_000 / 65_535)


def test_icons_are_refused():
    side = SHORTEST_SIDE
    assert load_image(picture(size=(side, 500)))
    with pytest.raises(InputError, match=f"image: 500 x {side - 1} pixels; the shorter side needs {side}"):
        load_image(picture(size=(500, side - 1)))
    assert load_image(picture(size=(8, 8)), shortest_side=1)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_files_that_were_cut_off(format, share):
    data = picture(format=format)
    with pytest.raises(InputError, match="image: (the image is damaged|not an image)"):
        load_image(data[: int(len(data) * share)])


def test_what_is_no_picture(tmp_path):
    with pytest.raises(InputError, match="image: not an image of a known format"):
        load_image(b"<html>404</html>")
    with pytest.raises(InputError, match="image: there are no bytes"):
        load_image(b"")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="a.jpg: the file is empty"):
        load_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="none.jpg: no such file"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="is a folder"):
        load_image(tmp_path)


def test_moving_pictures_are_refused():
    frames = [Image.new("RGB", (80, 80), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="has 2 frames, expected a still image"):
        load_image(buffer.getvalue())


def test_ceilings():
    with pytest.raises(LimitError, match="image: pixels 7,680 is over the limit of 100"):
        load_image(picture(), limits=DEFAULT.with_(pixels=100))
    with pytest.raises(LimitError, match="image: bytes"):
        load_image(picture(), limits=DEFAULT.with_(file_bytes=100))
