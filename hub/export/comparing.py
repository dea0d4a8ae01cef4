"""What an export and its model are both asked, and how close their answers have to be."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import ConfigError
from ...core.verify import OutputCheck
from .report import compare

if TYPE_CHECKING:
    from PIL import Image

    from ...core.config import ImageProcessing
    from ...core.model import ContrastiveModel
    from ...core.processing import Processor

NETWORK = 1e-5
"""Largest difference of a coordinate of unit embeddings in float32: the same sums in another order."""
EXACT_PIXELS = 1e-5
"""Largest difference of normalized pixels that were made the same way."""
LEVELS = 3.01 / 255
"""What two kernels that round to 8 bits may differ by on pictures like photographs, before the division by
the deviation. On pure noise they are further apart: one cuts overshoots off between its two passes."""
TURN = 2e-3
"""Largest 1 - cosine of an embedding whose picture was resized by another kernel."""
SOUND_TURN = 1e-6
"""The same of a recording whose spectrogram was computed in float64."""

KERNELS = {"open_clip": "pillow", "transformers": "torch"}
"""{library: whose kernel resizes pictures there}, in words of :class:`core.config.ImageProcessing`."""
_CENTERS = {"open_clip": "round", "transformers": "floor"}
"""{library: where its crops begin}, in the same words."""
_TOKENS = ("input_ids", "attention_mask")
_TEXTS = (
    "a",
    "cat",
    "a photo of a dog.",
    "An aerial photograph: the harbour, at low tide!",
    "T2-weighted MR slice without contrast",
    "red shirt, size 42 (cotton), 19.99 EUR",
    "two   words",
    "café naïve über",
    "it's the dog's bowl; they'll see",
    "a very long sentence about a small house on a hill beside the sea under a grey and windy sky",
)


def resized_alike(config: ImageProcessing, library: str) -> bool:
    """Return whether a library resizes pictures by the kernel of ``config``."""
    return config.resampler == KERNELS[library]


def cropped_alike(config: ImageProcessing, image: Image.Image, library: str) -> bool:
    """Return whether a library begins the crop of a picture at the same pixel as the model."""
    if config.resize != "shortest" or config.center == _CENTERS[library]:
        return True
    short = config.short_side or config.size
    spare = (short - config.size, int(short * max(image.size) / min(image.size)) - config.size)
    return all(round(each / 2) == each // 2 for each in spare)


def crop_notes(config: ImageProcessing, library: str, got: Tensor, expected: Tensor) -> tuple[str, ...]:
    """Return what a crop at another pixel does to embeddings [B, D] of the trial's pictures that have one.

    Empty where every crop begins at the same pixel, whatever the picture.
    """
    if config.resize != "shortest" or config.center == _CENTERS[library]:
        return ()
    earlier, later = (library, "the model") if config.center == "round" else ("the model", library)
    said = (
        f"Where an odd number of pixels is cropped, {earlier} begins one pixel earlier than {later} in half "
        "of the cases"
    )
    if not len(got):
        return (f"{said}; no picture of the trial is one of these.",)
    turned = float((1 - F.cosine_similarity(got, expected, dim=-1)).max())
    return (
        f"{said}; such pictures of the trial came out with 1 - cosine up to {turned:.1e}, by the "
        f"preprocessing of {library} from beginning to end.",
    )


def pictures(size: int) -> list[Image.Image]:
    """Return pictures of several sizes and kinds for a model that sees ``size`` pixels of a side."""
    from PIL import Image

    rng = np.random.default_rng(0)
    found = []
    sides = ((2 * size + 3, size + 17), (size + 1, 3 * size), (size, size), (size // 2 + 1, size // 2 + 4))
    # The last one is cropped by three pixels, where the two ways to halve an odd number are apart.
    sides = (*sides, (size + 3, size))
    for height, width in sides:
        # Coarse colors under fine noise: resizing has something to blur, and something to keep.
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + rng.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8)
        found.append(Image.fromarray(noisy))
    grey = found[0].convert("L").resize((size + 20, size + 9))
    plain = [Image.new("RGB", (size + 5, size), shade) for shade in ("black", "white")]
    return [*found, grey, *plain]


def sentences(processor: Processor) -> list[str]:
    """Return texts that the model takes, from one letter to as long as fits.

    Raises:
        ConfigError: not even a single letter fits.
    """
    config = processor.config.text
    limit = config.context_length if config else 0
    fitting = [text for text in _TEXTS if processor.count_tokens([text])[0] <= limit]
    if not fitting:
        raise ConfigError(f"No text fits into the {limit} tokens that the model takes.")
    return fitting


def embed(network: ContrastiveModel, modality: str, inputs: dict[str, Tensor]) -> Tensor:
    """Return unit embeddings float32 [B, D], computed without stand-ins for towers."""
    with torch.no_grad():
        return network.encode(modality, inputs)


def padded(inputs: dict[str, Tensor], length: int, pad_id: int) -> Tensor:
    """Return token ids [B, length], filled up by ``pad_id`` behind the real ones."""
    ids, mask = (F.pad(inputs[name], (0, length - inputs[name].shape[1])) for name in _TOKENS)
    return ids.masked_fill(mask == 0, pad_id)


def compare_pixels(
    name: str, got: Tensor, expected: Tensor, std: Sequence[float], *, exact: bool
) -> OutputCheck:
    """Return how far normalized pixels are apart; ``exact`` where both were resized by the same kernel."""
    return compare(name, got, expected, EXACT_PIXELS if exact else LEVELS / min(std))


def compare_embeddings(name: str, got: Tensor, expected: Tensor, *, turn: float | None = None) -> OutputCheck:
    """Return how far unit embeddings are apart, by coordinate, or where ``turn`` is given by 1 - cosine."""
    if turn is None:
        return compare(name, got, expected, NETWORK)
    turned = 1 - F.cosine_similarity(got.double(), expected.double(), dim=-1)
    return compare(f"{name}, 1 - cosine", turned, torch.zeros_like(turned), turn)


def compare_logits(
    network: ContrastiveModel, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None
) -> OutputCheck:
    """Return how far the logits are apart that two sets of scale and bias make of the same embeddings."""
    with torch.no_grad():
        expected = network.logits(image, text)
        got = scale.exp() * image @ text.T + (0 if bias is None else bias)
    return compare("logits", got, expected, 1e-5 * float(network.scale().detach()) + 1e-5)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from drawing random numbers of the caller and from giving the root logger a handler."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        root.removeHandler(silent)
