"""``load_image`` of the liveness room: one face picture as a sample."""

from __future__ import annotations

import os
from pathlib import Path

from ....core import images
from ....core.errors import InputError
from ....core.limits import DEFAULT, Limits
from ....core.types import Sample
from ....core.video import is_film


def load_image(path: str | os.PathLike[str], *, limits: Limits = DEFAULT, show_paths: bool = False) -> Sample:
    """Return a still picture as a sample, upright. Models get it whole: cut faces out before embedding them.

    Args:
        path: PNG, JPEG, TIFF, WebP, BMP ...
        limits: ceilings checked before decoding.
        show_paths: let error messages name the whole path instead of the file name.

    Returns:
        Sample with ``value`` [C, H, W] and ``meta`` as :func:`verticlip.core.images.load_image` gives it.

    Raises:
        InputError: missing, damaged, no picture, or a film. LimitError: over a ceiling.
    """
    if is_film(path):
        name = str(path) if show_paths else Path(path).name
        raise InputError(f"{name}: is a film. Check it with `verticlip liveness check`, or save one frame.")
    return images.load_image(path, limits=limits, show_paths=show_paths)
