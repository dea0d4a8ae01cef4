"""Large contrastive batches in small memory: embeddings first, then one micro-batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ConfigError, InputError
from ..types import Batch, Outputs
from .base import Objective, at_least_float32


def cached_backward(
    model: nn.Module,
    objective: Objective,
    *,
    batch: Batch,
    micro_batch: int,
    backward: Callable[[Tensor], object] = torch.autograd.backward,
) -> dict[str, Tensor]:
    """Add the gradient of the loss over the whole batch to the model's parameters.

    Same gradients as ``objective(model(batch), batch)["loss"].backward()`` while only one
    micro-batch of activations is alive, for one more forward pass. First every micro-batch is
    embedded without a graph; the loss over all embeddings is differentiated once, with respect to
    embeddings, scale and bias; then each micro-batch is embedded again, with the random state of
    its first pass (so dropout repeats), and its share of those gradients is sent back.

    Args:
        model: ``model(Batch) -> Outputs``; may be wrapped for data-parallel training, gradients are
            then reduced on the last micro-batch only.
        objective: one that reads embeddings, labels and batch extras only.
        batch: every tensor of ``inputs``, ``labels`` and ``extras`` is [B, ...].
        micro_batch: rows embedded at a time, at least 1; need not divide B.
        backward: called with each micro-batch's surrogate scalar, e.g. a trainer's
            ``manual_backward`` or ``lambda loss: scaler.scale(loss).backward()``.

    Returns:
        The objective's parts, detached.

    Raises:
        ConfigError: the objective reads tokens or model extras, the model has a batch-norm in
            training mode (its statistics would be those of the micro-batch), or ``micro_batch`` < 1.
        InputError: a tensor of the batch does not have one entry per row.

    Reference:
        Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
        section 3.
    """
    _check(model, objective, micro_batch)
    pieces = split_batch(batch, micro_batch)
    states: list[_RandomState] = []
    embedded: list[Outputs] = []
    with torch.no_grad():
        for piece in pieces:
            states.append(_RandomState.capture(model))
            embedded.append(model(piece))
    parts, cached = _differentiate(objective, _joined(embedded), batch)
    del embedded

    for number, (piece, state) in enumerate(zip(pieces, states, strict=True)):
        last = number == len(pieces) - 1
        rows = slice(number * micro_batch, (number + 1) * micro_batch)
        with state.replay(), contextlib.nullcontext() if last else _no_sync(model):
            # The scalars belong to the whole batch: their gradient is sent back once.
            surrogate = _surrogate(at_least_float32(model(piece)), cached, rows, with_scalars=last)
            if surrogate is not None:
                backward(surrogate)
    return parts


@dataclass(frozen=True)
class _Cached:
    """Gradients of the loss with respect to everything a model gives to a contrastive objective."""

    embeddings: dict[str, Tensor]
    scalars: dict[str, Tensor]


def _differentiate(objective: Objective, whole: Outputs, batch: Batch) -> tuple[dict[str, Tensor], _Cached]:
    """Return the detached parts of the loss and its gradients at ``whole``, whose tensors are leaves."""
    with torch.enable_grad():
        parts = objective(whole, batch)
    scalars = {"logit_scale": whole.logit_scale}
    if whole.logit_bias is not None:
        scalars["logit_bias"] = whole.logit_bias
    names = [*whole.embeddings, *scalars]
    leaves = [*whole.embeddings.values(), *scalars.values()]
    gradients = torch.autograd.grad(parts["loss"], leaves, allow_unused=True)
    found = {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    return {name: part.detach() for name, part in parts.items()}, _Cached(
        embeddings={name: gradient for name, gradient in found.items() if name not in scalars},
        scalars={name: gradient for name, gradient in found.items() if name in scalars},
    )


def _surrogate(again: Outputs, cached: _Cached, rows: slice, *, with_scalars: bool) -> Tensor | None:
    """Return a scalar whose gradient is this piece's share of the loss gradient; None when it has none."""
    terms = [(again.embeddings[name] * gradient[rows]).sum() for name, gradient in cached.embeddings.items()]
    if with_scalars:
        terms += [getattr(again, name) * gradient for name, gradient in cached.scalars.items()]
    terms = [term for term in terms if term.requires_grad]
    return torch.stack(terms).sum() if terms else None


