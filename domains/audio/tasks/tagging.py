"""Zero-shot tagging over time: which of some sounds, named in words, are heard when.

A recording of any length is read as a stream and cut into short windows, each is embedded and compared
with the text of every label, and what is left in memory is one row of numbers per window.

What a score means. Besides the labels, each window may hold nothing of them: "nothing" takes part as one more
answer, with a fixed cosine, ``background``. With ``one_of`` the labels, the model's other classes and nothing
share the probability; with ``each`` every label is weighed against nothing by itself, so that several can be
certain at once. Windows quieter than ``silence_db`` are silence and have no score. Scores of a zero-shot
model are not calibrated frequencies: 0.5 says that the label fits as well as all other answers together.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ....core.answer_each import blames_input, reason_of
from ....core.answers import Failure
from ....core.errors import ConfigError, InputError
from ....core.files import atomic_path, write_json_atomic
from ....core.heads.zero_shot import TEXTS_AT_ONCE, class_embeddings
from ....core.inputs import encode_texts
from ....core.preparing import encode_windows, loader_options
from ....core.prompts import PromptSet
from ....core.types import Sample
from ....core.waves import to_wave
from ..loaders.audio import AudioSource, load_audio
from ..loaders.stream import iter_audio
from .events import Event, find_events
from .track import ENVELOPE_PER_HOP, Track, batches, cell_scores

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

Floats = NDArray[np.float32]

SOUND_TEMPLATES = ("this is a sound of {}",)
"""For the labels of a model without prompts of its own."""
_BACKGROUND = {"clap": 0.25}
_SAME_MEANING = 0.8
"""Cosine from which two texts name one class: its wordings lie above 0.9, other classes below 0.7."""


SHORTEST_S = 0.01
"""Of a window and of a hop: what sounds are is not told by less, and a second would take a hundred passes."""


@dataclass(frozen=True)
class TaggingOptions:
    """How a recording is cut, scored and turned into events; see the module for what a score is.

    Raises:
        ConfigError: a value out of its range.
    """

    window_s: float | None = None
    """Length of a window; None is 2 s, or what the model sees at once where that is less."""
    hop_s: float | None = None
    """From one window to the next; None is a quarter of the window."""
    scores: Literal["one_of", "each"] = "one_of"
    background: float | None = None
    """Cosine of "nothing of this" with any sound: higher rejects more, -2 nothing. None is what
    :func:`background_of` says of the model."""
    threshold: float = 0.5
    """An event begins at this score."""
    release: float = 0.6
    """It lasts while the score is at least this share of ``threshold``."""
    merge_s: float = 0.25
    """Events of a label that are closer than this are one."""
    min_s: float = 0.0
    """Shorter events are left out."""
    silence_db: float = -60.0
    """Windows whose loudest sample is below this (0 is full scale) are silence."""
    batch_size: int = 8

    def __post_init__(self) -> None:
        ranges = {
            "background": (0.0 if self.background is None else self.background, -2.0, 1.0),
            "threshold": (self.threshold, 0.0, 1.0),
            "release": (self.release, 0.0, 1.0),
            "merge_s": (self.merge_s, 0.0, 3600.0),
            "min_s": (self.min_s, 0.0, 3600.0),
            "silence_db": (self.silence_db, -200.0, 0.0),
            "batch_size": (self.batch_size, 1, 4096),
        }
        if self.scores not in ("one_of", "each"):
            raise ConfigError(f"scores is 'one_of' or 'each', got {self.scores!r}.")
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise ConfigError(f"{name} is {low:g} to {high:g}, got {value:g}.")
        for name, seconds in (("window_s", self.window_s), ("hop_s", self.hop_s)):
            if seconds is not None and not SHORTEST_S <= seconds < float("inf"):
                raise ConfigError(f"{name} is at least {SHORTEST_S:g} seconds, got {seconds:g}.")


@dataclass(frozen=True, eq=False)
class Tagging:
    """What is heard when in one recording.

    Attributes:
        labels: K, as the caller spelled them.
        starts: float64 [N], seconds at which the windows begin; each lasts ``window_s``.
        scores: float32 [N, K], of each window.
        cells: float32 [M, K]: for each stretch of ``hop_s`` the mean over the windows that cover it, 0 where
            the stretch itself is silent. Events are found in these.
        envelope: float32 [M * ENVELOPE_PER_HOP, 2], lowest and highest sample of each part of a cell.
        events: by time, then label.
        duration_s: of the recording. window_s, hop_s: as used, in whole samples.
        id: the path as given, the sample's id, or None.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    labels: tuple[str, ...]
    starts: NDArray[np.float64]
    scores: Floats
    cells: Floats
    envelope: Floats
    events: tuple[Event, ...]
    duration_s: float
    window_s: float
    hop_s: float
    threshold: float
    id: str | None
    model: str
    revision: str
    processor: str

    def highest(self, count: int | None = None) -> dict[str, float]:
        """Return {label: its highest score anywhere}, best first, at most ``count`` labels."""
        peaks = self.cells.max(axis=0) if len(self.cells) else np.zeros(len(self.labels), np.float32)
        order = np.argsort(-peaks, kind="stable")[:count]
        return {self.labels[index]: float(peaks[index]) for index in order}

    def to_dict(self, *, scores: bool = False) -> dict[str, Any]:
        """Return plain values for JSON; with ``scores`` also those of every window."""
        facts: dict[str, Any] = {
            "id": self.id,
            "duration_s": round(self.duration_s, 6),
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "threshold": self.threshold,
            "events": [asdict(event) for event in self.events],
            "highest": self.highest(),
            "model": self.model,
            "revision": self.revision,
            "processor": self.processor,
        }
        if scores:
            facts["labels"] = list(self.labels)
            facts["starts_s"] = self.starts.round(6).tolist()
            facts["scores"] = self.scores.astype(np.float64).round(5).tolist()
        return facts

    def save_csv(self, path: str | Path) -> None:
        """Write the events as CSV: start_s, end_s, label, score."""
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(("start_s", "end_s", "label", "score"))
            for one in self.events:
                rows.writerow((f"{one.start_s:.3f}", f"{one.end_s:.3f}", one.label, f"{one.score:.4f}"))

    def save_json(self, path: str | Path) -> None:
        """Write events and the scores of every window as JSON."""
        write_json_atomic(path, self.to_dict(scores=True))

    def save_timeline(self, path: str | Path, *, title: str | None = None) -> None:
        """Write the timeline as PNG; see :func:`.timeline.save_timeline`."""
        from .timeline import save_timeline

        save_timeline(self, path, title=title)


