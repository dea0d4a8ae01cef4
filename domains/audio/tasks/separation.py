"""Taking what is asked for out of a recording of any length.

How it is done, whatever the length: the recording is converted to the model's rate; one Fourier transform
runs over the whole of it; masks are made from the mean power of the channels in overlapping windows,
cross-faded, and applied to each channel with the phase of the recording. The estimates are converted back to
the rate of the file, and the residual is the recording minus all of them, so targets and residual add up to
it. A model at 16 kHz hears up to 8 kHz: what lies above stays in the residual. Digital silence stays digital
silence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.files import write_json_atomic
from ....core.prompts import PromptSet
from ..loaders.audio import AudioSource
from ..loaders.writing import AudioWriter, Written
from .separation_measures import Answer
from .separation_pictures import Sketch, save_sketches
from .separation_queries import Query, Questions
from .separation_stream import Passes

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_LONGEST_NAME = 48
RESIDUAL = "residual"


@dataclass(frozen=True)
class Separation:
    """A recording taken apart.

    Attributes:
        targets: float32 [Q, C, T], one for each query, at ``rate``.
        residual: float32 [C, T]: the recording minus all targets; what was asked for twice, minus it once.
        rate: Hz, that of the recording.
        answers: how sure each target is; see :class:`.separation_measures.Answer`.
        model, revision: what made it.
    """

    targets: Tensor
    residual: Tensor
    rate: int
    answers: tuple[Answer, ...]
    model: str
    revision: str


@dataclass(frozen=True)
class SeparatedFile:
    """A file taken apart into files.

    Attributes:
        source: name of the recording. targets: one file for each query. residual: the rest.
        picture: spectrograms before and after, or None.
        report: JSON with everything said here, or None.
        answers: as in :class:`Separation`. rate: Hz. channels: C. duration_s: of each file.
        clipped: samples over full scale that were cut to it, in all files.
    """

    source: str
    targets: tuple[Path, ...]
    residual: Path
    picture: Path | None
    report: Path
    answers: tuple[Answer, ...]
    rate: int
    channels: int
    duration_s: float
    clipped: int
    model: str
    revision: str

    @classmethod
    def of(
        cls,
        source: str,
        written: Sequence[Written],
        answers: tuple[Answer, ...],
        *,
        picture: Path | None,
        report: Path,
        origin: tuple[str, str],
    ) -> SeparatedFile:
        """Return the record of files that were written, the residual last; ``origin``: model, revision."""
        rest = written[-1]
        return cls(
            source=source,
            targets=tuple(one.path for one in written[:-1]),
            residual=rest.path,
            picture=picture,
            report=report,
            answers=answers,
            rate=rest.rate,
            channels=rest.channels,
            duration_s=rest.frames / rest.rate,
            clipped=sum(one.clipped for one in written),
            model=origin[0],
            revision=origin[1],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; files by name, as they lie in one folder."""
        return {
            "source": self.source,
            "targets": [
                {"file": path.name, **answer.to_dict()}
                for path, answer in zip(self.targets, self.answers, strict=True)
            ],
            "residual": self.residual.name,
            "picture": self.picture.name if self.picture else None,
            "rate": self.rate,
            "channels": self.channels,
            "duration_s": round(self.duration_s, 6),
            "clipped": self.clipped,
            "model": self.model,
            "revision": self.revision,
        }


def separate(
    model: ModelHandle,
    source: AudioSource,
    queries: Query | Sequence[Query] | None,
    *,
    mask: str = "soft",
    overlap: float = 0.5,
    templates: PromptSet | Sequence[str] | None = None,
    **load: Any,
) -> Separation:
    """Return what answers each query in a recording that fits in memory, and the rest.

    Example::

        found = separate(model, "street.wav", ["dog barking", "rain"])
        write_audio("dog.wav", found.targets[0], found.rate)

    Args:
        model: of architecture ``clipsep``.
        source: file, bytes, array [T] or [C, T] (with ``array_rate=``), or sample.
        queries: words, pictures (``Path``, for models with an image tower) or vectors; one counts as a list.
            All are answered from one pass of the network, so many cost about as much as one.
        mask: ``soft``, or ``hard`` for masks cut at 0.5.
        overlap: share of a window that the next one covers too, 0 to 0.5.
        templates: sentences with one ``{}``, or a prompt set, instead of the model's own.
        load: fields of :class:`.loaders.audio.AudioOptions`, such as ``start_s``.

    Raises:
        InputError: no query, an empty or over-long one, one that the model cannot take, or a recording that
            cannot be read. LimitError: one too long to be held; use :func:`separate_file`.
        ConfigError: impossible options.
    """
    return AudioSeparator.of(model, queries, mask=mask, overlap=overlap, templates=templates).separate(
        source, **load
    )


