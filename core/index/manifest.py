"""One version of an index: which files it is made of, with their sizes and hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..config_base import Config
from .base import Tuning
from .columns import Column
from .settings import ViewName

Token = Annotated[str, Field(pattern=r"^[a-z][0-9]{10}-[0-9a-f]{8}$")]
"""Name of a folder of files: kind, version that wrote it, random part."""
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,127}$")]
"""Name of a file in such a folder; never a path."""
MOST_SEGMENTS, MOST_VIEWS = 4096, 256
"""Far above what a writer leaves."""


class FileEntry(Config):
    """What a file must be."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SegmentEntry(Config):
    """Rows that were written together, sorted by id; only which of them are deleted changes.

    Attributes:
        name: of its folder. rows: deleted ones included.
        vectors: {view: rows that have one}; a view without any has no file.
        deleted: rows that later writes replaced or deleted. tombstones: file that says which, or "".
        files: {name: what it must be}.
    """

    name: Token
    rows: int = Field(ge=1)
    vectors: dict[ViewName, Annotated[int, Field(ge=0)]] = Field(max_length=MOST_VIEWS)
    deleted: int = Field(default=0, ge=0)
    tombstones: str = Field(default="", pattern=r"^(deleted-[0-9]{10}\.bits)?$")
    files: dict[FileName, FileEntry]

    @model_validator(mode="after")
    def _whole(self) -> SegmentEntry:
        if max([self.deleted, *self.vectors.values()]) > self.rows:
            raise ValueError(f"{self.name} has more vectors or deleted rows than rows")
        if self.tombstones and self.tombstones not in self.files:
            raise ValueError(f"{self.name} does not list its {self.tombstones}")
        return self


class GraphEntry(Config):
    """A graph over the vectors of one view of one segment."""

    name: Token
    segment: Token
    files: dict[FileName, FileEntry]


class TuningConfig(Config):
    """:class:`.base.Tuning` as JSON."""

    ef: int
    recall: float
    k: int
    queries: int
    target: float
    exact_ms: float
    approximate_ms: float


class Measured(Config):
    """What answers a view since it was looked at last.

    Attributes:
        kind: what answers. rows: that there were.
        tuning: of the graph; None where a probe of some rows told that none can pay.
    """

    kind: Literal["flat", "hnsw"]
    rows: int
    tuning: TuningConfig | None = None

    @classmethod
    def of(cls, kind: Literal["flat", "hnsw"], rows: int, tuning: Tuning | None = None) -> Measured:
        """Return a choice and the measurement it followed from."""
        return cls(kind=kind, rows=rows, tuning=tuning and TuningConfig(**asdict(tuning)))


class Manifest(Config):
    """All of one version.

    Attributes:
        version: 0 is empty. columns: of the payload.
        segments: oldest first. graphs, measured: by view.
    """

    version: int = Field(ge=0)
    columns: tuple[Column, ...]
    segments: tuple[SegmentEntry, ...] = Field(default=(), max_length=MOST_SEGMENTS)
    graphs: dict[ViewName, GraphEntry] = Field(default_factory=dict, max_length=MOST_VIEWS)
    measured: dict[ViewName, Measured] = Field(default_factory=dict, max_length=MOST_VIEWS)

    @property
    def rows(self) -> int:
        """Live rows."""
        return sum(one.rows - one.deleted for one in self.segments)

    def folders(self) -> dict[str, dict[str, FileEntry]]:
        """Return {folder below the index: {file: what it must be}}."""
        found = {f"segments/{one.name}": dict(one.files) for one in self.segments}
        found.update({f"graphs/{one.name}": dict(one.files) for one in self.graphs.values()})
        return found

    def to_json(self) -> dict[str, object]:
        """Return the manifest with a checksum of itself."""
        body = self.model_dump(mode="json")
        return {"manifest": body, "sha256": _digest(body)}

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Return the manifest that :meth:`to_json` wrote.

        Raises:
            ValueError: it is none, or was changed since.
        """
        if not isinstance(value, dict) or set(value) != {"manifest", "sha256"}:
            raise ValueError("it is not the list of files of an index")
        if _digest(value["manifest"]) != value["sha256"]:
            raise ValueError("its checksum does not fit, so it was changed or damaged")
        return cls.model_validate(value["manifest"])


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
