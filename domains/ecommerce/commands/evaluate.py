"""``verticlip catalog eval``: how well a catalogue finds, by labelled queries, by kind, and by its index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ....core.commandline import Device, Dtype, Json, Revision
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError
from .options import CatalogModel, Folder, open_catalog

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..evaluation.own import IndexRecall
    from ..evaluation.queries import LabelledQuery
    from ..evaluation.results import TaskResult

QueriesFile = Annotated[
    Path | None,
    typer.Option(
        help="Labelled queries, JSON lines or CSV: text, image or like, and the right product ids.",
        exists=True,
        dir_okay=False,
    ),
]


def evaluate(
    context: typer.Context,
    catalog: Folder,
    queries: QueriesFile = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="With --queries: one side against one side, i picture, t text, m both: i-m. Repeatable.",
        ),
    ] = None,
    same: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Do near products share it? category, brand, color ..."),
    ] = None,
    recall: Annotated[
        bool, typer.Option("--recall", help="Does the index find what an exact search finds, and how fast?")
    ] = False,
    k: Annotated[list[int] | None, typer.Option("-k", min=1, help="Depth. Repeatable.")] = None,
    view: Annotated[
        Literal["product", "image", "text"] | None,
        typer.Option(help="What is compared; default: product for queries, image for --same."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Products that ask, with --same and --recall.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the report as JSON.")] = None,
    model: CatalogModel = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure how well a catalogue finds.

    Without options: whether near products share their category, and what the index finds.
    """
    from ....core.files import write_json_atomic
    from ..catalog.catalog import Catalog
    from ..evaluation.own import KS, evaluate_same, index_recall
    from ..evaluation.queries import read_queries

    if direction and queries is None:
        raise ConfigError("--direction says how --queries are asked; give both.")
    labelled = None if queries is None else read_queries(queries)
    if labelled is None and same is None and not recall:
        same, recall = "category", True
    ks = tuple(sorted(set(k or KS)))
    needs_model = labelled is not None and any(one.text or one.image or one.without for one in labelled)
    opened = (
        open_catalog(context, catalog, model=model, revision=revision, device=device, dtype=dtype)
        if needs_model
        else Catalog.open(catalog, read_only=True)
    )
    with opened:
        tasks: list[TaskResult] = []
        if labelled is not None:
            tasks += _asked(opened, labelled, ks, view or "product", direction or [])
        if same is not None:
            tasks.append(evaluate_same(opened, same, ks=ks, view=view or "image", sample=sample, seed=seed))
        measured = index_recall(opened, k=max(ks), sample=sample, seed=seed) if recall else ()
        report = {
            "catalog": opened.folder.resolve().name,
            "version": opened.version,
            "products": len(opened),
            "made_by": opened.config.made_by.model_dump(),
            "tasks": [task.to_dict() for task in tasks],
            "index": [one.to_dict() for one in measured],
        }
    if as_json:
        print_json([report])
    else:
        _show(tasks, measured)
    if out is not None:
        write_json_atomic(out, report)
        say(f"wrote {out}")


def _asked(
    catalog: Catalog, queries: list[LabelledQuery], ks: tuple[int, ...], view: Any, directions: list[str]
) -> list[TaskResult]:
    from ..evaluation.own import evaluate_queries

    found = evaluate_queries(catalog, queries, ks=ks, view=view, directions=directions)
    for note in found.notes:
        say(f"note: {note}")
    return list(found.tasks)


def _show(tasks: list[TaskResult], measured: tuple[IndexRecall, ...]) -> None:
    rows = [(task.name, metric, str(value)) for task in tasks for metric, value in task.metrics.items()]
    if rows:
        print_table(("task", "metric", "value"), rows)
    if measured:
        header = ("vectors", "index", f"recall@{measured[0].k}", "of", "exact", "index time")
        print_table(header, [recall_row(one) for one in measured])


def recall_row(one: IndexRecall) -> tuple[str, ...]:
    """Return a line of the table of what the index finds."""
    return (
        one.view,
        one.kind,
        f"{one.recall:.4f}",
        f"{one.queries:,}",
        f"{one.exact_ms:.2f} ms",
        f"{one.index_ms:.2f} ms",
    )
