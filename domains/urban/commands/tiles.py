"""``verticlip urban tiles``: a scene, or regions, cut into tiles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import Json, check_folder, failure_line, finish, progress_line
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError
from .scenes import (
    Bands,
    NoData,
    RegionId,
    RegionsCRS,
    RegionsLayer,
    Repair,
    S2Offset,
    SceneCRS,
    Sensor,
    Verify,
    open_scene,
    read_regions,
)

if TYPE_CHECKING:
    from ..geometry.covering import TileGrid
    from ..geometry.regions import Regions
    from ..geometry.tiles import Tiles
    from ..loaders.raster import Raster

_SHOWN = 10


def tiles(
    scene: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SCENE", help="Raster, or several side by side; none with a tile scheme."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write: .geojson, .parquet or .gpkg.")] = Path(
        "tiles.geojson"
    ),
    size: Annotated[
        int,
        typer.Option(
            min=1, help="Pixels of a tile's side; urban embed by itself takes what its model needs."
        ),
    ] = 64,
    stride: Annotated[int | None, typer.Option(min=1, help="Pixels between tiles; default: size.")] = None,
    edge: Annotated[
        str, typer.Option(help="Where tiles do not fit: shift the last inside, pad, or drop it.")
    ] = "shift",
    regions: Annotated[
        Path | None, typer.Option(help="Polygons: GeoJSON, GeoPackage, Shapefile or GeoParquet.")
    ] = None,
    region_id: RegionId = None,
    regions_crs: RegionsCRS = None,
    regions_layer: RegionsLayer = None,
    repair: Repair = False,
    rule: Annotated[
        str, typer.Option(help="Which tiles a region gets: intersects, centroid or fraction.")
    ] = "intersects",
    fraction: Annotated[
        float, typer.Option(help="rule=fraction: share of a tile that lies in regions, over 0 to 1.")
    ] = 0.0,
    scheme: Annotated[
        str, typer.Option(help="raster: the scene's own pixels; or webmercator, tms, baidu.")
    ] = "raster",
    zoom: Annotated[int | None, typer.Option(help="Level of a tile scheme, for example 16.")] = None,
    datum: Annotated[
        str | None, typer.Option(help="What a tile scheme counts in: EPSG:4326, GCJ-02 or BD-09.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each tile, with its place.")
    ] = None,
    picture_format: Annotated[
        str, typer.Option(help="png: to look at; tif: the scene's own numbers.")
    ] = "png",
    min_valid: Annotated[
        float, typer.Option(min=0, max=1, help="Share of valid pixels that a picture needs.")
    ] = 0.5,
    bands: Bands = None,
    sensor: Sensor = None,
    s2_offset: S2Offset = "auto",
    nodata: NoData = None,
    crs: SceneCRS = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Cut a scene, or the regions of a file, into tiles.

    The table opens in QGIS; `urban embed` and `urban caption` take it with --tiles.
    """
    from ..geometry.tile_files import check_suffix, write_tiles

    check_suffix(out)
    check_folder(out.parent)
    if pictures is not None:
        check_folder(pictures)
    grid = _grid(scheme, size, stride, edge, zoom=zoom, datum=datum)
    raster = None
    if scene:
        raster = open_scene(
            scene, bands=bands, sensor=sensor, s2_offset=s2_offset, nodata=nodata, crs=crs, verify=verify
        )
    if raster is None:
        _need_scene(scheme, regions, pictures)
    found_regions = read_regions(regions, region_id, regions_crs, layer=regions_layer, repair=repair)
    found = _cut(grid, raster, found_regions, rule=rule, fraction=fraction)
    write_tiles(found, out)
    told = _facts(found, found_regions, out)
    failed = 0
    if pictures is not None and raster is not None:
        failed = _write_pictures(raster, found, pictures, picture_format, min_valid, told)
    if as_json:
        print_json([told])
    else:
        _show(found, found_regions, told)
    finish(failed, len(found))


