"""What a catalogue is made with: written once when it is created, read whenever it is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ....core.config import read_config
from ....core.config_base import Config
from ....core.errors import ConfigError
from ....core.files import write_json_atomic
from ....core.index.base import Identity
from ....core.index.settings import IdentityConfig
from ..encoders.fusing import Fusion
from ..products.fields import FieldMap
from ..products.text import TextTemplate
from .payload import AttributeType

if TYPE_CHECKING:
    from .encode import ProductEncoding

CONFIG_FILE, INDEX_FOLDER, REJECTS_FILE = "catalog.json", "index", "rejects.jsonl"
"""What a catalogue folder holds."""
WAIT_S = 600.0
"""Seconds that a write waits for the end of another one's, such as the last moments of ``optimize``."""
VIEWS = ("image", "text", "product")
"""Vectors of a product: of its picture, of its words, and of both."""
View = Literal["image", "text", "product", "best"]
"""What a query is compared with; ``best`` is whichever of the three is nearest, product by product."""

StoredKind = Literal["auto", "flat", "hnsw", "lancedb"]
"""Indexes that live in a folder; see :data:`verticlip.core.index.base.Kind`."""
KINDS: tuple[str, ...] = get_args(StoredKind)


def check_new(folder: Path) -> None:
    """Raise ``ConfigError`` unless a catalogue can be made in a folder: an absent or empty one."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        what = "holds a catalogue already" if (folder / CONFIG_FILE).exists() else "is not an empty folder"
        raise ConfigError(f"{folder}: {what}. Name a new folder.")


class MadeBy(IdentityConfig):
    """The encoder whose vectors a catalogue holds; see :class:`verticlip.core.index.base.Identity`."""

    @classmethod
    def of(cls, identity: Identity) -> MadeBy:
        """Return the same as a config."""
        return cls.model_validate(identity.to_dict())

    @property
    def identity(self) -> Identity:
        """The same as the index knows it."""
        return Identity(**self.model_dump())


class CatalogConfig(Config):
    """Content of ``catalog.json``.

    Attributes:
        model: name it is loaded by: of the registry, of a repository, or a folder.
        made_by: what its vectors can be compared with. kind: of the index.
        fusion: how the vectors of picture and words become that of the product; None where the model has a
            way of its own.
        template: how the fields of a product become its text.
        fields: which column of a source is which field; None is guessed for each source.
        attributes: {name: type} of the attributes with a column to filter by; None until the first rows
            have come in, unless they were named.
    """

    schema_version: Literal[1] = 1
    model: str
    made_by: MadeBy
    kind: StoredKind = "auto"
    fusion: Fusion | None = None
    template: TextTemplate
    fields: FieldMap | None = None
    attributes: dict[str, AttributeType] | None = None

    def check_encoder(self, encoder: ProductEncoding) -> None:
        """Raise ``ConfigError`` where an encoder makes other vectors than those of the catalogue."""
        # How texts are built belongs to the catalogue, not to the model.
        self.made_by.identity.check(replace(encoder.identity, text=self.made_by.text), what="The catalogue")

    def save(self, folder: Path) -> None:
        """Write ``catalog.json`` into a folder."""
        write_json_atomic(folder / CONFIG_FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> CatalogConfig:
        """Read ``catalog.json`` of a folder.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        if not (folder / CONFIG_FILE).is_file():
            what = "is no catalogue" if folder.is_dir() else "no such folder"
            raise ConfigError(
                f"{folder}: {what} (a catalogue is a folder with {CONFIG_FILE}). "
                "Create one: verticlip catalog create."
            )
        return read_config(cls, folder / CONFIG_FILE)
