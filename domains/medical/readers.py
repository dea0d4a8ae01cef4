"""Dataset readers of the medical room: a folder or file to records that ``load_image`` can load.

Each record is {"id", "path", "label", "split", "group", "locator"}; ``locator`` holds the keyword
arguments for ``load_image``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...core.data.files import files_below
from ...core.errors import DataError, nearest
from ...core.limits import DEFAULT, Limits
from .loaders.arrays import array_shapes, read_npz_array
from .loaders.errors import label_of

Record = dict[str, Any]
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def read_medmnist_npz(
    path: str | Path, *, labels: Sequence[str], limits: Limits = DEFAULT, show_paths: bool = False
) -> list[Record]:
    """Return one record per image of a MedMNIST ``.npz`` with arrays ``SPLIT_images`` and ``SPLIT_labels``.

    Args:
        path: the ``.npz``; splits "train" and "val" are read, others ignored.
        labels: class names in the order of the stored numbers, e.g. ["normal", "pneumonia"].

    Raises:
        DataError: no known split, lengths that differ, or a label number without a name.
        MedicalImageError: the file is damaged or over a ceiling.
    """
    name = label_of(path, show_paths=show_paths)
    known = array_shapes(path, limits=limits, label=name)
    records: list[Record] = []
    for split in ("train", "val"):
        images, classes = f"{split}_images", f"{split}_labels"
        if images not in known or classes not in known:
            continue
        numbers = read_npz_array(path, classes, limits=limits, label=name).reshape(-1)
        count = len(read_npz_array(path, images, limits=limits, label=name))
        if len(numbers) != count:
            raise DataError(
                f"{name}: {len(numbers)} labels for {count} images in {split!r}. One label per image."
            )
        if numbers.dtype.kind not in "iu" or (
            len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(labels)
        ):
            raise DataError(
                f"{name}: labels of {split!r} are {np.unique(numbers)[:10].tolist()}, "
                f"{len(labels)} names were given. Give one name per class number from 0."
            )
        records += [
            {
                "id": f"{split}-{index}",
                "path": str(path),
                "label": labels[int(number)],
                "split": split,
                "group": None,
                "locator": {"array": images, "index": index},
            }
            for index, number in enumerate(numbers)
        ]
    if not records:
        raise DataError(f"{name}: no train_images/train_labels or val_*; it has {', '.join(known)}.")
    return records


def read_voc_boxes(
    path: str | Path, *, labels: Sequence[str] | None = None, min_side: int = 1, limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> list[Record]:  # fmt: skip
    """Return one record per object box of a folder of images with Pascal-VOC ``.xml`` beside them.

    Images of one folder share a split, which is the folder's name when it is "train" or "val".
    VOC boxes count pixels from 1, both ends included; the records hold (x0, y0, x1, y1) from 0 with
    x1 and y1 excluded. Boxes of one image form a group, so that a split never divides an image.

    Args:
        path: folder with the images and xml files, or a folder of "train" and "val" folders.
        labels: classes to keep; None keeps all.
        min_side: boxes with a shorter side, in pixels, are left out.

    Raises:
        DataError: no xml file, an image is missing, a label that no box has, or a damaged or unsafe xml.
    """
    path, folder = Path(path), label_of(path, show_paths=show_paths)
    files = sorted(
        path / name for name in (files_below(path) if path.is_dir() else ()) if name.endswith(".xml")
    )
    if not files:
        raise DataError(f"{folder}: no .xml files here. Give the folder with images and Pascal-VOC boxes.")
    records: list[Record] = []
    seen: set[str] = set()
    for file in files:
        split = file.parent.name if file.parent.name in ("train", "val") else None
        name = label_of(file, show_paths=show_paths)
        image = _image_of(file, name)
        for index, (label, box) in enumerate(_boxes(file, name, limits)):
            seen.add(label)
            if (labels is not None and label not in labels) or min(
                box[2] - box[0], box[3] - box[1]
            ) < min_side:
                continue
            records.append(
                {
                    "id": f"{file.stem}-{index}",
                    "path": str(image),
                    "label": label,
                    "split": split,
                    "group": file.stem,
                    "locator": {"box": list(box)},
                }
            )
    for label in labels or ():
        if label not in seen:
            raise DataError(
                f"{folder}: no box is labelled {label!r}; labels: {', '.join(sorted(seen))}."
                f"{nearest(label, seen)}"
            )
    return records


def _image_of(file: Path, name: str) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        image = file.with_suffix(suffix)
        if image.is_file():
            return image
    raise DataError(f"{name}: no image of the same name beside it ({', '.join(_IMAGE_SUFFIXES)}).")


def _boxes(file: Path, name: str, limits: Limits) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Return (label, box) of every object in one xml, boxes cut to the stated image size."""
    limits.check("config_bytes", file.stat().st_size, what=f"{name}: bytes")
    data = file.read_bytes()
    # Entity declarations make small files expand without bound; VOC files have none.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise DataError(f"{name}: declares a DOCTYPE or entity, or is not UTF-8. Remove the declaration.")
    try:
        root = ElementTree.fromstring(data)
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        boxes = []
        for item in root.iter("object"):
            ends = [
                int(float(item.findtext(f"bndbox/{end}", ""))) for end in ("xmin", "ymin", "xmax", "ymax")
            ]
            box = (max(ends[0] - 1, 0), max(ends[1] - 1, 0), min(ends[2], width), min(ends[3], height))
            boxes.append((item.findtext("name", ""), box))
    except (ElementTree.ParseError, ValueError, OverflowError) as error:
        raise DataError(
            f"{name}: not a readable Pascal-VOC file ({type(error).__name__}). Repair or remove it."
        ) from error
    return boxes
