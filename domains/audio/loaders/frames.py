"""``load_image`` of the audio room: a picture, or one frame of a film, as a query by sight."""

from __future__ import annotations

import os

from ....core import images
from ....core.errors import ConfigError
from ....core.limits import DEFAULT, Limits
from ....core.types import Sample
from ....core.video import is_film, probe_video
from .video import extract_frames


def load_image(
    path: str | os.PathLike[str],
    *,
    time_s: float | None = None,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> Sample:
    """Return a picture, or the frame of a film that is on screen at a time.

    Args:
        path: PNG, JPEG, TIFF, WebP, BMP ..., or a film (see :func:`.video.extract_frames`).
        time_s: where in a film; None is its middle.
        limits: ceilings checked before decoding.
        show_paths: let error messages name the whole path instead of the file name.

    Returns:
        Sample with ``value`` uint8 [3, H, W] of a film, ``meta`` time_s, height, width and format; for
        pictures see :func:`verticlip.core.images.load_image`.

    Raises:
        InputError: neither, or damaged. ConfigError: ``time_s`` for a picture.
        DependencyError: a film, and PyAV is not installed.
    """
    if not is_film(path):
        if time_s is not None:
            raise ConfigError(
                f"time_s {time_s:g} chooses a frame of a film; {os.path.basename(path)} is none."
            )
        return images.load_image(path, limits=limits, show_paths=show_paths)
    info = probe_video(path, limits=limits, show_paths=show_paths)
    time_s = info.duration_s / 2 if time_s is None else time_s
    frames = extract_frames(path, times=[time_s], size=None, limits=limits, show_paths=show_paths)
    value = frames.pixels[0]
    meta = {"format": info.container, "height": value.shape[1], "width": value.shape[2], "time_s": time_s}
    name = str(path) if show_paths else os.path.basename(path)
    return Sample(value, "image", meta, id=name)
