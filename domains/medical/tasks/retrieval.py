"""Image-text retrieval: how well reports find their images and back, and search for users.

Conventions. Texts that read the same (spaces aside) are one text, and an image that stands on several
rows is one image: every row adds a match, and a query has found when any of its matches is among the
first k. ``duplicates="separate"`` counts each row for itself instead, as row-by-row protocols do; equal
texts are then wrong answers to each other. Equal scores rank by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ....core.answer_each import check_batch_size
from ....core.answers import Failure
from ....core.data.files import inside
from ....core.data.tables import read_table
from ....core.embed_each import Progress, embed_images
from ....core.errors import ConfigError, DataError, InputError
from ....core.files import write_json_atomic
from ....core.limits import DEFAULT, Limits
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.metrics.retrieval import Direction
from ....core.text_gallery import LongText, best_ranks, encode_texts

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

DEPTHS = (1, 5, 10, 50, 200)
_IMAGE_COLUMNS = ("image", "path", "file", "filename", "image_path")
_TEXT_COLUMNS = ("text", "caption", "report", "sentence")


@dataclass(frozen=True)
class Pair:
    """An image and a text that belong together."""

    path: Path
    text: str


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval in both directions.

    Attributes:
        images, texts: how many different ones were ranked.
        image_to_text, text_to_image: recall at each depth up to the gallery's size, ranks of the best match
            from 1; 95 % intervals over images, or over texts grouped by their first image.
        duplicates, long_text: the conventions that were used.
        failures: images that could not be used, with the texts that only they had.
        origin: model, revision and processor.
    """

    images: int
    texts: int
    image_to_text: Direction
    text_to_image: Direction
    duplicates: str
    long_text: str
    failures: tuple[Failure, ...]
    origin: dict[str, str]

    def rows(self) -> list[tuple[str, Estimate | None, Estimate | None]]:
        """Return (metric, image to text, text to image); None where a gallery is smaller than the depth."""
        both = self.image_to_text, self.text_to_image
        depths = sorted({*both[0].recall, *both[1].recall})
        cut = [(f"recall@{k}", both[0].recall.get(k), both[1].recall.get(k)) for k in depths]
        names = ("mrr", "median_rank", "mean_rank")
        return [*cut, *((name, getattr(both[0], name), getattr(both[1], name)) for name in names)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.origin,
            "task": "retrieval",
            "images": self.images,
            "texts": self.texts,
            "image_to_text": self.image_to_text.to_dict(),
            "text_to_image": self.text_to_image.to_dict(),
            "duplicates": self.duplicates,
            "long_text": self.long_text,
            "failed": [failure.to_dict() for failure in self.failures],
        }


@dataclass(frozen=True)
class Match:
    """One answer of a search: position and value in the list that was searched, and the cosine."""

    position: int
    value: str
    score: float


@dataclass(frozen=True)
class SearchResult:
    """Ranked answers, best first.

    Attributes:
        reports_of_image: for each image that was given, its reports; empty for an unusable image.
        images_of_report: for each report, its images.
        failures: images that could not be used.
    """

    reports_of_image: tuple[tuple[Match, ...], ...]
    images_of_report: tuple[tuple[Match, ...], ...]
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        both = {"reports_of_image": self.reports_of_image, "images_of_report": self.images_of_report}
        listed = {name: [[vars(match) for match in one] for one in ranked] for name, ranked in both.items()}
        return {**listed, "failed": [failure.to_dict() for failure in self.failures]}


