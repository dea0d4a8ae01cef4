"""``verticlip catalog ingest``: products of a table or folder into a catalogue."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ....core.commandline import PARTIAL, BatchSize, Device, Dtype, Json, Revision
from ....core.console import print_json, say
from ....core.errors import ConfigError
from .options import (
    CatalogModel,
    FieldPairs,
    FieldsFile,
    Folder,
    MaxDeleteShare,
    open_catalog,
    read_fields,
)

if TYPE_CHECKING:
    from ..catalog.report import IngestReport
    from ..products.read import ProductReader
    from ..products.record import Reject
    from ..products.remote import RemotePolicy

_SHOWN = 3


def ingest(
    context: typer.Context,
    catalog: Folder,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="CSV, TSV, JSON lines (also .gz, .zst), Parquet, or a folder of pictures.",
        ),
    ],
    image_root: Annotated[
        Path | None, typer.Option(help="Folder that image paths start from; default: that of SOURCE.")
    ] = None,
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Take image paths that leave that folder. Only for tables you trust."
        ),
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Fetch images given as addresses, from public hosts.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="Fetch from this host only: cdn.example.com, *.example.com. Repeatable."
        ),
    ] = None,
    fields: FieldsFile = None,
    field: FieldPairs = None,
    encoding: Annotated[str, typer.Option(help="Of a text table: auto, utf-8, cp1252, gb18030 ...")] = "auto",
    delimiter: Annotated[str, typer.Option(help="Between columns: auto, ',', ';', '|' or tab.")] = "auto",
    max_reject_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows that may be rejected before the status is 3.")
    ] = 0.01,
    on_image_error: Annotated[
        Literal["reject", "text_only"],
        typer.Option(help="Rows whose image cannot be read: reject them, or take their text alone."),
    ] = "reject",
    sync: Annotated[
        bool, typer.Option("--sync", help="Take out products that SOURCE, read to its end, no longer has.")
    ] = False,
    max_delete_share: MaxDeleteShare = 0.2,
    check_files: Annotated[
        bool, typer.Option("--check-files", help="Read every image, also where size and time are unchanged.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only read SOURCE: show columns, rejects and notes; write nothing."),
    ] = False,
    batch_size: BatchSize = 32,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images ahead.")] = None,
    pictures: Annotated[
        int, typer.Option(min=1, max=50, help="Images of one product that can be found, the first included.")
    ] = 5,
    commit_rows: Annotated[
        int, typer.Option(min=1, help="Products per version; at most so many are done again after a stop.")
    ] = 1024,
    new_attributes: Annotated[
        bool,
        typer.Option("--new-attributes", help="Make attributes that are new in SOURCE ones to filter by."),
    ] = False,
    model: CatalogModel = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Take products in and keep them current.

    New and changed rows are encoded, rows marked deleted are taken out. Run it again after an interruption
    and it continues; run it again with a newer table and only what changed costs time. Rows that cannot be
    used are listed in rejects.jsonl in the catalogue.
    """
    from ..catalog.config import CatalogConfig
    from ..catalog.report import IngestOptions
    from ..products.pictures import ImageRoot
    from ..products.read import read_products

    config = CatalogConfig.load(catalog)
    field_map = read_fields(fields, field)
    policy = _policy(allow_remote, allow_host)
    root: Path | ImageRoot | None = image_root
    if allow_outside:
        root = ImageRoot(image_root or (source if source.is_dir() else source.parent), allow_outside=True)
    # Opened before the model is loaded: what is wrong with the table is known at once.
    rejects: list[Reject] = []
    reader = read_products(
        source,
        fields=field_map or config.fields,
        image_root=root,
        on_reject=rejects.append,
        encoding=encoding,
        delimiter=delimiter,
    )
    _tell_columns(reader)
    if dry_run:
        _dry_run(reader, rejects, as_json=as_json, max_reject_rate=max_reject_rate)
        return
    opened = open_catalog(
        context, catalog, model=model, revision=revision, device=device, dtype=dtype, read_only=False
    )
    with opened:
        report = opened.ingest(
            reader,
            allow_remote=policy,
            max_reject_rate=max_reject_rate,
            progress=_progress(),
            options=IngestOptions(
                batch_size=batch_size,
                workers=workers,
                on_image_error=on_image_error,
                sync=sync,
                max_delete_share=max_delete_share,
                check_files=check_files,
                pictures=pictures,
                commit_rows=commit_rows,
                new_attributes=new_attributes,
            ),
        )
    _tell(report, as_json=as_json)
    _leave(report.rejected, report.read, report.too_many_rejects)


