"""Recordings and films in, tensors out, and back to files: the public names of the loaders.

Example::

    from verticlip.domains.audio.io import iter_audio, load_audio, probe_audio, write_audio

    clip = load_audio("street.flac", rate=16_000, start_s=30, duration_s=4)  # Sample: float32 [1, T]
    for window in iter_audio("night.flac", rate=16_000, window_s=10):        # memory for one window
        ...
    print(probe_audio("street.flac"))                                        # the header only
    write_audio("clip.wav", clip.value, 16_000)
"""

from __future__ import annotations

from ...core.lazy import lazy_names

_HOMES = {
    "AudioInfo": "loaders.reading",
    "AudioOptions": "loaders.audio",
    "AudioWindow": "loaders.stream",
    "AudioWriter": "loaders.writing",
    "ClipOptions": "loaders.folders",
    "ClipSampling": "loaders.dataset",
    "EmbeddingCache": "loaders.embedding_cache",
    "Frames": "loaders.video",
    "VideoAudioDataset": "loaders.dataset",
    "VideoInfo": "..core.video",
    "Written": "loaders.writing",
    "cache_video_embeddings": "loaders.embedding_cache",
    "extract_audio": "loaders.video",
    "extract_frames": "loaders.video",
    "iter_audio": "loaders.stream",
    "iter_blocks": "loaders.stream",
    "load_audio": "loaders.audio",
    "load_image": "loaders.frames",
    "loudness": "loaders.loudness",
    "probe_audio": "loaders.audio",
    "probe_video": "..core.video",
    "read_audio": "loaders.audio",
    "resample": "loaders.resampling",
    "write_audio": "loaders.writing",
    "write_clip_folder": "loaders.folders",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

# The loaders are siblings of this module, not below it.
__getattr__ = lazy_names(__name__.rpartition(".")[0], _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
