"""Tables of scored presentations: what one run of a detector found, kept so that anyone can count again.

A table is CSV or JSON lines. ``score`` is needed (empty or null: no response), and ``species`` or ``label``;
the other :data:`COLUMNS` may be absent. Any further column is a group, and labels and splits are the words of
a manifest (:mod:`..protocols.words`). So the scores of any other system can be judged too.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ....core.data.tables import read_table
from ....core.errors import DataError, nearest
from ....core.files import atomic_path
from ....core.limits import DEFAULT, Limits
from ..protocols.aliases import canonical_dataset
from ..protocols.entry import BONA_FIDE
from ..protocols.words import cell_text, label_of, refuse_slips, refuse_spellings, species_of, split_of

COLUMNS = (
    "id", "score", "margin", "species", "subject", "dataset", "split", "failed_checks", "path", "fingerprint",
)  # fmt: skip
"""Columns with a meaning of their own, in the order they are written."""

_TEXTS = ("id", "species", "subject", "dataset", "split", "path", "fingerprint")


@dataclass(frozen=True)
class ScoredPresentation:
    """One presentation and what the system said about it.

    Attributes:
        id: of the presentation within its data set: the video, or the still.
        score: P(live) in most systems, before any temperature; higher = more live; None = no response.
        margin: log-odds of live where the system gives them; they tell saturated scores apart.
        species: ``bona_fide`` or the species of the attack.
        subject, dataset, split: as the manifest says; empty where it does not.
        groups: {column: value} of the manifest's further columns.
        failed_checks: names of the quality checks that were not passed.
        path: as the user gave it.
        fingerprint: of the system that answered; empty where it is not known.

    Raises:
        DataError: the species is empty, a number is not finite, or only one of score and margin says that
            there was a response.
    """

    id: str
    score: float | None
    margin: float | None
    species: str
    subject: str = ""
    dataset: str = ""
    split: str = ""
    groups: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    failed_checks: tuple[str, ...] = ()
    path: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.species:
            raise DataError(f"{self.id}: the species is empty; expected {BONA_FIDE} or that of the attack.")
        for name, value in (("score", self.score), ("margin", self.margin)):
            if value is not None and not math.isfinite(value):
                raise DataError(
                    f"{self.id}: {name} is {value}; expected a finite number, or nothing for a non-response."
                )
        if self.score is None and self.margin is not None:
            raise DataError(f"{self.id}: a margin of {self.margin:g} without a score; give both, or neither.")

    @property
    def is_live(self) -> bool:
        """Whether it is a bona fide presentation."""
        return self.species == BONA_FIDE

    @property
    def subject_id(self) -> str | None:
        """The subject, unique over data sets by their canonical names; None where nobody knows."""
        return f"{canonical_dataset(self.dataset)}/{self.subject}" if self.subject else None

    def to_dict(self, *, path: bool = False) -> dict[str, Any]:
        """Return plain values for a table; the path only when asked for."""
        found: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS if path or name != "path"}
        return found | {"failed_checks": list(self.failed_checks)} | dict(self.groups)


def write_scores(path: str | Path, rows: Sequence[ScoredPresentation], *, paths: bool = False) -> None:
    """Write a table as CSV (TSV), or as JSON lines where the name ends in .jsonl; numbers keep every digit.

    Args:
        path: file to write.
        rows: at least one.
        paths: also write where the files are.

    Raises:
        DataError: no rows, another suffix, or a group named like a column.
    """
    path = Path(path)
    if not rows:
        raise DataError(f"{path.name}: no presentations to write.")
    if path.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise DataError(f"{path.name}: a score table is a .csv, .tsv or .jsonl file.")
    groups = sorted({name for row in rows for name in row.groups})
    taken = next((name for name in groups if name in (*COLUMNS, "label")), None)
    if taken is not None:
        raise DataError(f"{path.name}: a group is named {taken!r}, a column of its own. Rename it.")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        if path.suffix.lower() == ".jsonl":
            handle.writelines(json.dumps(row.to_dict(path=paths), ensure_ascii=False) + "\n" for row in rows)
            return
        fixed = [name for name in COLUMNS if paths or name != "path"]
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        writer = csv.DictWriter(
            handle, [*fixed, *groups], restval="", delimiter=delimiter, lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(
            {**row.to_dict(path=paths), "failed_checks": ";".join(row.failed_checks)} for row in rows
        )


def read_scores(path: str | Path, *, limits: Limits = DEFAULT) -> list[ScoredPresentation]:
    """Return the presentations of a table, in its order.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.jsonl`` file in UTF-8; see the module for its columns.
        limits: ceilings on rows and line length.

    Raises:
        DataError: the file or a column is missing, a value is of another kind, or an id stands twice.
        LimitError: the file is too large.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise DataError(f"{path}: a score table is a .csv, .tsv or .jsonl file.")
    rows, seen, checked = [], {}, ()
    for number, (where, cells) in enumerate(read_table(path, ["score"], limits=limits), start=1):
        if tuple(cells) != checked:
            checked = tuple(cells)
            _check_columns(checked, where if path.suffix.lower() == ".jsonl" else f"{path.name} header")
        row = _row(where, cells, f"{path.name} {number}")
        first = seen.setdefault((row.dataset, row.id), where)
        if first is not where:
            raise DataError(
                f"{where}: the presentation {row.id!r} stands already in {first}. Keep each once."
            )
        rows.append(row)
    refuse_spellings(path.name, (row.species for row in rows))
    return rows


