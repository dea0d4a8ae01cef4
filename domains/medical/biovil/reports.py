"""Chest X-rays with their reports from a JSON-lines file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....core.data.files import inside
from ....core.data.tables import json_rows
from ....core.errors import DataError, InputError, nearest
from ....core.limits import DEFAULT, Limits
from .sections import split_report

_KEYS = ("image", "report", "findings", "impression", "patient", "split", "id", "label")


def read_reports(
    path: str | Path, *, images: str | None = None, limits: Limits = DEFAULT
) -> list[dict[str, Any]]:
    """Return one record per study of a JSON-lines file.

    A line is an object with ``image``, a path, and ``report``, the whole text, or ``findings`` and
    ``impression``; optionally ``patient``, which keeps the studies of one patient on one side of every
    split, ``split``, ``id`` and ``label``. Studies of one patient stand in the order they were made in:
    BioViL-T learns from each and the one before it. The text of a study is its impression and findings,
    or the report where it has no such sections.

    Args:
        path: the file.
        images: folder of the images relative to the file's own folder; None is that folder.

    Raises:
        DataError: a line that is no such object or not UTF-8, a study without text, or a path that leaves
            the folder.
        LimitError: the file has too many lines, or one is too long.
    """
    path = Path(path)
    root = (path.parent if images is None else path.parent / images).absolute()
    records = [_record(row, root, where) for where, row in json_rows(path, limits)]
    if not records:
        raise DataError(f"{path.name}: no studies. Write one JSON object per line.")
    return records


def _record(row: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    for key, value in row.items():
        if key not in _KEYS:
            raise DataError(f"{where}: unknown key {key!r}.{nearest(key, _KEYS)} Known: {', '.join(_KEYS)}.")
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}: {key} is {type(value).__name__}, not text.")
    given = {key: value.strip() for key, value in row.items() if value and value.strip()}
    if "image" not in given:
        raise DataError(f"{where}: no 'image'. Give the path of the picture.")
    sections = {name: given[name] for name in ("findings", "impression") if name in given}
    sections = sections or split_report(given.get("report", ""))
    text = " ".join(sections[name] for name in ("impression", "findings") if name in sections)
    text = text or " ".join(given.get("report", "").split())
    if not text:
        raise DataError(f"{where}: no text. Give 'report', or 'findings' and 'impression'.")
    return {
        "id": given.get("id", where),
        "path": _place(root, given["image"], where),
        "label": given.get("label"),
        "split": given.get("split"),
        "group": given.get("patient"),
        "text": text,
        "extras": dict(sections),
    }


def _place(root: Path, name: str, where: str) -> str:
    try:
        return str(root / inside(root, name))
    except InputError as error:
        raise DataError(f"{where}: {error}") from error
