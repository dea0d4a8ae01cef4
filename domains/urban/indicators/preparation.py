"""The reference's preparation of an indicator table: which rows stay, on which scale, in which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import ConfigError, InputError

SHUFFLE_SEED = 42
"""Of the reference's one shuffle."""


@dataclass(frozen=True)
class PreparedTable:
    """An indicator table as UrbanCLIP's regression sees it.

    Rows are indices into the table as given; K rows are kept, T of them train.

    Attributes:
        kept_rows: int64 [K], rows without a zero in any column, in order.
        log: {column: float64 [K]}, natural logarithm.
        refined: {column: float64 [K]}, ``(log - min) / (max - min) - 0.5 + mean``. Its minimum and maximum
            know the test rows and its unit is nobody's: kept for parity, not used by our own regressors.
        train_rows, test_rows: int64 [T] and [K - T], in shuffled order.
        mean, deviation: {column: float} of ``refined`` over the first share of ``train_rows``.
        z: {column: float64 [T]}, the training rows in order, standardized with them.
    """

    kept_rows: NDArray[np.int64]
    log: dict[str, NDArray[np.float64]]
    refined: dict[str, NDArray[np.float64]]
    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    mean: dict[str, float]
    deviation: dict[str, float]
    z: dict[str, NDArray[np.float64]]


def prepare_urbanclip(
    columns: Mapping[str, ArrayLike], *, train_ratio: float = 0.8, random_state: int = SHUFFLE_SEED
) -> PreparedTable:
    """Return the table as the released notebook prepares it.

    Rows with a zero in any column go, which throws out water and empty land only where one indicator is zero
    and biases the task; our own regressors keep zeros (``log1p``). Rows with a missing value go too.

    Args:
        columns: {name: float [N]}, amounts of 0 or more.
        train_ratio: share of the kept rows that train, rounded down; the same share of those standardizes.
        random_state: of the shuffle, numpy's legacy permutation.

    Raises:
        ConfigError: a share outside of 0 to 1.
        InputError: columns of different length, negative values, or too few rows left.

    Reference: UrbanCLIP, ``downstream_task_transform.ipynb`` and ``mlp.py`` (WWW 2024).
    """
    if not 0 < train_ratio < 1:
        raise ConfigError(f"train_ratio must lie between 0 and 1, got {train_ratio}.")
    if not columns:
        raise InputError("The table has no indicator columns; expected at least one.")
    names = list(columns)
    values = [np.asarray(columns[name], dtype=np.float64) for name in names]
    for name, column in zip(names, values, strict=True):
        if column.ndim != 1 or len(column) != len(values[0]):
            raise InputError(f"Column {name!r} is {column.shape}, {names[0]!r} is {values[0].shape}.")
        if (column < 0).any():
            raise InputError(
                f"Column {name!r} holds {column[column < 0][0]:g}; amounts of 0 or more are needed."
            )
    table = np.stack(values)
    kept = np.flatnonzero((np.isfinite(table) & (table != 0)).all(axis=0))
    train = int(train_ratio * len(kept))
    fitted = int(train_ratio * train)
    if fitted < 2:
        raise InputError(
            f"{len(kept)} of {table.shape[1]} rows have no zero in any column; too few to split and to "
            "standardize."
        )
    log = {name: np.log(row[kept]) for name, row in zip(names, table, strict=True)}
    refined = {name: _refine(name, column) for name, column in log.items()}
    # The notebook's shuffle is this one, and golden cases hold its order.
    order = np.random.RandomState(random_state).permutation(len(kept))
    parts = {name: column[order[:train]] for name, column in refined.items()}
    mean = {name: float(part[:fitted].mean()) for name, part in parts.items()}
    deviation = {name: float(part[:fitted].std()) for name, part in parts.items()}
    return PreparedTable(
        kept,
        log,
        refined,
        kept[order[:train]],
        kept[order[train:]],
        mean,
        deviation,
        {name: (part - mean[name]) / deviation[name] for name, part in parts.items()},
    )


def _refine(name: str, log: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(log.min()), float(log.max())
    if low == high:
        raise InputError(f"Column {name!r}: all kept values are equal; there is nothing to learn.")
    return (log - low) / (high - low) - 0.5 + log.mean()
