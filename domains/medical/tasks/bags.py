"""Pathology slides as bags of tiles: read them, fit attention over them, show where it looks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ....core.data.manifest import SPLIT_FOLDERS
from ....core.data.tables import Rows, read_table
from ....core.embed import list_files
from ....core.errors import DataError, InputError, nearest
from ....core.files import write_text_atomic
from ....core.heads.mil import AttentionMIL, MILOptions
from ....core.limits import DEFAULT, Limits
from ....core.map_plots import save_tile_map
from ....core.metrics.classification import ClassificationReport, classification_report

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_PLACE = re.compile(r"[_-]?x(\d+)_y(\d+)$", re.IGNORECASE)
_SLIDE_SUFFIXES = (".svs", ".ndpi", ".tif", ".tiff", ".mrxs", ".scn", ".bif", ".vms")
_NAMES = {
    "case": ("case", "case_id"),
    "slide": ("slide", "slide_id"),
    "label": ("label",),
    "fold": ("fold", "split"),
}
"""{what a column means: the names it may have}."""


@dataclass(frozen=True, eq=False)
class Bag:
    """The tiles of one case, or of one slide.

    Attributes:
        id: the slides as the table names them, or the folder. case: what must not be torn apart by a
            split. slides: their names.
        label: class, or None. fold: "train", "val", "test" or None.
        embeddings: float32 [N, D] of the tiles.
        tiles: N ids of the tiles. slide_of: the position in ``slides`` of each tile.
        places: float32 [N, 2], x and y of each tile's corner on its slide, or None when unknown.
    """

    id: str
    case: str
    slides: tuple[str, ...]
    label: str | None
    fold: str | None
    embeddings: Tensor
    tiles: tuple[str, ...]
    slide_of: tuple[int, ...]
    places: Tensor | None

    def __len__(self) -> int:
        return len(self.tiles)

    def __repr__(self) -> str:
        return f"Bag(tiles={len(self)}, label={self.label!r}, fold={self.fold!r})"


@dataclass(frozen=True)
class _Row:
    """One row of the table: one bag to be."""

    id: str
    case: str
    slides: tuple[str, ...]
    label: str
    fold: str | None
    where: str


def read_bags(embeddings: str | Path, table: str | Path, *, limits: Limits = DEFAULT) -> list[Bag]:
    """Return the bags of a table, with the embeddings of their tiles, in the order of the table.

    Args:
        embeddings: Parquet file of ``verticlip embed``: ``id``, ``vector`` and, if there are any,
            numeric ``x`` and ``y``. A tile belongs to the slide that a folder in its id is called, or
            that its file name starts with: ``slide7/x512_y0.png`` or ``slide7_x512_y0.png``.
        table: CSV with columns ``case``, ``slide``, ``label`` and ``fold`` (``case_id``, ``slide_id``
            and ``split`` will do; without a fold column none is set). Several slides of one bag are
            joined by ``;``. Folds are train, val (or valid, validation) and test.
        limits: ceiling on the bytes of the vectors that are kept.

    Raises:
        DataError: a column or file is missing, a slide stands in two rows or has no tiles, a case is
            in two folds, or an unknown fold.
    """
    rows = _read_rows(Path(table), limits)
    slides = {_slide_key(slide): slide for row in rows for slide in row.slides}
    found: dict[str, _Tiles] = {name: _Tiles([], [], []) for name in slides}
    kept = 0
    for identifier, vector, place in _read_vectors(Path(embeddings)):
        name = _slide_of(identifier, found)
        if name is None:
            continue
        kept += vector.nbytes
        limits.check("decoded_bytes", kept, what=f"{Path(embeddings).name}: bytes of vectors in bags")
        found[name].add(identifier, vector, place)
    bags = []
    for row in rows:
        parts = [found[_slide_key(slide)] for slide in row.slides]
        for slide, part in zip(row.slides, parts, strict=True):
            if not part.ids:
                raise DataError(
                    f"{row.where}: no tile of slide {slide!r} is among the embeddings. A tile's id names its "
                    "slide: 'SLIDE/x0_y0.png' or 'SLIDE_x0_y0.png'."
                )
        bags.append(_bag(row, parts))
    return bags


@dataclass(frozen=True)
class _Tiles:
    """The tiles of one slide while they are gathered."""

    ids: list[str]
    vectors: list[np.ndarray]
    places: list[tuple[float, float] | None]

    def add(self, identifier: str, vector: np.ndarray, place: tuple[float, float] | None) -> None:
        self.ids.append(identifier)
        self.vectors.append(vector)
        self.places.append(place)


def _bag(row: _Row, parts: Sequence[_Tiles]) -> Bag:
    places = [place for part in parts for place in part.places]
    known = [place for place in places if place is not None]
    return Bag(
        id=row.id,
        case=row.case,
        slides=row.slides,
        label=row.label or None,
        fold=row.fold,
        embeddings=torch.from_numpy(np.stack([vector for part in parts for vector in part.vectors])),
        tiles=tuple(identifier for part in parts for identifier in part.ids),
        slide_of=tuple(number for number, part in enumerate(parts) for _ in part.ids),
        places=torch.tensor(known, dtype=torch.float32) if len(known) == len(places) else None,
    )


def _read_rows(path: Path, limits: Limits) -> list[_Row]:
    rows = read_table(path, [], limits=limits)
    columns = _columns(rows, path)
    made: list[_Row] = []
    fold_of_case: dict[str, tuple[str | None, str]] = {}
    row_of_slide: dict[str, str] = {}
    for where, cells in rows:
        text = {meaning: str(cells.get(column, "")).strip() for meaning, column in columns.items()}
        slides = tuple(slide.strip() for slide in text["slide"].split(";") if slide.strip())
        if not text["case"] or not slides:
            raise DataError(f"{where}: case and slide must not be empty.")
        fold = None
        if text.get("fold"):
            fold = SPLIT_FOLDERS.get(text["fold"].lower())
            if fold is None:
                raise DataError(
                    f"{where}: fold {text['fold']!r} is not known; folds: {', '.join(SPLIT_FOLDERS)}."
                    f"{nearest(text['fold'].lower(), SPLIT_FOLDERS)}"
                )
        earlier, first = fold_of_case.setdefault(text["case"], (fold, where))
        if earlier != fold:
            raise DataError(
                f"{where}: the case of {first} is in fold {earlier!r} there and in {fold!r} here. All slides "
                "of a case belong to one fold."
            )
        for slide in slides:
            other = row_of_slide.setdefault(_slide_key(slide), where)
            if other != where:
                raise DataError(f"{where}: slide {slide!r} stands in {other} too. Keep one.")
        made.append(_Row(";".join(slides), text["case"], slides, text["label"], fold, where))
    return made


def _columns(rows: Rows, path: Path) -> dict[str, str]:
    """Return {meaning: column} from the header; ``fold`` may be absent."""
    header = list(rows[0][1])
    found: dict[str, str] = {}
    for meaning, names in _NAMES.items():
        present = [name for name in names if name in header]
        if present:
            found[meaning] = present[0]
        elif meaning != "fold":
            raise DataError(f"{path.name}: no column {meaning!r}.{nearest(meaning, header)}")
    return found


def _slide_key(slide: str) -> str:
    """Return a slide's name without the suffix of its file."""
    lower = slide.lower()
    return next((slide[: -len(end)] for end in _SLIDE_SUFFIXES if lower.endswith(end)), slide)


