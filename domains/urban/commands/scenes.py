"""Options of scenes, and opening what they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.errors import ConfigError

if TYPE_CHECKING:
    from ..geometry.regions import Regions
    from ..loaders.raster import Raster

Bands = Annotated[str | None, typer.Option(help="Comma-separated: red,green,blue or 4,3,2.")]
Sensor = Annotated[str | None, typer.Option(help="Sensor of the scene, such as sentinel-2-l2a.")]
NoData = Annotated[float | None, typer.Option(help="Number that stands for missing data.")]
SceneCRS = Annotated[
    str | None, typer.Option("--crs", help="Coordinate system of a scene that names none: EPSG:32650 ...")
]
Backdrop = Annotated[
    Path | None, typer.Option("--scene", help="The scene, for the background of maps and for thumbnails.")
]
Table = Annotated[
    Path,
    typer.Argument(
        metavar="SCENE.parquet", help="Tiles that urban embed wrote.", exists=True, dir_okay=False
    ),
]
TableModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model that embedded the tiles; default: the one the file names."),
]


def open_scene(
    scene: Sequence[Path],
    *,
    bands: str | None = None,
    sensor: str | None = None,
    nodata: float | None = None,
    crs: str | None = None,
) -> Raster:
    """Return the raster of one file, or of several side by side; messages name paths, as they were typed."""
    from ..loaders.raster import Raster

    words = None if bands is None else [word.strip() for word in bands.split(",")]
    return Raster.open(
        scene[0] if len(scene) == 1 else list(scene),
        bands=None if words is None else [int(word) if word.isdigit() else word for word in words],
        sensor=sensor,
        nodata=nodata,
        crs=crs,
        show_paths=True,
    )


def read_regions(path: Path, id_column: str | None = None, *, repair: bool = False) -> Regions:
    """Return the regions of a file; messages name its path, as it was typed."""
    from ..geometry.regions import Regions

    return Regions.from_file(path, id_column=id_column, repair=repair, show_paths=True)


def check_output(path: Path | None, option: str, endings: Sequence[str]) -> None:
    """Raise ``ConfigError`` where a result cannot become a file, before anything is worked out for it."""
    from ....core.commandline import check_folder

    if path is None:
        return
    if path.suffix.lower() not in endings or path.is_dir():
        raise ConfigError(f"{option} {path}: name a file that ends in {' or '.join(endings)}.")
    check_folder(path.parent)


def made_with(meta: Mapping[str, Any]) -> str:
    """Return the model that a table names.

    Raises:
        ConfigError: it names none.
    """
    name = str(meta.get("model_id", ""))
    if not name:
        raise ConfigError("The table does not say which model made it. Name it with --model.")
    return name
