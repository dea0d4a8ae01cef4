"""How good generated sounds are together: agreement with the words, recognition, distance from real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ....core.errors import InputError
from ....core.heads.zero_shot import class_embeddings
from ..loaders.writing import write_audio
from ..metrics.frechet import FrechetReport, embedded, frechet_report
from .clap_score import ClapScore, score_of
from .generation import GenerationOptions, generate

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_AT_ONCE = 8
_ALIKE = 0.999
"""Cosine of two models' embeddings of one text above which they are one model, rounding aside."""


@dataclass(frozen=True)
class GenerationReport:
    """What was found about generated sounds.

    Attributes:
        score: agreement with the prompts, by the judge.
        recognized: share of the sounds whose own prompt the judge finds among all; None for one prompt.
        chance: of the same. classes: {prompt: share}.
        frechet: distance from real recordings, or None without any.
        judge: model that heard the sounds. independent: whether its towers are others than those that drove
            the generation.
        sounds: how many. settings: how they were made.
    """

    score: ClapScore
    recognized: float | None
    chance: float | None
    classes: dict[str, float]
    frechet: FrechetReport | None
    judge: str
    independent: bool
    sounds: int
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def evaluate_generation(
    model: ModelHandle,
    prompts: Sequence[str],
    options: GenerationOptions | None = None,
    *,
    each: int = 8,
    judge: ModelHandle | None = None,
    real: Sequence[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> GenerationReport:
    """Return what a judge says about sounds made from prompts.

    Args:
        model: makes the sounds.
        prompts: different texts.
        options: how; sound number i is made from its seed + i.
        each: sounds per prompt.
        judge: hears and reads; None is the model itself, which is a lenient judge.
        real: recordings for the Frechet distance, or none.
        progress: called with (sounds made, sounds in all).

    Raises:
        InputError: a prompt twice or none, ``each`` below 1, a judge without ears, and as
            :func:`~.generation.generate`.
    """
    options = options or GenerationOptions()
    if not prompts or len(set(prompts)) != len(prompts):
        raise InputError(
            f"Evaluation needs prompts that differ, got {len(prompts)} with {len(set(prompts))} kinds."
        )
    if each < 1:
        raise InputError(f"each must be at least 1, got {each}.")
    judge = judge or model
    for modality in ("audio", "text"):
        if modality not in judge.network.modalities:
            raise InputError(
                f"{judge.id} has no {modality} tower and cannot judge. Choose another with --judge."
            )
    asked = [prompt for prompt in prompts for _ in range(each)]
    if real and min(len(real), len(asked)) < 2:
        raise InputError(
            f"A Frechet distance needs two sounds on either side at least, got {len(real)} real ones and "
            f"{len(asked)} to make."
        )
    # First what may be unreadable, then what takes long.
    known = embedded(judge, real) if real else None
    with tempfile.TemporaryDirectory() as folder:
        files: list[Path] = []
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            made = generate(model, part, options, seed=options.seed + start)
            for wave in made.waves:
                files.append(Path(folder) / f"{len(files):06d}.wav")
                write_audio(files[-1], wave, made.rate, subtype="FLOAT")
            if progress is not None:
                progress(len(files), len(asked))
        heard = embedded(judge, files)
    hits = _recognized(judge, heard, list(prompts), asked) if len(prompts) > 1 else None
    distance = None
    if known is not None:
        distance = frechet_report(known, heard, embedding=f"{judge.id}@{judge.revision}")
    classes: dict[str, float] = {}
    if hits is not None:
        for number, prompt in enumerate(prompts):
            classes[prompt] = sum(hits[number * each : (number + 1) * each]) / each
    return GenerationReport(
        score=score_of(judge, heard, asked),
        recognized=None if hits is None else sum(hits) / len(hits),
        chance=None if hits is None else 1 / len(prompts),
        classes=classes,
        frechet=distance,
        judge=f"{judge.id}@{judge.revision}",
        independent=not _reads_alike(model, judge, prompts),
        sounds=len(asked),
        settings=asdict(options),
    )


def _reads_alike(model: ModelHandle, judge: ModelHandle, prompts: Sequence[str]) -> bool:
    """Return whether judge and model have the same towers, as where one was grown from the other."""
    if "text" not in model.network.modalities or model.config.embed_dim != judge.config.embed_dim:
        return False
    ours, theirs = (one.embed(list(prompts), modality="text").vectors for one in (model, judge))
    return bool((ours * theirs).sum(dim=1).min() > _ALIKE)


def _recognized(judge: ModelHandle, heard: Tensor, prompts: list[str], asked: Sequence[str]) -> list[bool]:
    """Return whether each sound is closest to its own prompt, the prompts said as the judge's classes are."""
    classes = class_embeddings(
        judge.prompts_for(prompts), lambda texts: judge.embed(list(texts), modality="text").vectors
    )
    found = (heard @ classes.T).argmax(dim=1).tolist()
    return [prompts[row] == text for row, text in zip(found, asked, strict=True)]
