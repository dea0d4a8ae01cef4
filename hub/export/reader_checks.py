"""Whether ``reader.py`` of an export, which prepares inputs by itself, gives what the model gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import ConfigError
from ...core.graph_trials import recordings
from ...core.verify import OutputCheck
from .comparing import (
    NETWORK,
    SOUND_TURN,
    TURN,
    compare_embeddings,
    compare_pixels,
    embed,
    padded,
    pictures,
    sentences,
)
from .report import compare

if TYPE_CHECKING:
    from .bundle import GraphFile
    from .dispatch import Subject

_PROGRAM = "reader.py"


def reader_checks(folder: Path, subject: Subject, files: Iterable[GraphFile]) -> list[OutputCheck]:
    """Return how far the answers of ``reader.py`` in ``folder`` are from the model's, for every tower.

    Args:
        folder: of the export, complete but for its report.
        subject: the model.
        files: of the graphs.

    Raises:
        ConfigError: the program refuses what the model takes.
    """
    by_modality = {"image": _of_pictures, "text": _of_texts, "audio": _of_recordings}
    reader, checks = _load(folder), []
    for file in files:
        if not file.unit or file.part not in by_modality:
            continue
        try:
            checks += by_modality[file.part](reader, subject)
        except Exception as error:  # the program has no error classes of ours; the report names the case
            said = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"{_PROGRAM} cannot prepare what {file.name} takes ({type(error).__name__}: {said})."
            ) from error
    return checks


def _load(folder: Path) -> Any:
    """Return the ``Model`` of the program in a folder, as somebody without verticlip gets it."""
    spec: Any = importlib.util.spec_from_file_location("verticlip_export_reader", folder / _PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(folder)


def _of_pictures(reader: Any, subject: Subject) -> list[OutputCheck]:
    config, checks = subject.processor.config.image, []
    if config is None:
        return []
    images = pictures(config.size)
    ours = subject.processor("image", images)
    exact = config.resampler == "pillow"
    # Where each picture has its own deviation, a level of 8 bits has no size in common.
    if config.standardize is None:
        got = torch.stack([torch.from_numpy(reader.pixels(image)) for image in images])
        checks.append(compare_pixels(f"{_PROGRAM}, pixels", got, ours["pixels"], config.std, exact=exact))
    embedded = torch.from_numpy(reader.embed_images(images))
    expected = embed(subject.network, "image", ours)
    turn = None if exact else TURN
    return [*checks, compare_embeddings(f"{_PROGRAM}, image embedding", embedded, expected, turn=turn)]


def _of_texts(reader: Any, subject: Subject) -> list[OutputCheck]:
    config, texts = subject.processor.config.text, sentences(subject.processor)
    if config is None:
        return []
    ours, got = subject.processor("text", texts), torch.from_numpy(reader.tokens(texts)["input_ids"])
    wanted = padded(ours, got.shape[1], config.pad_id)
    return [
        compare(f"{_PROGRAM}, token ids", got, wanted, 0.0),
        compare(
            f"{_PROGRAM}, text embedding",
            torch.from_numpy(reader.embed_texts(texts)),
            embed(subject.network, "text", ours),
            NETWORK,
        ),
    ]


def _of_recordings(reader: Any, subject: Subject) -> list[OutputCheck]:
    config = subject.processor.config.audio
    if config is None:
        return []
    waves = recordings(config.sampling_rate, config.window_s)
    got = torch.from_numpy(reader.embed_audio(waves))
    expected = embed(subject.network, "audio", subject.processor("audio", waves))
    return [compare_embeddings(f"{_PROGRAM}, audio embedding", got, expected, turn=SOUND_TURN)]
