"""Writes to an index until it is killed; :mod:`test_killed` runs it and knows what each version holds."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
from verticlip.core.index.base import Identity, Rows

DIM, IDS = 16, 90
IDENTITY = Identity("maker/model", "1", "p", DIM)
SCHEMA = pa.schema([("written", pa.int64())])
State = dict[str, int]
"""{id: version that wrote the row}"""


def step(version: int) -> tuple[str, list[str]]:
    """What makes a version: ``upsert``, ``delete`` or ``optimize``, and the ids it is about."""
    draw = random.Random(version)
    if version % 5 == 0 and version:
        return "optimize", []
    if version % 5 == 3:
        # At least one of these is there: the version before wrote it.
        return "delete", [step(version - 1)[1][0], *(f"row-{draw.randrange(IDS)}" for _ in range(10))]
    count = draw.choice([1, 5, 40])
    return "upsert", [f"row-{n}" for n in draw.sample(range(IDS), count)]


def states(version: int) -> State:
    """What version holds."""
    state: State = {}
    for number in range(1, version + 1):
        what, ids = step(number)
        for one in ids:
            if what == "upsert":
                state[one] = number
            else:
                state.pop(one, None)
    return state


def vector(name: str, version: int) -> np.ndarray:
    """The vector that a version wrote for a row."""
    values = np.random.default_rng([int(name.split("-")[1]), version]).standard_normal(DIM)
    return (values / np.linalg.norm(values)).astype(np.float32)


def rows(ids: list[str], version: int) -> Rows:
    """What a version writes."""
    vectors = np.stack([vector(one, version) for one in ids])
    return Rows(tuple(ids), pa.table({"written": [version] * len(ids)}, schema=SCHEMA), {"image": vectors})


def write_on(folder: str, channel: object) -> None:
    """Write version after version and report each when it is done."""
    from verticlip.core.index.opening import open_index

    index = open_index(folder, wait_s=30)
    while True:
        what, ids = step(index.version + 1)
        if what == "upsert":
            index.upsert(rows(ids, index.version + 1))
        elif what == "delete":
            index.delete(ids)
        else:
            index.optimize()
        channel.send(index.version)  # pyright: ignore


if __name__ == "run":
    write_on(globals()["FOLDER"], globals()["CHANNEL"])
