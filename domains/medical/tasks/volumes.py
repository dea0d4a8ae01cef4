"""A two-dimensional model on a volume: scores per slice and for the whole, and where the best slices are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, nearest
from ....core.heads.zero_shot import ZeroShotHead
from ....core.heatmaps import HeatMap
from ....core.map_plots import Panel, save_montage
from ....core.plots import made_by
from ....core.prompts import PromptSet
from ....core.types import Sample
from ..loaders.records import MedicalVolume
from ..loaders.series import OnGap
from .grounding import can_ground, ground
from .volume_slices import Axis, SliceStack, VolumeSource, choose_slices, open_volume

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

Aggregate = Literal["mean", "max", "top", "attention"]
_SIDES = {
    "axial": "right of the patient on the left, front at the top",
    "coronal": "right of the patient on the left, head at the top",
    "sagittal": "front of the patient on the left, head at the top",
}
"""How pictures of :class:`~.volume_slices.SliceStack` show the patient."""


@dataclass(frozen=True)
class VolumeOptions:
    """How a volume is looked at. Every field may be given to :func:`classify_volume` by keyword.

    Attributes:
        window: a CT preset ("brain", "lung" ...), (center, width), "header", "minmax",
            "percentile:LOW,HIGH", or None: what was stored with the weights, else the rule of the
            modality, which for MR, and for NIfTI files, is percentiles of the whole volume.
        axis: "axial", "coronal" or "sagittal", found by the affine.
        slices: None for all, a number of evenly spread ones, a ``slice``, or slice numbers.
        aggregate: over slices, of each label's probabilities: "mean"; "max"; "top", the mean of the
            ``top`` highest; "attention", the mean weighted by the softmax over slices of the label's
            logits. Only "mean" scores of a softmax model sum to 1.
        top: slices that "top" takes.
        keep: best slices per label that the report names.
        keep_labels: labels, those with the highest scores, whose best slices come with picture and map.
        batch_size: slices per call of the network; the result does not depend on it.
        templates: sentences with one ``{}``, or a prompt set; None takes the model's own.
        frame, on_gap, show_paths: see :class:`~.volume_slices.VolumeSource`.
    """

    window: Any = None
    axis: Axis = "axial"
    slices: int | slice | Sequence[int] | None = None
    aggregate: Aggregate = "top"
    top: int = 8
    keep: int = 3
    keep_labels: int = 8
    batch_size: int = 8
    templates: PromptSet | Sequence[str] | None = None
    frame: int | None = None
    on_gap: OnGap = "error"
    show_paths: bool = False

    def __post_init__(self) -> None:
        if self.aggregate not in get_args(Aggregate):
            known = get_args(Aggregate)
            raise ConfigError(
                f"aggregate must be one of {', '.join(known)}, got {self.aggregate!r}."
                f"{nearest(str(self.aggregate), known)}"
            )
        for name, least in (("top", 1), ("keep", 0), ("keep_labels", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be {least} or more, got {getattr(self, name)}.")

    def with_(self, **changes: Any) -> VolumeOptions:
        """Return a copy with some fields changed; unknown names raise ``ConfigError``."""
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"Unknown option {name!r}; known: {', '.join(known)}.{nearest(name, known)}"
                )
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class BestSlice:
    """A slice that speaks for a label.

    Attributes:
        index: along the file's own axis. position_mm: of its centre along the anatomical axis.
        score: the label's probability on it.
        image: float32 [H, W] in [0, 1], as the model saw it: turned the usual way, square pixels; None
            beyond ``keep_labels``.
        heat_map: where on ``image`` the label is, or None when the model cannot say.
    """

    index: int
    position_mm: float
    score: float
    image: Tensor | None = None
    heat_map: HeatMap | None = None


@dataclass(frozen=True, eq=False)
class VolumeReport:
    """The answer for one volume.

    Attributes:
        label: the label with the highest score. score: its score. scores: {label: score}.
        indices: S slice numbers. positions_mm: S positions, in ``space``, along ``axis``.
        per_slice: float32 [S, K], probabilities in the order of ``scores``.
        best: {label: its best slices, best first}, labels by falling score.
        axis, aggregate: as asked for. window: how values became grey.
        space: "LPS" or "RAS", the axes of the millimetres. spacing_mm: between columns, rows, slices.
        notes: what the user should know: slices left out, gaps, tilt.
        id: the path as given, the volume's id, or None.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    indices: tuple[int, ...]
    positions_mm: tuple[float, ...]
    per_slice: Tensor
    best: Mapping[str, tuple[BestSlice, ...]]
    axis: str
    aggregate: str
    window: str
    space: str
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...]
    id: str | None
    model: str
    revision: str
    processor: str
    oriented: bool = True
    """Whether the file says how the patient lay; else the sides of the pictures are a guess."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without pictures."""
        labels = list(self.scores)
        rows = zip(self.indices, self.positions_mm, self.per_slice.tolist(), strict=True)
        plain = {
            name: getattr(self, name)
            for name in ("id", "label", "score", "axis", "aggregate", "window", "space", "model", "revision")
        }
        return {
            **plain,
            "processor": self.processor,
            "scores": dict(self.scores),
            "spacing_mm": [round(value, 6) for value in self.spacing_mm],
            "notes": list(self.notes),
            "slices": [
                {
                    "index": index,
                    "position_mm": round(place, 4),
                    "scores": dict(zip(labels, row, strict=True)),
                }
                for index, place, row in rows
            ],
            "best": {
                label: [
                    {
                        "index": one.index,
                        "position_mm": round(one.position_mm, 4),
                        "score": one.score,
                        "heat_map": one.heat_map and one.heat_map.to_dict(),
                    }
                    for one in found
                ]
                for label, found in self.best.items()
            },
        }

    def save_montage(self, path: str | Path, *, labels: int = 4) -> None:
        """Write the best slices as PNG with their maps, a row per label, for the highest ``labels`` labels.

        Raises:
            InputError: the report kept no slices.
        """
        ranked = list(self.best)[:labels]
        columns = max((len(self.best[label]) for label in ranked), default=0)
        panels = []
        value_range = (-1.0, 1.0)
        for label in ranked:
            for one in self.best[label]:
                if one.image is None:
                    continue
                values = None
                if one.heat_map is not None:
                    values, value_range = one.heat_map.values.numpy(), one.heat_map.value_range
                title = f"{label} {one.score:.2f}\nslice {one.index}, {one.position_mm:.1f} mm"
                panels.append(Panel(one.image.numpy(), values, title))
        if not panels:
            raise InputError("The report kept no slices to draw. Ask for keep=1 or more.")
        headline = ", ".join(f"{label} {self.scores[label]:.2f}" for label in ranked)
        sides = _SIDES[self.axis] if self.oriented else "sides unknown"
        seen = f"{self.axis}, {sides}\nwindow {self.window}"
        save_montage(
            panels,
            path,
            title=f"{headline}\n{seen}",
            columns=columns,
            value_range=value_range,
            note=made_by(self.model, self.revision, "not for diagnosis"),
        )