def _slide_of(tile: str, slides: Mapping[str, Any]) -> str | None:
    """Return the slide a tile's id names: its nearest folder, else the start of its file name."""
    path = PurePosixPath(tile)
    names = [*reversed(path.parent.parts), _PLACE.sub("", path.stem)]
    return next((key for key in map(_slide_key, names) if key in slides), None)


def place_of(tile: str) -> tuple[float, float] | None:
    """Return (x, y) from a tile's file name, ``..._x123_y456.png``, or None."""
    found = _PLACE.search(PurePosixPath(tile).stem)
    return (float(found[1]), float(found[2])) if found else None


def _read_vectors(path: Path) -> Iterator[tuple[str, np.ndarray, tuple[float, float] | None]]:
    """Yield (id, vector float32 [D], place) of each row, one batch of rows in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise DataError(f"{path}: no such file. Make it with: verticlip embed TILES --out {path.name}")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if not {"id", "vector"} <= set(names):
                raise DataError(
                    f"{path.name}: columns are {', '.join(names)}; expected id and vector, as verticlip "
                    "embed writes."
                )
            with_place = {"x", "y"} <= set(names)
            for batch in file.iter_batches(
                8192, columns=["id", "vector", *(["x", "y"] if with_place else [])]
            ):
                ids = batch.column("id").to_pylist()
                flat = np.asarray(batch.column("vector").flatten(), dtype=np.float32)
                vectors = flat.reshape(len(ids), -1)
                written = [(None, None)] * len(ids)
                if with_place:
                    written = list(zip(*(batch.column(name).to_pylist() for name in "xy"), strict=True))
                for row, (identifier, (x, y)) in enumerate(zip(ids, written, strict=True)):
                    place = place_of(identifier) if x is None or y is None else (float(x), float(y))
                    # A copy: a view would keep the whole batch alive for one tile of it.
                    yield identifier, vectors[row].copy(), place
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path.name}: not a whole Parquet file ({type(error).__name__}). Make it again."
        ) from None


def embed_bag(
    model: ModelHandle, folder: str | Path, *, label: str | None = None, batch_size: int = 8, **options: Any
) -> Bag:
    """Return a folder of tile images as one bag.

    Args:
        model: with an image tower.
        folder: tiles, taken with its sub-folders; ``..._x123_y456.png`` gives their places.
        label: class of the bag, if known.
        batch_size: tiles per call of the network and held in memory; the result does not depend on it.
        options: of the domain's loader.

    Raises:
        InputError: no such folder, or a tile that cannot be used.
        DataError: the folder is empty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder of tile images.")
    files = list_files(folder)
    rows = [
        model.embed(
            [path for _, path in files[start : start + batch_size]],
            modality="image",
            batch_size=batch_size,
            **options,
        ).vectors
        for start in range(0, len(files), batch_size)
    ]
    names = [name for name, _ in files]
    row = _Row(folder.name, folder.name, (folder.name,), label or "", None, folder.name)
    return _bag(row, [_Tiles(names, list(torch.cat(rows).numpy()), [place_of(name) for name in names])])


