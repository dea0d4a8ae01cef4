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
import math
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .checkpoint import load_strict, read_weights, save_weights
from .errors import ConfigError, DataError, require
from .files import atomic_path, read_json, write_json_atomic, write_text_atomic
from .model import ContrastiveModel
from .objectives.base import Objective, build_objective
from .plots import save_curves
from .recipe import LoadedRecipe, OptimConfig, Recipe, dump_recipe, load_recipe
from .training_data import TrainingData, prepare_data
from .types import Batch
from .validation import evaluate_zero_shot

if TYPE_CHECKING:
    import lightning

_log = logging.getLogger(__name__)
MODEL_FILE = "model.safetensors"


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
    lightning_module = require("lightning", extra="train")
    loaded = recipe if isinstance(recipe, LoadedRecipe) else _loaded(recipe)
    if overrides:
        loaded = LoadedRecipe(loaded.recipe.with_(overrides), loaded.prompts)
    run = _Run(loaded, Path(data), Path(out), resume=resume)
    if run.is_finished:
        return run.result(resumed_from=run.finished_steps)
    return run.fit(lightning_module, progress=progress)


def _loaded(recipe: str | Path | Recipe) -> LoadedRecipe:
    if isinstance(recipe, Recipe):
        raise ConfigError(
            "Pass a recipe name, a YAML path, or load_recipe(...): a Recipe alone has no prompt set."
        )
    return load_recipe(recipe)


class _Run:
    """One run folder and everything built from its recipe."""

    def __init__(self, loaded: LoadedRecipe, data: Path, out: Path, *, resume: bool) -> None:
        self.recipe, self.out = loaded.recipe, out
        self.objective = build_objective(self.recipe.objective.name, self.recipe.objective.options)
        self.data: TrainingData = prepare_data(loaded, data)
        self.processor = self.data.processor
        torch.manual_seed(self.recipe.seed)
        # Convolutions on CPU run about a fifth faster in this layout; other layers do not care.
        self.model = ContrastiveModel(self.data.model_config).to(memory_format=torch.channels_last)
        for modality in self.recipe.freeze:
            if modality not in self.model.modalities:
                raise ConfigError(
                    f"freeze: the model has no {modality!r}; it has {', '.join(self.model.modalities)}."
                )
            self.model.towers[modality].requires_grad_(False)
            self.model.projections[modality].requires_grad_(False)
        self._claim(loaded, resume=resume)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def is_finished(self) -> bool:
        return (self.out / "model" / "metrics.json").is_file()

    @property
    def finished_steps(self) -> int:
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
            return
        if self.out.exists() and any(self.out.iterdir()):
            if not path.is_file():
                raise ConfigError(f"{self.out} is not empty and not a run folder. Choose another --out.")
            for name in ("checkpoints", "best", "model"):
                shutil.rmtree(self.out / name, ignore_errors=True)
            for name in ("metrics.jsonl", "curves.png"):
                (self.out / name).unlink(missing_ok=True)
        write_text_atomic(self.out / "recipe.yaml", dump_recipe(self.recipe))
        write_text_atomic(
            self.out / f"{self.recipe.prompts}.yaml", loaded.prompts.read_text(encoding="utf-8")
        )
        self.data.manifest.save(self.out / "manifest.jsonl")
        write_json_atomic(path, identity)

    def fit(self, lightning_module: Any, *, progress: bool) -> TrainResult:
        """Run or continue the training and write the selected model."""
        trainee = make_trainee(lightning_module, self)
        start = 0
        if self.checkpoint.is_file():
            start = int(torch.load(self.checkpoint, weights_only=True, mmap=True)["global_step"])
        with _quiet():
            trainer = self._trainer(lightning_module, progress=progress)
            trainer.fit(
                trainee,
                train_dataloaders=self.data.loader,
                ckpt_path=str(self.checkpoint) if start else None,
                weights_only=True,
            )
        self.write_model(trainee, steps=trainer.global_step)
        return self.result(resumed_from=start)

    def _trainer(self, lightning_module: Any, *, progress: bool) -> lightning.Trainer:
        return lightning_module.Trainer(
            accelerator="auto",
            devices=1,
            precision=self.recipe.precision,
            max_epochs=self.recipe.epochs,
            gradient_clip_val=self.recipe.optim.clip_norm,
            callbacks=make_callbacks(lightning_module, self),
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
        best = self.out / "best" / MODEL_FILE
        if self.recipe.evaluation.select == "best" and best.is_file():
            load_strict(model, read_weights(best), source=str(best))
        model.eval()
        building = self.out / "model.tmp"
        shutil.rmtree(building, ignore_errors=True)
        dtype = torch.float16 if self.recipe.save_dtype == "float16" else None
        save_weights(model, building / MODEL_FILE, dtype=dtype)
        # Judge what users will load: the weights as rounded on disk.
        load_strict(model, read_weights(building / MODEL_FILE), source=MODEL_FILE)
        report = evaluate_zero_shot(model, self.data, details=True)
        self._refuse_chance(report)
        write_json_atomic(building / "config.json", self.data.model_config.model_dump(mode="json"))
        self.processor.save(building)
        shutil.copyfile(self.out / f"{self.recipe.prompts}.yaml", building / "prompts.yaml")
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


def make_trainee(lightning_module: Any, run: _Run) -> Any:
    """Return the LightningModule of a run; a function, because Lightning is imported late."""

    class Trainee(lightning_module.LightningModule):
        """Model, objective and weight average; one optimizer."""

        def __init__(self) -> None:
            super().__init__()
            self.model = run.model
            self.objective: Objective = run.objective
            self.average = _averaged(run.model, run.recipe.optim.ema_decay)
            self.last_loss: float | None = None

        @property
        def averaged(self) -> ContrastiveModel:
            """The weights that are evaluated and saved."""
            return self.model if self.average is None else self.average.module

        def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
            return batch.to(device)

        def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
            # Dropout draws become a function of the step, so a resumed run repeats them.
            torch.manual_seed((run.recipe.seed * 1_000_003 + self.global_step) % 2**63)

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            parts = self.objective(self.model(batch), batch)
            loss = parts["loss"]
            if not torch.isfinite(loss):
                raise DataError(
                    f"The loss is {float(loss)} at step {self.global_step}. Lower optim.lr or look at "
                    f"these samples: {', '.join(batch.ids[:5])}."
                )
            self.last_loss = float(loss.detach())
            self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch))
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            total = run.recipe.epochs * len(run.data.loader)
            return make_optimizer(self.model, run.recipe.optim, total)

    return Trainee()


