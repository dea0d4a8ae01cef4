"""From modality values to display values: window formulas, look-up tables, presets, default rules.

Reference: DICOM PS3.3 C.11.1 (modality LUT), C.11.2.1 (VOI LUT and windowing).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....core.errors import nearest
from ....core.files import read_json
from .errors import WindowError

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_DATA = Path(__file__).with_name("windows.json")


@dataclass(frozen=True)
class Window:
    """One window in modality units (HU for CT). ``source`` says where it came from."""

    center: float
    width: float
    function: str = "LINEAR"
    source: str = "given"

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise WindowError(
                f"VOI LUT function {self.function!r} is not known; known: {', '.join(FUNCTIONS)}."
                f"{nearest(self.function, FUNCTIONS)}"
            )
        if not (np.isfinite(self.center) and np.isfinite(self.width)):
            raise WindowError(f"Window center {self.center} and width {self.width} must be finite.")
        if self.function == "LINEAR" and self.width < 1:
            raise WindowError(f"Window width {self.width} is below 1, the least a LINEAR window allows.")
        if self.width <= 0:
            raise WindowError(f"Window width {self.width} must be above 0 for {self.function}.")

    def __str__(self) -> str:
        return f"{self.function} center {self.center:g} width {self.width:g} ({self.source})"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float values in [0, 1] of the same shape and float type.

        LINEAR: (x - (c - 0.5)) / (w - 1) + 0.5, clipped; w = 1 is a step at c - 0.5.
        LINEAR_EXACT: (x - c) / w + 0.5, clipped. SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).

        Reference: PS3.3 C.11.2.1.2 and C.11.2.1.3, with output range 0 to 1.
        """
        if self.function == "SIGMOID":
            # exp overflows to inf far below the window, where the limit 0 is the right answer
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp((values - self.center) * (-4 / self.width)))
        if self.function == "LINEAR" and self.width == 1:
            return (values > self.center - 0.5).astype(values.dtype)
        shift = 0.5 if self.function == "LINEAR" else 0.0
        span = self.width - 2 * shift
        unit = values - (self.center - shift)
        unit /= span
        unit += 0.5
        return np.clip(unit, 0, 1, out=unit)


@dataclass(frozen=True)
class Table:
    """A DICOM look-up table. Inputs below ``first`` take entry 0, beyond the last take the last."""

    entries: np.ndarray
    first: int
    bits: int
    source: str = "table"

    def __str__(self) -> str:
        return f"table of {len(self.entries)} entries, {self.bits} bits ({self.source})"

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Return the entries for ``values`` (rounded to whole numbers), unscaled."""
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float values in [0, 1]: entries divided by 2^bits - 1."""
        dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float32)
        return self.look_up(values).astype(dtype) / dtype.type((1 << self.bits) - 1)