def tag(
    model: ModelHandle,
    source: AudioSource | Sample,
    labels: Sequence[str] | None = None,
    *,
    templates: PromptSet | Sequence[str] | None = None,
    options: TaggingOptions | None = None,
    **load: Any,
) -> Tagging:
    """Return which of ``labels`` are heard when in a recording of any length.

    Example::

        found = tag(verticlip.from_pretrained("audio/tiny-tagger"), "yard.wav", ["dog barking", "rain"])
        for event in found.events:
            print(event.start_s, event.end_s, event.label, event.score)

    Args:
        model: with an audio and a text tower.
        source: file, bytes, file object, sample, or array at the model's rate.
        labels: None takes the model's own classes.
        templates: sentences with one ``{}``, or a prompt set; None takes the model's own, or
            :data:`SOUND_TEMPLATES`.
        options: windows, scores and events.
        load: options of the room's audio loader (``start_s``, ``duration_s``, ...), over those stored with
            the weights. Times then count from ``start_s``. With ``normalize``, or all channels, the recording
            is held in memory as a whole.

    Raises:
        InputError: a recording or labels that cannot be used. ConfigError: impossible options.
    """
    return Tagger.of(model, labels, templates=templates, options=options).tag(source, **load)


class Tagger:
    """Labels of one model, encoded once, for any number of recordings; make it with :meth:`of`."""

    def __init__(
        self, model: ModelHandle, labels: Sequence[str], texts: Tensor, options: TaggingOptions
    ) -> None:
        self.model, self.labels, self.options = model, tuple(labels), options
        self._texts = texts
        self.background = background_of(model) if options.background is None else options.background
        audio = model.processor.config.audio
        if audio is None:
            raise InputError(
                f"{model.id} hears nothing: it has no 'audio'. Use a model such as audio/tiny-tagger."
            )
        self._rate, self._limit = audio.sampling_rate, audio.window_samples
        window_s = options.window_s or min(2.0, audio.window_s)
        self._window = round(window_s * self._rate)
        if not audio.mel.hop_length <= self._window <= self._limit:
            raise ConfigError(
                f"window_s {window_s:g} is outside what {model.id} sees at once: "
                f"{audio.mel.hop_length / self._rate:g} to {audio.window_s:g} s."
            )
        self._hop = max(1, round((options.hop_s or window_s / 4) * self._rate))
        if self._hop > self._window:
            raise ConfigError(f"hop_s {options.hop_s:g} leaves gaps between windows of {window_s:g} s.")
        # Whole parts of the envelope in a hop: the cells and the drawn waveform then share their borders.
        self._hop = max(ENVELOPE_PER_HOP, self._hop // ENVELOPE_PER_HOP * ENVELOPE_PER_HOP)

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        labels: Sequence[str] | None = None,
        *,
        templates: PromptSet | Sequence[str] | None = None,
        options: TaggingOptions | None = None,
    ) -> Tagger:
        """Return the tagger of a model for some labels; arguments and errors as :func:`tag`."""
        if "audio" not in model.network.modalities or "text" not in model.network.modalities:
            raise InputError(
                f"{model.id} compares {' and '.join(model.network.modalities) or 'nothing'}; tagging needs "
                "audio and text. Use a model such as audio/tiny-tagger."
            )
        options = options or TaggingOptions()
        if templates is None and model.prompts is None:
            templates = SOUND_TEMPLATES if labels is not None else None
        prompts = model.prompts_for(labels, templates)
        texts = class_embeddings(prompts, lambda some: encode_texts(model, some), batch_size=TEXTS_AT_ONCE)
        if options.scores == "one_of" and prompts is not model.prompts:
            texts = torch.cat([texts, _others(model, texts)])
        return cls(model, prompts.class_names, texts, options)

    def tag(self, source: AudioSource | Sample, **load: Any) -> Tagging:
        """Return what is heard when in one recording; arguments and errors as :func:`tag`."""
        for option in ("window_s", "hop_s"):
            if option in load:
                raise ConfigError(f"{option} is no option of loading; see TaggingOptions (--window, --hop).")
        name = str(source) if isinstance(source, (str, Path)) else None
        stored = loader_options(self.model.processor, "audio")
        if isinstance(source, Sample):
            name = source.id
        if isinstance(source, (Sample, np.ndarray, Tensor)):
            # What was loaded already has its channel and level; the rate may still be another.
            stored = {key: stored[key] for key in ("rate", "resample") if key in stored}
            if not isinstance(source, Sample) or "sampling_rate" not in source.meta:
                load = {"array_rate": self._rate, **load}
        load = {**stored, **load, "limits": self.model.limits}
        if load.get("rate") != self._rate:
            raise ConfigError(f"rate is the model's, {self._rate} Hz, got {load['rate']!r}. Leave it out.")
        if load.get("normalize") is not None or not load.get("mono", True):
            source = to_wave(load_audio(source, **load), self._rate)
            load = {"array_rate": self._rate, "limits": self.model.limits}
        parts = iter_audio(source, window_s=self._window / self._rate, hop_s=self._hop / self._rate, **load)
        track = Track(self._window, self._hop)
        # In one growing block, for the reason given in the track.
        scores = array("f")
        for batch in batches(track.windows(parts), self.options.batch_size):
            scores.frombytes(self._scores(batch).tobytes())
        return self._tagging(track, np.array(scores, np.float32).reshape(-1, len(self.labels)), name)

    def _scores(self, windows: list[Tensor]) -> Floats:
        """Return float32 [n, K] of windows [T]; 0 for silence."""
        loudest = torch.stack([window.abs().max() for window in windows])
        sounding = (loudest >= 10 ** (self.options.silence_db / 20)) & (loudest > 0)
        found = torch.zeros(len(windows), len(self.labels))
        heard = [window for window, keep in zip(windows, sounding.tolist(), strict=True) if keep]
        if heard:
            fitted = torch.cat([self.model.processor.fit_audio(window) for window in heard])
            vectors = encode_windows(self.model, fitted, batch_size=self.options.batch_size)
            found[sounding] = self.probabilities(vectors)
        return found.numpy()

    def probabilities(self, vectors: Tensor) -> Tensor:
        """Return scores float32 [N, K] of unit embeddings [N, D]; see the module for what they mean."""
        network = self.model.network
        scale = network.scale().item()
        cosines = F.normalize(vectors.float(), dim=-1) @ self._texts.to(vectors.device).T
        if network.logit_bias is not None and self.options.scores == "each":
            return (scale * cosines + network.logit_bias.item()).sigmoid()[:, : len(self.labels)]
        logits = scale * (cosines - self.background)
        if self.options.scores == "each":
            return logits.sigmoid()
        return F.pad(logits, (0, 1)).softmax(dim=-1)[:, : len(self.labels)]

    def _tagging(self, track: Track, scores: Floats, name: str | None) -> Tagging:
        options, rate = self.options, self._rate
        hop_s = self._hop / rate
        cells = cell_scores(np.array(track.starts), scores, track.samples, (self._window, self._hop))
        envelope = track.envelope
        loudest = np.abs(envelope).max(axis=1).reshape(len(cells), ENVELOPE_PER_HOP).max(axis=1)
        cells[loudest < 10 ** (options.silence_db / 20)] = 0.0
        duration_s = track.samples / rate
        events = find_events(
            cells,
            self.labels,
            cell_s=hop_s,
            duration_s=duration_s,
            thresholds=(options.threshold, options.threshold * options.release),
            merge_s=options.merge_s,
            min_s=options.min_s,
        )
        return Tagging(
            labels=self.labels,
            starts=np.array(track.starts, np.float64) / rate,
            scores=scores,
            cells=cells,
            envelope=envelope,
            events=events,
            duration_s=duration_s,
            window_s=self._window / rate,
            hop_s=hop_s,
            threshold=options.threshold,
            id=name,
            model=self.model.id,
            revision=self.model.revision,
            processor=self.model.processor.fingerprint,
        )

    def tag_each(self, files: Sequence[str | Path], **load: Any) -> Iterator[Tagging | Failure]:
        """Yield the answer or the failure of each file, in order; a bad file does not stop the others."""
        for file in files:
            try:
                yield self.tag(file, **load)
            except Exception as error:
                if not blames_input(error):
                    raise
                yield Failure(str(file), reason_of(error))


def background_of(model: ModelHandle) -> float:
    """Return the cosine below which a sound and a text of a model rather do not belong together.

    Trained on few classes, cosines of what belongs together lie near 0.8 and of the nearest wrong class near
    0.5: 0.55 is between them. CLAP, trained on captions, keeps all cosines lower.
    """
    return _BACKGROUND.get(model.config.architecture, 0.55)


def _others(model: ModelHandle, texts: Tensor) -> Tensor:
    """Return the texts [M, D] of the model's classes that none of the labels' ``texts`` [K, D] means.

    A sound of such a class should not get the nearest label. Meaning is compared by the text tower, so that
    "a dog in the yard" does not compete with the model's own "dog barking".
    """
    if model.prompts is None:
        return texts[:0]
    own = class_embeddings(model.prompts, lambda some: encode_texts(model, some), batch_size=TEXTS_AT_ONCE)
    return own[(own @ texts.T).amax(dim=1) < _SAME_MEANING]
