"""Bands by number, by name in the file, by the agency's name or by what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....core.errors import ConfigError
from .errors import BandError, no_such_band
from .header import Header
from .options import BandChoice
from .sensors import Sensor, plain_name

_COLORS = ("red", "green", "blue", "gray")


@dataclass(frozen=True)
class BandSelection:
    """Chosen bands of one file.

    Attributes:
        indexes: numbers from 1, in the order asked for.
        names: what they are called from here on.
        alpha: number of the band that marks missing pixels, or 0.
    """

    indexes: tuple[int, ...]
    names: tuple[str, ...]
    alpha: int


def select_bands(header: Header, choice: BandChoice, *, sensor: Sensor | None) -> BandSelection:
    """Return the bands of a file that were asked for.

    Args:
        header: of the file.
        choice: see :class:`.options.RasterOptions`.
        sensor: gives bands their names, or None.

    Raises:
        BandError: one is not there, or the file does not say which it is.
        ConfigError: the choice is empty or of a wrong type.
    """
    names = band_names(header, sensor)
    alpha = 0 if names[header.alpha - 1 : header.alpha] not in ((), ("alpha",)) else header.alpha
    data = [index for index in range(1, header.count + 1) if index != alpha]
    if choice is None:
        return _usual(header, names, data, alpha, sensor)
    if isinstance(choice, str) and choice == "all":
        return BandSelection(tuple(data), tuple(names[index - 1] for index in data), alpha)
    if isinstance(choice, (int, str)):
        choice = [choice]
    pairs = list(choice.items()) if isinstance(choice, Mapping) else [(None, asked) for asked in choice]
    if not pairs:
        raise ConfigError("bands is empty; name at least one band, or leave it out.")
    indexes = tuple(_find(asked, header, names, sensor) for _, asked in pairs)
    called = tuple(
        (name if name is not None else _called(asked, names[index - 1]))
        for (name, asked), index in zip(pairs, indexes, strict=True)
    )
    # An alpha band that is asked for by name or number is data, as near infrared often is marked wrongly.
    return BandSelection(indexes, called, 0 if alpha in indexes else alpha)


def band_names(header: Header, sensor: Sensor | None) -> tuple[str, ...]:
    """Return one name per band: of the sensor, else of its color, else as in the file, else its number."""
    in_order: tuple[str, ...] = ()
    if sensor and sensor.ordered:
        listed = tuple(band.name for band in sensor.bands)
        extra = ("alpha",) if header.alpha == header.count == len(listed) + 1 else ()
        in_order = (*listed, *extra) if header.count == len(listed) + len(extra) else ()
    result = []
    for index, (description, color) in enumerate(zip(header.descriptions, header.colors, strict=True)):
        known = sensor.band(description) if sensor and description else None
        if known:
            name = known.name
        elif in_order and not description:
            name = in_order[index]
        elif color in _COLORS[:3] or color == "alpha":
            name = color if not description or plain_name(description) == color else description
            name = "alpha" if color == "alpha" and not description else name
        else:
            name = description or (color if color == "gray" and header.count == 1 else str(index + 1))
        result.append(name)
    if header.palette and header.count == 1:
        return ("palette",)
    return tuple(result)


def _usual(
    header: Header, names: tuple[str, ...], data: list[int], alpha: int, sensor: Sensor | None
) -> BandSelection:
    if header.palette and header.count == 1:
        return BandSelection((1,), ("red", "green", "blue"), 0)
    if sensor:
        try:
            indexes = tuple(_find(name, header, names, sensor) for name in sensor.display)
        except BandError as error:
            example = {name: number for number, name in enumerate(sensor.display, 1)}
            raise BandError(
                f"{header.label}: {sensor.name} needs the bands {', '.join(sensor.display)}, and the file "
                f"does not say which these are; it has: {', '.join(names)}. "
                f"Say it, for example bands={example}."
            ) from error
        return BandSelection(indexes, sensor.display, alpha)
    # Names were written by someone; three bands of 8 bits are marked red, green, blue by the format itself.
    described = {plain_name(header.descriptions[index - 1]): index for index in reversed(data)}
    marked = {header.colors[index - 1]: index for index in reversed(data)}
    for colors in (described, marked):
        if all(color in colors for color in _COLORS[:3]):
            indexes = (colors["red"], colors["green"], colors["blue"])
            return BandSelection(indexes, ("red", "green", "blue"), alpha)
    return BandSelection(tuple(data), tuple(names[index - 1] for index in data), alpha)


def _find(asked: int | str, header: Header, names: tuple[str, ...], sensor: Sensor | None) -> int:
    """Return the number from 1 of one band."""
    if isinstance(asked, bool) or not isinstance(asked, (int, str)):
        raise ConfigError(f"A band is a number from 1 or a name, not {asked!r}.")
    if isinstance(asked, int):
        if not 1 <= asked <= header.count:
            listed = (
                f"{number} ({name})" if name != str(number) else name for number, name in enumerate(names, 1)
            )
            raise no_such_band(header.label, asked, listed)
        return asked
    word = plain_name(asked)
    for number, (description, name) in enumerate(zip(header.descriptions, names, strict=True), 1):
        if word in (plain_name(description), plain_name(name)) and word:
            return number
    known = sensor.band(asked) if sensor else None
    for number, name in enumerate(names, 1):
        if known and plain_name(name) == plain_name(known.name):
            return number
    for number, color in enumerate(header.colors, 1):
        if word == color or (known and known.name == color):
            return number
    raise no_such_band(header.label, asked, names)


def _called(asked: int | str, name: str) -> str:
    return name if isinstance(asked, int) else asked
