"""Which frames of a film are looked at."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ....core.config_base import Config
from ....core.errors import LimitError

FLIP_FIRST = 6
"""Index of the first frame that FLIP takes; the second is this plus half the number of frames."""


class Sampling(Config):
    """Which frames of a film are looked at; a still picture is its own only frame.

    Reference:
        Srivatsan et al., FLIP, ICCV 2023, its frame lists: two frames (``flip_mcio``) of a film of
        CASIA-FASD, MSU-MFSD, Replay-Attack or OULU-NPU; ten ``equidistant`` ones of CeFA and WMCA; ``all`` of
        SURF.
    """

    kind: Literal["equidistant", "every", "flip_mcio", "all"] = "equidistant"
    """``equidistant``: ``count`` frames, each from the middle of one of as many equal parts. ``every``: the
    first frame of each ``seconds``. ``flip_mcio``: frames 6 and 6 + floor(total / 2)."""
    count: int = Field(default=5, ge=1, le=10_000)
    """Frames of ``equidistant``; a film with fewer gives all it has."""
    seconds: float = Field(default=0.5, ge=0.001)
    """Step of ``every``."""
    max_frames: int = Field(default=300, ge=1)
    """Ceiling of all kinds; a film that would give more is refused, never thinned out silently."""

    @property
    def asked(self) -> int | None:
        """How many frames are asked for, or None where that depends on the film."""
        return {"equidistant": self.count, "flip_mcio": 2}.get(self.kind)

    def indices(self, total: int, *, what: str = "the film") -> tuple[int, ...]:
        """Return the indices of the frames to take, ascending and each once, of a film of ``total`` frames.

        ``every`` goes by time and not by index: see :func:`.media.read_media`. Where FLIP's indices lie
        behind the last frame, the last one is taken, so that a film of one frame gives this one.

        Raises:
            LimitError: more than ``max_frames``.
        """
        if total < 1:
            return ()
        if self.kind == "flip_mcio":
            chosen = {min(total - 1, FLIP_FIRST), min(total - 1, FLIP_FIRST + total // 2)}
        elif self.kind == "equidistant":
            count = min(self.count, total)
            # Twice the middle of each part, halved by an integer division: no rounding decides.
            chosen = {(2 * part + 1) * total // (2 * count) for part in range(count)}
        else:
            chosen = range(total)
        self.check_ceiling(len(chosen), what=what)
        return tuple(sorted(chosen))

    def check_ceiling(self, count: int, *, what: str) -> None:
        """Raise ``LimitError`` for more than ``max_frames`` frames."""
        if count > self.max_frames:
            raise LimitError(
                f"{what}: {count:,} frames to look at, over max_frames {self.max_frames:,} of the sampling. "
                "Take equidistant frames, or raise max_frames."
            )
