"""Cut-off TIFFs of every layout are found without decoding them."""

from __future__ import annotations

import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.domains.urban.loaders.truncation import missing_blocks


@pytest.mark.parametrize(
    ("settings", "blocks"),
    [
        ({"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}, 16),
        ({"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"}, 48),
        ({"blockysize": 32, "interleave": "pixel"}, 8),
        ({"BIGTIFF": "YES", "tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "pixel"}, 4),
        ({"ENDIANNESS": "BIG", "tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}, 16),
        ({"compress": "deflate", "blockysize": 256, "interleave": "pixel"}, 1),
    ],
)
def test_blocks_are_counted(write_raster, noise, settings, blocks) -> None:
    path = write_raster(noise(3, 256, 256), **settings)
    assert missing_blocks(path) == (0, blocks)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 10])
    missing, total = missing_blocks(path)
    assert missing >= 1
    assert total >= 1


def test_smaller_copies_count(write_raster, noise) -> None:
    path = write_raster(
        noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64, interleave="pixel", overviews=(2,)
    )
    assert missing_blocks(path)[1] > 16


def test_blocks_never_written_are_not_missing(write_raster, noise) -> None:
    values = noise(1, 256, 256)
    values[:, :128] = 0
    path = write_raster(values, tiled=True, blockxsize=64, blockysize=64, nodata=0, SPARSE_OK=True)
    assert missing_blocks(path) == (0, 16)


def test_a_lost_directory_counts_as_missing(tmp_path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + (5000).to_bytes(4, "little") + bytes(100))
    assert missing_blocks(path) == (1, 1)
