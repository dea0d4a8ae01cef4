"""Every kind of bad file is refused with words that say what to do; nothing hostile is opened."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

import rasterio
from rasterio.env import get_gdal_config
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.urban.loaders import reader
from verticlip.domains.urban.loaders.errors import (
    BandError,
    GeoreferenceError,
    MissingCRSError,
    MosaicError,
    RasterError,
    RasterOpenError,
    RasterReadError,
    UnknownCRSError,
    UnsafeRasterError,
)
from verticlip.domains.urban.loaders.raster import Raster


def test_missing_empty_and_foreign_files(tmp_path) -> None:
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not a raster")
    (tmp_path / "grid.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    cases = {
        "nowhere.tif": "nowhere.tif: no such file",
        "empty.tif": "empty.tif: the file is empty",
        "text.tif": "text.tif: is no raster: the content looks like text or unknown data. Read here: GeoTIFF",
        "grid.nc": "HDF5 or netCDF.*gdal_translate",
        ".": "is a folder. Pass its files",
    }
    for name, words in cases.items():
        with pytest.raises(RasterOpenError, match=words) as caught:
            Raster.open(tmp_path / name)
        assert isinstance(caught.value, InputError)
        assert str(tmp_path) not in str(caught.value)


def test_paths_show_only_where_asked(tmp_path) -> None:
    with pytest.raises(RasterOpenError, match=str(tmp_path)):
        Raster.open(tmp_path / "nowhere.tif", show_paths=True)


def test_a_tiff_of_garbage_is_an_open_error(tmp_path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + bytes(range(200)))
    with pytest.raises(RasterOpenError, match="bad.tif: cannot be opened"):
        Raster.open(tmp_path / "bad.tif")


def test_a_truncated_file_is_found_by_verify(write_raster, noise) -> None:
    path = write_raster(noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64, overviews=(2,))
    Raster.open(path, verify=True)
    path.write_bytes(path.read_bytes()[:150_000])
    with pytest.raises(
        RasterReadError, match=r"cut off: \d+ of its \d+ blocks lie beyond its end \(150,000 bytes"
    ):
        Raster.open(path, verify=True)
    assert (
        Raster.open([path, write_raster(noise(3, 256, 256), "b.tif")], verify=True, on_error="skip").width
        == 256
    )


def test_a_cut_jpeg_is_refused(tmp_path, noise) -> None:
    from PIL import Image

    path = tmp_path / "a.jpg"
    Image.fromarray(np.moveaxis(noise(3, 64, 64), 0, -1)).save(path)
    assert Raster.open(path).read((0, 0, 64, 64)).valid_fraction == 1
    path.write_bytes(path.read_bytes() + b"appended by a camera" * 500)
    Raster.open(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RasterOpenError, match="a.jpg: the JPEG ends before its picture does"):
        Raster.open(path)


def test_no_crs_needs_a_word_from_the_user(write_raster, noise) -> None:
    path = write_raster(noise(), crs=None)
    with pytest.raises(MissingCRSError, match=r"has a place but no coordinate system.*crs='EPSG:\.\.\.'"):
        Raster.open(path)
    raster = Raster.open(path, crs="EPSG:32618")
    assert raster.crs == "EPSG:32618"
    assert raster.read_bounds(raster.bounds, raster.crs, size=(96, 128)).valid_fraction == 1
    pixels = Raster.open(path, crs="")
    assert pixels.read((0, 0, 8, 8)).crs == ""
    with pytest.raises(MissingCRSError, match="only windows in pixels"):
        pixels.read_bounds((0, 0, 1, 1), "EPSG:4326", size=(8, 8))


def test_a_local_system_is_as_good_as_none(write_raster, noise) -> None:
    path = write_raster(noise(), crs='LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(MissingCRSError, match=r"has only a local coordinate system. Pass crs=.*--crs"):
        Raster.open(path)
    assert Raster.open(path, crs="EPSG:32618").crs == "EPSG:32618"
    assert Raster.open(path, crs="").crs == ""


def test_pixels_far_off_have_no_size(write_raster, noise) -> None:
    assert math.isnan(Raster.open(write_raster(noise(), origin=(5e12, 4.5e12))).pixel_size_m)


def test_a_stated_crs_does_not_override_the_file(write_raster, noise) -> None:
    assert Raster.open(write_raster(noise()), crs="EPSG:4326").crs == "EPSG:32618"


def test_an_unknown_crs_is_named(write_raster, noise) -> None:
    with pytest.raises(UnknownCRSError, match="'EPSG:999999' is not known. Write its code"):
        Raster.open(write_raster(noise(), crs=None), crs="EPSG:999999")
    raster = Raster.open(write_raster(noise()))
    with pytest.raises(UnknownCRSError, match="'EPSG:999999' is not known. Write its code"):
        raster.read_bounds((0, 0, 1, 1), "EPSG:999999", size=(8, 8))


def test_a_plain_picture_is_read_by_pixels_only(write_raster, noise) -> None:
    path = write_raster(noise(), crs=None, transform=None)
    raster = Raster.open(path)
    assert raster.crs == ""
    assert raster.transform == (1, 0, 0, 0, 1, 0)
    with pytest.raises(MissingCRSError):
        _ = raster.pixel_size_m


def test_rotated_and_control_point_files_are_refused(write_raster, noise) -> None:
    turned = write_raster(noise(), "turned.tif", transform=rasterio.Affine(10, 1, 0, 1, -10, 0))
    with pytest.raises(GeoreferenceError, match="turned.tif: its pixels are rotated or sheared.*gdalwarp"):
        Raster.open(turned)
    assert Raster.open(turned, crs="").read((0, 0, 8, 8)).crs == ""
    points = [
        rasterio.control.GroundControlPoint(row, column, column, row)
        for row, column in ((0, 0), (0, 9), (9, 0))
    ]
    placed = write_raster(noise(), "points.tif", transform=None, crs=None)
    with rasterio.open(placed, "r+") as file:
        file.gcps = (points, rasterio.CRS.from_epsg(4326))
    with pytest.raises(
        GeoreferenceError, match="points.tif: its place is given by ground control points only"
    ):
        Raster.open(placed)
    nowhere = write_raster(noise(), "nowhere.tif", transform=None)
    with pytest.raises(GeoreferenceError, match="a coordinate system but no geotransform"):
        Raster.open(nowhere)


def test_bands_that_are_not_there(write_raster, noise) -> None:
    path = write_raster(noise(2))
    for asked in (3, 0, -1):
        with pytest.raises(BandError, match=rf"scene.tif: there is no band {asked}; it has: 1, 2"):
            Raster.open(path, bands=[asked])
    with pytest.raises(BandError, match="naip needs the bands red, green, blue.*bands={'red': 1"):
        Raster.open(path, sensor="naip")
    with pytest.raises(ConfigError, match="Unknown sensor 'naipp'.*Did you mean 'naip'"):
        Raster.open(path, sensor="naipp")


def test_blocks_that_are_too_large_to_decode_are_refused(write_raster) -> None:
    path = write_raster(np.ones((1, 600, 600), np.uint8), blockysize=600, compress="deflate")
    with pytest.raises(
        LimitError, match=r"stored in blocks of 600 x 600 pixels, 360,000 bytes each.*TILED=YES"
    ):
        Raster.open(path, limits=Limits(decoded_bytes=100_000))


def test_a_sparse_declaration_of_320_gb_is_opened_and_read_by_window(tmp_path) -> None:
    path = tmp_path / "sparse.tif"
    settings = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
    transform = rasterio.transform.from_origin(0, 0, 1, 1)
    with rasterio.open(
        path, "w", driver="GTiff", width=400_000, height=400_000, count=1, dtype="uint16", crs="EPSG:32618",
        transform=transform, nodata=0, compress="deflate", **settings,
    ):  # fmt: skip
        pass
    raster = Raster.open(path)
    assert raster.width * raster.height * 2 == 320_000_000_000
    tile = raster.read((200_000, 399_900, 224, 224))
    assert not tile.mask.any()
    assert (tile.image == 0).all()
    with pytest.raises(LimitError, match="pixels of one read"):
        raster.read((0, 0, 400_000, 400_000))


def test_a_tile_without_data_has_an_empty_mask(write_raster) -> None:
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[:, :, 32:] = 7
    raster = Raster.open(write_raster(pixels, nodata=0))
    assert raster.read((0, 0, 32, 32)).valid_fraction == 0
    assert raster.read((16, 0, 32, 32)).valid_fraction == 0.5


def test_unreadable_files_are_counted_where_asked(write_raster, noise, tmp_path) -> None:
    good = write_raster(noise(), "good.tif")
    (tmp_path / "bad.tif").write_text("x")
    with pytest.raises(RasterOpenError, match="bad.tif"):
        Raster.open([good, tmp_path / "bad.tif"])
    raster = Raster.open([good, tmp_path / "bad.tif", tmp_path / "gone.tif"], on_error="skip")
    assert [name for name, _ in raster.skipped] == ["bad.tif", "gone.tif"]
    assert "is no raster" in raster.skipped[0][1]
    with pytest.raises(RasterOpenError, match="None of 1 files could be opened. The first: bad.tif"):
        Raster.open([tmp_path / "bad.tif"], on_error="skip")


def test_the_network_is_not_asked(tmp_path) -> None:
    for name in (
        "/vsicurl/http://127.0.0.1:9/a.tif",
        "http://127.0.0.1:9/a.tif",
        "/vsizip/a.zip/a.tif",
        "s3://b/a.tif",
    ):
        with pytest.raises(UnsafeRasterError, match="network or virtual file name"):
            Raster.open(name)
    for name in (
        "https://127.0.0.1:9/service?wms",
        "http://127.0.0.1:9/a.tif",
        "/vsicurl/http://127.0.0.1:9/a.tif",
    ):
        with pytest.raises(UnsafeRasterError, match="of remote files only"):
            Raster.open(name, allow_remote=True)
    with pytest.raises(RasterOpenError, match="no such file"):
        Raster.open("GTIFF_DIR:1:/etc/passwd")


def test_descriptions_of_services_are_no_rasters(tmp_path) -> None:
    service = "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>"
    for name in ("a.xml", "a.tif"):
        (tmp_path / name).write_text(service)
        with pytest.raises(RasterOpenError, match="is no raster"):
            Raster.open(tmp_path / name)


def test_sidecars_must_be_tiffs(write_raster, noise) -> None:
    path = write_raster(noise())
    sidecar = path.with_name(path.name + ".ovr")
    sidecar.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(UnsafeRasterError, match="scene.tif.ovr beside it is no TIFF"):
        Raster.open(path)
    assert Raster.open(path, sidecars=False).overviews == ()
    # GDAL would take any spelling that it finds by listing the folder.
    sidecar.rename(path.with_name("Scene.tif.Ovr"))
    assert Raster.open(path).overviews == ()


def test_settings_for_the_network_hold_while_pixels_are_read(write_raster, noise, monkeypatch) -> None:
    raster = Raster.open(write_raster(noise()))
    seen = []
    original = reader.read_pixels
    monkeypatch.setattr(
        reader,
        "read_pixels",
        lambda *given, **more: seen.append(get_gdal_config("VSI_CACHE")) or original(*given, **more),
    )
    raster.read((0, 0, 8, 8))
    raster._reader._remote = True
    raster.read((0, 0, 8, 8))
    assert seen == [None, True]


def test_a_large_jpeg_is_not_searched_for_its_end(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + bytes(5000))
    with pytest.raises(LimitError, match=r"a.jpg: bytes 5,003 is over the limit of 1,000"):
        Raster.open(tmp_path / "a.jpg", limits=Limits(file_bytes=1000))


def test_overviews_in_other_files_are_refused(write_raster, noise) -> None:
    path = write_raster(noise())
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/hostname")
    with pytest.raises(UnsafeRasterError, match="names another file as its overviews"):
        Raster.open(path)


def test_error_kinds_are_stable_words() -> None:
    kinds = {
        error.kind for error in (RasterOpenError, RasterReadError, BandError, MosaicError, MissingCRSError)
    }
    assert kinds == {"open", "read", "bands", "mosaic", "no_crs"}
    assert issubclass(MosaicError, RasterError)
