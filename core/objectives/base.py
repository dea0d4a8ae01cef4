"""What every objective shares: its declared needs, its registry, and the process group.

This is the only module of verticlip that touches ``torch.distributed``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import torch
import torch.distributed as dist
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor, nn
from torch.autograd import Function

from ..errors import ConfigError, InputError, nearest
from ..registry import room
from ..types import Batch, Outputs

Exchange = Literal["bidir", "shift", "reduce", "gather"]


@dataclass(frozen=True)
class Needs:
    """What an objective reads, so that a trainer asks the model and the data for just that.

    Attributes:
        modalities: keys of ``outputs.embeddings``.
        tokens: keys of ``outputs.tokens``.
        labels: whether ``batch.labels`` is read.
        output_extras: keys of ``outputs.extras``.
        batch_extras: keys of ``batch.extras``.
    """

    modalities: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    labels: bool = False
    output_extras: tuple[str, ...] = ()
    batch_extras: tuple[str, ...] = ()

    def check(self, outputs: Outputs, batch: Batch) -> None:
        """Raise ``InputError`` naming the first thing that is missing, and what is there instead."""
        wanted = (
            ("outputs.embeddings", self.modalities, outputs.embeddings),
            ("outputs.tokens", self.tokens, outputs.tokens),
            ("outputs.extras", self.output_extras, outputs.extras),
            ("batch.extras", self.batch_extras, batch.extras),
        )
        for where, names, present in wanted:
            for name in names:
                if name not in present:
                    there = ", ".join(sorted(present)) or "nothing"
                    raise InputError(f"The objective reads {where}[{name!r}], which has {there}.")
        if self.labels and batch.labels is None:
            raise InputError("The objective reads batch.labels, which is None; add labels to the data.")


class Objective(nn.Module):
    """A training loss: ``objective(outputs, batch) -> {"loss": scalar, part: scalar, ...}``.

    Each part already carries its weight and the parts sum to the loss. Everything is computed in at
    least float32, with autocast off: at a scale of 100, bfloat16 logits move in steps of 0.5. The
    scale and bias belong to the model and arrive in ``outputs``. A subclass sets :attr:`needs` and
    implements :meth:`compute`.
    """

    needs: Needs = Needs()

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its named parts, each a float32 (or float64) scalar.

        Args:
            outputs: the model's output; embeddings [B, D] of unit length, ``logit_scale`` scalar.
            batch: the batch it came from; only what :attr:`needs` names is read.

        Raises:
            InputError: something in :attr:`needs` is missing, or shapes disagree.
        """
        self.needs.check(outputs, batch)
        with torch.autocast(outputs.logit_scale.device.type, enabled=False):
            parts = self.compute(at_least_float32(outputs), batch)
            return {"loss": functools.reduce(torch.add, parts.values()), **parts}

    def prepare(self, width: int, class_names: Sequence[str]) -> None:
        """Size what the objective learns itself, before training; most learn nothing.

        Args:
            width: D of the embeddings. class_names: K classes of the run.
        """

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted parts of the loss; ``outputs`` is in full precision here."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute().")


def at_least_float32(outputs: Outputs) -> Outputs:
    """Return ``outputs`` with embeddings, scale and bias in one dtype, float32 or float64."""
    dtypes = (tensor.dtype for tensor in outputs.embeddings.values())
    dtype = functools.reduce(torch.promote_types, dtypes, torch.float32)
    bias = outputs.logit_bias
    return replace(
        outputs,
        embeddings={name: tensor.to(dtype) for name, tensor in outputs.embeddings.items()},
        logit_scale=outputs.logit_scale.to(dtype).reshape(()),
        logit_bias=None if bias is None else bias.to(dtype).reshape(()),
    )


_REGISTRY: dict[str, type[Objective]] = {}
_CORE_MODULES = ("pairwise", "caption", "classify", "distill", "margin")
_ObjectiveT = TypeVar("_ObjectiveT", bound=type[Objective])


def register_objective(name: str) -> Callable[[_ObjectiveT], _ObjectiveT]:
    """Return a class decorator that makes an objective buildable by ``name`` in a recipe.

    Raises:
        ConfigError: another class holds the name.
    """

    def register(cls: _ObjectiveT) -> _ObjectiveT:
        if _REGISTRY.setdefault(name, cls) is not cls:
            raise ConfigError(f"Objective name {name!r} is taken by {_REGISTRY[name].__name__}.")
        return cls

    return register


def list_objectives() -> tuple[str, ...]:
    """Return the names that :func:`build_objective` knows, sorted."""
    for module in _CORE_MODULES:
        importlib.import_module(f".{module}", __package__)
    return tuple(sorted(_REGISTRY))


