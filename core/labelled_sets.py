"""Public labelled sets: what each is called, which classes it has, and where its files may lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from .data.labelled import Folders, LabelledRow
from .errors import DataError
from .limits import Limits

Metrics = Literal["accuracy", "binary"]
"""``binary`` adds AUC, F1, precision and recall of the second class."""


class Layout(Protocol):
    """One way the files of a set may lie; see :mod:`core.data.labelled`."""

    def expects(self) -> str:
        """Say which files this layout needs."""
        ...

    def read(self, root: Path, classes: Sequence[str], limits: Limits) -> list[LabelledRow] | None:
        """Return the images below ``root``, or None when they do not lie this way."""
        ...


@dataclass(frozen=True)
class LabelledSet:
    """A labelled public set.

    Attributes:
        name: as in the benchmark; also the name of its prompt set.
        modality: kind of image.
        classes: in index order; the second one is positive where ``metrics`` is ``binary``.
        layouts: ways the files may lie, tried in order.
        source: where the images come from and how to get them.
        metrics: what is reported.
        images: number in the published test part, None where it was not published.
        group: expression on the path whose first group names the patient or scene; "" when nothing does.
        caution: why a result may be too good, or "".
        averaged: whether the set counts toward the published average.
    """

    name: str
    modality: str
    classes: tuple[str, ...]
    layouts: tuple[Layout, ...]
    source: str
    metrics: Metrics = "accuracy"
    images: int | None = None
    group: str = ""
    caution: str = ""
    averaged: bool = True

    def expects(self) -> str:
        """Say which files are looked for, all layouts in one sentence."""
        own = f"one folder per class ({', '.join(self.classes[:3])} ...) in a folder named {self.name}"
        return "; or ".join([*(layout.expects() for layout in self.layouts), own])


def find_rows(
    one: LabelledSet, root: Path, limits: Limits, *, shared: bool, leave_out: str | None = None
) -> tuple[list[LabelledRow], str] | None:
    """Return the images of a set and how they lie, or None when none of its layouts is there.

    Args:
        root: folder with the set's files, or one that holds them in a folder of its name.
        shared: the root holds other sets too: folders called as the classes may belong to another.
        leave_out: files with this in their name are no images of the set.

    Raises:
        DataError: no such folder, or a damaged table.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Pass the folder that holds {one.name}.")
    folders = Folders({name: name for name in one.classes}, leave_out=leave_out)
    for place in (root / one.name, root):
        if not place.is_dir():
            continue
        layouts = one.layouts if shared and place == root else (*one.layouts, folders)
        for layout in layouts:
            if rows := layout.read(place, one.classes, limits):
                return _with_groups(rows, one), layout.expects()
    return None


def missing_files(one: LabelledSet, root: Path) -> str:
    """Say that no files of a set are below ``root``, and what is looked for."""
    return f"{root}: no files of {one.name}. Expected {one.expects()}. {one.source}"


def _with_groups(rows: list[LabelledRow], one: LabelledSet) -> list[LabelledRow]:
    if one.group:
        for row in rows:
            match = re.search(one.group, row["id"])
            row["group"] = match[1] if match else row["id"]
    return rows
