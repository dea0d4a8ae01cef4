"""Small fabricated rows for tests of indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from verticlip.core.index.base import Identity, Rows

DIM = 8
SCHEMA = pa.schema(
    [
        ("title", pa.string()),
        ("price", pa.float64()),
        ("stock", pa.int64()),
        ("sale", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("seen", pa.timestamp("us", "UTC")),
    ]
)


@pytest.fixture
def identity() -> Identity:
    return Identity("maker/model", "0" * 40, "f" * 16, DIM, "template-1")


@pytest.fixture
def schema() -> pa.Schema:
    return SCHEMA


@pytest.fixture
def make_rows() -> Callable[..., Rows]:
    """Rows with two views; every third lacks a ``text`` vector, some payload is null."""

    def make(ids: Sequence[str], seed: int = 0) -> Rows:
        generator = np.random.default_rng([seed, len(ids)])
        count = len(ids)
        vectors = unit(generator.standard_normal((2, count, DIM)))
        has = np.arange(count) % 3 != 2
        text = np.where(has[:, None], vectors[1], np.float32(0))
        payload = pa.table(
            {
                "title": [None if n % 5 == 4 else f"product {one}" for n, one in enumerate(ids)],
                "price": [None if n % 4 == 3 else float(n) + seed for n in range(count)],
                "stock": [n % 3 for n in range(count)],
                "sale": [None if n % 7 == 6 else n % 2 == 0 for n in range(count)],
                "tags": [None if n % 6 == 5 else ["new", f"t{n % 2}"][: n % 3] for n in range(count)],
                "seen": [None if n % 2 else n * 10**12 for n in range(count)],
            },
            schema=SCHEMA,
        )
        return Rows(tuple(ids), payload, {"image": vectors[0], "text": text}, {"text": has})

    return make


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def query() -> Callable[[int], np.ndarray]:
    """Unit queries float32 [Q, D]."""

    def make(seed: int, count: int = 1) -> np.ndarray:
        return unit(np.random.default_rng([7, seed]).standard_normal((count, DIM)))

    return make


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test loses power, so none has to wait until a disk has everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield
