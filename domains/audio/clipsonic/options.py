"""Settings of the architecture ``clipsonic``: mel target, noise, network, condition and vocoder."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from ....core.audio_config import MelProcessing
from ....core.config import Config, Modality
from .bigvgan import GeneratorConfig

Prediction = Literal["epsilon", "v", "x0"]
Bridging = Literal["none", "shift", "standardize"]


class TargetConfig(Config):
    """What is generated: a logarithmic mel spectrogram, mapped from [low, high] to [-1, 1]."""

    sampling_rate: int = Field(ge=1000, le=192_000)
    """Hz."""
    mel: MelProcessing
    frames: int = Field(ge=1)
    """Length of the training windows."""
    low: float = math.log(1e-5)
    """Natural logarithm of the mel value that becomes -1; smaller ones are cut."""
    high: float = 2.5
    """Natural logarithm of the mel value that becomes 1; larger ones are cut."""

    @model_validator(mode="after")
    def _invertible(self) -> TargetConfig:
        if self.high <= self.low:
            raise ValueError(f"high {self.high:g} is not over low {self.low:g}")
        if self.mel.log != "ln" or self.mel.power != 1:
            raise ValueError("the target is the natural logarithm of mel magnitudes: log 'ln' and power 1")
        if self.mel.padding != "half_reflect":
            raise ValueError("n frames have to stand for n * hop_length samples: padding 'half_reflect'")
        return self

    @property
    def window_samples(self) -> int:
        """Samples of a training window."""
        return self.frames * self.mel.hop_length

    @property
    def window_s(self) -> float:
        """Seconds of a training window."""
        return self.window_samples / self.sampling_rate


class DenoiserConfig(Config):
    """Sizes of the U-Net."""

    channels: tuple[int, ...] = Field(min_length=1)
    """Of each level; from one to the next, both sides halve."""
    attention: tuple[bool, ...]
    """Whether a level has self-attention."""
    layers: int = Field(default=2, ge=1)
    """Residual blocks of a level, one more on the way up."""
    head_width: int = Field(default=32, ge=1)
    groups: int = Field(default=32, ge=1)
    """Of the group norms; divides every number of channels."""
    patch: int = Field(default=1, ge=1)
    """Side of the squares of mel values that enter as one position, so that a step costs 1 / patch^2."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> DenoiserConfig:
        if len(self.attention) != len(self.channels):
            raise ValueError(
                f"attention has {len(self.attention)} entries for {len(self.channels)} levels of channels"
            )
        for count in self.channels:
            if count % self.groups:
                raise ValueError(f"{count} channels do not divide into {self.groups} groups")
        return self

    @property
    def multiple(self) -> int:
        """Bands and frames must divide by this."""
        return self.patch * 2 ** (len(self.channels) - 1)


class NoiseConfig(Config):
    """How mel spectrograms become noise, and what the network says about it."""

    steps: int = Field(default=1000, ge=2, le=100_000)
    schedule: Literal["cosine"] = "cosine"
    prediction: Prediction = "v"
    zero_terminal: bool = False
    """Rescale the schedule so that the last step is nothing but noise; only with ``v``."""

    @model_validator(mode="after")
    def _can_start_from_noise(self) -> NoiseConfig:
        if self.zero_terminal and self.prediction != "v":
            raise ValueError(
                f"zero_terminal needs prediction 'v'; {self.prediction!r} cannot tell at full noise"
            )
        return self


class ConditionConfig(Config):
    """Which embeddings the network was trained with and how others get there."""

    modality: Modality
    """The tower whose embeddings it expects: ``image`` for frames of videos."""
    bridge: Bridging = "shift"
    """What is done by default with embeddings of another modality: nothing, the difference of the means, or
    the deviation of each value as well."""
    center: bool = False
    """Subtract the mean of its modality from every embedding, in training as well."""


class VocoderConfig(Config):
    """What makes the waveform: phases found by iteration, or a generator stored with the weights."""

    kind: Literal["griffin_lim", "bigvgan"] = "griffin_lim"
    iterations: int = Field(default=48, ge=1, le=10_000)
    momentum: float = Field(default=0.99, ge=0.0, lt=1.0)
    generator: GeneratorConfig | None = None
    """Sizes, for ``bigvgan``."""

    @model_validator(mode="after")
    def _has_a_generator(self) -> VocoderConfig:
        if (self.kind == "bigvgan") != (self.generator is not None):
            raise ValueError("generator belongs to kind 'bigvgan', and to nothing else")
        return self


class ClipSonicOptions(Config):
    """``options`` of a model of this architecture."""

    target: TargetConfig
    denoiser: DenoiserConfig
    noise: NoiseConfig = NoiseConfig()
    condition: ConditionConfig
    vocoder: VocoderConfig = VocoderConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> ClipSonicOptions:
        multiple, mel = self.denoiser.multiple, self.target.mel
        for what, size in (("n_mels", mel.n_mels), ("frames", self.target.frames)):
            if size % multiple:
                raise ValueError(f"{what} {size} does not divide by {multiple}, as the denoiser needs")
        made = self.vocoder.generator
        if made is not None and (made.n_mels, made.frame_samples) != (mel.n_mels, mel.hop_length):
            raise ValueError(
                f"the generator takes {made.n_mels} bands of {made.frame_samples} samples a frame, the "
                f"target has {mel.n_mels} of {mel.hop_length}"
            )
        return self
