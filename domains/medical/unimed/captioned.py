"""Readers of labelled sets that write each image's captions, or a whole report, from its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....core.errors import ConfigError
from ....core.limits import DEFAULT, Limits
from ..readers import read_medmnist_npz, read_voc_boxes
from .captions import CaptionBank, Row, label_sets_of, make_pairs

_SENTENCES = 2
"""Sentences of the findings of a report that is written from a label."""


def read_captioned_npz(
    path: str | Path,
    *,
    labels: Sequence[str],
    modality: str = "",
    anatomy: str = "",
    count: int = 10,
    reports: bool = False,
    limits: Limits = DEFAULT,
) -> list[Row]:
    """Return one row per image of a MedMNIST ``.npz`` with captions written from its label.

    Args:
        path: the file. labels: class names in the order of the stored numbers.
        modality, anatomy, count: for the captions, see :class:`.templates.CaptionRequest`.
        reports: two captions become the findings and one the impression of a report, in as many
            combinations as there are captions.

    Raises:
        DataError, MedicalImageError: as :func:`verticlip.domains.medical.readers.read_medmnist_npz`.
        ConfigError: ``reports`` with too few captions.
    """
    rows = read_medmnist_npz(path, labels=labels, limits=limits)
    pairs = _captioned(rows, Path(path).stem, modality=modality, anatomy=anatomy, count=count)
    return [{**row, "text": label_reports(row["text"])} for row in pairs] if reports else pairs


def read_captioned_boxes(
    path: str | Path,
    *,
    names: Sequence[str] = (),
    modality: str = "",
    anatomy: str = "",
    count: int = 10,
    min_side: int = 1,
    limits: Limits = DEFAULT,
) -> list[Row]:
    """Return one row per object of a folder with Pascal-VOC boxes, with captions written from its label.

    Args:
        path: the folder.
        names: ``"label=words"`` for labels that captions shall call otherwise, e.g. ``"RBC=red blood cell"``.
        modality, anatomy, count: for the captions, see :class:`.templates.CaptionRequest`.
        min_side: boxes with a shorter side, in pixels, are left out.

    Raises:
        DataError: as :func:`verticlip.domains.medical.readers.read_voc_boxes`.
        ConfigError: an entry of ``names`` without ``=``, or for a label that no box has.
    """
    words = _names(names)
    rows = read_voc_boxes(path, min_side=min_side, limits=limits)
    unknown = set(words) - {row["label"] for row in rows}
    if unknown:
        raise ConfigError(
            f"names has {sorted(unknown)[0]!r}, which no box is labelled; labels: "
            f"{', '.join(sorted({str(row['label']) for row in rows}))}."
        )
    named = [{**row, "label": words.get(row["label"], row["label"])} for row in rows]
    return _captioned(named, Path(path).name, modality=modality, anatomy=anatomy, count=count)


def label_reports(captions: Sequence[str]) -> list[str]:
    """Return short reports with findings and impression, made of captions that all say the same.

    Raises:
        ConfigError: too few captions.

    Example:
        >>> label_reports(["X-ray with mass.", "Mass on an X-ray.", "Mass."])[0]
        'FINDINGS: X-ray with mass. Mass on an X-ray. IMPRESSION: Mass.'
    """
    # A colon would look like the heading of a section.
    usable = [text for text in captions if ":" not in text]
    if len(usable) <= _SENTENCES:
        raise ConfigError(f"A report takes {_SENTENCES + 1} captions, here are {len(usable)}. Raise count.")
    turns = [usable[turn:] + usable[:turn] for turn in range(len(usable))]
    return [f"FINDINGS: {' '.join(turn[:_SENTENCES])} IMPRESSION: {turn[_SENTENCES]}" for turn in turns]


def _captioned(
    rows: Sequence[Mapping[str, Any]], dataset: str, *, modality: str, anatomy: str, count: int
) -> list[Row]:
    bank = CaptionBank()
    bank.generate(dataset, label_sets_of(rows), modality=modality, anatomy=anatomy, count=count)
    return make_pairs(rows, bank, dataset=dataset)


def _names(entries: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        label, equals, words = (part.strip() for part in entry.partition("="))
        if not (label and equals and words):
            raise ConfigError(f"names: {entry!r} is not label=words, for example RBC=red blood cell.")
        found[label] = words
    return found