def fit_bags(
    bags: Sequence[Bag], *, options: MILOptions | None = None
) -> tuple[AttentionMIL, ClassificationReport | None]:
    """Return a head fitted on the train fold, and how it does on the test fold (None without one).

    The val fold chooses the epoch; classes are the labels of the train fold, sorted. Intervals
    resample cases. Without ``options``, sizes and rates are those of ConceptCLIP's slides.

    Raises:
        DataError: a bag without a label, no train or val fold, or a label that training never saw.
        InputError: fewer than two classes.
    """
    parts = {fold: [bag for bag in bags if bag.fold == fold] for fold in ("train", "val", "test")}
    for fold in ("train", "val"):
        if not parts[fold]:
            known = sorted({str(bag.fold) for bag in bags})
            raise DataError(f"No bag is in fold {fold!r}; folds here: {', '.join(known) or 'none'}.")
    names = sorted({bag.label for bag in parts["train"] if bag.label is not None})
    labels = {fold: _targets(part, names) for fold, part in parts.items()}
    head = AttentionMIL.fit(
        [bag.embeddings for bag in parts["train"]],
        labels["train"],
        names,
        validation=([bag.embeddings for bag in parts["val"]], labels["val"]),
        options=options,
    )
    if not parts["test"]:
        return head, None
    probabilities, _ = head.predict([bag.embeddings for bag in parts["test"]])
    report = classification_report(
        probabilities.cpu().numpy(), labels["test"], names, groups=[bag.case for bag in parts["test"]]
    )
    return head, report


