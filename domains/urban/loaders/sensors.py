"""What is known about sensors and image sets: band names, digital numbers, statistics. Plain data.

References:
    Statistics: Clay-foundation/model ``configs/metadata.yaml``; torchgeo data sets (SSL4EO-S12, EuroSAT,
    RESISC45, PatternNet); RS5M, Zhang et al. 2023.
    Digital numbers: ESA Sentinel-2 Products Specification, processing baseline 04.00; USGS Landsat
    Collection 2 Level-2 Science Product Guide. Brightness of Sentinel-2 pictures (2.5 x
    reflectance): Major-TOM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ....core.errors import ConfigError, nearest


@dataclass(frozen=True)
class SensorBand:
    """One band of a sensor.

    Attributes:
        name: common name ("red"), what users ask for.
        native: what the agency calls it ("B04").
        mean: of the numbers as stored, or None where nobody published it.
        std: likewise.
        others: further names files give it.
    """

    name: str
    native: str = ""
    mean: float | None = None
    std: float | None = None
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of the band."""
        return tuple(name for name in (self.name, self.native, *self.others) if name)


@dataclass(frozen=True)
class Sensor:
    """How one sensor, or one published image set, stores what it saw.

    Attributes:
        name: what users write.
        resolution_m: metres per pixel of its finest bands, or None.
        bands: its bands; the order is that of files of the set when ``ordered``.
        ordered: a file with as many bands as listed, and no names, has them in this order.
        display: the bands shown to a model of red, green and blue.
        dtypes: number types of its files; empty for any.
        scale: physical value = number * scale + offset.
        offset: see ``scale``.
        white: physical value that becomes 1 in a picture; None where pictures are the whole range of numbers.
        black: physical value that becomes 0.
        nodata: the number that marks missing pixels where a file does not say so, or None.
        baseline_offset: the numbers may carry -1000 of Sentinel-2 processing baseline 04.00.
    """

    name: str
    bands: tuple[SensorBand, ...]
    resolution_m: float | None = None
    ordered: bool = False
    display: tuple[str, ...] = ("red", "green", "blue")
    dtypes: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    white: float | None = None
    black: float = 0.0
    nodata: float | None = None
    baseline_offset: bool = False
    by_name: Mapping[str, SensorBand] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {plain_name(name): band for band in reversed(self.bands) for name in band.names}
        object.__setattr__(self, "by_name", MappingProxyType(names))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return find_sensor, (self.name,)

    def band(self, name: str) -> SensorBand | None:
        """Return the band of any of its names, or None."""
        return self.by_name.get(plain_name(name))


def plain_name(name: str) -> str:
    """Return a band name without case, spaces and leading zeros: "B04", "b4" and "B 4" are one."""
    letters = "".join(character for character in name.lower() if character.isalnum())
    if len(letters) > 2 and letters[0] == "b" and letters[1] == "0":
        letters = "b" + letters[1:].lstrip("0")
    return letters.removeprefix("sr") if letters.startswith("srb") else letters


def _bands(
    names: str, natives: str = "", means: tuple[float, ...] = (), stds: tuple[float, ...] = ()
) -> tuple[SensorBand, ...]:
    """Return bands from columns; ``a|b`` in ``natives`` gives further names."""
    words = names.split()
    rows = []
    for index, name in enumerate(words):
        native, *others = natives.split()[index].split("|") if natives else ("",)
        mean, std = (means[index], stds[index]) if means else (None, None)
        rows.append(SensorBand(name, native, mean, std, tuple(others)))
    return tuple(rows)


_S2_NAMES = "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 cirrus swir16 swir22"
_S2_NATIVE = "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12"
_S2_REFLECTANCE: dict[str, Any] = {"resolution_m": 10.0, "scale": 1e-4, "white": 0.4, "nodata": 0.0}
_RGB8 = _bands("red green blue")

