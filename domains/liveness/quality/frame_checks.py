"""Gates of a whole presentation: enough usable frames, and frames that differ as a camera's do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ....core.errors import InputError
from ..frames.media import Media
from .checks import Check
from .config import QualityConfig


def frames_needed(media: Media, config: QualityConfig) -> int:
    """Return how many usable frames a presentation needs: ``min_frames`` of :func:`..frames.combine.combine`.

    A film, or several pictures in its place, needs ``min_frames_video``, or as many as the sampling asks for
    where that is fewer (FLIP scores two); what is shorter than that has too few.
    """
    if not media.is_video:
        return config.min_frames_still
    return config.min_frames_video if media.asked is None else min(config.min_frames_video, media.asked)


def checks_of_frames(media: Media, usable: Sequence[bool], config: QualityConfig) -> list[Check]:
    """Return the gates of a whole presentation.

    Args:
        media: the frames.
        usable: per frame, whether it passed the gates that block.
        config: limits.

    Returns:
        ``usable_frames``, and for films ``frame_variety`` (different frames, by a hash of their pixels),
        ``frame_sizes`` and ``frame_rates`` (how many different ones there are). Rates are those of the films'
        headers where those say one: a rate that changes within one film is not looked for.

    Raises:
        InputError: ``usable`` has not one value per frame.
    """
    if len(usable) != len(media.frames):
        raise InputError(f"usable has {len(usable)} values for {len(media.frames)} frames.")
    needed, count = frames_needed(media, config), sum(map(bool, usable))
    advice = (
        f"Only {count} of {len(usable)} frames can be used, {needed} are needed: see what the frames failed."
    )
    if len(usable) < needed:
        advice = (
            f"{len(usable)} of at least {needed} frames are there: capture a longer film, or more pictures."
        )
    found = [_check(config, "usable_frames", count, (needed, None), "frames", advice)]
    if not media.is_video:
        return found
    if config.frame_variety and len(media.frames) > 1:
        kinds = len(
            {
                hashlib.sha256(frame.tobytes()).digest() + bytes(str(frame.shape), "ascii")
                for frame in media.frames
            }
        )
        advice = "All frames are the same: a still picture may stand in the place of the camera."
        found.append(_check(config, "frame_variety", kinds, (2, None), "frames", advice))
    if config.frame_sizes:
        sizes = len({frame.shape for frame in media.frames})
        advice = "The frames differ in size: they may not come from one capture."
        found.append(_check(config, "frame_sizes", sizes, (None, 1), "sizes", advice))
    if config.frame_rates and len(media.frame_rates) > 1:
        # A header that says no rate (0) is no other rate.
        rates = len({round(rate, 2) for rate in media.frame_rates if rate > 0})
        advice = "The films differ in frame rate: they may not come from one capture."
        found.append(_check(config, "frame_rates", rates, (None, 1), "rates", advice))
    return found


def _check(
    config: QualityConfig,
    name: str,
    value: int,
    limit: tuple[float | None, float | None],
    unit: str,
    advice: str,
) -> Check:
    low, high = limit
    passed = (low is None or value >= low) and (high is None or value <= high)
    return Check(name, float(value), limit, passed, unit, name in config.blocking, "" if passed else advice)
