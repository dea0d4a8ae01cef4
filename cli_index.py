"""``verticlip index``: make an index of embeddings, search it, look at it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .core.commandline import Device, Dtype, Json, Revision
from .core.console import number, plain, print_json, print_table, say
from .core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .core.index.base import Identity, VectorIndex

app = typer.Typer(help="Indexes over embeddings: build, search, look at.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]


@app.command("build")
def build(
    embeddings: Annotated[Path, typer.Argument(help="Parquet file that `verticlip embed` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    kind: Annotated[
        Literal["auto", "flat", "hnsw", "lancedb"],
        typer.Option(help="How it is kept: auto compares all rows or builds a graph, whichever is faster."),
    ] = "auto",
    column: Annotated[
        list[str] | None, typer.Option(help="Further column to filter by and to show. Repeatable.")
    ] = None,
    id_column: Annotated[str, typer.Option(help="Column of the ids.")] = "id",
    vector_column: Annotated[str, typer.Option(help="Column of the vectors.")] = "vector",
    as_json: Json = False,
) -> None:
    """Make an index of embeddings; the folder appears when everything is in it."""
    from .core.index.embeddings import index_embeddings

    steps: list[str] = []

    def tell(what: str, share: float) -> None:
        if what not in steps:
            steps.append(what)
            say(f"{what} ...")

    index = index_embeddings(
        embeddings, out, kind=kind, columns=column or (), names=(id_column, vector_column), progress=tell
    )
    _show_facts(out, index, as_json=as_json)


@app.command("search")
def search(
    index: Folder,
    text: Annotated[str | None, typer.Option(help="Rows that fit these words.")] = None,
    image: Annotated[Path | None, typer.Option(help="Rows like this file.", exists=True)] = None,
    like: Annotated[str | None, typer.Option(metavar="ID", help="Rows like this one.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Rows, at most.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Only rows that fit: \"price < 50 and color = 'red'\".")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="Vector that is compared, where a row has several.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model; default: the one the index names.")
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find the rows nearest to a text, a file, or a row of the index."""
    from .core.index.filters import parse_where
    from .core.index.opening import open_index

    if sum(one is not None for one in (text, image, like)) != 1:
        raise ConfigError("Say what to look for with one of --text, --image and --like.")
    opened = open_index(index, read_only=True)
    if view is None:
        view, *others = opened.views
        if others:
            raise ConfigError(f"A row has several vectors; name one with --view: {', '.join(opened.views)}.")
    condition = None if where is None else parse_where(where)
    if condition is not None:
        condition.check(opened.schema)
    made_by = opened.identity
    if like is not None:
        query = _vector_of(opened, like, view)
    else:
        item = image if text is None else text
        query, made_by = _embedded(item, model or made_by.model, revision, (device, dtype))
    (hits,) = opened.search(query, k, view=view, where=condition, made_by=made_by)
    # A table without columns has no rows.
    rows = opened.get(hits.ids).payload.to_pylist() or [{} for _ in hits.ids]
    found = list(zip(hits.ids, hits.scores.tolist(), rows, strict=True))
    if as_json:
        print_json({"id": one, "score": score, "columns": row} for one, score, row in found)
    elif found:
        lines = [(one, number(score), *(plain(row[name]) for name in row)) for one, score, row in found]
        print_table(("id", "score", *opened.schema.names), lines)
    else:
        say("no row fits")


def _vector_of(index: VectorIndex, one: str, view: str) -> NDArray[np.float32]:
    found = index.get([one], columns=[], views=[view])
    if not found.ids:
        raise ConfigError(f"The index has no row {one!r:.80}.")
    if not found.present.get(view, [True])[0]:
        raise ConfigError(f"{one!r:.80} has no {view!r} vector.")
    return found.vectors[view]


def _embedded(
    item: str | Path | None, name: str, revision: str | None, place: tuple[str, str]
) -> tuple[NDArray[np.float32], Identity]:
    """Return the vector of a text or file, float32 [1, D], and what made it."""
    from .cli_options import load_model
    from .core.index.base import Identity

    made = load_model(name, revision, *place).embed([item])
    vectors = made.vectors.float().cpu().numpy()
    return vectors, Identity(made.model, made.revision, made.processor, vectors.shape[1])


@app.command("info")
def info(index: Folder, as_json: Json = False) -> None:
    """Show what an index holds, what made its vectors, and whether it should be optimized."""
    from .core.index.opening import open_index

    _show_facts(index, open_index(index, read_only=True), as_json=as_json)


def _show_facts(folder: Path, index: VectorIndex, *, as_json: bool) -> None:
    facts: dict[str, Any] = {"index": str(folder), **index.identity.to_dict(), "views": index.views}
    facts["columns"] = {field.name: str(field.type) for field in index.schema}
    facts |= asdict(index.stats())
    if as_json:
        print_json([facts])
    else:
        print_table(("", ""), [(key.replace("_", " "), _cell(value)) for key, value in facts.items()])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else plain(value) or "-"
