"""A detector of presentation attacks: pictures, frames and films in, auditable answers out."""

from __future__ import annotations

import copy
import importlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.answer_each import answer_each
from ...core.answers import Failure
from ...core.errors import ConfigError, nearest
from ...core.video import is_film
from .answering import Judge
from .calibration.choice import chosen_temperature, chosen_threshold
from .calibration.fingerprint import Fingerprint, fingerprint_of, tensor_marks
from .calibration.threshold import probability_of
from .explain.occlusion import explain_view
from .faces.detect import open_detector
from .frames.combine import AGGREGATORS, Aggregator
from .frames.sampling import Sampling
from .models.base import LivenessModel, liveness_network, score_crops, with_taxonomy
from .presentation import Intake, Presentation, name_of_item
from .quality.config import QualityConfig
from .result import LivenessResult

if TYPE_CHECKING:
    from ...core.handle import ModelHandle
    from .calibration.calibrate import Calibration
    from .calibration.temperature import Temperature
    from .calibration.threshold import Threshold
    from .faces.detect import FaceDetector
    from .presentation import View
    from .protocols.entry import Entry
    from .taxonomy import Taxonomy

Keep = Literal["pixels", "embedding"]
_KEEP: tuple[Keep, ...] = ("pixels", "embedding")


@dataclass(frozen=True)
class DetectorSettings:
    """The arguments of :class:`LivenessDetector` beside the model; see there."""

    detector: FaceDetector | Literal["yunet", "none"] = "none"
    detector_path: str | Path | None = None
    threshold: Threshold | float | str | Path | None = None
    mode: str | None = None
    quality: QualityConfig = field(default_factory=QualityConfig)
    sampling: Sampling = field(default_factory=Sampling)
    aggregator: Aggregator = "mean"
    min_k: int = 2
    temperature: Temperature | float | str | Path | None = None
    taxonomy: Taxonomy | str | Path | None = None


