"""What a user may say when opening a raster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from ....core.errors import ConfigError, nearest
from ....core.limits import DEFAULT, Limits

BandChoice = Sequence[int | str] | Mapping[str, int | str] | str | int | None
"""Band numbers from 1, names, {name: number or name}, "all", or None for the usual ones."""
Scaling = str | Mapping[str, Any]
"""A word ("auto", "none", "statistics") or a profile that was stored earlier."""
Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode", "lanczos"]


def check_resampling(word: str) -> None:
    """Raise ``ConfigError`` when ``word`` is not in :data:`Resampling`."""
    if word not in get_args(Resampling):
        known = get_args(Resampling)
        raise ConfigError(f"resampling is {word!r}; known: {', '.join(known)}.{nearest(word, known)}")


@dataclass(frozen=True)
class RasterOptions:
    """How a raster is opened and read.

    Attributes:
        bands: which bands, in this order. None: the sensor's display bands, else those called or marked red,
            green and blue, else all but an alpha band.
        sensor: a name of :data:`.sensors.SENSORS`.
        scaling: see :mod:`.scaling`.
        nodata: number of missing pixels, in addition to what the file says. A number for all bands.
        crs: coordinate system of files that name none; ``""`` accepts a file without any, for pixels only.
        on_error: "skip" leaves files out that cannot be opened, and counts them in ``Raster.skipped``.
        limits: ceilings of one input.
        show_paths: messages name whole paths.
        cache_mb: memory for decoded blocks in MB, per process; None for two rows of blocks, 64 to 640.
            Windows at random places are read faster the more of the raster it holds.
        s2_offset: what Sentinel-2 digital numbers need added: 0, -1000 or "auto" by processing baseline.
        gain: brightness of pictures of reflectance, times the sensor's own.
        unscale: apply the scale and offset tags of the file instead of those of the sensor.
        invalid: a pixel is invalid where "any" or where "all" of the bands asked for are.
        sidecars: read ``.ovr``, ``.msk`` and ``.aux.xml`` files beside a raster.
        verify: refuse files that end before their pixels do, without decoding any.
        allow_remote: open ``/vsicurl/`` and ``https://`` sources.
    """

    bands: BandChoice = None
    sensor: str | None = None
    scaling: Scaling = "auto"
    nodata: float | None = None
    crs: str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    limits: Limits = DEFAULT
    show_paths: bool = False
    cache_mb: int | None = None
    s2_offset: Literal["auto"] | int = "auto"
    gain: float = 1.0
    unscale: bool = False
    invalid: Literal["any", "all"] = "any"
    sidecars: bool = True
    verify: bool = False
    allow_remote: bool = False

    def __post_init__(self) -> None:
        closed = {"on_error": ("raise", "skip"), "invalid": ("any", "all"), "s2_offset": ("auto", 0, -1000)}
        for name, known in closed.items():
            if getattr(self, name) not in known:
                words = ", ".join(map(repr, known))
                raise ConfigError(f"{name} is {getattr(self, name)!r}; known: {words}.")
        if isinstance(self.scaling, str) and self.scaling not in ("auto", "none", "statistics"):
            raise ConfigError(
                f"scaling is {self.scaling!r}; known: 'auto', 'none', 'statistics', or a stored profile."
            )
        if self.cache_mb is not None and self.cache_mb < 1:
            raise ConfigError(f"cache_mb is {self.cache_mb}; it counts megabytes and starts at 1.")
        if not self.gain > 0:
            raise ConfigError(f"gain is {self.gain}; brightness is a number above 0.")

    def with_(self, **changes: Any) -> RasterOptions:
        """Return a copy with some fields changed; unknown names raise ``ConfigError``."""
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"Unknown option {name!r} of a raster; known: {', '.join(known)}.{nearest(name, known)}"
                )
        return replace(self, **changes)
