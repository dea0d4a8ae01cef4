"""A batch iterator that resumes at the exact next batch, augmentation included."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..config import Config
from ..errors import ConfigError, DataError
from .manifest import Record

T = TypeVar("T")


class LoaderConfig(Config):
    """How a manifest becomes batches."""

    batch_size: int = Field(ge=1)
    """Rows per batch and process."""
    seed: int = Field(default=0, ge=0)
    shuffle: bool = True
    drop_last: bool = False
    balance: Literal["none", "class", "source"] = "none"
    """``class`` and ``source`` give each an equal share of an epoch, or the share in ``weights``."""
    weights: dict[str, float] | None = None
    """{class or source: weight}; every one that occurs must be named."""
    rank: int = Field(default=0, ge=0)
    world_size: int = Field(default=1, ge=1)
    """Processes that share the epoch; each gets its own slice of every global batch."""
    workers: int = Field(default=2, ge=0)
    """Threads that make batches; 0 makes them in the caller. No effect on the batches."""
    prefetch: int = Field(default=4, ge=1)
    """Batches in the making ahead of the caller. No effect on the batches."""

    @model_validator(mode="after")
    def _parts_agree(self) -> LoaderConfig:
        if self.rank >= self.world_size:
            raise ValueError(f"rank {self.rank} must be below world_size {self.world_size}")
        if self.world_size > 1 and not self.drop_last:
            raise ValueError("world_size above 1 needs drop_last, or processes would get unequal batches")
        if self.balance != "none" and not self.shuffle:
            raise ValueError(f"balance={self.balance!r} draws rows and needs shuffle")
        if self.weights is not None and (
            self.balance == "none" or min(self.weights.values(), default=0) <= 0
        ):
            raise ValueError("weights need balance='class' or 'source' and must be above 0")
        return self


class Plan(Protocol):
    """Changes the rows of an epoch before they are cut into batches; see :class:`.distinct.DistinctTexts`."""

    def fingerprint(self, records: Sequence[Record]) -> str:
        """Return what changes when the plan of these records does."""
        ...

    def __call__(self, epoch: int, records: Sequence[Record]) -> list[Record]:
        """Return the rows of an epoch from those that were drawn; enough for every batch, by epoch alone."""
        ...


class ResumableLoader(Generic[T]):
    """Batches over records; the same state gives the same batches in any process.

    The order is a pure function of (seed, epoch) and each batch gets a generator seeded by (seed,
    epoch, batch index), so neither threads nor interruptions change anything. Iterating starts the
    next epoch; after :meth:`load_state_dict` it continues where the state was taken. A batch counts
    as used once it is handed out.

    Args:
        records: rows of a manifest; order and ids are part of the state's fingerprint.
        collate: (records of a batch, generator) to a batch; must draw randomness only from the
            generator, which differs between processes.
        config: batch size, order and threads.
        plan: puts the rows of each epoch in another order, or changes them; None leaves them as drawn.

    Raises:
        DataError: no records, fewer than one batch, a row lacks the class or source to balance by, or the
            plan cannot be kept.
        ConfigError: ``weights`` do not name what occurs.

    Example:
        >>> loader = ResumableLoader(records, collate, LoaderConfig(batch_size=32))  # doctest: +SKIP
        >>> state = loader.state_dict()  # doctest: +SKIP
    """

    def __init__(
        self,
        records: Sequence[Record],
        collate: Callable[[list[Record], torch.Generator], T],
        config: LoaderConfig,
        *,
        plan: Plan | None = None,
    ) -> None:
        self.records = tuple(records)
        self.collate = collate
        self.config = config
        self._plan = plan
        if not self.records:
            raise DataError("There are no records to load.")
        self._strata = self._make_strata()
        if len(self) == 0:
            raise DataError(
                f"{len(self.records)} records do not fill one batch of {config.batch_size} x "
                f"{config.world_size} processes with drop_last. Lower batch_size."
            )
        if plan is not None:
            # What cannot be planned shows here, not after the model was built.
            self._rows(0)
        self._epoch = 0
        self._position = 0
        self._resuming = False

    def __len__(self) -> int:
        """Batches per epoch and process."""
        step = self.config.batch_size * self.config.world_size
        whole, rest = divmod(len(self.records), step)
        return whole + bool(rest and not self.config.drop_last)

    @property
    def sampler(self) -> ResumableLoader[T]:
        """The loader itself: Lightning calls ``loader.sampler.set_epoch`` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of ``epoch``; nothing happens when the loader is already in it."""
        if epoch != self._epoch:
            self._epoch, self._position, self._resuming = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Return epoch, position (batches handed out) and fingerprint as plain values."""
        return {"epoch": self._epoch, "position": self._position, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch that was last handed out when ``state`` was taken.

        Raises:
            DataError: the state is of other records or of another order, or is not valid.
        """
        if set(state) != {"epoch", "position", "fingerprint"}:
            raise DataError(f"Not a loader state: keys {sorted(state)}.")
        if state["fingerprint"] != self.fingerprint:
            raise DataError(
                "The loader state belongs to other records, another batch size, seed or balance; resuming "
                "would repeat or skip rows. Use the manifest and recipe of the interrupted run."
            )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= len(self):
            raise DataError(f"Loader state epoch {epoch}, position {position} is outside 0 to {len(self)}.")
        self._epoch, self._position, self._resuming = epoch, position, True

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the records' ids and of every setting that changes the batches."""
        settings = self.config.model_dump(mode="json", exclude={"workers", "prefetch", "rank"})
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for record in self.records:
            digest.update(json.dumps([record.id, record.label, record.source]).encode())
        if self._plan is not None:
            digest.update(self._plan.fingerprint(self.records).encode())
        return digest.hexdigest()

    def __iter__(self) -> Iterator[T]:
        # State changes wait for the first batch: a caller may ask for an iterator and not use it.
        if self._position >= len(self) or (self._position and not self._resuming):
            self._epoch, self._position = self._epoch + 1, 0
        self._resuming = False
        epoch = self._epoch
        for position, batch in self._batches(epoch, self._position):
            self._epoch, self._position = epoch, position + 1
            yield batch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the record indices of an epoch, int64 [N], before they are cut into batches."""
        count = len(self.records)
        if not self.config.shuffle:
            return np.arange(count)
        generator = np.random.default_rng([self.config.seed, epoch])
        if self.config.balance == "none":
            return generator.permutation(count)
        drawn = [
            # Every member comes up before any comes up again.
            np.concatenate([generator.permutation(members) for _ in range(-(-quota // len(members)))])[:quota]
            for members, quota in self._strata
            if quota
        ]
        return generator.permutation(np.concatenate(drawn))

    def _rows(self, epoch: int) -> list[Record]:
        """Return the rows of an epoch as they are cut into batches."""
        rows = [self.records[index] for index in self.order(epoch)]
        return rows if self._plan is None else self._plan(epoch, rows)

    def _make_strata(self) -> list[tuple[NDArray[np.int64], int]]:
        """Member indices of each class or source and how many rows of an epoch it gets."""
        if self.config.balance == "none":
            return []
        members: defaultdict[str, list[int]] = defaultdict(list)
        for index, record in enumerate(self.records):
            name = record.label if self.config.balance == "class" else record.source
            if name is None:
                raise DataError(
                    f"Record {record.id!r} has no {self.config.balance}; it cannot be balanced by it."
                )
            members[name].append(index)
        weights = self.config.weights or dict.fromkeys(members, 1.0)
        if set(weights) != set(members):
            odd = sorted(set(weights) ^ set(members))[0]
            raise ConfigError(f"weights must name exactly {sorted(members)}; {odd!r} is missing or unknown.")
        names = sorted(members)
        shares = np.array([weights[name] for name in names]) / sum(weights.values()) * len(self.records)
        quotas = np.floor(shares).astype(int)
        # Largest remainders first, so that the quotas add up to the number of records.
        for place in np.argsort(-(shares - quotas), kind="stable")[: len(self.records) - quotas.sum()]:
            quotas[place] += 1
        return [(np.array(members[name]), int(quota)) for name, quota in zip(names, quotas, strict=True)]

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[int, T]]:
        rows = self._rows(epoch)
        positions = range(start, len(self))
        if self.config.workers == 0:
            yield from ((position, self._make(epoch, position, rows)) for position in positions)
            return
        pending: deque[tuple[int, Future[T]]] = deque()
        pool = ThreadPoolExecutor(self.config.workers, thread_name_prefix="verticlip-loader")
        try:
            for position in positions:
                pending.append((position, pool.submit(self._make, epoch, position, rows)))
                if len(pending) > self.config.prefetch:
                    ready, future = pending.popleft()
                    yield ready, future.result()
            while pending:
                ready, future = pending.popleft()
                yield ready, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, epoch: int, position: int, rows: Sequence[Record]) -> T:
        size, rank, world = self.config.batch_size, self.config.rank, self.config.world_size
        first = (position * world + rank) * size
        chosen = list(rows[first : first + size])
        digest = hashlib.sha256(f"{self.config.seed}:{epoch}:{position}:{rank}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        try:
            return self.collate(chosen, generator)
        except Exception as error:
            names = ", ".join(record.id for record in chosen[:3])
            raise DataError(
                f"Epoch {epoch}, batch {position} ({names}, ...): {type(error).__name__}: {error}"
            ) from error
