"""Phrase grounding: where on an image a phrase is, in the pixels of the file, for any model that can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, nearest
from ....core.heatmaps import (
    Box,
    HeatMap,
    Interpolation,
    as_groundable,
    from_processing,
    gaussian_smooth,
    place,
)
from ....core.limits import Limits
from ....core.processing import Processor, to_pixels
from ....core.types import Sample
from ..loaders.geometry import Geometry

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.model import ContrastiveModel
    from ....core.towers import Tower


def ground(
    model: ModelHandle,
    items: Any,
    phrases: str | Sequence[str],
    *,
    interpolation: Interpolation = "bilinear",
    batch_size: int = 8,
    **options: Any,
) -> list[list[HeatMap]]:
    """Return one heat map per item and phrase, each in the pixels of the item's file.

    Example::

        maps = ground(model, ["chest.dcm"], ["left pleural effusion", "consolidation"])
        best = maps[0][0]
        best.save_overlay("effusion.png", load_image("chest.dcm"), boxes=best.boxes(0.3))

    Args:
        model: with ``phrase_maps`` (BioViL, BioViL-T, ConceptCLIP), or with an image tower that
            averages tokens and projects them linearly (``medical/tiny``): those get the cosine of each
            token with the phrase.
        items: files (``str`` or ``Path``), samples, PIL images, arrays or tensors; one counts as a list.
        phrases: what to look for; one string is one phrase.
        interpolation: from the grid to pixels: "bilinear", "nearest" or "bicubic".
        batch_size: images per call of the network; the result does not depend on it.
        options: of the domain's loader. Crops and sizes given there are undone: maps are in file pixels.

    Returns:
        A list per item with a map per phrase. Pixels that the model has not seen, beyond a centre
        crop or a trimmed border, are NaN.

    Raises:
        InputError: no items or phrases, an item that cannot be used, or a model that cannot ground.
    """
    return list(
        ground_each(model, items, phrases, interpolation=interpolation, batch_size=batch_size, **options)
    )


def ground_each(
    model: ModelHandle,
    items: Any,
    phrases: str | Sequence[str],
    *,
    interpolation: Interpolation = "bilinear",
    batch_size: int = 8,
    **options: Any,
) -> Iterator[list[HeatMap]]:
    """Yield what :func:`ground` returns, item by item; memory holds one batch at a time."""
    words = check_phrases(phrases)
    listed = as_items(items)
    if interpolation not in get_args(Interpolation):
        raise InputError(
            f"interpolation {interpolation!r} is not offered; choose from: "
            f"{', '.join(get_args(Interpolation))}.{nearest(str(interpolation), get_args(Interpolation))}"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1, got {batch_size}.")
    text_inputs = prepare_phrases(model, words)
    for start in range(0, len(listed), batch_size):
        chunk = enumerate(listed[start : start + batch_size], start)
        fitted = [fit(model, item, position, options) for position, item in chunk]
        grids, scores = phrase_grids(model, [one.pixels for one in fitted], words, text_inputs)
        for one, grid, row in zip(fitted, grids, scores, strict=True):
            yield heat_maps(model, one, words, grid, row.tolist(), interpolation=interpolation)


def can_ground(model: ModelHandle) -> bool:
    """Return whether :func:`ground` works with this model; costs one image at most."""
    network = model.network
    if "text" not in network.modalities or "image" not in network.modalities:
        return False
    maps = as_groundable(network)
    try:
        if maps is not None:
            return maps.map_range[0] < maps.map_range[1]
    except InputError:  # the architecture can, this checkpoint lacks the part for it
        return False
    size = cast("Any", model.processor.config.image).size
    noise = torch.rand(1, size, size, generator=torch.Generator().manual_seed(0))
    inputs = on_device(model, model.processor("image", [noise]))
    try:
        with torch.inference_mode(), model.precision("image"):
            _token_states(network, inputs)
    except InputError:
        return False
    return True


@dataclass(frozen=True)
class Fitted:
    """One image ready for the tower, and the way from the tower's square back to the file.

    Attributes:
        pixels: float32 [C, size, size] of ``Processor.fit_image``.
        size: (height, width) of the loaded image. box: the part of it that was fitted.
        geometry: from loaded pixels to file pixels, or None when they are the same.
        id: the path as given, the sample's id, or None.
    """

    pixels: Tensor
    size: tuple[int, int]
    box: Box
    geometry: Geometry | None
    id: str | None

    @property
    def file_size(self) -> tuple[int, int]:
        """(height, width) of the file, after any EXIF rotation."""
        return self.size if self.geometry is None else self.geometry.original_size

    def spread(self, grids: Tensor, processor: Processor, mode: Interpolation, limits: Limits) -> Tensor:
        """Return grids [P, h, w] over the tower's square as [P, H, W] in the pixels of the file.

        Raises:
            GeometryError: the image went through a transform whose mapping is unknown.
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

    Raises:
        InputError: the item cannot be used, or is no single image.
    """
    identifier = None
    name = f"image {position}"
    if isinstance(item, (str, Path)):
        identifier = str(item)
        name = identifier if options.get("show_paths") else name
        item = model.load(item, modality="image", **options)
    if isinstance(item, Sample):
        identifier = identifier or item.id
        if item.modality != "image":
            raise InputError(
                f"{name}: a sample of {item.modality!r}; expected one image. Take a frame of it."
            )
    geometry = getattr(item, "geometry", None)
    pixels = to_pixels(item, name=name)
    box = model.processor.fit_box(pixels, name=name)
    fitted = model.processor.fit_image(item, name=name)
    return Fitted(fitted, (pixels.shape[1], pixels.shape[2]), box, geometry, identifier)


def prepare_phrases(model: ModelHandle, phrases: Sequence[str]) -> dict[str, Tensor]:
    """Return what :func:`phrase_grids` needs of phrases, encoded once for any number of images.

    A network with ``encode_phrases`` gets its own result back as the ``text_inputs`` of ``phrase_maps``;
    one without gets tokens. Towers without ``phrase_maps`` get unit embeddings, ``phrases`` [P, D].
    """
    network = model.network
    text_inputs = on_device(model, model.processor("text", list(phrases)))
    encode = getattr(network, "encode_phrases", None)
    with torch.inference_mode(), model.precision("text"):
        if encode is not None:
            return dict(encode(text_inputs, phrases=phrases, processor=model.processor))
        if as_groundable(network) is None:
            return {"phrases": network.encode("text", text_inputs)}
    return text_inputs


def phrase_grids(
    model: ModelHandle, pixels: Sequence[Tensor], phrases: Sequence[str], text_inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return grids float32 [B, P, h, w], smoothed where the model asks for it, and scores [B, P], on the CPU.

    Args:
        pixels: B images of :func:`fit`.
        phrases, text_inputs: P phrases, as words and from :func:`prepare_phrases`.

    Raises:
        InputError: the model cannot ground, or its maps are not finite.
    """
    network = model.network
    image_inputs = on_device(model, model.processor.finish_images(torch.stack(list(pixels))))
    with torch.inference_mode(), model.precision("image"):
        if (maps := as_groundable(network)) is not None:
            grids, scores = maps.phrase_maps(
                image_inputs, text_inputs, phrases=phrases, processor=model.processor
            )
            smoothing = maps.map_smoothing
        else:
            grids, scores = _token_cosines(network, image_inputs, text_inputs["phrases"])
            smoothing = None
    # Copies made outside inference mode may take part in autograd, as callers expect of a tensor.
    grids, scores = grids.float().cpu().clone(), scores.float().cpu().clone()
    if smoothing is not None:
        grids = gaussian_smooth(grids, smoothing)
    bad = ~torch.isfinite(grids).flatten(1).all(dim=1)
    if bool(bad.any()):
        raise InputError(
            f"image {int(bad.nonzero()[0])} of the batch: its map is not finite. Use another input."
        )
    return grids, scores


