"""From manifest entries to scored presentations, by any detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ....core.answers import Failure
from ....core.errors import DataError
from ..calibration.threshold import probability_of
from .table import ScoredPresentation

if TYPE_CHECKING:
    from ..protocols.entry import Entry
    from ..result import LivenessResult


class Detector(Protocol):
    """What is asked of a detector; :class:`~..detector.LivenessDetector` is one."""

    @property
    def fingerprint(self) -> Any:
        """What scores depend on; its text is a digest."""
        ...

    def predict_each(
        self, items: Sequence[Any], *, batch_size: int = 8
    ) -> Iterator[LivenessResult | Failure]:
        """Return the answer or the failure of each item, in order."""
        ...


def score_entries(
    detector: Detector,
    entries: Sequence[Entry],
    *,
    batch_size: int = 8,
    failures: list[Failure] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoredPresentation]:
    """Return what a detector says about each presentation, in order.

    A presentation that a quality gate or the face detector refused is a non-response: its score is None, also
    where the model had an answer. A file that cannot be read is neither; it is a failure.

    Args:
        detector: asked once per presentation.
        entries: of a manifest.
        failures: filled with the presentations that could not be read. None: the first one stops.
        progress: called with (done, total).

    Raises:
        DataError: there are no entries; a file cannot be read and ``failures`` is None; or none can be.
    """
    if not entries:
        raise DataError("There are no presentations to score.")
    fingerprint, scored = str(detector.fingerprint), []
    answers = detector.predict_each(list(entries), batch_size=batch_size)
    for done, (entry, answer) in enumerate(zip(entries, answers, strict=True), start=1):
        if isinstance(answer, Failure):
            if failures is None:
                raise DataError(f"{entry.video_id}: {answer.error}")
            failures.append(Failure(entry.video_id, _without_names(answer.error, entry)))
        else:
            scored.append(_scored(entry, answer, fingerprint))
        if progress is not None:
            progress(done, len(entries))
    if not scored and failures:
        raise DataError(
            f"None of {len(entries):,} presentations could be read; the first, {failures[0].id}: "
            f"{failures[0].error}"
        )
    return scored


def _without_names(error: str, entry: Entry) -> str:
    """Return why a presentation cannot be read without the name of its file, which its id stands for."""
    for file in entry.files:
        error = error.replace(f"{file.name}: ", "")
    return error


def _scored(entry: Entry, answer: LivenessResult, fingerprint: str) -> ScoredPresentation:
    responded = answer.decision != "no_response"
    margin = answer.margin if responded else None
    # Not p_live: a temperature softens it, and thresholds hold before any temperature.
    score = probability_of(margin) if margin is not None else (answer.p_live if responded else None)
    return ScoredPresentation(
        id=entry.video_id,
        score=score,
        margin=margin,
        species=entry.species,
        subject=entry.subject or "",
        dataset=entry.dataset,
        split=entry.split,
        groups=entry.groups,
        failed_checks=tuple(dict.fromkeys(check.name for check in answer.failed_checks)),
        path=str(entry.path),
        fingerprint=fingerprint,
    )
