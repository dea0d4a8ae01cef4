"""Images and recordings of a run: decoded once, kept small, handed out as the processor takes them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from .audio_config import AudioProcessing
from .config import ProcessorConfig
from .data import Manifest, Record, group_equal, group_near_duplicates
from .errors import ConfigError, InputError
from .images import load_image
from .processing import Processor
from .recipe import Recipe, ValidationConfig
from .registry import room
from .types import Modality
from .waves import cut_windows, pad_wave, to_wave

_log = logging.getLogger(__name__)
MAX_RECORDING_S = 60.0
"""Of a longer recording, only the beginning takes part in training and validation."""
_INT16 = 2.0**15

Load = Callable[..., Any]


class Store:
    """The samples of a run in one modality, decoded once and kept when the recipe caches in memory.

    A subclass says how a sample is decoded and kept, and what of it the network sees.

    Args:
        processor: prepares the modality.
        load: from a record to what the processor takes.
        keep: False decodes at every use.

    Attributes:
        modality: key of the tower. noun: what messages call several samples.
    """

    modality: Modality
    noun: str

    def __init__(self, processor: Processor, load: Callable[[Record], Any], *, keep: bool) -> None:
        self._processor, self._load, self._keep = processor, load, keep
        self._kept: dict[str, Tensor] = {}

    def fill(self, records: Sequence[Record]) -> dict[str, str]:
        """Decode every record and return {id: reason} of those that cannot be."""
        failures: dict[str, str] = {}

        def attempt(record: Record) -> Tensor | None:
            try:
                return self.decode(record)
            except (InputError, OSError) as error:
                failures[record.id] = str(error)
                return None

        with ThreadPoolExecutor(max_workers=4) as pool:
            for record, value in zip(records, pool.map(attempt, records), strict=True):
                if value is not None and self._keep:
                    self._kept[record.id] = value
        return failures

    def value(self, record: Record) -> Tensor:
        """Return a sample as it is kept."""
        return self._kept[record.id] if record.id in self._kept else self.decode(record)

    def content(self, record: Record) -> bytes:
        """Return a digest that is equal for samples of equal content."""
        return hashlib.sha256(self.value(record).contiguous().numpy().tobytes()).digest()

    def decode(self, record: Record) -> Tensor:
        """Return a sample as it is kept, from its file."""
        raise NotImplementedError

    def grouped(self, manifest: Manifest, settings: ValidationConfig) -> Manifest:
        """Return the manifest with samples that must not lie on both sides of a split in one group."""
        raise NotImplementedError

    def draw(self, records: Sequence[Record], generator: torch.Generator | None) -> Tensor:
        """Return one view of each record, float32 [B, ...]; the same at every call without a generator."""
        raise NotImplementedError

    def parts(self, record: Record) -> Tensor:
        """Return everything the network sees of a record, float32 [N, ...]; its embeddings are averaged."""
        raise NotImplementedError

    def finish(
        self,
        views: Tensor,
        processor: Processor,
        *,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the tower inputs of views; augmented by ``processor`` when there is a generator."""
        raise NotImplementedError


