"""Embedding many inputs in memory, where a bad one is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import Failure
from .embed import reason_of

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
        files: read by the loader of the model's domain.
        ids: what a failure is called; None takes the paths.
        batch_size: images per call of the network; the result does not depend on it.
        progress: told after each batch.
        options: of the domain's loader.
    """
    import torch

    rows: list[Tensor] = []
    kept: list[int] = []
    failures: list[Failure] = []
    for start in range(0, len(files), batch_size):
        positions = range(start, min(start + batch_size, len(files)))
        try:
            rows.append(_embed(model, [files[p] for p in positions], options))
            kept += positions
        except Exception:  # the edge of the batch: the bad file is found one by one
            for position in positions:
                try:
                    rows.append(_embed(model, [files[position]], options))
                    kept.append(position)
                except Exception as error:
                    name = ids[position] if ids is not None else str(files[position])
                    failures.append(Failure(name, reason_of(error)))
        if progress is not None:
            progress(positions.stop, len(files))
    vectors = torch.cat(rows) if rows else torch.empty(0, model.config.embed_dim)
    return EmbeddedImages(vectors, tuple(kept), tuple(failures))


def _embed(model: ModelHandle, files: list[Path], options: dict[str, Any]) -> Tensor:
    return model.embed(files, modality="image", batch_size=len(files), **options).vectors
