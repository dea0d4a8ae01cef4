"""How the weights of a run change, step by step: optimizer, schedule, averaging."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .config import Config


class OptimConfig(Config):
    """Optimizer, schedule and averaging. Learning rates are per step of one batch."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """``adam`` adds the weight decay to the gradient and scales it as such, ``adamw`` takes it off the
    weights. Published recipes that name Adam mean the former."""
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(default=1e-6, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    """``sgd`` with momentum looks ahead."""
    weight_decay: float = Field(default=0.1, ge=0)
    decay: Literal["matrices", "all"] = "matrices"
    """What decays: weights of two or more dimensions, or biases, norms and the scale as well."""
    warmup_steps: int = Field(default=0, ge=0)
    schedule: Literal["cosine", "linear", "constant", "steps"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """``steps``: shares of the run after each of which the rate is multiplied by ``gamma``."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    decay_steps: int | None = Field(default=None, ge=1)
    """Step at which cosine or linear reach ``final_share``, and stay there; None is the last one."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Average the weights with this decay; the average is evaluated and saved."""
    final_share: float = Field(default=0.0, ge=0, lt=1)
    """Cosine and linear end at this share of ``lr``."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Each block learns at this share of the rate of the next: heads at ``lr``, embeddings slowest."""
    lr_groups: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Name pattern -> factor on the learning rate; the first that fits counts."""

    @model_validator(mode="after")
    def _milestones_belong_to_steps(self) -> OptimConfig:
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError(
                f"schedule {self.schedule!r} with milestones {list(self.milestones)}: schedule steps needs "
                "them, and no other has any"
            )
        return self
