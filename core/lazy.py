"""Package namespaces whose names are imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the module-level ``__getattr__`` of ``package``.

    Args:
        package: full name of the package.
        homes: {public name: module below ``package`` that defines it}; a leading dot starts beside
            ``package`` instead.

    Example:
        >>> lazy_names("verticlip.core", {"ConfigError": "errors"})("ConfigError").__name__
        'ConfigError'
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it has: {', '.join(sorted(homes))}"
            )
        return getattr(import_module(f".{homes[name]}", package), name)

    return __getattr__
