"""From the sources of a recipe to records with labels, captions and splits."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .data import Manifest, Record
from .data.files import below
from .data.manifest import build
from .data.tables import read_csv, read_jsonl
from .errors import ConfigError, DataError, nearest
from .limits import DEFAULT
from .prompts import PromptSet
from .recipe import Recipe, SourceConfig
from .registry import room


@dataclass(frozen=True)
class Row:
    """One example of a source.

    Attributes:
        record: id, file, label, split and group; its ``text`` is the first caption.
        texts: every caption; one is drawn each time the record is shown.
        extras: what the room's collate reads beside the captions (JSON-able), e.g. concept spans.
        series: whose images this is one of, as the data say (a patient); the split may widen groups.
    """

    record: Record
    texts: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    series: str | None = None


def read_source(source: SourceConfig, recipe: Recipe, folder: Path, prompts: PromptSet | None) -> list[Row]:
    """Return the rows of one source; labels are classes of the prompt set, ids name the source.

    Raises:
        DataError: the source is absent, or a row lacks the file, caption or label it needs.
        ConfigError: unknown reader or option, or a label that the recipe or prompt set does not know.
    """
    path = folder / source.path
    if not path.exists():
        raise DataError(
            f"Source {source.name!r}: {path} does not exist. The recipe expects it below the data folder."
        )
    rows = _read(source, recipe, path, folder)
    own_text = source.captions == "text" and not recipe.classifies
    if recipe.task is not None:
        # What else a row needs is known to the task, and a room's reader may give rows that need no file.
        bare = [row for row in rows if row.record.path is None and not row.extras]
        _need(source, rows, bare, "file", f"task {recipe.task}")
    elif own_text:
        _need(source, rows, [row for row in rows if not row.texts], "caption", "captions: text")
        _need(source, rows, [row for row in rows if row.record.path is None], "file", "training pairs")
    else:
        _need(source, rows, [row for row in rows if row.record.label is None], "label", "class captions")
    return [_named(row, source, folder, prompts, own_text=own_text) for row in rows]


def _need(source: SourceConfig, rows: Sequence[Row], lacking: Sequence[Row], what: str, use: str) -> None:
    if lacking:
        raise DataError(
            f"Source {source.name!r}: {len(lacking)} of {len(rows)} rows have no {what}, first "
            f"{lacking[0].record.id!r}; {use} needs one each. Check the file and the recipe's columns."
        )


def _named(row: Row, source: SourceConfig, folder: Path, prompts: PromptSet | None, *, own_text: bool) -> Row:
    """Return the row with the prompt set's class as label, and id, group and path within the data folder."""
    record = row.record
    label = record.label
    if label is not None:
        if source.labels and label not in source.labels:
            raise ConfigError(
                f"Source {source.name!r}: label {label!r} is not in the recipe's labels "
                f"({', '.join(source.labels)}).{nearest(label, source.labels)}"
            )
        label = source.labels.get(label, label)
        known = prompts.class_names if prompts else ()
        if prompts is not None and label not in known and not own_text:
            raise ConfigError(
                f"Source {source.name!r}: no class {label!r} in prompt set {prompts.name!r} "
                f"({', '.join(known)}).{nearest(str(label), known)}"
            )
    relative = None
    if record.path is not None:
        # Readers give absolute paths; what is linked into the data folder is named as it stands there.
        relative = below(folder.absolute(), Path(record.path).absolute())
    group = record.group
    if group is None and own_text and record.locator is None:
        # Several rows of one figure must not lie on both sides of a split.
        group = relative
    return replace(
        row,
        series=None if record.group is None else f"{source.name}/{record.group}",
        record=replace(
            record,
            id=f"{source.name}/{record.id}",
            path=relative,
            label=label,
            group=None if group is None else f"{source.name}/{group}",
            source=source.name,
        ),
    )


def _read(source: SourceConfig, recipe: Recipe, path: Path, folder: Path) -> list[Row]:
    """Return rows with absolute paths from a core reader or one of the domain's."""
    if source.reader in {"folder", "csv", "jsonl"}:
        if source.options:
            raise ConfigError(f"Source {source.name!r}: reader {source.reader!r} takes no options.")
        if source.reader == "folder":
            # The header check would open each file once more; decoding finds unreadable ones anyway.
            manifest = Manifest.from_folder(path, check=None)
            return [Row(replace(record, path=str(manifest.file_of(record)))) for record in manifest]
        return _read_table(source, path, folder)
    if recipe.domain is None:
        raise ConfigError(
            f"Source {source.name!r}: reader {source.reader!r} is none of folder, csv, jsonl, and the recipe "
            "names no domain that could have it."
        )
    read = room(recipe.domain).function("readers", source.reader)
    try:
        inspect.signature(read).bind(path, **source.options)
    except TypeError as error:
        raise ConfigError(
            f"Source {source.name!r}: reader {source.reader!r} does not take these options ({error})."
        ) from None
    found = read(path, **source.options)
    return [_row(values, f"{source.name} row {number}") for number, values in enumerate(found, 1)]


