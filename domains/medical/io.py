"""Medical image files in, tensors out: the public names of the loaders.

Example::

    from verticlip.domains.medical.io import load_image, load_series, inspect

    image = load_image("ct.dcm", window="lung")  # MedicalImage: pixels float32 [1, H, W] in [0, 1]
    volume = load_series("study/series/")        # MedicalVolume: pixels float32 [1, D, H, W] in HU
    print(inspect("ct.dcm"))                     # summary without identity
"""

from __future__ import annotations

from ...core.lazy import lazy_names

_HOMES = {
    "DeidentifyOptions": "loaders.deidentify",
    "ImageOptions": "loaders.records",
    "MedicalImage": "loaders.records",
    "MedicalImageError": "loaders.errors",
    "MedicalVolume": "loaders.records",
    "deidentify": "loaders.export",
    "inspect": "loaders.inspect",
    "load_image": "loaders.image",
    "load_series": "loaders.series",
    "load_volume": "loaders.volume",
    "resample": "loaders.resample",
    "windows": "loaders.windows",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

# The loaders are siblings of this module, not below it.
__getattr__ = lazy_names(__name__.rpartition(".")[0], _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
