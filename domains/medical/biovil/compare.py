"""Two chest X-rays of one patient: what got better, what got worse, and where (BioViL-T).

Reference: Bannur et al., "Learning to Exploit Temporal Structure for Biomedical Vision-Language
Processing", 2023. The prompts and the definition of the change map are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.answer_each import answer_each, name_of
from ....core.errors import InputError
from ....core.heatmaps import HeatMap, gaussian_smooth
from ....core.inputs import Fitted, fit, on_device
from .change import ChangePrompts, change_prompts
from .similarity import biovil_of, embed_prompts

if TYPE_CHECKING:
    from ....core.answers import Failure
    from ....core.handle import ModelHandle
    from ....core.heatmaps import Interpolation
    from .model import BioViL

_CHEST = frozenset({"CR", "DX", "OT", "SC"})
"""DICOM modalities of chest X-rays, scanned films included."""
_INTENDED = (
    "Trained on frontal chest X-rays of intensive-care patients, hours to days apart; studies that lie years "
    "apart are outside of that."
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed from the previous study to the current one.

    Attributes:
        findings: {finding: {state: probability}}, summing to 1 per finding; not calibrated.
        cosines: {finding: {state: cosine}} that they come from.
        change: how much each place changed, in pixels of the current image, or, with a phrase, how much
            more (above 0) or less it looks like the phrase than it would had nothing changed.
        notes: what to keep in mind about this pair.
        current, previous: ids of the two studies.
        prompts: name and version of the prompt set.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    findings: Mapping[str, Mapping[str, float]]
    cosines: Mapping[str, Mapping[str, float]]
    change: HeatMap
    notes: tuple[str, ...]
    current: str | None
    previous: str | None
    prompts: str
    model: str
    revision: str
    processor: str

    def state(self, finding: str) -> str:
        """Return the most probable state of a finding.

        Raises:
            InputError: the finding was not asked for.
        """
        if finding not in self.findings:
            raise InputError(f"{finding!r} was not asked for; there are: {', '.join(self.findings)}.")
        chances = self.findings[finding]
        return max(chances, key=chances.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = ("current", "previous", "prompts", "model", "revision", "processor")
        return {
            "findings": {name: dict(chances) for name, chances in self.findings.items()},
            "cosines": {name: dict(cosines) for name, cosines in self.cosines.items()},
            "change": self.change.to_dict(),
            "notes": list(self.notes),
            **{name: getattr(self, name) for name in names},
        }


def compare(
    model: ModelHandle,
    current: Any,
    previous: Any,
    findings: Sequence[str] | None = None,
    *,
    phrase: str | None = None,
    interpolation: Interpolation = "bilinear",
    **options: Any,
) -> Comparison:
    """Return what changed between two studies of one patient; the order matters.

    Example::

        change = compare(model, "today.dcm", "yesterday.dcm", ["pleural effusion"])
        change.state("pleural effusion"), change.change.peak

    A finding's state is the softmax, at the model's temperature, of the cosines of the pair with the
    prompts of each state. The change map is the distance between the projected patches of the pair and
    those of the current image compared with itself; with ``phrase``, of their cosines with it.

    Args:
        model: a BioViL-T.
        current, previous: files, samples, PIL images, arrays or tensors.
        findings: None takes all of :func:`change_prompts`; others are taken as they are written.
        phrase: what the change map shall follow, such as "pleural effusion".
        interpolation: from patches to pixels: "bilinear", "nearest" or "bicubic".
        options: of the domain's loader, for both.

    Raises:
        InputError: a model that takes one image, a processor of another size than the comparison, an image
            that cannot be used, or a finding that is no text.
    """
    question = _ask(model, findings, phrase, interpolation)
    return question.answer([question.prepare((current, previous), options)])[0]


def compare_each(
    model: ModelHandle,
    pairs: Sequence[tuple[Any, Any]],
    findings: Sequence[str] | None = None,
    *,
    phrase: str | None = None,
    interpolation: Interpolation = "bilinear",
    batch_size: int = 4,
    **options: Any,
) -> Iterator[Comparison | Failure]:
    """Return an iterator over what changed in each (current, previous) pair, in order.

    A pair that cannot be used gives a failure that carries the name of its current study. The prompts
    are encoded once for all pairs.

    Args:
        pairs: as ``current`` and ``previous`` of :func:`compare`, as are all other arguments.
        batch_size: pairs per call of the network; the result does not depend on it.

    Raises:
        InputError: no pairs, a model that takes one image, or a finding that is no text.
        ConfigError: ``batch_size`` is not positive.
    """
    if not len(pairs):
        raise InputError("There is nothing to compare: the list of pairs is empty.")
    question = _ask(model, findings, phrase, interpolation)

    def name(pair: Any, position: int) -> str:
        return name_of(pair[0], position) if isinstance(pair, (tuple, list)) and pair else f"pair {position}"

    answers = answer_each(
        pairs,
        lambda pair, _: question.prepare(pair, options),
        question.answer,
        batch_size=batch_size,
        name=name,
    )
    return (answer for _, answer in answers)


@dataclass(frozen=True)
class _Question:
    """What is asked of every pair, its words encoded.

    Attributes:
        texts: float32 [F * S, D], the prompts of each state of each finding.
        phrase, vector: what the change map follows, and its embedding float32 [D], or None.
    """

    model: ModelHandle
    network: BioViL
    prompts: ChangePrompts
    names: Sequence[str]
    texts: Tensor
    phrase: str | None
    vector: Tensor | None
    interpolation: Interpolation

    def prepare(self, pair: tuple[Any, Any], options: Mapping[str, Any]) -> tuple[Fitted, Fitted]:
        """Return both studies of a pair as the tower takes them."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"Got {type(pair).__name__} for a pair; give (current, previous).")
        current, previous = pair
        return (
            _fit(self.model, current, "current study", options),
            _fit(self.model, previous, "previous study", options),
        )

    def answer(self, pairs: Sequence[tuple[Fitted, Fitted]]) -> list[Comparison]:
        """Return one answer per pair."""
        now, before = (
            on_device(
                self.model, self.model.processor.finish_images(torch.stack([one.pixels for one in side]))
            )["pixels"]
            for side in zip(*pairs, strict=True)
        )
        with torch.inference_mode(), self.model.precision("image"):
            changed, same = self.network.change_states({"pixels": now, "previous": before})
        vectors = F.normalize(changed.embedding.float().cpu(), dim=-1)
        patches = (F.normalize(one.projected.float().cpu(), dim=1) for one in (changed, same))
        grids = self._grids(*patches).clone()
        return [
            self._comparison(pair, vector, grid, is_same=torch.equal(*studies))
            for pair, vector, grid, *studies in zip(pairs, vectors, grids, now, before, strict=True)
        ]

    def _grids(self, changed: Tensor, same: Tensor) -> Tensor:
        """Return how much each patch changed, [B, h, w], from unit patches [B, D, h, w]."""
        difference = changed - same
        if self.vector is None:
            grids = difference.norm(dim=1)
        else:
            grids = torch.einsum("bdhw,d->bhw", difference, self.vector)
        sigma = self.network.map_smoothing
        return grids if sigma is None else gaussian_smooth(grids, sigma)

    def _comparison(
        self, pair: tuple[Fitted, Fitted], vector: Tensor, grid: Tensor, *, is_same: bool
    ) -> Comparison:
        model, states = self.model, self.prompts.states
        table = (self.texts @ vector).unflatten(0, (len(self.names), len(states)))
        chances = (table * self.network.scale().item()).softmax(dim=-1)
        values = pair[0].spread(grid[None], model.processor, self.interpolation, model.limits)[0]
        origin = (model.id, model.revision, model.processor.fingerprint)
        title, limits = "change", (0.0, 2.0)
        if self.phrase is not None:
            title, limits = f"change of {self.phrase}", (-2.0, 2.0)
        return Comparison(
            _named(self.names, states, chances),
            _named(self.names, states, table),
            HeatMap(values, title, float(grid.mean()), grid, limits, pair[0].id, *origin),
            _notes(pair, is_same=is_same),
            pair[0].id,
            pair[1].id,
            f"{self.prompts.name} {self.prompts.version}",
            *origin,
        )


