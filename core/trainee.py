"""The Lightning side of a run: one module, three callbacks. Imported once Lightning is known to be there."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor

from .checkpoint import save_weights
from .errors import DataError
from .files import atomic_path
from .model import ContrastiveModel
from .objectives.base import Objective
from .objectives.classify import CrossEntropy
from .objectives.gradcache import cached_backward, split_batch
from .optim_config import OptimConfig
from .peft import merged, parameter_groups
from .types import Batch

if TYPE_CHECKING:
    from .train import Run

_log = logging.getLogger(__name__)


class Trainee(lightning.LightningModule):
    """Model, objective and weight average; one optimizer."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model = run.model
        self.objective = run.objective
        self.average = _averaged(run.model, run.recipe.optim.ema_decay)
        learns = any(parameter.requires_grad for parameter in run.objective.parameters())
        self.objective_average = _averaged(run.objective, run.recipe.optim.ema_decay) if learns else None
        # Lightning steps by itself unless a batch is worked off in pieces.
        self.automatic_optimization = run.recipe.micro_batch is None
        # Not attributes of the module tree: data and recipe are no state of the training.
        self._recipe, self._steps = run.recipe, run.recipe.epochs * len(run.data.loader)

    @property
    def averaged(self) -> ContrastiveModel:
        """The weights that are evaluated and saved."""
        return self.model if self.average is None else self.average.module

    @property
    def averaged_objective(self) -> Objective:
        """The objective with the weights that are evaluated and saved."""
        return self.objective if self.objective_average is None else self.objective_average.module

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch on ``device``; Lightning itself does not move frozen records."""
        return batch.to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make dropout draws a function of the step, so that a resumed run repeats them."""
        torch.manual_seed((self._recipe.seed * 1_000_003 + self.global_step) % 2**63)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            DataError: it is not finite.
        """
        loss = self._loss(batch) if self.automatic_optimization else self._step_in_pieces(batch)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch))
        return loss

    def _loss(self, batch: Batch) -> Tensor:
        needs = self.objective.needs
        outputs = self.model(batch, tokens=needs.tokens, extras=needs.output_extras)
        return self._finite(self.objective(outputs, batch)["loss"], batch)

    def _finite(self, loss: Tensor, batch: Batch) -> Tensor:
        if not torch.isfinite(loss):
            raise DataError(
                f"The loss is {float(loss.detach())} at step {self.global_step}. Lower optim.lr or look at "
                f"these samples: {', '.join(batch.ids[:5])}."
            )
        return loss

    def _step_in_pieces(self, batch: Batch) -> Tensor:
        """Take one optimizer step with ``micro_batch`` rows in memory at a time; return the batch's loss."""
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        optimizer.zero_grad()
        size = self._recipe.micro_batch or len(batch)
        if isinstance(self.objective, CrossEntropy):
            # A mean over rows: the pieces' gradients add up to the batch's.
            total = torch.zeros((), device=self.device)
            for piece in split_batch(batch, size):
                part = self._loss(piece) * (len(piece) / len(batch))
                self.manual_backward(part)
                total += part.detach()
        else:
            parts = cached_backward(
                self.model, self.objective, batch=batch, micro_batch=size, backward=self.manual_backward
            )
            total = self._finite(parts["loss"], batch)
        self.clip_gradients(optimizer, self._recipe.optim.clip_norm, "norm")
        optimizer.step()
        schedule.step()
        return total

    def configure_optimizers(self) -> Any:
        """Return optimizer and schedule of the recipe."""
        return make_optimizer(self.model, self.objective, self._recipe.optim, self._steps)


