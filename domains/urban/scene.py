"""A made-up coastal town from above: for the worked example and for trying things out without imagery.

Procedural, with the mean colors and the textures that Sentinel-2 pictures of the ten land-use classes of
EuroSAT have; no pixel of a real picture is in it. It shows how the tools work and is no evidence of how
well a model does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InputError, require
from .outputs.tile_images import write_pixels
from .outputs.vector import write_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVER = (
    "SeaLake", "River", "Forest", "Pasture", "AnnualCrop", "PermanentCrop", "HerbaceousVegetation",
    "Residential", "Industrial", "Highway",
)  # fmt: skip
"""What the numbers of the land-cover map stand for."""

PIXEL_M = 10.0
_ORIGIN = (600_000.0, 4_510_000.0)
_CRS = "EPSG:32633"
_PEOPLE_PER_HECTARE = {
    "Residential": 60.0, "Industrial": 6.0, "Highway": 1.0, "AnnualCrop": 0.4, "PermanentCrop": 0.5,
    "Pasture": 0.3, "HerbaceousVegetation": 0.1, "Forest": 0.02,
}  # fmt: skip
_SMALLEST = 256


@dataclass(frozen=True)
class Scene:
    """Where the files of a made-up scene lie.

    Attributes:
        image: GeoTIFF, uint8 [3, N, N], 10 m pixels in UTM zone 33N.
        regions: GeoJSON of six districts with ``name``, in EPSG:4326.
        population: GeoTIFF, float32, people in each pixel of about 100 m, in EPSG:4326.
        cover: GeoTIFF, uint8: positions in :data:`COVER`, on the grid of the image.
    """

    image: Path
    regions: Path
    population: Path
    cover: Path


def write_scene(folder: str | Path, *, size: int = 1024, seed: int = 0) -> Scene:
    """Write a made-up scene with districts and people into ``folder``, and return where.

    Args:
        folder: made when missing. size: pixels of a side, at least 256.
        seed: equal seeds give equal pixels.

    Raises:
        InputError: ``size`` is below 256.
    """
    if size < _SMALLEST:
        raise InputError(f"A scene has at least {_SMALLEST} pixels a side, got {size}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cover = land_cover(size, rng)
    image = _painted(cover, rng)
    transform = (PIXEL_M, 0.0, _ORIGIN[0], 0.0, -PIXEL_M, _ORIGIN[1])
    scene = scene_in(folder)
    write_raster(scene.image, image, transform, _CRS, overviews=True)
    write_raster(scene.cover, cover[None], transform, _CRS)
    people = sum(
        value / 100.0 * (cover == COVER.index(name)).astype(np.float64)  # 10 m pixels: 100 to a hectare
        for name, value in _PEOPLE_PER_HECTARE.items()
    )
    _write_people(scene.population, np.asarray(people) * (0.5 + _noise(size, 60, rng)))
    _write_regions(scene.regions, size)
    return scene


def scene_in(folder: str | Path) -> Scene:
    """Return where the files of a scene in ``folder`` lie, or would lie."""
    names = ("scene.tif", "regions.geojson", "population.tif", "cover.tif")
    return Scene(*(Path(folder) / name for name in names))


def land_cover(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 [size, size], positions in :data:`COVER`: sea in the west, a town on a river, fields."""
    y, x = np.mgrid[0:size, 0:size] / size
    cover = np.empty((size, size), np.uint8)

    def put(name: str, where: NDArray[np.bool_] | bool) -> None:
        cover[where] = COVER.index(name)

    hills = _noise(size, size / 7, rng) - 0.5
    rough = 0.12 * (_noise(size, size / 12, rng) - 0.5)
    bend = 0.06 * np.sin(7 * y) + 0.05 * (_noise(size, size / 6, rng) - 0.5)
    put("AnnualCrop", True)
    put("PermanentCrop", (y - rough > 0.64) & (x - 0.1 * hills > 0.62))
    put("Pasture", y + 0.25 * hills < 0.34)
    put("Forest", (y + 0.3 * hills < 0.26) | ((x - 0.88) ** 2 + (y - 0.3) ** 2 + 0.2 * rough < 0.02))
    put("HerbaceousVegetation", (y + rough > 0.74) & (x + 0.2 * hills < 0.47))
    town = np.hypot((x - 0.44) / 0.2, (y - 0.5) / 0.16)
    put("Residential", town + 0.5 * (_noise(size, size / 16, rng) - 0.5) < 1)
    harbor = (x - 0.27 - bend > 0) & (x + rough < 0.36) & (np.abs(y - 0.55 + rough) < 0.1)
    put("Industrial", harbor | (np.hypot((x - 0.66) / 0.1, (y - 0.46) / 0.07) < 1))
    # Roads and river keep their width in pixels whatever the size of the scene.
    put("Highway", np.abs(y - (0.36 + 0.08 * np.sin(4 * x) + 0.15 * x)) * size < 2.2)
    put("Highway", np.abs(x - (0.56 + 0.05 * np.sin(5 * y))) * size < 2.2)
    river = np.abs(y - (0.58 + 0.05 * np.sin(9 * x) + 0.03 * np.sin(23 * x))) * size
    put("River", river < 8.5 + 3 * hills)
    put("SeaLake", x < 0.22 + bend)
    return cover


