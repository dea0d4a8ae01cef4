"""Pairs of products that are one style: a table of pairs beside a table of products.

::

    data/pairs.csv       left_id,right_id[,weight][,group][,split]
    data/products.csv    id,title,category,image,... as a catalogue reads them

"Left" is what was looked at and "right" what was chosen, where that is known. ``weight`` is the relevance of
the pair from 1 to 100; ``group`` names the style; ``split`` is ``train``, ``val`` or ``test``.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.files import inside
from ....core.data.groups import Groups, content_keys
from ....core.data.manifest import SPLIT_FOLDERS
from ....core.errors import DataError, InputError
from ..products.read import read_products
from ..products.record import Product, leaf_of
from .tables import SUFFIXES, cell, rows_of

_log = logging.getLogger(__name__)
MAX_UNKNOWN_SHARE = 0.05
"""More pairs than this with products that the table lacks stop a run: the files do not belong together."""
LARGEST_GROUP = 0.2
"""Share of the pairs from which one group is worth a warning."""
_FIELDS = ("title", "description", "category", "brand", "color", "material", "gender")


@dataclass(frozen=True)
class Pair:
    """Two products of one style.

    Attributes:
        left, right: ids. weight: relevance from 1 to 100, or None. group, split: as given, or None.
        where: row of the table, for messages.
    """

    left: str
    right: str
    weight: float | None = None
    group: str | None = None
    split: str | None = None
    where: str = ""


def read_product_pairs(
    path: Path, *, pairs: str | None = None, products: str | None = None, images: str | None = None
) -> Iterator[dict[str, Any]]:
    """Return an iterator over the pairs as rows of a training run.

    Args:
        path: the table of pairs (CSV, TSV, JSON lines, Parquet), or the folder it lies in.
        pairs: its name in the folder; None takes ``pairs.*``.
        products: table of products, relative to the folder; None takes ``products.*``.
        images: folder that paths of pictures start from, relative to the folder; None: the folder.

    Yields:
        ``id``, ``path`` of the left picture, ``label`` (leaf category of the left product), ``group``
        (products that pairs, equal pictures or a given group connect), ``split``, and ``extras``: ``left``
        and ``right`` with the fields of the products, ``image`` (a path) and ``id``, and ``weight``.

    Raises:
        DataError: a table is missing or damaged, no pair is left, or too many pairs name unknown products.
    """
    folder = path if path.is_dir() else path.parent
    table = _table(folder, pairs, "pairs") if path.is_dir() else path
    found = list(read_pairs(table))
    listed = _table(folder, products, "products")
    root = folder / _inside(folder, images) if images else folder
    known = _read_known(listed, root, {one.left for one in found} | {one.right for one in found})
    usable = _usable(found, known, table.name)
    names = _group_names(usable, known)
    for pair in usable:
        left, right = known[pair.left], known[pair.right]
        yield {
            "id": f"{pair.left}|{pair.right}",
            "path": left["image"],
            # What tells rows without a picture apart; training reads the fields below.
            "text": f"{pair.left}|{pair.right}",
            "label": leaf_of(left["category"]),
            "group": names[pair.left],
            "split": pair.split,
            "extras": {"left": left, "right": right, "weight": pair.weight},
        }


def read_pairs(path: Path) -> Iterator[Pair]:
    """Yield the pairs of a table, each once; a pair of a product with itself is refused.

    Raises:
        DataError: a column is missing, an id is empty, a weight is outside 1 to 100, or a split has
            another name.
    """
    seen: set[tuple[str, str]] = set()
    for where, row in rows_of(path, ("left_id", "right_id")):
        left, right = cell(row, "left_id"), cell(row, "right_id")
        if left is None or right is None:
            raise DataError(f"{where}: {'left_id' if left is None else 'right_id'} is empty. Fill it in.")
        if left == right:
            raise DataError(f"{where}: {left!r:.80} is paired with itself. Take the row out.")
        if (left, right) not in seen:
            seen.add((left, right))
            yield Pair(left, right, _weight(row, where), cell(row, "group"), _split(row, where), where)


def _split(row: dict[str, Any], where: str) -> str | None:
    given = cell(row, "split")
    if given is None:
        return None
    known = SPLIT_FOLDERS.get(given.casefold())
    if known is None:
        # Taken as none it would be drawn anew, and what was held back would be trained with.
        raise DataError(f"{where}: split is {given!r:.40}, expected train, val or test.")
    return known


def _weight(row: dict[str, Any], where: str) -> float | None:
    given = cell(row, "weight")
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 100:
        raise DataError(f"{where}: weight is {given!r:.40}, expected a relevance from 1 to 100.")
    return value


def _table(folder: Path, name: str | None, stem: str) -> Path:
    """Return a table of the folder: the one of that name, or the only one with the usual stem."""
    if name is not None:
        return folder / _inside(folder, name)
    endings = [*SUFFIXES, *(f"{suffix}{packed}" for suffix in SUFFIXES[:3] for packed in (".gz", ".zst"))]
    there = [folder / f"{stem}{suffix}" for suffix in endings if (folder / f"{stem}{suffix}").is_file()]
    if len(there) != 1:
        said = f"there are {', '.join(one.name for one in there)}" if there else f"no {stem}.csv or the like"
        raise DataError(f"{folder}: {said}. Name the table of {stem} in the source's options: {stem}.")
    return there[0]


def _inside(folder: Path, name: str) -> str:
    try:
        return inside(folder, name)
    except InputError as error:
        raise DataError(str(error)) from None


def _read_known(path: Path, images: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Return the products that some pair names, as plain values."""
    reader = read_products(path, image_root=images)
    known = {
        product.id: _plain(product) for product in reader if product.id in wanted and not product.deleted
    }
    if reader.rejected:
        _log.warning("%s: %d of %d rows are no products.", path.name, reader.rejected, reader.rows)
    return known