def _averaged(model: torch.nn.Module, decay: float | None) -> Any:
    """Return an exponential average of ``model`` whose decay warms up, or None."""
    if decay is None:
        return None
    from torch.optim.swa_utils import AveragedModel

    def update(averages: Any, values: Any, count: Tensor | int) -> None:
        # Early steps would otherwise keep the random start alive for 1 / (1 - decay) steps.
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                value = value.to(average.dtype)
                # What did not change stays as it is, to the bit; the difference of two infinities, which
                # attention masks hold, is no number.
                average.copy_(torch.where(average == value, average, average.lerp(value, 1 - keep)))
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def make_optimizer(
    model: ContrastiveModel, objective: Objective, config: OptimConfig, total_steps: int
) -> dict[str, Any]:
    """Return optimizer and per-step schedule over the trainable parameters of model and objective."""
    groups = parameter_groups(model, objective, config)
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)
    else:
        adam = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
        optimizer = adam(groups, lr=config.lr, betas=config.betas, eps=config.eps)

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "steps":
            return config.gamma ** sum(step >= round(share * total_steps) for share in config.milestones)
        end = config.decay_steps or total_steps
        done = min(1.0, (step - config.warmup_steps) / max(1, end - config.warmup_steps))
        left = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return config.final_share + (1 - config.final_share) * left

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Settle(lightning.Callback):
    """Finish a step before anything looks at it: Lightning calls callbacks before the module's own hook."""

    def on_train_batch_end(
        self, trainer: Any, trainee: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Clamp the scale and update the weight average."""
        trainee.model.clamp_scale_()
        if trainee.average is not None:
            trainee.average.update_parameters(trainee.model)
        if trainee.objective_average is not None:
            trainee.objective_average.update_parameters(trainee.objective)


class Evaluate(lightning.Callback):
    """Judge the averaged weights at step 0 and after every n-th epoch; keep the best; stop early."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.best, self.stale = -math.inf, 0
        self.loss_sum, self.loss_count = 0.0, 0
        before = run.history()
        self.started = time.monotonic() - (before[-1]["seconds"] if before else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to judge as if it had not been interrupted."""
        return {name: getattr(self, name) for name in ("best", "stale", "loss_sum", "loss_count")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the values of :meth:`state_dict`."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: lightning.Trainer, trainee: Any) -> None:
        """Judge the untrained model: the baseline of the run."""
        if trainer.global_step == 0:
            self._evaluate(trainer, trainee)

    def on_train_batch_end(
        self, trainer: Any, trainee: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add to the mean loss since the last evaluation; single batches differ too much to plot."""
        self.loss_sum += float(outputs["loss"])
        self.loss_count += 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, trainee: Any) -> None:
        """Judge after every n-th epoch and after the last."""
        done, recipe = trainer.current_epoch + 1, self.run.recipe
        if done == recipe.epochs or done % recipe.evaluation.every_epochs == 0:
            self._evaluate(trainer, trainee)

    def _evaluate(self, trainer: lightning.Trainer, trainee: Any) -> None:
        model, objective = trainee.averaged, trainee.averaged_objective
        report = self.run.data.evaluate(model, objective, settings=self.run.recipe.evaluation)
        row = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "train_loss": self.loss_sum / self.loss_count if self.loss_count else None,
            "valid_loss": self.run.data.validation_loss(model, objective),
            "seconds": round(time.monotonic() - self.started, 1),
            **report,
        }
        if not math.isfinite(report["score"]):
            raise DataError(
                f"The validation score is {report['score']} at step {row['step']}. Look at the validation "
                "data and at what the task makes of them."
            )
        self.loss_sum, self.loss_count = 0.0, 0
        self.run.record(row)
        _log.info("step %d: score %.4f", row["step"], report["score"])
        worth = self._worth(row)
        # Equal scores go to the later model: it has seen more.
        if worth >= self.best:
            self.best, self.stale = worth, 0
            save_weights(merged(model), self.run.best)
            if any(True for _ in objective.parameters()):
                save_weights(objective, self.run.best_objective)
        else:
            self.stale += 1
        patience = self.run.recipe.evaluation.patience
        if patience is not None and self.stale >= patience:
            trainer.should_stop = True

    def _worth(self, row: dict[str, Any]) -> float:
        """Return what the model of an evaluation is chosen by; higher is better."""
        if self.run.recipe.evaluation.select != "loss":
            return row["score"]
        if row["valid_loss"] is None:
            raise DataError(
                f"There is no finite validation loss to choose a model by at step {row['step']}: a batch "
                "needs two validation rows. Raise data.validation.fraction, or set evaluation.select to best."
            )
        return -row["valid_loss"]


class KeepState(lightning.Callback):
    """Write the state to resume from, every n steps and after each epoch, atomically."""

    def __init__(self, run: Run) -> None:
        self.path, self.every = run.checkpoint, run.recipe.checkpoint_steps

    def on_train_batch_end(
        self, trainer: Any, trainee: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every n steps."""
        if trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, trainee: Any) -> None:
        """Save after the epoch was judged."""
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        with atomic_path(self.path) as temporary:
            # weights_only here means "leave out the optimizer", not the safe loader of torch.
            trainer.save_checkpoint(temporary, weights_only=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
