"""FashionIQ, CIRR and GeneCIS as their authors lay them out: a picture, words, and which picture is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ....core.errors import DataError, InputError
from ....core.files import read_json
from ....core.limits import DEFAULT, Limits
from ....core.types import Sample

ComposedProtocol = Literal["fashioniq", "cirr", "genecis"]
FASHION_CATEGORIES = ("dress", "shirt", "toptee")
GENECIS_TASKS = ("focus_attribute", "change_attribute", "focus_object", "change_object")
_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp")
_DILATION = 0.7
_CAPTIONS = "reference_captions.json"


@dataclass(frozen=True)
class Region:
    """A picture, or the part of it in a box (left, top, width, height), in pixels."""

    path: Path
    box: tuple[float, float, float, float] | None = None

    def load(self, limits: Limits = DEFAULT) -> Path | Sample:
        """Return the path; or the box made 0.7 times wider and higher, filled up to a square with black.

        Raises:
            InputError: not a usable picture, or a box outside it.

        Reference: GeneCIS, Vaze et al. 2023, the loader of its attribute tasks.
        """
        if self.box is None:
            return self.path
        from ..loaders.image import load_image

        whole: Tensor = load_image(self.path, limits=limits, shortest_side=1).value
        rows, columns = whole.shape[1:]
        left, top, width, height = self.box
        left, top = max(0.0, left - _DILATION * width), max(0.0, top - _DILATION * height)
        right = min(columns, left + (1 + _DILATION) * width)
        bottom = min(rows, top + (1 + _DILATION) * height)
        part = whole[:, round(top) : round(bottom), round(left) : round(right)]
        if not part.numel():
            raise InputError(f"{self.path.name}: the box {list(self.box)} is not inside the picture.")
        side = max(part.shape[1:])
        before = [(side - length) // 2 for length in part.shape[1:]]
        square = part.new_zeros(len(part), side, side)
        square[:, before[0] : before[0] + part.shape[1], before[1] : before[1] + part.shape[2]] = part
        return Sample(square, "image", {}, self.path.name)


@dataclass(frozen=True)
class ComposedQuery:
    """One query: pictures by id.

    Attributes:
        reference, target: what is given and what is right. change: the words.
        subset: ids among which the target is to be told, or () for the whole gallery.
    """

    reference: str
    target: str
    change: str
    subset: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComposedTask:
    """Queries over one gallery. ``gallery``: ids; empty where every query has its own (``subset``)."""

    name: str
    queries: tuple[ComposedQuery, ...]
    gallery: tuple[str, ...]


@dataclass(frozen=True)
class ComposedData:
    """One data set.

    Attributes:
        protocol, name: which. tasks: categories or tasks. pictures: {id: file, or part of one}.
        captions: {id: what the picture shows}, of a file ``reference_captions.json`` beside the data.
        missing: ids without a file; queries that need them are left out.
    """

    protocol: ComposedProtocol
    name: str
    tasks: tuple[ComposedTask, ...]
    pictures: Mapping[str, Region]
    captions: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_out: int = 0


def sniff(root: Path) -> ComposedProtocol | None:
    """Return which of the three lies in a folder, or None."""
    if any((root / "captions").glob("cap.*.val.json")) and not _cirr_captions(root):
        return "fashioniq"
    if _cirr_captions(root):
        return "cirr"
    return "genecis" if any((root / f"{task}.json").is_file() for task in GENECIS_TASKS) else None


def read_composed(
    root: str | Path, images: str | Path | None = None, *, split: str = "val", limits: Limits = DEFAULT
) -> ComposedData:
    """Return a data set.

    Args:
        root: folder with ``captions`` and ``image_splits`` (FashionIQ), ``cirr/captions`` or
            ``captions/cap.rc2.*`` (CIRR), or ``focus_attribute.json`` and its like (GeneCIS).
        images: folder of the pictures; None looks below ``root``.
        split: of FashionIQ and CIRR.

    Raises:
        DataError: none of the three, or a file of another kind.
    """
    root, place = Path(root), Path(images) if images is not None else Path(root)
    kind = sniff(root)
    if kind is None:
        raise DataError(
            f"{root}: neither FashionIQ (captions/cap.dress.val.json), CIRR (cirr/captions/cap.rc2.val.json) "
            "nor GeneCIS (focus_attribute.json) lies here."
        )
    read = {"fashioniq": _fashioniq, "cirr": _cirr, "genecis": _genecis}[kind]
    tasks, wanted = read(root, place, split, limits)
    there = {name: region for name, region in wanted.items() if region is not None}
    kept = tuple(_kept(task, there) for task in tasks)
    if not any(task.queries for task in kept):
        raise DataError(f"{place}: none of the {len(wanted)} pictures of {root.name} is here.")
    captions = root / _CAPTIONS
    said = read_json(captions, limits=limits) if captions.is_file() else {}
    return ComposedData(
        kind,
        root.name,
        kept,
        there,
        {str(name): str(text) for name, text in said.items()},
        tuple(name for name, region in wanted.items() if region is None),
        sum(len(task.queries) for task in tasks) - sum(len(task.queries) for task in kept),
    )


def _kept(task: ComposedTask, there: Mapping[str, Region]) -> ComposedTask:
    queries = tuple(
        ComposedQuery(
            one.reference, one.target, one.change, tuple(name for name in one.subset if name in there)
        )
        for one in task.queries
        if one.reference in there and one.target in there
    )
    return ComposedTask(task.name, queries, tuple(name for name in task.gallery if name in there))


_Read = tuple[list[ComposedTask], dict[str, Region | None]]


def _fashioniq(root: Path, images: Path, split: str, limits: Limits) -> _Read:
    tasks, wanted = [], {}
    for category in FASHION_CATEGORIES:
        captions = root / "captions" / f"cap.{category}.{split}.json"
        if not captions.is_file():
            continue
        gallery = [
            str(name) for name in _list(root / "image_splits" / f"split.{category}.{split}.json", limits)
        ]
        queries = [
            # Two people said what differs; the published evaluations join them.
            ComposedQuery(str(row["candidate"]), str(row["target"]), join_captions(row["captions"]))
            for row in _rows(captions, ("candidate", "target", "captions"), limits)
        ]
        tasks.append(ComposedTask(category, tuple(queries), tuple(gallery)))
        folders = [images, images / "images", images / category, images / "images" / category]
        names = {*gallery, *(query.reference for query in queries), *(query.target for query in queries)}
        for name in sorted(names):
            wanted[name] = _file(folders, name)
    return tasks, wanted


def join_captions(captions: Sequence[str]) -> str:
    """Return the relative captions of one query as one: "is red and has a belt"."""
    return " and ".join(" ".join(str(text).split()).strip(" .,?") for text in captions if str(text).strip())


def _cirr_captions(root: Path) -> list[Path]:
    return [*root.glob("captions/cap.rc2.*.json"), *root.glob("cirr/captions/cap.rc2.*.json")]


def _cirr(root: Path, images: Path, split: str, limits: Limits) -> _Read:
    base = root / "cirr" if (root / "cirr" / "captions").is_dir() else root
    captions = base / "captions" / f"cap.rc2.{split}.json"
    if not captions.is_file():
        raise DataError(f"{root}: {captions.name} is missing; the test split has no public answers.")
    places = read_json(base / "image_splits" / f"split.rc2.{split}.json", limits=limits)
    if not isinstance(places, dict):
        raise DataError(f"split.rc2.{split}.json: expected {{name: path}}.")
    queries = []
    for row in _rows(captions, ("reference", "target_hard", "caption", "img_set"), limits):
        reference, target = str(row["reference"]), str(row["target_hard"])
        members = [str(name) for name in dict(row["img_set"]).get("members", ())]
        subset = tuple(name for name in members if name != reference)
        queries.append(ComposedQuery(reference, target, " ".join(str(row["caption"]).split()), subset))
    wanted = {
        str(name): next((Region(place / path) for place in (images, root) if (place / path).is_file()), None)
        for name, path in places.items()
        if ".." not in Path(str(path)).parts
    }
    return [ComposedTask("all", tuple(queries), tuple(map(str, places)))], wanted


def _genecis(root: Path, images: Path, split: str, limits: Limits) -> _Read:
    tasks, wanted = [], {}
    for task in GENECIS_TASKS:
        path = root / f"{task}.json"
        if not path.is_file():
            continue
        queries = []
        for row in _rows(path, ("reference", "target", "gallery", "condition"), limits):
            named = [
                _region(one, images, wanted) for one in (row["reference"], row["target"], *row["gallery"])
            ]
            # The target stands last, so that equal scores do not favor it.
            queries.append(ComposedQuery(named[0], named[1], str(row["condition"]), (*named[2:], named[1])))
        tasks.append(ComposedTask(task, tuple(queries), ()))
    return tasks, wanted


def _region(one: Mapping[str, Any], images: Path, wanted: dict[str, Region | None]) -> str:
    """Return the id of a picture or of a box in it, after noting where its file is."""
    if not isinstance(one, Mapping) or not {"image_id", "val_image_id"} & set(one):
        raise DataError(f"GeneCIS: a picture needs image_id or val_image_id, got {one!r:.80}.")
    number = one.get("image_id", one.get("val_image_id"))
    box = one.get("instance_bbox")
    name = str(number) if box is None else f"{number} {box}"
    if name not in wanted:
        stems = [str(number), f"{int(number):012d}"] if str(number).isdigit() else [str(number)]
        folders = [images, images / "VG_100K", images / "val2017"]
        found = next((file for stem in stems if (file := _file(folders, stem)) is not None), None)
        cut = None if box is None else tuple(float(edge) for edge in box)
        wanted[name] = None if found is None else Region(found.path, cut)  # type: ignore[arg-type]
    return name


def _file(folders: Sequence[Path], name: str) -> Region | None:
    if name != Path(name).name:
        return None
    paths = (folder / f"{name}{suffix}" for folder in folders for suffix in _SUFFIXES)
    return next((Region(path) for path in paths if path.is_file()), None)


def _list(path: Path, limits: Limits) -> list[Any]:
    if not path.is_file():
        raise DataError(f"{path.parent.name}/{path.name} is missing; fetch it with the captions.")
    content = read_json(path, limits=limits)
    if not isinstance(content, list):
        raise DataError(f"{path.name}: expected a list, got {type(content).__name__}.")
    return content


def _rows(path: Path, keys: Sequence[str], limits: Limits) -> list[Mapping[str, Any]]:
    rows = _list(path, limits)
    for number, row in enumerate(rows, start=1):
        lacking = [key for key in keys if not isinstance(row, Mapping) or key not in row]
        if lacking:
            raise DataError(f"{path.name} row {number}: no {lacking[0]!r}.")
    return rows
