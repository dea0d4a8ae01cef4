"""Captions by a model of architecture ``coca``, the way UrbanCLIP describes places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..coca.decoding import as_coca, describe

if TYPE_CHECKING:
    from torch import Tensor

    from ....core.handle import ModelHandle


class CoCaCaptioner:
    """The caption decoder of a CoCa model.

    Args:
        model: of architecture ``coca``.
        prefix: how every caption begins, e.g. ``a satellite image of``.
        options: fields of :class:`..coca.choosing.Decoding`; without any, captions are drawn as published
            (``top_p`` of 0.1, which is nearly greedy, and at most 30 tokens).

    Raises:
        ConfigError: the model writes no captions; at the first picture, an option that cannot be.

    Example:
        >>> model = verticlip.from_pretrained("urban/coca-vit-l14-mscoco")  # doctest: +SKIP
        >>> CoCaCaptioner(model, method="beam").caption([picture])  # doctest: +SKIP
        ['a satellite image of a large industrial area .']
    """

    def __init__(self, model: ModelHandle, *, prefix: str = "", **options: Any) -> None:
        as_coca(model)
        self._model, self._prefix, self._options = model, prefix, options

    @property
    def identity(self) -> Mapping[str, str]:
        """Model, revision, and how it writes."""
        return {
            "captioner": self._model.id,
            "revision": self._model.revision,
            "options": repr({"prefix": self._prefix, **dict(sorted(self._options.items()))}),
        }

    def caption(self, images: Sequence[Tensor], *, names: Sequence[str] = (), seed: int = 0) -> list[str]:
        """Return one text per picture; see :class:`.captioner.Captioner`."""
        if not images:
            return []
        return describe(
            self._model,
            list(images),
            batch_size=len(images),
            prefix=self._prefix,
            seed=seed,
            **self._options,
        )
