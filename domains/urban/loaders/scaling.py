"""From the numbers of a file to the range a model expects: one line per band, decided once per raster.

Every way of scaling is ``(number - subtract) / divide`` per band, cut to [0, 1] for pictures. What was
decided is a :class:`ScalingProfile` that goes into run configs, and is given back when a model meets
other files.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from ....core.config import Config
from ....core.errors import ConfigError
from .errors import ScalingError
from .header import Header
from .masks import holes
from .options import RasterOptions
from .reading import Pixels
from .sensors import Sensor

PERCENTILES = (2.0, 98.0)
Missing = tuple[tuple[np.generic, ...], ...]
_HARMONIZED = "04.00"
"""From this processing baseline on, Sentinel-2 numbers carry an offset of -1000."""


class ScalingProfile(Config):
    """How numbers become what a model is shown.

    Attributes:
        mode: "8bit", "reflectance", "range" (of mean +- 2 standard deviations), "stretch" (percentiles of the
            raster), "statistics" (z-scores) or "none".
        bands: names of the bands, for which the columns below hold one number each.
        subtract: in numbers as stored.
        divide: likewise, above 0.
        clip: the result is cut to [0, 1].
        sensor: whose profile it is, or None.
        s2_offset: what was added to Sentinel-2 numbers, or None for other sensors.
    """

    mode: Literal["8bit", "reflectance", "range", "stretch", "statistics", "none"]
    bands: tuple[str, ...]
    subtract: tuple[float, ...]
    divide: tuple[float, ...]
    clip: bool
    sensor: str | None = None
    s2_offset: int | None = None

    @field_validator("subtract", "divide")
    @classmethod
    def _usable(cls, values: tuple[float, ...], info: Any) -> tuple[float, ...]:
        if not all(math.isfinite(value) for value in values):
            raise ValueError("numbers must be finite")
        if info.field_name == "divide" and not all(value > 0 for value in values):
            raise ValueError("numbers must be above 0")
        if len(values) != len(info.data.get("bands", values)):
            raise ValueError(f"needs one number per band, {len(info.data['bands'])}")
        return values


class Scaler:
    """A profile made ready for one number type: the few operations that its range needs, and no others.

    Args:
        profile: what to do.
        dtype: of the numbers as stored.
        missing: per band, numbers that become 0 also in valid pixels, as NaN does; None: there are no such.
    """

    def __init__(self, profile: ScalingProfile, dtype: str, missing: Missing | None = None) -> None:
        kind = np.dtype(dtype)
        self._missing = missing
        # float32 holds every number of 16 bits; larger ones are brought to range before they are rounded.
        self._work = np.dtype(np.float32 if kind.itemsize <= 2 or kind == np.float32 else np.float64)
        subtract, divide = np.asarray(profile.subtract), np.asarray(profile.divide)
        self._subtract = _column(subtract, self._work) if subtract.any() else None
        self._divide = _column(divide, self._work) if (divide != 1).any() else None
        self._clip = profile.clip
        if profile.clip and kind.kind in "ui":
            bounds = np.iinfo(kind)
            least, most = (bounds.min - subtract) / divide, (bounds.max - subtract) / divide
            self._clip = bool((least < 0).any() or (most > 1).any())

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return float32 [C, H, W]; invalid pixels are 0."""
        result = pixels.values.astype(self._work)
        if self._subtract is not None:
            result -= self._subtract
        if self._divide is not None:
            result /= self._divide
        if self._clip:
            result.clip(0, 1, out=result)
        if not (pixels.complete or pixels.valid.all()):
            result[:, ~pixels.valid] = 0
        if self._missing is not None:
            result[holes(pixels.values, self._missing)] = 0
        return result.astype(np.float32, copy=False)


def _column(numbers: NDArray[np.float64], dtype: np.dtype[Any]) -> Any:
    """Return one number where all bands have the same, else [C, 1, 1]."""
    if (numbers == numbers[0]).all():
        return dtype.type(numbers[0])
    return numbers.astype(dtype)[:, None, None]