def separate_file(
    model: ModelHandle,
    path: str | Path,
    queries: Query | Sequence[Query] | None,
    out: str | Path,
    **options: Any,
) -> SeparatedFile:
    """Write what answers each query in a file, and the rest; see :meth:`AudioSeparator.to_files`.

    Args:
        model, queries: as for :func:`separate`.
        path: a recording of any length. out: folder.
        options: ``mask``, ``overlap`` and ``templates`` of :func:`separate`; all others are those of
            :meth:`AudioSeparator.to_files`.
    """
    asked = {key: options.pop(key) for key in ("mask", "overlap", "templates") if key in options}
    return AudioSeparator.of(model, queries, **asked).to_files(path, out, **options)


@dataclass(frozen=True)
class AudioSeparator:
    """A model and what it is asked, for any number of recordings.

    Example::

        separator = AudioSeparator.of(model, ["dog barking", "rain"])
        for path in paths:
            separator.to_files(path, "separated")
    """

    model: ModelHandle
    asked: Questions

    @classmethod
    def of(
        cls, model: ModelHandle, queries: Query | Sequence[Query] | None, **options: Any
    ) -> AudioSeparator:
        """Return a separator; arguments and errors as for :func:`separate`."""
        return cls(model, Questions.of(model, queries, **options))

    def separate(self, source: AudioSource, **load: Any) -> Separation:
        """Return what answers each query in a recording, and the rest; see :func:`separate`."""
        recordings, targets = [], []
        with Passes(self.model, self.asked, source, load) as run:
            self._check_memory(run.frames or 0, run.channels)
            held = 0
            for recording, estimates in run.blocks():
                held += recording.shape[-1]
                self._check_memory(held, run.channels)
                recordings.append(recording)
                targets.append(estimates)
            answers = run.answers()
        whole, found = torch.cat(recordings, dim=-1), torch.cat(targets, dim=-1)
        residual = self.asked.rest(whole, found)
        return Separation(found, residual, run.rate, answers, self.model.id, self.model.revision)

    def _check_memory(self, samples: int, channels: int) -> None:
        """Raise ``LimitError`` when targets, residual and recording of ``samples`` are too much to hold."""
        needed = 4 * (len(self.asked.names) + 2) * channels * samples
        what = "recording, targets and residual, which separate_file holds in parts: bytes"
        self.model.limits.check("decoded_bytes", needed, what=what)

    def to_files(
        self,
        path: str | Path,
        out: str | Path,
        *,
        stem: str | None = None,
        picture: bool = True,
        subtype: str | None = None,
        **load: Any,
    ) -> SeparatedFile:
        """Write what answers each query in a file, and the rest, in memory that its length does not change.

        The files are ``STEM.QUERY.wav``, ``STEM.residual.wav``, ``STEM.separation.json`` and ``STEM.png``, at
        the rate, channels and length of the recording. Sounds appear when all are done, or not at all.

        Args:
            path: a recording. out: folder, made if need be.
            stem: beginning of the names; None is that of the recording.
            picture: whether to draw spectrograms before and after.
            subtype: coding of the samples, ``PCM_16`` by default; see :class:`.loaders.writing.AudioWriter`.
            load: as for :func:`separate`.

        Raises:
            InputError, ConfigError: as :func:`separate`.
        """
        path, out = Path(path), Path(out)
        stem = stem or path.stem or "recording"
        names = [*file_names(self.asked.names), RESIDUAL]
        files = tuple(out / f"{stem}.{name}.wav" for name in names)
        with Passes(self.model, self.asked, path, load) as run:
            sketches = [Sketch(run.rate, run.channels) for _ in range(len(files) + 1)] if picture else []
            with ExitStack() as stack:
                coding: dict[str, Any] = {"channels": run.channels, "subtype": subtype, "frames": run.frames}
                writers = [stack.enter_context(AudioWriter(file, run.rate, **coding)) for file in files]
                for recording, estimates in run.blocks():
                    parts = [*estimates, self.asked.rest(recording, estimates)]
                    for writer, part in zip(writers, parts, strict=True):
                        writer.write(part)
                    if picture:
                        for sketch, part in zip(sketches, (recording, *parts), strict=True):
                            sketch.add(part)
            answers = run.answers()
        origin = (self.model.id, self.model.revision)
        drawn = out / f"{stem}.png" if picture else None
        if drawn is not None:
            titles = [f"{path.name} (before)", *self.asked.names, RESIDUAL]
            save_sketches(sketches, titles, drawn, answers=answers, origin=origin)
        written = [writer.written for writer in writers]
        report = out / f"{stem}.separation.json"
        result = SeparatedFile.of(path.name, written, answers, picture=drawn, report=report, origin=origin)
        write_json_atomic(report, result.to_dict())
        return result


def file_names(queries: Sequence[str]) -> list[str]:
    """Return a name for each query that may stand in a file name; equal ones are numbered."""
    names: list[str] = []
    for query in queries:
        name = re.sub(r"[^a-z0-9]+", "-", query.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "query"
        number, free = 2, name
        while free in names or free == RESIDUAL:
            number, free = number + 1, f"{name}-{number}"
        names.append(free)
    return names
