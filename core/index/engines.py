"""What finds the nearest rows by position; :mod:`.local` puts ids, versions and filters around it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .exact import ExactEngine, VectorBlocks
from .graph import DEFAULT_EF, GraphEngine

__all__ = ["DEFAULT_EF", "Engine", "ExactEngine", "GraphEngine", "VectorBlocks"]


class Engine(Protocol):
    """N vectors that can be searched; a row is its position."""

    def __len__(self) -> int:
        """N."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        ef: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (positions int64 [Q, min(k, N)], scores float32), best first, ties by position.

        Where fewer rows are allowed than asked for, positions are -1 and scores -inf.

        Args:
            queries: float32 [Q, D], unit length.
            k: at least 1.
            allowed: bool [N]; None allows all.
            ef: breadth of an approximate search; None takes the engine's own, 0 is exact.

        Raises:
            InputError: k, queries or mask do not fit.
        """
        ...
