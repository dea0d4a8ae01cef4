"""The whole way once: a scene and districts in, land use, found places and an indicator as maps out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import require
from ....core.files import write_json_atomic
from ..outputs.vector import write_layer
from ..scene import Scene, scene_in, write_raster, write_scene
from .class_map import ClassMap, classify_tiles
from .indicator_prediction import PredictionReport, RegionPlan, predict_indicators
from .search import search_tiles

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..loaders.raster import Raster
    from ..outputs.embedding_table import EmbeddingTable

REAL_SCENE = "urban/geotiff/RGB.byte.tif"
"""Scene that is taken when the data folder has it: 791 x 718 pixels of the Bahamas."""

_QUERIES = ("houses", "factories", "a river")
_LOOKS = ("blue water", "pale and bright", "speckled")
"""Words for scenes whose pixels are too coarse for land use: what can be seen at any scale."""

_PREDICTED = {
    "map": "{}.png", "GeoTIFF": "indicators.tif", "tiles": "predictions.gpkg",
    "map of districts": "{}_regions.png", "districts": "regions.gpkg", "report": "report.json",
}  # fmt: skip
"""{what: its name among the files of an indicator}."""


@dataclass(frozen=True)
class ExampleReport:
    """What the example made.

    Attributes:
        folder: where everything is.
        files: {what it is: name below ``folder``}, in the order they are made.
        scene: file name of the scene.
        tiles: that were embedded.
        land_use: {class: tiles}.
        hits: {query: id of the best tile}.
        indicator: name of the indicator.
        block_r2, random_r2: of its cross-validation, on unseen ground and among neighbors.
        notes: what to know before anything is believed.
    """

    folder: Path
    files: dict[str, str]
    scene: str
    tiles: int
    land_use: dict[str, int]
    hits: dict[str, str]
    indicator: str
    block_r2: float
    random_r2: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "scene": self.scene,
            "notes": list(self.notes),
            "tiles": self.tiles,
            "land_use": self.land_use,
            "hits": self.hits,
            "indicator": self.indicator,
            "r2_on_unseen_ground": self.block_r2,
            "r2_at_random": self.random_r2,
            "files": self.files,
        }


@dataclass(frozen=True)
class _Inputs:
    """Files of the example, and what its indicator is called."""

    scene: Path
    regions: Path
    indicator: str
    unit: str
    raster: Path
    made_up: str | None = None


def run_example(
    model: ModelHandle,
    out: str | Path,
    *,
    data: str | Path | None = None,
    scene_px: int = 1024,
    tell: Callable[[str], None] = lambda text: None,
) -> ExampleReport:
    """Embed a scene, map its land use, search it by words and predict an indicator by district.

    Args:
        model: with an image and a text tower.
        out: folder for everything; made when missing. Started again, it continues with what is there.
        data: folder whose :data:`REAL_SCENE` is the scene when it is there. Its districts are quarters of the
            scene and its indicator is how bright the picture is. Otherwise a town is made up, with six
            districts and people.
        scene_px: pixels of a side of a made-up scene.
        tell: called with a line about each step.

    Raises:
        ConfigError: ``out`` holds results of another model or scene.
        InputError: the scene cannot be read.
    """
    from ..geometry.covering import TileGrid
    from ..loaders.raster import Raster
    from ..outputs.geoparquet import read_embeddings
    from .embedding import embed_tiles
    from .scene_tiles import window_size

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    given = _inputs(out, None if data is None else Path(data) / REAL_SCENE, scene_px, tell)
    raster = Raster.open(given.scene)
    window = window_size(model, raster)
    if window.note:
        tell(f"note: {window.note}")
    # Half a tile between tiles: a finer map, and enough places to learn an indicator from.
    tiles = TileGrid("raster", tile_px=window.pixels, stride=window.pixels // 2).over(raster)
    embedded = embed_tiles(model, raster, tiles, out / "tiles.parquet", size=window.read_px)
    tell(f"{embedded.embedded:,} of {len(tiles):,} tiles embedded")
    table = read_embeddings(embedded.out)
    files = {} if given.made_up is None else {"scene": given.made_up}
    files |= {"districts": given.regions.relative_to(out).as_posix(), "embeddings": embedded.out.name}

    land = _map_land_use(model, table, out, raster, caution=bool(window.note))
    files |= {"land use, map": "land-use/land_use.png", "land use, GeoTIFF": "land-use/land_use.tif"}
    queries = _LOOKS if window.note else _QUERIES
    apart_m = 4 * window.pixels * raster.pixel_size_m
    found = search_tiles(model, table, list(queries), 2, apart_m=apart_m)
    found.save(out / "places.geojson")
    found.save_map(out / "places.png", raster)
    files |= {"places found, map": "places.png", "places found, GeoJSON": "places.geojson"}
    report = _predict(given, table, out, raster)
    named = {what: name.format(given.indicator) for what, name in _PREDICTED.items()}
    files |= {
        f"{given.indicator}, {what}": f"{given.indicator}/{name}"
        for what, name in named.items()
        if name in report.files
    }
    validated = report.indicators[given.indicator].report
    made = ExampleReport(
        out,
        files,
        raster.name,
        len(table),
        {name: count for name, count in land.counts().items() if count},
        {query: hits[0].tile_id for query, hits in zip(found.queries, found.hits, strict=True) if hits},
        given.indicator,
        validated.spatial.r2.value,
        validated.random.r2.value,
        tuple(filter(None, (window.note,))),
    )
    write_json_atomic(out / "example.json", made.to_dict())
    return made


def _map_land_use(
    model: ModelHandle, table: EmbeddingTable, out: Path, raster: Raster, *, caution: bool
) -> ClassMap:
    """Write the maps of the model's own classes."""
    land = classify_tiles(model, table)
    note = f"a guess: pixels of {raster.pixel_size_m:.3g} m" if caution else ""
    land.save(out / "land-use", name="land_use", background=raster, note=note)
    return land