class LivenessDetector:
    """A model with all that turns a capture into a decision: faces, crops, gates, threshold.

    Example::

        detector = LivenessDetector.from_pretrained("liveness/tiny", threshold="mine.json", mode="secure")
        result = detector.predict("selfie.jpg")
        result.decision, result.p_live, result.threshold.provenance, result.failed_checks

    Args:
        model: what ``verticlip.from_pretrained`` returns.
        settings: a :class:`DetectorSettings`, or by name any of its fields; what is named wins:

            * ``detector``: ``none`` (default) for pictures that are face crops already, ``yunet``, or any
              :class:`~.faces.detect.FaceDetector`; ``detector_path``: the model file of ``yunet``, else the
              variable VERTICLIP_YUNET is asked.
            * ``threshold``: a :class:`~.calibration.threshold.Threshold`, a number between 0 and 1, a file of
              :meth:`calibrate`, or a mode (``secure``, ``balanced``, ``convenient``) or rule whose threshold
              lies in the model's folder as ``threshold.json``. None decides at 0.5 and says with every
              answer that nobody calibrated it. ``mode``: which threshold of a file.
            * ``temperature``: a number, a :class:`~.calibration.temperature.Temperature` or its file; changes
              probabilities, never decisions.
            * ``quality``: gates, :class:`~.quality.config.QualityConfig`; ``sampling``: frames of films,
              :class:`~.frames.sampling.Sampling`.
            * ``aggregator``: of the frames: ``mean`` (default), ``mean_logit``, ``median`` or ``min_k``, the
              mean of the ``min_k`` (2) lowest.
            * ``taxonomy``: makes any model of pictures and texts a detector by prompts alone; a name or file.

    Attributes:
        model: the handle. settings: as given.
        by_prompts: whether ``taxonomy`` made a detector of a model that is none by itself.

    Raises:
        ConfigError: the model is no liveness model; an unknown setting; a threshold of another detector, or a
            changed file; a mode that was not calibrated.
        WeightsError, DependencyError: the face detector's file or package is missing.
    """

    def __init__(self, model: ModelHandle, settings: DetectorSettings | None = None, **changes: Any) -> None:
        chosen = _changed(settings or DetectorSettings(), changes)
        self.model = model if chosen.taxonomy is None else with_taxonomy(model, chosen.taxonomy)
        self.by_prompts = chosen.taxonomy is not None and not isinstance(model.network, LivenessModel)
        self._marks = tensor_marks(liveness_network(self.model))
        self._open(chosen)

    def _open(self, chosen: DetectorSettings) -> None:
        self.settings = chosen
        if chosen.aggregator not in AGGREGATORS:
            raise ConfigError(
                f"Unknown aggregator {chosen.aggregator!r}; known: {', '.join(AGGREGATORS)}."
                f"{nearest(str(chosen.aggregator), AGGREGATORS)}"
            )
        if chosen.min_k < 1:
            raise ConfigError(f"min_k is at least 1 frame, got {chosen.min_k}.")
        network = liveness_network(self.model)
        self._fingerprint: tuple[object, Fingerprint] | None = None
        self._intake = Intake(
            network.crops,
            open_detector(chosen.detector, chosen.detector_path),
            chosen.quality,
            chosen.sampling,
            self.model.limits,
        )
        self.threshold = chosen_threshold(chosen.threshold, chosen.mode, self)
        self.temperature = chosen_temperature(chosen.temperature, self)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        settings: DetectorSettings | None = None,
        **changes: Any,
    ) -> LivenessDetector:
        """Return a detector of a model by registry name, folder or Hub repository.

        Args:
            name, revision, device, dtype: as ``verticlip.from_pretrained`` takes them.
            settings, changes: as :class:`LivenessDetector` takes them.
        """
        # By the package's public name and only when called: a room is built below the program's verbs.
        program = importlib.import_module(__name__.split(".", 1)[0])
        model = program.from_pretrained(name, revision=revision, device=device, dtype=dtype)
        return cls(model, settings, **changes)

    @property
    def fingerprint(self) -> Fingerprint:
        """What scores depend on; its text is a digest. Weights that were written to since are noticed."""
        marks = tensor_marks(liveness_network(self.model))
        if self._fingerprint is None or self._fingerprint[0] != marks:
            found = fingerprint_of(
                self.model,
                detector=self._intake.detector,
                aggregator=self.settings.aggregator,
                min_k=self.settings.min_k,
                sampling=self.settings.sampling,
                changed=marks != self._marks,
            )
            self._fingerprint = (marks, found)
        return self._fingerprint[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """Ids of the categories that the model tells apart."""
        return liveness_network(self.model).taxonomy.ids

    def using(self, **changes: Any) -> LivenessDetector:
        """Return a detector of the same model with other settings, such as ``threshold=``."""
        if "detector" not in changes and "detector_path" in changes:
            raise ConfigError("detector_path needs detector: name both.")
        # The model has the taxonomy already, and the face detector is open.
        kept = {"taxonomy": None, "detector": self._intake.detector or "none", "detector_path": None}
        if "threshold" in changes or "mode" in changes:
            kept["mode"] = None
        chosen = _changed(self.settings, {**kept, **changes})
        made = copy.copy(self)
        if chosen.taxonomy is not None:
            return LivenessDetector(self.model, chosen)
        made._open(chosen)
        return made

    def predict(self, item: Any, *, keep: Collection[Keep] = (), relevance: bool = False) -> LivenessResult:
        """Return the answer for one presentation.

        Args:
            item: a picture or film (path or bytes), an array uint8 [H, W, 3], a PIL image, a sequence of
                those that are the frames of one presentation, or an :class:`~.protocols.entry.Entry`.
            keep: ``pixels`` keeps the part of the decisive frame that the model saw, ``embedding`` its
                embedding, both biometric data; without it neither outlives the call.
            relevance: find where in the decisive frame the evidence lies; asks the model 82 times more.

        Raises:
            InputError: it cannot be read, is too large, or was cropped for another model.
            ConfigError: ``keep`` names something else, or the model has no embedding.
        """
        wanted = self._wanted(keep)
        shown = self._intake.present(item, name_of_item(item, 0), keep_frames=bool(wanted) or relevance)
        return self._answers([shown], wanted, relevance=relevance)[0]

    def predict_each(
        self,
        items: Sequence[Any],
        *,
        batch_size: int = 8,
        keep: Collection[Keep] = (),
        relevance: bool = False,
        workers: int | None = None,
    ) -> Iterator[LivenessResult | Failure]:
        """Return an iterator over the answer or the failure of each item, in order.

        A bad file does not stop the others; a failed quality gate is no failure but a non-response. Files are
        read, faces found and gates measured by threads, a few batches ahead.

        Args:
            items, keep, relevance: as in :meth:`predict`, each item one presentation.
            batch_size: presentations per call of the network; margins depend on it by rounding alone (about
                1e-6 of P(live)), which is why calibration puts thresholds a little below the score that they
                rest on.
            workers: threads that read; None takes the number of CPUs.

        Raises:
            ConfigError: ``batch_size`` is below 1, or ``keep`` as in :meth:`predict`.
        """
        wanted = self._wanted(keep)

        def read(item: Any, position: int) -> Presentation:
            return self._intake.present(
                item, name_of_item(item, position), keep_frames=bool(wanted) or relevance
            )

        pairs = answer_each(
            items,
            read,
            lambda shown: self._answers(shown, wanted, relevance=relevance),
            batch_size=batch_size,
            name=name_of_item,
            alone=_is_large,
            workers=workers,
        )
        return (answer for _, answer in pairs)

    def score(self, item: Any) -> float | None:
        """Return P(live) of one presentation before any temperature; None for a non-response.

        It is on the scale of ``Threshold.value``; ``predict(item).p_live`` is after the temperature.
        """
        found = self.predict(item)
        if found.decision == "no_response" or found.margin is None:
            return None
        return probability_of(found.margin)

    def calibrate(
        self,
        dev: str | Path | Sequence[Entry],
        *,
        modes: Sequence[str] = ("secure", "balanced", "convenient"),
        rules: Sequence[str] = (),
        test: str | Path | Sequence[Entry] | None = None,
        temperature: bool = False,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
    ) -> Calibration:
        """Return thresholds for operating modes from a labelled development set.

        Example::

            calibration = detector.calibrate("manifest.csv", test="test.csv")
            calibration.save("threshold.json")
            careful = detector.using(threshold=calibration["secure"])

        Args:
            dev: a manifest, or its entries; presentations of split ``dev`` count. Nobody in it may be in
                another split of it.
            modes: ``secure`` (dev_apcer=0.01), ``balanced`` (dev_eer), ``convenient`` (dev_bpcer=0.01).
            rules: further rules, such as ``dev_apcer=0.05``.
            test: a set that will be tested on, to be compared with ``dev``.
            temperature: fit one as well.
            batch_size: as in :meth:`predict_each`.
            progress: called with (done, total).

        Raises:
            DataError: no bona fide or no attack in ``dev``, a subject on both sides, files that cannot be
                read, or no rule that can be kept.
            ConfigError: an unknown mode or rule.
        """
        from .calibration.calibrate import DevSet, calibrate_scores
        from .calibration.dev_set import development_entries, name_of, score_development

        entries = development_entries(dev, test)
        # The stored threshold and temperature play no part: margins are taken.
        scored = score_development(self, entries, batch_size=batch_size, progress=progress)
        crops = tuple(crop.model_dump(mode="json") for crop in self._intake.crops)
        sampling = self.settings.sampling.model_dump_json()
        found = DevSet(scored, name_of(entries), sampling, crops)
        return calibrate_scores(found, self.fingerprint, modes=modes, rules=rules, temperature=temperature)

    @property
    def _judge(self) -> Judge:
        network = liveness_network(self.model)
        return Judge(
            taxonomy=network.taxonomy,
            threshold=self.threshold,
            temperature=self.temperature,
            aggregator=self.settings.aggregator,
            k=self.settings.min_k,
            fingerprint=str(self.fingerprint),
            model=self.model.id,
            revision=self.model.revision,
            reads_text="text" in network.modalities,
        )

    def _wanted(self, keep: Collection[Keep]) -> frozenset[Keep]:
        given: Any = (keep,) if isinstance(keep, str) else keep
        wanted: frozenset[Keep] = frozenset(given)
        for name in wanted - set(_KEEP):
            raise ConfigError(f"keep takes pixels and embedding, got {name!r}.{nearest(str(name), _KEEP)}")
        if "embedding" in wanted and "image" not in liveness_network(self.model).modalities:
            raise ConfigError(f"{self.model.id} has no embedding of pictures to keep.")
        return wanted

    def _answers(
        self, shown: Sequence[Presentation], keep: frozenset[Keep], *, relevance: bool
    ) -> list[LivenessResult]:
        """Return the answers of presentations that are scored together."""
        counts = [len(one.judged) for one in shown]
        start = time.perf_counter()
        pictures = [crops for one in shown for view in one.judged if (crops := view.crops) is not None]
        scores = score_crops(self.model, list(zip(*pictures, strict=True))) if pictures else None
        spent = (time.perf_counter() - start) * 1e3 / max(1, len(pictures))
        judge, found, first = self._judge, [], 0
        for one, count in zip(shown, counts, strict=True):
            own = scores[slice(first, first + count)] if scores is not None and count else None
            first += count
            result, view = judge.answer(one, own)
            timings = {**one.timings_ms, **({"model": spent * count} if count else {})}
            if view is not None and (keep or relevance):
                result = self._with_evidence(result, view, keep, relevance=relevance, timings=timings)
            timings = {stage: round(value, 3) for stage, value in timings.items()}
            found.append(replace(result, timings_ms={**timings, "total": round(sum(timings.values()), 3)}))
        return found

    def _with_evidence(
        self,
        result: LivenessResult,
        view: View,
        keep: frozenset[Keep],
        *,
        relevance: bool,
        timings: dict[str, float],
    ) -> LivenessResult:
        """Return a result with what was asked for about its decisive frame."""
        evidence, changes = result.explanation.evidence, {}
        if relevance and evidence is not None:
            start = time.perf_counter()
            found = explain_view(self.model, view, evidence.category)
            changes["explanation"] = replace(result.explanation, evidence=replace(evidence, relevance=found))
            timings["relevance"] = (time.perf_counter() - start) * 1e3
        if "pixels" in keep and view.pixels is not None:
            x1, y1, x2, y2 = view.box
            changes["pixels"] = view.pixels[y1:y2, x1:x2].copy()
        if "embedding" in keep and view.crops is not None:
            vectors = self.model.embed(view.crops[0], modality="image").vectors
            changes["embedding"] = tuple(vectors[0].tolist())
        return replace(result, **changes)


def _changed(settings: DetectorSettings, changes: Mapping[str, Any]) -> DetectorSettings:
    known = DetectorSettings.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise ConfigError(
                f"A detector has no setting {name!r}.{nearest(name, known)} It has: {', '.join(known)}."
            )
    return replace(settings, **changes)


def _is_large(item: Any) -> bool:
    """Return whether an item may hold many frames, so that not many are read ahead."""
    path = getattr(item, "path", item)
    return isinstance(path, (str, os.PathLike)) and is_film(path)
