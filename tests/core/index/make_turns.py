"""Rows that tell which write they are of; imports little, so that a writer to be killed starts fast."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from make_vectors import grouped
from verticlip.core.index.base import Identity, Rows

DIM, COUNT = 32, 3000
IDENTITY = Identity("maker/model", "1", "p", DIM)
SCHEMA = pa.schema([("price", pa.float64()), ("brand name", pa.string())])
VECTORS = grouped(COUNT, DIM)


def rows_of(numbers: range | list[int], vectors: np.ndarray = VECTORS) -> Rows:
    """Rows of some of the products."""
    payload = {"price": [float(n) for n in numbers], "brand name": [f"O'Neil {n % 3}" for n in numbers]}
    ids = tuple(f"sku-{n:05d}" for n in numbers)
    return Rows(ids, pa.table(payload, schema=SCHEMA), {"image": vectors[list(numbers)]})


def turn_of(turn: int) -> Rows:
    """600 rows with the number of the turn as price: a version is whole when all prices are equal."""
    rows = rows_of(range(600))
    price = pa.array([float(turn)] * 600)
    return Rows(rows.ids, rows.payload.set_column(0, "price", price), rows.vectors)
