"""Heat maps: from a grid of scores over an image's patches to the pixels of the input file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import ImageProcessing
from .errors import InputError, nearest
from .limits import DEFAULT, Limits
from .metrics.localization import peak_of

if TYPE_CHECKING:
    from .processing import ImageInput, Processor

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1): pixels x0 <= x < x1, y0 <= y < y1, counted from the top left."""


class Groundable(Protocol):
    """A network that says where on an image a phrase is.

    It may have ``encode_phrases(text_inputs, *, phrases, processor)`` as well, whose result
    :meth:`phrase_maps` then takes in place of ``text_inputs``, so that many images share it.

    Attributes:
        map_range: (lowest, highest) value a map can take; says what kind of number it is.
        map_smoothing: deviation in grid cells of the Gaussian a map is smoothed with, or None.
    """

    map_smoothing: float | None

    @property
    def map_range(self) -> tuple[float, float]: ...  # noqa: D102

    def phrase_maps(
        self,
        image_inputs: Mapping[str, Tensor],
        text_inputs: Mapping[str, Tensor],
        *,
        phrases: Sequence[str],
        processor: Processor,
    ) -> tuple[Tensor, Tensor]:
        """Return maps float32 [B, P, h, w] before smoothing and scores float32 [B, P].

        Args:
            image_inputs: of B images. text_inputs: of P phrases; both as the processor makes them.
            phrases: the same P phrases as words.
            processor: for networks that look at parts of a phrase.
        """
        ...


def as_groundable(network: object) -> Groundable | None:
    """Return the network itself when its class has ``phrase_maps``, else None."""
    # Asked of the class: attributes of the network may raise where a checkpoint lacks the parts for maps.
    return cast("Groundable", network) if hasattr(type(network), "phrase_maps") else None


def gaussian_smooth(maps: Tensor, sigma: float = 1.5) -> Tensor:
    """Return float [..., h, w] smoothed over the last two axes.

    The kernel is cut at ``int(4 sigma + 0.5)`` cells and normalized; beyond the border the map is
    mirrored with the edge cell doubled (d c b a | a b c d | d c b a), as often as a small grid needs.

    Args:
        maps: float [..., h, w].
        sigma: standard deviation in cells, 0 or more; 0 returns the maps.

    Raises:
        InputError: not at least two axes, an empty grid, or a negative or non-finite sigma.

    Reference: equals scipy.ndimage.gaussian_filter with its defaults over the last two axes.
    """
    _check_maps(maps)
    if not (math.isfinite(sigma) and sigma >= 0):
        raise InputError(f"sigma must be a number of grid cells, 0 or more; got {sigma!r}.")
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return maps
    rows, columns = (_smoothing_matrix(length, sigma, radius).to(maps) for length in maps.shape[-2:])
    return rows @ maps @ columns.T


def _smoothing_matrix(length: int, sigma: float, radius: int) -> Tensor:
    """Return float64 [length, length]: row i holds the weight of every cell in the smoothed cell i."""
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights /= weights.sum()
    cells = (torch.arange(length)[:, None] + offsets) % (2 * length)
    cells = torch.minimum(cells, 2 * length - 1 - cells)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add_(
        1, cells, weights.expand(length, -1).contiguous()
    )


def to_input_pixels(
    maps: Tensor,
    size: tuple[int, int],
    *,
    resize: int | None,
    crop: int | None,
    mode: Interpolation = "bilinear",
) -> Tensor:
    """Return maps [..., h, w] of a centre crop in the pixels of the image it was cut from, [..., H, W].

    The crop covers ``int(crop * min(H, W) / resize)`` pixels of the image; what lies around it the
    model has not seen, and is NaN. Exact to about one pixel: the way in rounds sizes differently.

    Args:
        maps: float [..., h, w].
        size: (H, W) of the image.
        resize: short side that the image was resized to before the crop; None: it was not resized.
        crop: side of the centre crop; None: the map covers the whole image.
        mode: "nearest", "bilinear" or "bicubic", without aligned corners.

    Raises:
        InputError: an empty map or image, an unknown mode, or a footprint of less than one pixel.

    Reference: microsoft/hi-ml, health_multimodal/vlp/inference_engine.py.
    """
    height, width = _check_size(size)
    if crop is None:
        return _interpolate(maps, (height, width), mode)
    side = crop if resize is None else int(crop * min(height, width) / resize)
    if side < 1:
        raise InputError(
            f"A crop of {crop} after resizing {height} x {width} to a short side of {resize} covers less "
            "than one pixel. Check resize and crop."
        )
    top, left = (height - side) // 2, (width - side) // 2
    # Negative margins, of a crop larger than the image, cut.
    around = (left, width - side - left, top, height - side - top)
    return F.pad(_interpolate(maps, (side, side), mode), around, value=math.nan)