def heat_maps(
    model: ModelHandle,
    fitted: Fitted,
    phrases: Sequence[str],
    grids: Tensor,
    scores: Sequence[float],
    *,
    interpolation: Interpolation,
) -> list[HeatMap]:
    """Return the records of one image from its grids float32 [P, h, w] and P scores."""
    values = fitted.spread(grids, model.processor, interpolation, model.limits)
    maps = as_groundable(model.network)
    value_range = (-1.0, 1.0) if maps is None else maps.map_range
    origin = (model.id, model.revision, model.processor.fingerprint)
    return [
        HeatMap(pixels, phrase, score, grid, value_range, fitted.id, *origin)
        for pixels, phrase, score, grid in zip(values, phrases, scores, grids, strict=True)
    ]


def _token_cosines(
    network: ContrastiveModel, image_inputs: Mapping[str, Tensor], texts: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cosines of each image token with each phrase [B, P, h, w], and of the whole images [B, P].

    The tokens of a mean-pooled tower with a linear projection lie in the joint space themselves, as
    in class activation maps.

    Reference: Zhou et al. 2016, "Learning deep features for discriminative localization".
    """
    raw, projected, grid = _token_states(network, image_inputs)
    maps = F.normalize(projected, dim=-1) @ texts.T
    return maps.transpose(1, 2).unflatten(2, grid), F.normalize(raw, dim=-1) @ texts.T


def _token_states(
    network: ContrastiveModel, image_inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return raw embeddings [B, D], projected tokens [B, N, D] and the grid the tokens tile.

    Raises:
        InputError: the tower gives no tokens on a grid, or its embedding is not their mean.
    """
    name = network.config.name
    raw, tokens = network.embed("image", image_inputs, tokens=True)
    remedy = "Use a model with phrase maps, such as medical/biovil or medical/conceptclip."
    if tokens is None or tokens.grid is None:
        raise InputError(
            f"{name!r} cannot ground phrases: its image tower gives no tokens on a grid. {remedy}"
        )
    tower = cast("Tower", network.towers["image"])
    states = tower.project(tokens.tokens)
    projection = network.projections["image"]
    if isinstance(projection, torch.nn.Identity) and states.shape[-1] != raw.shape[-1]:
        raise InputError(f"{name!r} cannot ground phrases: its tokens are not in the joint space. {remedy}")
    projected = projection(states).float()
    # Whatever the configuration says, this is what makes a token's cosine part of the image's.
    apart = (projected.mean(dim=1) - raw).norm(dim=-1) / raw.norm(dim=-1).clamp(min=1e-12)
    if bool((apart > 2e-2).any()):
        raise InputError(
            f"{name!r} cannot ground phrases: its image embedding is not the mean of its projected tokens. "
            f"{remedy}"
        )
    return raw, projected, tokens.grid


def on_device(model: ModelHandle, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs on the model's device."""
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def check_phrases(phrases: str | Sequence[str]) -> list[str]:
    """Return phrases as a list; one string is one phrase.

    Raises:
        InputError: there are none, or one is no text.
    """
    words = [phrases] if isinstance(phrases, str) else list(phrases)
    if not words:
        raise InputError("There is nothing to look for: the list of phrases is empty.")
    for position, phrase in enumerate(words):
        if not isinstance(phrase, str) or not phrase.strip():
            raise InputError(
                f"phrase {position} is {phrase!r:.80}; expected words such as 'pleural effusion'."
            )
    return words


def as_items(items: Any) -> list[Any]:
    """Return images as a list; a path, sample, PIL image, or array of up to three axes is one.

    Raises:
        InputError: there are none.
    """
    if isinstance(items, (np.ndarray, Tensor)):
        single = items.ndim < 4
    else:
        single = isinstance(items, (str, Path, Sample)) or hasattr(items, "getbands")
    listed: list[Any] = [items] if single else list(cast("Iterable[Any]", items))
    if not listed:
        raise InputError("There is nothing to ground: the list of images is empty.")
    return listed