def profile_without_pixels(
    header: Header,
    indexes: tuple[int, ...],
    *,
    names: tuple[str, ...],
    sensor: Sensor | None,
    options: RasterOptions,
) -> ScalingProfile | None:
    """Return the profile of a raster, or None where it takes percentiles of its pixels.

    Args:
        header: of its (first) file.
        indexes: the bands' numbers in that file.
        names: their names.
        sensor: of ``options.sensor``.
        options: as the raster was opened.

    Raises:
        ScalingError: the file does not fit the sensor, or nothing says which offset it needs.
        ConfigError: a stored profile that is damaged or for other bands.
    """
    if not isinstance(options.scaling, str):
        return _stored(options, names)
    count = len(names)
    if options.scaling == "none":
        return _tagged(header, indexes, names, options) or ScalingProfile(
            mode="none", bands=names, subtract=(0.0,) * count, divide=(1.0,) * count, clip=False
        )
    if sensor:
        _check_type(header, sensor)
        if options.scaling == "statistics":
            return _statistics(header, names, sensor, options)
        profile = _of_sensor(header, indexes, names, sensor, options)
        if profile:
            return profile
    elif options.scaling == "statistics":
        raise ConfigError("scaling='statistics' takes the statistics of a sensor; pass sensor=... too.")
    if header.dtype == "uint8" or header.palette:
        return ScalingProfile(
            mode="8bit",
            bands=names,
            subtract=(0.0,) * count,
            divide=(255.0 / options.gain,) * count,
            clip=True,
            sensor=sensor.name if sensor else None,
        )
    return None


def stretch_profile(
    samples: NDArray[Any], names: tuple[str, ...], *, gain: float = 1.0, missing: Missing | None = None
) -> ScalingProfile:
    """Return the profile that spreads the 2nd to the 98th percentile of valid pixels over [0, 1].

    Args:
        samples: [C, K] numbers as stored; K may be 0.
        names: of the C bands.
        gain: brightness.
        missing: per band, numbers to leave out, as NaN is; None: there are no such.
    """
    lows, spans = [], []
    empty = np.zeros(samples.shape, np.bool_) if missing is None else holes(samples, missing)
    for band, hole in zip(samples, empty, strict=True):
        band = band[~hole]
        low, high = np.percentile(band, PERCENTILES) if band.size else (0.0, 1.0)
        lows.append(float(low))
        # A band of one value has no range; it becomes 0 everywhere instead of an error.
        spans.append(float(high - low) / gain if high > low else 1.0)
    return ScalingProfile(mode="stretch", bands=names, subtract=tuple(lows), divide=tuple(spans), clip=True)


def _stored(options: RasterOptions, names: tuple[str, ...]) -> ScalingProfile:
    try:
        profile = ScalingProfile.model_validate(options.scaling)
    except ValueError as error:
        raise ConfigError(f"The stored scaling cannot be used: {error}") from error
    if len(profile.bands) != len(names):
        raise ConfigError(
            f"The stored scaling is for the bands {', '.join(profile.bands)}; the raster is read in "
            f"{', '.join(names)}. Pass bands=... to match."
        )
    return profile


def _check_type(header: Header, sensor: Sensor) -> None:
    if sensor.dtypes and header.dtype not in sensor.dtypes and not header.palette:
        hint = " A picture of 8 bits is read with sensor='rgb8'." if header.dtype == "uint8" else ""
        raise ScalingError(
            f"{header.label}: holds {header.dtype}; files of {sensor.name} hold "
            f"{' or '.join(sensor.dtypes)}.{hint} "
            "Leave sensor out to have its range measured, or pass scaling='none'."
        )


def _statistics(
    header: Header, names: tuple[str, ...], sensor: Sensor, options: RasterOptions
) -> ScalingProfile:
    """Return z-scores; Sentinel-2 statistics are for numbers without the offset of later baselines."""
    offset = s2_offset_of(header, options) if sensor.baseline_offset else None
    means, stds = _published(names, sensor)
    return ScalingProfile(
        mode="statistics",
        bands=names,
        subtract=tuple(mean - (offset or 0) for mean in means),
        divide=stds,
        clip=False,
        sensor=sensor.name,
        s2_offset=offset,
    )


