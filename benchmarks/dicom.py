"""Speed of ``load_image`` on DICOM against the bare pydicom pipeline and against MONAI.

One item = read, decode, rescale, float32, antialiased bilinear resize to 224 x 224; one turn = ten
items, as a loader reads many files in a row and a single one is too short to time. Files come with
pydicom; the 1024 x 1024 one is written to a temporary folder.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import VerticlipError, require
from ..domains.medical.io import load_image
from .runner import Workload

_SIZE = (224, 224)
_ITEMS = 10
_BARE_GATE = 0.9
_MONAI_GATES = {"CT_small.dcm": 4.0, "JPEG2000.dcm": 2.0, "native_1024.dcm": 5.0}


def workloads(quick: bool = False) -> list[Workload]:
    """Return two comparisons per file: bare pydicom (gate 0.9) and MONAI (gate by file).

    ``quick`` changes nothing: one item takes milliseconds.
    """
    pydicom_data = require("pydicom.data", extra="medical")
    folder = tempfile.TemporaryDirectory(prefix="verticlip-dicom-")
    found = [
        Path(pydicom_data.get_testdata_file(name, download=False))
        for name in ("CT_small.dcm", "JPEG2000.dcm")
    ]
    found.append(_native_1024(Path(folder.name)))
    result = []
    for path in found:
        # The partial keeps the temporary folder alive as long as the workload is.
        ours = functools.partial(_ours, path, folder)
        result.append(
            Workload(
                name=f"dicom/{path.name}/bare",
                ours=_many(ours),
                peer=_many(functools.partial(_bare, path)),
                peer_name="pydicom + numpy + torch",
                gate=_BARE_GATE,
                check=functools.partial(_check, ours, functools.partial(_bare, path)),
            )
        )
        result.append(
            Workload(
                name=f"dicom/{path.name}/monai",
                ours=_many(ours),
                peer=_many(_monai(path)),
                peer_name="MONAI LoadImage(PydicomReader) + Resize",
                gate=_MONAI_GATES[path.name],
            )
        )
    return result


def _many(load: Callable[[], Any]) -> Callable[[], None]:
    """Return a call that loads ``_ITEMS`` times."""

    def turn() -> None:
        for _ in range(_ITEMS):
            load()

    return turn


def _ours(path: Path, folder: Any) -> torch.Tensor:
    return load_image(path, window=None, size=_SIZE).pixels


def _bare(path: Path) -> torch.Tensor:
    import pydicom

    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array.astype(np.float32)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        values = values * np.float32(dataset.RescaleSlope) + np.float32(dataset.RescaleIntercept)
    image = torch.from_numpy(values)[None, None]
    return torch.nn.functional.interpolate(image, size=_SIZE, mode="bilinear", antialias=True)[0]


def _monai(path: Path) -> Callable[[], Any]:
    transforms = require("monai.transforms", extra="medical")
    data = require("monai.data", extra="medical")
    load = transforms.LoadImage(reader=data.PydicomReader(), ensure_channel_first=True)
    resize = transforms.Resize(_SIZE)
    return lambda: resize(load(str(path)))


def _check(ours: Callable[[], torch.Tensor], peer: Callable[[], torch.Tensor]) -> dict[str, float]:
    """Return the largest difference in modality units; raise when it is more than rounding."""
    difference = float((ours() - peer()).abs().max())
    if not difference <= 1e-2:
        raise VerticlipError(
            f"The pipelines differ by {difference:g} modality units; the comparison is not fair."
        )
    return {"largest_difference": difference}


def _native_1024(folder: Path) -> Path:
    """Return a 1024 x 1024 native 12-bit file with noise-like content."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    values = np.random.default_rng(0).integers(0, 4096, (1024, 1024), dtype=np.uint16)
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = SecondaryCaptureImageStorage, generate_uid(), "OT"
    item.Rows, item.Columns, item.SamplesPerPixel = 1024, 1024, 1
    item.PhotometricInterpretation, item.PixelRepresentation = "MONOCHROME2", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 12, 11
    item.PixelData = values.tobytes()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / "native_1024.dcm"
    item.save_as(path, enforce_file_format=True)
    return path
