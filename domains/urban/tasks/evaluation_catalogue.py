"""The public sets that satellite models are measured on: classes, layouts on disk, what to know of each.

Classes are called as the folders of the sets; their order is alphabetical, as folders are read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.labelled import Folders, LabelledRow
from ....core.errors import ConfigError, DataError, nearest
from ....core.labelled_sets import LabelledSet
from ....core.limits import DEFAULT, Limits
from ....core.prompts import prompt_set
from .retrieval_data import read_caption_json


@dataclass(frozen=True)
class EvaluationSet(LabelledSet):
    """A labelled public set.

    Attributes:
        protocols: names of :data:`.evaluation_protocols.PROTOCOLS`; the first is the usual one.
    """

    protocols: tuple[str, ...] = ("skyscript",)


@dataclass(frozen=True)
class RsicdTest:
    """Images of RSICD's test split whose file name says the category: ``airport_12.jpg``.

    Attributes:
        files: where the caption file may lie. under: where the images may.
    """

    files: tuple[str, ...] = ("dataset_rsicd.json", "dataset.json", "annotations_rsicd/dataset_rsicd.json")
    under: tuple[str, ...] = ("RSICD_images", "images", "")

    def expects(self) -> str:
        """Say which files this layout needs."""
        return f"{self.files[0]} and the images it names in {self.under[0]}"

    def read(self, root: Path, classes: Sequence[str], limits: Limits = DEFAULT) -> list[LabelledRow] | None:
        """Return the images of the test split that have a category, or None without the caption file.

        Raises:
            DataError: another kind of file, or no image of it with a category of the set.
        """
        table = next((root / name for name in self.files if (root / name).is_file()), None)
        if table is None:
            return None
        _, images = read_caption_json(table, limits)
        folder = next((root / name for name in self.under if (root / name).is_dir()), root)
        rows = [
            {"id": name, "path": str(folder / name), "label": label, "split": "test", "group": None}
            for name in (_test_name(image) for image in images)
            if name and (label := _category(name, classes))
        ]
        if not rows:
            raise DataError(f"{table.name}: no image of the split 'test' is named like airport_12.jpg.")
        return rows


def _test_name(image: Any) -> str:
    """Return the file name of an image of the test split that stays in its folder, else ""."""
    if not isinstance(image, dict) or image.get("split") != "test":
        return ""
    name = image.get("filename")
    return name if isinstance(name, str) and Path(name).name == name else ""


def _category(name: str, classes: Sequence[str]) -> str | None:
    match = re.match(r"([a-z]+)_\d", name)
    return match[1] if match and match[1] in classes else None


def _folders(classes: Sequence[str], *under: str) -> Folders:
    """Return the layout of class folders, however two words in their names are put together."""
    spelled = {name: name for name in classes}
    for name in classes:
        spelled.setdefault(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name), name)
    return Folders(spelled, ("", *under))


def _set(
    name: str, modality: str, source: str, *, under: Sequence[str], images: int, caution: str = "",
    protocols: tuple[str, ...] = ("skyscript",),
) -> EvaluationSet:  # fmt: skip
    classes = prompt_set(f"urban/{name}").class_names
    return EvaluationSet(
        name, modality, classes, (_folders(classes, *under),), source, images=images, caution=caution,
        protocols=protocols,
    )  # fmt: skip


@functools.cache
def sets() -> dict[str, EvaluationSet]:
    """Return {name: set}."""
    rsicd = prompt_set("urban/rsicd-30").class_names
    found = (
        _set(
            "eurosat",
            "satellite",
            "EuroSAT on GitHub (phelber/EuroSAT) or Zenodo (record 7711810), the RGB archive.",
            under=("2750", "EuroSAT_RGB", "EuroSAT/2750", "eurosat-rgb/2750", "EuroSAT", "test", "val"),
            images=27_000,
            caution="urban/tiny was trained on other patches of EuroSAT: its result is not zero-shot.",
            protocols=("skyscript", "georsclip", "clip_benchmark"),
        ),
        _set(
            "aid",
            "aerial",
            "AID on captain-whu.github.io/AID.",
            under=("AID", "AID_dataset/AID", "test"),
            images=10_000,
            caution="RSICD has images of the same sources: models trained on it may have seen some.",
            protocols=("skyscript", "georsclip"),
        ),
        _set(
            "resisc45",
            "aerial",
            "NWPU-RESISC45 of Northwestern Polytechnical University.",
            under=("NWPU-RESISC45", "RESISC45", "test"),
            images=31_500,
            protocols=("skyscript", "georsclip", "clip_benchmark"),
        ),
        _set(
            "patternnet",
            "aerial",
            "PatternNet on sites.google.com/view/zhouwx/dataset.",
            under=("PatternNet/images", "images", "PatternNet"),
            images=30_400,
        ),
        _set(
            "ucm",
            "aerial",
            "UC Merced Land Use on weegee.vision.ucmerced.edu/datasets/landuse.html.",
            under=("UCMerced_LandUse/Images", "Images", "UCMerced_LandUse"),
            images=2_100,
            caution="Models trained on UCM-captions have seen these images.",
        ),
        _set(
            "whu-rs19",
            "satellite",
            "WHU-RS19 on captain-whu.github.io/BED4RS.",
            under=("WHU-RS19", "RSDataset"),
            images=1_005,
        ),
        EvaluationSet(
            "rsicd-30", "aerial", rsicd, (RsicdTest(),),
            "RSICD on GitHub (201528014227051/RSICD_optimal): captions and images.",
            images=1_027, caution="Models trained on RSICD have seen these categories, not these images.",
            protocols=("rsicd", "skyscript"),
        ),
    )  # fmt: skip
    return {one.name: one for one in found}


def names() -> tuple[str, ...]:
    """Return the names of the sets."""
    return tuple(sets())


def evaluation_set(name: str) -> EvaluationSet:
    """Return a set by name.

    Raises:
        ConfigError: no such set; the nearest name is given.
    """
    known = sets()
    if name not in known:
        raise ConfigError(f"No evaluation set {name!r}; there are: {', '.join(known)}.{nearest(name, known)}")
    return known[name]
