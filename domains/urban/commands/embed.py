"""``verticlip urban embed``: the tiles of a scene as vectors, in one GeoParquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import (
    BatchSize,
    Device,
    Dtype,
    Json,
    ModelName,
    Revision,
    finish,
    open_model,
    progress_line,
)
from ....core.console import print_json, say
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
    check_output,
    open_scene,
    read_regions,
    refuse,
    scene_window,
)

if TYPE_CHECKING:
    from ....core.embed_run import EmbedReport
    from ..geometry.tiles import Tiles
    from ..protocols import TileReader


def embed(
    context: typer.Context,
    scene: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCENE",
            help="Raster of any size, several side by side, or a folder of tiles named ZOOM_X_Y.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="GeoParquet file to write.")],
    model: ModelName = "urban/tiny",
    tiles: Annotated[
        Path | None, typer.Option(help="Tiles of the scene, as urban tiles writes them; instead of --size.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels of a tile's side; default: as much ground as the model knows."),
    ] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Pixels between tiles; default: size.")] = None,
    edge: Annotated[
        str | None,
        typer.Option(help="Where tiles do not fit: shift the last inside (default), pad, or drop it."),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Only tiles in these polygons: GeoJSON, GeoPackage, Shapefile.")
    ] = None,
    region_id: RegionId = None,
    regions_crs: RegionsCRS = None,
    regions_layer: RegionsLayer = None,
    repair: Repair = False,
    min_valid: Annotated[
        float, typer.Option(min=0, max=1, help="Share of valid pixels that a tile needs.")
    ] = 0.5,
    bands: Bands = None,
    sensor: Sensor = None,
    s2_offset: S2Offset = "auto",
    nodata: NoData = None,
    crs: SceneCRS = None,
    verify: Verify = False,
    scheme: Annotated[
        str | None,
        typer.Option(help="What x and y of a folder's names count: webmercator (default), tms or baidu."),
    ] = None,
    datum: Annotated[
        str | None, typer.Option(help="What that scheme is in: EPSG:4326, GCJ-02 or BD-09.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store vectors in 16 bits: half the file.")] = False,
    batch_size: BatchSize = 32,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read tiles ahead.")] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Embed the tiles of a scene; run again after an interruption, it continues.

    The file opens in QGIS as a layer of tiles; `urban search`, `classify` and `predict` take it.
    """
    from ..geometry.covering import TileGrid, cover
    from ..geometry.tiles import Tiles
    from ..tasks.embedding import embed_tiles

    check_output(out, "--out", (".parquet", ".geoparquet"))
    folder = len(scene) == 1 and scene[0].is_dir()
    cut = {"--size": size, "--stride": stride, "--edge": edge}
    if folder:
        read = {
            "--bands": bands,
            "--sensor": sensor,
            "--s2-offset": None if s2_offset == "auto" else s2_offset,
            "--nodata": nodata,
            "--crs": crs,
            "--verify": verify or None,
        }
        refuse({"--tiles": tiles, **cut, **read}, f"the pictures of {scene[0]} are the tiles, as they are")
    else:
        refuse({"--scheme": scheme, "--datum": datum}, "for a folder of tiles, and SCENE is a raster")
    if tiles is not None:
        refuse({**cut, "--regions": regions}, "--tiles says which tiles")
    only_in = read_regions(regions, region_id, regions_crs, layer=regions_layer, repair=repair)
    handle = open_model(context, model, revision, device, dtype)
    read_px = None
    if folder:
        raster, found = _open_folder(scene[0], scheme or "webmercator", datum)
        if only_in is not None:
            found = cover(found, only_in)
    else:
        raster = open_scene(
            scene, bands=bands, sensor=sensor, s2_offset=s2_offset, nodata=nodata, crs=crs, verify=verify
        )
        if tiles is None:
            window = scene_window(handle, raster, size)
            read_px = window.read_px
            grid = TileGrid("raster", tile_px=window.pixels, stride=stride, edge=edge or "shift")  # pyright: ignore[reportArgumentType]
            found = grid.over(raster) if only_in is None else grid.cover(only_in, raster=raster)
        else:
            found = Tiles.from_file(tiles, show_paths=True)
            scene_window(handle, raster, tiles=found)
    report = embed_tiles(
        handle,
        raster,
        found,
        out,
        batch_size=batch_size,
        size=read_px,
        min_valid=min_valid,
        workers=workers,
        progress=progress_line(),
        dtype="float16" if half else "float32",
    )
    _tell(report, len(found), as_json=as_json)


def _open_folder(folder: Path, scheme: str, datum: str | None) -> tuple[TileReader, Tiles]:
    """Return the pictures of a folder and the tiles they are."""
    from ..geometry.sources import FolderTiles

    found = FolderTiles(folder, scheme=scheme, crs=datum, show_paths=True)
    return found, found.tiles


def _tell(report: EmbedReport, total: int, *, as_json: bool) -> None:
    """Print what was done and leave with the exit status that it has."""
    facts = {
        "out": str(report.out),
        "tiles": total,
        "embedded": report.embedded,
        "skipped": report.skipped,
        "failed": report.failed,
        "failures": str(report.failures) if report.failures else None,
        "resumed_parts": report.resumed,
    }
    if as_json:
        print_json([facts])
    else:
        print(report.out)
    say(f"{report.embedded:,} of {total:,} tiles embedded")
    if report.skipped:
        say(f"{report.skipped:,} left out: too few valid pixels, or outside of the scene")
    if report.failed:
        say(f"{report.failed:,} cannot be read")
    if report.failures:
        say(f"reasons in {report.failures}")
    finish(total if not report.embedded else report.failed, total)
