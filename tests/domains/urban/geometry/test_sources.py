"""Folders of tiles: places by name, pictures with masks, and what is wrong with a folder in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import ConfigError, DataError, InputError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.urban.geometry import webmercator
from verticlip.domains.urban.geometry.dataset import TileDataset, tile_loader
from verticlip.domains.urban.geometry.schemes import scheme_tiles
from verticlip.domains.urban.geometry.sources import FolderTiles
from verticlip.domains.urban.loaders.errors import RasterReadError


def picture(path, color=(10, 20, 30), size=16, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if len(color) == 3 else "RGBA", (size, size), color).save(path, **options)
    return path


@pytest.mark.parametrize(
    "pattern", ["{z}_{x}_{y}_s.png", "{z}_{x}_{y}.jpg", "{z}/{x}/{y}.png", "Beijing/{z}_{x}_{y}_s.jpeg"]
)
def test_names_say_where_tiles_lie(tmp_path, pattern):
    for x, y in ((53957, 24832), (53958, 24832)):
        picture(tmp_path / pattern.format(z=16, x=x, y=y))
    folder = FolderTiles(tmp_path)
    assert folder.tiles.ids == ("16_53957_24832", "16_53958_24832")
    assert folder.tiles.bounds[0] == pytest.approx(webmercator.tile_bounds(53957, 24832, 16), abs=1e-8)
    assert folder.files["16_53957_24832"] == pattern.format(z=16, x=53957, y=24832)
    tile = folder.read_tile(folder.tiles[0])
    assert tile.image.shape == (3, 16, 16)
    assert tile.bounds == pytest.approx(folder.tiles[0].bounds)
    assert tile.crs == "EPSG:3857"
    assert tile.mask.all()


def test_names_of_the_baidu_scheme_are_corrected(tmp_path):
    picture(tmp_path / "16_12659_4738_s.jpg")
    folder = FolderTiles(tmp_path, scheme="baidu")
    assert np.array_equal(folder.tiles.bounds, scheme_tiles(np.array([[16, 12659, 4738]]), "baidu").bounds)
    lon, lat = folder.tiles.centers("EPSG:4326")[0]
    assert 116.43 < lon < 116.44
    assert 40.08 < lat < 40.10


def test_folders_without_places_are_tiles_all_the_same(tmp_path):
    for name in ("River/River_1.jpg", "Forest/Forest_7.jpg"):
        picture(tmp_path / name, (200, 100, 50))
    folder = FolderTiles(tmp_path)
    assert folder.tiles.ids == ("Forest/Forest_7.jpg", "River/River_1.jpg")
    tile = folder.read_tile(folder.tiles[0], size=(8, 4))
    assert tile.image.shape == (3, 8, 4)
    assert tile.crs == ""
    assert tile.transform == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert torch.allclose(tile.image[:, 0, 0], torch.tensor([200, 100, 50]) / 255, atol=0.02)


def test_transparent_pixels_are_invalid(tmp_path):
    path = picture(tmp_path / "3_1_2.png", (10, 20, 30, 255))
    pixels = np.array(Image.open(path))
    pixels[:, :4, 3] = 0
    Image.fromarray(pixels).save(path)
    tile = FolderTiles(tmp_path).read_tile(FolderTiles(tmp_path).tiles[0])
    assert tile.valid_fraction == 0.75
    assert (tile.image[:, :, :4] == 0).all()
    assert tile.image[2, 0, 8] == pytest.approx(30 / 255)


def test_gray_and_palette_pictures_have_three_bands(tmp_path):
    Image.new("L", (8, 8), 77).save(tmp_path / "3_1_1.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "3_1_2.png")
    folder = FolderTiles(tmp_path)
    assert [folder.read_tile(tile).image.shape for tile in folder.tiles] == [(3, 8, 8)] * 2


def test_a_folder_is_read_by_a_loader(tmp_path):
    for number in range(6):
        picture(tmp_path / f"12_{number}_5.png", (number, 0, 0))
    folder = FolderTiles(tmp_path)
    batches = list(tile_loader(TileDataset(folder, folder.tiles), batch_size=4, workers=1, start="fork"))
    assert [name for batch in batches for name in batch.ids] == list(folder.tiles.ids)


def test_one_kind_of_several(tmp_path):
    picture(tmp_path / "16_1_2_s.jpg")
    picture(tmp_path / "16_1_2_r.png")
    with pytest.raises(
        DataError, match=r"'16_1_2_r.png' and '16_1_2_s.jpg' are the same tile.*pass kind='s'"
    ):
        FolderTiles(tmp_path)
    assert list(FolderTiles(tmp_path, kind="s").files.values()) == ["16_1_2_s.jpg"]
    with pytest.raises(ConfigError, match="no name ends in _q; there are: 'r', 's'"):
        FolderTiles(tmp_path, kind="q")


def test_names_without_a_place_among_others(tmp_path):
    picture(tmp_path / "16_1_2.jpg")
    picture(tmp_path / "overview.jpg")
    with pytest.raises(DataError, match=r"1 of 2 names say no zoom, x and y, first 'overview.jpg'"):
        FolderTiles(tmp_path)
    folder = FolderTiles(tmp_path, on_error="skip")
    assert len(folder) == 1
    assert folder.skipped == (("overview.jpg", "the name says no zoom, x and y"),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: FolderTiles(path / "absent"), "absent: no such folder of tiles"),
        (lambda path: FolderTiles(path), r"no pictures in this folder \(\.png"),
    ],
)
def test_folders_without_tiles(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path)


def test_damaged_missing_and_foreign_pictures(tmp_path):
    whole = picture(tmp_path / "5_1_1.png", size=64).read_bytes()
    (tmp_path / "5_1_2.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "5_1_3.png").write_bytes(b"GIF89a" + whole)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "5_1_4.png")
    folder = FolderTiles(tmp_path)
    for number in (1, 2, 3):
        with pytest.raises(
            RasterReadError, match=rf"/5_1_{number + 1}.png: it cannot be decoded as PNG, JPEG or WebP"
        ):
            folder.read_tile(folder.tiles[number])
    (tmp_path / "5_1_1.png").unlink()
    with pytest.raises(RasterReadError, match="there is no such file"):
        folder.read_tile(folder.tiles[0])
    with pytest.raises(InputError, match="has no tile '9_9_9'"):
        folder.read_tile(scheme_tiles(np.array([[9, 9, 9]]), "webmercator")[0])


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    picture(tmp_path / "5_1_1.png", size=64)
    folder = FolderTiles(tmp_path, limits=DEFAULT.with_(pixels=100))
    with pytest.raises(LimitError, match="5_1_1.png: pixels 4,096 is over the limit of 100"):
        folder.read_tile(folder.tiles[0])


def test_the_fingerprint_follows_the_files(tmp_path):
    path = picture(tmp_path / "5_1_1.png")
    before = FolderTiles(tmp_path).fingerprint
    assert FolderTiles(tmp_path).fingerprint == before
    picture(path, (1, 2, 3), size=20)
    assert FolderTiles(tmp_path).fingerprint != before


@pytest.mark.data
def test_real_patches_of_eurosat(data_dir):
    folder = FolderTiles(data_dir / "urban" / "eurosat_rgb" / "val")
    assert len(folder) == 600
    tile = folder.read_tile(folder.tiles[0])
    assert tile.image.shape == (3, 64, 64)
    assert 0 < float(tile.image.mean()) < 1
