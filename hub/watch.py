"""A watch over one download: what the client would wait for, take in or try again without an end.

The Hub's client waits as long as a server says, writes as much as it sends, starts again as often as it
breaks off, and names files after an ETag as it comes. Each of these gets a bound here, through what the
client offers for it: a hook on answers, and the class of its progress bars.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..core.errors import WeightsError
from .advice import UnreachableError, Wanted, too_busy

if TYPE_CHECKING:
    from huggingface_hub.errors import Response

LONGEST_WAIT = 60.0
"""Seconds that a server may ask to wait, all in all; beyond that the user hears of it instead."""
_STARTS = 6
"""Answers in a row that bring less than ``_PROGRESS``, or start from the beginning, before giving up."""
_PROGRESS = 1024 * 1024
_ETAG = re.compile(r"[\w.:+=-]{1,200}", re.ASCII)
_CURRENT: ContextVar[Watch | None] = ContextVar("watch", default=None)
_HOOKS = Lock()


class SizeError(UnreachableError):
    """More content is announced, or comes, than was announced before."""


@dataclass
class Watch:
    """What was seen of one download.

    Attributes:
        wanted: the file.
        ceiling: most bytes it may have; None where nobody knows.
    """

    wanted: Wanted
    ceiling: int | None = None
    _waited: float = 0.0
    _received: int = 0
    _starts: int = 0
    _since: int = field(default=0, repr=False)

    def look_at(self, response: Response) -> None:
        """Raise for an answer that the client should not act upon."""
        for header in ("X-Linked-Etag", "ETag"):
            etag = response.headers.get(header)
            if etag is not None and not _ETAG.fullmatch(etag.removeprefix("W/").strip('"')):
                # The client makes a file name of it.
                raise WeightsError(
                    f"{self.wanted.said}: the server names it by an ETag that is none. Refused."
                )
        if response.status_code == 429:
            seconds = seconds_to_wait(response)
            self._waited += seconds or 0.0
            if self._waited > LONGEST_WAIT:
                raise too_busy(self.wanted, seconds)
        if response.request.method == "GET" and response.status_code in (200, 206):
            self._start(response)

    def count(self, got: int, total: int) -> None:
        """Note ``got`` more bytes of ``total`` so far, and raise when these are too many."""
        self._received += max(got, 0)
        if self.ceiling is not None and total > self.ceiling:
            raise self.too_large(total)

    def too_large(self, size: int) -> SizeError:
        """Return the error for a file over the ceiling."""
        return SizeError(
            f"{self.wanted.said}: the server sends {size:,} bytes or more where at most {self.ceiling:,} are "
            "expected. Not fetched.",
            "more bytes than announced",
        )

    def _start(self, response: Response) -> None:
        length = response.headers.get("Content-Length", "")
        if self.ceiling is not None and length.isdigit() and int(length) > self.ceiling:
            raise self.too_large(int(length))
        again = response.status_code == 200 or self._received - self._since < _PROGRESS
        self._starts = self._starts + 1 if again else 0
        self._since = self._received
        if self._starts > _STARTS:
            raise WeightsError(
                f"{self.wanted.said}: the connection breaks off each time before it is whole. Try again "
                f"later, or {self.wanted.otherwise}."
            )


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let ``watch`` see every answer that the client gets in this context, and in no other."""
    from huggingface_hub import get_session

    def look(response: Response) -> None:
        # The session is shared by all threads, and a watch may lie within another one.
        if _CURRENT.get() is watch:
            watch.look_at(response)

    session = get_session()
    _set_hooks(session, lambda hooks: [*hooks, look])
    token = _CURRENT.set(watch)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        _set_hooks(session, lambda hooks: [hook for hook in hooks if hook is not look])


def _set_hooks(session: Any, change: Callable[[list[Any]], list[Any]]) -> None:
    """Give a session other hooks on its answers; lists in use by other threads stay as they are."""
    with _HOOKS:
        hooks = session.event_hooks
        session.event_hooks = {**hooks, "response": change(list(hooks.get("response", ())))}


def bar_of(watch: Watch) -> type:
    """Return the client's progress bar with a count of the bytes; it obeys the client's own switches."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *given: Any, name: str | None = None, **more: Any) -> None:
            # Xet verifies size and content by itself, and what its bars count is no size of the file.
            self.counts, self.got = "xet" not in (name or ""), 0
            super().__init__(*given, name=name, **more)

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts:
                self.got += int(n or 0)
                watch.count(int(n or 0), self.got)
            return super().update(n)

    return Bar


def seconds_to_wait(response: Response) -> float | None:
    """Return for how long a server asks to be left alone, or None."""
    from huggingface_hub import utils

    limits = utils.parse_ratelimit_headers(response.headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isdigit() else None
