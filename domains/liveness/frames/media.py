"""Frames of what a camera captured: a still picture, several of them, or films."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....core.errors import InputError
from ....core.limits import DEFAULT, Limits
from ....core.media_source import compressed_kind
from ....core.types import Sample
from ....core.video import is_film
from .film import FilmFrames, read_film
from .picture import name_of, read_picture
from .sampling import Sampling


@dataclass(frozen=True, eq=False)
class Media:
    """The frames of one presentation.

    Attributes:
        frames: uint8 [H, W, 3] each, RGB, upright; sizes may differ between files.
        indices: of each frame in its film, or its position among several pictures.
        times_s: seconds from the beginning of its film, None for pictures.
        is_video: whether it is a film, or several pictures, which are frames of one.
        frames_total: of all films together, or the number of pictures.
        frame_rates: frames per second of each film, 0 where unknown; empty for pictures.
        asked: frames that the sampling asks for of each film, or of several pictures; None where that depends
            on the film.
        name: for messages and reports.
        warnings: what was wrong with a file of which something could be read.
    """

    frames: tuple[np.ndarray, ...]
    indices: tuple[int, ...]
    times_s: tuple[float | None, ...]
    is_video: bool
    frames_total: int
    frame_rates: tuple[float, ...]
    asked: int | None
    name: str
    warnings: tuple[str, ...] = ()


def read_media(
    item: Any,
    sampling: Sampling | None = None,
    *,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    name: str | None = None,
) -> Media:
    """Return the frames of one presentation.

    Example::

        media = read_media("selfie.mp4", Sampling(count=5))
        len(media.frames), media.times_s, media.warnings

    Args:
        item: a picture (see :func:`.picture.read_picture`), a film (path or bytes), frames as an array uint8
            [N, H, W, 3], or a sequence of pictures, or one of films, that belong to one presentation. Media
            pass through.
        sampling: which frames of each film are taken; several pictures are all taken, up to ``max_frames``,
            and it says how many of them a decision needs: FLIP's two go with the kind ``flip_mcio``.
        limits: ceilings on files, pixels, seconds, frames and decoded bytes.
        show_paths: let error messages name the whole path instead of the file name.
        name: of the presentation; None takes that of the file.

    Raises:
        InputError: missing, damaged before the first frame, sound only, no frame, or pictures and films
            mixed.
        LimitError: over a ceiling. DependencyError: a film, and PyAV is not installed.
    """
    if isinstance(item, Media):
        return item
    sampling = sampling or Sampling()
    parts = _parts(item)
    called = name or (name_of(parts[0], show_paths=show_paths) if parts else None) or "presentation"
    if not parts:
        raise InputError(f"{called}: has no frames. Give at least one picture or a film.")
    are_films = [_is_film(part) for part in parts]
    if any(are_films) and not all(are_films):
        raise InputError(
            f"{called}: mixes films and pictures. Give the frames of one presentation as pictures, or "
            "its films."
        )
    if are_films[0]:
        films = [read_film(part, sampling, limits=limits, show_paths=show_paths) for part in parts]
        return _of_films(films, sampling, called, limits)
    sampling.check_ceiling(len(parts), what=called)
    pictures, held = [], 0
    for place, part in enumerate(parts):
        label = None if len(parts) == 1 else f"{called}, picture {place}"
        named = name_of(part, show_paths=show_paths) or label or name
        pictures.append(read_picture(part, limits=limits, show_paths=show_paths, name=named))
        held += pictures[-1].nbytes
        limits.check("decoded_bytes", held, what=f"{called}: bytes of the frames")
    count = len(pictures)
    # How many pictures somebody gives is not how many a decision needs: the sampling says that, as for films.
    asked = sampling.asked if count > 1 else 1
    return Media(tuple(pictures), tuple(range(count)), (None,) * count, count > 1, count, (), asked, called)


def _of_films(films: Sequence[FilmFrames], sampling: Sampling, name: str, limits: Limits) -> Media:
    frames = tuple(frame for film in films for frame in film.frames)
    held = sum(frame.nbytes for frame in frames)
    limits.check("decoded_bytes", held, what=f"{name}: bytes of the frames")
    return Media(
        frames,
        tuple(index for film in films for index in film.indices),
        tuple(time for film in films for time in film.times_s),
        True,
        sum(film.total for film in films),
        tuple(film.fps for film in films),
        None if sampling.asked is None else sampling.asked * len(films),
        name,
        tuple(warning for film in films for warning in film.warnings),
    )


def _parts(item: Any) -> list[Any]:
    """Return the files, pictures or frames that make one presentation."""
    is_one = isinstance(item, (str, os.PathLike, bytes, bytearray, memoryview, Sample))
    if is_one or hasattr(item, "getbands") or not isinstance(item, (Sequence, np.ndarray, torch.Tensor)):
        return [item]
    # One axis more than a picture has is the frames; [H, W] and [H, W, 3] are pictures.
    return list(item) if isinstance(item, Sequence) or item.ndim == 4 else [item]


def _is_film(part: Any) -> bool:
    if isinstance(part, (str, os.PathLike)):
        return is_film(part)
    return isinstance(part, (bytes, bytearray, memoryview)) and compressed_kind(bytes(part[:400])) is not None
