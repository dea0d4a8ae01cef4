"""What training reads of each recording, computed once: log-mels, and embeddings with their times.

With a cache folder the features lie there, one file per recording, and a later run with the same towers and
the same target computes nothing again; without one they stay in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ....core.checkpoint import read_weights
from ....core.data import Manifest
from ....core.data.files import inside
from ....core.errors import InputError, VerticlipError
from ....core.files import atomic_path
from ....core.gather import tell_unreadable
from ....core.sources import Row
from ....core.spectrogram import log_mel
from ....core.start import Start
from ....core.waves import window_starts
from ..loaders.audio import load_audio
from .options import TargetConfig

_log = logging.getLogger(__name__)
MAX_FRAMES = 600
"""Of a clip whose reader does not say how many it has."""
_BATCH = 16
_SHORTEST_S = 0.05


@dataclass(frozen=True)
class Features:
    """One recording as training reads it.

    Attributes:
        mel: natural logarithm of mel magnitudes, float16 [frames, n_mels].
        embeddings: {modality: unit float32 [n, D]}. times: {modality: float32 [n]}, seconds that each
            embedding is about: the middle of an audio window, or the moment of a frame.
    """

    mel: Tensor
    embeddings: Mapping[str, Tensor]
    times: Mapping[str, Tensor]


class FeatureStore:
    """Features of the recordings of a run.

    Args:
        start: gives towers and preprocessing.
        target: the spectrogram.
        modalities: embeddings to compute, of ``audio`` and ``image``.
        manifest: where files lie.
        cache: folder to keep features in; None keeps them in memory.
    """

    def __init__(
        self,
        start: Start,
        target: TargetConfig,
        *,
        modalities: Sequence[str],
        manifest: Manifest,
        cache: Path | None = None,
    ) -> None:
        self._start, self._target, self._manifest = start, target, manifest
        self._modalities, self._cache = tuple(modalities), cache
        self._kept: dict[str, Features] = {}

    def fill(self, rows: Sequence[Row], *, least_peak: float) -> list[Row]:
        """Compute the features of all rows and return the usable ones.

        Args:
            least_peak: recordings that never reach this magnitude are left out, with a message.

        Raises:
            DataError: more than 5 % of the recordings cannot be read.
        """
        usable, failures, silent = [], {}, 0
        for row in rows:
            try:
                found = self._read(row, least_peak)
            except (VerticlipError, OSError) as error:
                failures[row.record.id] = str(error)
                continue
            if found is None:
                silent += 1
                continue
            if self._cache is None:
                self._kept[row.record.id] = found
            usable.append(row)
        self._tell(failures, silent, len(rows))
        return usable

    def _tell(self, failures: Mapping[str, str], silent: int, total: int) -> None:
        if silent:
            _log.warning("%d of %d recordings are silent and left out.", silent, total)
        tell_unreadable(failures, total, "recordings", verb="used")

    def of(self, row: Row) -> Features:
        """Return the features of a row that :meth:`fill` returned."""
        if row.record.id in self._kept:
            return self._kept[row.record.id]
        return _unpacked(read_weights(self._file(row)))

    def _file(self, row: Row) -> Path:
        """Return where the features of a row lie: the name says what they were made of."""
        source = self._manifest.file_of(row.record)
        state = source.stat()
        content = [
            row.record.id,
            row.record.locator,
            state.st_size,
            state.st_mtime_ns,
            self._frames(row),
            self._target.model_dump(mode="json"),
            self._modalities,
            self._start.revision,
            self._start.processor.fingerprint,
        ]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        folder = self._cache or Path()
        return folder / digest[:2] / f"{digest}.safetensors"

    def _read(self, row: Row, least_peak: float) -> Features | None:
        """Return the features of a row, from the cache where they are; None for a silent recording."""
        if self._cache is not None and self._file(row).is_file():
            return _unpacked(read_weights(self._file(row)))
        found = self._compute(row, least_peak)
        if found is not None and self._cache is not None:
            from safetensors.torch import save_file

            with atomic_path(self._file(row)) as temporary:
                save_file(_packed(found), temporary)
        return found

    def _compute(self, row: Row, least_peak: float) -> Features | None:
        options = json.loads(row.record.locator) if row.record.locator else {}
        options = {key: value for key, value in options.items() if key in ("start_s", "duration_s")}
        file = self._manifest.file_of(row.record)
        rate = self._target.sampling_rate
        wave = load_audio(file, rate=rate, **options).value[0]
        if len(wave) < _SHORTEST_S * rate:
            raise InputError(f"{len(wave) / rate:.3f} s are too short to learn from.")
        if float(wave.abs().max()) < least_peak:
            return None
        hop = self._target.mel.hop_length
        short = max(self._target.mel.n_fft, hop) - len(wave)
        padded = torch.nn.functional.pad(wave, (0, max(0, short)))
        mel = log_mel(padded, self._target.mel, rate)[: max(1, len(wave) // hop)].half()
        embeddings, times = {}, {}
        if "audio" in self._modalities:
            audio = self._start.processor.config.audio
            theirs = audio.sampling_rate if audio else rate
            heard = wave if theirs == rate else load_audio(file, rate=theirs, **options).value[0]
            embeddings["audio"], times["audio"] = self._heard(heard)
        if "image" in self._modalities:
            embeddings["image"], times["image"] = self._seen(row)
        return Features(mel, embeddings, times)

    def _heard(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings [n, D] and middles [n] of the windows of a recording at the tower's rate."""
        processor = self._start.processor
        audio = processor.config.audio
        if audio is None:
            raise InputError(f"{self._start.id} has no audio tower; choose other conditions.")
        windows = processor.fit_audio(wave)
        half = min(len(wave), audio.window_samples) / 2
        middles = torch.tensor([start + half for start in window_starts(len(wave), audio)])
        return self._encoded("audio", windows), (middles / audio.sampling_rate).float()

    def _seen(self, row: Row) -> tuple[Tensor, Tensor]:
        """Return embeddings [n, D] and moments [n] of the frames that belong to a recording."""
        from ..loaders.frames import load_image

        frames = self._frames(row)
        if not frames:
            raise InputError(f"{row.record.id} has no frames; an image condition needs one at least.")
        processor = self._start.processor
        fitted = torch.stack([processor.fit_image(load_image(path)) for path, _ in frames])
        return self._encoded("image", fitted), torch.tensor([time for _, time in frames], dtype=torch.float32)

    def _frames(self, row: Row) -> list[tuple[str, float]]:
        """Return (file, seconds) of the frames of a row, from the extras of its reader."""
        if "frames" not in row.extras:
            return []
        home = self._manifest.root / inside(self._manifest.root, str(row.extras["frames"]))
        files = sorted(home.glob("*.jpg"))[: int(row.extras.get("count", MAX_FRAMES))]
        rate = float(row.extras.get("fps", 1.0))
        # Each frame stands for the interval that begins with it, and is from its middle.
        return [(str(path), (number + 0.5) / rate) for number, path in enumerate(files)]

    @torch.inference_mode()
    def _encoded(self, modality: str, values: Tensor) -> Tensor:
        """Return unit embeddings float32 [n, D] of audio windows [n, T] or images [n, C, S, S]."""
        processor, network = self._start.processor, self._start.network
        finish = processor.finish_audio if modality == "audio" else processor.finish_images
        parts = [network.encode(modality, finish(part)).float() for part in values.split(_BATCH)]
        return torch.cat(parts).clone()


def _packed(features: Features) -> dict[str, Tensor]:
    named = {"mel": features.mel.contiguous()}
    for name, values in features.embeddings.items():
        named[f"{name}.embeddings"], named[f"{name}.times"] = values.contiguous(), features.times[name]
    return named


def _unpacked(named: Mapping[str, Tensor]) -> Features:
    names = [key.partition(".")[0] for key in named if key.endswith(".times")]
    return Features(
        named["mel"],
        {name: named[f"{name}.embeddings"] for name in names},
        {name: named[f"{name}.times"] for name in names},
    )