def _plain(product: Product) -> dict[str, Any]:
    """Return what training reads of a product; a picture that is no file counts as missing."""
    path = product.image.path if product.image is not None else None
    return {
        "id": product.id,
        **{field: getattr(product, field) for field in _FIELDS},
        "attributes": dict(product.attributes),
        "image": str(path) if path is not None and path.is_file() else None,
    }


def product_of(values: Mapping[str, Any]) -> Product:
    """Return the product of the plain values that :func:`read_product_pairs` gives."""
    fields = {field: values[field] for field in _FIELDS}
    return Product(values["id"], **fields, attributes=values["attributes"])


def _usable(found: list[Pair], known: Mapping[str, Mapping[str, Any]], name: str) -> list[Pair]:
    """Return the pairs whose products are known and have a picture or a title; say what is left out."""
    if not found:
        raise DataError(f"{name}: no pairs.")
    why: Counter[str] = Counter()
    first = ""
    usable: list[Pair] = []
    for pair in found:
        missing = next((one for one in (pair.left, pair.right) if one not in known), None)
        if missing is not None:
            why["name a product that the table lacks"] += 1
            first = first or f"{pair.where}: {missing!r:.80}"
        elif any(not known[one]["image"] and not known[one]["title"] for one in (pair.left, pair.right)):
            why["have a product with neither picture nor title"] += 1
        else:
            usable.append(pair)
    unknown = why["name a product that the table lacks"]
    if unknown > MAX_UNKNOWN_SHARE * len(found):
        raise DataError(
            f"{name}: {unknown} of {len(found)} pairs name a product that the table lacks, first {first}. "
            "Look at whether the two files belong together."
        )
    for reason, count in why.items():
        if count:
            _log.warning("%s: %d of %d pairs %s; they are left out.", name, count, len(found), reason)
    if not usable:
        raise DataError(f"{name}: none of the {len(found)} pairs can be used.")
    without = sum(not known[one]["image"] for pair in usable for one in (pair.left, pair.right))
    if without:
        _log.warning("%s: %d of %d products of pairs have no picture.", name, without, 2 * len(usable))
    return usable


def _group_names(usable: list[Pair], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return {product: name of its group}; say so where one holds much of the data."""
    groups: Groups[str] = Groups()
    given: dict[str, str] = {}
    for pair in usable:
        groups.join(pair.left, pair.right)
        if pair.group is not None:
            groups.join(given.setdefault(pair.group, pair.left), pair.left)
    members = {one for pair in usable for one in (pair.left, pair.right)}
    files = {one: Path(known[one]["image"]) for one in members if known[one]["image"]}
    first: dict[str, str] = {}
    for one, content in content_keys(files).items():
        groups.join(first.setdefault(content, one), one)
    names = {one: groups.find(one) for one in members}
    largest, count = Counter(names[pair.left] for pair in usable).most_common(1)[0]
    if count > LARGEST_GROUP * len(usable) and len(usable) > 20:
        _log.warning(
            "The group of %r holds %d of %d pairs: its products are never negatives of each other and stay "
            "on one side of the split. Drop products that are in very many pairs.",
            largest,
            count,
            len(usable),
        )
    return names
