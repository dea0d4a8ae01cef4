"""Ceilings that stop hostile or mistaken inputs before memory grows.

A header, not the decoded data, is compared with a ceiling: a 300 kB file that would inflate to
300 MB is refused while it is still 300 kB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from .errors import ConfigError, LimitError

MiB = 1024**2
GiB = 1024**3


@dataclass(frozen=True)
class Limits:
    """Ceilings for one input each. Pass a changed copy to raise one: ``DEFAULT.with_(...)``."""

    file_bytes: int = 4 * GiB
    """Largest file opened as one image, volume or recording."""
    pixels: int = 178_956_970
    """Largest width x height of one 2-D image (Pillow's own hard limit)."""
    decoded_bytes: int = 2 * GiB
    """Largest decoded array of one file: rows x columns x samples x frames x bytes."""
    inflate_ratio: int = 200
    """Largest growth of a compressed stream (deflate, gzip) above 16 MiB of output."""
    frames: int = 10_000
    """Most frames or slices in one file or series."""
    seconds: float = 6 * 3600.0
    """Longest recording, in seconds."""
    text_chars: int = 20_000
    """Longest single text."""
    labels: int = 100_000
    """Most labels in one zero-shot call."""
    config_bytes: int = 8 * MiB
    """Largest JSON or YAML config, prompt set or recipe."""
    tokenizer_bytes: int = 64 * MiB
    """Largest tokenizer file; those of many languages have hundreds of thousands of pieces."""
    probe_bytes: int = 4_000_000
    """Largest tensor file of a stored probe; see ``hub/stored_probe.py``."""
    manifest_rows: int = 100_000_000
    """Most rows in one manifest."""

    def with_(self, **changes: Any) -> Limits:
        """Return a copy with some ceilings changed; unknown names raise ``ConfigError``."""
        unknown = sorted(set(changes) - set(self.__dataclass_fields__))
        if unknown:
            raise ConfigError(f"Unknown limit {unknown[0]!r}; known: {', '.join(self.__dataclass_fields__)}.")
        return replace(self, **changes)

    def check(self, name: str, value: float, *, what: str) -> None:
        """Raise ``LimitError`` when ``value`` is over the ceiling ``name``.

        Args:
            name: a field of this class.
            value: the size the input declares.
            what: the input and quantity, as the user should read it: ``"scan.png: pixels"``.
        """
        ceiling = getattr(self, name)
        if value > ceiling:
            value = math.ceil(value)
            raise LimitError(
                f"{what} {value:,} is over the limit of {ceiling:,}. "
                f"If this input is trusted, pass limits=Limits({name}={value})."
            )


DEFAULT = Limits()
