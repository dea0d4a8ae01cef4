"""How alike two products must be to count as one, and where such numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ....core.config import read_config
from ....core.config_base import Config, Probability
from ....core.data.perceptual import MAX_BITS
from ....core.errors import ConfigError
from ....core.files import write_json_atomic
from ....core.index.lock import WriterLock
from ..catalog.config import MadeBy

Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]

FOLDER, THRESHOLDS_FILE = "duplicates", "thresholds.json"
"""Where a catalogue keeps what belongs to duplicates."""


class Fit(Config):
    """Where fitted thresholds come from: labelled pairs of one catalogue's encoder.

    Attributes:
        target, confidence: precision that was asked for, and how sure one can be of it.
        pairs, positives: labelled, and how many of them are duplicates.
        held_out: pairs that had no part in choosing; the figures below are of these.
        accepted, wrong: pairs the thresholds take, and how many of them are no duplicates.
        precision, precision_low: share that is right, and its lower bound at ``confidence``.
        recall: share of the held-out duplicates that is found.
        made_by: encoder whose cosines were looked at; for another one the thresholds say nothing.
        joined, joined_wrong: held-out pairs that stood in one group when all evidence was put together, and
            how many of them are no duplicates; None where nobody looked, see :func:`.judging.judge_groups`.
    """

    target: Probability
    confidence: Probability
    pairs: int
    positives: int
    held_out: int
    accepted: int
    wrong: int
    precision: Probability
    precision_low: Probability
    recall: Probability
    made_by: MadeBy | None = None
    joined: Annotated[int, Field(ge=0)] | None = None
    joined_wrong: Annotated[int, Field(ge=0)] | None = None

    @property
    def joined_precision(self) -> float | None:
        """Share of the held-out pairs in one group that is right; None where there are none."""
        return 1 - (self.joined_wrong or 0) / self.joined if self.joined else None

    @property
    def groups_fall_short(self) -> bool:
        """Whether the groups are seen to be wrong more often than was asked for."""
        return self.joined_precision is not None and self.joined_precision < self.target

    def words(self) -> str:
        """Return what was measured as sentences."""
        said = (
            f"On {self.held_out:,} held-out pairs the vectors take {self.accepted:,}, of which "
            f"{self.accepted - self.wrong:,} are right: precision {self.precision:.3f}, at least "
            f"{self.precision_low:.3f} with {self.confidence:.0%} confidence if pairs were drawn evenly; "
            f"{self.recall:.0%} of the duplicates are found."
        )
        if self.joined is None:
            return said
        right = self.joined - (self.joined_wrong or 0)
        return f"{said} Groups, by all evidence, join {self.joined:,} of them, of which {right:,} are right."


class Thresholds(Config):
    """Least cosines of two products that are one.

    The products' own vectors must reach ``product``, and those of their pictures ``image`` or those of
    their texts ``text``.

    Attributes:
        fit: None for numbers that nobody has measured; the starting values are such.
    """

    product: Cosine = 0.92
    image: Cosine = 0.95
    text: Cosine = 0.90
    fit: Fit | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether a measured precision stands behind the numbers."""
        return self.fit is not None

    def words(self) -> str:
        """Return the rule as a sentence."""
        return (
            f"product at least {self.product:.4g}, and picture at least {self.image:.4g} or text at least "
            f"{self.text:.4g}"
        )


class DuplicateSettings(Config):
    """What is compared, and what becomes of a group.

    Attributes:
        exact: the same picture file, the same pixels at 64 x 64, or, where a picture is missing, the same
            title.
        perceptual: pictures that differ in at most ``bits`` of a 64-bit hash. ``confirm`` also compares their
            light and color: the hash alone is blind to color and takes trousers of one cut for one product.
        mirrored: also pictures turned left to right.
        embedding: vectors alike by ``thresholds``, of one category, each among the other's ``neighbors``.
        same_category: compare vectors within the last part of the category only.
        variant_attributes: products that differ in one of these are variants and never join.
        chain_margin: two groups join only where their vectors' mean cosine is at least
            ``thresholds.product - chain_margin``, so that no chain of small steps joins different things.
            Fitted thresholds narrow it for groups that only vectors join.
        shared_by: a picture that more products share, under different titles, is a placeholder or a logo and
            proves nothing.
        title_words: fewer words than these do not make a title that proves anything.
        keep: which product of a group stands for it.
    """

    exact: bool = True
    perceptual: bool = True
    bits: Annotated[int, Field(ge=0, le=MAX_BITS)] = 6
    confirm: bool = True
    mirrored: bool = True
    embedding: bool = True
    thresholds: Thresholds = Thresholds()
    neighbors: Annotated[int, Field(ge=1, le=1000)] = 50
    same_category: bool = True
    variant_attributes: tuple[str, ...] = ("color", "size")
    chain_margin: Annotated[float, Field(ge=0.0, le=2.0)] = 0.05
    shared_by: Annotated[int, Field(ge=2)] = 50
    title_words: Annotated[int, Field(ge=1)] = 3
    keep: Literal["most_complete", "oldest"] = "most_complete"

    @model_validator(mode="after")
    def _looks_at_something(self) -> DuplicateSettings:
        if not (self.exact or self.perceptual or self.embedding):
            raise ValueError("at least one of exact, perceptual and embedding must be on")
        return self

    @property
    def chain_least(self) -> float:
        """Least mean cosine of two groups that join by their pictures or titles."""
        return self.thresholds.product - self.chain_margin

    @property
    def vector_chain_least(self) -> float:
        """Least mean cosine of two groups that join by their vectors alone.

        Where a precision was asked for, their mean distance may be half as much again as that of a pair at
        most: pairs that nobody compared are in the group, too, and where all products of a model are alike by
        0.95, a margin of 0.05 stops nothing.
        """
        if not self.thresholds.is_fitted:
            return self.chain_least
        return self.thresholds.product - min(self.chain_margin, (1 - self.thresholds.product) / 2)


def save_thresholds(folder: Path, thresholds: Thresholds) -> Path:
    """Write thresholds into a catalogue's folder and return where.

    Raises:
        ConfigError: another process is writing to the catalogue, or its folder cannot be written.
    """
    path = folder / FOLDER / THRESHOLDS_FILE
    with WriterLock(folder).held():
        write_json_atomic(path, thresholds.model_dump(mode="json"))
    return path


def load_thresholds(folder: Path, made_by: MadeBy | None = None) -> Thresholds:
    """Return the fitted thresholds of a catalogue's folder, or the starting values where it has none.

    Raises:
        ConfigError: the file is damaged, or was fitted on vectors of another encoder.
    """
    path = folder / FOLDER / THRESHOLDS_FILE
    if not path.is_file():
        return Thresholds()
    found = read_config(Thresholds, path)
    if made_by is not None and found.fit is not None and found.fit.made_by not in (None, made_by):
        raise ConfigError(
            f"{FOLDER}/{THRESHOLDS_FILE} was fitted on vectors of another model, revision or text template; "
            "its numbers say nothing here. Fit again with labelled pairs, or remove the file."
        )
    return found
