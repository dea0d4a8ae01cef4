"""From what a user hands in, a path, a picture, a text or a recording, to what is batched and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from . import registry
from .errors import InputError
from .inputs import encode_inputs
from .types import Modality, Sample
from .waves import to_wave

if TYPE_CHECKING:
    from .handle import ModelHandle
    from .processing import Processor

_SEEN_IN_PARTS = ("image", "audio")
"""Modalities of which a domain may read files that hold more than a network sees at once."""


@dataclass(frozen=True)
class Prepared:
    """One input ready to be batched.

    Attributes:
        value: an image fitted to the tower, float32 [C, size, size]; a window of a recording, float32 [T];
            a sample; or, where ``in_parts``, the slices of a volume or the windows of a recording as the
            domain reads them, or a recording as :func:`fit_recording` gives it.
        id: the path as given, the sample's id, or None. meta: what the loader reports about it.
        in_parts: whether it is encoded by itself, slice by slice or window by window, as there may be many.
    """

    value: Any
    id: str | None
    meta: Mapping[str, Any]
    in_parts: bool = False


def prepare(
    model: ModelHandle, item: Any, modality: str, position: int, options: Mapping[str, Any]
) -> Prepared:
    """Return any accepted item as what :func:`encode_prepared` or the processor takes; no network is called.

    Args:
        item: a path, a sample, or a value of ``modality``.
        position: in the caller's list, for messages.
        options: of the domain's loader.

    Raises:
        InputError: the item cannot be used, or is a sample of another modality.
    """
    if isinstance(item, Sample):
        sample = item
    elif modality in _SEEN_IN_PARTS and isinstance(item, (str, Path)) and has_parts(model, item):
        read = registry.room(str(model.config.domain)).function("parts", "read")
        parts, meta = read(model, item, **options)
        return Prepared(parts, str(item), meta, in_parts=True)
    elif modality != "text" and isinstance(item, (str, Path)):
        loaded = model.load(item, modality=modality, **options)
        sample = replace(loaded, id=str(item))
    else:
        sample = Sample(item, cast("Modality", modality), id=item if isinstance(item, str) else None)
    if sample.modality != modality:
        raise InputError(f"item {position} is a sample of {sample.modality!r}; expected {modality!r}.")
    value = sample
    if modality == "image":
        # The id may be a path, and a path may name a patient.
        name = sample.id if options.get("show_paths") and sample.id else f"image {position}"
        value = model.processor.fit_image(sample, name=name)
    elif modality == "audio":
        name = sample.id if options.get("show_paths") and sample.id else f"audio {position}"
        value = fit_recording(model, sample, name=name)
        if isinstance(value, dict) or len(value) > 1:
            return Prepared(value, sample.id, sample.meta, in_parts=True)
        value = value[0]
    elif modality == "text" and not isinstance(sample.value, str):
        raise InputError(f"text {position}: {type(sample.value).__name__} is not a string.")
    return Prepared(value, sample.id, sample.meta)


def has_parts(model: ModelHandle, item: Any) -> bool:
    """Return whether an item is a path that the model's domain reads in parts: a volume, a long recording."""
    if not isinstance(item, (str, Path)) or model.config.domain is None:
        return False
    home = registry.room(model.config.domain)
    if not home.parts:
        return False
    try:
        return home.function("parts", "has_parts")(model, item)
    except (OSError, ValueError):
        return False  # whatever reads the file says what is wrong with it


