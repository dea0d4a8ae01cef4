"""How well images find their captions and back, by the protocols of the published tables.

``remoteclip`` (also of GeoRSCLIP): every caption counts for itself, also where two read the same; written
with a capital first letter and the rest small; recall at 1, 5 and 10 and the mean of the six.

``skyscript``: captions that read the same are one text, which belongs to all of their images; each begins
with "a satellite image. "; recall at 1, 5, 10 and 100. The two are not comparable.

Reference: Liu et al. 2024, RemoteCLIP, arXiv 2306.11029; Wang et al. 2024, SkyScript, arXiv 2312.12856.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....core.answer_each import check_batch_size
from ....core.answers import Failure
from ....core.embed_each import Progress, embed_images
from ....core.errors import ConfigError, DataError, nearest
from ....core.files import write_json_atomic
from ....core.inputs import encode_inputs
from ....core.metrics.bootstrap import Bootstrap, Estimate
from ....core.metrics.retrieval import Direction
from ....core.processing import Processor
from ....core.text_gallery import TextGallery, best_ranks
from .published_results import retrieval_notes
from .retrieval_data import CaptionedImage, CaptionedImages, read_pairs

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

__all__ = [
    "PROTOCOLS",
    "CaptionedImage",
    "CaptionedImages",
    "RetrievalProtocol",
    "RetrievalResult",
    "evaluate_retrieval",
    "read_pairs",
    "write_result",
]

_MEAN_DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalProtocol:
    """How captions are shown and counted.

    Attributes:
        name: what users call it.
        prefix: before each caption.
        capitalize: first letter large, all others small.
        merge: captions that read the same are one text.
        depths: k of recall@k.
    """

    name: str
    prefix: str
    capitalize: bool
    merge: bool
    depths: tuple[int, ...]

    def shown(self, caption: str) -> str:
        """Return a caption as the text tower gets it."""
        return self.prefix + (caption.capitalize() if self.capitalize else caption)


PROTOCOLS = {
    "remoteclip": RetrievalProtocol("remoteclip", "", capitalize=True, merge=False, depths=(1, 5, 10)),
    "skyscript": RetrievalProtocol(
        "skyscript", "a satellite image. ", capitalize=False, merge=True, depths=(1, 5, 10, 100)
    ),
}
"""{name: protocol}; the first is the usual one."""


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval in both directions.

    Attributes:
        data, split: what was measured.
        protocol: by which convention.
        images, texts: how many different ones were ranked.
        image_to_text, text_to_image: recall at each depth, ranks of the best match from 1; 95 % intervals
            over images, and over texts grouped by their first image.
        mean_recall: of recall at 1, 5 and 10 both ways; its interval is over images.
        missing: images that the caption file names and the folder does not hold.
        failures: images that could not be used, with the captions that only they had.
        notes: what to know before comparing the numbers.
        origin: model, revision and processor.
    """

    data: str
    split: str
    protocol: str
    images: int
    texts: int
    image_to_text: Direction
    text_to_image: Direction
    mean_recall: Estimate
    missing: tuple[str, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    origin: dict[str, str]

    def rows(self) -> list[tuple[str, Estimate | None, Estimate | None]]:
        """Return (metric, image to text, text to image); the mean of both stands in the first column."""
        both = self.image_to_text, self.text_to_image
        depths = sorted({*both[0].recall, *both[1].recall})
        cut = [(f"recall@{k}", both[0].recall.get(k), both[1].recall.get(k)) for k in depths]
        names = ("mrr", "median_rank", "mean_rank")
        whole = [(name, getattr(both[0], name), getattr(both[1], name)) for name in names]
        return [*cut, ("mean recall, both ways", self.mean_recall, None), *whole]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.origin,
            "task": "retrieval",
            "data": self.data,
            "split": self.split,
            "protocol": self.protocol,
            "images": self.images,
            "texts": self.texts,
            "image_to_text": self.image_to_text.to_dict(),
            "text_to_image": self.text_to_image.to_dict(),
            "mean_recall": self.mean_recall.to_dict(),
            "missing": list(self.missing),
            "notes": list(self.notes),
            "failed": [failure.to_dict() for failure in self.failures],
        }


