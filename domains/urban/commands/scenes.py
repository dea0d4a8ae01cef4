"""Options of scenes, and opening what they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.console import say, shown
from ....core.errors import ConfigError
from ....core.registry import models

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..geometry.regions import Regions
    from ..geometry.tiles import Tiles
    from ..loaders.raster import Raster
    from ..tasks.scene_tiles import WindowSize

_SHOWN = 10
_S2_OFFSETS = {"auto": "auto", "0": 0, "-1000": -1000}

Bands = Annotated[str | None, typer.Option(help="Comma-separated: red,green,blue or 4,3,2.")]
Sensor = Annotated[str | None, typer.Option(help="Sensor of the scene, such as sentinel-2-l2a.")]
S2Offset = Annotated[
    str, typer.Option("--s2-offset", help="Sentinel-2: what its numbers need added; -1000, 0 or auto.")
]
NoData = Annotated[float | None, typer.Option(help="Number that stands for missing data.")]
SceneCRS = Annotated[
    str | None, typer.Option("--crs", help="Coordinate system of a scene that names none: EPSG:32650 ...")
]
Verify = Annotated[bool, typer.Option("--verify", help="Refuse a scene that is cut off, before reading any.")]
RegionId = Annotated[
    str | None, typer.Option("--region-id", help="Column of --regions that names the regions.")
]
RegionsCRS = Annotated[
    str | None,
    typer.Option("--regions-crs", help="What the regions' coordinates are in: EPSG:4326, GCJ-02, BD-09 ..."),
]
RegionsLayer = Annotated[
    str | None, typer.Option("--regions-layer", help="Layer of a GeoPackage that has several.")
]
Repair = Annotated[bool, typer.Option("--repair", help="Mend invalid outlines of regions.")]
Backdrop = Annotated[Path | None, typer.Option("--scene", help="The scene, to be seen in pictures.")]
Table = Annotated[
    Path,
    typer.Argument(
        metavar="SCENE.parquet", help="Tiles that urban embed wrote.", exists=True, dir_okay=False
    ),
]
TableModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model that embedded the tiles; default: the file's, if it is ours."),
]


def open_scene(
    scene: Sequence[Path],
    *,
    bands: str | None = None,
    sensor: str | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    s2_offset: str = "auto",
    verify: bool = False,
) -> Raster:
    """Return the raster of one file, or of several side by side; messages name paths, as they were typed."""
    from ..loaders.raster import Raster

    if s2_offset not in _S2_OFFSETS:
        raise ConfigError(f"--s2-offset {s2_offset}: give one of {', '.join(_S2_OFFSETS)}.")
    words = None if bands is None else [word.strip() for word in bands.split(",")]
    return Raster.open(
        scene[0] if len(scene) == 1 else list(scene),
        bands=None if words is None else [int(word) if word.isdigit() else word for word in words],
        sensor=sensor,
        nodata=nodata,
        crs=crs,
        s2_offset=_S2_OFFSETS[s2_offset],
        verify=verify,
        show_paths=True,
    )


def scene_window(
    model: ModelHandle, raster: Raster, size: int | None = None, *, tiles: Tiles | None = None
) -> WindowSize:
    """Return how a scene is cut for a model, and say what the user should know about that.

    Args:
        model: with an image tower. raster: the scene.
        size: pixels of a tile's side; None decides.
        tiles: that are given already.
    """
    from ..tasks.scene_tiles import scaling_note, window_size

    if tiles is not None and tiles.windows is not None and len(tiles):
        size = int(tiles.windows[len(tiles) // 2, 2:].min())
    window = window_size(model, raster, size)
    for note in (window.note, scaling_note(model, raster)):
        if note:
            say(f"note: {note}")
    return window


def refuse(options: Mapping[str, object], why: str) -> None:
    """Raise ``ConfigError`` for options that were given and that nothing would look at."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)}: {why}. Leave {'it' if len(given) == 1 else 'them'} out.")


def read_regions(
    path: Path | None,
    region_id: str | None = None,
    crs: str | None = None,
    *,
    layer: str | None = None,
    repair: bool = False,
) -> Regions | None:
    """Return the regions of a file, or None without one; messages name its path, as it was typed.

    Raises:
        ConfigError: options of regions, and no regions.
    """
    from ..geometry.regions import Regions

    if path is None:
        options = {
            "--region-id": region_id, "--regions-crs": crs, "--regions-layer": layer, "--repair": repair,
        }  # fmt: skip
        given = [name for name, value in options.items() if value]
        if given:
            raise ConfigError(f"{', '.join(given)}: name the regions, too: --regions FILE.")
        return None
    found = Regions.from_file(path, id_column=region_id, crs=crs, layer=layer, repair=repair, show_paths=True)
    for name in found.repaired[:_SHOWN]:
        say(f"note: {path}: the outline of region {name!r} was invalid and is mended.")
    return found


def check_output(path: Path | None, option: str, endings: Sequence[str]) -> None:
    """Raise ``ConfigError`` where a result cannot become a file, before anything is worked out for it."""
    from ....core.commandline import check_folder

    if path is None:
        return
    if path.suffix.lower() not in endings or path.is_dir():
        raise ConfigError(f"{option} {path}: name a file that ends in {' or '.join(endings)}.")
    check_folder(path.parent)


def made_with(meta: Mapping[str, Any]) -> str:
    """Return the model that a table names, where it is one of this program.

    Raises:
        ConfigError: it is another one. A file of unknown origin must not choose what is downloaded and run.
    """
    name = str(meta.get("model_id", ""))
    if not name:
        raise ConfigError("The table does not say which model made it. Name it with --model.")
    if name not in models():
        raise ConfigError(
            f"The table was made with {shown(name[:80])!r}, which is no model of this program. If you trust "
            "it, name it: --model with its folder, or org/name and --revision."
        )
    return name
