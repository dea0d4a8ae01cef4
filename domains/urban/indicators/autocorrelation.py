"""How far tiles resemble their neighbors: Moran's I and the range of an empirical variogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError

BINS = 20
PAIRED_TILES = 2000
"""More tiles than this are sampled before all pairs are looked at."""

_LEAST_STRUCTURE = 0.1
"""Share of the variance below which the fitted spatial part counts as none."""


@dataclass(frozen=True)
class Autocorrelation:
    """How a quantity hangs together over the ground.

    Attributes:
        range_m: distance in meters at which 95 % of the spatial part of the variance is reached: tiles
            closer than this know of each other. 0 where no spatial part was found.
        beyond: True where the range is as long as the variogram reaches and may be longer.
        structure: share of the variance that depends on distance, 0 to 1.
        moran_i: Moran's I of neighbouring tiles: about 0 for none, towards 1 for smooth quantities.
        spacing_m: median distance of a tile's center to the nearest other one.
        distances_m, semivariances: the empirical variogram, one value per bin with pairs.
    """

    range_m: float
    beyond: bool
    structure: float
    moran_i: float
    spacing_m: float
    distances_m: tuple[float, ...]
    semivariances: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "range_m": round(self.range_m, 3),
            "beyond": self.beyond,
            "structure": self.structure,
            "moran_i": self.moran_i,
            "spacing_m": self.spacing_m,
            "distances_m": list(self.distances_m),
            "semivariances": list(self.semivariances),
        }


def autocorrelation(values: ArrayLike, centers_m: ArrayLike, *, seed: int = 0) -> Autocorrelation:
    """Return the range and strength of the spatial autocorrelation of values.

    The empirical variogram ``gamma(h) = mean((v_i - v_j)^2) / 2`` of pairs up to half of the extent is fitted
    with a nugget and an exponential part, ``c0 + c1 (1 - exp(-3 h / range))``, by least squares weighted with
    the pairs of each bin; ranges are tried on a grid. Moran's I takes as neighbors what lies within one and
    a half spacings.

    Args:
        values: float [N], best on the scale that is learned (after the logarithm). N of 10 or more.
        centers_m: float [N, 2], in meters.
        seed: of the sample of tiles.

    Raises:
        InputError: too few tiles, all values equal, or all tiles in one place.

    Reference: Moran 1950; Cressie 1993, sections 2.4 and 2.6 (variogram and its weighted fit).
    """
    numbers = np.asarray(values, dtype=np.float64)
    centers = checked_centers(centers_m, len(numbers))
    if len(numbers) < 10:
        raise InputError(f"Autocorrelation needs 10 or more labelled tiles, got {len(numbers)}.")
    if np.ptp(numbers) == 0:
        raise InputError(f"All {len(numbers)} values equal {numbers[0]:g}; they have no autocorrelation.")
    spacing = spacing_of(centers)
    moran = _morans_i(numbers, centers, 1.5 * spacing)
    if len(numbers) > PAIRED_TILES:
        chosen = np.random.default_rng(seed).choice(len(numbers), PAIRED_TILES, replace=False)
        numbers, centers = numbers[chosen], centers[chosen]
    distances, gammas, counts = _variogram((numbers - numbers.mean()) / numbers.std(), centers)
    reach, structure, beyond = _fit(distances, gammas, counts, spacing)
    return Autocorrelation(
        reach, beyond, structure, moran, spacing, tuple(distances.tolist()), tuple(gammas.tolist())
    )


def checked_centers(centers_m: ArrayLike, rows: int) -> NDArray[np.float64]:
    """Return centers float64 [N, 2] after checking shape and finiteness."""
    centers = np.asarray(centers_m, dtype=np.float64)
    if centers.shape != (rows, 2):
        raise InputError(f"centers must be [{rows}, 2] meters, got {centers.shape}.")
    if not np.isfinite(centers).all():
        row = int(np.flatnonzero(~np.isfinite(centers).all(axis=1))[0])
        raise InputError(f"The center of tile {row} is not finite.")
    return centers


def spacing_of(centers: NDArray[np.float64]) -> float:
    """Return the median distance in meters of a center to the nearest one elsewhere.

    Raises:
        InputError: all centers are one place.
    """
    from scipy.spatial import KDTree

    places = np.unique(centers, axis=0)
    if len(places) < 2:
        raise InputError("All tiles have one center; splitting them by place needs several.")
    nearest, _ = KDTree(places).query(places, k=2)
    return float(np.median(nearest[:, 1]))


def _morans_i(values: NDArray[np.float64], centers: NDArray[np.float64], radius: float) -> float:
    """Return Moran's I with weight 1 for every pair of tiles within ``radius``, 0 without any pair."""
    from scipy.spatial import KDTree

    pairs = KDTree(centers).query_pairs(radius, output_type="ndarray")
    deviation = values - values.mean()
    if not len(pairs):
        return 0.0
    products = deviation[pairs[:, 0]] * deviation[pairs[:, 1]]
    return float(products.mean() / (deviation**2).mean())


def _variogram(
    values: NDArray[np.float64], centers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean distance, semivariance and number of pairs of the bins that hold pairs."""
    reach = float(np.linalg.norm(np.ptp(centers, axis=0))) / 2
    totals = np.zeros((3, BINS))
    for row in range(len(values) - 1):
        distance = np.linalg.norm(centers[row + 1 :] - centers[row], axis=1)
        # Bins grow with the square of their number: many where tiles are near, where the range is decided.
        index = np.floor(BINS * np.sqrt(distance / reach)).astype(np.int64)
        near = index < BINS
        squares = (values[row + 1 :][near] - values[row]) ** 2 / 2
        for total, weights in zip(totals, (distance[near], squares, None), strict=True):
            total += np.bincount(index[near], weights, minlength=BINS)
    held = totals[2] > 0
    distances, gammas, counts = totals[:, held]
    return distances / counts, gammas / counts, counts


def _fit(
    distances: NDArray[np.float64], gammas: NDArray[np.float64], counts: NDArray[np.float64], spacing: float
) -> tuple[float, float, bool]:
    """Return range in meters, spatial share of the sill, and whether the range is the longest tried."""
    from scipy.optimize import nnls

    longest = float(distances[-1])
    tried = np.geomspace(min(spacing, longest / 2), longest, 60)
    root = np.sqrt(counts)
    best = (np.inf, longest, 0.0)
    for candidate in tried:
        rise = 1 - np.exp(-3 * distances / candidate)
        (nugget, partial), error = nnls(
            np.stack([np.ones_like(rise), rise], axis=1) * root[:, None], gammas * root
        )
        sill = nugget + partial
        if error < best[0] - 1e-12:
            best = (float(error), float(candidate), float(partial / sill) if sill else 0.0)
    _, reach, structure = best
    if structure < _LEAST_STRUCTURE or reach <= tried[0]:
        # A rise that is over before the next tile begins is no link between tiles.
        return 0.0, structure if reach > tried[0] else 0.0, False
    return reach, structure, bool(reach >= tried[-1])
