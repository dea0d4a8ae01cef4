"""Labelled queries of one's own catalogue: what is asked, and which products are right.

JSON lines, one query each::

    {"text": "red dress", "right": ["D-1042", "D-7"]}
    {"like": "D-1042", "right": {"D-1043": 3, "D-7": 1}}
    {"image": "photos/mug.jpg", "text": "in white", "right": ["M-12"]}

or a CSV with the same columns and the right ids separated by ``|``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.tables import json_rows, table_rows
from ....core.errors import DataError, InputError, nearest
from ....core.limits import DEFAULT, Limits
from ..products.pictures import ImageRoot

FIELDS = ("text", "image", "like", "without", "right", "id")
_SEPARATOR = "|"


@dataclass(frozen=True)
class LabelledQuery:
    """One query.

    Attributes:
        name: for messages. right: {product id: grade above 0}.
        text: words; beside a picture or product the change. image: file of a picture.
        like: id of a product, which is no answer itself. without: words for what is not wanted.
    """

    name: str
    right: Mapping[str, float]
    text: str | None = None
    image: Path | None = None
    like: str | None = None
    without: str | None = None

    @property
    def is_composed(self) -> bool:
        """Whether a picture or product and words are combined."""
        return self.text is not None and (self.image is not None or self.like is not None)


def read_queries(path: str | Path, *, limits: Limits = DEFAULT) -> list[LabelledQuery]:
    """Return the labelled queries of a JSON-lines or CSV file; pictures are relative to its folder.

    Raises:
        DataError: no file, an unknown field, a query without anything to ask or without a right answer, a
            picture that leaves the folder, or no query at all.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    limits.check("file_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    lines = path.suffix.lower() in (".jsonl", ".json", ".ndjson")
    rows = json_rows(path, limits) if lines else table_rows(path, limits)
    root = ImageRoot(path.parent)
    found = [_query(row, where, root) for where, row in rows]
    if not found:
        raise DataError(f"{path.name}: no queries.")
    return found


def _query(row: Mapping[str, Any], where: str, root: ImageRoot) -> LabelledQuery:
    given = {name: value for name, value in row.items() if value not in (None, "")}
    for name in given:
        if name not in FIELDS:
            raise DataError(f"{where}: no field {name!r} in a labelled query.{nearest(name, FIELDS)}")
    right = _right(given.get("right"), where)
    words = {name: str(given[name]).strip() for name in ("text", "like", "without") if name in given}
    image = None
    if "image" in given:
        try:
            image = root.resolve(str(given["image"]))
        except InputError as error:
            raise DataError(f"{where}: {error}") from None
        if not image.is_file():
            raise DataError(f"{where}: the picture {given['image']!r} is not there.")
    if image is not None and "like" in words:
        raise DataError(f"{where}: a query has an image or is like a product, not both.")
    if image is None and not {"text", "like"} & set(words):
        raise DataError(f"{where}: nothing is asked; give text, image or like.")
    return LabelledQuery(
        name=str(given.get("id", where)),
        right=right,
        text=words.get("text"),
        image=image,
        like=words.get("like"),
        without=words.get("without"),
    )


def _right(value: Any, where: str) -> dict[str, float]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(_SEPARATOR) if part.strip()]
    if isinstance(value, list):
        value = dict.fromkeys(map(str, value), 1.0)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{where}: no right answer; give 'right' as ids, or as {{id: grade}}.")
    try:
        found = {str(name): float(grade) for name, grade in value.items()}
    except (TypeError, ValueError):
        raise DataError(f"{where}: the grades of 'right' are not all numbers.") from None
    wrong = [name for name, grade in found.items() if not 0 < grade < float("inf")]
    if wrong:
        raise DataError(
            f"{where}: right answer {wrong[0]!r} has grade {found[wrong[0]]}; grades are above 0."
        )
    return found