@dataclass(frozen=True)
class Range:
    """A plain linear map of [low, high] to [0, 1], clipped."""

    low: float
    high: float
    source: str

    def __str__(self) -> str:
        return f"range {self.low:g} to {self.high:g} ({self.source})"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float values in [0, 1]; an empty range gives zeros."""
        if self.high <= self.low:
            return np.zeros_like(values)
        unit = (values - self.low) / (self.high - self.low)
        return np.clip(unit, 0, 1, out=unit)


ValueMap = Window | Table | Range


def parse_descriptor(values: list[int], data: bytes, *, first: int, source: str) -> Table:
    """Return a table from its DICOM descriptor [entries, first mapped value, bits] and bytes.

    0 entries means 65,536. 8-bit tables may be packed one entry per byte.

    Raises:
        WindowError: the descriptor and the data do not agree.
    """
    if len(values) != 3:
        raise WindowError(f"A LUT descriptor has {len(values)} values, expected 3.")
    count, bits = (values[0] & 0xFFFF) or 65_536, values[2]
    if not 1 <= bits <= 16:
        raise WindowError(f"A LUT of {bits} bits per entry is not supported; supported: 1 to 16.")
    if len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2", count)
    elif len(data) >= count and bits <= 8:
        entries = np.frombuffer(data, np.uint8, count).astype(np.uint16)
    else:
        raise WindowError(
            f"A LUT declares {count} entries and holds {len(data)} bytes. Export the file again."
        )
    return Table(entries, first, bits, source)


@functools.cache
def _data() -> dict[str, Any]:
    return read_json(_DATA)


def windows() -> dict[str, tuple[float, float]]:
    """Return the CT presets: {name: (center, width) in HU}.

    Values vary by site and vendor; ``windows.json`` marks the few that were confirmed.
    """
    return {name: (entry["center"], entry["width"]) for name, entry in _data()["presets"].items()}


def is_preset(name: str) -> bool:
    """Return whether ``name`` is a CT preset, or the word for three of them."""
    key = _key(name)
    return key == "multi" or key in windows()


def _key(name: str) -> str:
    """Return how ``windows.json`` spells the name of a preset."""
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    return _data()["aliases"].get(key, key)


def preset(name: str) -> Window:
    """Return a preset by name; ``-``, space and case do not matter.

    Raises:
        WindowError: unknown name; the message lists the known ones.
    """
    key = _key(name)
    known = windows()
    if key not in known:
        others = ["header", "header:1", "multi", "full", "minmax", "percentile:0.5,99.5", "default"]
        raise WindowError(
            f"Window {name!r} is not known; presets: {', '.join(known)}; also {', '.join(others)}, "
            f"(center, width) or None.{nearest(key, [*known, *others])}"
        )
    return Window(*known[key], source=f"preset {key}")


def multi() -> list[Window]:
    """Return the three presets that ``window="multi"`` stacks as channels."""
    return [preset(name) for name in _data()["multi"]]


def default_rules(modality: str | None) -> list[str]:
    """Return the window rules to try in order for a DICOM modality ("CT", "MR", ...)."""
    table = _data()["defaults"]
    return table.get(modality or "*", table["*"])


def range_of(rule: str, values: np.ndarray, valid: np.ndarray | None) -> Range:
    """Return the range of a data-driven rule.

    Args:
        rule: ``"minmax"``, ``"percentile:LOW,HIGH"`` or ``"foreground:LOW,HIGH"`` (percentiles of the
            pixels above 5% of the way from the minimum to the 99th percentile).
        values: float, any shape.
        valid: bool mask of pixels that count, or None for all.

    Raises:
        WindowError: the percentiles are not two numbers 0 <= low < high <= 100.
    """
    if valid is not None and valid.any():
        values = values[valid]
    if rule == "minmax":
        return Range(float(values.min()), float(values.max()), rule)
    name, _, text = rule.partition(":")
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 100:
        raise WindowError(
            f"Window rule {rule!r} needs two percentiles: '{name}:LOW,HIGH' with 0 <= LOW < HIGH <= 100."
        )
    if name == "foreground":
        least = float(values.min())
        threshold = least + 0.05 * (float(np.percentile(values, 99)) - least)
        values = values[values > threshold] if (values > threshold).any() else values
    bounds = np.percentile(values, [low, high])
    return Range(float(bounds[0]), float(bounds[1]), rule)


def explicit_maps(choice: Any, values: np.ndarray, valid: np.ndarray | None = None) -> list[ValueMap]:
    """Return the maps of a window choice that needs no image header, one per output channel.

    Args:
        choice: (center, width[, function]), a preset, "multi", "minmax", "percentile:LOW,HIGH" or
            "foreground:LOW,HIGH".
        values, valid: see :func:`range_of`.

    Raises:
        WindowError: unknown name or not a window.
    """
    if isinstance(choice, (tuple, list)):
        if len(choice) not in (2, 3):
            raise WindowError(
                f"A window is (center, width) or (center, width, function), got {len(choice)} values."
            )
        try:
            center, width = (float(value) for value in choice[:2])
        except (TypeError, ValueError):
            raise WindowError(f"A window is (center, width) in numbers, got {list(choice)!r:.80}.") from None
        return [Window(center, width, *choice[2:])]
    if not isinstance(choice, str):
        raise WindowError(f"A window is a name, (center, width) or None, got {type(choice).__name__}.")
    if choice == "multi":
        return list(multi())
    if choice == "minmax" or choice.startswith(("percentile", "foreground")):
        return [range_of(choice, values, valid)]
    return [preset(choice)]
