"""From the model's scores of a presentation's frames to the answer: decision, explanation, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .calibration.temperature import soften
from .calibration.threshold import Threshold
from .frames.combine import Aggregator, combine
from .quality.checks import Check, blocks
from .result import AppliedThreshold, AttackType, Decision, Evidence, Explanation, LivenessResult

if TYPE_CHECKING:
    from .models.base import Scores
    from .presentation import Presentation, View
    from .taxonomy import Taxonomy

UNCALIBRATED = (
    "No threshold was calibrated: 0.5 was used, and nobody knows the error rates it carries. Calibrate on a "
    "labelled development set of your own captures."
)
_KINDS_SHOWN = 3
_LEAST_SHOWN = 0.005


@dataclass(frozen=True)
class Judge:
    """What turns scores into answers.

    Attributes:
        taxonomy: of the scores. reads_text: whether pictures are compared with its texts.
        threshold: what margins are compared with; None where nobody chose one: 0.5 then.
        temperature: divides margins before they become probabilities.
        aggregator, k: how frames are combined.
        fingerprint, model, revision: what answers name.
    """

    taxonomy: Taxonomy
    threshold: Threshold | None
    temperature: float
    aggregator: Aggregator
    k: int
    fingerprint: str
    model: str
    revision: str
    reads_text: bool

    @property
    def applied(self) -> AppliedThreshold:
        """The threshold as answers name it."""
        used = self.threshold or Threshold.fixed(0.5)
        return AppliedThreshold(
            value=soften(used.margin, self.temperature),
            margin=used.margin,
            rule=used.rule,
            mode="uncalibrated" if self.threshold is None else used.mode or "custom",
            provenance=used.provenance,
            oracle_threshold=used.oracle_threshold,
            achieved={} if used.achieved is None else used.achieved.model_dump(mode="json"),
        )

    def answer(self, presentation: Presentation, scores: Scores | None) -> tuple[LivenessResult, View | None]:
        """Return the answer, and the frame that decided it.

        Args:
            presentation: with its gates.
            scores: of the frames in ``presentation.judged``, in order; None where there are none.

        Returns:
            The answer without relevance, pixels or embedding, and the decisive frame, None without a model's
            answer.
        """
        applied = self.applied
        notes = (*presentation.notes, *([UNCALIBRATED] if self.threshold is None else []))
        common = {
            "id": presentation.name,
            "threshold": applied,
            "frames_read": len(presentation.views),
            "excluded": presentation.excluded,
            "fingerprint": self.fingerprint,
            "model": self.model,
            "revision": self.revision,
            "temperature": self.temperature,
            "notes": notes,
        }
        if scores is None:
            view = _first_refused(presentation)
            quality = (*presentation.checks, *view.checks)
            return LivenessResult(
                decision="no_response",
                explanation=Explanation(f"No answer: {_advice(quality)}"),
                quality=quality,
                faces=view.faces,
                **common,
            ), None
        return self._judged(presentation, scores, applied, common)

    def _judged(
        self,
        presentation: Presentation,
        scores: Scores,
        applied: AppliedThreshold,
        common: Mapping[str, object],
    ) -> tuple[LivenessResult, View]:
        views = presentation.judged
        margins: list[float] = scores.margin.tolist()
        usable = [view.usable for view in views]
        margin = self._combined(margins, usable, presentation.frames_needed)
        responds = margin is not None and not blocks(presentation.checks)
        if margin is None:
            # The model has judged; its answer is reported beside the gates that withhold it.
            usable = usable if any(usable) else [True] * len(views)
            margin = self._combined(margins, usable, 1)
        margin = float(margin or 0.0)
        accepted = (self.threshold or Threshold.fixed(0.5)).accepts(margin)
        said: Literal["live", "attack"] = "live" if accepted else "attack"
        decision: Decision = said if responds else "no_response"
        rows = [row for row, is_used in enumerate(usable) if is_used]
        decisive = (max if said == "live" else min)(rows, key=lambda row: margins[row])
        p_live = soften(margin, self.temperature)
        categories, types = self._shares(scores, rows, p_live)
        view = views[decisive]
        evidence = self._evidence(said, categories, types, view)
        quality = (*presentation.checks, *view.checks)
        result = LivenessResult(
            decision=decision,
            model_decision=said,
            p_live=p_live,
            margin=margin,
            categories=categories,
            attack_types=types,
            explanation=Explanation("", evidence),
            quality=quality,
            faces=view.faces,
            frames_used=len(rows) if responds else 0,
            **common,  # pyright: ignore[reportArgumentType]
        )
        text = _sentence(result, self.taxonomy.category(evidence.category).explanation)
        return replace(result, explanation=Explanation(text, evidence)), view

    def _combined(self, margins: Sequence[float], usable: Sequence[bool], needed: int) -> float | None:
        return combine(margins, usable, aggregator=self.aggregator, min_frames=needed, k=self.k)

    def _shares(
        self, scores: Scores, rows: Sequence[int], p_live: float
    ) -> tuple[dict[str, float], tuple[AttackType, ...]]:
        """Return the probability of each category and, given an attack, of each kind of attack.

        Within live and within attack the shares are those of the mean over frames of the model's
        probabilities, taken in logs: they are known however sure the model is of the other side. The two
        sides weigh what the combined answer says.
        """
        total = scores.logits[list(rows)].double().log_softmax(dim=1).logsumexp(dim=0)
        found: dict[str, float] = {}
        for columns, weight in ((self.taxonomy.live, p_live), (self.taxonomy.attacks, 1 - p_live)):
            shares = total[list(columns)].softmax(dim=0).tolist()
            ids = [self.taxonomy.ids[column] for column in columns]
            found.update({name: share * weight for name, share in zip(ids, shares, strict=True)})
        attacks = list(self.taxonomy.attacks)
        given_attack = total[attacks].softmax(dim=0).tolist()
        types = [
            AttackType(self.taxonomy.ids[column], self.taxonomy.categories[column].species, share)
            for column, share in zip(attacks, given_attack, strict=True)
        ]
        types.sort(key=lambda one: -one.probability)
        return {name: found[name] for name in self.taxonomy.ids}, tuple(types)

    def _evidence(
        self,
        said: Literal["live", "attack"],
        categories: Mapping[str, float],
        types: Sequence[AttackType],
        view: View,
    ) -> Evidence:
        lives = [self.taxonomy.ids[column] for column in self.taxonomy.live]
        category = max(lives, key=lambda name: categories[name]) if said == "live" else types[0].id
        text = self.taxonomy.category(category).texts[0] if self.reads_text else ""
        return Evidence(category, text, view.index, view.time_s)


def _sentence(found: LivenessResult, explanation: str) -> str:
    """Return why, for an operator; ``explanation`` is that of the category that speaks most for it."""
    used = found.threshold
    side = "at or above" if found.model_decision == "live" else "below"
    scale = (
        f"P(live) {_figure(found.p_live or 0.0)} is {side} the threshold {_figure(used.value)} ({used.mode})."
    )
    if found.decision == "no_response":
        return f"No answer: {_advice(found.quality)} The model alone says {found.model_decision}: {scale}"
    said = [explanation, scale]
    if found.decision == "attack" and len(found.attack_types) > 1:
        shown = [one for one in found.attack_types[:_KINDS_SHOWN] if one.probability >= _LEAST_SHOWN]
        said.append(f"Kinds of attack: {', '.join(f'{one.id} {one.probability:.0%}' for one in shown)}.")
    return " ".join(part for part in said if part)


def _figure(value: float) -> str:
    """Return a probability with as many digits as keep it apart from 0 and 1."""
    for digits in (3, 6, 9):
        shown = f"{value:.{digits}f}"
        if 0 < float(shown) < 1:
            return shown
    return f"{value:.3g}" if value < 0.5 else f"1 - {1 - value:.0e}" if value < 1 else "1"


def _advice(quality: Sequence[Check]) -> str:
    """Return what the failed checks that block say, each once."""
    said = dict.fromkeys(check.advice for check in quality if blocks([check]))
    return " ".join(text for text in said if text) or "too few frames can be used."


def _first_refused(presentation: Presentation) -> View:
    """Return the frame whose checks are shown where no frame reached the model: one with a face, if any."""
    return max(presentation.views, key=lambda view: bool(view.faces))
