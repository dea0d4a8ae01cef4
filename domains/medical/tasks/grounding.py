"""Phrase grounding: where on an image a phrase is, in the pixels of the file, for any model that can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.answer_each import answer_each, check_batch_size
from ....core.answers import Failure
from ....core.errors import ConfigError, InputError, nearest
from ....core.heatmaps import HeatMap, Interpolation, as_groundable, gaussian_smooth
from ....core.inference import token_budget_batches
from ....core.inputs import Fitted, as_items, encode_texts, fit, fitted_batches, fitted_inputs, on_device

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.model import ContrastiveModel
    from ....core.towers import Tower


def ground(
    model: ModelHandle,
    items: Any,
    phrases: str | Sequence[str],
    *,
    template: str = "{}",
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
        template: sentence that the phrases are said in, with one ``{}``. ConceptCLIP was trained on
            words inside captions and reads the phrase's own tokens there; other models compare with the
            whole sentence.
        interpolation: from the grid to pixels: "bilinear", "nearest" or "bicubic".
        batch_size: images per call of the network; the result does not depend on it.
        options: of the domain's loader. Crops and sizes given there are undone: maps are in file pixels.

    Returns:
        A list per item with a map per phrase. Pixels that the model has not seen, beyond a centre
        crop or a trimmed border, are NaN.

    Raises:
        InputError: no items or phrases, an item that cannot be used, or a model that cannot ground.
        ConfigError: a template without a place for the phrase.
    """
    check_batch_size(batch_size)
    listed, grounder = as_items(items), Grounder.of(model, phrases, template, interpolation)
    batches = fitted_batches(model, listed, batch_size=batch_size, options=options)
    return [maps for fitted in batches for maps in grounder.answer(fitted)]


def ground_each(
    model: ModelHandle,
    items: Any,
    phrases: str | Sequence[str],
    *,
    template: str = "{}",
    interpolation: Interpolation = "bilinear",
    batch_size: int = 8,
    **options: Any,
) -> Iterator[list[HeatMap] | Failure]:
    """Yield the maps or the failure of each item, in order; a bad one does not stop the others.

    Arguments as in :func:`ground`. The phrases are encoded once; memory holds one batch at a time.
    """
    listed, grounder = as_items(items), Grounder.of(model, phrases, template, interpolation)

    def prepare(item: Any, position: int) -> Fitted:
        return fit(model, item, position, options)

    for _, answer in answer_each(listed, prepare, grounder.answer, batch_size=batch_size):
        yield answer


@dataclass(frozen=True, eq=False)
class Grounder:
    """A model with phrases that are encoded already, for any number of images.

    Attributes:
        model: whose maps are shown. phrases: P.
        text_inputs: of :func:`prepare_phrases`. interpolation: from the grid to pixels.
    """

    model: ModelHandle
    phrases: tuple[str, ...]
    text_inputs: Mapping[str, Tensor]
    interpolation: Interpolation = "bilinear"

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        phrases: str | Sequence[str],
        template: str = "{}",
        interpolation: Interpolation = "bilinear",
    ) -> Grounder:
        """Return a grounder for ``phrases``; arguments and errors as in :func:`ground`."""
        words = check_phrases(phrases)
        if interpolation not in get_args(Interpolation):
            raise InputError(
                f"interpolation {interpolation!r} is not offered; choose from: "
                f"{', '.join(get_args(Interpolation))}.{nearest(str(interpolation), get_args(Interpolation))}"
            )
        return cls(model, tuple(words), prepare_phrases(model, words, template=template), interpolation)

    def answer(self, fitted: Sequence[Fitted]) -> list[list[HeatMap]]:
        """Return a map per phrase for each image of :func:`~verticlip.core.inputs.fit`."""
        grids, scores = phrase_grids(self.model, fitted, self.phrases, self.text_inputs)
        return [
            heat_maps(self.model, one, self.phrases, grid, row.tolist(), interpolation=self.interpolation)
            for one, grid, row in zip(fitted, grids, scores, strict=True)
        ]


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


def prepare_phrases(model: ModelHandle, phrases: Sequence[str], *, template: str = "{}") -> dict[str, Tensor]:
    """Return what :func:`phrase_grids` needs of phrases, encoded once for any number of images.

    A network with ``encode_phrases`` gets its own result back as the ``text_inputs`` of ``phrase_maps``;
    one without gets tokens. Towers without ``phrase_maps`` get unit embeddings, ``phrases`` [P, D].
    Each tensor has one row per phrase. However many phrases there are, a call of the network sees a
    bounded number of tokens.

    Raises:
        ConfigError: a template without exactly one ``{}``.
    """
    if template.count("{}") != 1:
        raise ConfigError(f"template needs exactly one {{}} where the phrase goes, got {template!r}.")
    network = model.network
    texts = [template.replace("{}", phrase) for phrase in phrases]
    encode = getattr(network, "encode_phrases", None)
    if encode is None and as_groundable(network) is None:
        return {"phrases": encode_texts(model, texts).to(model.device)}
    text_inputs = on_device(model, model.processor("text", texts))
    if encode is None:
        return text_inputs
    parts: list[Mapping[str, Tensor]] = []
    order: list[int] = []
    with torch.inference_mode(), model.precision("text"):
        for rows in token_budget_batches(text_inputs["attention_mask"].sum(dim=1).tolist()):
            words = [phrases[row] for row in rows]
            parts.append(encode(rows_of(text_inputs, rows), phrases=words, processor=model.processor))
            order += rows
    back = torch.tensor(order).argsort()
    return {name: torch.cat([part[name] for part in parts])[back.to(model.device)] for name in parts[0]}


def rows_of(text_inputs: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return what :func:`prepare_phrases` gave, for some of the phrases."""
    return {name: values[list(rows)] for name, values in text_inputs.items()}


def phrase_grids(
    model: ModelHandle, fitted: Sequence[Fitted], phrases: Sequence[str], text_inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return grids float32 [B, P, h, w], smoothed where the model asks for it, and scores [B, P], on the CPU.

    Args:
        fitted: B images of :func:`~verticlip.core.inputs.fit`.
        phrases, text_inputs: P phrases, as words and from :func:`prepare_phrases`.

    Raises:
        InputError: the model cannot ground, or its maps are not finite.
    """
    network = model.network
    image_inputs = fitted_inputs(model, fitted)
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
