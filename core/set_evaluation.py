"""Zero-shot evaluation on public labelled sets: an image belongs to the class with the largest cosine.

Rooms bring their sets and say how each is asked; see :class:`SetProtocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data.labelled import LabelledRow
from .embed_each import embed_images
from .errors import DataError, InputError
from .files import write_json_atomic
from .labelled_sets import LabelledSet, find_rows, missing_files
from .limits import DEFAULT, Limits
from .metrics.classification import confusion_matrix
from .prompts import PromptSet
from .set_results import (
    Ensemble,
    SetResult,
    SetTable,
    class_vectors,
    prompts_in_order,
    set_metrics,
    set_notes,
)

if TYPE_CHECKING:
    from .handle import ModelHandle

Found = tuple[list[LabelledRow], str]
"""Rows of a set, and which files they are from."""


@dataclass(frozen=True)
class SetProtocol:
    """How a set is asked.

    Attributes:
        name: of the protocol. prompts: of the set's classes, in any order.
        ensemble: how the prompts of a class become one vector.
        notes: what to know before comparing the numbers, beside what the set itself says.
    """

    name: str
    prompts: PromptSet
    ensemble: Ensemble = "unit"
    notes: tuple[str, ...] = ()


def read_rows(one: LabelledSet, root: str | Path, *, limits: Limits = DEFAULT) -> Found:
    """Return (rows, layout) of a set below ``root``, which may also hold it in a folder of its name.

    Raises:
        DataError: none of the layouts is there, or a damaged file.
    """
    found = find_rows(one, Path(root), limits, shared=False)
    if found is None:
        raise DataError(missing_files(one, Path(root)))
    return found


def measure_set(
    model: ModelHandle,
    one: LabelledSet,
    root: str | Path | Found,
    protocol: SetProtocol,
    *,
    out: str | Path | None = None,
    **options: Any,
) -> SetResult:
    """Measure a model on a set.

    Args:
        model: with an image and a text tower.
        root: folder with the set's files, or what :func:`read_rows` found there.
        protocol: how it is asked.
        out: folder for ``report.json`` and ``confusion.png``; None writes nothing.
        options: as :func:`.embed_each.embed_images` takes them.

    Raises:
        ConfigError: prompts for other classes. DataError: no files, or none that can be used.
    """
    ordered = prompts_in_order(protocol.prompts, one.name, one.classes)
    rows, layout = root if isinstance(root, tuple) else read_rows(one, root, limits=model.limits)
    if out is not None:
        # An unusable output folder should show before the work, not after it.
        Path(out).mkdir(parents=True, exist_ok=True)
    classes = class_vectors(model, ordered, protocol.ensemble)
    files, ids = [Path(row["path"]) for row in rows], [row["id"] for row in rows]
    embedded = embed_images(model, files, ids=ids, **options)
    if not embedded.kept:
        raise DataError(
            f"{one.name}: none of {len(rows)} images could be used. First: {embedded.failures[0].error}"
        )
    cosines = (embedded.vectors.double() @ classes.double().T).numpy()
    used = [rows[position] for position in embedded.kept]
    targets = np.array([one.classes.index(row["label"]) for row in used])
    table = confusion_matrix(cosines.argmax(axis=1), targets, len(one.classes))
    result = SetResult(
        one.name,
        one.modality,
        one.classes,
        len(used),
        set_metrics(cosines, targets, None, binary=False),
        tuple(map(tuple, table.tolist())),
        layout,
        (*set_notes(one, used, targets), *protocol.notes),
        tuple(embedded.failures),
        _origin(model, protocol, ordered),
    )
    if out is not None:
        result.write(out)
    return result


def _origin(model: ModelHandle, protocol: SetProtocol, ordered: PromptSet) -> dict[str, str]:
    return {
        "model": model.id,
        "revision": model.revision,
        "processor": model.processor.fingerprint,
        "protocol": protocol.name,
        "prompt_set": f"{ordered.name} {ordered.version}",
        "prompts": ordered.fingerprint,
        "ensemble": protocol.ensemble,
    }


def measure_all(
    sets: Iterable[LabelledSet],
    root: str | Path,
    measure: Callable[[str, Found, Path | None], SetResult],
    *,
    out: str | Path | None = None,
    limits: Limits = DEFAULT,
) -> SetTable:
    """Measure every set whose files are below ``root``.

    Args:
        root: holds the sets in folders of their names.
        measure: a set by name, its rows, and the folder for its report.
        out: folder for one folder per set and ``table.json``.

    Returns:
        Results and, for sets without files or with damaged ones, why they are missing.

    Raises:
        DataError: no set could be measured.
    """
    results, missing = {}, {}
    for one in sets:
        try:
            found = find_rows(one, Path(root), limits, shared=True)
            if found is None:
                missing[one.name] = missing_files(one, Path(root))
            else:
                results[one.name] = measure(one.name, found, None if out is None else Path(out) / one.name)
        except (DataError, InputError) as error:
            missing[one.name] = str(error)
    if not results:
        raise DataError(
            f"{root}: no set could be measured. {next(iter(missing.values()), 'None was asked for.')}"
        )
    table = SetTable(results, missing)
    if out is not None:
        write_json_atomic(Path(out) / "table.json", table.to_dict())
    return table
