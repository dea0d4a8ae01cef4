"""Options of catalogues, and opening the one they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import open_model, read_pairs
from ....core.console import shown
from ....core.errors import ConfigError
from ....core.registry import models

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..products.fields import FieldMap

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the catalogue.")]
CatalogModel = Annotated[
    str | None, typer.Option("--model", "-m", help="Where the model is, if not where it was at first.")
]
WhereText = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="CONDITION", help="Only products that fit: \"category = 'dress' and price < 50\"."
    ),
]
FieldsFile = Annotated[
    Path | None,
    typer.Option(
        "--fields", metavar="MAP.yaml", help="Which column is which field, one `field: column` per line."
    ),
]
FieldPairs = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="FIELD=COLUMN", help="One such line, e.g. title=name_en. Repeatable."),
]

MaxDeleteShare = Annotated[
    float,
    typer.Option(min=0, max=1, help="With --sync: share of the products that may go; beyond it none does."),
]


def open_catalog(
    context: typer.Context,
    folder: Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    read_only: bool = True,
) -> Catalog:
    """Return a catalogue with its model.

    Args:
        context: of the command.
        folder: of the catalogue.
        model: what the user named; None takes what the catalogue says, see :func:`model_of`.
        read_only: refuse to write.

    Raises:
        ConfigError: no catalogue, or its model cannot be had.
    """
    from ..catalog.catalog import Catalog

    name = model or model_of(folder)
    return Catalog.open(folder, open_model(context, name, revision, device, dtype), read_only=read_only)


def model_of(folder: Path) -> str:
    """Return the model that a catalogue names: one of this program, or a folder that is here.

    Raises:
        ConfigError: it is another one. A folder of unknown origin must not choose what is downloaded.
    """
    from ..catalog.config import CatalogConfig

    name = CatalogConfig.load(folder).model
    if name in models() or Path(name).is_dir():
        return name
    raise ConfigError(
        f"{folder}: the catalogue was made with {shown(name[:200])!r}, which is neither a model of this "
        "program nor a folder here. If you trust it, name it: --model with its folder or org/name."
    )


def read_fields(file: Path | None, pairs: list[str] | None) -> FieldMap | None:
    """Return the field map of a file and of single fields, which go before it; None where neither is given.

    Raises:
        ConfigError: an unknown field, or a file that is no map.
    """
    from ..products.fields import FieldMap

    if file is None and not pairs:
        return None
    said: dict[str, Any] = {} if file is None else FieldMap.load(file).model_dump(exclude_unset=True)
    for pair in pairs or ():
        # Columns may be called 2024 or no: they are text here, unlike in YAML.
        read_pairs(
            [pair.partition("=")[0] + "=x"] if "=" in pair else [pair], "--field", example="title=name_en"
        )
        field, _, column = pair.partition("=")
        said[field] = column.strip()
    return FieldMap.parse(said, what="--field" if file is None else f"{file.name} and --field")