def _averaged(model: ContrastiveModel, decay: float | None) -> Any:
    """Return an exponential average of ``model`` whose decay warms up, or None."""
    if decay is None:
        return None
    from torch.optim.swa_utils import AveragedModel

    def update(averages: Any, values: Any, count: Tensor | int) -> None:
        # Early steps would otherwise keep the random start alive for 1 / (1 - decay) steps.
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - keep)
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def make_optimizer(model: ContrastiveModel, config: OptimConfig, total_steps: int) -> dict[str, Any]:
    """Return optimizer and per-step schedule; scale, bias and vectors get no weight decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_callbacks(lightning_module: Any, run: _Run) -> list[Any]:
    """Return the callbacks of a run in the order they act: settle the step, evaluate, keep the state."""

    class Settle(lightning_module.Callback):
        """Finish a step before anything looks at it: Lightning calls callbacks before the module's hook."""

        def on_train_batch_end(
            self, trainer: Any, trainee: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            trainee.model.clamp_scale_()
            if trainee.average is not None:
                trainee.average.update_parameters(trainee.model)

    class Evaluate(lightning_module.Callback):
        """Judge the averaged weights at step 0 and after every n-th epoch."""

        def __init__(self) -> None:
            self.best = -math.inf
            self.stale = 0
            before = run.history()
            self.started = time.monotonic() - (before[-1]["seconds"] if before else 0.0)

        def state_dict(self) -> dict[str, Any]:
            return {"best": self.best, "stale": self.stale}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.best, self.stale = state_dict["best"], state_dict["stale"]

        def on_train_start(self, trainer: lightning.Trainer, trainee: Any) -> None:
            if trainer.global_step == 0:
                self._evaluate(trainer, trainee)

        def on_train_epoch_end(self, trainer: lightning.Trainer, trainee: Any) -> None:
            is_last = trainer.current_epoch + 1 == run.recipe.epochs
            if is_last or (trainer.current_epoch + 1) % run.recipe.evaluation.every_epochs == 0:
                self._evaluate(trainer, trainee)

        def _evaluate(self, trainer: lightning.Trainer, trainee: Any) -> None:
            report = evaluate_zero_shot(trainee.averaged, run.data)
            row = {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "train_loss": trainee.last_loss,
                "seconds": round(time.monotonic() - self.started, 1),
                **report,
            }
            run.record(row)
            _log.info("step %d: score %.4f, %s", row["step"], report["score"], report["sources"])
            # Equal scores go to the later model: it has seen more.
            if report["score"] >= self.best:
                self.best, self.stale = report["score"], 0
                save_weights(trainee.averaged, run.out / "best" / MODEL_FILE)
            else:
                self.stale += 1
            patience = run.recipe.evaluation.patience
            if patience is not None and self.stale >= patience:
                trainer.should_stop = True

    class KeepState(lightning_module.Callback):
        """Write the state to resume from, every n steps and after each epoch, atomically."""

        def on_train_batch_end(
            self, trainer: Any, trainee: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if trainer.global_step % run.recipe.checkpoint_steps == 0:
                self._save(trainer)

        def on_train_epoch_end(self, trainer: Any, trainee: Any) -> None:
            self._save(trainer)

        def _save(self, trainer: Any) -> None:
            with atomic_path(run.checkpoint) as temporary:
                # weights_only here means "leave out the optimizer", not the safe loader of torch.
                trainer.save_checkpoint(temporary, weights_only=False)

    return [Settle(), Evaluate(), KeepState()]