def build_objective(
    name: str, options: Mapping[str, Any] | None = None, *, domain: str | None = None
) -> Objective:
    """Return the objective registered as ``name``, built from a recipe's options.

    A name that the core does not have is looked up among the objectives of ``domain``.

    The options are the constructor's keyword arguments: unknown ones are refused and values are
    checked against its annotations.

    Example:
        >>> build_objective("infonce", {"label_smoothing": 0.1}).label_smoothing
        0.1

    Raises:
        ConfigError: unknown name or option (the nearest known one is shown), or a bad value.
    """
    home = room(domain) if domain else None
    known = (*list_objectives(), *(home.objectives if home else ()))
    if name not in known:
        raise ConfigError(f"Unknown objective {name!r}; known: {', '.join(known)}.{nearest(name, known)}")
    cls: Any = home.function("objectives", name) if home and name in home.objectives else _REGISTRY[name]
    hints = get_type_hints(cls.__init__)
    parameters = [item for item in inspect.signature(cls).parameters.values() if item.name in hints]
    names = [parameter.name for parameter in parameters]
    for option in options or {}:
        if option not in names:
            raise ConfigError(
                f"Objective {name!r} has no option {option!r}; "
                f"it has: {', '.join(names)}.{nearest(option, names)}"
            )
    fields: dict[str, Any] = {
        item.name: (hints[item.name], ... if item.default is item.empty else item.default)
        for item in parameters
    }
    schema = create_model(f"{cls.__name__}Options", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        values = schema(**(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"Objective {name!r}: option {where}: {first['msg']}.") from error
    return cls(**{item: getattr(values, item) for item in names})


def world() -> tuple[int, int]:
    """Return ``(rank, world size)``; ``(0, 1)`` without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextlib.contextmanager
def file_process_group(rank: int, size: int, path: Path, *, timeout_s: float = 60.0) -> Iterator[None]:
    """Join a CPU process group that meets through a file, for the body of a ``with``.

    Args:
        rank: this process, in [0, size).
        size: number of processes.
        path: a file that does not exist yet, the same for all ranks.
        timeout_s: seconds after which a waiting collective fails.
    """
    store = dist.FileStore(str(path), size)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_equal_batches(rows: int, device: torch.device) -> None:
    """Raise ``InputError`` on every rank when the ranks hold batches of different sizes.

    Gathering unequal blocks would hang or pair the wrong rows.
    """
    sizes = _gather_detached(torch.tensor([rows], device=device)).tolist()
    if len(set(sizes)) > 1:
        raise InputError(
            f"Ranks hold batches of different sizes {sizes}; drop the last incomplete batch "
            f"(drop_last=True) or pad it."
        )


def gather(tensor: Tensor, *, with_grad: bool) -> Tensor:
    """Return the rows of all ranks, rank by rank: [B, ...] -> [W * B, ...].

    Args:
        tensor: this rank's rows, the same shape on every rank.
        with_grad: whether gradients of gathered rows travel back to the rank they came from (and
            are summed there). Otherwise only this rank's own block carries a gradient.
    """
    rank, size = world()
    if size == 1:
        return tensor
    if with_grad and tensor.requires_grad:
        return _GatherWithGradient.apply(tensor)
    blocks = list(_gather_detached(tensor).chunk(size))
    blocks[rank] = tensor
    return torch.cat(blocks)


def neighbor_blocks(tensor: Tensor, exchange: Exchange) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(rank, block)`` for the other ranks' tensors, with gradients that travel back.

    ``"shift"`` passes blocks one way round the ring, ``"bidir"`` both ways (half the rounds);
    ``"reduce"`` broadcasts one rank's block at a time by summation. Memory is O(block). Every
    yielded block must enter the loss: backward is a collective as well. ``"reduce"`` therefore also
    yields the own block, to be given no weight.
    """
    rank, size = world()
    if exchange == "reduce":
        for owner in range(size):
            # Times zero, not zeros_like: every rank must take part in the backward sum too.
            yield owner, _SumOverRanks.apply(tensor * float(owner == rank))
        return
    rounds = (size - 1) // 2 if exchange == "bidir" else 0
    from_left = from_right = tensor
    for step in range(1, rounds + 1):
        from_left = _Shift.apply(from_left, 1)
        from_right = _Shift.apply(from_right, -1)
        yield (rank - step) % size, from_left
        yield (rank + step) % size, from_right
    for step in range(rounds + 1, size - rounds):
        from_left = _Shift.apply(from_left, 1)
        yield (rank - step) % size, from_left


def _gather_detached(tensor: Tensor) -> Tensor:
    size = world()[1]
    if size == 1:
        return tensor
    blocks = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(size)]
    dist.all_gather(blocks, tensor.detach().contiguous())
    return torch.cat(blocks)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _GatherWithGradient(Function):
    """All ranks' rows; the gradient of a row is the sum of what every rank did with it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        return _gather_detached(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(gradient).split(ctx.rows)[world()[0]]


class _SumOverRanks(Function):
    """Sum over ranks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(gradient)


class _Shift(Function):
    """The block of the rank ``step`` places before; its gradient travels the opposite way."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, step: int) -> Tensor:
        ctx.step = step
        return _send_round(tensor, step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _send_round(gradient, -ctx.step), None


def _send_round(tensor: Tensor, step: int) -> Tensor:
    rank, size = world()
    outgoing = tensor.detach().contiguous()
    incoming = torch.empty_like(outgoing)
    operations = [
        dist.P2POp(dist.isend, outgoing, (rank + step) % size),
        dist.P2POp(dist.irecv, incoming, (rank - step) % size),
    ]
    for request in dist.batch_isend_irecv(operations):
        request.wait()
    return incoming
