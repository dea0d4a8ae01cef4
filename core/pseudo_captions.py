"""Captions for images that have none: those of a pool that a model itself finds fitting.

Training images by their classes alone pulls them away from their words. Texts that the untuned model puts
close to an image hold it there; see :class:`verticlip.core.objectives.margin.AlignedRetrieval`.

Reference: Schall et al. 2024, Optimizing CLIP Models for Image Retrieval with Maintained Joint-Embedding
Alignment, arXiv 2409.01936; the cosine of 0.27 is theirs, for OpenAI's CLIP.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .answers import Embeddings
from .data import Manifest
from .data.tables import text_lines
from .errors import ConfigError, DataError
from .files import atomic_path
from .inputs import encode_texts
from .limits import DEFAULT
from .metrics.ranking import top_k

if TYPE_CHECKING:
    from .data import Record
    from .handle import ModelHandle

THRESHOLD = 0.27
"""Cosine of image and text from which a text counts as fitting, for CLIPs of OpenAI's scale."""


@dataclass(frozen=True)
class PseudoCaptions:
    """What a model chose.

    Attributes:
        captions: {id of an image: texts, best first}; an image without a fitting one is not there.
        without: images that no text of the pool fits.
        failures: {id: reason} of images that cannot be used.
        threshold: least cosine. best: quartiles (lower, median, upper) of each image's highest cosine.
    """

    captions: Mapping[str, tuple[str, ...]]
    without: int
    failures: Mapping[str, str]
    threshold: float
    best: tuple[float, float, float]
    records: tuple[Record, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return counts and quartiles as plain values for JSON."""
        found = asdict(self)
        del found["captions"], found["records"]
        counts = [len(texts) for texts in self.captions.values()]
        return {**found, "with_captions": len(counts), "captions": sum(counts)}

    def save(self, path: str | Path, *, root: str | Path | None = None) -> Path:
        """Write JSON lines with ``path``, ``label``, ``split``, ``text``, a row per caption; return the file.

        They are what a recipe's source reads with ``reader: jsonl`` and ``captions: text``.

        Args:
            root: folder that the paths shall start from; None leaves them as they are in the manifest.
        """
        path = Path(path)
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
            for record in self.records:
                where = record.path if root is None else (Path(root) / str(record.path)).as_posix()
                row = {"path": where, "label": record.label, "split": record.split}
                kept = {key: value for key, value in row.items() if value is not None}
                for text in self.captions.get(record.id, ()):
                    handle.write(json.dumps({**kept, "text": text}, ensure_ascii=False) + "\n")
        return path


def choose_captions(
    model: ModelHandle,
    images: Manifest,
    pool: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    at_most: int = 5,
    batch_size: int = 8,
) -> PseudoCaptions:
    """Return for each image the texts of a pool that fit it best, by the model's own judgment.

    Args:
        model: the untuned one, which the tuned one shall still agree with.
        images: with files; labels and splits are kept.
        pool: texts that say what is seen, as many and as different as there are; repeated ones count once.
        threshold: least cosine. Models differ: look at ``best`` of the result, and choose so that most images
            have a caption and few have only wrong ones.
        at_most: captions per image.
        batch_size: images per call of the network.

    Raises:
        ConfigError: ``threshold`` is no cosine, or ``at_most`` below 1.
        DataError: an empty pool, no image that can be used, or none that a text fits.
    """
    if not -1 <= threshold <= 1 or at_most < 1:
        raise ConfigError(
            f"threshold is a cosine from -1 to 1 and at_most at least 1; got {threshold} and {at_most}."
        )
    texts = list(dict.fromkeys(" ".join(text.split()) for text in pool if text.strip()))
    if not texts:
        raise DataError("The pool of captions is empty.")
    records = [record for record in images if record.path is not None]
    if not records:
        raise DataError("The manifest has no images.")
    vectors, kept, failures = [], [], {}
    found = model.embed_each([images.file_of(record) for record in records], batch_size=batch_size)
    for record, answer in zip(records, found, strict=True):
        if isinstance(answer, Embeddings):
            vectors.append(answer.vectors)
            kept.append(record)
        else:
            failures[record.id] = answer.error
    if not kept:
        first = next(iter(failures.items()))
        raise DataError(f"None of {len(records)} images can be used, first {first[0]}: {first[1]}")
    columns, scores = top_k(torch.cat(vectors), encode_texts(model, texts), min(at_most, len(texts)))
    chosen: dict[str, tuple[str, ...]] = {}
    for record, places, cosines in zip(kept, columns.tolist(), scores.tolist(), strict=True):
        fitting = [texts[place] for place, score in zip(places, cosines, strict=True) if score >= threshold]
        if fitting:
            chosen[record.id] = tuple(fitting)
    quartiles = torch.quantile(scores[:, 0], torch.tensor([0.25, 0.5, 0.75])).tolist()
    if not chosen:
        raise DataError(
            f"No text of the pool has a cosine of {threshold} or more with an image; half of them reach "
            f"{quartiles[1]:.3f}. Lower the threshold, or take texts that say what is seen."
        )
    return PseudoCaptions(
        chosen,
        len(kept) - len(chosen),
        failures,
        threshold,
        (quartiles[0], quartiles[1], quartiles[2]),
        tuple(kept),
    )


def read_pool(path: str | Path) -> list[str]:
    """Return the lines of a text file that are not blank, as captions.

    Raises:
        DataError: missing, not UTF-8, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path.name}: no such file.")
    lines = [line.strip() for _, line in text_lines(path, DEFAULT)]
    if not any(lines):
        raise DataError(f"{path.name}: no captions; one per line is expected.")
    return [line for line in lines if line]
