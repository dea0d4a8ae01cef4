"""Batches that hold fixed numbers of live presentations and attacks of every data set.

Without this a model learns which data set a picture comes from: sets differ in cameras and in their share of
attacks by far more than attacks differ from live faces.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ....core.data import LoaderConfig, Record, ResumableLoader
from ....core.errors import ConfigError, DataError
from ....core.types import Batch


@dataclass(frozen=True)
class Place:
    """Where a presentation stands in a batch.

    Attributes:
        domain: the data set. live: whether it is bona fide. kind: what it takes turns with inside its part:
            the name of a species or category, the same for all where attacks come as they are.
    """

    domain: str
    live: bool
    kind: str = ""


class BalancedBatches:
    """The rows of an epoch, in batches with a fixed number from each (data set, live or attack).

    A plan of :class:`verticlip.core.data.ResumableLoader`. Each part is dealt from a shuffled queue of its
    own, which starts again, newly shuffled, once it cannot fill its place in a batch; queues run on across
    epochs and know nothing of each other. Where a part has several kinds (species, categories), each has its
    own queue and they take turns row by row. Everything is a function of (seed, step) and the records.

    Args:
        places: {id of a record: its place}.
        config: of the loader; ``batch_size`` is that of all parts together.
        steps: batches per epoch.
        live_share: of the rows of each data set in a batch.

    Attributes:
        parts: {"data set, live": rows per batch, "data set, attack": ...}.
        short: parts or kinds with fewer rows than they have places in one batch; their rows repeat in it.

    Raises:
        DataError: a data set has only live presentations, or only attacks.
        ConfigError: the batch cannot be divided among the data sets.

    Reference: arXiv 2309.16649 and its code: a shuffled loader per domain and class, restarted when used up.
    """

    def __init__(
        self, places: Mapping[str, Place], config: LoaderConfig, *, steps: int, live_share: float = 0.5
    ) -> None:
        self._size, self._steps = config.batch_size * config.world_size, steps
        self._seed = config.seed
        members: defaultdict[tuple[str, bool], dict[str, list[str]]] = defaultdict(dict)
        for name in sorted(places):
            place = places[name]
            members[place.domain, place.live].setdefault(place.kind, []).append(name)
        domains = sorted({domain for domain, _ in members})
        for domain in domains:
            for live, word in ((True, "live presentation"), (False, "attack")):
                if (domain, live) not in members:
                    raise DataError(
                        f"Data set {domain!r} has no {word} to train with, so a model could tell it from the "
                        "others instead of live from attack. Leave it out, or set options.domains: source "
                        "and put it into one source with a set that has some."
                    )
        counts = self._counts(domains, live_share)
        self._queues = {part: self._part(part, members[part], count) for part, count in counts.items()}
        self.parts = {_words(part): count for part, count in counts.items()}
        self.short = tuple(
            f"{_words(part)}{f', {queue.kind}' if queue.kind else ''}"
            for part, (count, queues) in self._queues.items()
            for queue in queues
            # Several kinds take turns: one of three has at most 2 of 5 places.
            if len(queue.rows) < -(-count // len(queues))
        )

    def _counts(self, domains: Sequence[str], live_share: float) -> dict[tuple[str, bool], int]:
        """Return the rows of a batch that each part has."""
        each, rest = divmod(self._size, len(domains))
        live = round(each * live_share)
        if rest or not 0 < live < each:
            near = [len(domains) * count for count in range(max(2, each - 1), max(2, each - 1) + 3)]
            raise ConfigError(
                f"batch_size {self._size} cannot be divided among {len(domains)} data sets "
                f"({', '.join(domains)}) with live and attack in each. Use {', '.join(map(str, near))} or "
                "another multiple."
            )
        return {(domain, kind): live if kind else each - live for domain in domains for kind in (True, False)}

    def _part(
        self, part: tuple[str, bool], kinds: Mapping[str, Sequence[str]], count: int
    ) -> tuple[int, list[_Queue]]:
        # One kind gives all rows of its part at once and leaves out, in each round, those that fill no batch.
        take = count if len(kinds) == 1 else 1
        queues = [
            _Queue(kind, tuple(kinds[kind]), take, (self._seed, *_numbers(f"{_words(part)}/{kind}")))
            for kind in sorted(kinds)
        ]
        return count, queues

    def fingerprint(self, records: Sequence[Record]) -> str:
        """Return the SHA-256 (hex) of what decides about the batches."""
        content = [
            [_words(part), count, [[queue.kind, queue.rows] for queue in queues]]
            for part, (count, queues) in self._queues.items()
        ]
        return hashlib.sha256(json.dumps(["balanced", self._steps, content]).encode()).hexdigest()

    def __call__(self, epoch: int, records: Sequence[Record]) -> list[Record]:
        """Return the rows of an epoch in batches; the order of ``records`` does not count."""
        by_id = {record.id: record for record in records}
        return [
            by_id[name]
            for step in range(epoch * self._steps, (epoch + 1) * self._steps)
            for name in self.batch(step)
        ]

    def batch(self, step: int) -> list[str]:
        """Return the ids of one batch, steps counted over all epochs."""
        chosen: list[str] = []
        for count, queues in self._queues.values():
            for place in range(step * count, (step + 1) * count):
                turn, queue = divmod(place, len(queues))
                chosen.append(queues[queue].row(turn))
        # The last number tells these draws from those of queues.
        order = np.random.default_rng([self._seed, step, 3]).permutation(len(chosen))
        return [chosen[index] for index in order]


class _Queue:
    """Rows of one kind in shuffled rounds: row ``n`` of it, without a state.

    Attributes:
        rows: ids. take: rows that a batch takes at once; a round leaves out what does not fill another.
    """

    def __init__(self, kind: str, rows: tuple[str, ...], take: int, seed: tuple[int, ...]) -> None:
        self.kind, self.rows, self.take, self._seed = kind, rows, take, seed
        count = len(rows)
        # Rows that cannot fill a single place are repeated until they do.
        self._length = count - count % take if count >= take else take
        self._round, self._order = -1, np.arange(0)

    def row(self, number: int) -> str:
        """Return the row with this number, counted from the beginning of the run."""
        turn, place = divmod(number, self._length)
        if turn != self._round:
            generator = np.random.default_rng([*self._seed, turn])
            copies = -(-self._length // len(self.rows))
            drawn = [generator.permutation(len(self.rows)) for _ in range(copies)]
            self._round, self._order = turn, np.concatenate(drawn)
        return self.rows[int(self._order[place])]


class BalancedLoader(ResumableLoader[Batch]):
    """A resumable loader whose epochs have a number of batches of their own, all made by its plan.

    Args:
        records, collate, config: as of :class:`verticlip.core.data.ResumableLoader`.
        plan: of the batches. steps: batches per epoch.
    """

    def __init__(
        self,
        records: Sequence[Record],
        collate: Callable[[list[Record], torch.Generator], Batch],
        config: LoaderConfig,
        *,
        plan: BalancedBatches,
        steps: int,
    ) -> None:
        self._steps = steps
        super().__init__(records, collate, config, plan=plan)

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._steps


def _words(part: tuple[str, bool]) -> str:
    return f"{part[0]}, {'live' if part[1] else 'attack'}"


def _numbers(name: str) -> tuple[int, ...]:
    """Return a seed made of a name: one more data set in the run leaves the other queues as they are."""
    digest = hashlib.sha256(name.encode()).digest()
    return tuple(int.from_bytes(digest[place : place + 4], "big") for place in (0, 4))