def _check_columns(present: Sequence[str], where: str) -> None:
    if "species" not in present and "label" not in present:
        raise DataError(
            f"{where}: neither a column 'species' nor 'label'; columns: {', '.join(present)}."
            f"{nearest('species', present)}"
        )
    refuse_slips(where, present, (*COLUMNS, "label"))


def _row(where: str, cells: Mapping[str, Any], unnamed: str) -> ScoredPresentation:
    text = {name: cell_text(where, name, cells.get(name)) for name in _TEXTS}
    failed = cells.get("failed_checks") or ()
    checks = failed.split(";") if isinstance(failed, str) else failed
    groups = {
        name: value
        for name in cells
        if name not in (*COLUMNS, "label") and (value := cell_text(where, name, cells[name]))
    }
    label = cell_text(where, "label", cells.get("label"))
    try:
        return ScoredPresentation(
            id=text["id"] or unnamed,
            score=_number(where, "score", cells["score"]),
            margin=_number(where, "margin", cells.get("margin")),
            species=species_of(where, text["species"], label_of(where, label) if label else None),
            subject=text["subject"],
            dataset=text["dataset"],
            split=split_of(where, text["split"]) if text["split"] else "",
            groups=MappingProxyType(groups),
            failed_checks=tuple(cell_text(where, "failed_checks", one) for one in checks),
            path=text["path"],
            fingerprint=text["fingerprint"],
        )
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


_LARGEST = 1e100
"""Scores beyond it have no difference that can be drawn or averaged."""


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        # Python reads 1_0 as ten; in a table it is a slip.
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not abs(number) < _LARGEST:
        raise DataError(
            f"{where}: {name} is {value!r:.40}; expected a number, or nothing for a non-response."
        )
    return number


@dataclass(frozen=True)
class Columns:
    """Scores, margins and species of presentations as the metrics take them.

    Attributes:
        scores: N scores, None = no response. species: N names.
        margins: N margins with None in the same places; None unless every response has one.
    """

    scores: list[float | None]
    margins: list[float | None] | None
    species: list[str]


def columns_of(rows: Sequence[ScoredPresentation]) -> Columns:
    """Return the columns of rows, in their order."""
    complete = all(row.margin is not None for row in rows if row.score is not None)
    return Columns(
        scores=[row.score for row in rows],
        margins=[row.margin for row in rows] if complete else None,
        species=[row.species for row in rows],
    )