def _joined(embedded: list[Outputs]) -> Outputs:
    """Return the outputs of all pieces as one, its embeddings and scalars being float32 leaves."""
    whole = at_least_float32(
        replace(
            embedded[0],
            embeddings={
                name: torch.cat([piece.embeddings[name] for piece in embedded])
                for name in embedded[0].embeddings
            },
            tokens={},
            extras={},
        )
    )
    bias = whole.logit_bias
    return replace(
        whole,
        embeddings={name: tensor.detach().requires_grad_() for name, tensor in whole.embeddings.items()},
        logit_scale=whole.logit_scale.detach().requires_grad_(),
        logit_bias=None if bias is None else bias.detach().requires_grad_(),
    )


def _check(model: nn.Module, objective: Objective, micro_batch: int) -> None:
    if micro_batch < 1:
        raise ConfigError(f"micro_batch must be at least 1, got {micro_batch}.")
    if objective.needs.tokens or objective.needs.output_extras:
        raise ConfigError(
            f"{type(objective).__name__} reads tokens or extras of the model; the gradient cache keeps "
            f"embeddings only. Train it with whole batches."
        )
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise ConfigError(
                f"Module {name!r} is a batch-norm in training mode: its statistics would come from "
                f"micro-batches. Put it in eval mode, use another norm, or train with whole batches."
            )


def split_batch(batch: Batch, micro_batch: int) -> list[Batch]:
    """Return the batch in pieces of ``micro_batch`` rows, the last one perhaps smaller.

    Raises:
        InputError: a tensor of the batch does not have one entry per row.
    """
    size = len(batch)
    tensors = {
        f"inputs[{modality!r}][{name!r}]": tensor
        for modality, arguments in batch.inputs.items()
        for name, tensor in arguments.items()
    }
    tensors.update({f"extras[{name!r}]": tensor for name, tensor in batch.extras.items()})
    if batch.labels is not None:
        tensors["labels"] = batch.labels
    for where, tensor in tensors.items():
        if tensor.ndim == 0 or len(tensor) != size:
            raise InputError(
                f"batch.{where} must have one entry for each of the {size} rows to be split into "
                f"micro-batches; its shape is {list(tensor.shape)}."
            )
    return [_rows(batch, slice(start, start + micro_batch)) for start in range(0, size, micro_batch)]


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(
        inputs={
            modality: {name: tensor[rows] for name, tensor in arguments.items()}
            for modality, arguments in batch.inputs.items()
        },
        labels=None if batch.labels is None else batch.labels[rows],
        ids=batch.ids[rows],
        extras={name: tensor[rows] for name, tensor in batch.extras.items()},
    )


@dataclass(frozen=True)
class _RandomState:
    """Generator states of the CPU and of the model's CUDA devices at one moment."""

    cpu: Tensor
    cuda: dict[int, Tensor]

    @classmethod
    def capture(cls, model: nn.Module) -> _RandomState:
        devices = {parameter.device.index for parameter in model.parameters() if parameter.is_cuda}
        return cls(
            torch.get_rng_state(), {index: torch.cuda.get_rng_state(index) for index in sorted(devices)}
        )

    @contextlib.contextmanager
    def replay(self) -> Iterator[None]:
        """Run the body from this state, then put back the state from before."""
        with torch.random.fork_rng(devices=list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for index, state in self.cuda.items():
                torch.cuda.set_rng_state(state, index)
            yield


def _no_sync(model: nn.Module) -> contextlib.AbstractContextManager[object]:
    # Data-parallel wrappers average gradients at every backward unless told to wait.
    no_sync: Callable[[], contextlib.AbstractContextManager[object]] | None = getattr(model, "no_sync", None)
    return contextlib.nullcontext() if no_sync is None else no_sync()
