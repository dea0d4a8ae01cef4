"""``Raster``: a satellite image of any size, read window by window."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....core.errors import InputError, LimitError
from ..geometry.grids import window_bounds
from ..geometry.projection import same_crs
from ..geometry.tiles import Tile
from .errors import MissingCRSError
from .header import Transform, crs_of
from .layout import Layout, Source, read_layout
from .options import RasterOptions, check_resampling
from .reader import LayoutReader
from .reading import Pixels, Window
from .records import TileImage
from .reproject import Bounds, WarpGrid, bounds_of
from .scaling import Scaler, ScalingProfile, profile_without_pixels, stretch_profile
from .sensors import find_sensor

_OFF = 0.5
"""Pixels by which a window may lie off the place that its tile names."""
_MOST_PICTURES = 16
"""Times the limit of pixels that may be decoded for one picture of a large window."""
_FAR = 2.0
"""From this many pixels per output pixel on, a file without smaller copies is slow to read."""


class Raster:
    """One raster: a file, many side by side, or one per band. Holds headers, never pixels or open files.

    Reading opens files per thread and process, so one raster may be used by threads, forked workers and,
    pickled, by other processes.

    Example::

        raster = Raster.open("city.tif", bands=["red", "green", "blue"])
        tile = raster.read((0, 0, 256, 256))
        tile.image.shape, tile.mask.all(), tile.bounds

    Attributes:
        name: file name.
        crs: "EPSG:32618" or WKT; "" for a picture without georeference.
        transform: (a, b, c, d, e, f) of its pixels, see :class:`TileImage`.
        width: columns.
        height: rows.
        bands: names of the bands that are read.
        dtype: number type as stored.
        block: (rows, columns) that are decoded at once.
        nodata: number that marks missing pixels of the first band, or None.
        overviews: factors of smaller copies that every file has.
        skipped: (file, reason) of files left out under ``on_error="skip"``.
    """

    def __init__(self, layout: Layout, options: RasterOptions) -> None:
        first = layout.first
        self._layout, self._options = layout, options
        self._reader = LayoutReader(layout, options)
        self._sensor = find_sensor(options.sensor) if options.sensor else None
        self._profile = profile_without_pixels(
            first, layout.parts[0].indexes, names=layout.names, sensor=self._sensor, options=options
        )
        self._scaler: Scaler | None = None
        # A pixel is valid with one band missing: that band is told from the numbers again.
        partial = options.invalid == "all" and not first.palette
        self._missing = layout.missing() if partial else None
        self._warned = False
        # Results carry the name: a folder in it would tell of the machine, and bind them to the place.
        self.name, self._label = Path(layout.name).name, layout.name
        self.crs, self.transform = first.crs, layout.transform
        self.width, self.height, self.bands = layout.width, layout.height, layout.names
        self.dtype, self.block = ("uint8" if first.palette else first.dtype), first.block
        self.nodata = (
            first.nodata[layout.parts[0].indexes[0] - 1] if options.nodata is None else options.nodata
        )
        self.overviews = tuple(
            sorted(set.intersection(*(set(part.header.overviews) for part in layout.parts)))
        )
        self.skipped = layout.skipped

    @classmethod
    def open(cls, source: Source, options: RasterOptions | None = None, **changes: Any) -> Raster:
        """Return the raster of a file, of several files side by side, or of {band: file}.

        Only headers are read.

        Args:
            source: GeoTIFF (also cloud-optimized), VRT, JPEG 2000, PNG or JPEG.
            options: see :class:`RasterOptions`; its fields may also be given by keyword.

        Raises:
            RasterOpenError: missing, empty, damaged or no raster.
            UnsafeRasterError: it would make the reader open other files or the network.
            MissingCRSError: it has a place but no coordinate system, and ``crs`` was not given.
            GeoreferenceError: rotated, or placed by control points only.
            BandError: bands that are not there, or that the file does not tell apart.
            MosaicError: files that do not fit together.
            ScalingError: numbers that do not fit the sensor.
            ConfigError: an option is not acceptable.
        """
        options = (options or RasterOptions()).with_(**changes)
        return cls(read_layout(source, options), options)

    def __repr__(self) -> str:
        where = self.crs if len(self.crs) < 40 else "a CRS of its own"
        bands = ", ".join(self.bands)
        return (
            f"Raster({self.name!r}, {self.width} x {self.height}, {bands}, {self.dtype}, {where or 'no CRS'})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # Percentiles are found before the raster goes to workers, so that all of them scale alike.
        _ = self.profile
        return self.__dict__

    @property
    def bounds(self) -> Bounds:
        """(west, south, east, north) in units of ``crs``."""
        return bounds_of(self.transform, self.width, self.height)

    @property
    def resolution(self) -> tuple[float, float]:
        """(x, y) size of a pixel in units of ``crs``, both positive."""
        return abs(self.transform[0]), abs(self.transform[4])

    @property
    def fingerprint(self) -> str:
        """32 hex digits that change when the files, the bands read or what counts as missing do.

        Files on disk are told by name, size and time, with those read beside them (overviews, masks) and
        those a VRT names; a remote file by its header alone, so new pixels in it do not show.
        """
        return self._layout.fingerprint()

    @property
    def profile(self) -> ScalingProfile:
        """How numbers are scaled; percentiles of a raster are taken when this is first asked for."""
        if self._profile is None:
            from .sampling import sample_pixels

            samples = sample_pixels(self._reader, self._layout, overviews=self.overviews)
            self._profile = stretch_profile(
                samples, self.bands, gain=self._options.gain, missing=self._missing
            )
        return self._profile

    @property
    def scaling(self) -> dict[str, Any]:
        """The profile as a dict for JSON; give it back as ``scaling=`` to scale other files alike."""
        return self.profile.model_dump(mode="json")

    @property
    def pixel_size_m(self) -> float:
        """Ground size of a pixel in metres at the center of the raster.

        Raises:
            MissingCRSError: the raster has no coordinate system.
        """
        from .ground import ground_size

        self._need_crs()
        return ground_size(self.crs, self.transform, column=self.width / 2, row=self.height / 2)

    def raw(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return numbers as stored [C, h, w] and bool [h, w], True where valid; outside is 0 and not valid.

        Args:
            window: (column, row, width, height), whole numbers.

        Raises:
            TileOutsideBounds, RasterReadError: see :meth:`read`.
        """
        whole = self._checked(window)
        found = self._reader.window(whole, (int(whole[3]), int(whole[2])), resampling="nearest")
        return found.values, found.valid

    def read(
        self,
        window: Window,
        *,
        size: tuple[int, int] | None = None,
        resampling: str = "bilinear",
        tile_id: str = "",
    ) -> TileImage:
        """Return a window: image float32 [C, h, w], scaled, north above; what sticks out is 0 and not valid.

        Args:
            window: (column, row, width, height) in pixels, whole numbers.
            size: (rows, columns) of the output; None reads pixels as stored.
            resampling: how pixels are brought to another size.
            tile_id: name of the tile.

        Raises:
            TileOutsideBounds: the window shares no pixel with the raster.
            RasterReadError: that part of a file is damaged or cut off.
            LimitError: the output, or what is decoded for it, is over a limit.
            ConfigError: unknown ``resampling``.
        """
        whole = self._checked(window)
        shape = (int(whole[3]), int(whole[2])) if size is None else self._size(size)
        check_resampling(resampling)
        self._warn_far(whole, shape)
        found = self._reader.window(whole, shape, resampling=resampling)
        return self._tile(found, self._transform_of(whole, shape), self.crs, tile_id)

    def read_bounds(
        self,
        bounds: Bounds,
        crs: str,
        *,
        size: tuple[int, int],
        resampling: str = "bilinear",
        tile_id: str = "",
    ) -> TileImage:
        """Return a rectangle of ground in any coordinate system, warped where it is not the raster's own.

        Args:
            bounds: (west, south, east, north) in units of ``crs``; x is longitude in geographic systems.
            crs: "EPSG:3857" or WKT.
            size: (rows, columns) of the output.
            resampling: "bilinear" for imagery, "nearest" for classes, "average" for quantities.
            tile_id: name of the tile.

        Raises:
            MissingCRSError: the raster has no coordinate system.
            TileOutsideBounds: the rectangle shares no pixel with the raster.
            RasterReadError, LimitError: see :meth:`read`.
            UnknownCRSError: unknown ``crs``.
            ConfigError: unknown ``resampling``.
        """
        self._need_crs()
        shape = self._size(size)
        check_resampling(resampling)
        west, south, east, north = (float(value) for value in bounds)
        if not (all(map(math.isfinite, bounds)) and west < east and south < north):
            raise InputError(
                f"bounds {tuple(bounds)} are not (west, south, east, north) with west < east, south < north."
            )
        target = self.crs if crs == self.crs else crs_of(crs)
        target = self.crs if same_crs(target, self.crs) else target
        transform = ((east - west) / shape[1], 0.0, west, 0.0, (south - north) / shape[0], north)
        if target == self.crs and self.transform[4] < 0:
            grid = WarpGrid(self.crs, self.transform, self.width, self.height)
            window = grid.window((west, south, east, north))
            self._warn_far(window, shape)
            found = self._reader.window(window, shape, resampling=resampling)
        else:
            found = self._reader.rectangle(
                (west, south, east, north), target, shape=shape, resampling=resampling
            )
        return self._tile(found, transform, target, tile_id)

    def read_tile(self, tile: Tile, *, size: tuple[int, int] | None = None) -> TileImage:
        """Return a tile: its window of this raster where it has one, else its bounds.

        Args:
            tile: see :class:`Tile`.
            size: (rows, columns); None reads pixels as stored, or 256 x 256 for a tile without a window.

        Raises:
            InputError: the tile is a window of another raster.
            TileOutsideBounds, RasterReadError: see :meth:`read`.
        """
        if tile.window is not None:
            self.check_tile(tile)
            return self.read(tile.window, size=size, tile_id=tile.id)
        return self.read_bounds(tile.bounds, tile.crs, size=size or (256, 256), tile_id=tile.id)

    def check_tile(self, tile: Tile) -> None:
        """Raise ``InputError`` where a tile's window does not lie here at the place that the tile names."""
        if tile.window is None:
            return
        here = window_bounds(np.array([tile.window]), self.transform)[0].tolist()
        x, y = self.resolution
        off = max(abs(own - said) for own, said in zip(here, tile.bounds, strict=True))
        if off <= _OFF * min(x, y) and (tile.crs == self.crs or _names_one(tile.crs, self.crs)):
            return
        raise InputError(
            f"Tile {tile.id!r} is a window of another raster than {self._label}: it lies at "
            f"{_numbers(tile.bounds)} of {tile.crs[:40] or 'no system'}, and its pixels here at "
            f"{_numbers(here)} of {self.crs[:40] or 'no system'}. Make the tiles of this raster (`urban "
            "tiles`), or read by bounds."
        )

    def close(self) -> None:
        """Close what this thread holds open; reading opens it again."""
        self._reader.close()

    def _tile(self, found: Pixels, transform: Transform, crs: str, tile_id: str) -> TileImage:
        if self._scaler is None:
            self._scaler = Scaler(self.profile, self.dtype, self._missing)
        image, valid = self._scaler(found), found.valid
        if transform[4] > 0 and crs:
            # Stored from south to north; a tile has north above, whatever file it comes from.
            a, b, c, d, e, f = transform
            image, valid = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(valid[::-1])
            transform = (a, b, c, d, -e, f + e * len(valid))
        return TileImage(torch.from_numpy(image), torch.from_numpy(valid), transform, crs, tile_id)

    def _transform_of(self, window: Window, shape: tuple[int, int]) -> Transform:
        a, b, c, d, e, f = self.transform
        column, row, width, height = window
        x, y = width / shape[1], height / shape[0]
        return (a * x, b * y, a * column + b * row + c, d * x, e * y, d * column + e * row + f)

    def _checked(self, window: Window) -> Window:
        """Return a window in whole numbers."""
        whole = tuple(map(int, window))
        if len(whole) != 4 or whole != tuple(window):
            raise InputError(f"window {tuple(window)} is not (column, row, width, height) in whole pixels.")
        if whole[2] < 1 or whole[3] < 1:
            raise InputError(f"{self._label}: the window {whole} holds no pixel.")
        return whole

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        rows, columns = (int(value) for value in size)
        if rows < 1 or columns < 1:
            raise InputError(f"size {tuple(size)} is not (rows, columns) of at least one pixel.")
        return rows, columns

    def _need_crs(self) -> None:
        if not self.crs:
            raise MissingCRSError(
                f"{self._label}: does not say where it lies, so only windows in pixels can be read. "
                "Write a georeference into it, or open it with crs='EPSG:...' if it only lacks the CRS."
            )

    def _warn_far(self, window: Window, shape: tuple[int, int]) -> None:
        ratio = min(window[2] / shape[1], window[3] / shape[0])
        far = ratio >= _FAR
        step = max((factor for factor in self.overviews if factor <= ratio), default=1) if far else 1
        decoded = window[2] * window[3] / step**2
        if far and decoded > _MOST_PICTURES * self._options.limits.pixels:
            raise LimitError(
                f"{self._label}: {decoded:,.0f} pixels would be decoded for a picture of {shape[1]} x "
                f"{shape[0]}. Give it overviews once: gdaladdo -r average {self._layout.first.label} 2 4 8 16"
            )
        if far and not self.overviews and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._label} has no overviews, so every pixel is decoded to make a smaller picture. "
                f"Add them once: gdaladdo -r average {self._layout.first.label} 2 4 8 16",
                stacklevel=4,
            )


def _names_one(crs: str, own: str) -> bool:
    return bool(crs and own) and same_crs(crs, own)


def _numbers(bounds: Sequence[float]) -> str:
    return "(" + ", ".join(f"{edge:.10g}" for edge in bounds) + ")"
