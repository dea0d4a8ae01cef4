"""The whole way once: a scene and districts in, land use, found places and an indicator as maps out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.files import write_json_atomic
from ..scene import write_raster, write_scene

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..loaders.raster import Raster

REAL_SCENE = "urban/geotiff/RGB.byte.tif"
"""Scene that is taken when the data folder has it: 791 x 718 pixels of the Bahamas."""

_QUERIES = ("a town with many houses", "factory halls", "open water")


@dataclass(frozen=True)
class ExampleReport:
    """What the example made.

    Attributes:
        files: {what it is: path}, in the order they are made.
        tiles: that were embedded.
        land_use: {class: tiles}.
        hits: {query: id of the best tile}.
        indicator: name of the indicator.
        block_r2, random_r2: of its cross-validation, on unseen ground and among neighbors.
    """

    files: dict[str, Path]
    tiles: int
    land_use: dict[str, int]
    hits: dict[str, str]
    indicator: str
    block_r2: float
    random_r2: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "tiles": self.tiles,
            "land_use": self.land_use,
            "hits": self.hits,
            "indicator": self.indicator,
            "r2_on_unseen_ground": self.block_r2,
            "r2_at_random": self.random_r2,
            "files": {what: str(path) for what, path in self.files.items()},
        }


@dataclass(frozen=True)
class _Inputs:
    """Files of the example, and what its indicator is called."""

    scene: Path
    regions: Path
    indicator: str
    unit: str
    raster: Path
    aggregate: str


def run_example(
    model: ModelHandle,
    out: str | Path,
    *,
    data: str | Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> ExampleReport:
    """Embed a scene, map its land use, search it by words and predict an indicator by district.

    Args:
        model: with an image and a text tower.
        out: folder for everything; made when missing. Started again, it continues with what is there.
        data: folder whose :data:`REAL_SCENE` is the scene when it is there. Its districts are quarters of the
            scene and its indicator is how bright the picture is. Otherwise a town is made up, with six
            districts and people.
        tell: called with a line about each step.

    Raises:
        ConfigError: ``out`` holds results of another model or scene.
        InputError: the scene cannot be read.
    """
    from ..geometry.covering import TileGrid
    from ..geometry.regions import Regions
    from ..indicators.prediction import PredictionSettings
    from ..indicators.table import IndicatorTable
    from ..loaders.raster import Raster
    from ..outputs.geoparquet import read_embeddings
    from .class_map import classify_tiles
    from .embedding import embed_tiles
    from .indicator_prediction import RegionPlan, predict_indicators
    from .scene_tiles import window_size
    from .search import search_tiles

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    given = _inputs(out, None if data is None else Path(data) / REAL_SCENE, tell)
    raster = Raster.open(given.scene)
    window = window_size(model, raster)
    if window.note:
        tell(f"note: {window.note}")
    # Half a tile between tiles: a finer map, and enough places to learn an indicator from.
    tiles = TileGrid("raster", tile_px=window.pixels, stride=window.pixels // 2).over(raster)
    embedded = embed_tiles(model, raster, tiles, out / "tiles.parquet", size=window.read_px)
    tell(f"{embedded.embedded:,} of {len(tiles):,} tiles embedded")
    table = read_embeddings(embedded.out)
    files = {"scene": given.scene, "districts": given.regions, "embeddings": embedded.out}

    land = classify_tiles(model, table)
    maps = land.save(out / "land-use", name="land_use", background=raster)
    files |= {"land use, map": maps["picture"], "land use, GeoTIFF": maps["classes"]}
    found = search_tiles(model, table, list(_QUERIES), 3, apart_m=4 * window.pixels * raster.pixel_size_m)
    files["places found"] = found.save(out / "places.geojson")
    files["places found, map"] = found.save_map(out / "places.png", raster)

    indicators = IndicatorTable.from_rasters(
        {given.indicator: given.raster},
        table.tiles(),
        stat="area_weighted",
        units={given.indicator: given.unit},
    )
    report = predict_indicators(
        table,
        indicators,
        out / given.indicator,
        settings=PredictionSettings(target="standardize"),
        regions=RegionPlan(Regions.from_file(given.regions, id_column="name"), "mean"),
        scene=raster,
    )
    files |= {
        f"{given.indicator}, {Path(name).suffix[1:]}": out / given.indicator / name for name in report.files
    }
    validated = report.indicators[given.indicator].report
    made = ExampleReport(
        files,
        len(table),
        {name: count for name, count in land.counts().items() if count},
        {query: hits[0].tile_id for query, hits in zip(found.queries, found.hits, strict=True) if hits},
        given.indicator,
        validated.spatial.r2.value,
        validated.random.r2.value,
    )
    write_json_atomic(out / "example.json", made.to_dict())
    return made


def _inputs(out: Path, real: Path | None, tell: Callable[[str], None]) -> _Inputs:
    """Return the files the example works on, made where they are not there."""
    from ..loaders.raster import Raster

    if real is None or not real.is_file():
        if real is not None:
            tell(f"no {REAL_SCENE} in the data folder; a scene is made up")
        made = write_scene(out / "scene")
        # 0.001 degrees are 0.94 hectares there; per pixel is what the raster says.
        return _Inputs(made.image, made.regions, "population", "people per pixel", made.population, "mean")
    raster = Raster.open(real)
    regions, brightness = out / "quarters.geojson", out / "brightness.tif"
    write_json_atomic(regions, _quarters(raster))
    _write_brightness(raster, brightness)
    return _Inputs(real, regions, "brightness", "0 to 1", brightness, "mean")


def _quarters(raster: Raster) -> dict[str, Any]:
    """Return the four quarters of a scene as GeoJSON in longitude and latitude."""
    from ..geometry.projection import transform_points

    west, south, east, north = raster.bounds
    middle = (west + east) / 2, (south + north) / 2
    boxes = {
        "northwest": (west, middle[1], middle[0], north),
        "northeast": (middle[0], middle[1], east, north),
        "southwest": (west, south, middle[0], middle[1]),
        "southeast": (middle[0], south, east, middle[1]),
    }
    features = []
    for name, (left, bottom, right, top) in boxes.items():
        ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
        xs, ys = np.array(ring).T
        lon, lat = transform_points(xs, ys, raster.crs, "EPSG:4326")
        corners = np.stack([lon, lat], axis=1).round(7).tolist()
        features.append(
            {
                "type": "Feature",
                "properties": {"name": name},
                "geometry": {"type": "Polygon", "coordinates": [corners]},
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _write_brightness(raster: Raster, path: Path) -> None:
    """Write the mean of the bands at an eighth of the resolution, NaN where the scene has no data."""
    rows, columns = raster.height // 8, raster.width // 8
    seen = raster.read((0, 0, raster.width, raster.height), size=(rows, columns))
    values = seen.image.mean(dim=0).masked_fill(~seen.mask, float("nan"))
    write_raster(path, values[None].numpy(), seen.transform, raster.crs)
