"""Labelled presentations as rows of a training run: from a manifest or from the folder of a public set."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....core.errors import ConfigError
from ..protocols.entry import UNNAMED, Entry, Split
from ..protocols.manifest import read_manifest
from ..protocols.subjects import check_disjoint, is_shot

_log = logging.getLogger(__name__)
CATEGORY_COLUMN = "category"
"""Column of a manifest that says the category of a taxonomy where the species does not."""

_SPLITS = {"train": "train", "dev": "val", "test": "test"}


def read_presentations(
    path: str | Path,
    *,
    root: str | None = None,
    split: Split | None = None,
    dataset: str | None = None,
    layout: str | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Return an iterator over presentations as rows of a training run; a video or series is one row.

    The shots of a few-shot protocol are rows like others here; whether a run may train with people who are
    tested is for its own settings to say.

    Args:
        path: a manifest (``.csv``, ``.tsv``, ``.jsonl``) with the columns of :mod:`..protocols.manifest`, or,
            with ``layout``, the folder of a public set.
        root: folder that the manifest's paths start from, relative to its own; default: its own.
        split: of every row, for a manifest without a split column.
        dataset: name of the data set, for rows without one.
        layout: public set whose folder this is, such as ``oulu-npu``; ``options`` are those of
            :func:`..protocols.registry.open_protocol`: protocol, fold, dev_share ...

    Yields:
        ``id`` (``dataset/video_id``, repeats of a few-shot list numbered), ``path`` of the (first) file,
        ``label`` (the column ``category``, else the species), ``group`` (the subject within its data set,
        the presentation itself where nobody knows and for shots), ``split`` (dev is ``val``), and ``extras``:
        ``entry``, the whole presentation.

    Raises:
        ConfigError: options of a public set without one, or of a manifest with one.
        DataError: as :func:`..protocols.manifest.read_manifest`, or a person in two splits.
    """
    if layout is None:
        entries = _of_manifest(Path(path), root, split, options)
    else:
        if root is not None or split is not None:
            raise ConfigError(f"root and split are for manifests; {layout} says both itself. Leave them out.")
        entries = _of_folder(path, layout, options)
    if dataset is not None:
        entries = [replace(one, dataset=dataset) if one.dataset == UNNAMED else one for one in entries]
    check_disjoint(entries, few_shot=True)
    seen: Counter[str] = Counter()
    for entry in entries:
        seen[entry.id] += 1
        repeat = f"#{seen[entry.id]}" if seen[entry.id] > 1 else ""
        # People of shots are tested too, by design: grouped by person, they would count as leaked.
        person = None if is_shot(entry) else entry.subject_id
        yield {
            "id": f"{entry.id}{repeat}",
            "path": str(entry.path.absolute()),
            "label": entry.groups.get(CATEGORY_COLUMN) or entry.species,
            "group": person or entry.id,
            "split": _SPLITS[entry.split],
            "extras": {"entry": entry},
        }


def _of_manifest(
    path: Path, root: str | None, split: Split | None, options: Mapping[str, Any]
) -> Sequence[Entry]:
    if options:
        raise ConfigError(
            f"{', '.join(options)}: options of a public set, and no layout names one. Name it, or leave "
            "them out."
        )
    return read_manifest(path, root=None if root is None else path.parent / root, split=split)


def _of_folder(path: str | Path, layout: str, options: Mapping[str, Any]) -> Sequence[Entry]:
    from ..protocols.registry import open_protocol

    protocol = open_protocol(layout, path, **options)
    for note in protocol.note:
        _log.warning("%s: %s", protocol.name, note)
    return protocol.entries
