"""A protocol: which presentations train, choose the threshold and test, and what is known about it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....core.data.files import files_below
from ....core.errors import ConfigError, DataError
from .entry import SPLITS, Entry, Split
from .subjects import is_shot

VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mkv", ".webm")
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")

Counts = Mapping[Split, tuple[int, int]]
"""{split: (live, attack)}: how many presentations a protocol has when the data set is complete."""


@dataclass(frozen=True)
class Protocol:
    """The presentations of a published protocol, and how its results have to be read.

    Attributes:
        name: such as ``oulu-npu protocol 3 fold 2``; say it with every result.
        entries: of all splits.
        rule: how the threshold is chosen, in the words of the threshold rules: ``dev_eer`` where the
            protocol has a development set, ``test_eer`` where the literature takes the test set's own.
        note: sentences on what is not verified about the split, and what is missing from the folder.
        oracle_habit: what published figures take from the test set itself, or None where they take nothing.
    """

    name: str
    entries: tuple[Entry, ...]
    rule: str
    note: tuple[str, ...] = ()
    oracle_habit: str | None = None

    def of(self, split: Split) -> tuple[Entry, ...]:
        """Return the presentations of one split."""
        return tuple(entry for entry in self.entries if entry.split == split)

    def counts(self) -> dict[Split, dict[str, int]]:
        """Return {split: {species: presentations}}, bona fide first, without repeats of shots."""
        distinct = {(entry.split, entry.id): entry for entry in self.entries}.values()
        counted = Counter((entry.split, entry.species) for entry in distinct)
        return {
            split: {
                species: counted[split, species]
                for species in sorted(
                    {kind for part, kind in counted if part == split},
                    key=lambda kind: (kind != "bona_fide", kind),
                )
            }
            for split in SPLITS
            if any(part == split for part, _ in counted)
        }


def list_files(folder: str | Path, suffixes: Sequence[str], *, what: str) -> list[str]:
    """Return the paths of a data set's files relative to its folder, sorted.

    Args:
        suffixes: lower case, with the dot.
        what: the data set and the layout that is expected, for the message.

    Raises:
        DataError: no such folder, or no file of these kinds in it; says what is there instead.
    """
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"{folder}: no such folder. Expected {what}.")
    names = [name for name in files_below(place.absolute()) if name.lower().endswith(tuple(suffixes))]
    if not names:
        raise DataError(
            f"{folder}: no {', '.join(suffixes)} file below it. Expected {what}. Found: {found_in(place)}."
        )
    return names


def found_in(folder: Path) -> str:
    """Return the first names inside a folder, for a message about what was expected there."""
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    rest = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + rest if names else "nothing"


def compare_counts(entries: Iterable[Entry], expected: Counts, *, verified: bool, partial: bool) -> list[str]:
    """Return notes on splits that do not have the presentations they should.

    Args:
        entries: of the protocol.
        expected: {split: (live, attack)} of the complete data set.
        verified: whether the expected counts are certain; if not, a difference is only noted.
        partial: take an incomplete data set and note it.

    Raises:
        DataError: the counts differ, are certain, and ``partial`` is false.
    """
    counted = Counter((entry.split, entry.label) for entry in entries)
    notes = []
    for split, (live, attack) in expected.items():
        found = counted[split, "live"], counted[split, "attack"]
        if found == (live, attack):
            continue
        text = (
            f"{split} has {found[0]:,} live and {found[1]:,} attacks, published are {live:,} and {attack:,}"
        )
        if verified and not partial:
            raise DataError(
                f"{text}. Files are missing or doubled; results would not compare with published ones. "
                "Complete the folder, or take it as it is with partial."
            )
        notes.append(
            f"Incomplete: {text}; do not compare results with published ones."
            if verified
            else f"{text} (unverified figures)."
        )
    return notes


def hold_out_dev(protocol: Protocol, share: float) -> Protocol:
    """Return the protocol with a development set made of a share of its training subjects.

    For protocols without one of their own: a threshold, and the choice of a checkpoint, must not come from
    the test set. Subjects are taken whole, the same ones at every call; in each data set by itself, so that
    every source is in both parts. Presentations without a subject are taken by video. The shots of a few-shot
    protocol stay in training, with all presentations of their people: they are of the tested set.

    Args:
        protocol: without development entries.
        share: above 0, below 1; at least one subject of each data set is taken and one is left.

    Raises:
        ConfigError: the share is outside its range.
        DataError: the protocol has a development set, or a data set with one training subject only.
    """
    if not 0 < share < 1:
        raise ConfigError(f"dev_share {share} must lie between 0 and 1, such as 0.2.")
    if protocol.of("dev"):
        raise DataError(f"{protocol.name} has a development set of its own; leave dev_share out.")
    persons: dict[str, set[str]] = {}
    shown = {_person(entry) for entry in protocol.entries if is_shot(entry)}
    for entry in protocol.of("train"):
        if _person(entry) not in shown:
            persons.setdefault(entry.dataset, set()).add(_person(entry))
    held: set[str] = set()
    for dataset, names in persons.items():
        if len(names) < 2:
            raise DataError(f"{protocol.name}: {dataset} has one training subject; none can be held out.")
        count = min(max(round(share * len(names)), 1), len(names) - 1)
        held.update(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
    return replace(
        protocol,
        name=f"{protocol.name}, dev share {share:g}",
        entries=tuple(
            replace(entry, split="dev") if entry.split == "train" and _person(entry) in held else entry
            for entry in protocol.entries
        ),
        rule="dev_eer",
        note=(
            *protocol.note,
            f"The development set is a choice of this package: {len(held):,} training subjects "
            f"({share:.0%} of each data set) held out of training. Published results have none.",
        ),
    )


def keep_known(
    names: Iterable[str], parse: Callable[[str], Entry | None], *, folder: str | Path, what: str
) -> tuple[list[Entry], list[str]]:
    """Return the entries of the names that ``parse`` knows, and the names it does not.

    Raises:
        DataError: it knows none; says what was expected and shows some of what is there.
    """
    kept, unknown = [], []
    for name in names:
        entry = parse(name)
        if entry is None:
            unknown.append(name)
        else:
            kept.append(entry)
    if not kept:
        raise DataError(
            f"{folder}: no file name is one of {what}. "
            f"Found, for example: {', '.join(unknown[:3]) or 'nothing'}."
        )
    return kept, unknown


def unknown_note(unknown: Sequence[str]) -> list[str]:
    """Return a note on files whose names mean nothing in the data set, or none."""
    if not unknown:
        return []
    return [f"{len(unknown):,} files have other names and were left out, first {unknown[0]}."]


def _person(entry: Entry) -> str:
    return f"subject {entry.subject_id}" if entry.subject_id is not None else f"video {entry.id}"