def _row(values: Mapping[str, Any], where: str) -> Row:
    """Return the row of a domain's reader: the fields of a record, ``text`` as one or many, ``extras``."""
    texts = _texts(values.get("text"), where)
    given = {key: value for key, value in values.items() if key not in ("text", "extras", "locator")}
    locator = json.dumps(values["locator"]) if values.get("locator") else None
    record = Record(**given, text=texts[0] if texts else None, locator=locator)
    return Row(record, texts, values.get("extras") or {})


def _texts(value: Any, where: str) -> tuple[str, ...]:
    """Return the captions of a row without empty ones."""
    listed = [value] if isinstance(value, str) else list(value or ())
    for text in listed:
        if not isinstance(text, str):
            raise DataError(f"{where}: a caption is {type(text).__name__}, not text.")
        DEFAULT.check("text_chars", len(text), what=f"{where}: characters")
    return tuple(text.strip() for text in listed if text.strip())


def _read_table(source: SourceConfig, path: Path, folder: Path) -> list[Row]:
    """Return the rows of a CSV or JSON-lines file; rows of one image are one row with several captions."""
    read = read_csv if source.reader == "csv" else read_jsonl
    root = folder / source.images if source.images else path.parent
    merged: dict[Any, tuple[str, dict[str, Any], list[str]]] = {}
    for where, values in read(path, source.columns or None, DEFAULT):
        given = {key: value for key, value in values.items() if key != "text" and value not in (None, "")}
        texts = _texts(values.get("text"), where)
        key = tuple(sorted(given.items())) if source.captions == "text" and "id" not in given else where
        if key in merged:
            merged[key][2].extend(texts)
        else:
            merged[key] = (where, given, list(texts))
    raw = [(where, {**given, "text": texts[0] if texts else None}) for where, given, texts in merged.values()]
    manifest = build(raw, root=root, check=None, limits=DEFAULT, source=path.name)
    return [
        Row(
            record if record.path is None else replace(record, path=str(manifest.file_of(record))),
            tuple(texts),
        )
        for record, (_, _, texts) in zip(manifest.records, merged.values(), strict=True)
    ]


def class_names(records: Sequence[Record], recipe: Recipe, prompts: PromptSet | None) -> tuple[str, ...]:
    """Return the classes of a run: the prompt set's, else the labels that occur, by source and name.

    A classifier has only classes that occur, in the order of the prompt set where there is one.
    """
    if prompts is not None:
        present = {record.label for record in records}
        return tuple(name for name in prompts.class_names if name in present or not recipe.classifies)
    names: dict[str, None] = {}
    for source in recipe.data.sources:
        found = {str(r.label) for r in records if r.source == source.name and r.label is not None}
        names.update(dict.fromkeys(sorted(found)))
    return tuple(names)


def class_weights(records: Sequence[Record], recipe: Recipe) -> dict[str, float]:
    """Return the share of an epoch that each class gets: the source's share, divided by its classes."""
    shares: dict[str, float] = {}
    for source in recipe.data.sources:
        counts = Counter(str(record.label) for record in records if record.source == source.name)
        if len(counts) < 2:
            raise DataError(
                f"Source {source.name!r} has training rows of {len(counts)} classes; it needs at least "
                "two, or there is nothing to tell apart."
            )
        powered = {label: count ** (1 - recipe.data.class_balance) for label, count in counts.items()}
        total = sum(powered.values())
        for label, value in powered.items():
            shares[label] = shares.get(label, 0.0) + source.share * value / total
    return shares


def source_weights(records: Sequence[Record], recipe: Recipe) -> dict[str, float]:
    """Return the share of an epoch that each source gets.

    Raises:
        DataError: a source has no training rows.
    """
    counts = Counter(str(record.source) for record in records)
    for source in recipe.data.sources:
        if not counts[source.name]:
            raise DataError(f"Source {source.name!r} has no training rows left after the split.")
    by_size = recipe.data.share_by == "size"
    return {
        source.name: source.share * (counts[source.name] if by_size else 1.0)
        for source in recipe.data.sources
    }