def from_processing(
    maps: Tensor, size: tuple[int, int], processing: ImageProcessing, *, mode: Interpolation = "bilinear"
) -> Tensor:
    """Return maps [..., h, w] over a tower's input in the pixels of the image, [..., H, W].

    Args:
        maps: float [..., h, w] that tile the square a tower has seen.
        size: (H, W) of the image that was resized: after a border was trimmed, where it is.
        processing: how the image became the square; see :func:`to_input_pixels` for centre crops.
        mode: "nearest", "bilinear" or "bicubic".

    Raises:
        InputError: as :func:`to_input_pixels`.
    """
    height, width = _check_size(size)
    side = processing.size
    if processing.resize == "shortest":
        short = processing.short_side or side
        return to_input_pixels(maps, size, resize=short, crop=side, mode=mode)
    if processing.resize == "squash":
        return to_input_pixels(maps, size, resize=None, crop=None, mode=mode)
    # "longest": the image lies in the middle of the square; the bars above and below are no image.
    ratio = side / max(height, width)
    inner = max(1, round(height * ratio)), max(1, round(width * ratio))
    scale = height / inner[0], width / inner[1]
    whole = round(side * scale[0]), round(side * scale[1])
    top, left = (round((side - inner[axis]) // 2 * scale[axis]) for axis in (0, 1))
    spread = _interpolate(maps, (max(whole[0], top + height), max(whole[1], left + width)), mode)
    return spread[..., top : top + height, left : left + width]


def place(maps: Tensor, size: tuple[int, int], box: Box) -> Tensor:
    """Return maps [..., y1 - y0, x1 - x0] of a part of an image as [..., H, W], NaN around the part.

    Raises:
        InputError: the box is not inside the image or of another size than the maps.
    """
    height, width = _check_size(size)
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height) or maps.shape[-2:] != (y1 - y0, x1 - x0):
        raise InputError(
            f"A map of {tuple(maps.shape[-2:])} does not fill the box {box} of an image {height} x {width}."
        )
    return F.pad(maps, (x0, width - x1, y0, height - y1), value=math.nan)


def _check_maps(maps: Tensor) -> None:
    if maps.ndim < 2 or 0 in maps.shape[-2:] or not maps.is_floating_point():
        raise InputError(
            f"A map is float [..., h, w] with h and w above 0, got {maps.dtype} {list(maps.shape)}."
        )


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(length) for length in size)
    if height < 1 or width < 1:
        raise InputError(f"The image size must be (height, width) of at least 1, got {tuple(size)}.")
    return height, width