def read_pairs(table: str | Path, images: str | Path, *, limits: Limits = DEFAULT) -> list[Pair]:
    """Return the pairs of a CSV or JSON-lines file.

    Args:
        table: with a column image, path, file, filename or image_path, and one called text, caption,
            report or sentence.
        images: folder that the paths are relative to.

    Raises:
        DataError: no such column, an empty cell, or a path outside ``images``.
    """
    rows = read_table(table, (), limits=limits)
    image, text = (_column(rows[0][1], names, Path(table)) for names in (_IMAGE_COLUMNS, _TEXT_COLUMNS))
    folder = Path(images).resolve()
    pairs = []
    for where, row in rows:
        words, name = row.get(text), row.get(image)
        if not isinstance(words, str) or not words.strip() or not isinstance(name, str):
            raise DataError(f"{where}: {image} and {text} must be words, and not empty.")
        try:
            pairs.append(Pair(folder / inside(folder, name), words))
        except InputError as error:
            raise DataError(f"{where}: {error}") from error
    return pairs


def evaluate_retrieval(
    model: ModelHandle,
    pairs: Sequence[Pair],
    *,
    depths: Sequence[int] = DEPTHS,
    duplicates: Literal["merge", "separate"] = "merge",
    long_text: LongText = "error",
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> RetrievalResult:
    """Rank the texts for each image and the images for each text.

    Args:
        model: with an image and a text tower.
        pairs: which image belongs to which text.
        depths: k of recall@k; those above the gallery's size are left out.
        duplicates: see the conventions above.
        long_text: what to do with reports of more tokens than the model takes.
        batch_size: images per call of the network.
        progress: told (done, all) of the images.
        options: of the domain's loader.

    Raises:
        DataError: no pair, or no usable image.
        InputError: a text over the model's limit with ``long_text="error"``, or such a sentence.
        ConfigError: an unknown convention, or depths or a batch size that are not positive.
    """
    check_batch_size(batch_size)
    if duplicates not in ("merge", "separate"):
        raise ConfigError(f"duplicates is 'merge' or 'separate', got {duplicates!r}.")
    if not depths or min(depths) < 1:
        raise ConfigError(f"depths must be 1 or more, got {list(depths)}.")
    if not pairs:
        raise DataError("There are no pairs to rank.")
    files, file_of = _distinct([str(pair.path) for pair in pairs])
    words, text_of = _distinct([" ".join(pair.text.split()) for pair in pairs])
    spelled = {position: pair.text for position, pair in zip(reversed(text_of), reversed(pairs), strict=True)}
    # A text that cannot be used should show before all the images are read.
    known = encode_texts(model, [spelled[position] for position in range(len(words))], long_text)
    embedded = embed_images(
        model, [Path(file) for file in files], batch_size=batch_size, progress=progress, **options
    )
    if not embedded.kept:
        raise DataError(f"None of {len(files)} images could be used. First: {embedded.failures[0].error}")
    place = {file: position for position, file in enumerate(embedded.kept)}
    links = np.array([(place[f], t) for f, t in zip(file_of, text_of, strict=True) if f in place])
    if duplicates == "merge":
        shown, matches = np.unique(links[:, 1]), np.unique(links, axis=0)
        owners, images = np.arange(len(place)), embedded.vectors
        matches[:, 1] = np.searchsorted(shown, matches[:, 1])
    else:
        owners, shown = links[:, 0], links[:, 1]
        images = embedded.vectors[torch.from_numpy(owners)]
        matches = np.repeat(np.arange(len(links))[:, None], 2, axis=1)
    gallery = known.chosen(shown.tolist())
    image_ranks, text_ranks = best_ranks(images, gallery, matches)
    text_owners = np.full(gallery.count, owners.max())
    np.minimum.at(text_owners, matches[:, 1], owners[matches[:, 0]])
    # Rows of one image are not independent; merged, every image has one row.
    image_groups = None if duplicates == "merge" else owners
    image_side = _direction(image_ranks, image_groups, [k for k in depths if k <= gallery.count])
    text_side = _direction(text_ranks, text_owners, [k for k in depths if k <= len(images)])
    return RetrievalResult(
        len(images),
        gallery.count,
        image_side,
        text_side,
        duplicates,
        long_text,
        embedded.failures,
        {"model": model.id, "revision": model.revision, "processor": model.processor.fingerprint},
    )


def search_reports(
    model: ModelHandle,
    images: Sequence[str | Path],
    reports: Sequence[str],
    k: int = 5,
    *,
    long_text: LongText = "error",
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> SearchResult:
    """Return the k best reports for each image, and the k best images for each report.

    Args:
        images: files, read by the loader of the model's domain.
        reports: texts to search.
        k: answers per query, fewer where fewer exist.
        long_text, batch_size, progress, options: as in :func:`evaluate_retrieval`.

    Raises:
        InputError: no image or no report, k below 1, or a text over the model's limit.
        DataError: no usable image.

    Example:
        >>> found = search_reports(model, ["a.dcm"], ["Clear lungs.", "Pneumonia."])  # doctest: +SKIP
        >>> found.reports_of_image[0][0].value  # doctest: +SKIP
    """
    if isinstance(images, (str, Path)) or isinstance(reports, str):
        raise InputError("images and reports are lists; put a single one into brackets.")
    if not images or not reports or k < 1:
        raise InputError(
            f"A search needs images, reports and k >= 1; got {len(images)}, {len(reports)}, {k}."
        )
    check_batch_size(batch_size)
    gallery = encode_texts(model, reports, long_text)
    files = [Path(path) for path in images]
    embedded = embed_images(model, files, batch_size=batch_size, progress=progress, **options)
    if not embedded.kept:
        raise DataError(f"None of {len(images)} images could be used. First: {embedded.failures[0].error}")
    by_image: dict[int, tuple[Match, ...]] = {}
    best = torch.empty(0, len(reports))
    best_id = torch.empty(0, len(reports), dtype=torch.int64)
    for rows, scores in gallery.tiles(embedded.vectors):
        order = scores.sort(dim=1, descending=True, stable=True)
        for local, row in enumerate(range(rows.start, rows.stop)):
            top: tuple[list[int], list[float]]
            top = order.indices[local, :k].tolist(), order.values[local, :k].tolist()
            by_image[embedded.kept[row]] = tuple(
                Match(position, reports[position], score) for position, score in zip(*top, strict=True)
            )
        # Keep the k best images of every report; earlier images stand first among equals.
        ids = torch.tensor(embedded.kept[rows.start : rows.stop])[:, None].expand_as(scores)
        together = torch.cat([best, scores]).sort(dim=0, descending=True, stable=True)
        best = together.values[:k]
        best_id = torch.cat([best_id, ids]).gather(0, together.indices)[:k]
    by_report = tuple(
        tuple(Match(p, str(images[p]), score) for p, score in zip(column_ids, column, strict=True))
        for column_ids, column in zip(best_id.T.tolist(), best.T.tolist(), strict=True)
    )
    by_position = tuple(by_image.get(position, ()) for position in range(len(images)))
    return SearchResult(by_position, by_report, embedded.failures)


def write_result(result: RetrievalResult, out: str | Path) -> Path:
    """Write ``retrieval.json`` into a folder and return its path."""
    path = Path(out) / "retrieval.json"
    write_json_atomic(path, result.to_dict())
    return path


def _distinct(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the different values in order, and for each value its position among them."""
    place: dict[str, int] = {}
    positions = [place.setdefault(value, len(place)) for value in values]
    return list(place), positions


def _direction(
    ranks: NDArray[np.int64], groups: NDArray[np.int64] | None, depths: Sequence[int]
) -> Direction:
    bootstrap = Bootstrap(len(ranks), groups=groups)
    return Direction(
        recall={k: bootstrap.mean(ranks < k) for k in depths},
        mrr=bootstrap.mean(1.0 / (ranks + 1)),
        median_rank=bootstrap.median(ranks + 1),
        mean_rank=bootstrap.mean(ranks + 1),
    )


def _column(row: dict[str, Any], names: Sequence[str], table: Path) -> str:
    for name in names:
        if name in row:
            return name
    raise DataError(f"{table.name}: none of the columns {', '.join(names)}; it has {', '.join(row)}.")
