"""Which tiles test together: at random, in contiguous blocks of ground, or by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import ConfigError, InputError, nearest
from .autocorrelation import checked_centers

Scheme = Literal["random", "block", "region"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True)
class Folds:
    """A plan of cross-validation over N tiles.

    Attributes:
        fold: int64 [N], the fold in which each tile is tested.
        units: int64 [N], the block or region each tile belongs to; its own number under ``random``.
        scheme: how it was made.
        block_m: side of a block in meters; None unless ``block``.
        buffer_m: tiles nearer than this to a tile under test do not train beside it.
        centers: float64 [N, 2] meters, or None where nobody gave any.
        overlaps: int64 [P, 2], pairs of tiles with ground in common; no tile trains beside a tile under test
            that shows part of it.
    """

    fold: NDArray[np.int64]
    units: NDArray[np.int64]
    scheme: Scheme
    block_m: float | None = None
    buffer_m: float = 0.0
    centers: NDArray[np.float64] | None = None
    overlaps: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    def test_rows(self, fold: int) -> NDArray[np.int64]:
        """Return the tiles under test in a fold."""
        return np.flatnonzero(self.fold == fold)

    def train_rows(self, fold: int) -> NDArray[np.int64]:
        """Return the tiles that may train in a fold: of other folds, outside of buffer and overlaps."""
        tested = self.fold == fold
        outside = ~tested
        if self.overlaps is not None:
            one, other = self.overlaps.T
            outside[one[tested[other]]] = False
            outside[other[tested[one]]] = False
        if self.buffer_m and self.centers is not None:
            from scipy.spatial import KDTree

            distance, _ = KDTree(self.centers[tested]).query(self.centers)
            outside &= distance >= self.buffer_m
        return np.flatnonzero(outside)


def pairs_among(pairs: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the pairs [P, 2] of tiles that are both among ``rows``, counted within these."""
    if pairs is None or not len(pairs):
        return None
    place = np.full(max(int(pairs.max()), int(rows.max(initial=0))) + 1, -1)
    place[rows] = np.arange(len(rows))
    found = place[pairs]
    return found[(found >= 0).all(axis=1)]


def make_folds(
    rows: int,
    scheme: Scheme,
    *,
    folds: int = 5,
    centers_m: ArrayLike | None = None,
    block_m: float | None = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    seed: int = 0,
) -> Folds:
    """Return a plan of cross-validation without a buffer.

    Args:
        rows: N tiles.
        scheme: ``random`` tiles; ``block``: whole squares of ground of side ``block_m``; ``region``: whole
            groups.
        folds: 2 or more; under ``region`` at most one per region.
        centers_m: float [N, 2], needed for ``block``.
        block_m: side of a block in meters, needed for ``block``.
        groups: N ids, needed for ``region``.
        seed: of the order in which tiles, blocks and regions go to folds.

    Raises:
        ConfigError: unknown scheme, too few folds, or what the scheme needs is missing.
        InputError: fewer tiles, blocks or regions than folds.
    """
    if scheme not in SCHEMES:
        raise ConfigError(
            f"Unknown split {scheme!r}; there are: {', '.join(SCHEMES)}.{nearest(str(scheme), SCHEMES)}"
        )
    if folds < 2:
        raise ConfigError(f"folds must be 2 or more, got {folds}.")
    if rows < 2 * folds:
        raise InputError(f"{rows} labelled tiles are too few for {folds} folds; label at least {2 * folds}.")
    centers = None if centers_m is None else checked_centers(centers_m, rows)
    generator = np.random.default_rng(seed)
    if scheme == "random":
        order = generator.permutation(rows)
        fold = np.empty(rows, dtype=np.int64)
        fold[order] = np.arange(rows) % folds
        return Folds(fold, np.arange(rows), scheme, centers=centers)
    if scheme == "block":
        if centers is None or block_m is None:
            raise ConfigError(
                "A block split needs the centers of the tiles and block_m, the side of a block."
            )
        units = block_ids(centers, block_m)
        advice = f"smaller blocks than {block_m:g} m, fewer folds, or a larger area"
    else:
        if groups is None or len(groups) != rows:
            raise ConfigError(
                f"A region split needs one region id per tile: {rows}, got "
                f"{0 if groups is None else len(groups)}."
            )
        _, units = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
        advice = "fewer folds, or a split by block"
    found = int(units.max()) + 1
    if found < folds:
        raise InputError(
            f"The labelled tiles lie in {found} {scheme}(s), {folds} folds need {folds}. Use {advice}."
        )
    return Folds(
        _deal(units.astype(np.int64), folds, generator),
        units.astype(np.int64),
        scheme,
        block_m if scheme == "block" else None,
        centers=centers,
    )


def block_ids(centers: NDArray[np.float64], block_m: float) -> NDArray[np.int64]:
    """Return int64 [N], the number of the square of side ``block_m`` that each center lies in.

    Squares begin at the western- and southernmost center, less half of a hair, so that a grid of tiles falls
    into whole blocks.
    """
    if not block_m > 0:
        raise ConfigError(f"block_m must be above 0 meters, got {block_m}.")
    # The hair keeps equal columns of a grid in one block where their centers differ in the last digit.
    cells = np.floor((centers - centers.min(axis=0)) / block_m + 1e-6).astype(np.int64)
    _, ids = np.unique(cells, axis=0, return_inverse=True)
    return ids.reshape(-1).astype(np.int64)


def _deal(units: NDArray[np.int64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold of every tile: largest units first, each to the fold with the fewest tiles."""
    sizes = np.bincount(units)
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(folds)
    fold_of_unit = np.empty(len(sizes), dtype=np.int64)
    for unit in order:
        target = int(filled.argmin())
        fold_of_unit[unit] = target
        filled[target] += sizes[unit]
    return fold_of_unit[units]
