"""Bands are found by number, by the file's names, the agency's, or what they show."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.core.errors import ConfigError
from verticlip.domains.urban.loaders.errors import BandError
from verticlip.domains.urban.loaders.raster import Raster

S2 = ("B02", "B03", "B04", "B08", "B8A")


def first_numbers(path, **options):
    """Return which stored bands are read, for a file whose band n holds n everywhere."""
    raster = Raster.open(path, scaling="none", **options)
    return raster.raw((0, 0, 2, 2))[0][:, 0, 0].tolist(), raster.bands


@pytest.fixture
def numbered(write_raster):
    """Return a function writing bands that hold their own number."""

    def write(count, name="n.tif", dtype="uint16", **settings):
        values = np.broadcast_to(np.arange(1, count + 1)[:, None, None], (count, 8, 8)).astype(dtype)
        return write_raster(values, name, **settings)

    return write


def test_by_number_in_any_order(numbered) -> None:
    path = numbered(4)
    assert first_numbers(path) == ([1, 2, 3, 4], ("1", "2", "3", "4"))
    assert first_numbers(path, bands=[3, 1]) == ([3, 1], ("3", "1"))
    assert first_numbers(path, bands=2) == ([2], ("2",))
    assert first_numbers(path, bands=[2, 2]) == ([2, 2], ("2", "2"))
    assert first_numbers(path, bands={"red": 3, "nir": 4}) == ([3, 4], ("red", "nir"))


def test_by_the_names_of_the_file(numbered) -> None:
    path = numbered(5, names=S2)
    assert first_numbers(path, bands=["B08", "b4"]) == ([4, 3], ("B08", "b4"))
    assert first_numbers(path)[1] == S2
    with pytest.raises(
        BandError, match="there is no band 'B80'; it has: B02, B03, B04, B08, B8A. Did you mean 'B8A'"
    ):
        Raster.open(path, bands=["B80"])


def test_by_what_they_show(numbered) -> None:
    path = numbered(5, names=S2)
    options = {"sensor": "sentinel-2-l2a"}
    assert first_numbers(path, **options) == ([3, 2, 1], ("red", "green", "blue"))
    assert first_numbers(path, bands=["nir", "nir08", "B03"], **options) == (
        [4, 5, 2],
        ("nir", "nir08", "B03"),
    )
    assert first_numbers(path, bands="all", **options)[1] == ("blue", "green", "red", "nir", "nir08")
    landsat = numbered(4, "l.tif", names=("SR_B2", "SR_B3", "SR_B4", "SR_B5"))
    assert first_numbers(landsat, sensor="landsat-c2l2-sr", bands=["red", "nir"])[0] == [3, 4]


def test_common_names_in_the_file(numbered) -> None:
    path = numbered(4, names=("Blue", "Green", "Red", "NIR"))
    assert first_numbers(path, sensor="sentinel-2-l2a")[0] == [3, 2, 1]
    assert first_numbers(path, bands=["red"])[0] == [3]


def test_sets_with_a_fixed_order_need_no_names(numbered) -> None:
    eurosat = numbered(13)
    assert first_numbers(eurosat, sensor="eurosat", bands=["red", "nir08", "B8A", "swir22"])[0] == [
        4,
        13,
        13,
        12,
    ]
    assert first_numbers(eurosat, sensor="ssl4eo-s12-s2-l1c", bands=["red", "nir08", "swir22"])[0] == [
        4,
        9,
        13,
    ]
    assert first_numbers(eurosat, sensor="eurosat") == ([4, 3, 2], ("red", "green", "blue"))


def test_sets_without_one_do(numbered) -> None:
    with pytest.raises(
        BandError, match="sentinel-2-l2a needs the bands red, green, blue, and the file does not say"
    ):
        Raster.open(numbered(4), sensor="sentinel-2-l2a")
    assert first_numbers(numbered(4), sensor="sentinel-2-l2a", bands={"red": 3, "green": 2, "blue": 1})[
        0
    ] == [3, 2, 1]


def test_colors_are_found_in_any_order(numbered) -> None:
    path = numbered(4, dtype="uint8", colors=("blue", "green", "red", "undefined"), photometric="minisblack")
    assert first_numbers(path) == ([3, 2, 1], ("red", "green", "blue"))
    assert first_numbers(path, bands="all")[0] == [1, 2, 3, 4]
    assert first_numbers(path, bands=["blue"])[0] == [1]


def test_names_win_over_the_marks_a_format_gives_by_itself(numbered) -> None:
    three = numbered(3, dtype="uint8", names=("Blue", "Green", "Red"))
    assert first_numbers(three) == ([3, 2, 1], ("red", "green", "blue"))
    four = numbered(4, dtype="uint8", names=("blue", "green", "red", "nir"))
    assert first_numbers(four) == ([3, 2, 1], ("red", "green", "blue"))
    assert first_numbers(numbered(3, dtype="uint8"))[0] == [1, 2, 3]


def test_an_alpha_band_is_no_data_until_asked_for(numbered) -> None:
    path = numbered(4, dtype="uint8", colors=("red", "green", "blue", "alpha"))
    assert first_numbers(path) == ([1, 2, 3], ("red", "green", "blue"))
    assert first_numbers(path, bands="all")[0] == [1, 2, 3]
    assert first_numbers(path, bands=[4])[0] == [4]
    assert first_numbers(path, sensor="rgb8")[0] == [1, 2, 3]
    assert first_numbers(path, sensor="naip", bands=["nir"])[0] == [4]
    gray = numbered(2, "g.tif", dtype="uint8", colors=("gray", "alpha"), photometric="minisblack")
    assert first_numbers(gray) == ([1], ("gray",)) or first_numbers(gray) == ([1], ("1",))


def test_choices_that_make_no_sense(numbered) -> None:
    path = numbered(3)
    with pytest.raises(ConfigError, match="bands is empty"):
        Raster.open(path, bands=[])
    with pytest.raises(ConfigError, match="a number from 1 or a name, not True"):
        Raster.open(path, bands=[True])
    with pytest.raises(ConfigError, match="a number from 1 or a name, not 1.5"):
        Raster.open(path, bands=[1.5])
    with pytest.raises(ConfigError, match="bands lists names of these files"):
        Raster.open({"a": path}, bands={"a": 1})