def _painted(cover: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 [3, N, N]: each class with its colors and its texture."""
    size = len(cover)
    fine, soft = rng.standard_normal((size, size)), _noise(size, 3, rng) - 0.5
    parcels = _parcels(size, rng, 34, 0.35)
    plots = _parcels(size, rng, 15, -0.2)
    tone = rng.random(4096)
    rows = np.sin(_along(size, 0.5) * 2.2)
    painted = np.zeros((3, size, size))

    def paint(name: str, color: tuple[float, float, float], texture: NDArray[np.float64]) -> None:
        where = cover == COVER.index(name)
        for band, value in enumerate(color):
            painted[band][where] = (value + texture * (1.0, 0.85, 0.75)[band])[where]

    paint("SeaLake", (34, 60, 86), 0.7 * fine + 8 * (_noise(size, 90, rng) - 0.5))
    paint("River", (44, 68, 84), 2 * fine + 6 * soft)
    paint("Forest", (38, 62, 72), 2.5 * fine + 14 * soft)
    meadow = _parcels(size, rng, 26, 0.1)
    paint("Pasture", (58, 88, 86), 26 * (tone[meadow] - 0.5) + 2 * fine + 8 * soft)
    paint("HerbaceousVegetation", (106, 98, 100), 10 * fine + 60 * soft + 40 * (_noise(size, 30, rng) - 0.5))
    paint("PermanentCrop", (122, 112, 106), 90 * (tone[plots] - 0.5) + 10 * rows + 5 * fine)
    _paint_fields(painted, cover, tone[parcels], tone[(parcels * 7 + 3) % 4096], rng)
    roofs, streets = _town(size, rng)
    paint("Residential", (88, 94, 100), 26 * fine * (roofs > 0.45) + 34 * (roofs - 0.5) - 20 * streets)
    red = (cover == COVER.index("Residential")) & (roofs > 0.62)
    painted[0][red] += 26
    halls = _halls(size, rng)
    paint("Industrial", (108, 112, 116), 6 * fine + 110 * halls)
    paint("Highway", (132, 134, 134), 6 * fine)
    painted = _softened(painted)
    return np.clip(np.round(painted), 1, 255).astype(np.uint8)


def _paint_fields(
    painted: NDArray[np.float64],
    cover: NDArray[np.uint8],
    tone: NDArray[np.float64],
    kind: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Color arable land: bare, ripe and green parcels with sharp edges."""
    where = cover == COVER.index("AnnualCrop")
    bare = np.stack([150 + 50 * tone, 122 + 34 * tone, 114 + 26 * tone])
    green = np.stack([48 + 24 * tone, 92 + 24 * tone, 84 + 14 * tone])
    color = np.where(kind < 0.34, green, bare) + 2.5 * rng.standard_normal(tone.shape)
    painted[:, where] = color[:, where]


def _noise(size: int, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise [size, size] between 0 and 1 whose features are about ``scale`` pixels wide."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.exp(-((frequency * scale * 2) ** 2))
    field = np.fft.irfft2(spectrum, s=(size, size))
    low, high = np.quantile(field, (0.002, 0.998))
    return np.clip((field - low) / (high - low), 0, 1)


def _along(size: int, angle: float) -> NDArray[np.float64]:
    """Return the distance in pixels along a direction, [size, size]."""
    y, x = np.mgrid[0:size, 0:size]
    return x * math.cos(angle) + y * math.sin(angle)


def _parcels(size: int, rng: np.random.Generator, side: float, angle: float) -> NDArray[np.int64]:
    """Return the number (0 to 4095) of the parcel that each pixel lies in: strips of uneven length."""
    wobble = 6 * (_noise(size, size / 5, rng) - 0.5)
    strip = np.floor((_along(size, angle) + wobble + 4 * size) / side).astype(np.int64)
    start = rng.random(8192) * 3 * side
    row = np.floor(
        (_along(size, angle + math.pi / 2) + start[strip % 8192] + 4 * size) / (side * 2.2)
    ).astype(np.int64)
    return (strip * 73 + row * 179) % 4096


def _town(size: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return roofs [size, size], 0 to 1, and where streets are: blocks of houses on a turned grid."""
    u, v = _along(size, 0.2), _along(size, 0.2 + math.pi / 2)
    streets = (np.mod(u, 14) < 1.6) | (np.mod(v, 22) < 1.6)
    houses = rng.random((size // 2 + 1, size // 2 + 1)).repeat(2, 0).repeat(2, 1)[:size, :size]
    return houses, streets


def _halls(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how bright large roofs are [size, size], -0.5 to 1: halls of 8 by 14 pixels between yards."""
    u, v = _along(size, 0.6) + 4 * size, _along(size, 0.6 + math.pi / 2) + 4 * size
    inside = (np.mod(u, 12) < 8.5) & (np.mod(v, 19) < 14)
    number = (np.floor(u / 12).astype(np.int64) * 131 + np.floor(v / 19).astype(np.int64) * 37) % 4096
    bright = rng.choice([-0.35, 0.1, 0.5, 0.9, 1.1], size=4096)
    return np.where(inside, bright[number], -0.1)


def _softened(painted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the picture through a small blur, as an instrument gives it."""
    padded = np.pad(painted, ((0, 0), (1, 1), (1, 1)), mode="edge")
    middle = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    blurred = (middle[:, :, :-2] + 2 * middle[:, :, 1:-1] + middle[:, :, 2:]) / 4
    return 0.55 * painted + 0.45 * blurred


def write_raster(
    path: Path,
    values: NDArray[np.uint8] | NDArray[np.float32],
    transform: tuple[float, float, float, float, float, float],
    crs: str,
    *,
    overviews: bool = False,
) -> None:
    """Write [C, H, W] as a tiled, compressed GeoTIFF."""
    floats = values.dtype == np.float32
    write_pixels(
        path, values, transform, crs, overviews=(2, 4, 8) if overviews else (), driver="GTiff", tiled=True,
        blockxsize=256, blockysize=256, compress="deflate", predictor=3 if floats else 2,
        nodata=math.nan if floats else None,
    )  # fmt: skip


def _write_people(path: Path, people: NDArray[np.float64]) -> None:
    """Write people per pixel of 0.001 degrees, summed from the 10 m grid: another grid on purpose."""
    transformer = require("pyproj", extra="urban").Transformer.from_crs(_CRS, "EPSG:4326", always_xy=True)
    size = len(people)
    y, x = np.mgrid[0:size, 0:size]
    lon, lat = transformer.transform(
        _ORIGIN[0] + (x.ravel() + 0.5) * PIXEL_M, _ORIGIN[1] - (y.ravel() + 0.5) * PIXEL_M
    )
    step = 0.001
    west, north = math.floor(lon.min() / step) * step, math.ceil(lat.max() / step) * step
    column, row = ((lon - west) / step).astype(np.int64), ((north - lat) / step).astype(np.int64)
    width, height = int(column.max()) + 1, int(row.max()) + 1
    summed = np.bincount(row * width + column, people.ravel(), minlength=width * height)
    seen = np.bincount(row * width + column, minlength=width * height)
    # Cells that the scene covers only in part would hold too few people.
    summed[seen < 0.9 * np.median(seen)] = np.nan
    values = summed.reshape(1, height, width).astype(np.float32)
    write_raster(path, values, (step, 0.0, west, 0.0, -step, north), "EPSG:4326")


def _write_regions(path: Path, size: int) -> None:
    """Write six districts that meet in bent borders, as GeoJSON in longitude and latitude."""
    transformer = require("pyproj", extra="urban").Transformer.from_crs(_CRS, "EPSG:4326", always_xy=True)
    xs = ((0.02, 0.02, 0.02), (0.38, 0.33, 0.36), (0.67, 0.71, 0.64), (0.98, 0.98, 0.98))
    ys = ((0.02, 0.02, 0.02, 0.02), (0.5, 0.47, 0.53, 0.5), (0.98, 0.98, 0.98, 0.98))
    names = ("North Bay", "Northfield", "Highwood", "Harbor", "Old Town", "Orchards")
    outlines = []
    for position in range(len(names)):
        row, column = divmod(position, 3)
        corners = [
            (xs[column][row], ys[row][column]), (xs[column + 1][row], ys[row][column + 1]),
            (xs[column + 1][row + 1], ys[row + 1][column + 1]), (xs[column][row + 1], ys[row + 1][column]),
        ]  # fmt: skip
        ring = [
            transformer.transform(_ORIGIN[0] + u * size * PIXEL_M, _ORIGIN[1] - v * size * PIXEL_M)
            for u, v in [*reversed(corners), corners[-1]]
        ]
        outlines.append(require("shapely", extra="urban").Polygon(ring))
    write_layer(path, outlines, {"name": names}, crs="EPSG:4326")
