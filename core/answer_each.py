"""Answers for many inputs, where a bad one is told apart and does not stop the others."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from .answers import Failure
from .errors import ConfigError, InputError, VerticlipError
from .types import Sample

_log = logging.getLogger(__name__)
_AHEAD = 4
"""Batches that are read ahead of the one that is run."""

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Answer = TypeVar("Answer")


def check_batch_size(batch_size: int) -> None:
    """Raise ``ConfigError`` unless a batch holds at least one input."""
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1, got {batch_size}.")


def name_of(item: Any, position: int) -> str:
    """Return what a failure calls an input: its path, the id of a sample, or its place in the list."""
    if isinstance(item, (str, Path)):
        return str(item)
    return (item.id if isinstance(item, Sample) else None) or f"item {position}"


def answer_each(
    items: Sequence[Item],
    prepare: Callable[[Item, int], Prepared],
    run: Callable[[list[Prepared]], Sequence[Answer | InputError]],
    *,
    batch_size: int = 8,
    name: Callable[[Item, int], str] = name_of,
    alone: Callable[[Item], bool] = lambda _: False,
    workers: int | None = None,
) -> Iterator[tuple[Prepared | None, Answer | Failure]]:
    """Return an iterator over what became of each input, in order; a bad one does not stop the others.

    Inputs are prepared by threads, a few batches ahead; ``run`` is called by the thread that asks for the
    answers. A batch that cannot be answered as a whole is asked again one by one. Only what an input can
    be the cause of becomes a failure, see :func:`blames_input`; all else would come with every input and
    is raised.

    Args:
        items: N inputs.
        prepare: from an input and its position to what ``run`` takes; called once per input.
        run: from prepared inputs to as many answers; an ``InputError`` among them is a failure.
        batch_size: inputs per call of ``run``, at most.
        name: what a failure is called.
        alone: whether an input is too large, once prepared, to be held beside others: it is run by itself
            and only one such input is read ahead.
        workers: threads that prepare; None takes the number of CPUs.

    Returns:
        N pairs (prepared input, answer), or (None, failure).

    Raises:
        ConfigError: ``batch_size`` is not positive.

    Example:
        >>> def parse(text, position):
        ...     if not text.isdigit():
        ...         raise InputError(f"{text!r} is no number")
        ...     return int(text)
        >>> double = lambda numbers: [2 * number for number in numbers]
        >>> [answer for _, answer in answer_each(["1", "x", "3"], parse, double)]
        [2, Failure(id='x', error="'x' is no number"), 6]
    """
    check_batch_size(batch_size)
    return _answers(items, prepare, _Batch(run, batch_size), name, alone, workers)


def _answers(
    items: Sequence[Item],
    prepare: Callable[[Item, int], Prepared],
    batch: _Batch[Prepared, Answer],
    name: Callable[[Item, int], str],
    alone: Callable[[Item], bool],
    workers: int | None,
) -> Iterator[tuple[Prepared | None, Answer | Failure]]:
    if not len(items):
        return
    pool = ThreadPoolExecutor(
        min(workers or os.cpu_count() or 1, len(items)), thread_name_prefix="verticlip-read"
    )
    try:
        pending = read_ahead(
            pool,
            lambda place: prepare(items[place], place),
            range(len(items)),
            _AHEAD * batch.size,
            lambda place: alone(items[place]),
        )
        for place, is_large, future in pending:
            called = name(items[place], place)
            if is_large:
                yield from batch.run()
            try:
                batch.add(called, future.result())
            except Exception as error:  # the edge of the batch: one bad file must not stop the others
                if not blames_input(error):
                    raise
                batch.fail(called, error)
            if is_large or batch.is_full:
                yield from batch.run()
        yield from batch.run()
    finally:
        # Whoever stops asking does not wait for files that nobody wants any more.
        pool.shutdown(wait=True, cancel_futures=True)


class _Batch(Generic[Prepared, Answer]):
    """Inputs in order, some of them failed already, until they are run together."""

    def __init__(self, run: Callable[[list[Prepared]], Sequence[Answer | InputError]], size: int) -> None:
        self._run, self.size = run, size
        self._items: list[_Ready[Prepared] | Failure] = []

    @property
    def is_full(self) -> bool:
        return sum(isinstance(one, _Ready) for one in self._items) == self.size

    def add(self, name: str, value: Prepared) -> None:
        self._items.append(_Ready(name, value))

    def fail(self, name: str, error: Exception) -> None:
        self._items.append(Failure(name, reason_of(error)))

    def run(self) -> Iterator[tuple[Prepared | None, Answer | Failure]]:
        items, self._items = self._items, []
        found = iter(self._answered([one for one in items if isinstance(one, _Ready)]))
        for one in items:
            if isinstance(one, Failure):
                yield None, one
                continue
            answer = next(found)
            yield (None if isinstance(answer, Failure) else one.value), answer

    def _answered(self, ready: list[_Ready[Prepared]]) -> list[Answer | Failure]:
        if not ready:
            return []
        try:
            answers = self._run([one.value for one in ready])
        except (InputError, OSError) as error:
            if len(ready) == 1:
                return [Failure(ready[0].name, reason_of(error))]
            return [answer for one in ready for answer in self._answered([one])]
        return [
            Failure(one.name, reason_of(answer)) if isinstance(answer, InputError) else answer
            for one, answer in zip(ready, answers, strict=True)
        ]


@dataclass(frozen=True)
class _Ready(Generic[Prepared]):
    name: str
    value: Prepared


def read_ahead(
    pool: Executor,
    read: Callable[[Item], Prepared],
    items: Iterable[Item],
    ahead: int,
    alone: Callable[[Item], bool],
) -> Iterator[tuple[Item, bool, Future[Prepared]]]:
    """Yield (item, whether it is large, future) in order, while later items are being read.

    Up to ``ahead`` of them, or one for which ``alone`` is True.
    """
    waiting: deque[tuple[Item, bool, Future[Prepared]]] = deque()
    held = 0
    for item in items:
        is_large = alone(item)
        waiting.append((item, is_large, pool.submit(read, item)))
        held += ahead if is_large else 1
        while held > ahead:
            first = waiting.popleft()
            held -= ahead if first[1] else 1
            yield first
    yield from waiting


def blames_input(error: Exception) -> bool:
    """Return whether an error met while reading one input speaks of that input, not of the set-up.

    Libraries raise all kinds of errors for a damaged file. Of our own only ``InputError`` is about an
    input; a wrong option, a missing package and memory that ran out are met by the others as well.
    """
    if isinstance(error, InputError):
        return True
    return not isinstance(error, (VerticlipError, ImportError, MemoryError))


def reason_of(error: Exception) -> str:
    """Return our own errors as one line; of others only the type, because libraries quote file content."""
    if isinstance(error, VerticlipError):
        return " ".join(str(error).split())
    _log.debug("unexpected %s while reading a file", type(error).__name__)
    return f"unexpected {type(error).__name__} while reading"
