"""What can go wrong on the way, as values that a test puts in a queue."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with one request.

    A fault waits in its queue until a request comes that it can concern. Without ``method``,
    :class:`Status` concerns any request and every other fault a GET that is answered with content (a
    redirect has none). With another method, a fault of the connection concerns the request itself: at
    ``at=0`` before it is carried out, above that when it was carried out and not yet answered.

    Attributes:
        times: requests it is applied to before the next fault of the queue has its turn; None for all.
        method: of the requests it concerns.
    """

    times: int | None = field(default=1, kw_only=True)
    method: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Status(Fault):
    """An answer with this status instead of the right one; ``headers`` are added to it."""

    code: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Truncate(Fault):
    """The connection is closed in good order after a share of the content.

    Attributes:
        at: share that is sent.
        lie: announce the whole length; otherwise the length that is really sent.
    """

    at: float = 0.6
    lie: bool = True


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset (RST) after a share of the content."""

    at: float = 0.5


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing comes for some seconds after a share of the content; then the rest does."""

    seconds: float = 60.0
    at: float = 0.5


@dataclass(frozen=True)
class LyingLength(Fault):
    """A ``Content-Length`` (and, with ``method="HEAD"``, an ``X-Linked-Size``) that is wrong by ``by`` bytes."""

    by: int = 10


@dataclass(frozen=True)
class IgnoreRange(Fault):
    """A request for a range is answered with 200 and the whole file."""


@dataclass(frozen=True)
class Corrupt(Fault):
    """One byte is changed; the length and the hash that is announced are right."""

    at: float = 0.5


@dataclass(frozen=True)
class Slow(Fault):
    """The content trickles."""

    bytes_per_second: float = 1000.0


KINDS = {
    kind.__name__: kind for kind in (Status, Truncate, Reset, Stall, LyingLength, IgnoreRange, Corrupt, Slow)
}
"""Every kind of fault by name, for the command line."""

Step = Fault | tuple[Fault, ...]
"""One place in a queue: a fault, or several at once."""


class _Rule:
    def __init__(self, pattern: str, steps: Sequence[Step]) -> None:
        self.pattern = re.compile(pattern)
        self.steps: deque[list] = deque()
        for step in steps:
            together = step if isinstance(step, tuple) else (step,)
            if not together or not all(isinstance(one, Fault) for one in together):
                raise TypeError(f"Expected faults, got {step!r}.")
            if len(together) > 1 and any(isinstance(one, Status) for one in together):
                raise ValueError("A Status has no content that could suffer another fault.")
            self.steps.append([together, together[0].times])


class FaultQueues:
    """The queues of one server. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def add(self, pattern: str, *steps: Step) -> None:
        """Queue faults for the requests whose path and query match ``pattern`` (searched, unquoted)."""
        with self._lock:
            self._rules.append(_Rule(pattern, steps))

    def clear(self) -> None:
        """Drop every queue."""
        with self._lock:
            self._rules.clear()

    @property
    def waiting(self) -> int:
        """Faults that were queued and have not happened (yet), those for all requests included."""
        with self._lock:
            return sum(times or 1 for rule in self._rules for _, times in rule.steps)

    def take(self, path: str, method: str, *, content: bool, ranged: bool = False) -> tuple[Fault, ...]:
        """Return the faults for a request and count them as used.

        Args:
            path: path and query.
            method: of the request.
            content: the answer has content that is about to be sent; otherwise nothing was done yet.
            ranged: the request asks for a range.
        """
        with self._lock:
            for rule in self._rules:
                if not rule.steps or not rule.pattern.search(path):
                    continue
                step = rule.steps[0]
                faults, times = step
                if not all(_concerns(fault, method, content, ranged) for fault in faults):
                    continue
                if times is not None:
                    step[1] = times - 1
                    if step[1] <= 0:
                        rule.steps.popleft()
                return faults
        return ()


def _concerns(fault: Fault, method: str, content: bool, ranged: bool) -> bool:
    of_the_request = isinstance(fault, Status) or (fault.method or "GET") != "GET"
    if of_the_request:
        return not content and fault.method in (None, method)
    if isinstance(fault, IgnoreRange) and not ranged:
        return False
    return content and method == "GET"


def fault_from_json(value: Mapping) -> Fault:
    """Return the fault that ``{"fault": "Truncate", "at": 0.6}`` describes.

    Raises:
        ValueError: no such fault, or it has no such attribute.
    """
    attributes = dict(value)
    kind = KINDS.get(attributes.pop("fault", ""))
    if kind is None:
        raise ValueError(f"{dict(value)}: give 'fault', one of {', '.join(KINDS)}.")
    try:
        return kind(**attributes)
    except TypeError as error:
        raise ValueError(f"{dict(value)}: {error}.") from error