def _grid(
    scheme: str, size: int, stride: int | None, edge: str, *, zoom: int | None, datum: str | None
) -> TileGrid:
    """Return the grid that the options describe."""
    from ..geometry.covering import TileGrid

    if scheme != "raster":
        if stride is not None:
            raise ConfigError(f"--stride is for --scheme raster; tiles of {scheme} do not overlap.")
        return TileGrid(scheme, zoom=zoom, crs=datum)
    if zoom is not None or datum is not None:
        raise ConfigError("--zoom and --datum are for tile schemes; add --scheme webmercator, tms or baidu.")
    return TileGrid("raster", tile_px=size, stride=stride, edge=edge)  # pyright: ignore[reportArgumentType]


def _need_scene(scheme: str, regions: Path | None, pictures: Path | None) -> None:
    """Raise ``ConfigError`` where what was asked for cannot be done without a scene."""
    if scheme == "raster":
        raise ConfigError(
            "Name a scene to cut, or a tile scheme: --scheme webmercator --zoom 16 --regions FILE."
        )
    if pictures is not None:
        raise ConfigError("--pictures writes pictures of a scene; name one.")
    if regions is None:
        raise ConfigError("Say where: name a scene, or --regions FILE.")


def _cut(
    grid: TileGrid, raster: Raster | None, regions: Regions | None, *, rule: str, fraction: float
) -> Tiles:
    if regions is not None:
        return grid.cover(regions, raster=raster, rule=rule, fraction=fraction)  # pyright: ignore[reportArgumentType]
    if rule != "intersects" or fraction:
        raise ConfigError("--rule and --fraction say which tiles a region gets; name --regions FILE.")
    if raster is None:
        raise ConfigError("Say where: name a scene, or --regions FILE.")
    return grid.over(raster)


def _facts(found: Tiles, regions: Regions | None, out: Path) -> dict[str, Any]:
    """Return what was made, for JSON."""
    from ..geometry.covering import without_tiles

    told: dict[str, Any] = {
        "out": str(out),
        "tiles": len(found),
        "scheme": found.scheme,
        "crs": found.crs,
        "extent": found.extent,
    }
    if found.zxy is not None:
        told |= {"zoom": int(found.zxy[0, 0]), "datum": found.datum}
    if regions is not None and found.coverage is not None:
        told |= {
            "regions": len(regions),
            "regions_without_tiles": without_tiles(found, regions),
            "mean_coverage": float(found.coverage.mean()),
        }
    return told


def _write_pictures(
    raster: Raster, found: Tiles, folder: Path, picture_format: str, min_valid: float, told: dict[str, Any]
) -> int:
    """Write the pictures, add their counts to ``told`` and return how many failed."""
    from ..outputs.tile_images import write_tile_images

    folder.mkdir(parents=True, exist_ok=True)
    done = write_tile_images(
        raster,
        found,
        folder,
        image_format=picture_format,  # pyright: ignore[reportArgumentType]
        min_valid=min_valid,
        progress=progress_line(),
    )
    told["pictures"] = {
        "folder": str(folder),
        "written": done.written,
        "skipped": done.skipped,
        "failed": [failure.to_dict() for failure in done.failed],
    }
    for failure in done.failed[:_SHOWN]:
        say(failure_line(failure))
    if len(done.failed) > _SHOWN:
        say(f"... and {len(done.failed) - _SHOWN:,} more tiles that cannot be read.")
    return len(done.failed)


def _show(found: Tiles, regions: Regions | None, told: dict[str, Any]) -> None:
    """Print a line per region with its tiles, then what was written."""
    if regions is not None:
        counts = Counter(name for names in found.regions or () for name in names)
        print_table(("region", "tiles"), [(shown(name), f"{counts[name]:,}") for name in regions.ids])
    else:
        print_table(("tiles", "crs"), [(f"{len(found):,}", shown(found.crs[:60] or "none"))])
    say(f"wrote {told['out']}: {len(found):,} tiles")
    if "pictures" in told:
        made = told["pictures"]
        say(
            f"wrote {made['written']:,} pictures into {made['folder']}; {made['skipped']:,} tiles have too "
            f"few valid pixels, {len(made['failed']):,} cannot be read"
        )
