"""Phrase grounding against boxes that experts drew, as on MS-CXR."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.data.files import inside
from ....core.data.tables import Rows, number_in, read_table
from ....core.errors import ConfigError, DataError, InputError
from ....core.files import sha256_of, write_json_atomic, write_text_atomic
from ....core.heatmaps import Interpolation
from ....core.inputs import fit
from ....core.limits import DEFAULT, Limits
from ....core.metrics.localization import (
    BoxConvention,
    Localization,
    LocalizationReport,
    localization_report,
    localize,
)
from .grounding import heat_maps, phrase_grids, prepare_phrases, rows_of

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle

_CSV_COLUMNS = ("category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height")
_JSON_COLUMNS = ("path", "text", "boxes")
_PATIENT = re.compile(r"(?:^|/)(p\d{5,})(?:/|$)")
BATCH_IMAGES = 8
"""Images per call of the network; without effect on the result."""


@dataclass(frozen=True)
class GroundedPhrase:
    """One image, one phrase, and the boxes an expert drew for it.

    Attributes:
        path: of the image, relative to the folder of images.
        text: the phrase. finding: its category.
        boxes: (x0, y0, x1, y1) each, in pixels of an image of ``size``.
        size: (height, width) the boxes refer to, or None when the file says it.
        group: what is resampled as one: the patient where the path names one, else the image.
        where: row of the table, for messages.
    """

    path: str
    text: str
    finding: str
    boxes: tuple[tuple[float, float, float, float], ...]
    size: tuple[int, int] | None
    group: str
    where: str


@dataclass(frozen=True)
class GroundingOptions:
    """How maps are made and compared.

    Attributes:
        interpolation: from the grid to pixels.
        convention: how several boxes of one sample count for contrast.
        split: evaluate only rows whose ``split`` column says this; None takes all.
        seed, resamples: of the bootstrap.
    """

    interpolation: Interpolation = "bilinear"
    convention: BoxConvention = "union"
    split: str | None = None
    seed: int = 0
    resamples: int = 1000


def read_grounding_table(
    path: str | Path, *, split: str | None = None, limits: Limits = DEFAULT
) -> list[GroundedPhrase]:
    """Return the samples of a table, in the order in which they first occur.

    A CSV has the columns of MS-CXR: ``category_name, label_text, path, x, y, w, h, image_width,
    image_height``, with a row per box; rows with the same path and text are one sample. JSON lines
    have ``path, text, boxes`` and, if known, ``finding`` and ``size``: ``{"path": "a.png", "text":
    "left effusion", "boxes": [[x0, y0, x1, y1]], "size": [height, width]}``.

    Raises:
        DataError: a missing column or value, an empty box, rows that contradict each other, or no
            rows of ``split``.
    """
    lines = Path(path).suffix.lower() == ".jsonl"
    needed = [*(_JSON_COLUMNS if lines else _CSV_COLUMNS), *(["split"] if split else [])]
    rows = read_table(path, needed, limits=limits)
    if split is not None:
        known = sorted({str(row["split"]) for _, row in rows})
        rows = [(where, row) for where, row in rows if row["split"] == split]
        if not rows:
            raise DataError(f"{Path(path).name}: no row has split {split!r}; splits: {', '.join(known)}.")
    return [_json_sample(where, row) for where, row in rows] if lines else _csv_samples(rows)


def _csv_samples(rows: Rows) -> list[GroundedPhrase]:
    merged: dict[tuple[str, str], GroundedPhrase] = {}
    for where, row in rows:
        x, y, w, h, width, height = (
            number_in(row, name, where) for name in ("x", "y", "w", "h", "image_width", "image_height")
        )
        box = _checked_box((x, y, x + w, y + h), where)
        sample = GroundedPhrase(
            row["path"], row["label_text"], row["category_name"], (box,), (int(height), int(width)),
            _group_of(row["path"]), where,
        )  # fmt: skip
        first = merged.setdefault((sample.path, sample.text), sample)
        if first is sample:
            continue
        if (first.finding, first.size) != (sample.finding, sample.size):
            raise DataError(
                f"{where}: the same path and text as {first.where}, with another finding or image size. "
                "Correct one of them."
            )
        boxes = (*first.boxes, box)
        merged[sample.path, sample.text] = GroundedPhrase(
            first.path, first.text, first.finding, boxes, first.size, first.group, first.where
        )
    return list(merged.values())


def _json_sample(where: str, row: Mapping[str, Any]) -> GroundedPhrase:
    boxes, size = row["boxes"], row.get("size")
    if not isinstance(boxes, list) or not boxes or not all(isinstance(box, list) for box in boxes):
        raise DataError(f"{where}: boxes must be a list like [[x0, y0, x1, y1]], got {boxes!r:.60}.")
    if size is not None and (not isinstance(size, list) or len(size) != 2):
        raise DataError(f"{where}: size must be [height, width], got {size!r:.40}.")
    for key in ("path", "text"):
        if not isinstance(row[key], str) or not row[key].strip():
            raise DataError(f"{where}: {key} is {row[key]!r:.40}, expected text.")
    return GroundedPhrase(
        row["path"],
        row["text"],
        str(row.get("finding", "all")),
        tuple(_checked_box(box, where) for box in boxes),
        None if size is None else (int(size[0]), int(size[1])),
        str(row.get("group") or _group_of(row["path"])),
        where,
    )


def _checked_box(box: Sequence[Any], where: str) -> tuple[float, float, float, float]:
    numbers = isinstance(box, (list, tuple)) and len(box) == 4
    if not numbers or not all(type(value) in (int, float) and math.isfinite(value) for value in box):
        raise DataError(f"{where}: a box is four numbers [x0, y0, x1, y1], got {box!r:.60}.")
    x0, y0, x1, y1 = (float(value) for value in box)
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"{where}: the box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) is empty.")
    return x0, y0, x1, y1


def _group_of(path: str) -> str:
    """Return the patient folder of a MIMIC-CXR path ("files/p10/p10000032/..."), else the path."""
    found = _PATIENT.search(path)
    return found[1] if found else path


def evaluate_grounding(
    model: ModelHandle,
    table: str | Path,
    images: str | Path,
    out: str | Path | None = None,
    *,
    options: GroundingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    **loading: Any,
) -> LocalizationReport:
    """Return CNR, mIoU and the pointing game per finding, and their means over findings.

    Example::

        report = evaluate_grounding(model, "MS_CXR_Local_Alignment_v1.1.0.csv", "mimic-cxr-jpg", "runs/mscxr")
        print(report.mean["cnr"])

    Args:
        model: any that :func:`~.grounding.ground` takes.
        table: boxes, see :func:`read_grounding_table`.
        images: folder that the paths of the table start from.
        out: folder for ``metrics.json`` and ``samples.jsonl``; None writes nothing.
        options: see :class:`GroundingOptions`.
        progress: called with (images done, images in all).
        loading: options of the domain's loader.

    Raises:
        DataError: the table cannot be used, files are missing, or an image has another size than its
            boxes were drawn for; equal proportions are scaled and counted in ``metrics.json``.
        InputError: an image cannot be read, or the model cannot ground.
    """
    options = options or GroundingOptions()
    samples = read_grounding_table(table, split=options.split, limits=model.limits)
    root = Path(images).resolve()
    files = _find_files(samples, root)
    by_image: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        by_image.setdefault(sample.path, []).append(position)
    names = list(by_image)
    # Every different phrase is encoded once, not with each batch of images.
    words = list(dict.fromkeys(sample.text for sample in samples))
    texts = _Texts({text: row for row, text in enumerate(words)}, prepare_phrases(model, words))
    results: dict[int, tuple[Localization, float, bool]] = {}
    for start in range(0, len(names), BATCH_IMAGES):
        chunk = names[start : start + BATCH_IMAGES]
        for name, measured in zip(
            chunk,
            _measure(model, samples, [(files[n], by_image[n]) for n in chunk], texts, options, loading),
            strict=True,
        ):
            results.update(zip(by_image[name], measured, strict=True))
        if progress is not None:
            progress(min(start + BATCH_IMAGES, len(names)), len(names))
    ordered = [results[position] for position in range(len(samples))]
    report = localization_report(
        [result for result, _, _ in ordered],
        [sample.finding for sample in samples],
        groups=[sample.group for sample in samples],
        convention=options.convention,
        seed=options.seed,
        resamples=options.resamples,
    )
    if out is not None:
        _write(model, Path(table), samples, ordered, report, options, Path(out))
    return report


def _find_files(samples: Sequence[GroundedPhrase], root: Path) -> dict[str, Path]:
    """Return {path in the table: file}; all are looked for before the first one is read."""
    files: dict[str, Path] = {}
    missing = []
    for sample in samples:
        try:
            file = root / inside(root, sample.path)
        except InputError as error:
            raise DataError(f"{sample.where}: {error}") from None
        files[sample.path] = file
        if not file.is_file():
            missing.append(sample.where)
    if missing:
        raise DataError(
            f"{missing[0]}: its image is not in the folder ({len(missing)} of {len(samples)} samples lack "
            "theirs). Pass images= the folder that the paths of the table start from."
        )
    return files


@dataclass(frozen=True, eq=False)
class _Texts:
    """The phrases of a table: {phrase: its row} and the rows of :func:`~.grounding.prepare_phrases`."""

    rows: Mapping[str, int]
    inputs: Mapping[str, Tensor]


def _measure(
    model: ModelHandle,
    samples: Sequence[GroundedPhrase],
    chunk: Sequence[tuple[Path, list[int]]],
    texts: _Texts,
    options: GroundingOptions,
    loading: Mapping[str, Any],
) -> list[list[tuple[Localization, float, bool]]]:
    """Return per image (localization, score, whether boxes were scaled) of each of its samples."""
    phrases = list(dict.fromkeys(samples[position].text for _, positions in chunk for position in positions))
    fitted = []
    for file, positions in chunk:
        try:
            fitted.append(fit(model, file, positions[0], loading))
        except InputError as error:
            raise InputError(f"{samples[positions[0]].where}: {error}") from error
    text_inputs = rows_of(texts.inputs, [texts.rows[phrase] for phrase in phrases])
    grids, scores = phrase_grids(model, fitted, phrases, text_inputs)
    measured = []
    for one, (_, positions), grid, row in zip(fitted, chunk, grids, scores, strict=True):
        wanted = [phrases.index(samples[position].text) for position in positions]
        # Only the phrases of this image are spread over its pixels.
        maps = heat_maps(
            model, one, [phrases[index] for index in wanted], grid[wanted], row[wanted].tolist(),
            interpolation=options.interpolation,
        )  # fmt: skip
        results = []
        for found, position in zip(maps, positions, strict=True):
            boxes, scaled = _boxes_for(samples[position], one.file_size)
            result = localize(found.values.numpy(), boxes, convention=options.convention)
            results.append((result, found.score, scaled))
        measured.append(results)
    return measured


def _boxes_for(
    sample: GroundedPhrase, size: tuple[int, int]
) -> tuple[list[tuple[float, float, float, float]], bool]:
    """Return the boxes in pixels of an image of ``size``, and whether they had to be scaled."""
    if sample.size is None or sample.size == size:
        return list(sample.boxes), False
    up, across = size[0] / sample.size[0], size[1] / sample.size[1]
    if abs(up / across - 1) > 0.01:
        raise DataError(
            f"{sample.where}: the image is {size[0]} high and {size[1]} wide, its boxes were drawn on "
            f"{sample.size[0]} by {sample.size[1]}. Use the original image, or a copy with its proportions."
        )
    return [(x0 * across, y0 * up, x1 * across, y1 * up) for x0, y0, x1, y1 in sample.boxes], True


def _write(
    model: ModelHandle,
    table: Path,
    samples: Sequence[GroundedPhrase],
    results: Sequence[tuple[Localization, float, bool]],
    report: LocalizationReport,
    options: GroundingOptions,
    out: Path,
) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file, expected a folder. Choose another out.")
    rows = []
    for sample, (result, score, _) in zip(samples, results, strict=True):
        values = {name: _plain(getattr(result, name)) for name in ("cnr", "cnr_signed", "miou", "pointing")}
        rows.append(
            {"path": sample.path, "finding": sample.finding, "text": sample.text, "score": score, **values}
        )
    write_text_atomic(out / "samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_json_atomic(
        out / "metrics.json",
        {
            "task": "phrase grounding",
            "model": model.id,
            "revision": model.revision,
            "processor": model.processor.fingerprint,
            "table": table.name,
            "table_sha256": sha256_of(table),
            "split": options.split,
            "interpolation": options.interpolation,
            "images": len({sample.path for sample in samples}),
            "scaled_boxes": sum(scaled for _, _, scaled in results),
            **report.to_dict(),
        },
    )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