def _predict(given: _Inputs, table: EmbeddingTable, out: Path, raster: Raster) -> PredictionReport:
    """Predict the indicator and write its maps, by tile and by district."""
    from ..geometry.regions import Regions
    from ..indicators.prediction import PredictionSettings
    from ..indicators.table import IndicatorTable

    name = given.indicator
    known = IndicatorTable.from_rasters(
        {name: given.raster}, table.tiles(), stat="area_weighted", units={name: given.unit}
    )
    return predict_indicators(
        table,
        known,
        out / name,
        settings=PredictionSettings(target="standardize"),
        regions=RegionPlan(Regions.from_file(given.regions, id_column="name"), "mean"),
        scene=raster,
    )


def _inputs(out: Path, real: Path | None, scene_px: int, tell: Callable[[str], None]) -> _Inputs:
    """Return the files the example works on, made where they are not there."""
    from ..loaders.raster import Raster

    if real is None or not real.is_file():
        if real is not None:
            tell(f"no {REAL_SCENE} in the data folder; a scene is made up")
        made = _town(out / "scene", scene_px)
        # 0.001 degrees are 111 by 84 m there.
        unit = "people per cell (0.94 ha)"
        name = made.image.relative_to(out).as_posix()
        return _Inputs(made.image, made.regions, "population", unit, made.population, name)
    raster = Raster.open(real)
    regions, brightness = out / "quarters.geojson", out / "brightness.tif"
    _write_quarters(raster, regions)
    _write_brightness(raster, brightness)
    return _Inputs(real, regions, "brightness", "0 to 1", brightness)


def _town(folder: Path, side: int) -> Scene:
    """Return the made-up scene of a folder, written where it is not there; a new one would be another."""
    from ..loaders.raster import Raster

    made = scene_in(folder)
    there = all(path.is_file() for path in (made.image, made.regions, made.population, made.cover))
    if there and Raster.open(made.image).width == side:
        return made
    return write_scene(folder, size=side)


def _write_quarters(raster: Raster, path: Path) -> None:
    """Write the four quarters of a scene as GeoJSON."""
    shapely = require("shapely", extra="urban")
    west, south, east, north = raster.bounds
    middle = (west + east) / 2, (south + north) / 2
    boxes = {
        "northwest": (west, middle[1], middle[0], north),
        "northeast": (middle[0], middle[1], east, north),
        "southwest": (west, south, middle[0], middle[1]),
        "southeast": (middle[0], south, east, middle[1]),
    }
    write_layer(path, [shapely.box(*box) for box in boxes.values()], {"name": list(boxes)}, crs=raster.crs)


def _write_brightness(raster: Raster, path: Path) -> None:
    """Write the mean of the bands at an eighth of the resolution, NaN where the scene has no data."""
    rows, columns = raster.height // 8, raster.width // 8
    seen = raster.read((0, 0, raster.width, raster.height), size=(rows, columns))
    values = seen.image.mean(dim=0).masked_fill(~seen.mask, float("nan"))
    write_raster(path, values[None].numpy(), seen.transform, raster.crs)
