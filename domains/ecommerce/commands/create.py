"""``verticlip catalog create``: an empty catalogue, made for one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ....core.commandline import Device, Dtype, Json, ModelName, Revision, open_model
from ....core.console import print_json, say
from ....core.errors import ConfigError
from ....core.registry import models
from .options import FieldPairs, FieldsFile, Folder, read_fields

if TYPE_CHECKING:
    from ..catalog.payload import AttributeType
    from ..encoders.fusing import Fusion
    from ..products.text import TextTemplate

_TYPES = ("string", "number", "bool")


def create(
    context: typer.Context,
    catalog: Folder,
    model: ModelName = "ecommerce/tiny",
    fields: FieldsFile = None,
    field: FieldPairs = None,
    template: Annotated[
        str, typer.Option(help="How fields become text: general, fashion, hardware, or a YAML file.")
    ] = "general",
    index: Annotated[
        Literal["auto", "flat", "hnsw", "lancedb"],
        typer.Option(help="How neighbors are found: auto is exact while that is faster."),
    ] = "auto",
    image_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the picture in a product's vector; default: 0.9, the rest is text."
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TYPE",
            help="Attribute to filter by: string, number or bool. Repeatable; default: as the first rows.",
        ),
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Make an empty catalogue; its vectors will be those of one model.

    Take products in afterwards: verticlip catalog ingest DIR items.csv
    """
    from ..catalog.catalog import Catalog
    from ..catalog.config import check_new

    field_map, text, attributes = read_fields(fields, field), _template(template), _attributes(attribute)
    check_new(catalog)  # before a model is loaded
    if model not in models() and Path(model).expanduser().is_dir():
        # The catalogue is opened from other folders, too.
        model = str(Path(model).expanduser().resolve())
    with Catalog.create(
        catalog,
        model=open_model(context, model, revision, device, dtype),
        fields=field_map,
        template=text,
        index=index,
        fusion=_fusion(image_share),
        attributes=attributes,
    ) as made:
        facts = {
            "catalog": str(catalog),
            "model": made.config.model,
            "template": made.config.template.name,
            "index": made.config.kind,
            "fields": None if field_map is None else field_map.describe(),
        }
    if as_json:
        print_json([facts])
    else:
        print(catalog)
        say(
            f"an empty catalogue for {facts['model']}; take products in: "
            f"verticlip catalog ingest {catalog} SOURCE"
        )


def _template(name: str) -> TextTemplate:
    from ....core.config import read_config
    from ..products.text import TextTemplate

    if Path(name).suffix in (".yaml", ".yml", ".json"):
        return read_config(TextTemplate, name)
    return TextTemplate.preset(name)


def _fusion(image_share: float | None) -> Fusion | None:
    from ..encoders.fusing import Fusion

    return None if image_share is None else Fusion(image=image_share, text=round(1 - image_share, 6))


def _attributes(pairs: list[str] | None) -> dict[str, AttributeType] | None:
    if not pairs:
        return None
    found: dict[str, AttributeType] = {}
    for pair in pairs:
        name, _, kind = pair.rpartition("=")
        if not name.strip() or kind not in _TYPES:
            raise ConfigError(f"--attribute {pair!r}: write NAME=TYPE with one of {', '.join(_TYPES)}.")
        found[name.strip()] = kind
    return found
