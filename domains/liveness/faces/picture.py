"""What every function of this room takes as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....core.errors import InputError


def check_picture(picture: Any, what: str = "picture") -> np.ndarray:
    """Return ``picture`` unchanged when it is uint8 [H, W, 3] with at least one pixel.

    Raises:
        InputError: it is not; the message says what it is and how to make it one.
    """
    if not isinstance(picture, np.ndarray):
        raise InputError(
            f"The {what} is {type(picture).__name__!r}, expected a uint8 array [H, W, 3] in RGB order. "
            "Read files with read_picture."
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise InputError(
            f"The {what} has shape {picture.shape}, expected [H, W, 3] in RGB order with at least one pixel. "
            "Repeat a grey picture three times; put transparent pixels onto a background first."
        )
    if picture.dtype != np.uint8:
        raise InputError(
            f"The {what} has dtype {picture.dtype}, expected uint8 from 0 to 255. "
            "Scale floats in [0, 1] by 255 and round."
        )
    return picture
