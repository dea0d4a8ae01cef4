"""Config objects of recordings: how they become features, and how training changes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .config_base import Config, Probability, Scalar


class MelProcessing(Config):
    """A waveform to a mel spectrogram; see :mod:`verticlip.core.spectrogram`."""

    n_fft: int = Field(ge=2, le=65_536)
    hop_length: int = Field(ge=1)
    win_length: int | None = Field(default=None, ge=2)
    """Samples of the periodic Hann window, in the middle of ``n_fft``; None is ``n_fft``."""
    n_mels: int = Field(ge=1, le=1024)
    f_min: float = Field(default=0.0, ge=0.0)
    f_max: float | None = Field(default=None, gt=0.0)
    """Hz; None is half the sampling rate."""
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    """``slaney`` gives every filter the same area."""
    power: Literal[1, 2] = 2
    """Exponent of the magnitude before the filters."""
    padding: Literal["reflect", "constant", "half_reflect"] = "reflect"
    """``reflect`` and ``constant`` centre frame t on sample t * hop; ``half_reflect`` pads (n_fft - hop) / 2
    at both ends, so that n samples give n / hop frames."""
    magnitude_offset: float = Field(default=0.0, ge=0.0)
    """Added to the squared magnitude before the root."""
    log: Literal["db", "ln", "none"] = "db"
    """``db`` is 10 log10, whatever the power."""
    floor: float = Field(default=1e-10, gt=0.0)
    """Smallest value that enters the logarithm."""

    @model_validator(mode="after")
    def _window_fits(self) -> MelProcessing:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is over n_fft {self.n_fft}")
        if self.f_max is not None and self.f_max <= self.f_min:
            raise ValueError(f"f_max {self.f_max:g} Hz is not over f_min {self.f_min:g} Hz")
        if self.padding == "half_reflect" and (self.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"half_reflect needs n_fft - hop_length to be even, got {self.n_fft - self.hop_length}"
            )
        return self


class AudioProcessing(Config):
    """A recording to the features the tower expects."""

    sampling_rate: int = Field(ge=1000, le=384_000)
    """Hz; the loader converts to it, and channels are averaged."""
    window_s: float = Field(gt=0, le=600)
    """What the network sees at once; a longer recording is seen window by window."""
    hop_s: float | None = Field(default=None, gt=0)
    """From one window of a longer recording to the next; None is ``window_s``. The last one ends with it."""
    padding: Literal["zeros", "repeat"] = "zeros"
    """Shorter recordings: zeros at the end, or whole repetitions first and zeros for the rest."""
    quantize: bool = False
    """Round to 16 bits and back, as LAION-CLAP was trained."""
    mel: MelProcessing
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    """Features are (mel - mean) / std."""
    standardize: float | None = Field(default=None, gt=0)
    """Take each window's own mean and deviation (plus this much) instead of ``mean`` and ``std``."""
    load: dict[str, Scalar | list[int] | list[float]] = Field(default_factory=dict)
    """Options for the domain's loader that belong to these weights; the caller's own win."""

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        return round(self.window_s * self.sampling_rate)

    @property
    def hop_samples(self) -> int:
        """Samples from one window to the next."""
        return max(1, round((self.hop_s or self.window_s) * self.sampling_rate))

    @model_validator(mode="after")
    def _window_holds_a_frame(self) -> AudioProcessing:
        if self.window_samples < self.mel.n_fft // 2 + 1:
            raise ValueError(
                f"a window of {self.window_samples} samples is too short for n_fft {self.mel.n_fft}"
            )
        if self.hop_s is not None and self.hop_s > self.window_s:
            raise ValueError(f"hop_s {self.hop_s:g} leaves gaps between windows of {self.window_s:g} s")
        if self.mel.f_max is not None and self.mel.f_max > self.sampling_rate / 2:
            raise ValueError(f"f_max {self.mel.f_max:g} Hz is over half of {self.sampling_rate} Hz")
        return self


class AudioAugmentConfig(Config):
    """Random changes of training recordings; probabilities are per recording."""

    gain_db: float = Field(default=0.0, ge=0.0, le=40.0)
    """Largest change of level, up or down."""
    shift: Probability = 0.0
    """Largest circular shift, as a share of the window."""
    speed: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest log change of speed and pitch together."""
    noise: Probability = 0.0
    """Share of recordings that get coloured noise."""
    noise_db: tuple[float, float] = (10.0, 40.0)
    """Its signal-to-noise ratio."""
    mix: Probability = 0.0
    """Share of recordings that get another one of the same class on top."""
    crop: Probability = 0.0
    """Share of recordings cut to a part that repeats as often as it fits; louder parts are likelier."""
    crop_s: tuple[float, float] = (0.5, 2.5)
    """Seconds of that part, drawn log-uniformly."""
    crop_gap: float = Field(default=0.0, ge=0.0, le=10.0)
    """Longest silence between the repetitions, as a multiple of the part."""
    background: Probability = 0.0
    """Share of recordings that get another one of the batch, whatever its class, below them."""
    background_db: tuple[float, float] = (8.0, 25.0)
    """How far below."""
    lowpass: Probability = 0.0
    """Share of recordings that lose their highs: sets of different bandwidth are not told apart by it."""
    lowpass_hz: tuple[float, float] = (3000.0, 7500.0)
    """Where the loss begins, drawn log-uniformly."""
    time_masks: int = Field(default=0, ge=0)
    time_mask: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest share of the frames that one mask hides; frequency likewise."""
    frequency_masks: int = Field(default=0, ge=0)
    frequency_mask: float = Field(default=0.1, ge=0.0, le=1.0)
    tilt_db: float = Field(default=0.0, ge=0.0, le=40.0)
    """Largest change of level of a random smooth filter: microphones and rooms."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> AudioAugmentConfig:
        for name in ("noise_db", "crop_s", "background_db", "lowpass_hz"):
            low, high = getattr(self, name)
            if low > high or (name in ("crop_s", "lowpass_hz") and low <= 0):
                raise ValueError(f"{name} is a range (lowest, highest), got {low:g} and {high:g}")
        return self
