"""One presentation of a labelled set: its files, what it shows, whose it is and which split it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ....core.errors import DataError
from ..taxonomy import BONA_FIDE
from .aliases import canonical_dataset

Label = Literal["live", "attack"]
Split = Literal["train", "dev", "test"]

LABELS: tuple[Label, ...] = ("live", "attack")
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

UNSPECIFIED = "unspecified"
"""The species of attacks whose instrument nobody wrote down: they can only be judged as one pool."""

UNNAMED = "unnamed"
"""The data set of rows that name none. All such rows count as one set, so that subject 1 of two
manifests without names is taken for one person rather than missed."""


@dataclass(frozen=True)
class Entry:
    """One presentation: a picture, a video, or several frames of one video.

    Attributes:
        path: the file that is read; the first frame where ``frames`` are given.
        video_id: names the presentation within its data set; frames of one video share it.
        label: ``live`` (bona fide) or ``attack``.
        species: ``bona_fide`` for live, else the attack instrument species (ISO/IEC 30107-3).
        subject: whose face it is, within the data set; None where nobody knows.
        split: ``train``, ``dev`` or ``test``.
        dataset: name of the data set; subjects and videos of two sets never count as the same.
        frames: the files in order, where the presentation is a series of pictures; else empty.
        groups: {column: value} of anything else that is known, such as light, phone or skin tone.

    Raises:
        DataError: a label or split of another name, or a species that contradicts the label.

    Example:
        >>> Entry(Path("1_1_01_1.avi"), "1_1_01_1", "live", "bona_fide", "01", "train", "oulu-npu").id
        'oulu-npu/1_1_01_1'
    """

    path: Path
    video_id: str
    label: Label
    species: str = BONA_FIDE
    subject: str | None = None
    split: Split = "test"
    dataset: str = UNNAMED
    frames: tuple[Path, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise DataError(f"{self.video_id}: label {self.label!r}, expected live or attack.")
        if self.split not in SPLITS:
            raise DataError(f"{self.video_id}: split {self.split!r}, expected train, dev or test.")
        if (self.label == "live") != (self.species == BONA_FIDE):
            raise DataError(
                f"{self.video_id}: label {self.label} with species {self.species!r}. "
                f"Live presentations are {BONA_FIDE}, attacks never."
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the presentation, in order."""
        return self.frames or (self.path,)

    @property
    def id(self) -> str:
        """Unique over data sets: ``dataset/video_id``."""
        return f"{self.dataset}/{self.video_id}"

    @property
    def subject_id(self) -> str | None:
        """The subject, unique over data sets: ``dataset/subject``; None where nobody knows.

        The data set by its canonical name, see :func:`~.aliases.canonical_dataset`: subject 01 of ``oulu``
        and subject 01 of ``oulu-npu`` are one person.
        """
        return None if self.subject is None else f"{canonical_dataset(self.dataset)}/{self.subject}"
