"""Quick-look maps: scale, north and legend are right, and the picture is what was asked for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from urban import make_scenes as scenes
from verticlip.core.errors import DataError, InputError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.geometry.regions import Regions
from verticlip.domains.urban.geometry.tiles import Tiles
from verticlip.domains.urban.loaders.records import TileImage
from verticlip.domains.urban.outputs import furniture
from verticlip.domains.urban.outputs.colors import as_hex, class_colors
from verticlip.domains.urban.outputs.picture import Mark, save_map, save_marks

pyproj = pytest.importorskip("pyproj")
shapely = pytest.importorskip("shapely")
grid, UTM = scenes.grid, scenes.UTM

ROME = "EPSG:32633"
EXTENT = (290_000.0, 4_630_000.0, 300_000.0, 4_640_000.0)


class Backdrop:
    """Green ground, half of it invalid."""

    name = "scene.tif"
    crs = UTM
    bounds = (500_000.0, 4_498_080.0, 502_560.0, 4_500_000.0)

    def read_bounds(self, bounds, crs, *, size) -> TileImage:
        self.asked = bounds, crs, size
        image = torch.zeros(3, *size)
        image[1] = 0.6
        mask = torch.ones(size, dtype=torch.bool)
        mask[: size[0] // 2] = False
        return TileImage(image, mask, (1, 0, 0, 0, -1, 0), crs, "")


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_color(path: Path, text: str, near: int = 12) -> bool:
    wanted = np.array([int(text[start : start + 2], 16) for start in (1, 3, 5)])
    return bool((np.abs(pixels(path) - wanted).max(axis=2) <= near).sum() > 30)


def test_scale_is_geodesic() -> None:
    geod = pyproj.Geod(ellps="WGS84")
    for crs, extent in ((ROME, EXTENT), ("EPSG:3857", (1_390_000, 5_140_000, 1_400_000, 5_150_000)),
                        ("EPSG:4326", (12.4, 41.8, 12.6, 42.0))):  # fmt: skip
        west, south, east, north = extent
        lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(
            [west, east], [(south + north) / 2] * 2
        )
        truth = geod.inv(lon[0], lat[0], lon[1], lat[1])[2]
        assert furniture.meters_across(extent, crs) == pytest.approx(truth, rel=1e-4)
    # Web mercator stretches by 1 / cos(latitude): 10 km on the map are 7.5 km on the ground.
    assert furniture.meters_across((1_390_000, 5_140_000, 1_400_000, 5_150_000), "EPSG:3857") < 7600


@pytest.mark.parametrize(("across", "meters", "words"), [
    (10_000, 2000, "2 km"), (700, 200, "200 m"), (17, 5, "5 m"), (4_000_000, 1_000_000, "1,000 km"), (2, 0.5, "0.5 m"),
])  # fmt: skip
def test_bars_are_round_and_fit(across: float, meters: float, words: str) -> None:
    assert furniture.bar_length(across) == pytest.approx(meters)
    assert furniture.length_words(furniture.bar_length(across)) == words


def test_north_follows_the_meridian() -> None:
    # West of the central meridian of its zone, true north lies to the right of grid north: by (lon - lon0) sin(lat).
    right, up = furniture.north_direction((290_000, 4_630_000, 300_000, 4_640_000), ROME)
    lon, lat = pyproj.Transformer.from_crs(ROME, 4326, always_xy=True).transform(295_000, 4_635_000)
    convergence = math.radians(lon - 15) * math.sin(math.radians(lat))
    assert math.atan2(right, up) == pytest.approx(-convergence, abs=1e-3)
    assert furniture.north_direction((12.4, 41.8, 12.6, 42.0), "EPSG:4326") == pytest.approx((0, 1), abs=1e-6)
    # In a polar view north is down, to the left, ...: whatever it is, it points to the pole.
    right, up = furniture.north_direction((-10_000, 1_990_000, 10_000, 2_010_000), "EPSG:3413")
    assert up == pytest.approx(-1, abs=1e-3)


def test_place_line() -> None:
    assert furniture.place_line(EXTENT, ROME).startswith("EPSG:32633, middle at 41.8")
    assert "S" in furniture.place_line((-60, -40, -50, -30), "EPSG:4326")
    assert furniture.stretch_of((0, 59, 2, 61), "EPSG:4326") == pytest.approx(2.0, rel=1e-3)


def test_values_over_a_scene(tmp_path: Path) -> None:
    values = np.arange(48.0)
    values[::9] = np.nan
    scene = Backdrop()
    save_map(tmp_path / "a.png", values, grid(), title="People", unit="per tile", background=scene, note="m")
    bounds, crs, size = scene.asked
    assert crs == UTM
    assert bounds[0] < 500_000
    assert bounds[2] > 502_560
    assert max(size) < 1500
    shape = pixels(tmp_path / "a.png").shape
    assert 600 < shape[1] < 1600
    again = tmp_path / "b.png"
    save_map(again, values, grid(), title="People", unit="per tile", background=scene, note="m")
    assert again.read_bytes() == (tmp_path / "a.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_classes_have_their_colours(tmp_path: Path) -> None:
    classes = np.where(np.arange(48) < 24, 0, 2)
    save_map(tmp_path / "a.png", classes, grid(), classes=["water", "wood", "town $1"])
    colors = [as_hex(color) for color in class_colors(["water", "wood", "town $1"])]
    assert has_color(tmp_path / "a.png", colors[0], near=2)
    assert has_color(tmp_path / "a.png", colors[2], near=2)
    assert not has_color(tmp_path / "a.png", colors[1], near=2)
    assert len(set(class_colors(60))) == 60


def test_land_use_has_its_usual_colours() -> None:
    eurosat = ["annual crop", "forest", "herbaceous vegetation", "highway", "industrial", "pasture",
               "permanent crop", "residential", "river", "sea or lake"]  # fmt: skip
    colors = [as_hex(color).upper() for color in class_colors(eurosat)]
    assert colors == ["#F0E442", "#00573F", "#009E73", "#4D4D4D", "#CC79A7", "#A6D854", "#E69F00", "#D55E00",
                      "#56B4E9", "#0B4F9E"]  # fmt: skip
    words = ["office", "parking lot", "residential buildings", "industrial buildings"]
    assert [as_hex(color).upper() for color in class_colors(words)][1:] == ["#4D4D4D", "#D55E00", "#CC79A7"]
    many = class_colors(["sea", "lake", "a", "b", *map(str, range(40))])
    assert len(set(many)) == 44
    assert class_colors(2) == [(0, 114, 178), (230, 159, 0)]


def test_regions_with_holes_and_degrees(tmp_path: Path) -> None:
    ring = shapely.box(12.0, 41.0, 13.0, 42.0).difference(shapely.box(12.3, 41.3, 12.6, 41.6))
    two = shapely.union_all([shapely.box(13.2, 41.0, 13.5, 41.4), shapely.box(13.2, 41.6, 13.5, 42.0)])
    regions = Regions(("a", "b"), np.array([ring, two]), "EPSG:4326")
    save_map(tmp_path / "a.png", [1.0, np.nan], regions, title="Rates", unit="%")
    save_map(tmp_path / "b.png", [5.0, 5.0], regions)
    save_map(tmp_path / "c.png", [np.nan, np.nan], regions)
    outer, hole = furniture.paths_of([ring])[0].vertices[:5], furniture.paths_of([ring])[0].vertices[5:]
    assert shapely.LinearRing(outer).is_ccw
    assert not shapely.LinearRing(hole).is_ccw
    assert len(furniture.paths_of([two])[0].vertices) == 10
    assert len(furniture.paths_of([shapely.Polygon()])[0].vertices) == 0


def test_a_background_of_another_place_is_told(tmp_path: Path, caplog) -> None:
    class Elsewhere(Backdrop):
        def read_bounds(self, bounds, crs, *, size) -> TileImage:
            raise InputError("scene.tif: the rectangle shares no pixel with the scene.")

    save_map(tmp_path / "a.png", np.arange(48.0), grid(), background=Elsewhere())
    assert "The map has no background: scene.tif" in caplog.text
    save_map(tmp_path / "b.png", np.arange(48.0), grid())
    assert (tmp_path / "a.png").exists()


def test_marks(tmp_path: Path) -> None:
    marks = [Mark(3, "1"), Mark(40, "2"), Mark(20, "1", group=1)]
    save_marks(tmp_path / "a.png", marks, grid(), names=["a port", "a forest"], background=Backdrop())
    save_marks(tmp_path / "b.png", marks, grid(), names=["a port", "a forest"])
    for color in class_colors(2):
        assert has_color(tmp_path / "b.png", as_hex(color), near=2)
    save_marks(tmp_path / "c.png", [], grid(), names=["nothing found"])
    with pytest.raises(DataError, match="Every mark needs a row"):
        save_marks(tmp_path / "d.png", [Mark(99, "1")], grid(), names=["a"])


def test_numbers_that_are_no_map(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one value for each of 48 places, got \[3\]"):
        save_map(tmp_path / "a.png", np.zeros(3), grid())
    with pytest.raises(DataError, match="whole numbers from -1 to 1"):
        save_map(tmp_path / "a.png", np.full(48, 2), grid(), classes=["a", "b"])
    with pytest.raises(InputError, match="no coordinate system"):
        save_map(tmp_path / "a.png", [1.0], Tiles(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), ""))
    assert not list(tmp_path.iterdir())


def test_tall_and_wide_scenes_stay_readable(tmp_path: Path) -> None:
    for name, width, height in (("wide", 2000, 60), ("tall", 60, 2000)):
        tiles = raster_grid(width, height, scenes.TRANSFORM, UTM, size=20)
        save_map(tmp_path / f"{name}.png", np.arange(float(len(tiles))), tiles, title=name)
        height_px, width_px = pixels(tmp_path / f"{name}.png").shape[:2]
        assert height_px < 1700
        assert 300 < width_px < 1600


@pytest.mark.parametrize("away", [5_000, 600_000], ids=["pixels", "outlines"])
def test_tiles_far_apart_are_drawn_where_they_are(tmp_path: Path, away: float) -> None:
    """Two tiles in opposite corners: most of the map stays empty, whichever way it is drawn."""
    side = away / 10 if away < 10_000 else 640.0
    west, south = 400_000.0, 4_000_000.0
    corners = [(west, south), (west + away, south + 0.8 * away)]
    bounds = np.array([(x, y, x + side, y + side) for x, y in corners])
    tiles = Tiles(("a", "b"), bounds, UTM)
    save_map(tmp_path / "a.png", [0, 1], tiles, classes=["water", "town"])
    seen = pixels(tmp_path / "a.png")[:, : int(pixels(tmp_path / "a.png").shape[1] * 0.7)]
    for color in class_colors(["water", "town"]):
        near = (np.abs(seen - np.array(color)).max(axis=2) <= 12).sum()
        assert near < 0.05 * seen.shape[0] * seen.shape[1]
    assert (seen.min(axis=2) > 250).mean() > 0.85, "the ground between them is empty"
