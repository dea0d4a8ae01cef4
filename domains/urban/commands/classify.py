"""``verticlip urban classify``: a map of land use by words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    Labels,
    Prompts,
    Revision,
    check_folder,
    open_model,
    read_prompts,
    split_labels,
)
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError
from .scenes import Backdrop, Bands, NoData, S2Offset, Sensor, Table, TableModel, made_with, open_scene


def classify(
    context: typer.Context,
    table: Table,
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    labels: Labels = None,
    prompts: Prompts = None,
    min_probability: Annotated[float, typer.Option(min=0, max=1, help="Below it a tile has no class.")] = 0.0,
    name: Annotated[str, typer.Option(help="First part of the file names.")] = "classes",
    cog: Annotated[bool, typer.Option("--cog", help="Write Cloud Optimized GeoTIFFs.")] = False,
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
    """Map land use: every tile of an embedded scene gets the label whose words fit it best."""
    from ....core.vocabulary import unfamiliar_words
    from ..outputs.geoparquet import read_embeddings
    from ..tasks.class_map import classify_tiles

    check_folder(out)
    if not name or Path(name).name != name:
        raise ConfigError(f"--name {name!r}: give a file name without folder.")
    embedded = read_embeddings(table, columns=[])
    handle = open_model(context, model or made_with(embedded.meta), revision, device, dtype)
    words = split_labels(labels)
    for word in unfamiliar_words(handle, words or ()):
        say(f"note: {handle.id} has never read {shown(word)!r}; a class that hangs on it means little.")
    found = classify_tiles(
        handle, embedded, words, templates=read_prompts(prompts), min_probability=min_probability
    )
    raster = (
        None
        if scene is None
        else open_scene([scene], bands=bands, sensor=sensor, s2_offset=s2_offset, nodata=nodata)
    )
    files = found.save(out, name=name, background=raster, cog=cog)
    counts = {**found.counts(), None: len(embedded) - sum(found.counts().values())}
    rows = [(label or "no class", count) for label, count in counts.items() if count]
    if as_json:
        print_json(
            [
                {
                    "tiles": len(embedded),
                    "counts": dict(rows),
                    "files": {key: str(one) for key, one in files.items()},
                }
            ]
        )
    else:
        ordered = sorted(rows, key=lambda row: -row[1])
        print_table(
            ("class", "tiles", "share"),
            [(shown(label), f"{count:,}", f"{count / len(embedded):.1%}") for label, count in ordered],
        )
    for path in files.values():
        say(f"wrote {path}")