class ImageStore(Store):
    """Images at model size as 8 bits."""

    modality: Modality = "image"
    noun = "images"

    def decode(self, record: Record) -> Tensor:
        """Return one image uint8 [C, S, S]."""
        fitted = self._processor.fit_image(self._load(record), name=record.id)
        return (fitted * 255).round().to(torch.uint8)

    def grouped(self, manifest: Manifest, settings: ValidationConfig) -> Manifest:
        """Return the manifest with near-equal images in one group, by their difference hashes."""
        if settings.near_duplicate_bits is None:
            return manifest
        return group_near_duplicates(
            manifest,
            lambda record: self.draw([record], None)[0].mean(0).numpy(),
            max_distance=settings.near_duplicate_bits,
        )

    def draw(self, records: Sequence[Record], generator: torch.Generator | None) -> Tensor:
        """Return images float32 [B, C, S, S] in [0, 1]."""
        return torch.stack([self.value(record) for record in records]).float() / 255

    def parts(self, record: Record) -> Tensor:
        """Return the image as [1, C, S, S]."""
        return self.draw([record], None)

    def finish(
        self,
        views: Tensor,
        processor: Processor,
        *,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``{"pixels": float32 [B, C, S, S]}``."""
        return processor.finish_images(views, train=generator is not None, generator=generator)


class AudioStore(Store):
    """Recordings at the model's rate as 16 bits, one channel, up to :data:`MAX_RECORDING_S` of each."""

    modality: Modality = "audio"
    noun = "recordings"

    @property
    def _config(self) -> AudioProcessing:
        config = self._processor.config.audio
        if config is None:
            raise ConfigError("The processor of this run prepares no audio. Add audio to the recipe.")
        return config

    def fill(self, records: Sequence[Record]) -> dict[str, str]:
        """Decode every record, as :meth:`Store.fill`, and say how many are longer than what is kept."""
        failures = super().fill(records)
        longest = self._longest
        cut = sum(len(wave) >= longest for wave in self._kept.values())
        if cut:
            _log.warning(
                "%d of %d recordings reach %g s; what comes later in them takes no part.",
                cut,
                len(records),
                longest / self._config.sampling_rate,
            )
        return failures

    @property
    def _longest(self) -> int:
        """Samples of a recording that are kept."""
        config = self._config
        return max(round(MAX_RECORDING_S * config.sampling_rate), config.window_samples)

    def decode(self, record: Record) -> Tensor:
        """Return one recording int16 [T]."""
        wave = to_wave(self._load(record), self._config.sampling_rate, name=record.id)[: self._longest]
        return (wave * _INT16).round().clamp(-_INT16, _INT16 - 1).to(torch.int16)

    def grouped(self, manifest: Manifest, settings: ValidationConfig) -> Manifest:
        """Return the manifest with recordings of equal samples in one group."""
        return group_equal(manifest, self.content)

    def draw(self, records: Sequence[Record], generator: torch.Generator | None) -> Tensor:
        """Return one window of each recording, float32 [B, T]: anywhere in it, or its middle."""
        size = self._config.window_samples
        places = torch.full((len(records),), 0.5, dtype=torch.float64)
        if generator is not None:
            places = torch.rand(len(records), generator=generator, dtype=torch.float64)
        windows = []
        for record, place in zip(records, places.tolist(), strict=True):
            wave = self.value(record)
            if len(wave) > size:
                start = int(place * (len(wave) - size + 1))
                wave = wave[start : start + size]
            windows.append(pad_wave(wave.float() / _INT16, self._config))
        return torch.stack(windows)

    def parts(self, record: Record) -> Tensor:
        """Return the windows float32 [N, T] that the model answers a user's recording with."""
        return cut_windows(self.value(record).float() / _INT16, self._config)

    def finish(
        self,
        views: Tensor,
        processor: Processor,
        *,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``{"features": float32 [B, 1, frames, n_mels]}``."""
        train = generator is not None
        return processor.finish_audio(views, train=train, generator=generator, labels=labels)


_STORES: dict[str, type[Store]] = {"image": ImageStore, "audio": AudioStore}


def noun_of(modality: str) -> str:
    """Return what messages call several samples of a modality."""
    return _STORES[modality].noun if modality in _STORES else "files"


def build_store(modality: Modality, processing: ProcessorConfig, recipe: Recipe, manifest: Manifest) -> Store:
    """Return the empty store of a run.

    Args:
        modality: what the records are files of.
        processing: how the model reads it.

    Raises:
        ConfigError: a run cannot read files of this modality.
    """
    if modality not in _STORES:
        raise ConfigError(f"A run reads files of {' or '.join(_STORES)}, not of {modality!r}.")
    config = ProcessorConfig(**{modality: getattr(processing, modality)})
    load = record_loader(recipe, manifest, config, modality)
    return _STORES[modality](Processor(config), load, keep=recipe.data.cache == "memory")


def record_loader(
    recipe: Recipe, manifest: Manifest, processing: ProcessorConfig, modality: Modality
) -> Callable[[Record], Any]:
    """Return how a record's file becomes a sample: by the domain's loader, or as a plain image file.

    What the reader stored as ``locator`` goes to the loader as options. Recordings come at the model's rate,
    the first :data:`MAX_RECORDING_S` of them unless the locator says otherwise.

    Raises:
        ConfigError: nothing can read files of ``modality``.
    """
    if recipe.domain is None and modality != "image":
        raise ConfigError(f"{recipe.name}: the loader of {modality} belongs to a domain; name it: domain.")
    load: Load = room(recipe.domain).function("loaders", modality) if recipe.domain else load_image
    # What users of the model will get by default is what it is trained with.
    own: dict[str, Any] = {}
    if modality == "image" and processing.image is not None:
        own = dict(processing.image.load)
    elif modality == "audio" and processing.audio is not None:
        audio = processing.audio
        longest = max(MAX_RECORDING_S, audio.window_s)
        own = {"rate": audio.sampling_rate, "duration_s": longest, **audio.load}

    def from_record(record: Record) -> Any:
        options = json.loads(record.locator) if record.locator else {}
        return load(manifest.file_of(record), **{**own, **options})

    return from_record