def encode_prepared(
    model: ModelHandle, modality: str, prepared: Sequence[Prepared], *, token_budget: int = 1024
) -> Tensor:
    """Return embeddings float32 [B, D] on the CPU; the rows of unusable inputs are not finite.

    Args:
        prepared: what :func:`prepare` gave, of one modality.
        token_budget: tokens per call of the text tower, padding included.
    """
    rows = {row: _encode_parts(model, one) for row, one in enumerate(prepared) if one.in_parts}
    others = [row for row in range(len(prepared)) if row not in rows]
    values = [prepared[row].value for row in others]
    if values:
        if modality == "image":
            inputs = model.processor.finish_images(torch.stack(values))
        elif modality == "audio":
            inputs = model.processor.finish_audio(torch.stack(values))
        else:
            inputs = model.processor(modality, values)
        found = encode_inputs(model, modality, inputs, token_budget=token_budget)
        if not rows:
            return found
        rows |= dict(zip(others, found, strict=True))
    return torch.stack([rows[row] for row in range(len(prepared))])


def _encode_parts(model: ModelHandle, prepared: Prepared) -> Tensor:
    """Return the embedding of what was prepared in parts, float32 [D], unit, on the CPU."""
    if isinstance(prepared.value, (Tensor, dict)):
        return encode_recording(model, prepared.value)
    return registry.room(str(model.config.domain)).function("parts", "embed")(model, prepared.value)


def loader_options(processor: Processor, modality: str) -> Mapping[str, Any]:
    """Return the options of the domain's loader that were stored with the weights; a caller's own win."""
    image, audio = processor.config.image, processor.config.audio
    if modality == "audio" and audio is not None:
        return {"rate": audio.sampling_rate, **audio.load}
    return image.load if modality == "image" and image is not None else {}


def fit_recording(model: ModelHandle, item: Any, *, name: str = "audio") -> Tensor | dict[str, Tensor]:
    """Return the windows float32 [N, T] of a recording, or one row of inputs where the model sees it whole.

    Args:
        item: as for :meth:`verticlip.core.processing.Processor.fit_audio`, which also says what is raised.
    """
    windows = model.processor.fit_audio(item, name=name)
    config = model.processor.config.audio
    if len(windows) == 1 or config is None:
        return windows
    wave = to_wave(item, config.sampling_rate, name=name)
    if not model.network.sees_whole("audio", len(wave) / config.sampling_rate):
        return windows
    return model.network.inputs_of_whole("audio", wave, model.processor)


def encode_recording(model: ModelHandle, fitted: Tensor | dict[str, Tensor]) -> Tensor:
    """Return the unit embedding float32 [D], on the CPU, of what :func:`fit_recording` gave."""
    if isinstance(fitted, dict):
        return encode_inputs(model, "audio", fitted)[0]
    return mean_direction(encode_windows(model, fitted))


def encode_windows(model: ModelHandle, windows: Tensor, *, batch_size: int = 8) -> Tensor:
    """Return unit embeddings float32 [N, D], on the CPU, of windows float32 [N, T] of a recording."""
    return torch.cat(
        [
            encode_inputs(model, "audio", model.processor.finish_audio(part))
            for part in windows.split(batch_size)
        ]
    )


def mean_direction(vectors: Tensor) -> Tensor:
    """Return the unit vector float32 [D] along the mean of unit vectors [N, D]."""
    return F.normalize(vectors.double().mean(dim=0), dim=-1).float()


def infer_modality(items: Sequence[Any], primary: Modality) -> Modality:
    """Return what a batch is: a ``str`` is text, a sample says itself, all else is ``primary``.

    Raises:
        InputError: the batch mixes modalities, or a text is the name of a file.
    """
    found: set[Modality] = {
        "text" if isinstance(item, str) else item.modality if isinstance(item, Sample) else primary
        for item in items
    }
    if len(found) > 1:
        raise InputError(f"The batch mixes {' and '.join(sorted(found))}. Embed one modality at a time.")
    if "text" in found:
        for item in items:
            # Embedding the letters of a file name would look like an answer and be none.
            if isinstance(item, str) and Path(item).suffix and len(item) < 256 and Path(item).is_file():
                raise InputError(
                    f"{Path(item).name!r} is a file, and a str is read as text. "
                    f"Pass a Path, or modality={primary!r}."
                )
    return found.pop()
