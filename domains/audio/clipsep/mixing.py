"""Mixtures made of single recordings: who sounds with whom, which part of each, and how loud.

Reference: Dong et al. 2023, CLIPSep, section 4 (training mixtures); Zhao et al. 2018, The Sound of Pixels
(mix and separate).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ....core.audio_augment import augment_audio
from ....core.audio_config import AudioAugmentConfig
from ....core.config import Config
from ....core.errors import ConfigError, DataError, InputError
from ....core.waves import to_wave
from ..loaders.dataset import window_around

if TYPE_CHECKING:
    from ....core.data import Record

_INT16 = 2.0**15
_SILENT = 1e-7
"""Mean square (-70 dB) under which a part of a recording is no source; another part is drawn."""
_TRIES = 4
_MASKED = ("noise", "background", "time_masks", "frequency_masks")
"""Augmentations that would put into a source what is not the source."""


class MixConfig(Config):
    """How training mixtures are made; the defaults are the published ones."""

    n_mix: int = Field(default=2, ge=2, le=8)
    """Queries of a mixture, and sources at most."""
    sounding: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Relative shares of mixtures in which 1, 2, ... ``n_mix`` sources sound; the other queries ask for what
    is not there. Empty: all of them always sound."""
    distinct: bool = False
    """Whether the labels of a mixture differ; needed where a query may ask in vain."""
    margin_s: float = Field(default=3.0, ge=0)
    """Clips with frames: how far the middle keeps from both ends."""
    gain: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 1.5)
    """Range of the factor on each source."""
    level_db: float | None = Field(default=None, le=0)
    """Bring each source to this root mean square (dB of full scale) before its gain; None: as recorded."""
    late: float = Field(default=0.0, ge=0, le=1)
    """Share of sources that begin, or end, somewhere in the window."""
    clip: bool = True
    """Cut each source to [-1, 1]."""
    divide: bool = True
    """Divide each source by ``n_mix``."""

    @model_validator(mode="after")
    def _fits(self) -> MixConfig:
        if self.sounding and (len(self.sounding) != self.n_mix or sum(self.sounding) <= 0):
            raise ValueError(
                f"sounding needs {self.n_mix} shares that are not all 0, got {list(self.sounding)}"
            )
        if any(self.sounding[:-1]) and not self.distinct:
            raise ValueError(
                "queries that nothing answers need distinct: true, or a mixture might answer them"
            )
        if self.gain[0] > self.gain[1]:
            raise ValueError(f"gain goes from low to high, got {list(self.gain)}")
        return self


@dataclass(frozen=True)
class Slot:
    """One query of a mixture and what answers it.

    Attributes:
        record: whose label, or picture, is asked for. sounds: whether it is part of the mixture.
        center: number of the middle frame, from 1; 0 for a recording without frames.
    """

    record: Record
    sounds: bool
    center: int = 0


@dataclass(frozen=True)
class Mixtures:
    """Mixtures as sources side by side.

    Attributes:
        waves: float32 [B, N, samples], zeros where a query is not answered; the mixture is the sum over N.
        slots: B rows of N.
    """

    waves: Tensor
    slots: tuple[tuple[Slot, ...], ...]


@dataclass(frozen=True)
class FrameCount:
    """Frames that go with a recording: how many, and how many a second."""

    count: int
    fps: float = 1.0


