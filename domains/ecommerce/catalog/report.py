"""How products are taken in, and what became of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError
from .encode import OnImageError
from .further import MOST
from .writing import MAX_DELETE_SHARE

if TYPE_CHECKING:
    from ..products.fields import FieldMap


@dataclass(frozen=True)
class IngestOptions:
    """How products are taken in.

    Attributes:
        batch_size: products per call of the network. commit_rows: products per version of the index; at most
            so many are done again after a run was killed.
        workers: threads that read pictures; None takes the number of CPUs, and 16 where pictures are fetched.
        on_image_error: ``reject`` leaves a product out whose picture cannot be read; ``text_only`` takes it
            in by its text, where it has one.
        sync: delete products that the source no longer has, once it was read to its end.
        max_delete_share: of the products before the run that ``sync`` may delete; where more are absent, or
            the source has no product at all, it deletes none and the run ends with ``ConfigError``.
        check_files: read the first picture of every product; else one of the same size and time of change is
            taken as the same.
        pictures: of one product that are encoded, the first one included; the further ones are found as that
            product, and have no part in its vectors.
        new_attributes: give attributes that the first products of this source bring, and for which the
            catalogue has no column, one to filter by. Products of earlier runs get it when their rows come
            again; nothing is encoded anew.
        fields: which column of this source is which field; None takes the catalogue's.
        encoding, delimiter: of this source; see :func:`..products.read.read_products`.
    """

    batch_size: int = 32
    commit_rows: int = 1024
    workers: int | None = None
    on_image_error: OnImageError = "reject"
    sync: bool = False
    max_delete_share: float = MAX_DELETE_SHARE
    check_files: bool = False
    pictures: int = 5
    new_attributes: bool = False
    fields: FieldMap | None = None
    encoding: str = "auto"
    delimiter: str = "auto"

    def __post_init__(self) -> None:
        for name in ("batch_size", "commit_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, got {getattr(self, name)}.")
        if not 1 <= self.pictures <= MOST:
            raise ConfigError(f"pictures is from 1 to {MOST}, got {self.pictures}.")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers is at least 1, got {self.workers}.")
        if not 0 <= self.max_delete_share <= 1:
            raise ConfigError(f"max_delete_share is from 0 to 1, got {self.max_delete_share}.")


@dataclass(frozen=True)
class IngestReport:
    """What a run did.

    Attributes:
        read: rows of the source, rejected ones included.
        added, updated: products that were encoded; new ones and changed ones.
        payload_only: products of which only fields changed that no vector is made of, such as the price.
        unchanged: products that were there as they are. deleted: products taken out.
        rejected: rows that are no usable product. rejects: JSON lines with row, id and reason of each; None
            where there is nothing to list. reject_rate: share of ``read``. max_reject_rate: what was allowed.
        truncated: texts that did not fit into the model's context as a whole.
        without_picture: products taken in by their text alone although their row names a picture.
        not_fetched: those of them whose picture is an address.
        further: pictures beyond the first that were encoded. further_failed: that could not be; ``rejects``
            lists them, with ``taken_in``.
        kept: why products that the source lacks were not deleted although ``sync`` was asked for, or "".
        notes: what was found out about the source and mended in its rows.
        version: of the index. seconds: it took.
    """

    read: int
    added: int
    updated: int
    payload_only: int
    unchanged: int
    deleted: int
    rejected: int
    rejects: Path | None
    reject_rate: float
    max_reject_rate: float
    truncated: int
    without_picture: int
    not_fetched: int
    further: int
    further_failed: int
    kept: str
    notes: tuple[str, ...]
    version: int
    seconds: float

    @property
    def too_many_rejects(self) -> bool:
        """Whether more rows were rejected than allowed; the others were taken in all the same."""
        return self.reject_rate > self.max_reject_rate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **asdict(self),
            "rejects": None if self.rejects is None else str(self.rejects),
            "too_many_rejects": self.too_many_rejects,
        }


@dataclass
class Counts:
    """What a run has done so far."""

    read: int = 0
    added: int = 0
    updated: int = 0
    payload_only: int = 0
    unchanged: int = 0
    deleted: int = 0
    truncated: int = 0
    without_picture: int = 0
    not_fetched: int = 0
    further: int = 0
    further_failed: int = 0
    kept: str = ""
