"""``verticlip catalog pairs``: pairs of one style for training, from what shoppers clicked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import Device, Dtype, Json, Revision, open_model
from ....core.console import print_json, say
from ....core.errors import ConfigError, DataError, nearest
from .options import FieldPairs, FieldsFile, read_fields

if TYPE_CHECKING:
    from ..training.clicks import ClickColumns

_COLUMNS = ("session", "clicked", "query", "trigger")


def pairs(
    context: typer.Context,
    clicks: Annotated[
        Path,
        typer.Argument(
            metavar="CLICKS",
            help="Click log, a click per row: session, clicked, and query or trigger (CSV, TSV, JSON lines, "
            "Parquet).",
            exists=True,
            dir_okay=False,
        ),
    ],
    products: Annotated[
        Path, typer.Argument(metavar="PRODUCTS", help="Table of products, as `catalog ingest` reads it.")
    ],
    out: Annotated[Path, typer.Option(help="Table of pairs to write, as training reads it (CSV).")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Column of CLICKS, where it is not called session, clicked, query or trigger. Repeatable.",
        ),
    ] = None,
    fields: FieldsFile = None,
    field: FieldPairs = None,
    image_root: Annotated[
        Path | None, typer.Option(help="Folder that image paths start from; default: that of PRODUCTS.")
    ] = None,
    min_sessions: Annotated[
        int, typer.Option(min=1, help="Sessions in which both were clicked together.")
    ] = 2,
    relevance: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Range of what titles have in common; equal ones have 1."),
    ] = (0.3, 1.0),
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Compare titles by this model's cosine instead of by their words."
        ),
    ] = None,
    any_category: Annotated[
        bool, typer.Option("--any-category", help="Also pairs of two categories, or of products without one.")
    ] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Also pairs that show the same picture.")
    ] = False,
    most_pairs: Annotated[int, typer.Option(min=1, help="Of one product; those of most sessions stay.")] = 20,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find pairs of one style in a click log, to train with.

    Two products are a pair where enough shoppers clicked both after the same words or from the same product,
    and where category, title and picture agree with that. It says what each rule took out.
    """
    from ..encoders.product import ProductEncoder
    from ..products.read import read_products
    from ..training.clicks import MiningConfig, encoder_relevance, mine_pairs, read_clicks, write_pairs

    if relevance[0] > relevance[1]:
        raise ConfigError(f"--relevance runs from low to high, got {relevance[0]:g} {relevance[1]:g}.")
    if out.resolve() in (clicks.resolve(), products.resolve()):
        raise ConfigError(f"--out {out} is one of the tables that are read. Name another file.")
    rules = MiningConfig(
        min_sessions=min_sessions,
        relevance=relevance,
        same_category=not any_category,
        allow_duplicates=allow_duplicates,
        most_pairs=most_pairs,
    )
    compared = None
    if model is not None:
        compared = encoder_relevance(ProductEncoder(open_model(context, model, revision, device, dtype)))
    listed = read_products(products, fields=read_fields(fields, field), image_root=image_root)
    found, report = mine_pairs(
        read_clicks(clicks, _columns(column)), listed, config=rules, relevance=compared
    )
    if listed.rejected:
        say(f"note: {products.name}: {listed.rejected:,} of {listed.rows:,} rows are no products")
    for line in report.lines():
        say(line)
    if not found:
        raise DataError(f"{clicks.name}: no pair is left, so that {out} is not written.")
    write_pairs(out, found)
    say(f"wrote {out}")
    if as_json:
        print_json([report.to_dict()])


def _columns(given: list[str] | None) -> ClickColumns | None:
    from ..training.clicks import ClickColumns

    said = {}
    for pair in given or ():
        name, _, column = (part.strip() for part in pair.partition("="))
        if name not in _COLUMNS or not column:
            raise ConfigError(
                f"--column {pair!r} is not NAME=COLUMN with a NAME of {', '.join(_COLUMNS)}, for example "
                f"session=visit_id.{nearest(name, _COLUMNS)}"
            )
        said[name] = column
    return ClickColumns(**said) if said else None
