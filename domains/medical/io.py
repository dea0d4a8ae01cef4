"""Medical image files in, tensors out: the public names of the loaders.

Example::

    from verticlip.domains.medical.io import load_image, load_series, inspect

    image = load_image("ct.dcm", window="lung")  # MedicalImage: pixels float32 [1, H, W] in [0, 1]
    volume = load_series("study/series/")        # MedicalVolume: pixels float32 [1, D, H, W] in HU
    print(inspect("ct.dcm"))                     # summary without identity
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "DeidentifyOptions": "deidentify",
    "ImageOptions": "records",
    "MedicalImage": "records",
    "MedicalImageError": "errors",
    "MedicalVolume": "records",
    "deidentify": "export",
    "inspect": "inspect",
    "load_image": "image",
    "load_series": "series",
    "load_volume": "volume",
    "resample": "resample",
    "windows": "windows",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f".loaders.{_HOMES[name]}", __package__), name)


def __dir__() -> list[str]:
    return list(__all__)
