"""Files longer than a model's window: read block by block, embedded window by window, never held whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.errors import InputError, VerticlipError
from ....core.preparing import (
    encode_recording,
    encode_windows,
    fit_recording,
    loader_options,
    mean_direction,
)
from ..loaders.audio import probe_audio
from ..loaders.stream import iter_audio, iter_blocks

if TYPE_CHECKING:
    from ....core.audio_config import AudioProcessing
    from ....core.handle import ModelHandle
    from ..loaders.reading import AudioInfo

_STREAMED = ("resample", "channel", "show_paths")
"""Loader options that change nothing for streaming; with any other what is asked for is read whole."""
_BATCH = 8


def is_long(model: ModelHandle, path: str | Path) -> bool:
    """Return whether a sound file is longer than the model's window, by its header; a damaged one is not.

    A file whose header does not tell its length is: it may be.
    """
    config = model.processor.config.audio
    if config is None:
        return False
    try:
        info = probe_audio(path, limits=model.limits)
    except (VerticlipError, ImportError):
        return False  # whatever reads the file says what is wrong with it
    return not info.frames or round(info.duration_s * config.sampling_rate) > config.window_samples


@dataclass(frozen=True)
class LongRecording:
    """A file that is read while it is embedded.

    Attributes:
        path: the file. options: of the reader, those that belong to the weights included.
    """

    path: Path
    options: Mapping[str, Any]


def read_long(
    model: ModelHandle, path: str | Path, **options: Any
) -> tuple[LongRecording | Tensor | dict[str, Tensor], Mapping[str, Any]]:
    """Return a long file ready to be embedded, and what its header says; no sound is decoded yet.

    With options that need the whole (``normalize``) or choose a part (``start_s``, ``duration_s`` ...), the
    caller's or those stored with the weights, that is read at once, and so is a file that the model sees as a
    whole; see :func:`verticlip.core.preparing.fit_recording` for what is returned then.

    Raises:
        InputError: as the domain's loader.
    """
    chosen = {**loader_options(model.processor, "audio"), **options}
    rate = chosen.pop("rate", None)
    own = model.processor.config.audio
    show_paths = bool(options.get("show_paths", False))
    info = probe_audio(path, limits=model.limits, show_paths=show_paths)
    streams = own is not None and rate == own.sampling_rate and set(chosen) <= set(_STREAMED)
    if not streams or _is_seen_whole(model, path, info=info, show_paths=show_paths):
        sample = model.load(path, modality="audio", **options)
        return fit_recording(model, sample), sample.meta
    meta = {
        "sampling_rate": rate,
        "file_rate": info.rate,
        "channels": info.channels,
        "container": info.container,
        "subtype": info.subtype,
    }
    if info.frames:
        meta["duration_s"] = info.duration_s
    return LongRecording(Path(path), chosen), meta


def _is_seen_whole(model: ModelHandle, path: str | Path, *, info: AudioInfo, show_paths: bool) -> bool:
    """Return whether the network sees the file at once; a length that no header tells is counted."""
    if info.frames or not model.network.sees_whole("audio", 0.0):
        return model.network.sees_whole("audio", info.duration_s)
    seconds = 0.0
    for block in iter_blocks(path, mono=True, limits=model.limits, show_paths=show_paths):
        seconds += block.values.shape[-1] / info.rate
        if not model.network.sees_whole("audio", seconds):
            return False
    return True


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