class Sounds:
    """Recordings of a run at one rate, one channel, decoded once and kept as 16 bits.

    Args:
        load: from a record to a sample. rate: Hz.
        probe: looks at a record without decoding it; with it, nothing is kept and every use decodes.
    """

    def __init__(
        self,
        load: Callable[[Record], Any],
        rate: int,
        *,
        probe: Callable[[Record], object] | None = None,
    ) -> None:
        self._load, self.rate, self._probe = load, rate, probe
        self._kept: dict[str, Tensor] = {}

    def fill(self, records: Sequence[Record]) -> dict[str, str]:
        """Decode, or probe, every record and return {id: reason} of those that cannot be used."""
        failures: dict[str, str] = {}

        def attempt(record: Record) -> None:
            try:
                if self._probe is None:
                    self._kept[record.id] = self._decode(record)
                else:
                    self._probe(record)
            except (InputError, OSError) as error:
                failures[record.id] = str(error)

        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(attempt, records))
        return failures

    def wave(self, record: Record) -> Tensor:
        """Return a recording float32 [T]."""
        kept = self._kept.get(record.id)
        return (self._decode(record) if kept is None else kept).float() / _INT16

    def _decode(self, record: Record) -> Tensor:
        wave = to_wave(self._load(record), self.rate, name=record.id)
        return (wave * _INT16).round().clamp(-_INT16, _INT16 - 1).to(torch.int16)


