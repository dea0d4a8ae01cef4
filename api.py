"""The verbs of verticlip: load a model, embed, compare, classify, save, train.

>>> import verticlip
>>> model = verticlip.from_pretrained("medical/tiny")  # doctest: +SKIP
>>> model.classify(["scan.dcm"], ["glioma", "no tumor"])[0].label  # doctest: +SKIP
'glioma'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from .core import registry
from .core.answers import Prediction
from .core.errors import ConfigError
from .core.limits import DEFAULT, Limits
from .core.registry import ModelSpec, RecipeSpec
from .facade import Model
from .hub.loading import load_model, resolve

if TYPE_CHECKING:
    from .core.recipe import StartConfig
    from .core.start import Start
    from .core.train import TrainResult
    from .hub.certificate import Certificate
    from .hub.publish import Published

Dtype = Literal["auto", "float32", "bfloat16"]


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: Dtype = "auto",
    limits: Limits = DEFAULT,
) -> Model:
    """Return a model by registry name, folder or Hub repository.

    Args:
        name: ``medical/tiny``, ``./my-model`` or ``org/name``.
        revision: branch, tag or commit of a Hub repository.
        device: ``auto`` takes a GPU when there is one.
        dtype: ``auto`` is exact float32; ``bfloat16`` is faster and rounds.
        limits: ceilings for configs and every later input.

    Raises:
        ConfigError: unknown name, unsafe or damaged config, unknown device or dtype.
        WeightsError: missing, damaged or wrong weights.
    """
    if dtype not in get_args(Dtype):
        raise ConfigError(f"dtype {dtype!r} is not offered; choose from: {', '.join(get_args(Dtype))}.")
    place = _device(device)
    source = resolve(name, revision)
    network, processor, prompts = load_model(source, limits=limits)
    return Model(
        network.to(place),
        processor,
        prompts=prompts,
        source=source,
        dtype="float32" if dtype == "auto" else dtype,
        limits=limits,
    )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        if place.type == "meta":
            raise RuntimeError("it holds no values")
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {str(device)!r} cannot be used here ({reason}). Use 'auto' or 'cpu'."
        ) from None
    return place


def _find_start(settings: StartConfig) -> Start:
    """Return the model that a recipe starts from, on the CPU."""
    from .core.start import Start

    source = resolve(settings.model, settings.revision)
    network, processor, prompts = load_model(source)
    # A folder's name may say whose computer it is on; the model's own name goes into cards.
    name = source.id if source.spec or source.commit else network.config.name
    return Start(network, processor, prompts, id=name, revision=source.revision)


def zero_shot(
    model: Model | str | Path, items: Any, labels: Sequence[str] | None = None, **options: Any
) -> list[Prediction]:
    """Return :meth:`Model.classify` of a model or of the model that goes by this name.

    Args:
        model: a loaded model, which keeps its class embeddings, or what :func:`from_pretrained` takes.
        items, labels, options: as in :meth:`Model.classify`.
    """
    loaded = model if isinstance(model, Model) else from_pretrained(model)
    return loaded.classify(items, labels, **options)


def list_models() -> list[ModelSpec]:
    """Return every model that can be loaded by name."""
    return list(registry.models().values())


def list_recipes() -> list[RecipeSpec]:
    """Return every training recipe that can be run by name."""
    return list(registry.recipes().values())


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
    message: str | None = None,
) -> Published:
    """Check a model folder, publish it on the Hub in one commit and return where it is.

    Args:
        folder: as training or ``verticlip models convert`` wrote it, with probe and card.
        repo_id, private, dry_run, token, message: as in :func:`verticlip.hub.publish.publish`.

    Raises:
        ConfigError: a check failed (the first ones are told), or there is no token.
        PushError: the Hub cannot be reached or refuses; what is left there is said.
    """
    from .hub.publish import publish

    return publish(folder, repo_id, private=private, dry_run=dry_run, token=token, message=message)


def verify_model(
    name: str | Path, revision: str | None = None, *, goldens: str | Path | None = None
) -> Certificate:
    """Check a model on this machine and return its certificate; see :mod:`verticlip.hub.certificate`.

    Args:
        name, revision: as in :func:`from_pretrained`.
        goldens: folder with golden cases as ``system/case``; the packaged ones are used as well.

    Example:
        >>> verify_model("medical/tiny").verdict  # doctest: +SKIP
        'verified'
    """
    from .hub.certificate import verify_model as verify

    return verify(name, revision, goldens=goldens)


def train(
    recipe: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
) -> TrainResult:
    """Train by recipe and write the model's card and probe; see :func:`verticlip.core.train.train`.

    A recipe's ``start`` is found as :func:`from_pretrained` finds a model. A recipe of kind ``probe``
    writes a head, which :meth:`Model.classify` takes as ``head=``.
    """
    from .core.files import CARD_FILE
    from .core.train import train as run
    from .hub.card import write_card, write_probe_card
    from .hub.stored_probe import write_probe

    result = run(recipe, data, out, overrides=overrides, resume=resume, progress=progress, start=_find_start)
    if not (result.model / CARD_FILE).is_file():
        if "probes" in result.metrics:
            write_probe_card(result.folder)
        else:
            write_card(result.model)
    if "probes" not in result.metrics:
        # Last: what others check the model by. It names the files that loading reads, the card is none.
        write_probe(result.model)
    return result
