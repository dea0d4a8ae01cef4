"""Training from a recipe: resumable to the batch, judged from step 0, written atomically.

A recipe of kind ``probe`` goes to :mod:`verticlip.core.probe`.

Run folder::

    recipe.yaml prompts.yaml manifest.jsonl   what was run, resolved
    checkpoints/last.ckpt                      state to resume from (weights_only)
    metrics.jsonl curves.png                   one row per evaluation, step 0 included
    model/                                     the selected model: from_pretrained reads it
    model/head/                                its classifier, when it was trained with one
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from .checkpoint import load_strict, read_weights, save_weights
from .curves import run_curves
from .data.recorded import source_files
from .errors import ConfigError, DataError, require
from .files import (
    CONFIG_FILE,
    PROMPTS_FILE,
    WEIGHTS_FILE,
    read_json,
    sha256_of,
    write_json_atomic,
    write_text_atomic,
)
from .heads.pointer import HeadPointer, save_pointed_head
from .model import build_model
from .objectives.base import build_objective
from .objectives.classify import CrossEntropy
from .peft import apply_policy, merged, trainable
from .plots import save_curves
from .provenance import describe_device, environment, now
from .recipe import LoadedRecipe, Recipe, dump_recipe, load_recipe
from .start import Resolver, Start, StartReport, fill, find_start
from .task_data import RunData, ScoreWords, initialize, prepare_run

if TYPE_CHECKING:
    import lightning


@dataclass(frozen=True)
class TrainResult:
    """What a run produced.

    Attributes:
        folder: the run folder. model: the folder of the selected model; of a probe, that of its head.
        metrics: evaluation of the selected model, as in ``model/metrics.json``.
        steps: optimizer steps done. resumed_from: the step the run started at.
    """

    folder: Path
    model: Path
    metrics: dict[str, Any]
    steps: int
    resumed_from: int

    @property
    def summary(self) -> str:
        """One line: how good the result is, next to chance."""
        if "probes" in self.metrics:
            best = self.metrics["probes"][-1]
            scores = f"balanced accuracy {best['mean']['balanced_accuracy']:.3f}"
            return f"{scores}, chance {self.metrics['chance']:.3f}; metrics in {self.folder / 'metrics.json'}"
        scores = ScoreWords.of(self.metrics).line(self.metrics["validation"])
        return f"{self.steps} steps; validation {scores}; metrics in {self.model / 'metrics.json'}"


def train(
    recipe: str | Path | Recipe | LoadedRecipe,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
    start: Resolver | None = None,
) -> TrainResult:
    """Train a model by recipe and return where it is and how good it is.

    Args:
        recipe: name, YAML path or loaded recipe.
        data: folder that the recipe's sources are relative to.
        out: run folder; continued when it holds an unfinished run of the same recipe and data.
        overrides: ``key.subkey=value`` changes of the recipe.
        resume: False starts again in an existing run folder.
        progress: show a progress bar on stderr.
        start: finds the weights that the recipe starts from; without it such a recipe is refused.

    Raises:
        ConfigError: bad recipe, or ``out`` holds a run of another recipe or other data.
        DataError: unusable data, a non-finite loss, or a result not above chance.
        DependencyError: ``lightning`` is not installed (extra ``train``).
    """
    loaded = recipe if isinstance(recipe, LoadedRecipe) else _loaded(recipe)
    if overrides:
        loaded = LoadedRecipe(loaded.recipe.with_(overrides), loaded.prompts)
    if loaded.recipe.kind == "probe":
        from .probe import run_probe

        return run_probe(loaded, Path(data), Path(out), start=start, resume=resume)
    require("lightning", extra="train")
    beginning = find_start(loaded.recipe, start)
    run = Run(loaded, Path(data), Path(out), start=beginning, resume=resume)
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

    def __init__(
        self, loaded: LoadedRecipe, data: Path, out: Path, *, start: Start | None = None, resume: bool
    ) -> None:
        self.recipe, self.out = loaded.recipe, out
        self.objective = build_objective(
            self.recipe.objective.name, self.recipe.objective.options, domain=self.recipe.domain
        )
        self._check_recipe()
        self.data: RunData = prepare_run(loaded, data, start)
        self.processor = self.data.processor
        torch.manual_seed(self.recipe.seed)
        # The layout CPU convolutions work in; other layers do not care.
        self.model = build_model(self.data.model_config).to(memory_format=torch.channels_last)
        self.started: StartReport | None = None
        if start is not None and self.recipe.start is not None:
            self.started = fill(self.model, start, self.recipe.start)
        initialize(self.data, self.model)
        self._check_modalities()
        self.objective.prepare(self.model.config.embed_dim, self.data.class_names)
        self.adapted = apply_policy(self.model, self.recipe.peft)
        for modality in self.recipe.freeze:
            self.model.freeze(modality)
        self._claim(loaded, resume=resume)

    def _check_recipe(self) -> None:
        """Raise ``ConfigError`` when the objective reads what this recipe will not give it."""
        name, needs = self.recipe.objective.name, self.objective.needs
        if self.recipe.task is None and needs.batch_extras and self.recipe.data.collate is None:
            raise ConfigError(
                f"Objective {name!r} reads {', '.join(needs.batch_extras)} of each batch. Name "
                "what makes them from the captions: data.collate."
            )
        in_pieces = self.recipe.micro_batch is not None and not isinstance(self.objective, CrossEntropy)
        if in_pieces and (needs.tokens or needs.output_extras):
            raise ConfigError(
                f"Objective {name!r} reads {', '.join((*needs.tokens, *needs.output_extras))} of the model "
                "beside its embeddings, which are all that micro_batch keeps. Leave micro_batch out."
            )

    def _check_modalities(self) -> None:
        """Raise ``ConfigError`` when the objective compares what the model has no tower for."""
        missing = set(self.objective.needs.modalities) - set(self.model.modalities)
        if missing:
            has = ", ".join(self.model.modalities)
            raise ConfigError(
                f"Objective {self.recipe.objective.name!r} compares {sorted(missing)[0]!r}, which the "
                f"model has no tower for; it has {has or 'none'}. Say what to compare, "
                f"in most objectives by objective.options.modalities: [{has}]."
            )

    @property
    def checkpoint(self) -> Path:
        """State to resume from; absent before the first save."""
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Weights with the best validation score so far; gone once the run is finished."""
        return self.out / "best" / WEIGHTS_FILE

    @property
    def best_objective(self) -> Path:
        """Weights of the objective that belong to :attr:`best`, where it has any."""
        return self.out / "best" / "objective.safetensors"

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
        if self.started is not None:
            identity["start"] = self.started.revision
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
        if loaded.prompts is not None:
            write_text_atomic(
                self.out / f"{self.recipe.prompts}.yaml", loaded.prompts.read_text(encoding="utf-8")
            )
        self.data.manifest.save(self.out / "manifest.jsonl")

    def fit(self, *, progress: bool) -> TrainResult:
        """Run or continue the training and write the selected model."""
        from .trainee import Trainee, quiet

        trainee = Trainee(self)
        start = 0
        if self.checkpoint.is_file():
            start = int(torch.load(self.checkpoint, weights_only=True, mmap=True)["global_step"])
        with quiet():
            trainer = self._trainer(progress=progress)
            trainer.fit(
                trainee,
                train_dataloaders=self.data.loader,
                ckpt_path=str(self.checkpoint) if start else None,
                weights_only=True,
            )
        self.write_model(trainee, steps=trainer.global_step, device=trainer.strategy.root_device)
        return self.result(resumed_from=start)

    def _trainer(self, *, progress: bool) -> lightning.Trainer:
        import lightning

        from .trainee import Evaluate, KeepState, Settle

        return lightning.Trainer(
            accelerator="auto",
            devices=1,
            precision=self.recipe.precision,
            max_epochs=self.recipe.epochs,
            # Steps in pieces clip their own gradients.
            gradient_clip_val=None if self.recipe.micro_batch else self.recipe.optim.clip_norm,
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
        save_curves(
            run_curves(rows, ScoreWords.of(self.data.facts)), self.out / "curves.png", title=self.recipe.name
        )

    def write_model(self, trainee: Any, *, steps: int, device: torch.device) -> None:
        """Write ``model/`` through a temporary folder, so that it is whole or absent."""
        counts = trainable(trainee.model)
        model, objective = merged(trainee.averaged), trainee.averaged_objective
        if self.recipe.evaluation.select != "last" and self.best.is_file():
            load_strict(model, read_weights(self.best), source=str(self.best))
            if self.best_objective.is_file():
                load_strict(objective, read_weights(self.best_objective), source=str(self.best_objective))
        model.eval()
        building = self.out / "model.tmp"
        shutil.rmtree(building, ignore_errors=True)
        dtype = torch.float16 if self.recipe.save_dtype == "float16" else None
        save_weights(model, building / WEIGHTS_FILE, dtype=dtype)
        # Judge what users will load: the weights as rounded on disk, where they were trained.
        load_strict(model, read_weights(building / WEIGHTS_FILE), source=WEIGHTS_FILE)
        model.to(device)
        objective.to(device)
        report = self.data.evaluate(model, objective, settings=self.recipe.evaluation, details=True)
        report["loss"] = self.data.validation_loss(model, objective)
        self._refuse_chance(report)
        write_json_atomic(building / CONFIG_FILE, self.data.model_config.model_dump(mode="json"))
        self.processor.save(building)
        self._write_prompts(building / PROMPTS_FILE)
        write_text_atomic(building / "recipe.yaml", dump_recipe(self._recipe_for_others()))
        facts = self._facts(model, report, steps=steps, device=device)
        if counts["trainable"] < counts["parameters"]:
            facts["run"]["trainable"] = counts["trainable"]
        write_json_atomic(building / "metrics.json", facts)
        if isinstance(objective, CrossEntropy):
            revision = f"sha256:{sha256_of(building / WEIGHTS_FILE)[:16]}"
            pointer = HeadPointer(model=None, revision=revision, processor=self.processor.fingerprint)
            save_pointed_head(objective.head(), pointer, building / "head")
        shutil.rmtree(self.out / "model", ignore_errors=True)
        building.rename(self.out / "model")
        shutil.rmtree(self.out / "best", ignore_errors=True)

    def _write_prompts(self, path: Path) -> None:
        """Write the prompt set of the recipe, else that of the start, where the model has one."""
        if self.recipe.prompts is not None:
            shutil.copyfile(self.out / f"{self.recipe.prompts}.yaml", path)
        elif self.data.prompts is not None and self.data.model_config.prompts is not None:
            content = self.data.prompts.model_dump(mode="json", exclude_defaults=True)
            write_text_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def _recipe_for_others(self) -> Recipe:
        """Return the recipe as a model folder carries it: a start by the name of its model, never a path."""
        if self.recipe.start is None or self.started is None:
            return self.recipe
        start = self.recipe.start.model_copy(update={"model": self.started.id})
        return self.recipe.model_copy(update={"start": start})

    def _facts(
        self, model: torch.nn.Module, report: dict[str, Any], *, steps: int, device: torch.device
    ) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        facts: dict[str, Any] = {
            # Of the recipe as it is stored: where the start lay here is nobody else's business.
            "recipe": self._recipe_for_others().digest,
            "data": self.data.digest,
            "steps": steps,
            "run": {
                "device": describe_device(device),
                "seconds": self.history()[-1]["seconds"],
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "torch": torch.__version__,
                "date": now(),
                "versions": environment(),
            },
            "classes": list(self.data.class_names),
            "source_splits": {
                source.name: Counter(str(r.split) for r in self.data.manifest if r.source == source.name)
                for source in self.recipe.data.sources
            },
            "source_files": source_files(
                self.data.manifest, [source.name for source in self.recipe.data.sources]
            ),
            "validation": report,
            "baseline": self.history()[0],
        }
        if self.recipe.language:
            facts["language"] = list(self.recipe.language)
        if self.started is not None:
            facts["start"] = self.started.to_dict()
        if self.adapted:
            facts["adapted"] = self.adapted
        return {**self.data.facts, **facts}

    def _refuse_chance(self, report: dict[str, Any]) -> None:
        least = self.recipe.evaluation.min_above_chance
        if least and report["score"] < report["chance"] + least:
            words = ScoreWords.of(self.data.facts)
            raise DataError(
                f"The trained model scores {words.value(report['score'])} on validation; {words.chance} is "
                f"{words.value(report['chance'])} and the recipe asks for {least:g} more. "
                f"Look at {self.out / 'curves.png'}."
            )

    def result(self, *, resumed_from: int) -> TrainResult:
        """Return the record of a finished run."""
        metrics = read_json(self.out / "model" / "metrics.json")
        return TrainResult(self.out, self.out / "model", metrics, int(metrics["steps"]), resumed_from)