def _targets(bags: Sequence[Bag], names: Sequence[str]) -> np.ndarray:
    for bag in bags:
        if bag.label not in names:
            raise DataError(
                f"bag {bag.id!r}: label {bag.label!r} is none of the labels of the train fold: "
                f"{', '.join(names)}."
            )
    return np.array([names.index(str(bag.label)) for bag in bags], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class BagAnswer:
    """What a head says about a bag.

    Attributes:
        bag: that was asked. label: the most probable class. score: its probability.
        scores: {label: probability}.
        attention: float32 [N] over its tiles; sums to 1.
    """

    bag: Bag
    label: str
    score: float
    scores: Mapping[str, float]
    attention: Tensor

    def to_dict(self, *, top: int = 10) -> dict[str, Any]:
        """Return plain values for JSON, with the ``top`` tiles by attention."""
        order = self.attention.argsort(descending=True, stable=True)[:top].tolist()
        places = self.bag.places
        return {
            "id": self.bag.id,
            "label": self.label,
            "score": self.score,
            "scores": dict(self.scores),
            "tiles": len(self.bag),
            "top_tiles": [
                {
                    "id": self.bag.tiles[row],
                    "attention": float(self.attention[row]),
                    "place": None if places is None else places[row].tolist(),
                }
                for row in order
            ],
        }


def classify_bags(head: AttentionMIL, bags: Sequence[Bag], *, batch_size: int = 1) -> list[BagAnswer]:
    """Return one answer per bag, with the attention of its tiles.

    Raises:
        InputError: no bags, or embeddings of another width than the head was fitted for.
    """
    probabilities, attention = head.predict([bag.embeddings for bag in bags], batch_size=batch_size)
    answers = []
    for bag, row, weights in zip(bags, probabilities.tolist(), attention, strict=True):
        scores = dict(zip(head.class_names, row, strict=True))
        best = max(scores, key=scores.__getitem__)
        answers.append(BagAnswer(bag, best, scores[best], scores, weights.cpu()))
    return answers


def save_attention(
    answer: BagAnswer, path: str | Path, *, slide: str | None = None, side: float | None = None
) -> None:
    """Write the attention of each tile where it lies on its slide, as PNG.

    Args:
        answer: of :func:`classify_bags`.
        path: file to write.
        slide: which slide of the bag; may be left out when it has one.
        side: of a tile in the unit of the places; None takes the smallest step between two.

    Raises:
        InputError: the places are unknown, or the bag has several slides and none of them is named.
    """
    bag = answer.bag
    if bag.places is None:
        raise InputError(
            f"bag {bag.id!r}: the places of its tiles are not known. Name tiles '..._x123_y456.png', or add "
            "columns x and y to the embeddings."
        )
    if slide is None and len(bag.slides) == 1:
        slide = bag.slides[0]
    if slide not in bag.slides:
        raise InputError(
            f"bag {bag.id!r} has {len(bag.slides)} slides; pass slide= one of {', '.join(bag.slides)}."
        )
    rows = torch.tensor(bag.slide_of) == bag.slides.index(slide)
    title = f"{slide}: {answer.label} ({answer.score:.2f}), {int(rows.sum())} tiles"
    save_tile_map(answer.attention[rows].numpy(), bag.places[rows].numpy(), path, side=side, title=title)


def write_answers(answers: Sequence[BagAnswer], path: str | Path) -> None:
    """Write one JSON line per bag; see :meth:`BagAnswer.to_dict`."""
    write_text_atomic(path, "".join(json.dumps(answer.to_dict()) + "\n" for answer in answers))
