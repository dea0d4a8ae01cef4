"""Errors of verticlip and the one way to ask for an optional dependency.

Every message says what was wrong, with the value, and what to do next. None carries a patient
tag or the content of a medical header.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class VerticlipError(Exception):
    """Root of every error raised on purpose by verticlip."""


class ConfigError(VerticlipError, ValueError):
    """A config, recipe, registry entry or command-line option is not acceptable."""


class InputError(VerticlipError, ValueError):
    """An input file or value cannot be used as given."""


class WeightsError(VerticlipError):
    """Weights are missing, damaged, of another shape, or not the ones that were pinned."""


class DataError(VerticlipError):
    """A data set, manifest or split is not usable (leakage, empty class, too many bad rows)."""


class LimitError(InputError):
    """An input is over a ceiling of :mod:`verticlip.core.limits`."""


class DependencyError(VerticlipError, ImportError):
    """An optional dependency is not installed; the message names the pip command."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import and return ``module``, or say which extra of verticlip brings it.

    Raises:
        DependencyError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split(".")[0] != module.split(".")[0]:
            # A dependency of the dependency is missing: name that one, the fix is the same.
            module = missing
        raise DependencyError(
            f'{module!r} is needed here and not installed. Run: pip install "verticlip[{extra}]"'
        ) from error


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word of some likeness (0 to 1), or ""."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return f" Did you mean {match[0]!r}?" if match else ""
