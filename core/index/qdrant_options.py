"""How a Qdrant cluster keeps a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ..config_base import Config
from ..errors import ConfigError, nearest
from .columns import Column, ColumnKind, column_kind, data_type
from .qdrant_filter import key_of
from .qdrant_points import asked

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_LINKS, _BREADTH, _QUANTILE = 32, 200, 0.99


class QdrantOptions(Config):
    """Settings of a new collection.

    Attributes:
        shards: parts that nodes share. replicas: copies of each, on different nodes.
        quantize: keep 8-bit vectors in memory, a quarter of the room; the best are compared in full.
        vectors_on_disk: leave full vectors on disk; with ``quantize`` for more rows than memory holds.
        payload_on_disk: leave the payload on disk.
        indexed: columns that get an index, without which a filter reads every row; None takes all. Name
            fewer where long texts are never filtered by.
    """

    shards: int = Field(default=1, ge=1, le=10_000)
    replicas: int = Field(default=1, ge=1, le=100)
    quantize: bool = False
    vectors_on_disk: bool = False
    payload_on_disk: bool = True
    indexed: tuple[str, ...] | None = None

    def columns(self, columns: Sequence[Column]) -> list[Column]:
        """Return those of the columns that get an index.

        Raises:
            ConfigError: a name that is no column.
        """
        names = [column.name for column in columns]
        for name in self.indexed or ():
            if name not in names:
                raise ConfigError(
                    f"indexed: no payload column {name!r}.{nearest(name, names)} Columns: {', '.join(names)}."
                )
        return [column for column in columns if self.indexed is None or column.name in self.indexed]


def make_collection(
    client: QdrantClient, name: str, views: Sequence[str], dim: int, *, options: QdrantOptions
) -> None:
    """Make an empty collection with a vector of ``dim`` numbers for each view."""
    from qdrant_client import models

    quantization = None
    if options.quantize:
        scalar = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=_QUANTILE, always_ram=True
        )
        quantization = models.ScalarQuantization(scalar=scalar)
    vector = models.VectorParams(
        size=dim,
        distance=models.Distance.DOT,
        hnsw_config=models.HnswConfigDiff(m=_LINKS, ef_construct=_BREADTH),
        quantization_config=quantization,
        on_disk=options.vectors_on_disk,
    )
    asked(
        client.create_collection,
        name,
        vectors_config=dict.fromkeys(views, vector),
        shard_number=options.shards,
        replication_factor=options.replicas,
        on_disk_payload=options.payload_on_disk,
    )


def fits(client: QdrantClient, name: str, views: Sequence[str], dim: int) -> bool:
    """Tell whether a collection that is there is empty and has the vectors of an index."""
    from qdrant_client import models

    vectors = asked(client.get_collection, name).config.params.vectors
    if (
        asked(client.count, name, exact=True).count
        or not isinstance(vectors, dict)
        or set(vectors) != set(views)
    ):
        return False
    return all(one.size == dim and one.distance == models.Distance.DOT for one in vectors.values())


def index_columns(client: QdrantClient, name: str, columns: Sequence[Column]) -> None:
    """Have a server index columns of the payload, so that filters need not read every row."""
    from qdrant_client import models

    kinds: dict[ColumnKind, Any] = {
        "text": models.PayloadSchemaType.KEYWORD,
        "tags": models.PayloadSchemaType.KEYWORD,
        "flag": models.PayloadSchemaType.BOOL,
        "time": models.PayloadSchemaType.DATETIME,
    }
    numbers = {"int64": models.PayloadSchemaType.INTEGER, "double": models.PayloadSchemaType.FLOAT}
    for column in columns:
        kind = numbers.get(column.type) or kinds[column_kind(data_type(column.type))]
        asked(client.create_payload_index, name, key_of(column.name), field_schema=kind, wait=True)
