"""What a domain's tasks may ask of the model that a user holds."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from .answers import Embeddings, Prediction
    from .config import ModelConfig
    from .limits import Limits
    from .model import ContrastiveModel
    from .processing import Processor
    from .prompts import PromptSet
    from .types import Modality, Sample


class ModelHandle(Protocol):
    """The part of :class:`verticlip.Model` that tasks of a domain use; see there for each member."""

    network: ContrastiveModel
    processor: Processor
    prompts: PromptSet | None
    limits: Limits

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def revision(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def load(  # noqa: D102
        self, path: str | Path, *, modality: str | None = None, show_paths: bool = False, **options: Any
    ) -> Sample: ...
    def embed(  # noqa: D102
        self, items: Any, *, modality: Modality | None = None, batch_size: int = 8, **options: Any
    ) -> Embeddings: ...
    def classify(  # noqa: D102
        self,
        items: Any,
        labels: Sequence[str] | None = None,
        *,
        templates: PromptSet | Sequence[str] | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> list[Prediction]: ...
    def prompts_for(  # noqa: D102
        self, labels: Sequence[str] | None, templates: PromptSet | Sequence[str] | None = None
    ) -> PromptSet: ...
    def precision(self, modality: str) -> contextlib.AbstractContextManager[Any]: ...  # noqa: D102
