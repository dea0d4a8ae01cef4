"""What the commands of the program share and those of a domain do not need; see ``core/commandline.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .facade import Model


def load_model(name: str, revision: str | None = None, device: str = "auto", dtype: str = "auto") -> Model:
    """Return the model that the options name."""
    from .api import from_pretrained

    return from_pretrained(name, revision=revision, device=device, dtype=dtype)  # pyright: ignore[reportArgumentType]