def _ask(
    model: ModelHandle, findings: Sequence[str] | None, phrase: str | None, interpolation: Interpolation
) -> _Question:
    network, prompts = biovil_of(model), change_prompts()
    names = _findings(findings, prompts)
    _check_model(model, network)
    if "text" not in network.modalities:
        raise InputError(f"{model.id} has no text tower to name a change. Convert it with its CXR-BERT.")
    groups = [prompts.sentences(name, state) for name in names for state in prompts.states]
    texts = embed_prompts(model, groups if phrase is None else [*groups, [phrase]])
    vector = None if phrase is None else texts[-1]
    return _Question(model, network, prompts, names, texts[: len(groups)], phrase, vector, interpolation)


def embed_pairs(
    model: ModelHandle,
    pairs: Sequence[tuple[Any, Any]],
    *,
    state: Literal["joint", "pooled"] = "joint",
    batch_size: int = 8,
    **options: Any,
) -> Tensor:
    """Return one vector per (current, previous) pair, on the CPU, for probes and searches of one's own.

    Args:
        model: a BioViL-T.
        pairs: files, samples, pictures or arrays; ``previous`` may be None for a study without one.
        state: "joint" gives unit vectors float32 [N, D]; "pooled" the states [N, W] before projection, which
            classifiers of change are trained on.
        batch_size: pairs per call of the network; the result does not depend on it.
        options: of the domain's loader.

    Raises:
        InputError: no pairs, a model that takes one image, or an image that cannot be used.
    """
    network = biovil_of(model)
    _check_model(model, network)
    if state not in ("joint", "pooled") or batch_size < 1:
        raise InputError(
            f"state is 'joint' or 'pooled' and batch_size at least 1, got {state!r} and {batch_size}."
        )
    if not pairs:
        raise InputError("There is nothing to embed: the list of pairs is empty.")
    rows = []
    for start in range(0, len(pairs), batch_size):
        inputs = on_device(model, _pair_inputs(model, pairs[start : start + batch_size], start, options))
        with torch.inference_mode(), model.precision("image"):
            states = network.image_states(inputs)
        vectors = states.pooled.float() if state == "pooled" else F.normalize(states.embedding, dim=-1)
        rows.append(vectors.cpu().clone())
    return torch.cat(rows)