def _published(names: tuple[str, ...], sensor: Sensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, stds = [], []
    for name in names:
        band = sensor.band(name)
        if band is None or band.mean is None or band.std is None:
            known = ", ".join(band.name for band in sensor.bands if band.mean is not None) or "none"
            raise ScalingError(
                f"{sensor.name} has no published statistics for band {name!r}; it has them for: {known}. "
                "Choose among these, name your bands by them (bands={'red': 3, ...}), or use scaling='auto'."
            )
        means.append(band.mean)
        stds.append(band.std)
    return tuple(means), tuple(stds)


def _of_sensor(
    header: Header, indexes: tuple[int, ...], names: tuple[str, ...], sensor: Sensor, options: RasterOptions
) -> ScalingProfile | None:
    """Return [0, 1] pictures by the sensor's own units, or None where it has none (8 bits, no statistics)."""
    if sensor.white is None:
        if header.dtype == "uint8" or any(band.mean is None for band in sensor.bands):
            return None
        means, stds = _published(names, sensor)
        return ScalingProfile(
            mode="range",
            bands=names,
            subtract=tuple(mean - 2 * std for mean, std in zip(means, stds, strict=True)),
            divide=tuple(4 * std / options.gain for std in stds),
            clip=True,
            sensor=sensor.name,
        )
    span, added = (sensor.white - sensor.black) / options.gain, None
    if options.unscale:
        scales, offsets = _tags(header, indexes)
    else:
        added = s2_offset_of(header, options) if sensor.baseline_offset else None
        scales = (sensor.scale,) * len(names)
        offsets = (sensor.offset + (added or 0) * sensor.scale,) * len(names)
    pairs = list(zip(scales, offsets, strict=True))
    return ScalingProfile(
        mode="reflectance",
        bands=names,
        subtract=tuple(_exact((sensor.black - offset) / scale) for scale, offset in pairs),
        divide=tuple(_exact(span / scale) for scale, _ in pairs),
        clip=True,
        sensor=sensor.name,
        s2_offset=added,
    )


def _exact(number: float) -> float:
    """Return a number without the last digits of a division: 4000 for 0.4 / 0.0001."""
    return round(number, 9)


def _tags(header: Header, indexes: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scales = tuple(header.scales[index - 1] for index in indexes)
    if not all(scale > 0 for scale in scales):
        raise ScalingError(f"{header.label}: its scale tags {scales} are not usable; leave unscale out.")
    return scales, tuple(header.offsets[index - 1] for index in indexes)


def _tagged(
    header: Header, indexes: tuple[int, ...], names: tuple[str, ...], options: RasterOptions
) -> ScalingProfile | None:
    """Return physical values by the file's own tags, where they were asked for."""
    if not options.unscale:
        return None
    scales, offsets = _tags(header, indexes)
    return ScalingProfile(
        mode="none",
        bands=names,
        subtract=tuple(-offset / scale for scale, offset in zip(scales, offsets, strict=True)),
        divide=tuple(1 / scale for scale in scales),
        clip=False,
    )


def s2_offset_of(header: Header, options: RasterOptions) -> int:
    """Return what Sentinel-2 digital numbers need added: -1000 from processing baseline 04.00 on, else 0.

    Raises:
        ScalingError: neither the option nor the file says.
    """
    if options.s2_offset != "auto":
        return int(options.s2_offset)
    if header.baseline:
        return -1000 if header.baseline >= _HARMONIZED else 0
    raise ScalingError(
        f"{header.label}: nothing says which processing baseline it is of, and from 04.00 on numbers "
        "of Sentinel-2 are 1000 too high. Pass s2_offset=-1000 (as delivered since January 2022) or "
        "s2_offset=0 (older files, and providers that have removed the offset); --s2-offset on the "
        "command line."
    )
