"""What an index says of itself on disk: ``index.json`` of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from ..config_base import Config
from ..errors import ConfigError
from ..files import read_json, write_json_atomic
from .base import Identity, Kind

INDEX_FILE = "index.json"
ViewName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Name of a vector of a row; it becomes part of file and column names."""


class IndexOptions(Config):
    """How an index is kept and searched.

    Attributes:
        target_recall: recall@k that an approximate search must reach, measured against the exact one.
        k: answers per query that the measurement asks for.
        sample: rows that the measurement takes as queries.
        keep_versions: past and present versions whose files stay.
        threads: of building a graph; 0 takes all that this process may use.
    """

    target_recall: float = Field(default=0.95, gt=0, le=1)
    k: int = Field(default=10, ge=1, le=1000)
    sample: int = Field(default=300, ge=1, le=100_000)
    keep_versions: int = Field(default=3, ge=1, le=1000)
    threads: int = Field(default=0, ge=0, le=1024)


class IdentityConfig(Config):
    """:class:`.base.Identity` as JSON."""

    model: str
    revision: str
    processor: str
    dim: int = Field(ge=1, le=65_536)
    text: str = ""


class IndexDescription(Config):
    """Content of ``index.json``: what never changes in an index."""

    format: Literal["verticlip-index"] = "verticlip-index"
    layout: Literal[1] = 1
    kind: Kind
    identity: IdentityConfig
    views: tuple[ViewName, ...] = Field(min_length=1, max_length=256)
    options: IndexOptions = IndexOptions()

    @field_validator("views")
    @classmethod
    def _different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"a view stands twice in {', '.join(value)}")
        return value

    @property
    def made_by(self) -> Identity:
        """What made the vectors."""
        return Identity(**self.identity.model_dump())

    @classmethod
    def of(
        cls, kind: Kind, identity: Identity, views: tuple[str, ...], options: IndexOptions
    ) -> IndexDescription:
        """Return a checked description.

        Raises:
            ConfigError: an unknown kind, a view that is no plain word, or a dimension below 1.
        """
        value = {"kind": kind, "identity": identity.to_dict(), "views": views, "options": options}
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"The index cannot be described: {_first(error)}") from None

    @classmethod
    def read(cls, folder: Path) -> IndexDescription:
        """Return the description in ``folder``.

        Raises:
            ConfigError: there is none, or it is damaged or of a later release.
        """
        if not (folder / INDEX_FILE).is_file():
            raise ConfigError(f"{folder}: no index here ({INDEX_FILE} is absent). Create one first.")
        try:
            return cls.model_validate(read_json(folder / INDEX_FILE))
        except ValidationError as error:
            raise ConfigError(
                f"{folder / INDEX_FILE}: this release reads no such index: {_first(error)}"
            ) from None

    def write(self, folder: Path) -> None:
        """Write the description into ``folder``; it makes the folder an index."""
        write_json_atomic(folder / INDEX_FILE, self.model_dump(mode="json"))


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, one["loc"])), f"{one['msg']}.")))
