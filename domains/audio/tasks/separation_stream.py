"""A recording and what answers each query in it, side by side, in memory that its length does not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ..clipsep.masking import MaskStream, query_masks
from ..loaders.audio import AudioOptions, AudioSource, Recording, opened
from ..loaders.resampling import Converter
from .separation_measures import Answer, Measures, can_hear, heard_as
from .separation_queries import Questions, as_directions, separator_of

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

RESAMPLE = "soxr_hq"


class Passes:
    """Two passes over a recording side by side, as it is and at the model's rate, and what becomes of them.

    Use as a context manager.

    Args:
        model: a separator. asked: see :class:`.separation_queries.Questions`.
        source: a recording. load: fields of :class:`.loaders.audio.AudioOptions`, and ``show_paths``.

    Attributes:
        rate, channels: of the recording. frames: samples per channel that its header announces, if it does.
    """

    def __init__(
        self, model: ModelHandle, asked: Questions, source: AudioSource, load: Mapping[str, Any]
    ) -> None:
        load = dict(load)
        self._show_paths = bool(load.pop("show_paths", False))
        options = AudioOptions(mono=False, resample=RESAMPLE).with_(**load)
        if options.normalize is not None:
            raise ConfigError(
                f"normalize={options.normalize!r} would change what is separated. Leave it out."
            )
        # A file object has one place to read from, and two passes need two.
        self._source = source.read() if hasattr(source, "read") else source  # type: ignore[union-attr]
        self._model, self._asked, self._options = model, asked, options
        self._network = separator_of(model)
        self._stack = ExitStack()
        self._measures: Measures | None = None

    def __enter__(self) -> Passes:
        with ExitStack() as stack:
            self._native = self._open(stack, None)
            self.rate, self.channels = self._native.rate, self._native.channels
            self.frames = self._native.expected or None
            self._converted = self._open(stack, self._network.options.sampling_rate)
            self._heard = self._audible()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _audible(self) -> int:
        """Return the samples of a window that the audio tower can judge; 0 without one for words."""
        audio, vectors = self._model.processor.config.audio, self._asked.vectors
        if audio is None or vectors is None or not vectors.is_floating_point():
            return 0
        return audio.window_samples if can_hear(self._model, self._converted.rate) else 0

    def _open(self, stack: ExitStack, rate: int | None) -> Recording:
        options = self._options if rate is None else self._options.with_(rate=rate)
        return stack.enter_context(
            opened(
                self._source,
                options,
                limits=self._model.limits,
                show_paths=self._show_paths,
                streams=True,
            )
        )

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield stretches of the recording [C, n] with what answers each query in them [Q, C, n]."""
        native = _Queue(self._native.blocks())
        tracks = len(self._asked.names) * self.channels
        back = Converter(self._converted.rate, self.rate, channels=tracks, method=RESAMPLE)
        waiting = torch.zeros(tracks, 0)
        for estimates, last in self._estimates():
            made = back.push(estimates.flatten(0, 1).T.contiguous().numpy(), last=last)
            waiting = torch.cat([waiting, torch.from_numpy(np.ascontiguousarray(made.T))], dim=1)
            recording = native.take(None if last else waiting.shape[1])
            count = recording.shape[1]
            if last and waiting.shape[1] < count:
                # There and back again, the rate conversion may be a sample or two short.
                waiting = F.pad(waiting, (0, count - waiting.shape[1]))
            if count:
                yield recording, waiting[:, :count].unflatten(0, (-1, self.channels))
            waiting = waiting[:, count:]

    def _estimates(self) -> Iterator[tuple[Tensor, bool]]:
        """Yield estimates [Q, C, n] at the model's rate and whether they are the last."""
        asked, network = self._asked, self._network
        self._measures = Measures(len(asked.names), self._heard, self.channels)
        stream = MaskStream(
            network.spectra,
            query_masks(network, asked.vectors, hard=asked.hard),
            queries=len(asked.names),
            frames=network.options.frames,
            overlap=asked.overlap,
            channels=self.channels,
        )
        mixture = torch.zeros(self.channels, 0)
        for block in self._converted.blocks():
            samples = torch.from_numpy(np.ascontiguousarray(block.T))
            mixture = torch.cat([mixture, samples], dim=-1)
            with torch.inference_mode(), _precision(self._model):
                estimates = stream.push(samples)
            mixture = self._measure(mixture, estimates)
            if estimates.shape[-1]:
                yield estimates, False
        with torch.inference_mode(), _precision(self._model):
            estimates = stream.finish()
        self._measure(mixture, estimates)
        yield estimates, True

    def _measure(self, mixture: Tensor, estimates: Tensor) -> Tensor:
        """Take in estimates and return the part of the mixture that has none yet."""
        count = estimates.shape[-1]
        if count and self._measures is not None:
            self._measures.add(mixture[:, :count], estimates)
        return mixture[:, count:]

    def answers(self) -> tuple[Answer, ...]:
        """Return what is known about each estimate; after the last block."""
        asked, measures = self._asked, self._measures
        if measures is None:
            raise InputError("There are no answers before the recording was worked off.")
        known: Sequence[Sequence[float] | None] = [None] * len(asked.names)
        if self._heard and asked.vectors is not None:
            known = heard_as(self._model, measures.loudest, asked.words, as_directions(asked.vectors))
        return tuple(measures.answers(asked.names, known))


class _Queue:
    """Blocks of a recording [n, C] handed out in any lengths as [C, n]."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held: list[np.ndarray] = []
        self._count = 0

    def take(self, count: int | None) -> Tensor:
        """Return the next ``count`` samples, or fewer at the end; all that is left for None."""
        while count is None or self._count < count:
            block = next(self._blocks, None)
            if block is None:
                break
            self._held.append(block)
            self._count += len(block)
        if not self._held:
            return torch.zeros(1, 0)
        joined = np.concatenate(self._held)
        count = len(joined) if count is None else min(count, len(joined))
        self._held, self._count = [joined[count:]], len(joined) - count
        return torch.from_numpy(np.ascontiguousarray(joined[:count].T))


def _precision(model: ModelHandle) -> AbstractContextManager[Any]:
    """Return the context of the separator: that of a convolutional tower, if the model has any tower."""
    towers = [name for name in model.network.modalities if name != "text"] or model.network.modalities
    return model.precision(towers[0]) if towers else nullcontext()
