"""Whole pictures for a model: in range, of one or three bands, without holes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from PIL import Image
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.urban.loaders.errors import BandError, RasterOpenError, RasterReadError
from verticlip.domains.urban.loaders.image import load_image


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_are_those_of_pillow(tmp_path, noise, suffix) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.moveaxis(noise(3, 60, 70), 0, -1)).save(path, quality=95)
    sample = load_image(path)
    expected = np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0)
    np.testing.assert_allclose(sample.value.numpy() * 255, expected, atol=0.01)
    assert sample.modality == "image"
    assert sample.meta["width"] == 70


def test_pictures_of_16_bits_and_transparent_ones_are_rasters(tmp_path, noise) -> None:
    deep = tmp_path / "deep.png"
    Image.fromarray(noise(1, 20, 30, "uint16")[0]).save(deep)
    assert load_image(deep).meta["scaling"]["mode"] == "stretch"
    clear = np.moveaxis(np.concatenate([noise(3, 20, 30), np.full((1, 20, 30), 255, np.uint8)]), 0, -1)
    clear[:5, :, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert load_image(tmp_path / "clear.png").meta["valid_fraction"] == 0.75


def test_large_photographs_are_made_smaller(tmp_path, noise, monkeypatch) -> None:
    from verticlip.domains.urban.loaders import image

    monkeypatch.setattr(image, "LONGEST_SIDE", 32)
    Image.fromarray(noise(1, 64, 100)[0]).save(tmp_path / "a.jpg")
    assert load_image(tmp_path / "a.jpg").value.shape == (1, 20, 32)


def test_a_damaged_picture(tmp_path, noise) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(1, 64, 100)[0]).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="a.jpg: the image is damaged"):
        load_image(path)


def test_gray_pictures_have_one_band(tmp_path, noise) -> None:
    Image.fromarray(noise(1, 20, 30)[0]).save(tmp_path / "g.png")
    assert load_image(tmp_path / "g.png").value.shape == (1, 20, 30)


def test_a_georeference_is_not_needed_but_welcome(write_raster, noise) -> None:
    assert load_image(write_raster(noise(), crs=None)).value.shape == (3, 96, 128)
    assert load_image(write_raster(noise(), "b.tif")).value.max() <= 1


def test_holes_get_the_mean_of_the_rest(write_raster) -> None:
    pixels = np.zeros((3, 8, 8), np.uint8)
    pixels[:, :4] = np.array([50, 100, 150])[:, None, None]
    sample = load_image(write_raster(pixels, nodata=0))
    np.testing.assert_allclose(sample.value[:, 7, 7].numpy() * 255, [50, 100, 150], rtol=1e-5)
    assert sample.meta["valid_fraction"] == 0.5
    with pytest.raises(RasterReadError, match="e.tif: no pixel of it is valid"):
        load_image(write_raster(np.zeros((3, 8, 8), np.uint8), "e.tif", nodata=0))


def test_large_pictures_are_read_small(write_raster, monkeypatch) -> None:
    from verticlip.domains.urban.loaders import image

    monkeypatch.setattr(image, "LONGEST_SIDE", 64)
    path = write_raster(np.full((3, 128, 256), 9, np.uint8), overviews=(2, 4))
    assert load_image(path).value.shape == (3, 32, 64)
    assert load_image(path, limits=Limits(pixels=5000)).value.shape == (3, 32, 64)
    with pytest.raises(LimitError, match="scene.tif: pixels 2,048 is over the limit of 1,000"):
        load_image(path, limits=Limits(pixels=1000))


def test_other_numbers_of_bands_need_a_choice(write_raster, noise) -> None:
    path = write_raster(noise(4, dtype="uint16"), names=("B02", "B03", "B04", "B08"))
    with pytest.raises(
        BandError, match="scene.tif: has the bands B02, B03, B04, B08, and a picture is made of one or three"
    ):
        load_image(path)
    sample = load_image(path, bands=["B04", "B03", "B02"])
    assert sample.value.shape == (3, 96, 128)
    assert 0 <= float(sample.value.min()) <= float(sample.value.max()) <= 1
    assert (
        load_image(path, bands=["B04", "B03", "B02"], scaling=sample.meta["scaling"]).meta["scaling"]
        == sample.meta["scaling"]
    )


def test_only_scalings_to_pictures(write_raster, noise) -> None:
    with pytest.raises(ConfigError, match="gives no picture"):
        load_image(write_raster(noise()), scaling="none")


def test_names_show_only_where_asked(tmp_path) -> None:
    with pytest.raises(RasterOpenError) as caught:
        load_image(tmp_path / "gone.png")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(RasterOpenError, match=str(tmp_path)):
        load_image(tmp_path / "gone.png", show_paths=True)


@pytest.mark.data
def test_real_patches(data_dir) -> None:
    path = next(iter(sorted((data_dir / "urban" / "eurosat_rgb" / "val" / "Forest").iterdir())))
    sample = load_image(path)
    assert sample.value.shape == (3, 64, 64)
    expected = np.moveaxis(np.asarray(Image.open(path)), -1, 0) / 255
    np.testing.assert_allclose(sample.value.numpy(), expected, atol=1e-6)
