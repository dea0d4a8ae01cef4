"""What a run asks of its data, and how a domain makes kinds of training of its own.

A recipe with ``task: word`` is prepared by the function that its domain lists in ``TASKS``::

    TASKS = {"mix_and_separate": "clipsep.training:prepare"}

    def prepare(loaded: LoadedRecipe, folder: Path, start: Start | None) -> RunData: ...

The function checks ``loaded.recipe.options`` with a ``Config`` of its own and returns anything that has
the attributes of :class:`RunData`, often a frozen dataclass. Everything else is the run's: the model is
built from ``model_config`` and filled from the start, ``loader`` gives it batches, the objective of the
recipe reads outputs and batches, ``evaluate`` judges the weights at step 0 and while they train. What
there is to build with:

- :func:`verticlip.core.gather.gather_rows`: rows of all sources, split, groups kept together, leakage
  refused, nothing decoded; its ``digest(...)`` of ids, labels, splits and of what the task adds.
  Readers give the rows; with a task they may be without label and caption.
- :func:`verticlip.core.stores.record_loader`: a record to a sample, by the domain's loader.
- :func:`verticlip.core.start.model_config` and :func:`verticlip.core.start.start_processor`: the model of
  the run, and the processor, with the tokenizer of the start.
- :class:`verticlip.core.data.ResumableLoader` with a collate ``(records, generator) -> Batch`` that draws
  nothing but from ``generator``: then an interrupted run continues at the exact next batch.
- ``initialize(model)``, a further method that the returned object may have: what the data alone know and
  the weights shall carry, such as means; called once the new model was filled from the start.
- :func:`fixed_batches` and :func:`verticlip.core.validation.mean_loss` for ``validation_loss``,
  :func:`verticlip.core.validation.judged` around what ``evaluate`` computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from .registry import room

if TYPE_CHECKING:
    from .config import ModelConfig
    from .data import Manifest, Record, ResumableLoader
    from .model import ContrastiveModel
    from .objectives.base import Objective
    from .processing import Processor
    from .prompts import PromptSet
    from .recipe import EvaluationConfig, LoadedRecipe
    from .start import Start
    from .types import Batch


class RunData(Protocol):
    """Everything a run asks of its data; the attributes are read only."""

    @property
    def manifest(self) -> Manifest:
        """All records with their split and source, of training, validation and test."""
        ...

    @property
    def prompts(self) -> PromptSet | None:
        """The prompt set that goes with the model, or None."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the run, in the order of their indices; may be empty."""
        ...

    @property
    def processor(self) -> Processor:
        """What is saved beside the weights."""
        ...

    @property
    def model_config(self) -> ModelConfig:
        """The model that is built and trained."""
        ...

    @property
    def loader(self) -> ResumableLoader[Batch]:
        """Training batches."""
        ...

    @property
    def digest(self) -> str:
        """16 hex digits that change when records, splits or anything that makes batches of them change."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What ``metrics.json`` says about the data beside classes and split sizes; plain values.

        ``score_name``, ``score_unit`` and ``chance_name`` say how the score is spoken of; see
        :class:`ScoreWords`. The model's card shows ``command``, how it is used (plain words of this
        program; ``MODEL`` stands for its name), and takes ``pipeline_tag`` (``audio-to-audio``) and the lines
        of ``card_header`` ({field: text}) for its header.
        """
        ...

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return how good the model is on the validation part, the same at every call.

        Args:
            model, objective: any mode, on any device; put back as they were.
            settings: of the recipe. details: the last, thorough evaluation, whose result is stored.

        Returns:
            ``score``: finite, higher is better, in any unit, negative values allowed; ``chance``: the score
            of guessing, or of doing nothing; ``sources``: {source: {"score": ..., "chance": ..., and any
            further numbers}}; further keys at will. Plain values.
        """
        ...

    def validation_loss(self, model: ContrastiveModel, objective: Objective) -> float | None:
        """Return the mean objective over the validation part, or None where there is none."""
        ...


Task = Callable[["LoadedRecipe", Path, "Start | None"], RunData]
"""From a recipe, the data folder and the start to what the run reads."""


def prepare_run(loaded: LoadedRecipe, folder: Path, start: Start | None = None) -> RunData:
    """Return what a run reads: made by the recipe's task, or samples with texts or classes.

    Raises:
        ConfigError: the domain has no such task; and what the task or :func:`prepare_data` raises.
        DataError: likewise.
    """
    recipe = loaded.recipe
    if recipe.task is None or recipe.domain is None:
        from .training_data import prepare_data

        return prepare_data(loaded, folder, start)
    task = cast("Task", room(recipe.domain).function("tasks", recipe.task))
    return task(loaded, folder, start)


def initialize(data: RunData, model: ContrastiveModel) -> None:
    """Give a new model, filled from the start, what only the data know, where ``data.initialize`` does so."""
    own = getattr(data, "initialize", None)
    if own is not None:
        own(model)


def fixed_batches(
    records: Sequence[Record], collate: Callable[[Sequence[Record], torch.Generator], Batch], size: int
) -> Iterator[Batch]:
    """Yield records as batches of ``size``, the same at every call.

    They are mixed in an order that depends on the ids only, and each batch gets a generator of its own
    number; a rest that fills no batch is left out, and so are batches of one.
    """
    records = sorted(records, key=lambda record: hashlib.sha256(record.id.encode()).digest())
    size = min(size, len(records))
    for number in range(len(records) // size if size > 1 else 0):
        generator = torch.Generator().manual_seed(number)
        yield collate(records[number * size : (number + 1) * size], generator)


@dataclass(frozen=True)
class ScoreWords:
    """How the score of a run is spoken of.

    Attributes:
        name: what it is: ``SI-SDR improvement``. unit: ``dB``, or empty for a plain number.
        chance: what it is compared with: ``chance``, ``the mixture itself``.
    """

    name: str = "score"
    unit: str = ""
    chance: str = "chance"

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> ScoreWords:
        """Return the words that a run's facts, or its ``metrics.json``, give."""
        named = {"name": "score_name", "unit": "score_unit", "chance": "chance_name"}
        return cls(**{word: str(facts[key]) for word, key in named.items() if facts.get(key)})

    def value(self, number: float) -> str:
        """Return a number with its unit: ``5.312 dB``."""
        return f"{number:.3f} {self.unit}".rstrip()

    def line(self, report: Mapping[str, Any]) -> str:
        """Return the score of a report beside what it is compared with."""
        return f"{self.name} {self.value(report['score'])}, {self.chance} {self.value(report['chance'])}"
