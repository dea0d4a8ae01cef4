"""What LanceDB cannot do, in words: its own errors name lines of its source."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import ConfigError, VerticlipError

P = ParamSpec("P")
R = TypeVar("R")
_SOURCE = re.compile(r",? ?/\S+\.rs:\d+(:\d+)?")
_LONGEST = 300


class _HasFolder(Protocol):
    folder: Path


Owner = TypeVar("Owner", bound=_HasFolder)


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Raise ``ConfigError`` where LanceDB fails on the files in ``folder``."""
    try:
        yield
    except VerticlipError:
        raise
    except Exception as error:
        # A panic of its threads has a class that cannot be imported.
        known = isinstance(error, (RuntimeError, ValueError, OSError)) or type(error).__name__ == "RustPanic"
        if not known:
            raise
        raise ConfigError(
            f"{folder}: LanceDB cannot read or write the table ({_said(error)}). If the disk is full, make "
            "room. If a file is damaged, restore the index from a copy, open an earlier version or build it "
            "anew."
        ) from error


def telling(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
    """Return a method that raises as :func:`told` does."""

    @functools.wraps(method)
    def call(self: Owner, *args: P.args, **options: P.kwargs) -> R:
        with told(self.folder):
            return method(self, *args, **options)

    return call


def _said(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0].removeprefix("lance error: ")
    return _SOURCE.sub("", first)[:_LONGEST].rstrip(" .,") or type(error).__name__
