"""Captions of images, word by word.

open_clip 3.3 writes captions only beside transformers 4; this loop needs neither. It gives the same tokens as
``CoCa.generate`` for the same weights and draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ....core.config import parse_config
from ....core.errors import ConfigError, InputError
from ....core.inputs import fitted_batches, fitted_inputs
from .beams import beam_search
from .choosing import Decoding, adjust, choose
from .decoding_state import begin
from .model import CoCaModel
from .wording import Wording

if TYPE_CHECKING:
    from ....core.handle import ModelHandle


def describe(
    model: ModelHandle,
    items: Any,
    *,
    batch_size: int = 8,
    prefix: str = "",
    seed: int = 0,
    loader: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[str]:
    """Return one caption per image.

    Args:
        model: with architecture ``coca``.
        items: files, pictures, arrays or tensors, as :meth:`verticlip.Model.embed` takes them.
        batch_size: images per call of the network. Drawn captions depend on it, as rows draw in turn.
        prefix: how every caption begins, e.g. ``a satellite image of``; it stands in the answer.
        seed: of the draws of ``top_k`` and ``top_p``.
        loader: options of the domain's loader.
        options: fields of :class:`~.choosing.Decoding`: ``method="beam"``, ``length=40`` ...

    Raises:
        ConfigError: the model writes no captions, or an option cannot be.
        InputError: no items, or one that cannot be used.

    Example:
        >>> describe(model, "tile.tif", method="greedy")  # doctest: +SKIP
        ['a satellite image of a large industrial area .']
    """
    network = as_coca(model)
    settings = _settings(options)
    wording = Wording.of(model.processor, network)
    begun = wording.begin(prefix) if prefix else None
    generator = torch.Generator().manual_seed(seed)
    texts: list[str] = []
    for batch in fitted_batches(model, items, batch_size=batch_size, options=dict(loader or {})):
        pixels = fitted_inputs(model, batch)["pixels"]
        with model.precision("image"):
            ids = _generate(network, pixels, settings, generator=generator, prefix=begun)
        texts += wording.texts(ids)
    return texts


def as_coca(model: ModelHandle) -> CoCaModel:
    """Return the network of a model that writes captions.

    Raises:
        ConfigError: it is of another architecture.
    """
    network = model.network
    if not isinstance(network, CoCaModel):
        raise ConfigError(
            f"{model.id} writes no captions: its architecture is {model.config.architecture!r}. Take a "
            "model of architecture 'coca', for example urban/coca-vit-l14-mscoco."
        )
    return cast("CoCaModel", network)


def generate(
    network: CoCaModel,
    pixels: Tensor,
    *,
    generator: torch.Generator | None = None,
    prefix: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Return captions as token ids int64 [B, L], from the start token to the end token, then padding.

    A caption that reaches ``length`` ends there, with the end token as its last; ``beam`` returns such
    captions without one. A predicted padding token ends a caption as well.

    Args:
        network: any mode; put back as it was.
        pixels: float [B, 3, S, S] as the processor makes them, on the device of the network.
        generator: of the draws, on the CPU; None is one with the seed 0.
        prefix: int64 [P] tokens every caption begins with, the start token first; None is the start token.
        options: fields of :class:`~.choosing.Decoding`.

    Raises:
        ConfigError: an option cannot be, or ``length`` is over the context.
        InputError: pixels or prefix have another shape.
    """
    return _generate(network, pixels, _settings(options), generator=generator, prefix=prefix)


def _settings(options: Mapping[str, Any]) -> Decoding:
    return parse_config(Decoding, dict(options), source="caption options")


@torch.no_grad()
def _generate(
    network: CoCaModel,
    pixels: Tensor,
    settings: Decoding,
    *,
    generator: torch.Generator | None,
    prefix: Tensor | None,
) -> Tensor:
    if settings.length > network.context_length + 1:
        raise ConfigError(
            f"length {settings.length} is more than {network.config.name} can write: its context has "
            f"{network.context_length} tokens."
        )
    if pixels.ndim != 4 or not len(pixels):
        raise InputError(f"pixels must be [B, 3, S, S] with B of at least 1, got {list(pixels.shape)}.")
    begun = _begun(network, prefix, settings)
    was_training = network.training
    network.eval()
    try:
        image_tokens = network.encode_tokens("image", {"pixels": pixels}).tokens
        states = begin(network, image_tokens, settings.length)
        written = begun.expand(len(pixels), -1)
        logits = states.extend(written)
        # One beam is no search: it is the likeliest word each time.
        if settings.method == "beam" and settings.beams > 1:
            return beam_search(states, written, logits, special=network.special, settings=settings)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        while True:
            token = _next(network, logits, written, settings, generator)
            written = torch.cat([written, token[:, None]], dim=1)
            ended = _ended(network, token)
            if bool(ended.all()) or written.shape[1] >= settings.length:
                return written
            logits = states.extend(token[:, None])
    finally:
        network.train(was_training)


def _next(
    network: CoCaModel, logits: Tensor, written: Tensor, settings: Decoding, generator: torch.Generator
) -> Tensor:
    """Return one token int64 [B] per row; rows that have ended get padding and draw nothing."""
    special = network.special
    token = torch.full((len(logits),), special.pad, dtype=torch.int64, device=logits.device)
    going = ~_ended(network, written[:, -1])
    if written.shape[1] + 1 == settings.length:
        token[going] = special.end
        return token
    chosen = choose(adjust(logits[going], written[going], special.end, settings), settings, generator)
    token[going] = chosen.to(token.device)
    return token


def _ended(network: CoCaModel, token: Tensor) -> Tensor:
    return (token == network.special.end) | (token == network.special.pad)


def _begun(network: CoCaModel, prefix: Tensor | None, settings: Decoding) -> Tensor:
    """Return what every caption begins with, int64 [1, P]."""
    special = network.special
    if prefix is None:
        return torch.tensor([[special.start]], device=network.device)
    found = prefix.flatten().tolist()
    if prefix.ndim != 1 or not found or found[0] != special.start:
        raise InputError(f"prefix must be int64 [P] with the start token {special.start} first.")
    if special.pad in found or special.end in found or max(found) >= network.vocab_size:
        raise InputError("prefix must hold words only: no padding, no end token, no unknown token.")
    if len(found) >= settings.length:
        raise ConfigError(
            f"The prefix has {len(found)} tokens, start included, and length is {settings.length}: there is "
            "no room for a word. Raise length."
        )
    return prefix.to(network.device)[None]
