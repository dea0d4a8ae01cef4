"""The architecture ``bigvgan``: a mel spectrogram to the waveform it came from.

Upsampling by transposed convolutions, each followed by residual blocks of several kernel sizes whose
periodic activations run at twice the rate between two low-pass filters, so that the harmonics they make
do not fold back.

Reference: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training", 2023;
NVIDIA/BigVGAN, ``bigvgan.py``, ``activations.py`` and ``alias_free_activation/torch``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.audio_config import MelProcessing
from ....core.config import Config, ModelConfig, parse_config
from ....core.errors import ConfigError, InputError
from ....core.model import ContrastiveModel
from ....core.spectrogram import log_mel

FLOOR, OFFSET = 1e-5, 1e-9
"""Smallest mel before the logarithm, and what is added to squared magnitudes, in every published model."""
_TAPS = 12
_ACTIVATION_REACH = 6
"""Samples to each side that one anti-aliased activation looks at."""
_INITIAL_STD = 0.01


class GeneratorConfig(Config):
    """Sizes of a generator."""

    n_mels: int = Field(ge=1)
    channels: int = Field(ge=2)
    """After the first convolution; every upsampling halves them."""
    rates: tuple[int, ...] = Field(min_length=1)
    """Upsampling steps; their product is the number of samples of one frame."""
    kernels: tuple[int, ...]
    """Kernel sizes of the upsampling steps."""
    block: Literal["1", "2"] = "1"
    """``1`` has a second, undilated convolution after each dilated one."""
    block_kernels: tuple[int, ...] = Field(default=(3, 7, 11), min_length=1)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    log_scale: bool = True
    """Whether frequency and magnitude of the activations are stored as logarithms."""
    tanh: bool = True
    """How the output is kept within [-1, 1]: ``tanh`` (first version) or clamping (second version)."""
    final_bias: bool = True
    """Whether the last convolution has a bias (first version)."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> GeneratorConfig:
        if len(self.kernels) != len(self.rates):
            raise ValueError(f"{len(self.rates)} rates need as many kernels, got {len(self.kernels)}")
        if len(self.block_dilations) != len(self.block_kernels):
            raise ValueError(
                f"{len(self.block_kernels)} block_kernels need as many block_dilations, "
                f"got {len(self.block_dilations)}"
            )
        for rate, kernel in zip(self.rates, self.kernels, strict=True):
            if rate < 1 or kernel < rate or (kernel - rate) % 2:
                raise ValueError(
                    f"a kernel of {kernel} does not upsample by exactly {rate}; the difference must be even"
                )
        for kernel, dilations in zip(self.block_kernels, self.block_dilations, strict=True):
            if kernel % 2 == 0 or not dilations or min(dilations) < 1:
                raise ValueError(
                    f"block kernel {kernel} must be odd and its dilations {dilations} at least 1"
                )
        if self.channels < 2 ** len(self.rates):
            raise ValueError(f"channels {self.channels} cannot be halved {len(self.rates)} times")
        return self

    @property
    def frame_samples(self) -> int:
        """Samples that one mel frame becomes."""
        return math.prod(self.rates)

    @property
    def context_frames(self) -> int:
        """Frames to each side that a sample depends on; further ones change nothing."""
        reach = 3 + _ACTIVATION_REACH
        for rate, kernel in zip(reversed(self.rates), reversed(self.kernels), strict=True):
            reach += max(
                sum(self._step_reach(size, dilation) for dilation in dilations)
                for size, dilations in zip(self.block_kernels, self.block_dilations, strict=True)
            )
            # Output t of a transposed convolution reads inputs (t + p - k + 1) / r to (t + p) / r.
            reach = math.ceil((reach + kernel - 1 - (kernel - rate) // 2) / rate)
        return reach + 3

    def _step_reach(self, kernel: int, dilation: int) -> int:
        dilated = (kernel - 1) // 2 * dilation + _ACTIVATION_REACH
        return dilated if self.block == "2" else dilated + (kernel - 1) // 2 + _ACTIVATION_REACH


class BigVganOptions(Config):
    """``options`` of a model of this architecture."""

    sampling_rate: int = Field(ge=1000, le=384_000)
    """Hz."""
    mel: MelProcessing
    """What the generator was trained on; see :func:`vocoder_mel`."""
    generator: GeneratorConfig

    @model_validator(mode="after")
    def _frames_fit(self) -> BigVganOptions:
        if self.mel.hop_length != self.generator.frame_samples:
            raise ValueError(
                f"the mel has a frame every {self.mel.hop_length} samples, the generator makes "
                f"{self.generator.frame_samples} of each"
            )
        if self.mel.n_mels != self.generator.n_mels:
            raise ValueError(f"mel has {self.mel.n_mels} bands, the generator takes {self.generator.n_mels}")
        return self


def vocoder_mel(  # the settings of the published configs, by their meaning
    n_mels: int,
    *,
    n_fft: int,
    hop_length: int,
    win_length: int,
    f_min: float = 0.0,
    f_max: float | None = None,
) -> MelProcessing:
    """Return the mel spectrogram that every published BigVGAN takes, at these sizes.

    Args:
        n_mels: bands.
        n_fft, hop_length, win_length: samples.
        f_min, f_max: Hz; ``f_max=None`` is half the sampling rate.

    Raises:
        ConfigError: sizes that do not fit together.
    """
    settings = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "win_length": win_length,
        "n_mels": n_mels,
        "f_min": f_min,
        "f_max": f_max,
        "scale": "slaney",
        "norm": "slaney",
        "power": 1,
        "padding": "half_reflect",
        "magnitude_offset": OFFSET,
        "log": "ln",
        "floor": FLOOR,
    }
    return parse_config(MelProcessing, settings, source="mel of the vocoder")


@functools.lru_cache(maxsize=16)
def lowpass(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the half-band filter [1, 1, 12] on both sides of every activation; its sum is 1.

    A sinc of cutoff 0.25 under a Kaiser window for a transition of half width 0.3 (Kaiser's formulas).
    """
    attenuation = 2.285 * (_TAPS // 2 - 1) * math.pi * (4 * 0.3) + 7.95
    # Called under inference mode first, the cached tensor could never take part in training.
    with torch.inference_mode(False):
        window = torch.kaiser_window(_TAPS, beta=0.1102 * (attenuation - 8.7), periodic=False)
        taps = window * torch.sinc(0.5 * (torch.arange(_TAPS) - (_TAPS - 1) / 2))
        return (taps / taps.sum()).view(1, 1, -1).to(device=device, dtype=dtype)


class PeriodicActivation(nn.Module):
    """``x + sin^2(a x) / b`` per channel, at twice the rate between two low-pass filters.

    ``alpha`` sets a; ``beta`` sets b, and is absent in the variant ``snake``, where b is a.
    """

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.log_scale = config.log_scale
        start = torch.zeros(channels) if config.log_scale else torch.ones(channels)
        self.alpha = nn.Parameter(start)
        self.beta = nn.Parameter(start.clone()) if config.activation == "snakebeta" else None

    def forward(self, x: Tensor) -> Tensor:
        """Return float [B, C, T] of float [B, C, T]."""
        channels = x.shape[1]
        taps = lowpass(x.device, x.dtype).expand(channels, -1, -1)
        up = F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), 2 * taps, stride=2, groups=channels)
        bent = self._bend(up[..., 15:-15])
        return F.conv1d(F.pad(bent, (5, 6), mode="replicate"), taps, stride=2, groups=channels)

    def _bend(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        beta = alpha if self.beta is None else self.beta[:, None]
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        return x + torch.sin(x * alpha).square() / (beta + 1e-9)


class ResidualBlock(nn.Module):
    """One kernel size at several dilations, each an activation and a convolution with a way around."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], config: GeneratorConfig
    ) -> None:
        super().__init__()
        first = [_convolution(channels, channels, kernel, dilation) for dilation in dilations]
        if config.block == "2":
            self.convs, self.convs1, self.convs2 = nn.ModuleList(first), None, None
        else:
            second = [_convolution(channels, channels, kernel) for _ in dilations]
            self.convs, self.convs1, self.convs2 = None, nn.ModuleList(first), nn.ModuleList(second)
        count = len(dilations) * (1 if config.block == "2" else 2)
        self.activations = nn.ModuleList(PeriodicActivation(channels, config) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """Return float [B, C, T] of float [B, C, T]."""
        if self.convs is not None:
            for activation, conv in zip(self.activations, self.convs, strict=True):
                x = x + conv(activation(x))
            return x
        pairs = zip(cast("nn.ModuleList", self.convs1), cast("nn.ModuleList", self.convs2), strict=True)
        for number, (dilated, plain) in enumerate(pairs):
            inner = dilated(self.activations[2 * number](x))
            x = x + plain(self.activations[2 * number + 1](inner))
        return x


def _convolution(into: int, out: int, kernel: int, dilation: int = 1, *, bias: bool = True) -> nn.Conv1d:
    padding = (kernel - 1) // 2 * dilation
    conv = nn.Conv1d(into, out, kernel, dilation=dilation, padding=padding, bias=bias)
    nn.init.normal_(conv.weight, std=_INITIAL_STD)
    return conv


class Generator(nn.Module):
    """Log-mel spectrogram to waveform; its weights are stored without weight normalization.

    Parameter names are those of the reference, one level flatter (``ups.0.weight`` for ``ups.0.0.weight``,
    ``activations.1.alpha`` for ``activations.1.act.alpha``).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_pre = _convolution(config.n_mels, config.channels, 7)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        width = config.channels
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            up = nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            nn.init.normal_(up.weight, std=_INITIAL_STD)
            width //= 2
            self.ups.append(up)
            for size, dilations in zip(config.block_kernels, config.block_dilations, strict=True):
                self.resblocks.append(ResidualBlock(width, size, dilations, config))
        self.activation_post = PeriodicActivation(width, config)
        self.conv_post = _convolution(width, 1, 7, bias=config.final_bias)

    def forward(self, mel: Tensor) -> Tensor:
        """Return waveforms float [B, 1, frames * frame_samples] of log-mels [B, n_mels, frames]."""
        x = self.conv_pre(mel)
        count = len(self.config.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up(x)
            blocks = self.resblocks[stage * count : (stage + 1) * count]
            total = blocks[0](x)
            for block in list(blocks)[1:]:
                total = total + block(x)
            x = total / count
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.tanh else x.clamp(-1.0, 1.0)

    def stream(self, mel: Tensor, *, chunk_frames: int = 256) -> Iterator[Tensor]:
        """Yield the waveform of a long log-mel in pieces [B, 1, up to chunk_frames * frame_samples].

        Each piece is made with the frames around it that it depends on, so that the pieces together are
        what one pass over the whole gives, up to rounding, in memory that does not grow with its length.

        Args:
            mel: float32 [B, n_mels, frames].
            chunk_frames: frames of a piece.

        Raises:
            InputError: another shape, no frame, or values that are not finite.
        """
        self._check(mel, chunk_frames)
        context, samples = self.config.context_frames, self.config.frame_samples
        frames = mel.shape[2]
        for start in range(0, frames, chunk_frames):
            stop = min(start + chunk_frames, frames)
            first = max(0, start - context)
            part = self(mel[..., first : stop + context])
            yield part[..., (start - first) * samples : (stop - first) * samples]

    def _check(self, mel: Tensor, chunk_frames: int) -> None:
        if mel.ndim != 3 or mel.shape[1] != self.config.n_mels or not mel.shape[2]:
            raise InputError(
                f"This vocoder takes log-mels [B, {self.config.n_mels}, frames] of at least one frame, "
                f"got {list(mel.shape)}. Make them with the vocoder's own mel settings."
            )
        if not torch.isfinite(mel).all():
            raise InputError("The log-mel has NaN or infinite values; silence is ln(1e-5), about -11.5.")
        if chunk_frames < 1:
            raise ConfigError(f"chunk_frames must be at least 1, got {chunk_frames}.")


class BigVgan(ContrastiveModel):
    """A vocoder as a model of its own: no towers, nothing embedded.

    ``options`` are :class:`BigVganOptions`.

    Attributes:
        generator: the network. mel: spectrogram settings that belong to its weights.
        sampling_rate: Hz of what it makes.

    Raises:
        ConfigError: towers, or options that do not fit together.

    Example:
        >>> mel = vocoder_mel(8, n_fft=64, hop_length=16, win_length=64)
        >>> sizes = {"n_mels": 8, "channels": 8, "rates": (4, 4), "kernels": (8, 8)}
        >>> options = {"sampling_rate": 8000, "mel": mel.model_dump(), "generator": sizes}
        >>> config = ModelConfig(name="small", architecture="bigvgan", embed_dim=0, options=options)
        >>> vocoder = BigVgan(config).eval()
        >>> vocoder.synthesize(vocoder.log_mel(torch.zeros(1, 160))).shape
        torch.Size([1, 1, 160])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.towers:
            raise ConfigError(
                f"{config.name}: architecture 'bigvgan' embeds nothing, so it has no towers; "
                f"got {', '.join(config.towers)}. Remove them and set embed_dim to 0."
            )
        self.options = parse_config(BigVganOptions, config.options, source=f"{config.name}: options")
        self.generator = Generator(self.options.generator)

    @property
    def mel(self) -> MelProcessing:
        """Settings of the log-mel spectrogram that :meth:`synthesize` takes."""
        return self.options.mel

    @property
    def sampling_rate(self) -> int:
        """Hz of the waveforms."""
        return self.options.sampling_rate

    def log_mel(self, waves: Tensor) -> Tensor:
        """Return log-mels float32 [B, n_mels, T // hop] of waveforms float32 [B, T] in [-1, 1].

        Raises:
            InputError: a waveform is too short for one frame.
        """
        return log_mel(waves, self.mel, self.sampling_rate).transpose(-1, -2)

    @torch.inference_mode()
    def synthesize(self, mel: Tensor, *, chunk_frames: int = 256) -> Tensor:
        """Return waveforms float32 [B, 1, frames * hop] in [-1, 1], on the device of the model.

        Args:
            mel: natural logarithm of mel magnitudes, float32 [B, n_mels, frames]; see :meth:`log_mel`.
            chunk_frames: see :meth:`Generator.stream`.

        Raises:
            InputError: another shape, no frame, or values that are not finite.
        """
        pieces = self.generator.stream(mel.to(self.device, self.dtype), chunk_frames=chunk_frames)
        return torch.cat([piece.float() for piece in pieces], dim=-1)
