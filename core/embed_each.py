"""Embedding many images in memory, where a bad one is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import Failure

if TYPE_CHECKING:
    from torch import Tensor

    from .handle import ModelHandle

Progress = Callable[[int, int], None]
"""Called with (done, all)."""


@dataclass(frozen=True)
class EmbeddedImages:
    """Embeddings of the images that could be used.

    Attributes:
        vectors: float32 [M, D], unit length, on the CPU.
        kept: M positions in the list that was given.
        failures: the others, and why.
    """

    vectors: Tensor
    kept: tuple[int, ...]
    failures: tuple[Failure, ...]


def embed_images(
    model: ModelHandle,
    files: Sequence[Path],
    *,
    ids: Sequence[str] | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
    **options: Any,
) -> EmbeddedImages:
    """Return the embeddings of image files; those that cannot be used are told apart.

    Args:
        model: with an image tower.
        files: read by the loader of the model's domain, by threads that run ahead of the network.
        ids: what a failure is called; None takes the paths.
        batch_size: images per call of the network; the result does not depend on it.
        progress: told after each batch.
        options: of the domain's loader.

    Raises:
        ConfigError: ``batch_size`` is below 1, or a loader option is wrong.
    """
    import torch

    rows: list[Tensor] = []
    kept: list[int] = []
    failures: list[Failure] = []
    answers = model.embed_each(files, modality="image", batch_size=batch_size, **options)
    for position, answer in enumerate(answers):
        if isinstance(answer, Failure):
            failures.append(Failure(answer.id if ids is None else ids[position], answer.error))
        else:
            rows.append(answer.vectors)
            kept.append(position)
        done = position + 1
        if progress is not None and (done % batch_size == 0 or done == len(files)):
            progress(done, len(files))
    vectors = torch.cat(rows) if rows else torch.empty(0, model.config.embed_dim)
    return EmbeddedImages(vectors, tuple(kept), tuple(failures))
