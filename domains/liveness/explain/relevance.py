"""Where in a crop the evidence lies: a grid of relevance and its place in the frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ....core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ....core.heatmaps import HeatMap

Method = Literal["occlusion"]


@dataclass(frozen=True)
class Relevance:
    """How much each part of what the model saw speaks for a category.

    Attributes:
        grid: rows of cells over :attr:`box`, in log-odds: by how much the category loses when the cell is
            covered. Positive speaks for it, negative against it.
        category: id of the category.
        score: log-odds of the category with nothing covered.
        box: half-open (x1, y1, x2, y2), the pixels of the frame that the grid covers.
        size: (height, width) of the frame.
        method: how it was found.
    """

    grid: tuple[tuple[float, ...], ...]
    category: str
    score: float
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    method: Method = "occlusion"

    @property
    def peak(self) -> tuple[float, float]:
        """(x, y) of the middle of the strongest cell, in pixels of the frame."""
        rows, columns = len(self.grid), len(self.grid[0])
        row, column = max(
            ((row, column) for row in range(rows) for column in range(columns)),
            key=lambda cell: self.grid[cell[0]][cell[1]],
        )
        x1, y1, x2, y2 = self.box
        return x1 + (column + 0.5) * (x2 - x1) / columns, y1 + (row + 0.5) * (y2 - y1) / rows

    def heat_map(self, *, id: str | None = None, model: str = "", revision: str = "") -> HeatMap:
        """Return the map in the pixels of the box, for boxes and overlays.

        Args:
            id, model, revision: that the map names.
        """
        from ....core.heatmaps import HeatMap, to_input_pixels

        grid = torch.tensor(self.grid, dtype=torch.float32)
        x1, y1, x2, y2 = self.box
        strongest = max(float(grid.abs().max()), 1e-9)
        return HeatMap(
            values=to_input_pixels(grid, (y2 - y1, x2 - x1), resize=None, crop=None),
            phrase=self.category,
            score=self.score,
            grid=grid,
            value_range=(-strongest, strongest),
            id=id,
            model=model,
            revision=revision,
        )

    def save_overlay(
        self, path: str | Path, pixels: np.ndarray, *, model: str = "", revision: str = ""
    ) -> None:
        """Write the map over the pixels of its box as PNG: a picture of a person, to be kept as such.

        Args:
            path: file to write.
            pixels: uint8 [H, W, 3], the part of the frame inside :attr:`box`, as
                ``predict(..., keep=("pixels",))`` keeps it.
            model, revision: for the line below the picture.

        Raises:
            InputError: the pixels are not those of the box.
        """
        x1, y1, x2, y2 = self.box
        if pixels.shape[:2] != (y2 - y1, x2 - x1):
            raise InputError(
                f"The map covers {x2 - x1} x {y2 - y1} pixels, the picture has {pixels.shape[1]} x "
                f"{pixels.shape[0]}. Pass the pixels the result kept."
            )
        self.heat_map(model=model, revision=revision).save_overlay(
            path, pixels, note="red for it, blue against"
        )

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Relevance:
        """Return the map of plain values, as JSON holds them."""
        values = dict(found)
        values["grid"] = tuple(tuple(row) for row in values["grid"])
        values["box"], values["size"] = tuple(values["box"]), tuple(values["size"])
        return cls(**values)
