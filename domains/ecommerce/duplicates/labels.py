"""Pairs for people to label, and the labels they give."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.data.tables import read_table
from ....core.errors import DataError, InputError
from ....core.files import write_text_atomic
from ....core.limits import DEFAULT, Limits
from ....core.spreadsheet import as_cell, from_cell
from .fitting import LabelledPair
from .grouping import Products
from .listing import read_listing
from .settings import DuplicateSettings
from .stages import Place, cosines_of, neighbors

if TYPE_CHECKING:
    from ....core.index.filters import Where

_COLUMNS = ("first", "second", "duplicate")
_YES = ("1", "yes", "y", "true", "duplicate", "same")
_NO = ("0", "no", "n", "false", "different", "variant")


@dataclass(frozen=True)
class Candidate:
    """Two products that a person should look at.

    Attributes:
        product, image, text: cosines; None where one has no such vector.
    """

    first: str
    second: str
    product: float
    image: float | None
    text: float | None


def candidates(
    catalog: Products,
    count: int,
    *,
    settings: DuplicateSettings | None = None,
    floor: float = 0.8,
    where: Where | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Candidate]:
    """Return pairs drawn evenly from all that the vectors could take for one, in random order.

    Drawn evenly, the share of duplicates among labelled pairs is that of the catalogue, and so is a precision
    measured on them, but for pairs that are left without a label because they are hard to tell.

    Args:
        count: pairs, fewer where there are fewer.
        settings: neighbors and category; None takes the defaults.
        floor: least cosine of the products; no threshold below it can be fitted.
        seed: of the draw.

    Raises:
        InputError: ``count`` below 1.
    """
    if count < 1:
        raise InputError(f"count is at least 1, got {count}.")
    settings = settings or DuplicateSettings()
    index = catalog.index
    listing = read_listing(index, (), where)
    told = None if progress is None else lambda done, total: progress("vectors", done, total)
    pairs, cosines = neighbors(index, listing, settings, where=where, floor=floor, progress=told)
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:count].tolist()
    drawn = [pairs[one] for one in chosen]
    image, text = (cosines_of(index, listing, drawn, view) for view in ("image", "text"))
    return [
        Candidate(
            listing.ids[first], listing.ids[second], cosines[one], _known(image[row]), _known(text[row])
        )
        for row, (one, (first, second)) in enumerate(zip(chosen, drawn, strict=True))
    ]


def write_candidates(path: Path, found: Sequence[Candidate], titles: dict[str, str]) -> None:
    """Write pairs as CSV with an empty column ``duplicate``: fill in yes or no, leave unsure ones empty.

    No spreadsheet runs an id or a title as a formula; :func:`read_labels` gives the ids back as they are.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow((*_COLUMNS, "first_title", "second_title", "product", "image", "text"))
    for one in found:
        numbers = ("" if value is None else f"{value:.4f}" for value in (one.product, one.image, one.text))
        names = (one.first, one.second)
        shown = (" ".join(titles.get(name, "").split())[:300] for name in names)
        writer.writerow((*map(as_cell, names), "", *map(as_cell, shown), *numbers))
    write_text_atomic(path, buffer.getvalue())


def read_labels(path: Path, *, limits: Limits = DEFAULT) -> list[tuple[str, str, bool]]:
    """Return (first id, second id, whether they are one) of each row that has a label.

    Args:
        path: CSV or JSON lines with the columns first, second, duplicate (yes or no; empty is left out).

    Raises:
        DataError: a missing column, another word than yes and no, or a pair with two labels.
    """
    found: dict[tuple[str, str], bool] = {}
    for where, cells in read_table(path, _COLUMNS, limits=limits):
        word = str(cells["duplicate"] if cells["duplicate"] is not None else "").strip().casefold()
        if not word:
            continue
        if word not in (*_YES, *_NO):
            raise DataError(f"{where}: duplicate is {word!r:.40}, expected yes or no.")
        first, second = sorted(from_cell(str(cells[name]).strip()) for name in ("first", "second"))
        if not first or first == second:
            raise DataError(f"{where}: a pair is two different ids, got {first!r:.80} and {second!r:.80}.")
        if found.setdefault((first, second), word in _YES) != (word in _YES):
            raise DataError(f"{where}: {first!r:.80} and {second!r:.80} have both labels. Keep one.")
    if not found:
        raise DataError(f"{path.name}: no row has a label. Fill in the column duplicate with yes or no.")
    return [(first, second, label) for (first, second), label in found.items()]


def measured(catalog: Products, labels: Sequence[tuple[str, str, bool]]) -> tuple[list[LabelledPair], int]:
    """Return labelled pairs with their cosines, and how many name a product that is not there."""
    index = catalog.index
    listing = read_listing(index)
    known = [
        ((listing.place[first], listing.place[second]), label)
        for first, second, label in labels
        if first in listing.place and second in listing.place
    ]
    places: list[Place] = [pair for pair, _ in known]
    views = {view: cosines_of(index, listing, places, view) for view in ("product", "image", "text")}
    pairs = [
        LabelledPair(
            listing.ids[first],
            listing.ids[second],
            label,
            **{view: _known(values[row]) for view, values in views.items()},
        )
        for row, ((first, second), label) in enumerate(known)
    ]
    return pairs, len(labels) - len(known)


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
