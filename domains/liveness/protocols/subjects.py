"""Nobody and nothing may stand on both sides of a split: subjects, videos and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ....core.data.groups import content_keys
from ....core.errors import DataError
from .entry import UNSPECIFIED, Entry

FEW_SHOT = "few_shot"
"""Group of the training presentations that a few-shot protocol takes from the tested data set."""

_SHOWN = 5
"""Subjects, videos or files that a message names before it only counts them."""


def check_disjoint(entries: Iterable[Entry], *, by_content: bool = False, few_shot: bool = False) -> None:
    """Refuse presentations whose subjects, videos or files stand in two splits, or twice where they count.

    Subjects of two data sets never count as the same person; data sets are told apart by their canonical
    names, see :mod:`.aliases`. Entries without a subject are not compared; :func:`subject_notes` says so. In
    ``train`` a presentation may stand several times, as few-shot protocols repeat their shots; in ``dev`` and
    ``test`` it would be counted twice.

    Args:
        entries: of all splits together.
        by_content: also refuse byte-identical files of two splits; reads files of equal size.
        few_shot: let the shots of a few-shot protocol (group ``few_shot``, split ``train``) show people who
            are tested, as they do by design; never people of ``dev``. Say so with every result.

    Raises:
        DataError: names the subjects, videos or files and their splits.
    """
    kept = list(entries)
    shots = [entry for entry in kept if is_shot(entry)]
    spared = {id(entry) for entry in shots} if few_shot else set()
    persons = [
        (entry.subject_id, entry.split)
        for entry in kept
        if entry.subject_id is not None and id(entry) not in spared
    ]
    if spared:
        judged = {person for person, split in persons if split == "dev"}
        persons += [(entry.subject_id, entry.split) for entry in shots if entry.subject_id in judged]
    advice = "Move each person into one split."
    if shots and not few_shot:
        advice += " Shots of a few-shot protocol are allowed by the option few_shot (few_shot=True)."
    _refuse_shared("subjects", persons, advice)
    _refuse_shared("videos", [(entry.id, entry.split) for entry in kept], "Keep each in one split.")
    _refuse_repeats(kept)
    files = _owners(kept)
    if by_content:
        _refuse_equal(files)


def is_shot(entry: Entry) -> bool:
    """Return whether a presentation is one of those that a few-shot protocol trains with."""
    return entry.split == "train" and FEW_SHOT in entry.groups


def subject_notes(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return what cannot be claimed about these entries because subjects or species are not known.

    Empty where every entry has both. For reports: without subjects, intervals are by video and the splits
    are not known to be disjoint.
    """
    kept = list(entries)
    notes = []
    unknown = sum(entry.subject is None for entry in kept)
    if unknown:
        notes.append(
            f"{unknown:,} of {len(kept):,} presentations have no subject: nothing shows that the splits "
            "share no person, and intervals are drawn over videos, which makes them too narrow where one "
            "person is in several. Add a column subject."
        )
    attacks = [entry for entry in kept if entry.label == "attack"]
    pooled = sum(entry.species == UNSPECIFIED for entry in attacks)
    if pooled:
        notes.append(
            f"{pooled:,} of {len(attacks):,} attacks have no species: they are judged as one pool, which can "
            "hide the worst kind of attack. Add a column species."
        )
    return tuple(notes)


def _refuse_shared(what: str, places: Iterable[tuple[str, str]], advice: str) -> None:
    splits: dict[str, set[str]] = {}
    for key, split in places:
        splits.setdefault(key, set()).add(split)
    shared = {key: where for key, where in splits.items() if len(where) > 1}
    if shared:
        named = [f"{key} ({' and '.join(_ordered(where))})" for key, where in sorted(shared.items())]
        raise DataError(f"{len(shared):,} {what} stand in more than one split: {_few(named)}. {advice}")


def _refuse_repeats(entries: Sequence[Entry]) -> None:
    counts = Counter(entry.id for entry in entries if entry.split != "train")
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataError(
            f"{len(twice):,} presentations stand twice where they are counted (dev or test): {_few(twice)}. "
            "Keep each once."
        )


def _owners(entries: Sequence[Entry]) -> dict[Path, Entry]:
    """Return {file: its presentation}; a file of two presentations is refused."""
    owners: dict[Path, Entry] = {}
    for entry in entries:
        for file in entry.files:
            # Links are followed: two names of one file are one file.
            real = file.resolve()
            first = owners.setdefault(real, entry)
            if first.id != entry.id:
                raise DataError(
                    f"{file.name} is a file of two presentations: {first.id} ({first.split}) and "
                    f"{entry.id} ({entry.split}). Keep it in one."
                )
    return owners


def _refuse_equal(owners: Mapping[Path, Entry]) -> None:
    keys = content_keys({str(path): path for path in owners})
    first: dict[str, Path] = {}
    for path, entry in owners.items():
        other = first.setdefault(keys[str(path)], path)
        if owners[other].split != entry.split:
            raise DataError(
                f"{other.name} of {owners[other].id} ({owners[other].split}) and {path.name} of {entry.id} "
                f"({entry.split}) hold the same bytes. Keep one of them."
            )


def _ordered(splits: Iterable[str]) -> list[str]:
    return sorted(splits, key=("train", "dev", "test").index)


def _few(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
