"""What a domain's tasks may ask of the model that a user holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from .answers import Embeddings, Failure, Prediction
    from .config import ModelConfig
    from .limits import Limits
    from .model import ContrastiveModel
    from .processing import Processor
    from .prompts import PromptSet
    from .types import Modality, Sample


class ModelHandle(Protocol):
    """The part of :class:`verticlip.Model` that tasks of a domain use; see there for arguments and errors.

    Attributes:
        network: in evaluation mode, on :attr:`device`.
        processor: the preprocessing that belongs to the weights.
        prompts: the model's own classes and templates, or None.
        limits: ceilings for every input.
        variant: how the network differs from that of the weights, a word that :attr:`revision` ends in;
            empty where it does not.
    """

    network: ContrastiveModel
    processor: Processor
    prompts: PromptSet | None
    limits: Limits
    variant: str

    @property
    def config(self) -> ModelConfig:
        """Architecture of the network."""
        ...

    @property
    def id(self) -> str:
        """Name results carry: registry name, ``org/name``, or the folder as given."""
        ...

    @property
    def revision(self) -> str:
        """Commit or hash of the weights; ``unsaved`` when they were not loaded from anywhere."""
        ...

    @property
    def device(self) -> torch.device:
        """Device the network runs on."""
        ...

    def load(
        self, path: str | Path, *, modality: str | None = None, show_paths: bool = False, **options: Any
    ) -> Sample:
        """Return one file as a sample, read by the loader of the model's domain."""
        ...

    def embed(
        self, items: Any, *, modality: Modality | None = None, batch_size: int = 8, **options: Any
    ) -> Embeddings:
        """Return unit embeddings float32 [B, D] of a batch; one bad item refuses it as a whole."""
        ...

    def embed_each(
        self,
        items: Sequence[Any],
        *,
        modality: Modality | None = None,
        batch_size: int = 8,
        workers: int | None = None,
        **options: Any,
    ) -> Iterator[Embeddings | Failure]:
        """Return an iterator over the embedding (B = 1) or the failure of each input, in order."""
        ...

    def classify(
        self,
        items: Any,
        labels: Sequence[str] | None = None,
        *,
        templates: PromptSet | Sequence[str] | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> list[Prediction]:
        """Return one prediction per item, by comparing it with the text of each label."""
        ...

    def prompts_for(
        self, labels: Sequence[str] | None, templates: PromptSet | Sequence[str] | None = None
    ) -> PromptSet:
        """Return the prompt set that answers with ``labels``; None takes the model's own classes."""
        ...

    def precision(self, modality: str) -> contextlib.AbstractContextManager[Any]:
        """Return the context to call the network in, as the user chose the number format."""
        ...
