"""Training from a recipe: resumable to the batch, judged from step 0, written atomically.

Run folder::

    recipe.yaml prompts.yaml manifest.jsonl   what was run, resolved
    checkpoints/last.ckpt                      state to resume from (weights_only)
    metrics.jsonl curves.png                   one row per evaluation, step 0 included
    model/                                     the selected model: from_pretrained reads it
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .checkpoint import load_strict, read_weights, save_weights
from .errors import ConfigError, DataError, require
from .files import CONFIG_FILE, PROMPTS_FILE, WEIGHTS_FILE, read_json, write_json_atomic, write_text_atomic
from .model import build_model
from .objectives.base import build_objective
from .plots import save_curves
from .recipe import LoadedRecipe, Recipe, dump_recipe, load_recipe
from .training_data import TrainingData, prepare_data
from .validation import evaluate_zero_shot

if TYPE_CHECKING:
    import lightning


@dataclass(frozen=True)
class TrainResult:
    """What a run produced.

    Attributes:
        folder: the run folder. model: the folder of the selected model.
        metrics: evaluation of the selected model, as in ``model/metrics.json``.
        steps: optimizer steps done. resumed_from: the step the run started at.
    """

    folder: Path
    model: Path
    metrics: dict[str, Any]
    steps: int
    resumed_from: int


def train(
    recipe: str | Path | Recipe | LoadedRecipe,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
) -> TrainResult:
    """Train a model by recipe and return where it is and how good it is.

    Args:
        recipe: name, YAML path or loaded recipe.
        data: folder that the recipe's sources are relative to.
        out: run folder; continued when it holds an unfinished run of the same recipe and data.
        overrides: ``key.subkey=value`` changes of the recipe.
        resume: False starts again in an existing run folder.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: bad recipe, or ``out`` holds a run of another recipe or other data.
        DataError: unusable data, a non-finite loss, or a result not above chance.
        DependencyError: ``lightning`` is not installed (extra ``train``).
    """
    require("lightning", extra="train")
    loaded = recipe if isinstance(recipe, LoadedRecipe) else _loaded(recipe)
    if overrides:
        loaded = LoadedRecipe(loaded.recipe.with_(overrides), loaded.prompts)
    run = Run(loaded, Path(data), Path(out), resume=resume)
    if run.is_finished:
        return run.result(resumed_from=run.finished_steps)
    return run.fit(progress=progress)


def _loaded(recipe: str | Path | Recipe) -> LoadedRecipe:
    if isinstance(recipe, Recipe):
        raise ConfigError(
            "Pass a recipe name, a YAML path, or load_recipe(...): a Recipe alone has no prompt set."
        )
    return load_recipe(recipe)


class Run:
    """One run folder and everything built from its recipe."""

    def __init__(self, loaded: LoadedRecipe, data: Path, out: Path, *, resume: bool) -> None:
        self.recipe, self.out = loaded.recipe, out
        self.objective = build_objective(
            self.recipe.objective.name, self.recipe.objective.options, domain=self.recipe.domain
        )
        self.data: TrainingData = prepare_data(loaded, data)
        self.processor = self.data.processor
        torch.manual_seed(self.recipe.seed)
        # The layout CPU convolutions work in; other layers do not care.
        self.model = build_model(self.data.model_config).to(memory_format=torch.channels_last)
        missing = set(self.objective.needs.modalities) - set(self.model.modalities)
        if missing:
            raise ConfigError(
                f"Objective {self.recipe.objective.name!r} compares {sorted(missing)[0]!r}, which the "
                f"model has no tower for; it has {', '.join(self.model.modalities)}."
            )
        for modality in self.recipe.freeze:
            self.model.freeze(modality)
        self._claim(loaded, resume=resume)

    @property
    def checkpoint(self) -> Path:
        """State to resume from; absent before the first save."""
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Weights with the best validation score so far; gone once the run is finished."""
        return self.out / "best" / WEIGHTS_FILE

    @property
    def is_finished(self) -> bool:
        """Whether the selected model was written."""
        return (self.out / "model" / "metrics.json").is_file()

    @property
    def finished_steps(self) -> int:
        """Optimizer steps of a finished run."""
        return int(read_json(self.out / "model" / "metrics.json")["steps"])

    def _claim(self, loaded: LoadedRecipe, *, resume: bool) -> None:
        """Make ``out`` this run's folder, or find it already is; never mix two runs."""
        identity = {"recipe": self.recipe.digest, "data": self.data.digest}
        path = self.out / "run.json"
        if path.is_file() and resume:
            before = read_json(path)
            for word in identity:
                if before.get(word) != identity[word]:
                    raise ConfigError(
                        f"{self.out} holds a run of another {word} ({before.get(word)}, now "
                        f"{identity[word]}). "
                        "Choose another --out, or start again with --no-resume."
                    )
        elif self.out.exists() and any(self.out.iterdir()):
            if not path.is_file():
                raise ConfigError(f"{self.out} is not empty and not a run folder. Choose another --out.")
            for name in ("checkpoints", "best", "model"):
                shutil.rmtree(self.out / name, ignore_errors=True)
            for name in ("metrics.jsonl", "curves.png"):
                (self.out / name).unlink(missing_ok=True)
        # First: a run killed among these files is still known as this run, and writes them again.
        write_json_atomic(path, identity)
        write_text_atomic(self.out / "recipe.yaml", dump_recipe(self.recipe))
        write_text_atomic(
            self.out / f"{self.recipe.prompts}.yaml", loaded.prompts.read_text(encoding="utf-8")
        )
        self.data.manifest.save(self.out / "manifest.jsonl")

    def fit(self, *, progress: bool) -> TrainResult:
        """Run or continue the training and write the selected model."""
        from .trainee import Trainee

        trainee = Trainee(self)
        start = 0
        if self.checkpoint.is_file():
            start = int(torch.load(self.checkpoint, weights_only=True, mmap=True)["global_step"])
        with _quiet():
            trainer = self._trainer(progress=progress)
            trainer.fit(
                trainee,
                train_dataloaders=self.data.loader,
                ckpt_path=str(self.checkpoint) if start else None,
                weights_only=True,
            )
        self.write_model(trainee, steps=trainer.global_step)
        return self.result(resumed_from=start)

    def _trainer(self, *, progress: bool) -> lightning.Trainer:
        import lightning

        from .trainee import Evaluate, KeepState, Settle

        return lightning.Trainer(
            accelerator="auto",
            devices=1,
            precision=self.recipe.precision,
            max_epochs=self.recipe.epochs,
            gradient_clip_val=self.recipe.optim.clip_norm,
            # In this order: a step is settled before it is judged, and judged before it is kept.
            callbacks=[Settle(), Evaluate(self), KeepState(self)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=self.out,
        )

    def history(self) -> list[dict[str, Any]]:
        """Return the evaluation rows so far."""
        path = self.out / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def record(self, row: dict[str, Any]) -> None:
        """Add one evaluation row; rows of the same or a later step are from before a resume and go."""
        rows = [old for old in self.history() if old["step"] < row["step"]] + [row]
        write_text_atomic(self.out / "metrics.jsonl", "".join(json.dumps(one) + "\n" for one in rows))
        save_curves(_curves(rows), self.out / "curves.png", title=self.recipe.name)

    def write_model(self, trainee: Any, *, steps: int) -> None:
        """Write ``model/`` through a temporary folder, so that it is whole or absent."""
        model = trainee.averaged
        if self.recipe.evaluation.select == "best" and self.best.is_file():
            load_strict(model, read_weights(self.best), source=str(self.best))
        model.eval()
        building = self.out / "model.tmp"
        shutil.rmtree(building, ignore_errors=True)
        dtype = torch.float16 if self.recipe.save_dtype == "float16" else None
        save_weights(model, building / WEIGHTS_FILE, dtype=dtype)
        # Judge what users will load: the weights as rounded on disk.
        load_strict(model, read_weights(building / WEIGHTS_FILE), source=WEIGHTS_FILE)
        report = evaluate_zero_shot(model, self.data, details=True)
        self._refuse_chance(report)
        write_json_atomic(building / CONFIG_FILE, self.data.model_config.model_dump(mode="json"))
        self.processor.save(building)
        shutil.copyfile(self.out / f"{self.recipe.prompts}.yaml", building / PROMPTS_FILE)
        shutil.copyfile(self.out / "recipe.yaml", building / "recipe.yaml")
        facts = {
            "recipe": self.recipe.digest,
            "data": self.data.digest,
            "steps": steps,
            "run": {
                "device": describe_device(self.model.device),
                "seconds": self.history()[-1]["seconds"],
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "torch": torch.__version__,
            },
            "classes": list(self.data.prompts.class_names),
            "source_splits": {
                source.name: Counter(str(r.split) for r in self.data.manifest if r.source == source.name)
                for source in self.recipe.data.sources
            },
            "validation": report,
            "baseline": self.history()[0],
        }
        write_json_atomic(building / "metrics.json", facts)
        shutil.rmtree(self.out / "model", ignore_errors=True)
        building.rename(self.out / "model")
        shutil.rmtree(self.out / "best", ignore_errors=True)

    def _refuse_chance(self, report: dict[str, Any]) -> None:
        least = self.recipe.evaluation.min_above_chance
        if least and report["score"] < report["chance"] + least:
            raise DataError(
                f"The trained model scores {report['score']:.3f} on validation; chance is "
                f"{report['chance']:.3f} and the recipe asks for {least:g} more. "
                f"Look at {self.out / 'curves.png'}."
            )

    def result(self, *, resumed_from: int) -> TrainResult:
        """Return the record of a finished run."""
        metrics = read_json(self.out / "model" / "metrics.json")
        return TrainResult(self.out, self.out / "model", metrics, int(metrics["steps"]), resumed_from)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Lightning's advice on matters this package decides; its warnings about the run stay."""
    chatter = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = chatter.level
    chatter.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Frozen towers are in eval mode on purpose.
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
            yield
    finally:
        chatter.setLevel(before)


def _curves(rows: list[dict[str, Any]]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Return the panels of the curves: accuracy by source and, once there is one, the loss."""

    def line(value: Callable[[dict[str, Any]], float | None]) -> tuple[list[float], list[float]]:
        points = [(row["step"], value(row)) for row in rows if value(row) is not None]
        return [step for step, _ in points], [number for _, number in points if number is not None]

    sources = list(rows[0]["sources"])
    panels = {
        "balanced accuracy, validation": {
            name: line(lambda row, name=name: row["sources"][name]["balanced_accuracy"]) for name in sources
        }
    }
    if any(row["train_loss"] is not None for row in rows):
        panels["training loss"] = {"loss": line(lambda row: row["train_loss"])}
    return panels


def describe_device(device: torch.device) -> str:
    """Return what ran, for people: the GPU's name, or the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"
