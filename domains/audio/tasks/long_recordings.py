"""Files longer than a model's window: read block by block, embedded window by window, never held whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.errors import InputError, VerticlipError
from ....core.preparing import encode_recording, encode_windows, fit_recording, mean_direction
from ..clap.model import FUSED_S, Clap
from ..loaders.audio import probe_audio
from ..loaders.stream import iter_audio

if TYPE_CHECKING:
    from ....core.config import AudioProcessing
    from ....core.handle import ModelHandle

_STREAMED = ("resample", "show_paths")
"""Loader options that streaming knows as well; with any other the part that is asked for is read whole."""
_BATCH = 8


def is_long(model: ModelHandle, path: str | Path) -> bool:
    """Return whether a sound file is longer than the model's window, by its header; a damaged one is not."""
    config = model.processor.config.audio
    if config is None:
        return False
    try:
        duration = probe_audio(path).duration_s
    except (VerticlipError, ImportError):
        return False  # whatever reads the file says what is wrong with it
    return round(duration * config.sampling_rate) > config.window_samples


@dataclass(frozen=True)
class LongRecording:
    """A file that is read while it is embedded.

    Attributes:
        path: the file. options: of the reader.
    """

    path: Path
    options: Mapping[str, Any]


def read_long(
    model: ModelHandle, path: str | Path, **options: Any
) -> tuple[LongRecording | Tensor | dict[str, Tensor], Mapping[str, Any]]:
    """Return a long file ready to be embedded, and what its header says; no sound is decoded yet.

    With options that choose a part of the file (``start_s``, ``duration_s`` ...) that part is read at once,
    and so is the whole of a file that the model sees as a whole; see
    :func:`verticlip.core.preparing.fit_recording` for what is returned then.

    Raises:
        InputError: as the domain's loader.
    """
    info = probe_audio(path)
    fuses = isinstance(model.network, Clap) and model.network.fuses and info.duration_s <= FUSED_S
    if fuses or set(options) - set(_STREAMED):
        sample = model.load(path, modality="audio", **options)
        return fit_recording(model, sample), sample.meta
    model.limits.check("seconds", info.duration_s, what="recording: seconds")
    rate = model.processor.config.audio.sampling_rate if model.processor.config.audio else info.rate
    meta = {
        "sampling_rate": rate,
        "file_rate": info.rate,
        "channels": info.channels,
        "duration_s": info.duration_s,
        "container": info.container,
    }
    return LongRecording(Path(path), options), meta


def embed_long(model: ModelHandle, recording: LongRecording | Tensor | dict[str, Tensor]) -> Tensor:
    """Return the mean direction float32 [D] of the windows of a recording; one batch is in memory at a time.

    Raises:
        InputError: the file is damaged, or a window holds values that are not finite.
    """
    if isinstance(recording, (Tensor, dict)):
        return encode_recording(model, recording)
    vectors: list[Tensor] = []
    batch: list[Tensor] = []
    for window in windows_of(model, recording):
        batch.append(window)
        if len(batch) == _BATCH:
            vectors.append(encode_windows(model, torch.stack(batch)))
            batch = []
    if batch:
        vectors.append(encode_windows(model, torch.stack(batch)))
    return mean_direction(torch.cat(vectors))


def windows_of(model: ModelHandle, recording: LongRecording) -> Iterator[Tensor]:
    """Yield windows float32 [T] as :func:`verticlip.core.waves.cut_windows` cuts them from the whole."""
    config: AudioProcessing | None = model.processor.config.audio
    if config is None:
        raise InputError(f"{model.id} has no 'audio' processing.")
    size = config.window_samples
    before: Tensor | None = None
    last_start = 0
    found = iter_audio(
        recording.path,
        rate=config.sampling_rate,
        window_s=config.window_s,
        hop_s=config.hop_samples / config.sampling_rate,
        limits=model.limits,
        **recording.options,
    )
    for part in found:
        values = part.values[0]
        if len(values) < size:
            if before is None:
                yield model.processor.fit_audio(values)[0]
                return
            # The last window ends with the recording instead of holding silence.
            joined = torch.cat([before[: part.start - last_start], values])
            if len(joined) > size:
                yield joined[-size:]
            return
        yield values
        before, last_start = values, part.start