_ALL = (
    Sensor("rgb8", _RGB8, ordered=True, dtypes=("uint8",)),
    Sensor("sentinel-2-rgb8", _RGB8, 10.0, ordered=True, dtypes=("uint8",)),
    Sensor(
        "sentinel-2-l2a",
        (
            SensorBand("coastal", "B01"),
            *_bands(
                "blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22",
                "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12",
                (1105.0, 1355.0, 1552.0, 1887.0, 2422.0, 2630.0, 2743.0, 2785.0, 2388.0, 1835.0),
                (1809.0, 1757.0, 1888.0, 1870.0, 1732.0, 1697.0, 1742.0, 1648.0, 1470.0, 1379.0),
            ),
            SensorBand("nir09", "B09"),
        ),
        dtypes=("uint16", "int16"),
        baseline_offset=True,
        **_S2_REFLECTANCE,
    ),
    Sensor(
        "ssl4eo-s12-s2-l1c",
        _bands(
            _S2_NAMES,
            _S2_NATIVE,
            (
                *(1612.9, 1397.6, 1322.3, 1373.1, 1561.0, 2108.4, 2390.7),
                *(2318.7, 2581.0, 837.7, 22.0, 2195.2, 1537.4),
            ),
            (
                791.0,
                854.3,
                878.7,
                1144.9,
                1127.5,
                1164.2,
                1276.0,
                1249.5,
                1345.9,
                577.5,
                47.5,
                1340.0,
                1142.9,
            ),
        ),
        ordered=True,
        dtypes=("uint16", "int16"),
        **_S2_REFLECTANCE,
    ),
    Sensor(
        "eurosat",
        _bands(
            # B8A stands last in the files of this set.
            "coastal blue green red rededge1 rededge2 rededge3 nir nir09 cirrus swir16 swir22 nir08",
            "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B8A",
            (
                *(1354.405, 1118.244, 1042.930, 947.626, 1199.473, 1999.791, 2369.223),
                *(2296.826, 732.083, 12.113, 1819.010, 1118.924, 2594.141),
            ),
            (
                *(245.718, 333.008, 395.092, 593.751, 566.417, 861.184, 1086.631),
                *(1117.982, 404.920, 4.776, 1002.588, 761.303, 1231.586),
            ),
        ),
        ordered=True,
        dtypes=("uint16", "int16"),
        **_S2_REFLECTANCE,
    ),
    Sensor(
        "landsat-c2l2-sr",
        (
            SensorBand("coastal", "SR_B1"),
            *_bands(
                "blue green red nir08 swir16 swir22",
                "SR_B2 SR_B3 SR_B4 SR_B5|nir SR_B6 SR_B7",
                (12474.0, 13310.0, 13705.0, 17801.0, 14615.0, 12701.0),
                (10144.0, 9408.0, 9578.0, 8277.0, 5300.0, 4522.0),
            ),
        ),
        30.0,
        dtypes=("uint16",),
        scale=2.75e-5,
        offset=-0.2,
        white=0.3,
        nodata=0.0,
    ),
    Sensor(
        "landsat-c2l2-st",
        _bands("thermal", "ST_B10|lwir|lwir11|ST_B6"),
        30.0,
        display=("thermal",),
        dtypes=("uint16",),
        scale=0.00341802,
        offset=149.0,
        black=270.0,
        white=330.0,
        nodata=0.0,
    ),
    Sensor(
        "landsat-c2l1",
        _bands(
            "blue green red nir08 swir16 swir22",
            "B2 B3 B4 B5|nir B6 B7",
            (11083.0, 10563.0, 10678.0, 14792.0, 12276.0, 10114.0),
            (5468.0, 5411.0, 6025.0, 6746.0, 5897.0, 4850.0),
        ),
        30.0,
        dtypes=("uint16",),
        nodata=0.0,
    ),
    Sensor("ssl4eo-l", _bands("blue green red nir swir16 swir22"), 30.0, ordered=True, dtypes=("uint8",)),
    Sensor(
        "naip",
        _bands(
            "red green blue nir",
            means=(110.16, 115.41, 98.15, 139.04),
            stds=(47.23, 39.82, 35.43, 49.86),
        ),
        1.0,
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "linz",
        _bands("red green blue", means=(89.96, 99.46, 89.51), stds=(41.83, 36.96, 31.45)),
        0.5,
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "sentinel-1-rtc",
        _bands("vv vh", means=(-12.113, -18.673), stds=(8.314, 8.017)),
        10.0,
        ordered=True,
        display=("vv", "vh"),
        dtypes=("float32", "float64"),
    ),
    Sensor(
        "ssl4eo-s12-s1",
        _bands("vv vh", means=(-12.59, -20.26), stds=(5.26, 5.91)),
        10.0,
        ordered=True,
        display=("vv", "vh"),
        dtypes=("float32", "float64"),
    ),
    Sensor(
        "modis",
        _bands(
            "red nir blue green nir12 swir16 swir22",
            "b1|sur_refl_b01 b2|sur_refl_b02 b3|sur_refl_b03 b4|sur_refl_b04 b5|sur_refl_b05 "
            "b6|sur_refl_b06 b7|sur_refl_b07",
            (1072.0, 1624.0, 931.0, 1023.0, 1599.0, 1404.0, 1051.0),
            (1643.0, 1878.0, 1449.0, 1538.0, 1763.0, 1618.0, 1396.0),
        ),
        500.0,
        ordered=True,
        dtypes=("int16", "uint16"),
        scale=1e-4,
        white=0.4,
        nodata=-28672.0,
    ),
    Sensor(
        "resisc45",
        _bands("red green blue", means=(93.894, 97.112, 87.568), stds=(51.849, 47.237, 47.063)),
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "patternnet",
        _bands("red green blue", means=(91.48, 91.78, 81.23), stds=(49.74, 47.18, 45.43)),
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "rs5m",
        _bands("red green blue", means=(103.53, 107.865, 99.45), stds=(47.94, 44.625, 47.175)),
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "rs5m-web",
        _bands("red green blue", means=(113.475, 119.595, 112.455), stds=(53.04, 49.215, 54.315)),
        ordered=True,
        dtypes=("uint8",),
    ),
    Sensor(
        "rs5m-rs3",
        _bands("red green blue", means=(89.25, 90.78, 80.58), stds=(40.29, 37.485, 36.465)),
        ordered=True,
        dtypes=("uint8",),
    ),
)

SENSORS: Mapping[str, Sensor] = MappingProxyType({sensor.name: sensor for sensor in _ALL})
"""{name: sensor}."""

_SHORT = {"sentinel-2": "sentinel-2-l2a", "landsat": "landsat-c2l2-sr", "sentinel-1": "sentinel-1-rtc"}


def find_sensor(name: str) -> Sensor:
    """Return the sensor of that name.

    Raises:
        ConfigError: unknown name; the message lists those known.
    """
    sensor = SENSORS.get(_SHORT.get(name.lower(), name.lower()))
    if sensor is None:
        known = (*SENSORS, *_SHORT)
        raise ConfigError(f"Unknown sensor {name!r}; known: {', '.join(known)}.{nearest(name, known)}")
    return sensor
