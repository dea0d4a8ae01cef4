"""Search of a scene by words, by a picture, or by one of its own tiles: ranked places on a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, require
from ....core.inputs import encode_inputs
from ....core.metrics.ranking import top_k
from ..loaders.records import TileImage
from ..outputs.geoparquet import EmbeddingTable
from .search_outputs import HitOutputs
from .text_queries import check_maker, text_vectors
from .tile_inputs import tile_tensor

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry
    from torch import Tensor

    from ....core.handle import ModelHandle
    from ..geometry.regions import Regions

_FIRST_LOOK = 4
"""Candidates per wanted hit that are ranked at first where hits shall lie apart."""


@dataclass(frozen=True)
class TextQuery:
    """Words to search by.

    Attributes:
        text: what is looked for.
        templates: sentences with one ``{}`` that it is put into; ``("{}",)`` takes it as it is, None those of
            the model.
    """

    text: str
    templates: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Like:
    """A tile of the table to find more of; it is no answer to itself."""

    tile_id: str


Query = str | TextQuery | Like | Path | TileImage


@dataclass(frozen=True)
class Hit:
    """One answer of a search.

    Attributes:
        query: what was looked for, as words. rank: from 1. tile_id, row: of the table.
        score: cosine of query and tile, -1 to 1; higher fits better. It cannot be compared between queries.
        lon, lat: middle of the tile, degrees.
        bounds: (west, south, east, north) in units of ``crs``.
        geometry: footprint as WKB, longitude and latitude.
    """

    query: str
    rank: int
    tile_id: str
    row: int
    score: float
    lon: float
    lat: float
    bounds: tuple[float, float, float, float]
    crs: str
    geometry: bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found = asdict(self)
        del found["geometry"], found["row"]
        return found


@dataclass(frozen=True, eq=False)
class SearchResult(HitOutputs):
    """Ranked places, best first.

    Attributes:
        queries: as words. hits: those of each query. table: that was searched.
    """

    queries: tuple[str, ...]
    hits: tuple[tuple[Hit, ...], ...]
    table: EmbeddingTable


def search_tiles(
    model: ModelHandle,
    table: EmbeddingTable,
    queries: Query | Sequence[Query],
    k: int = 10,
    *,
    min_score: float | None = None,
    region: BaseGeometry | Regions | None = None,
    apart_m: float = 0.0,
) -> SearchResult:
    """Return for each query the k tiles that fit best, exactly ranked by cosine.

    Example::

        table = read_embeddings("scene.parquet")
        found = search_tiles(model, table, ["container port", Like("scene_640_128")], k=5)
        found.save("hits.geojson")

    Args:
        model: that made the embeddings.
        queries: texts, which are put into the model's own sentences; a :class:`TextQuery`; the path of a
            picture or a :class:`TileImage` of what is looked for; or :class:`Like` a tile.
        k: hits per query, at most.
        min_score: leaves out what fits less.
        region: only tiles that it meets: a shapely polygon in longitude and latitude, or regions.
        apart_m: least distance in metres between the middles of two hits of a query: one big port is one hit
            and not ten.

    Raises:
        ConfigError: another model made the embeddings, or an option cannot be.
        InputError: a query that cannot be used, or a tile that is not there.
    """
    listed = [queries] if isinstance(queries, (str, TextQuery, Like, Path, TileImage)) else list(queries)
    if not listed:
        raise InputError("There is nothing to search for: the list of queries is empty.")
    if k < 1:
        raise ConfigError(f"k is at least 1, got {k}.")
    if min_score is not None and not math.isfinite(min_score):
        raise ConfigError(f"min_score is a cosine from -1 to 1, got {min_score}.")
    for query in listed:
        words = query.text if isinstance(query, TextQuery) else query
        if isinstance(words, str) and not words.strip():
            raise InputError(f"The query {words!r} is empty; say what to look for.")
    if not (math.isfinite(apart_m) and apart_m >= 0):
        raise ConfigError(f"apart_m is a distance in metres of at least 0, got {apart_m}.")
    check_maker(model, table)
    rows = _rows_in(table, region)
    gallery = torch.from_numpy(table.vectors if len(rows) == len(table) else table.vectors[rows])
    if table.meta.get("dtype") == "float16":
        # Rounding to three digits changed the lengths.
        gallery = F.normalize(gallery, dim=-1)
    vectors = torch.stack([_vector(model, table, query) for query in listed])
    places = table.centers()
    found = []
    for query, vector in zip(listed, vectors, strict=True):
        own = table.row_of(query.tile_id) if isinstance(query, Like) else -1
        best = _ranked(vector, gallery, _Wanted(k, min_score, apart_m, own), rows, places)
        found.append(
            tuple(
                _hit(table, query_words(query), rank, row, score, places[row]) for rank, (row, score) in best
            )
        )
    return SearchResult(tuple(map(query_words, listed)), tuple(found), table)


def query_words(query: Query) -> str:
    """Return what a query is called in results."""
    if isinstance(query, TextQuery):
        return query.text
    if isinstance(query, Like):
        return f"like {query.tile_id}"
    if isinstance(query, Path):
        return f"like {query.name}"
    return f"like {query.tile_id or 'a tile'}" if isinstance(query, TileImage) else query


def _vector(model: ModelHandle, table: EmbeddingTable, query: Query) -> Tensor:
    """Return the unit vector float32 [D] of a query."""
    if isinstance(query, str):
        return text_vectors(model, [query])[0]
    if isinstance(query, TextQuery):
        return text_vectors(model, [query.text], query.templates)[0]
    if isinstance(query, Like):
        return F.normalize(torch.from_numpy(table.vectors[table.row_of(query.tile_id)]), dim=-1)
    if isinstance(query, Path):
        return model.embed([query], modality="image").vectors[0]
    inputs = model.processor.finish_images(tile_tensor(model, query)[None])
    return encode_inputs(model, "image", inputs)[0]


@dataclass(frozen=True)
class _Wanted:
    k: int
    min_score: float | None
    apart_m: float
    own: int


def _ranked(
    vector: Tensor, gallery: Tensor, wanted: _Wanted, rows: NDArray[np.int64], places: NDArray[np.float64]
) -> list[tuple[int, tuple[int, float]]]:
    """Return (rank, (row of the table, score)) of the best tiles that lie apart."""
    look = wanted.k + 1 if not wanted.apart_m else _FIRST_LOOK * wanted.k + 1
    while True:
        look = min(look, len(gallery))
        if not look:
            return []
        positions, scores = top_k(vector[None], gallery, look)
        candidates = list(zip(rows[positions[0].numpy()].tolist(), scores[0].tolist(), strict=True))
        chosen, ended = _apart(candidates, wanted, places)
        if ended or len(chosen) == wanted.k or look == len(gallery):
            return list(enumerate(chosen, 1))
        look *= 4


def _apart(
    candidates: Sequence[tuple[int, float]], wanted: _Wanted, places: NDArray[np.float64]
) -> tuple[list[tuple[int, float]], bool]:
    """Return the first k candidates that lie apart, and whether all further ones score too low."""
    geod = require("pyproj", extra="urban").Geod(ellps="WGS84") if wanted.apart_m else None
    chosen: list[tuple[int, float]] = []
    for row, score in candidates:
        if wanted.min_score is not None and score < wanted.min_score:
            return chosen, True
        if row == wanted.own or len(chosen) == wanted.k:
            continue
        if geod is not None and chosen:
            taken = places[[other for other, _ in chosen]]
            here = np.broadcast_to(places[row], taken.shape)
            _, _, meters = geod.inv(here[:, 0], here[:, 1], taken[:, 0], taken[:, 1])
            if float(np.min(meters)) < wanted.apart_m:
                continue
        chosen.append((row, score))
    return chosen, False


def _rows_in(table: EmbeddingTable, region: BaseGeometry | Regions | None) -> NDArray[np.int64]:
    """Return the rows whose footprint meets a region."""
    if region is None:
        return np.arange(len(table))
    shapely = require("shapely", extra="urban")
    shape: Any = region
    if hasattr(region, "geometries"):
        shape = shapely.union_all(region.to_crs("EPSG:4326").geometries)  # pyright: ignore[reportAttributeAccessIssue]
    if shape.is_empty or not shape.is_valid:
        raise InputError("The region to search in is empty or crosses itself. Mend its outline first.")
    shapely.prepare(shape)
    rows = np.flatnonzero(shapely.intersects(shape, shapely.from_wkb(list(table.geometry))))
    if not len(rows):
        west, south, east, north = shape.bounds
        raise InputError(
            f"No tile lies in the region (longitude {west:.4f} to {east:.4f}, latitude {south:.4f} to "
            f"{north:.4f}). Coordinates of a region are longitude, then latitude."
        )
    return rows


def _hit(
    table: EmbeddingTable, query: str, rank: int, row: int, score: float, place: NDArray[np.float64]
) -> Hit:
    west, south, east, north = table.bounds[row].tolist()
    return Hit(
        query, rank, table.ids[row], row, score, float(place[0]), float(place[1]),
        (west, south, east, north), table.crs, table.geometry[row],
    )  # fmt: skip
