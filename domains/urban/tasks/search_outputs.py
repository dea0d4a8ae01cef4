"""Hits of a search as files: tables, map layers, a map, and pictures of the places."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import DataError, require
from ....core.files import atomic_path
from ....core.plots import made_by
from ..outputs.picture import Mark, save_marks
from ..outputs.vector import layer_driver, write_layer

if TYPE_CHECKING:
    from ..outputs.geoparquet import EmbeddingTable
    from ..protocols import Background, TileReader
    from .search import Hit

_COLUMNS = ("query", "rank", "score", "tile_id", "lon", "lat", "west", "south", "east", "north", "crs")


class HitOutputs:
    """Files of a search; see :class:`verticlip.domains.urban.tasks.search.SearchResult`."""

    queries: tuple[str, ...]
    hits: tuple[tuple[Hit, ...], ...]
    table: EmbeddingTable

    def all(self) -> list[Hit]:
        """Return the hits of all queries, one query after the other."""
        return [hit for found in self.hits for hit in found]

    def save(self, path: str | Path) -> Path:
        """Write the hits as a table (``.csv``) or a map layer (``.geojson``, ``.gpkg``, ``.parquet``).

        Raises:
            ConfigError: another ending. DataError: there are no hits to put on a map.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(_COLUMNS)
                writer.writerows(_cells(hit) for hit in self.all())
            return path
        layer_driver(path)
        if not self.all():
            raise DataError(f"{path.name}: there are no hits to write. Search with a lower min_score.")
        shapely = require("shapely", extra="urban")
        shapes = shapely.from_wkb([hit.geometry for hit in self.all()])
        rows = list(zip(*map(_cells, self.all()), strict=True))
        columns = {name: np.array(values) for name, values in zip(_COLUMNS, rows, strict=True)}
        return write_layer(path, list(shapes), columns, crs="EPSG:4326", layer="hits")

    def save_map(self, path: str | Path, raster: Background | None = None) -> Path:
        """Draw the hits over the scene as PNG, each with its rank, each query in its colour."""
        marks = [
            Mark(hit.row, str(hit.rank), group) for group, found in enumerate(self.hits) for hit in found
        ]
        title = ", ".join(self.queries)
        return save_marks(
            path, marks, self.table.tiles(), names=self.queries, title=title, background=raster,
            note=self._note(),
        )  # fmt: skip

    def save_thumbnails(self, path: str | Path, raster: TileReader) -> Path:
        """Draw what is seen on the hits as PNG, in the order of their ranks.

        Raises:
            DataError: there are no hits. InputError: a tile cannot be read from the scene.
        """
        from ....core.map_plots import Panel, save_montage

        if not self.all():
            raise DataError("There are no hits to show. Search with a lower min_score.")
        tiles = self.table.tiles()
        panels = []
        for group, found in enumerate(self.hits):
            for hit in found:
                tile = raster.read_tile(tiles[hit.row])
                image = tile.image.numpy()
                image = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
                seen = np.where(tile.mask.numpy()[..., None], image.transpose(1, 2, 0).clip(0, 1), 1.0)
                name = f"{self.queries[group][:24]} " if len(self.queries) > 1 else ""
                panels.append(Panel(seen, title=f"{name}{hit.rank}: {hit.score:.3f}"))
        title = ", ".join(self.queries)
        save_montage(
            panels, path, title=title, columns=min(5, len(panels)), panel_inches=1.7, note=self._note()
        )
        return Path(path)

    def _note(self) -> str:
        return made_by(str(self.table.meta.get("model_id", "")), str(self.table.meta.get("revision", "")))


def _cells(hit: Hit) -> tuple[str | int | float, ...]:
    return (hit.query, hit.rank, round(hit.score, 6), hit.tile_id, round(hit.lon, 7), round(hit.lat, 7),
            *hit.bounds, hit.crs)  # fmt: skip