def _policy(allow_remote: bool, hosts: list[str] | None) -> bool | RemotePolicy:
    from ....core.config import parse_config
    from ..products.remote import RemotePolicy

    if hosts and not allow_remote:
        raise ConfigError("--allow-host says from where; add --allow-remote to fetch images at all.")
    return parse_config(RemotePolicy, {"hosts": hosts}, source="--allow-host") if hosts else allow_remote


def _tell_columns(reader: ProductReader) -> None:
    """Say which column is read as what, most of which was guessed."""
    say(f"{reader.name}: {reader.fields.describe()}")
    others = reader.other_columns
    if others and reader.fields.others == "attributes":
        more = f" and {len(others) - 12} more" if len(others) > 12 else ""
        say(f"attributes: {', '.join(others[:12])}{more}")


def _dry_run(reader: ProductReader, rejects: list[Reject], *, as_json: bool, max_reject_rate: float) -> None:
    products = deleted = pictures = addresses = 0
    for product in reader:
        products += not product.deleted
        deleted += product.deleted
        pictures += product.image is not None
        addresses += product.image is not None and product.image.url is not None
    rate = reader.rejected / max(1, reader.rows)
    facts = {
        "read": reader.rows,
        "products": products,
        "deleted": deleted,
        "with_image": pictures,
        "with_address": addresses,
        "rejected": reader.rejected,
        "reject_rate": rate,
        "fields": reader.fields.describe(),
        "notes": list(reader.notes),
    }
    if as_json:
        print_json([facts, *(reject.to_dict() for reject in rejects)])
    else:
        print(
            f"{reader.rows:,} rows: {products:,} products, {pictures:,} with an image "
            f"({addresses:,} by address), {deleted:,} to take out, {reader.rejected:,} rejected"
        )
    for note in reader.notes:
        say(f"note: {note}")
    for reject in itertools.islice(rejects, 20):
        say(f"row {reject.row}: {reject.reason}")
    if len(rejects) > 20:
        say(f"... and {len(rejects) - 20:,} more; with --json all are listed")
    _leave(reader.rejected, reader.rows, rate > max_reject_rate)


def _progress() -> Callable[[int, int], None] | None:
    if not sys.stderr.isatty():
        return None
    return lambda read, written: print(
        f"\r{read:,} rows read, {written:,} written", end="", file=sys.stderr, flush=True
    )


def _tell(report: IngestReport, *, as_json: bool) -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for note in report.notes:
        say(f"note: {note}")
    if report.truncated:
        say(f"note: {report.truncated:,} texts were longer than the model reads; what weighs most was kept")
    if report.not_fetched:
        say(f"note: {report.not_fetched:,} images are addresses and were not fetched; see --allow-remote")
    if report.kept:
        say(f"note: no product was taken out for --sync: {report.kept}")
    if report.rejects is not None:
        say(f"{report.rejected:,} of {report.read:,} rows rejected; reasons in {report.rejects}")
        with report.rejects.open(encoding="utf-8") as lines:
            for reject in map(json.loads, itertools.islice(lines, _SHOWN)):
                say(f"  row {reject['row']}: {reject['reason']}")
        if report.rejected > _SHOWN:
            say(f"  ... and {report.rejected - _SHOWN:,} more")
    if as_json:
        print_json([report.to_dict()])
        return
    parts = {
        "added": report.added,
        "updated": report.updated,
        "updated without encoding": report.payload_only,
        "unchanged": report.unchanged,
        "taken out": report.deleted,
    }
    done = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count) or "nothing to do"
    print(f"{report.read:,} rows in {report.seconds:.1f} s: {done}; version {report.version}")


def _leave(rejected: int, read: int, too_many: bool) -> None:
    """Leave with status 1 where no row was usable, 3 where too many were not."""
    if rejected and rejected == read:
        raise typer.Exit(1)
    if too_many:
        raise typer.Exit(PARTIAL)
