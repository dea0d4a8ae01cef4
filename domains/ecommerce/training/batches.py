"""Batches of which a part is of one category: products that look alike are the negatives that teach most."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ....core.data import LoaderConfig, Record
from ....core.errors import ConfigError


class CategoryBatches:
    """The rows of an epoch, ordered so that a share of each batch is of one leaf category.

    A plan of :class:`verticlip.core.data.ResumableLoader`, a function of (seed, epoch) and the records alone.
    Every row comes up as often as without a plan. A category fills as many batches as it has rows for; where
    there are fewer such blocks than batches, the remaining batches are mixed. Rows without a category take no
    part in blocks. A batch is that of all processes together.

    Args:
        config: of the loader; needs ``drop_last``.
        share: of each batch, in [0, 1).

    Raises:
        ConfigError: the loader keeps a last batch that is not full.
    """

    def __init__(self, config: LoaderConfig, *, share: float = 0.5) -> None:
        if not config.drop_last:
            raise ConfigError("Batches with a part of one category are all of one size; set drop_last.")
        self._seed = config.seed
        self._size = config.batch_size * config.world_size
        self._block = round(share * self._size)

    def fingerprint(self, records: Sequence[Record]) -> str:
        """Return the SHA-256 (hex) of what decides about the batches."""
        content = ["category batches", self._block, [record.label for record in records]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def __call__(self, epoch: int, records: Sequence[Record]) -> list[Record]:
        """Return the rows of an epoch in batches; those that fill no batch come last.

        Args:
            epoch: its number.
            records: in the order that the loader drew.
        """
        batches = len(records) // self._size
        if self._block < 2:
            return list(records)
        # The last number tells these draws from those of the loader's order.
        generator = np.random.default_rng([self._seed, epoch, 2])
        blocks = self._blocks(records)
        chosen = [blocks[place] for place in generator.permutation(len(blocks))[:batches]]
        taken = {row for block in chosen for row in block}
        rest = iter([row for row in range(len(records)) if row not in taken])
        # Mixed batches may stand anywhere in the epoch.
        places = generator.permutation(batches)[: len(chosen)].tolist()
        block_of = dict(zip(places, chosen, strict=True))
        order: list[int] = []
        for place in range(batches):
            rows = [*block_of.get(place, ())]
            rows += [next(rest) for _ in range(self._size - len(rows))]
            order += [rows[index] for index in generator.permutation(len(rows))]
        return [records[row] for row in (*order, *rest)]

    def _blocks(self, records: Sequence[Record]) -> list[list[int]]:
        """Return all full blocks of rows of one category, in the order of the rows."""
        members: defaultdict[str, list[int]] = defaultdict(list)
        for row, record in enumerate(records):
            if record.label is not None:
                members[record.label].append(row)
        return [
            rows[start : start + self._block]
            for rows in members.values()
            for start in range(0, len(rows) - self._block + 1, self._block)
        ]
