"""Captions without a captioning model: what can be measured of a tile, and its land use where it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ....core.errors import ConfigError
from ..facts import NOUNS, captions_of, facts_of

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle


class FactCaptioner:
    """Writes what the pixels show (color, brightness, texture) and, where it is known, the land use.

    Runs offline and on any machine. Its captions are short and plain, and say only what was measured or
    given: good for trying out a pipeline, and as a baseline that a captioning model has to beat.

    Args:
        model: tells the land use of each picture by its text prompts; None leaves that open.
        label_of: from the name of a picture to its land use, a class of EuroSAT, or None where the name does
            not tell; goes before ``model``. See :func:`label_of_folder`.
        count: captions per picture.

    Raises:
        ConfigError: ``count`` is below 1.

    Example:
        >>> import torch
        >>> FactCaptioner(count=1).caption([torch.full((3, 64, 64), 0.1)], seed=1)  # doctest: +SKIP
        ['there is a dark, smooth area.']
    """

    def __init__(
        self,
        model: ModelHandle | None = None,
        *,
        label_of: Callable[[str], str | None] | None = None,
        count: int = 3,
    ) -> None:
        if count < 1:
            raise ConfigError(f"A picture gets at least one caption, got count {count}.")
        self._model, self._label_of, self._count = model, label_of, count

    @property
    def identity(self) -> Mapping[str, str]:
        """The model that tells the land use, and how many captions a picture gets."""
        model = {} if self._model is None else {"model": self._model.id, "revision": self._model.revision}
        return {"captioner": "facts", "count": str(self._count), "named": str(bool(self._label_of)), **model}

    def caption(self, images: Sequence[Tensor], *, names: Sequence[str] = (), seed: int = 0) -> list[str]:
        """Return the captions of each picture [3, H, W] as sentences of one text; see :class:`.Captioner`."""
        called = list(names) or [""] * len(images)
        labels = [self._label_of(name) if self._label_of is not None else None for name in called]
        self._classify(images, labels)
        texts = []
        for position, (image, label, name) in enumerate(zip(images, labels, called, strict=True)):
            own = f"{seed}:{name or position}"
            captions = captions_of(label, facts_of(image), count=self._count, seed=own)
            texts.append(". ".join(captions) + ".")
        return texts

    def _classify(self, images: Sequence[Tensor], labels: list[str | None]) -> None:
        """Fill in the land uses that no name tells."""
        unknown = [position for position, label in enumerate(labels) if label is None]
        if self._model is None or not unknown:
            return
        spoken = {name if self._model.prompts is not None else _words(name): name for name in NOUNS}
        found = self._model.classify(
            [images[position] for position in unknown], list(spoken), batch_size=len(unknown)
        )
        for position, prediction in zip(unknown, found, strict=True):
            labels[position] = spoken[prediction.label]


def label_of_folder(name: str) -> str | None:
    """Return the land use that a picture's folder is called after, or None.

    Example:
        >>> label_of_folder("train/Forest/Forest_12.jpg"), label_of_folder("scene_3_4")
        ('Forest', None)
    """
    folder = PurePosixPath(name).parent.name
    return folder if folder in NOUNS else None


def _words(name: str) -> str:
    """Return the name of a class as words: ``"SeaLake"`` becomes ``"sea lake"``."""
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).strip().lower()
