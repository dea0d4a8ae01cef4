"""``verticlip urban search``: places that fit words, a picture, or another place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import Device, Dtype, Json, Revision, open_model
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError
from .scenes import (
    Backdrop,
    Bands,
    NoData,
    RegionsCRS,
    RegionsLayer,
    Repair,
    S2Offset,
    Sensor,
    Table,
    TableModel,
    check_output,
    made_with,
    open_scene,
    read_regions,
)

if TYPE_CHECKING:
    from ..tasks.search import Query, SearchResult


def search(
    context: typer.Context,
    table: Table,
    queries: Annotated[
        list[str] | None, typer.Argument(metavar='"WORDS"', help="What to look for, each in quotes.")
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option(metavar="TILE", help="More like this tile of the table. Repeatable.")
    ] = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="More like this picture. Repeatable.", exists=True, dir_okay=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits per query, at most.")] = 10,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out what fits less; cosine, -1 to 1.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Only tiles that meet these polygons: GeoJSON, GeoPackage, Shapefile.")
    ] = None,
    regions_crs: RegionsCRS = None,
    regions_layer: RegionsLayer = None,
    repair: Repair = False,
    apart: Annotated[
        float, typer.Option(min=0, help="Meters between two hits, at least: one big port is one hit.")
    ] = 0.0,
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Take words as they are, without the model's sentences around them."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Hits as .geojson, .gpkg, .parquet (map layers) or .csv.")
    ] = None,
    map_out: Annotated[Path | None, typer.Option("--map", help="PNG of where the hits are.")] = None,
    thumbnails: Annotated[Path | None, typer.Option(help="PNG of what is seen there; needs --scene.")] = None,
    scene: Backdrop = None,
    bands: Bands = None,
    sensor: Sensor = None,
    s2_offset: S2Offset = "auto",
    nodata: NoData = None,
    model: TableModel = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find the tiles of an embedded scene that fit words best."""
    from ....core.vocabulary import unfamiliar_words
    from ..outputs.geoparquet import read_embeddings
    from ..tasks.search import search_tiles

    check_output(out, "--out", (".geojson", ".gpkg", ".parquet", ".csv"))
    check_output(map_out, "--map", (".png",))
    check_output(thumbnails, "--thumbnails", (".png",))
    if thumbnails is not None and scene is None:
        raise ConfigError("--thumbnails shows pixels of the scene; name it with --scene FILE.")
    only_in = read_regions(regions, crs=regions_crs, layer=regions_layer, repair=repair)
    asked = _queries(queries, like, picture, as_is=as_is)
    embedded = read_embeddings(table, columns=[])
    handle = open_model(context, model or made_with(embedded.meta), revision, device, dtype)
    for word in unfamiliar_words(handle, queries or ()):
        say(f"note: {handle.id} has never read {shown(word)!r}; a score that hangs on it means little.")
    raster = (
        None
        if scene is None
        else open_scene([scene], bands=bands, sensor=sensor, s2_offset=s2_offset, nodata=nodata)
    )
    found = search_tiles(
        handle,
        embedded,
        asked,
        k,
        min_score=min_score,
        region=only_in,
        apart_m=apart,
    )
    _show(found, as_json=as_json)
    if not found.all():
        say("no tile scores that high; try a lower --min-score")
        return
    if out is not None:
        say(f"wrote {found.save(out)}")
    if map_out is not None:
        say(f"wrote {found.save_map(map_out, raster)}")
    if thumbnails is not None and raster is not None:
        say(f"wrote {found.save_thumbnails(thumbnails, raster)}")


def _queries(
    words: list[str] | None, like: list[str] | None, pictures: list[Path] | None, *, as_is: bool
) -> list[Query]:
    from ..tasks.search import Like, TextQuery

    texts: list[Query] = [TextQuery(text, ("{}",) if as_is else None) for text in words or ()]
    found = [*texts, *(Like(name) for name in like or ()), *(pictures or ())]
    if not found:
        raise ConfigError(
            'Say what to look for: words in quotes, such as "container port", --like or --picture.'
        )
    return found


def _show(found: SearchResult, *, as_json: bool) -> None:
    if as_json:
        print_json(hit.to_dict() for hit in found.all())
        return
    rows = [
        (
            shown(hit.query[:40]),
            str(hit.rank),
            f"{hit.score:.3f}",
            shown(hit.tile_id),
            f"{hit.lat:.5f}",
            f"{hit.lon:.5f}",
        )
        for hit in found.all()
    ]
    print_table(("query", "rank", "score", "tile", "latitude", "longitude"), rows)
