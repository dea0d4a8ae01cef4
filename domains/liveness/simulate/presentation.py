"""A presentation made from an ordinary picture: bona fide, or an attack of one of the families."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ..taxonomy import BONA_FIDE
from .camera import decode, encode, framed, take
from .families import FAMILIES
from .ranges import Draw, check_part, load_ranges, strength_of
from .raster import SUPER, Field, resized, to_light

LONGEST = 512
"""Pictures with a longer side are made this small first."""

SHORTEST = 32
"""Pictures with a shorter side are refused: no attack could be seen in them."""


@dataclass(frozen=True)
class Simulated:
    """A simulated presentation.

    Attributes:
        encoded: the picture as the camera's JPEG file.
        family: of ``ranges.yaml``, or ``bona_fide``.
        category: id in the default taxonomy.
        strength: how visible the attack is among its part, 0 to 1; None for bona fide.
        attack: drawn values of the attack, those that were used.
        camera: drawn values of the camera.
    """

    encoded: bytes
    family: str
    category: str
    strength: float | None
    attack: dict[str, float | str | bool]
    camera: dict[str, float | str | bool]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture as it is read from its file, uint8 [H, W, 3] RGB."""
        return decode(self.encoded)


def simulate(
    picture: NDArray[np.uint8], family: str, *, part: str = "train", seed: int = 0
) -> NDArray[np.uint8]:
    """Return ``picture`` as a camera would take an attack made from it.

    Args:
        picture: uint8 [H, W, 3] RGB; what is over 512 pixels a side is made smaller first.
        family: of ``ranges.yaml`` (print, screen, bezel, replay, low_light, id_card, cut_out, bent,
            composite), or ``bona_fide``: the scene itself through the same camera.
        part: "train" or "test"; the parameters of ``ranges.yaml`` never meet.
        seed: of all draws; equal arguments give equal pixels.

    Returns:
        uint8 [H', W', 3]: sides differ from those of ``picture`` by the distance of the camera.

    Raises:
        InputError: not such a picture, or one under 32 pixels a side.
        ConfigError: unknown family or part.

    Example:
        >>> import numpy as np
        >>> attack = simulate(np.full((64, 48, 3), 128, np.uint8), "screen", seed=7)
    """
    return simulated(picture, family, part=part, seed=seed).pixels


def simulated(picture: NDArray[np.uint8], family: str, *, part: str = "train", seed: int = 0) -> Simulated:
    """Return what :func:`simulate` does with its file and everything that was drawn for it."""
    _check(picture)
    chosen = check_part(part)
    ranges = load_ranges()
    attack = None if family == BONA_FIDE else ranges.family(family)
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), chosen == "test"])
    camera = Draw(ranges.camera, chosen, rng)
    light, size = _canvas(picture, camera)
    drawn: dict[str, float | str | bool] = {}
    strength, category = None, "live"
    if attack is not None:
        draw = Draw(attack, chosen, rng)
        draw.number(attack.strength)
        light = FAMILIES[family](light, draw)
        drawn, category = draw.values, attack.category
        strength = strength_of(attack, chosen, drawn)
    if not camera.chance("untouched"):
        light = framed(light, camera)
    pixels = take(light, size, camera)
    encoded = encode(pixels, round(camera.number("quality")))
    return Simulated(encoded, family, category, strength, drawn, camera.values)


def _canvas(picture: NDArray[np.uint8], camera: Draw) -> tuple[Field, tuple[int, int]]:
    """Return the light of a picture on the canvas, and the size of the picture to be taken."""
    height, width = picture.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    if not camera.chance("untouched"):
        scale = min(scale * camera.number("scale"), LONGEST / max(height, width))
    size = max(SHORTEST, round(height * scale)), max(SHORTEST, round(width * scale))
    light = resized(to_light(picture), size[0] * SUPER, size[1] * SUPER)
    return np.clip(light, 0.0, 1.0), size


def _check(picture: NDArray[np.uint8]) -> None:
    """Refuse what is no picture."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        what = (
            f"{picture.dtype} {list(picture.shape)}"
            if isinstance(picture, np.ndarray)
            else type(picture).__name__
        )
        raise InputError(
            f"A picture is uint8 [H, W, 3] with colors in the order red, green, blue; got {what}."
        )
    if picture.shape[2] != 3 or min(picture.shape[:2]) < SHORTEST:
        raise InputError(
            f"A picture to simulate with has three colors and at least {SHORTEST} pixels a side; "
            f"got {list(picture.shape)}."
        )
