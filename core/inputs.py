"""Inputs on their way to a network: one or many, fitted and moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .answer_each import check_batch_size
from .errors import InputError
from .heatmaps import Box, Interpolation, from_processing, place
from .inference import encode_by_length
from .limits import Limits
from .pixels import to_pixels
from .processing import Processor
from .types import Sample

if TYPE_CHECKING:
    from .handle import ModelHandle
    from .model import ContrastiveModel


def as_items(items: Any) -> list[Any]:
    """Return inputs as a list; a path, text, sample, PIL image, or array of up to three axes is one.

    Raises:
        InputError: there are none.
    """
    if isinstance(items, (np.ndarray, Tensor)):
        single = items.ndim < 4
    else:
        single = isinstance(items, (str, Path, Sample)) or hasattr(items, "getbands")
    listed: list[Any] = [items] if single else list(cast("Iterable[Any]", items))
    if not listed:
        raise InputError("There is nothing to do: the batch is empty.")
    return listed


def on_device(model: ModelHandle | ContrastiveModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs on the device of a model or network."""
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def encode_inputs(
    model: ModelHandle,
    modality: str,
    inputs: Mapping[str, Tensor],
    *,
    normalize: bool = True,
    token_budget: int = 1024,
) -> Tensor:
    """Return embeddings float32 [B, D] on the CPU of what the processor made; texts by similar length.

    Args:
        model: with a tower of ``modality``.
        inputs: {argument: tensor [B, ...]}, on any device.
        normalize: to unit length; False gives the vectors as they leave the projection.
        token_budget: tokens per call of the text tower, padding included.
    """
    network, moved = model.network, on_device(model, inputs)

    def encode(part: Mapping[str, Tensor]) -> Tensor:
        return network.encode(modality, part, normalize=normalize)

    with torch.inference_mode(), model.precision(modality):
        by_length = modality == "text" and "attention_mask" in moved
        vectors = encode_by_length(encode, moved, budget=token_budget) if by_length else encode(moved)
    # A copy made outside inference mode may take part in autograd, as callers expect of a tensor.
    return vectors.float().cpu().clone()


def encode_texts(model: ModelHandle, texts: Sequence[str], *, normalize: bool = True) -> Tensor:
    """Return text embeddings float32 [N, D] of N texts; ``normalize`` as in :func:`encode_inputs`."""
    return encode_inputs(model, "text", model.processor("text", list(texts)), normalize=normalize)


class Placement(Protocol):
    """Where loaded pixels come from in their file; a domain's loader attaches it to its samples."""

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the file."""
        ...

    @property
    def steps(self) -> Sequence[Any]:
        """What was done to the pixels; empty when they are those of the file."""
        ...

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """Return the file's coordinates of a point in the loaded pixels."""
        ...


@dataclass(frozen=True)
class Fitted:
    """One image ready for the tower, and the way from the tower's square back to the file.

    Attributes:
        pixels: float32 [C, size, size] of ``Processor.fit_image``.
        size: (height, width) of the loaded image. box: the part of it that was fitted.
        geometry: from loaded pixels to file pixels, or None when they are the same.
        id: the path as given, the sample's id, or None.
        meta: what the loader reports about it.
    """

    pixels: Tensor
    size: tuple[int, int]
    box: Box
    geometry: Placement | None
    id: str | None
    meta: Mapping[str, Any]

    @property
    def file_size(self) -> tuple[int, int]:
        """(height, width) of the file, after any EXIF rotation."""
        return self.size if self.geometry is None else self.geometry.original_size

    def spread(self, grids: Tensor, processor: Processor, mode: Interpolation, limits: Limits) -> Tensor:
        """Return grids [P, h, w] over the tower's square as [P, H, W] in the pixels of the file.

        Raises:
            InputError: the image went through a transform whose mapping is unknown.
            LimitError: the maps are over ``limits.decoded_bytes``.
        """
        height, width = self.file_size
        limits.check("decoded_bytes", 4 * len(grids) * height * width, what="heat maps: bytes")
        x0, y0, x1, y1 = self.box
        processing = cast("Any", processor.config.image)
        values = from_processing(grids, (y1 - y0, x1 - x0), processing, mode=mode)
        if self.geometry is None or not self.geometry.steps:
            return place(values, self.size, self.box)
        left, top = self.geometry.to_original(x0, y0)
        right, bottom = self.geometry.to_original(x1, y1)
        target = (
            round(left),
            round(top),
            max(round(right), round(left) + 1),
            max(round(bottom), round(top) + 1),
        )
        return place(
            _resized(values, (target[3] - target[1], target[2] - target[0]), mode), (height, width), target
        )


def _resized(values: Tensor, size: tuple[int, int], mode: Interpolation) -> Tensor:
    """Return maps [P, h, w] with NaN around a rectangle as [P, H, W], NaN around the same rectangle."""
    if tuple(values.shape[-2:]) == size:
        return values
    seen = torch.isfinite(values).all(dim=0)
    rows, columns = seen.any(dim=1).nonzero().flatten(), seen.any(dim=0).nonzero().flatten()
    if not len(rows):
        return values.new_full((len(values), *size), torch.nan)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    up, across = size[0] / values.shape[1], size[1] / values.shape[2]
    left, top = round(x0 * across), round(y0 * up)
    right, bottom = max(left + 1, round(x1 * across)), max(top + 1, round(y1 * up))
    corners = None if mode == "nearest" else False
    inner = F.interpolate(
        values[None, :, y0:y1, x0:x1], (bottom - top, right - left), mode=mode, align_corners=corners
    )[0]
    return place(inner, size, (left, top, right, bottom))


def fit(model: ModelHandle, item: Any, position: int, options: Mapping[str, Any]) -> Fitted:
    """Return an item as the tower takes it, with the way back to its file.

    Args:
        item: a path, sample, PIL image, array or tensor. position: in the caller's list, for messages.
        options: of the domain's loader.

    Raises:
        InputError: the item cannot be used, or is no single image.
    """
    identifier = None
    name = f"image {position}"
    if isinstance(item, (str, Path)):
        identifier = str(item)
        name = identifier if options.get("show_paths") else name
        item = model.load(item, modality="image", **options)
    meta: Mapping[str, Any] = {}
    if isinstance(item, Sample):
        identifier, meta = identifier or item.id, item.meta
        if item.modality != "image":
            raise InputError(
                f"{name}: a sample of {item.modality!r}; expected one image. Take a frame of it."
            )
    geometry = getattr(item, "geometry", None)
    pixels = to_pixels(item, name=name)
    box = model.processor.fit_box(pixels, name=name)
    fitted = model.processor.fit_image(item, name=name)
    return Fitted(fitted, (pixels.shape[1], pixels.shape[2]), box, geometry, identifier, meta)


def fitted_inputs(model: ModelHandle, fitted: Sequence[Fitted]) -> dict[str, Tensor]:
    """Return the inputs of the image tower for some fitted images, on the model's device."""
    return on_device(model, model.processor.finish_images(torch.stack([one.pixels for one in fitted])))


def fitted_batches(
    model: ModelHandle, items: Any, *, batch_size: int, options: Mapping[str, Any]
) -> Iterator[list[Fitted]]:
    """Yield batches of fitted images; one batch is in memory at a time.

    Raises:
        InputError: nothing to do, or an item that cannot be used; it is named by its position.
        ConfigError: ``batch_size`` is not positive.
    """
    check_batch_size(batch_size)
    listed = as_items(items)
    for start in range(0, len(listed), batch_size):
        chunk = enumerate(listed[start : start + batch_size], start)
        yield [fit(model, item, position, options) for position, item in chunk]
