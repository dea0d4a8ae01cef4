"""A VRT opens the files of its own folder, and nothing else, however it asks."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.core.errors import LimitError
from verticlip.core.limits import Limits
from verticlip.domains.urban.loaders.errors import RasterOpenError, UnsafeRasterError
from verticlip.domains.urban.loaders.raster import Raster

BAND = """<VRTRasterBand dataType="Byte" band="1"{kind}><SimpleSource>
<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand>"""
HEAD = """<VRTDataset rasterXSize="128" rasterYSize="96"><SRS>EPSG:32618</SRS>
<GeoTransform>500000, 10, 0, 4500000, 0, -10</GeoTransform>{body}</VRTDataset>"""


def vrt(path, name, *, relative=1, kind=""):
    path.write_text(HEAD.format(body=BAND.format(name=name, relative=relative, kind=kind)))
    return path


def test_sources_of_the_same_folder_are_read(write_raster, noise, tmp_path) -> None:
    pixels = noise()
    write_raster(pixels, "tiles/a.tif")
    for named in ("tiles/a.tif", str(tmp_path / "tiles" / "a.tif")):
        raster = Raster.open(vrt(tmp_path / "m.vrt", named, relative=int(not os.path.isabs(named))))
        np.testing.assert_array_equal(raster.raw((5, 6, 50, 40))[0], pixels[:1, 6:46, 5:55])
    assert raster.crs == "EPSG:32618"
    assert raster.name == "m.vrt"
    assert Raster.open(tmp_path / "m.vrt").fingerprint == raster.fingerprint


def test_a_vrt_made_by_gdal_is_read(write_raster, noise, tmp_path) -> None:
    import rasterio.shutil

    pixels = noise(2)
    path = write_raster(pixels, nodata=0)
    rasterio.shutil.copy(path, tmp_path / "copy.vrt", driver="VRT")
    raster = Raster.open(tmp_path / "copy.vrt")
    np.testing.assert_array_equal(raster.raw((0, 0, 128, 96))[0], pixels)
    assert raster.nodata == 0


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("/etc/passwd", 0),
        ("../outside.tif", 1),
        ("sub/../../outside.tif", 1),
        ("/vsicurl/http://127.0.0.1:9/a.tif", 0),
        ("http://127.0.0.1:9/a.tif", 1),
        ("GTIFF_DIR:1:/etc/passwd", 0),
        ("<VRTDataset/>", 0),
        ("", 1),
    ],
)
def test_other_sources_are_refused(write_raster, noise, tmp_path, name, relative) -> None:
    write_raster(noise(), "outside.tif")
    (tmp_path / "inner").mkdir()
    with pytest.raises(
        (UnsafeRasterError, RasterOpenError), match=r"m.vrt: (names the file|is no well-formed)"
    ):
        Raster.open(vrt(tmp_path / "inner" / "m.vrt", name, relative=relative))


def test_links_do_not_lead_out(write_raster, noise, tmp_path) -> None:
    outside = write_raster(noise(), "outside.tif")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link.tif").symlink_to(outside)
    with pytest.raises(UnsafeRasterError, match=r"names the file 'link.tif' outside of its own folder"):
        Raster.open(vrt(tmp_path / "inner" / "m.vrt", "link.tif"))


def test_a_vrt_in_disguise_is_still_checked(tmp_path) -> None:
    vrt(tmp_path / "picture.tif", "/etc/passwd", relative=0)
    with pytest.raises(UnsafeRasterError, match="picture.tif: names the file"):
        Raster.open(tmp_path / "picture.tif")
    with pytest.raises(UnsafeRasterError, match="names the file"):
        Raster.open(vrt(tmp_path / "m.vrt", "picture.tif"))


def test_nested_vrts_are_read_and_their_depth_is_bounded(write_raster, noise, tmp_path) -> None:
    pixels = noise()
    write_raster(pixels, "a.tif")
    vrt(tmp_path / "one.vrt", "a.tif")
    raster = Raster.open(vrt(tmp_path / "two.vrt", "one.vrt"))
    np.testing.assert_array_equal(raster.raw((0, 0, 128, 96))[0], pixels[:1])
    with pytest.raises(UnsafeRasterError, match="more than 4 deep"):
        Raster.open(vrt(tmp_path / "loop.vrt", "loop.vrt"))


@pytest.mark.parametrize("kind", ["VRTDerivedRasterBand", "VRTRawRasterBand", "VRTWarpedRasterBand"])
def test_computed_and_raw_bands_are_refused(write_raster, noise, tmp_path, kind) -> None:
    write_raster(noise(), "a.tif")
    with pytest.raises(UnsafeRasterError, match=f"is a {kind}.*gdal_translate"):
        Raster.open(vrt(tmp_path / "m.vrt", "a.tif", kind=f' subClass="{kind}"'))


def test_unknown_elements_entities_and_broken_text_are_refused(write_raster, noise, tmp_path) -> None:
    write_raster(noise(), "a.tif")
    path = tmp_path / "m.vrt"
    path.write_text(HEAD.format(body="<ArraySource><SourceFilename>a.tif</SourceFilename></ArraySource>"))
    with pytest.raises(UnsafeRasterError, match="holds the element <ArraySource>"):
        Raster.open(path)
    path.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "a">]>' + HEAD.format(body=""))
    with pytest.raises(UnsafeRasterError, match="defines entities"):
        Raster.open(path)
    path.write_text("<VRTDataset rasterXSize=")
    with pytest.raises(RasterOpenError, match="no well-formed VRT"):
        Raster.open(path)
    path.write_text(HEAD.format(body=BAND.format(name="gone.tif", relative=1, kind="")))
    with pytest.raises(RasterOpenError, match=r"names the file 'gone.tif', which does not exist"):
        Raster.open(path)
    with pytest.raises(LimitError, match="a VRT of"):
        Raster.open(path, limits=Limits(config_bytes=100))