def evaluate_retrieval(
    model: ModelHandle,
    pairs: CaptionedImages,
    *,
    protocol: str | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> RetrievalResult:
    """Rank the captions for each image and the images for each caption.

    Args:
        model: with an image and a text tower.
        pairs: of :func:`read_pairs`.
        protocol: ``remoteclip`` or ``skyscript``; None takes the first.
        batch_size: images per call of the network.
        progress: told (done, all) of the images.
        options: of the domain's loader.

    Raises:
        ConfigError: no such protocol, or a batch size below 1.
        DataError: no usable image.

    Example:
        >>> pairs = read_pairs("dataset_rsicd.json", "RSICD_images")  # doctest: +SKIP
        >>> evaluate_retrieval(model, pairs).mean_recall  # doctest: +SKIP
    """
    by = _protocol(protocol)
    check_batch_size(batch_size)
    # A caption that cannot be used should show before all the images are read.
    texts, owner_of = _texts(pairs, by)
    gallery, cut = _gallery(model, texts)
    embedded = embed_images(
        model, [one.path for one in pairs.images], batch_size=batch_size, progress=progress, **options
    )
    if not embedded.kept:
        raise DataError(
            f"None of {len(pairs.images)} images could be used. First: {embedded.failures[0].error}"
        )
    place = {image: position for position, image in enumerate(embedded.kept)}
    links = np.array(
        [(place[image], text) for text, image in owner_of if image in place], dtype=np.int64
    ).reshape(-1, 2)
    if not len(links):
        raise DataError("No usable image has a caption.")
    shown, matches = np.unique(links[:, 1]), np.unique(links, axis=0)
    matches[:, 1] = np.searchsorted(shown, matches[:, 1])
    with_text = np.unique(matches[:, 0])
    matches[:, 0] = np.searchsorted(with_text, matches[:, 0])
    images = embedded.vectors[torch.from_numpy(with_text)]
    image_ranks, text_ranks = best_ranks(images, gallery.chosen(shown.tolist()), matches)
    first_image = np.full(len(shown), len(images))
    np.minimum.at(first_image, matches[:, 1], matches[:, 0])
    return RetrievalResult(
        pairs.name,
        pairs.split,
        by.name,
        len(images),
        len(shown),
        _direction(image_ranks, None, by.depths, len(shown)),
        _direction(text_ranks, first_image, by.depths, len(images)),
        _mean_recall(image_ranks, text_ranks, first_image),
        pairs.missing,
        embedded.failures,
        _notes(model, pairs, by, cut=cut, images=len(images)),
        {"model": model.id, "revision": model.revision, "processor": model.processor.fingerprint},
    )


def write_result(result: RetrievalResult, out: str | Path) -> Path:
    """Write ``retrieval.json`` into a folder and return its path."""
    path = Path(out) / "retrieval.json"
    write_json_atomic(path, result.to_dict())
    return path


def _protocol(name: str | None) -> RetrievalProtocol:
    if name is None:
        return next(iter(PROTOCOLS.values()))
    if name not in PROTOCOLS:
        raise ConfigError(
            f"No retrieval protocol {name!r}; there are: {', '.join(PROTOCOLS)}.{nearest(name, PROTOCOLS)}"
        )
    return PROTOCOLS[name]


def _texts(pairs: CaptionedImages, by: RetrievalProtocol) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the texts to rank and (text, image) of everything that belongs together."""
    texts: list[str] = []
    links: list[tuple[int, int]] = []
    known: dict[str, int] = {}
    for image, one in enumerate(pairs.images):
        for caption in map(by.shown, one.captions):
            if by.merge and caption in known:
                links.append((known[caption], image))
                continue
            known[caption] = len(texts)
            links.append((len(texts), image))
            texts.append(caption)
    return texts, links


def _gallery(model: ModelHandle, texts: list[str]) -> tuple[TextGallery, int]:
    """Return the texts to rank, and how many were cut at the model's length, as both protocols do."""
    text = model.processor.config.text
    room = text.context_length if text is not None else 0
    cut = sum(count > room for count in model.processor.count_tokens(texts))
    if not cut or text is None:
        return TextGallery(model.embed(texts, modality="text").vectors, None, len(texts)), 0
    config = model.processor.config.model_copy(
        update={"text": text.model_copy(update={"overlong": "truncate"})}
    )
    processor = Processor(config, model.processor.tokenizer_json, limits=model.limits)
    return TextGallery(encode_inputs(model, "text", processor("text", texts)), None, len(texts)), cut


def _direction(
    ranks: NDArray[np.int64], groups: NDArray[np.int64] | None, depths: tuple[int, ...], gallery: int
) -> Direction:
    bootstrap = Bootstrap(len(ranks), groups=groups)
    return Direction(
        # Beyond the gallery everything is found.
        recall={k: bootstrap.mean(ranks < k) for k in depths if k <= gallery},
        mrr=bootstrap.mean(1.0 / (ranks + 1)),
        median_rank=bootstrap.median(ranks + 1),
        mean_rank=bootstrap.mean(ranks + 1),
    )


def _mean_recall(
    image_ranks: NDArray[np.int64], text_ranks: NDArray[np.int64], owners: NDArray[np.int64]
) -> Estimate:
    """Return the mean of recall at 1, 5 and 10 of both directions; images are resampled with their texts."""
    count = len(image_ranks)
    image_hits = np.stack([image_ranks < k for k in _MEAN_DEPTHS], axis=1).astype(np.float64)
    text_hits = np.zeros((count, len(_MEAN_DEPTHS)))
    np.add.at(text_hits, owners, np.stack([text_ranks < k for k in _MEAN_DEPTHS], axis=1).astype(np.float64))
    texts = np.bincount(owners, minlength=count).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        found = weights @ image_hits / weights.sum(axis=1, keepdims=True)
        shown = weights @ text_hits
        asked = weights @ texts
        back = np.divide(shown, asked[:, None], out=np.full_like(shown, np.nan), where=asked[:, None] > 0)
        return (found.mean(axis=1) + back.mean(axis=1)) / 2

    return Bootstrap(count).estimate(statistic)


def _notes(
    model: ModelHandle, pairs: CaptionedImages, by: RetrievalProtocol, *, cut: int, images: int
) -> tuple[str, ...]:
    notes = []
    if cut:
        notes.append(f"{cut} captions are longer than the model reads; only their beginning counts.")
    if pairs.missing:
        notes.append(
            f"{len(pairs.missing)} images of the caption file are not in the folder, the first "
            f"{pairs.missing[0]!r}; they and their captions are left out."
        )
    if "remoteclip" in model.id:
        notes.append("RemoteCLIP was trained on the captions of RSICD, RSITMD and UCM: not zero-shot.")
    if by.name == "remoteclip":
        notes += retrieval_notes(model.id, pairs.name, images)
    return tuple(notes)