class Mixer:
    """Draws mixtures from a pool of recordings; the same generator state gives the same mixtures.

    Args:
        config: see :class:`MixConfig`.
        sounds: gives recordings.
        pool: recordings that partners are drawn from.
        samples: of a mixture.
        augment: random changes of single sources before they are mixed.
        frames: {record id: frames}; the middle of such a source is on a frame. Others are cut anywhere.

    Raises:
        ConfigError: an augmentation that would add something foreign to the sources.
        DataError: too few recordings, or labels, to mix.
    """

    def __init__(
        self,
        config: MixConfig,
        sounds: Sounds,
        *,
        pool: Sequence[Record],
        samples: int,
        augment: AudioAugmentConfig | None = None,
        frames: Mapping[str, FrameCount] | None = None,
    ) -> None:
        self.config, self.sounds, self.samples = config, sounds, samples
        self.augment = augment or AudioAugmentConfig()
        for name in _MASKED:
            if getattr(self.augment, name):
                raise ConfigError(
                    f"audio_augment.{name} would add to a source what is not the source, and the separator "
                    "would learn to keep it. Set it to 0."
                )
        self._frames = frames or {}
        self._pool = tuple(pool)
        self._by_label: dict[str, list[Record]] = defaultdict(list)
        for record in self._pool:
            self._by_label[str(record.label)].append(record)
        self._labels = sorted(self._by_label)
        if len(self._pool) < config.n_mix or (config.distinct and len(self._labels) < config.n_mix):
            raise DataError(
                f"Mixtures of {config.n_mix} need as many recordings"
                f"{' of different labels' if config.distinct else ''}; there are {len(self._pool)} "
                f"recordings of {len(self._labels)} labels."
            )

    def with_samples(self, samples: int) -> Mixer:
        """Return a mixer of the same recordings for mixtures of another length, without augmentation."""
        return Mixer(self.config, self.sounds, pool=self._pool, samples=samples, frames=self._frames)

    def draw(self, firsts: Sequence[Record], generator: torch.Generator) -> Mixtures:
        """Return a mixture for each record of ``firsts``, in which it sounds."""
        slots: list[tuple[Slot, ...]] = []
        waves = torch.zeros(len(firsts), self.config.n_mix, self.samples)
        for row, first in enumerate(firsts):
            chosen = [first, *self._partners(first, generator)]
            sounding = self._sounding(generator)
            mixed: list[Slot] = []
            for column, record in enumerate(chosen):
                sounds = column < sounding
                wave, center = self.cut(record, generator)
                if sounds:
                    waves[row, column] = wave
                mixed.append(Slot(record, sounds, center))
            slots.append(tuple(mixed))
        return Mixtures(self._levelled(self._changed(waves, slots, generator), generator), tuple(slots))

    def cut(self, record: Record, generator: torch.Generator | None) -> tuple[Tensor, int]:
        """Return a part of a recording float32 [samples] and the number of its middle frame, or 0.

        Without a generator it is the middle. A recording shorter than the window is repeated.
        """
        wave = self.sounds.wave(record)
        known = self._frames.get(record.id)
        if known is not None:
            center = self._center(known, generator)
            middle = int((center - 0.5) / known.fps * self.sounds.rate)
            return window_around(wave, middle, samples=self.samples), center
        if len(wave) < self.samples:
            wave = wave.repeat(-(-self.samples // len(wave)))
        room = len(wave) - self.samples + 1
        if generator is None:
            return wave[room // 2 :][: self.samples], 0
        part = wave[: self.samples]
        for _ in range(_TRIES):
            start = int(torch.randint(room, (1,), generator=generator))
            part = wave[start : start + self.samples]
            if float(part.square().mean()) > _SILENT:
                break
        return part, 0

    def _center(self, frames: FrameCount, generator: torch.Generator | None) -> int:
        """Return a frame that keeps the margin; the middle one where the clip is too short for that."""
        margin = round(self.config.margin_s * frames.fps)
        if generator is None or frames.count < 2 * margin + 1:
            return max(1, frames.count // 2)
        return int(torch.randint(margin + 1, frames.count - margin + 1, (1,), generator=generator))

    def _partners(self, first: Record, generator: torch.Generator) -> list[Record]:
        count = self.config.n_mix - 1
        if not self.config.distinct:
            found: list[Record] = []
            while len(found) < count:
                other = self._pool[int(torch.randint(len(self._pool), (1,), generator=generator))]
                if other.id != first.id:
                    found.append(other)
            return found
        labels = [label for label in self._labels if label != str(first.label)]
        order = torch.randperm(len(labels), generator=generator)[:count].tolist()
        chosen = [self._by_label[labels[index]] for index in order]
        return [own[int(torch.randint(len(own), (1,), generator=generator))] for own in chosen]

    def _sounding(self, generator: torch.Generator) -> int:
        shares = self.config.sounding
        if not shares:
            return self.config.n_mix
        return 1 + int(torch.multinomial(torch.tensor(shares), 1, generator=generator))

    def _changed(self, waves: Tensor, slots: Sequence[Sequence[Slot]], generator: torch.Generator) -> Tensor:
        """Return the sources after augmentation; what does not sound stays silent."""
        flat = [slot for row in slots for slot in row]
        rows = torch.tensor([index for index, slot in enumerate(flat) if slot.sounds])
        labels = torch.tensor([self._index(flat[index].record) for index in rows.tolist()])
        sources = waves.flatten(0, 1)
        changed = augment_audio(
            sources[rows], self.augment, self.sounds.rate, generator=generator, labels=labels
        )
        if self.config.late:
            changed = _late(changed, self.config.late, generator)
        result = torch.zeros_like(sources)
        result[rows] = changed
        return result.view_as(waves)

    def _index(self, record: Record) -> int:
        label = str(record.label)
        return self._labels.index(label) if label in self._by_label else -1

    def _levelled(self, waves: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sources as they lie in their mixtures."""
        config = self.config
        if config.level_db is not None:
            rms = waves.square().mean(dim=-1, keepdim=True).sqrt()
            # What is next to silent stays so instead of becoming noise at full level.
            waves = waves * (10 ** (config.level_db / 20) / rms.clamp(min=_SILENT**0.5))
        low, high = (torch.tensor(value).log() for value in config.gain)
        drawn = torch.rand(*waves.shape[:2], 1, generator=generator)
        # Decibels are drawn evenly where sources were made equally loud, factors where they were not.
        even = config.gain[0] + (config.gain[1] - config.gain[0]) * drawn
        gain = even if config.level_db is None else (low + (high - low) * drawn).exp()
        waves = waves * gain
        if config.clip:
            waves = waves.clamp(-1.0, 1.0)
        return waves / config.n_mix if config.divide else waves


def _late(waves: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return waves [B, T] of which a share has silence before or after, up to half the window."""
    count, size = waves.shape
    drawn = torch.rand(count, 3, generator=generator)
    length = (drawn[:, 1] * size / 2).long()
    place = torch.arange(size)[None]
    before = place < length[:, None]
    after = place >= (size - length)[:, None]
    silent = torch.where(drawn[:, 2:] < 0.5, before, after) & (drawn[:, :1] < share)
    return waves.masked_fill(silent, 0.0)