def _interpolate(maps: Tensor, size: tuple[int, int], mode: Interpolation) -> Tensor:
    _check_maps(maps)
    if mode not in get_args(Interpolation):
        raise InputError(
            f"interpolation {mode!r} is not offered; choose from: {', '.join(get_args(Interpolation))}."
            f"{nearest(str(mode), get_args(Interpolation))}"
        )
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    corners = None if mode == "nearest" else False
    return F.interpolate(flat, size, mode=mode, align_corners=corners).reshape(*maps.shape[:-2], *size)


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where on one image a phrase is, in the pixels of the input file.

    Attributes:
        values: float32 [H, W]; NaN where the model has seen nothing.
        phrase: what was looked for. score: how well it fits the whole image, as the model scores.
        grid: float32 [h, w], the values before they were spread over pixels, smoothed if the model
            asks for it.
        value_range: (lowest, highest) value the model can give, such as (-1, 1) for cosines.
        id: the path as given, the sample's id, or None.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    values: Tensor
    phrase: str
    score: float
    grid: Tensor
    value_range: tuple[float, float]
    id: str | None = None
    model: str = ""
    revision: str = ""
    processor: str = ""

    @property
    def seen(self) -> Box | None:
        """The smallest box around what the model has seen, or None when it has seen nothing."""
        seen = torch.isfinite(self.values)
        rows, columns = seen.any(dim=1).nonzero().flatten(), seen.any(dim=0).nonzero().flatten()
        if not len(rows):
            return None
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    @property
    def peak(self) -> tuple[int, int]:
        """(x, y) of the pixel with the largest value; of several equal ones the most central.

        Raises:
            InputError: the map has no finite value.
        """
        if self.seen is None:
            raise InputError(f"The map of {self.phrase!r} holds no finite value.")
        y, x = peak_of(self.values.numpy())
        return x, y

    @property
    def contrast(self) -> float:
        """Largest minus smallest value; a map without contrast does not say where."""
        values = self.values[torch.isfinite(self.values)]
        return float(values.max() - values.min()) if len(values) else 0.0

    def boxes(self, threshold: float, min_area: int = 1) -> list[tuple[int, int, int, int, float]]:
        """Return (x0, y0, x1, y1, mean value) of each connected region above ``threshold``, best first.

        Args:
            threshold: pixels with a larger value count; neighbours share an edge.
            min_area: regions of fewer pixels are left out.

        Raises:
            InputError: the threshold is not finite or ``min_area`` is below 1.
        """
        if not math.isfinite(threshold) or min_area < 1:
            raise InputError(
                f"boxes needs a finite threshold and min_area of at least 1, got {threshold} and {min_area}."
            )
        from scipy import ndimage

        values = self.values.numpy()
        labels, count = cast(
            "tuple[np.ndarray, int]", ndimage.label(np.nan_to_num(values, nan=-np.inf) > threshold)
        )
        found: list[tuple[int, int, int, int, float]] = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels, max_label=count), 1):
            inside = values[rows, columns][labels[rows, columns] == number]
            if inside.size >= min_area:
                mean = float(inside.mean(dtype=np.float64))
                found.append((columns.start, rows.start, columns.stop, rows.stop, mean))
        return sorted(found, key=lambda box: (-box[4], box))

    def save_overlay(
        self,
        path: str | Path,
        image: ImageInput,
        *,
        boxes: Sequence[Sequence[float]] = (),
        note: str = "",
        limits: Limits = DEFAULT,
    ) -> None:
        """Write the map over its image as PNG, with a colour bar, iso-lines and the model below.

        Args:
            path: file to write.
            image: what was grounded: a sample, PIL image, array or tensor of H x W pixels.
            boxes: (x0, y0, x1, y1, ...) in pixels, drawn as rectangles; what :meth:`boxes` returns fits.
            note: added to the line below, for instance what the picture must not be used for.
            limits: ceiling on the pixels of the figure's source.

        Raises:
            InputError: the image has another size than the map.
        """
        from .map_plots import save_heat_map
        from .pixels import to_pixels
        from .plots import made_by

        pixels = to_pixels(image)
        limits.check("pixels", pixels[0].numel(), what="overlay: pixels")
        save_heat_map(
            self.values.numpy(),
            pixels[0].numpy() if pixels.shape[0] == 1 else pixels.permute(1, 2, 0).numpy(),
            path,
            title=f"{self.phrase} (whole image {self.score:.2f})",
            value_range=self.value_range,
            boxes=boxes,
            note=made_by(self.model, self.revision, note),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: everything but the pixels, which :attr:`grid` determines."""
        seen = self.seen
        x, y = self.peak if seen is not None else (None, None)
        return {
            "id": self.id,
            "phrase": self.phrase,
            "score": self.score,
            "peak": None if x is None or y is None else {"x": x, "y": y, "value": float(self.values[y, x])},
            "contrast": self.contrast,
            "size": list(self.values.shape),
            "seen": None if seen is None else list(seen),
            "value_range": list(self.value_range),
            "grid": [[round(value, 6) for value in row] for row in self.grid.tolist()],
            "model": self.model,
            "revision": self.revision,
            "processor": self.processor,
        }