def _pair_inputs(
    model: ModelHandle, pairs: Sequence[tuple[Any, Any]], start: int, options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return ``pixels``, ``previous`` and ``has_previous`` of some pairs."""
    fitted: list[Tensor] = []
    for position, pair in enumerate(pairs, start):
        for word, item in zip(("current", "previous"), pair, strict=True):
            if item is None and word == "previous":
                fitted.append(torch.zeros_like(fitted[-1]))
                continue
            name = f"{word} study of pair {position}"
            fitted.append(_fit(model, item, name, options).pixels)
    pixels = model.processor.finish_images(torch.stack(fitted))["pixels"]
    has = torch.tensor([previous is not None for _, previous in pairs])
    return {"pixels": pixels[::2], "previous": pixels[1::2], "has_previous": has}


def _findings(findings: Sequence[str] | None, prompts: ChangePrompts) -> list[str]:
    names = (
        list(prompts.findings) if findings is None else [findings] if isinstance(findings, str) else findings
    )
    if not names:
        raise InputError("There are no findings to follow. Leave findings out to follow all known ones.")
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"finding {position} is {name!r:.60}; expected words such as 'pleural effusion'."
            )
    if len(set(names)) < len(names):
        raise InputError(f"A finding is asked for twice: {', '.join(names)}.")
    return list(names)


def _check_model(model: ModelHandle, network: BioViL) -> None:
    expected = network.image_tower.pair_size
    if expected is None:
        raise InputError(f"{model.id} takes one image and compares none. Use medical/biovil-t.")
    processing = model.processor.config.image
    if processing is None or expected != (processing.size, processing.size):
        size = "nothing" if processing is None else f"{processing.size} x {processing.size}"
        raise InputError(
            f"{model.id} compares images of {expected[0]} x {expected[1]} and its processor makes {size}. "
            "Set the processor's image size."
        )


def _fit(model: ModelHandle, item: Any, word: str, options: Mapping[str, Any]) -> Fitted:
    try:
        return fit(model, item, 0, options)
    except InputError as error:
        raise InputError(f"The {word} cannot be used. {error}") from error


def _named(findings: Sequence[str], states: Mapping[str, Any], table: Tensor) -> dict[str, dict[str, float]]:
    rows = table.tolist()
    return {name: dict(zip(states, row, strict=True)) for name, row in zip(findings, rows, strict=True)}


def _notes(pair: tuple[Fitted, Fitted], *, is_same: bool) -> tuple[str, ...]:
    notes = [_INTENDED]
    for word, fitted in zip(("current", "previous"), pair, strict=True):
        modality = fitted.meta.get("modality")
        if modality is not None and modality not in _CHEST:
            notes.append(f"The {word} study is of modality {modality}, not a chest X-ray.")
    if is_same:
        notes.append("Both studies are the same image.")
    (height, width), (old_height, old_width) = (fitted.size for fitted in pair)
    if not 0.8 < (height / width) / (old_height / old_width) < 1.25:
        notes.append(
            f"The studies differ in shape ({height} x {width} and {old_height} x {old_width}): the crops may "
            "show different parts of the chest."
        )
    return tuple(notes)