def classify_volume(
    model: ModelHandle,
    source: str | Path | MedicalVolume,
    labels: Sequence[str] | None = None,
    *,
    options: VolumeOptions | None = None,
    **changes: Any,
) -> VolumeReport:
    """Return scores of each label per slice and for the volume, and the slices that speak for it.

    Example::

        report = classify_volume(model, "head_ct/", ["haemorrhage", "normal brain"], window="brain")
        report.save_montage("head.png")
        print(report.best["haemorrhage"][0].position_mm)

    Args:
        model: with an image tower.
        source: a NIfTI file, a folder of DICOM slices, an enhanced multi-frame file, or a volume.
        labels: None takes the model's own classes.
        options: see :class:`VolumeOptions`; its fields may also be given by keyword.

    Raises:
        MedicalImageError: the loader's errors, with their remedies: missing slices, mixed series ...
        InputError: no labels, or no slice that shows anything.
        ConfigError: unknown or contradicting options.
    """
    options = (options or VolumeOptions()).with_(**changes)
    reading = VolumeSource(options.frame, options.on_gap, options.show_paths)
    window = options.window
    if window is None and not isinstance(source, MedicalVolume):
        window = stored_window(model)
    volume, values, shown = open_volume(source, window, reading, limits=model.limits)
    stack = SliceStack(volume, options.axis, values, limits=model.limits)
    prompts = model.prompts_for(labels, options.templates)
    head = _head(model, prompts)
    indices, logits = _slice_logits(model, head, stack, options)
    probabilities = logits.softmax(dim=1) if head.bias is None else logits.sigmoid()
    totals = _aggregated(probabilities, logits, options).tolist()
    scores = dict(zip(head.class_names, totals, strict=True))
    ranked = sorted(scores, key=lambda name: -scores[name])
    notes = list(volume.notes)
    left_out = len(choose_slices(options.slices, len(stack))) - len(indices)
    if left_out:
        notes.append(f"left out: {left_out} slices that show nothing")
    return VolumeReport(
        label=ranked[0],
        score=scores[ranked[0]],
        scores=scores,
        indices=tuple(indices),
        positions_mm=tuple(stack.position_mm(index) for index in indices),
        per_slice=probabilities,
        best=_best_slices(model, prompts, stack, indices, (probabilities, logits), ranked, options),
        axis=options.axis,
        aggregate=options.aggregate,
        window=shown,
        space=volume.space,
        spacing_mm=volume.spacing,
        notes=tuple(notes),
        id=volume.id if isinstance(source, MedicalVolume) else str(source),
        model=model.id,
        revision=model.revision,
        processor=model.processor.fingerprint,
        oriented=volume.meta.get("affine_source") != "pixdim",
    )


