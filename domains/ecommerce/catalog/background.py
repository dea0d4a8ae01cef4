"""Items made by a thread while the thread that needs them does something else."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_LOOK_S = 0.1
"""How often a thread that waits for room looks whether anybody still wants its items."""


@contextlib.contextmanager
def in_background(items: Iterable[Item], *, chunk: int, ahead: int) -> Iterator[Iterator[Item]]:
    """Give an iterator over the same items in the same order, which a thread makes ahead.

    What making them raises is raised where the item would have come. When the block is left the thread has
    ended, also where not all items were asked for.

    Args:
        items: iterated over by the thread alone.
        chunk: items that are handed over together. ahead: chunks that wait, at most.

    Example:
        >>> with in_background(range(5), chunk=2, ahead=1) as numbers:
        ...     print(sum(numbers))
        10
    """
    waiting: queue.Queue[list[Item] | BaseException | None] = queue.Queue(ahead)
    unwanted = threading.Event()

    def put(value: list[Item] | BaseException | None) -> bool:
        while not unwanted.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(value, timeout=_LOOK_S)
                return True
        return False

    def make() -> None:
        part: list[Item] = []
        try:
            for item in items:
                part.append(item)
                if len(part) == chunk:
                    if not put(part):
                        return
                    part = []
        except BaseException as error:  # raised again in the thread that asks
            put(part)
            put(error)
        else:
            put(part)
            put(None)

    thread = threading.Thread(target=make, name="verticlip-rows", daemon=True)
    thread.start()
    try:
        yield itertools.chain.from_iterable(_taken(waiting))
    finally:
        unwanted.set()
        thread.join()


def _taken(waiting: queue.Queue[list[Item] | BaseException | None]) -> Iterator[list[Item]]:
    while (part := waiting.get()) is not None:
        if isinstance(part, BaseException):
            raise part
        yield part
