"""verticlip: CLIP for verticals.

``import verticlip`` loads nothing heavy; each name below is imported on first use.

    >>> import verticlip
    >>> verticlip.zero_shot("medical/tiny", "scan.dcm", labels=["glioma", "no tumor"])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_LAZY = {
    "Model": ".api",
    "Sample": ".core.types",
    "from_pretrained": ".api",
    "list_models": ".api",
    "list_recipes": ".api",
    "push": ".api",
    "train": ".api",
    "verify_model": ".api",
    "zero_shot": ".api",
}

__all__ = ["__version__", *_LAZY]

if TYPE_CHECKING:
    from .api import Model, from_pretrained, list_models, list_recipes, push, train, verify_model, zero_shot
    from .core.types import Sample


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
