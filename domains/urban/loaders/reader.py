"""Pixels of a layout of files, as stored: the part of a raster that opens files and reads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import RasterReadError, TileOutsideBounds, reason_of
from .handles import Handles
from .header import open_dataset
from .layout import Layout
from .memory import BoundedCache, block_rows_mb, open_settings
from .options import RasterOptions
from .reading import Channels, Pixels, Window, read_pixels
from .reproject import (
    Bounds,
    bounds_of,
    extents_in,
    in_pixels,
    lies_on,
    open_warped,
    share_ground,
    warp_grid,
)
from .views import needs_view


class LayoutReader:
    """Reads the files of a layout; opens them per thread and process, and can be pickled.

    Args:
        layout: of the files.
        options: as the raster was opened.
    """

    def __init__(self, layout: Layout, options: RasterOptions) -> None:
        self._layout, self._options = layout, options
        self._handles = Handles()
        self._cache = BoundedCache(options.cache_mb, block_rows_mb(layout))
        self._remote = any(not part.header.facts.size for part in layout.parts)
        self._itemsize = max(4, np.dtype(layout.first.dtype).itemsize)
        self._reached: dict[str, _Reach] = {}

    def close(self) -> None:
        """Close what this thread holds open; reading opens it again."""
        self._handles.close()

    def window(self, window: Window, shape: tuple[int, int], *, resampling: str) -> Pixels:
        """Return a window of the raster's own grid brought to ``shape``.

        Files side by side are brought to another size one by one: within a pixel of the output of their
        joints, numbers are those of one of them alone.

        Args:
            window: (column, row, width, height) in pixels; fractions resample.
            shape: (rows, columns) of the output.
            resampling: a word of :data:`.options.Resampling`.

        Raises:
            TileOutsideBounds: no file has a pixel of it.
            RasterReadError: a file is damaged or cut off there.
            LimitError: the output is over a limit.
        """
        column, row, width, height = window
        self._check_output(shape)
        numbers = self._layout.touching(column, row, column + width, row + height)
        as_stored = shape == (height, width) and column == int(column) and row == int(row)
        resampling = "nearest" if self._layout.first.palette else resampling

        def read(number: int) -> Pixels | None:
            part = self._layout.parts[number]
            place = (column - part.column, row - part.row, width, height)
            if not as_stored and needs_view(part):
                box = (place[0], -place[1] - height, place[0] + width, -place[1])
                plane = in_pixels(part)
                extent = extents_in(plane.header, plane.header.crs)[0]
                return self._through_warper(
                    number, plane, extent, bounds=box, crs="", shape=shape, resampling=resampling
                )
            dataset = self._handles.get(number, lambda: self._open(part))
            return read_pixels(dataset, part, window=place, size=shape, resampling=resampling)

        box, layout = (column, -row - height, column + width, -row), self._layout
        inside = share_ground(box, (0.0, -layout.height, layout.width, 0.0))
        return self._together(numbers, read, asked=window, blank=shape if inside else None)

    def rectangle(self, bounds: Bounds, crs: str, *, shape: tuple[int, int], resampling: str) -> Pixels:
        """Return a rectangle in another coordinate system; arguments and errors as for :meth:`window`.

        Args:
            bounds: (west, south, east, north) in units of ``crs``.
            crs: of the rectangle.
            shape: (rows, columns) of the output.
            resampling: a word of :data:`.options.Resampling`.
        """
        self._check_output(shape)
        resampling = "nearest" if self._layout.first.palette else resampling

        reach = self._reach(crs)
        extents = reach.around(bounds)

        def read(number: int) -> Pixels | None:
            part, extent = self._layout.parts[number], extents[number]
            # What spans a large part of the Earth is asked from the other side whether it is there.
            if math.isinf(extent[0]) and not lies_on(part.header, bounds, crs):
                return None
            return self._through_warper(
                number, part, extent, bounds=bounds, crs=crs, shape=shape, resampling=resampling
            )

        several = len(self._layout.parts) > 1
        near = any(map(math.isfinite, (extent[0] for extent in extents.values())))
        inside = near or (several and share_ground(reach.whole, bounds))
        return self._together(sorted(extents), read, asked=bounds, crs=crs, blank=shape if inside else None)

    def _reach(self, crs: str) -> _Reach:
        """Return where the files lie in a coordinate system."""
        if crs not in self._reached:
            found = [
                (number, extent)
                for number, part in enumerate(self._layout.parts)
                for extent in extents_in(part.header, crs)
            ]
            self._reached[crs] = _Reach(
                np.array([number for number, _ in found], np.int64),
                np.array([extent for _, extent in found], np.float64).reshape(-1, 4),
            )
        return self._reached[crs]

    def _through_warper(
        self,
        number: int,
        part: Channels,
        extent: Bounds,
        *,
        bounds: Bounds,
        crs: str,
        shape: tuple[int, int],
        resampling: str,
    ) -> Pixels | None:
        """Return a rectangle of one file of that ``extent``; ``crs`` "" is the plane of its own pixels."""
        if not share_ground(extent, bounds):
            return None
        grid = warp_grid(extent, crs=crs or part.header.crs, bounds=bounds, size=shape)
        warped = self._handles.get(
            (number, crs, grid, resampling),
            lambda: open_warped(part, grid, resampling=resampling, options=self._options),
        )
        place = grid.window(bounds)
        return read_pixels(warped.dataset, warped.channels, window=place, size=shape, resampling=resampling)

    def _open(self, part: Channels) -> Any:
        return open_dataset(part.header.open_name, part.header.facts, options=self._options)

    def _together(
        self,
        numbers: list[int],
        read: Callable[[int], Pixels | None],
        *,
        asked: tuple[float, ...],
        crs: str = "",
        blank: tuple[int, int] | None = None,
    ) -> Pixels:
        """Return pixels of several files: bands of a stack, or of the first file that has a valid one.

        ``blank`` is the shape of what is returned where there are none in a gap between the files.
        """
        from rasterio.errors import CRSError, RasterioError

        total: Pixels | None = None
        with self._cache, open_settings(self._options, remote=True) if self._remote else nullcontext():
            for number in numbers:
                try:
                    found = read(number)
                except CRSError:
                    raise
                except RasterioError as error:
                    raise self._read_error(number, _place(asked, crs), error) from error
                if found is None:
                    continue
                total = self._join(total, found) if total else found
                if not self._layout.stacked and len(numbers) > 1 and total.valid.all():
                    break
        if total is None and blank is not None:
            first = self._layout.first
            values = np.zeros((len(self._layout.names), *blank), "uint8" if first.palette else first.dtype)
            return Pixels(values, np.zeros(blank, np.bool_))
        if total is None:
            layout = self._layout
            bounds = bounds_of(layout.transform, layout.width, layout.height)
            raise TileOutsideBounds(
                f"{layout.name}: {_place(asked, crs)} lies outside of the raster ({layout.width} x "
                f"{layout.height} pixels, bounds {_words(bounds)} in {_short(layout.first.crs)})."
            )
        return total

    def _join(self, total: Pixels, found: Pixels) -> Pixels:
        if self._layout.stacked:
            return Pixels(np.concatenate([total.values, found.values]), self._both(total.valid, found.valid))
        missing = ~total.valid & found.valid
        total.values[:, missing] = found.values[:, missing]
        return replace(total, valid=total.valid | found.valid)

    def _both(self, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return one & other if self._options.invalid == "any" else one | other

    def _check_output(self, shape: tuple[int, int]) -> None:
        limits, pixels = self._options.limits, shape[0] * shape[1]
        size = pixels * len(self._layout.names) * self._itemsize
        if pixels > limits.pixels or size > limits.decoded_bytes:
            limits.check("pixels", pixels, what=f"{self._layout.name}: pixels of one read")
            limits.check("decoded_bytes", size, what=f"{self._layout.name}: bytes of one read")

    def _read_error(self, number: int, place: str, error: Exception) -> RasterReadError:
        header = self._layout.parts[number].header
        reason = reason_of(error.__cause__ or error, header.facts.path, header.label)
        return RasterReadError(
            f"{header.label}: {place} cannot be read: {reason} "
            "The file is damaged or cut off there; fetch it again."
        )


@dataclass(frozen=True)
class _Reach:
    """Rectangles [K, 4] around the files ``owners`` [K] of a raster in one coordinate system."""

    owners: NDArray[np.int64]
    boxes: NDArray[np.float64]

    def around(self, bounds: Bounds) -> dict[int, Bounds]:
        """Return {file: its rectangle} for the files that may share ground with a tile."""
        west, south, east, north = self.boxes.T
        near = (west < bounds[2]) & (bounds[0] < east) & (south < bounds[3]) & (bounds[1] < north)
        rows = np.flatnonzero(near)[::-1]
        return {
            owner: (box[0], box[1], box[2], box[3])
            for owner, box in zip(self.owners[rows].tolist(), self.boxes[rows].tolist(), strict=True)
        }

    @cached_property
    def whole(self) -> Bounds:
        """Rectangle around all files but those that span a large part of the Earth."""
        boxes = self.boxes[np.isfinite(self.boxes).all(axis=1)]
        if not len(boxes):
            return (0.0, 0.0, 0.0, 0.0)
        (west, south), (east, north) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        return float(west), float(south), float(east), float(north)


def _words(numbers: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{number:.10g}" for number in numbers) + ")"


def _place(asked: tuple[float, ...], crs: str) -> str:
    """Return what was asked for in words: a window in pixels, or bounds in a coordinate system."""
    return f"the rectangle {_words(asked)} in {_short(crs)}" if crs else f"the window {_words(asked)}"


def _short(crs: str) -> str:
    return (crs if len(crs) < 40 else "a CRS of its own") or "pixels"