def stored_window(model: ModelHandle) -> Any:
    """Return the window that belongs to the weights, if one does."""
    image = model.processor.config.image
    window = image.load.get("window") if image is not None else None
    return None if window == "default" else window


def _head(model: ModelHandle, prompts: PromptSet) -> ZeroShotHead:
    bias = model.network.logit_bias
    return ZeroShotHead.from_prompts(
        prompts,
        lambda texts: model.embed(texts, modality="text").vectors,
        scale=model.network.scale().item(),
        bias=None if bias is None else bias.item(),
    )


def _slice_logits(
    model: ModelHandle, head: ZeroShotHead, stack: SliceStack, options: VolumeOptions
) -> tuple[list[int], Tensor]:
    """Return the numbers of the slices that show something and their logits float32 [S, K].

    Memory holds one batch of pictures at a time.
    """
    chosen = choose_slices(options.slices, len(stack))
    kept: list[int] = []
    rows: list[Tensor] = []
    batch: list[tuple[int, Sample]] = []
    for index in chosen:
        picture = stack[index]
        if not stack.is_empty(picture):
            batch.append((index, Sample(picture, "image")))
        if batch and (len(batch) == options.batch_size or index == chosen[-1]):
            samples = [sample for _, sample in batch]
            vectors = model.embed(samples, modality="image", batch_size=options.batch_size).vectors
            rows.append(head.logits(vectors))
            kept += [number for number, _ in batch]
            batch.clear()
    if not rows:
        raise InputError(
            f"None of the {len(chosen)} {options.axis} slices shows anything. Choose another window or "
            "other slices."
        )
    return kept, torch.cat(rows)


def _aggregated(probabilities: Tensor, logits: Tensor, options: VolumeOptions) -> Tensor:
    """Return float32 [K] from probabilities and logits [S, K]."""
    if options.aggregate == "max":
        return probabilities.amax(dim=0)
    if options.aggregate == "top":
        return probabilities.topk(min(options.top, len(probabilities)), dim=0).values.mean(dim=0)
    if options.aggregate == "attention":
        return (logits.softmax(dim=0) * probabilities).sum(dim=0)
    return probabilities.mean(dim=0)


def _best_slices(
    model: ModelHandle,
    prompts: PromptSet,
    stack: SliceStack,
    indices: Sequence[int],
    scored: tuple[Tensor, Tensor],
    ranked: Sequence[str],
    options: VolumeOptions,
) -> dict[str, tuple[BestSlice, ...]]:
    """Return {label: its ``keep`` best slices}, the first labels with pictures and, if it can, maps."""
    probabilities, logits = scored
    grounds = options.keep > 0 and can_ground(model)
    best: dict[str, tuple[BestSlice, ...]] = {}
    for rank, label in enumerate(ranked):
        column = prompts.class_names.index(label)
        # Probabilities of a sure model tie at 1; then the larger logit decides.
        order = sorted(
            range(len(indices)),
            key=lambda row, k=column: (-float(probabilities[row, k]), -float(logits[row, k]), row),
        )[: options.keep]
        pictures: list[Tensor | None] = [None] * len(order)
        maps: list[HeatMap | None] = [None] * len(order)
        if rank < options.keep_labels and order:
            samples = [Sample(stack[indices[row]], "image", id=f"slice {indices[row]}") for row in order]
            pictures = [sample.value[0] for sample in samples]
            if grounds:
                words = prompts.classes[label][0]
                maps = [found[0] for found in ground(model, samples, words, batch_size=options.batch_size)]
        best[label] = tuple(
            BestSlice(
                indices[row],
                stack.position_mm(indices[row]),
                float(probabilities[row, column]),
                picture,
                found,
            )
            for row, picture, found in zip(order, pictures, maps, strict=True)
        )
    return best
