"""Which presentations of a run train, which judge, and of which data set each is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....core.errors import DataError
from ....core.gather import GatheredRows
from ..protocols.aliases import canonical_dataset, known_datasets
from ..protocols.entry import LABELS, Entry, Split
from ..protocols.subjects import FEW_SHOT, check_disjoint, is_shot
from .options import LivenessTrainingConfig

if TYPE_CHECKING:
    from ....core.data import Record

_log = logging.getLogger(__name__)
_SPLITS: dict[str, Split] = {"train": "train", "val": "dev", "test": "test"}


def presentations_of(
    rows: GatheredRows, options: LivenessTrainingConfig
) -> tuple[GatheredRows, dict[str, Entry]]:
    """Return the rows and {id of a record: presentation} with the splits of the run.

    Nobody stands in two splits. Shots of a few-shot protocol train: where development rows are drawn here,
    none of them is taken.

    Raises:
        ConfigError: a target that is no known data set.
        DataError: a row of another reader; subjects, videos or files in two splits; rows of the target.
    """
    kept, entries = [], {}
    for row in rows.rows:
        entry = row.extras.get("entry")
        if not isinstance(entry, Entry):
            raise DataError(
                f"{row.record.id}: no presentation. Sources of task liveness have the reader presentations."
            )
        record = replace(row.record, split="train") if is_shot(entry) else row.record
        kept.append(replace(row, record=record))
        entries[record.id] = replace(entry, split=_SPLITS[str(record.split)])
    check_disjoint(entries.values(), few_shot=options.few_shot)
    _refuse_targets(list(entries.values()), options)
    manifest = replace(rows.manifest, records=tuple(row.record for row in kept))
    return replace(rows, rows=tuple(kept), manifest=manifest), entries


def domain_of(record: Record, entries: Mapping[str, Entry], options: LivenessTrainingConfig) -> str:
    """Return what a presentation is balanced and judged with: its data set, or the recipe's source."""
    if options.domains == "source":
        return str(record.source)
    return canonical_dataset(entries[record.id].dataset)


def held_out(
    usable: Sequence[Record], entries: Mapping[str, Entry], options: LivenessTrainingConfig
) -> dict[str, tuple[Record, ...]]:
    """Return {data set or source: development records}; those without live or attack are told and left out.

    Raises:
        DataError: none has both.
    """
    found: dict[str, list[Record]] = {}
    for record in usable:
        if not is_shot(entries[record.id]):
            own = found.setdefault(domain_of(record, entries, options), [])
            own += [record] if record.split == "val" else []
    lacking = {name: [] for name in LABELS}
    for name, own in sorted(found.items()):
        for label in set(LABELS) - {entries[record.id].label for record in own}:
            lacking[label].append(name)
    unjudged = {name for names in lacking.values() for name in names}
    said = "; ".join(f"no {label} of {', '.join(names)}" for label, names in lacking.items() if names)
    if len(unjudged) == len(found):
        raise DataError(
            "A model is chosen on live and attack presentations of the development part, and of those that "
            f"can be read there are {said}. Give rows of split dev, or raise data.validation.fraction."
        )
    if unjudged:
        _log.warning(
            "In the development part there are %s. The model is chosen without regard to these data sets.",
            said,
        )
    return {name: tuple(own) for name, own in sorted(found.items()) if name not in unjudged}


def _refuse_targets(entries: Sequence[Entry], options: LivenessTrainingConfig) -> None:
    present = {entry.dataset for entry in entries}
    seen = [entry for entry in entries if entry.split != "test" and not (options.few_shot and is_shot(entry))]
    for target in known_datasets(options.target, present, option="options.target"):
        own = [entry for entry in seen if canonical_dataset(entry.dataset) == target]
        if own:
            shots = any(FEW_SHOT in entry.groups for entry in own)
            raise DataError(
                f"{len(own)} training or development presentations are of {target!r}, which options.target "
                "keeps for the test: a result on it would not be one on an unseen set. Leave them out, or "
                f"take it off the targets{'; shots of a few-shot protocol need options.few_shot' * shots}."
            )
