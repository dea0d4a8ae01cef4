"""One resumable run of a captioner: its parts, what they belong to, and the file they end in.

While a run is under way everything lies in ``OUT.parts``::

    run.json            which captioner, settings and pictures these parts belong to
    part-000000.json    what was written of pictures 0 .. part_size - 1, and which of them failed

A part is renamed into place, so it is whole or absent; which pictures share a part and a batch, and what each
batch draws, depends on the list and the seed alone. A run that was killed and started again therefore ends in
the same captions as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.answer_each import answer_each
from ....core.answers import Failure
from ....core.embed_run import LeftOut
from ....core.errors import ConfigError, DataError
from ....core.files import read_json, write_json_atomic
from ....core.limits import DEFAULT
from .captioner import Captioner
from .filtering import CaptionFilter, FilterReport
from .layouts import CorpusStatistics, corpus_statistics, split_paragraph, write_caption_file

if TYPE_CHECKING:
    from torch import Tensor

_CEILING = DEFAULT.with_(config_bytes=64 * DEFAULT.config_bytes)


@dataclass(frozen=True)
class CaptioningOptions:
    """How a run is cut up and drawn.

    Attributes:
        seed: of everything the captioner draws.
        sentences: make every sentence of a text a caption of its own, as the published captions were made;
            False keeps each text whole.
        batch_size: pictures per call of the captioner. part_size: pictures per part; at most this much work
            is repeated after an interruption.
        workers: threads that read pictures ahead; None takes the number of CPUs.
        min_valid: of tiles, the share of valid pixels that one needs, 0 to 1.
        read_px: of tiles, the side in pixels to read them at; None reads the scene's own pixels.
        pictures: of tiles, a folder for a PNG of each that is described, with its place on the ground and
            invalid pixels filled with the mean; captions then stand under the names of these files, and
            recipes can train with both.

    Raises:
        ConfigError: a size below 1, a negative seed, or a share out of range.
    """

    seed: int = 0
    sentences: bool = True
    batch_size: int = 8
    part_size: int = 256
    workers: int | None = None
    min_valid: float = 0.5
    read_px: int | None = None
    pictures: Path | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_valid <= 1.0:
            raise ConfigError(f"min_valid is a share from 0 to 1, got {self.min_valid}.")
        for name in ("batch_size", "part_size", "workers", "read_px"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, got {getattr(self, name)}.")
        if self.seed < 0:
            raise ConfigError(f"seed is at least 0, got {self.seed}.")


@dataclass(frozen=True)
class CaptionReport:
    """What a run did.

    Attributes:
        out: the captions, flat layout. report: the JSON file of :meth:`to_dict`.
        pictures: how many were asked for. captioned: those with captions before any filter.
        failures: those without, and why. skipped: how many of them a rule left out, such as tiles without
            data; the others could not be used.
        statistics: of the captions in ``out``.
        filtered: what the filter did, or None. unfiltered: the captions before it, or None.
        resumed: parts that an earlier, interrupted run had finished.
    """

    out: Path
    report: Path
    pictures: int
    captioned: int
    failures: tuple[Failure, ...]
    skipped: int
    statistics: CorpusStatistics
    filtered: FilterReport | None = None
    unfiltered: Path | None = None
    resumed: int = 0
    run: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Pictures that could not be used."""
        return len(self.failures) - self.skipped

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; files by their names."""
        return {
            "captions": self.out.name,
            "unfiltered": None if self.unfiltered is None else self.unfiltered.name,
            "pictures": self.pictures,
            "captioned": self.captioned,
            "skipped": self.skipped,
            "failed": self.failed,
            "failures": [failure.to_dict() for failure in self.failures],
            "corpus": self.statistics.to_dict(),
            "filter": None if self.filtered is None else self.filtered.to_dict(),
            "run": dict(self.run),
        }


@dataclass(frozen=True)
class Pictures:
    """N pictures, read when they are needed.

    Attributes:
        names: N different names; the captions stand under them.
        read: position -> float32 [3, H, W] in [0, 1]; called by threads; raises ``InputError`` for a picture
            that cannot be used and :class:`.LeftOut` for one that a rule leaves out.
        identity: what the pictures are of; equal identity and names mean equal pictures.
    """

    names: Sequence[str]
    read: Callable[[int], Tensor]
    identity: Mapping[str, str] = field(default_factory=dict)


class CaptionRun:
    """The files of one run and how each comes to be.

    Args:
        pictures: what to describe.
        captioner: who describes it.
        out: JSON file to write. options, caption_filter: as in :func:`..tasks.captioning.caption_tiles`.

    Raises:
        DataError: no pictures, or two of one name.
    """

    def __init__(
        self,
        pictures: Pictures,
        captioner: Captioner,
        *,
        out: Path,
        options: CaptioningOptions,
        caption_filter: CaptionFilter | None = None,
    ) -> None:
        names = pictures.names
        if not names:
            raise DataError("There are no pictures to describe.")
        if len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise DataError(f"Two pictures are called {twice!r}; captions stand under the name.")
        self._pictures, self._captioner, self._options = pictures, captioner, options
        self._filter = caption_filter
        self._out = out
        self._report_file = out.with_name(f"{out.stem}.report.json")
        self._unfiltered = out.with_name(f"{out.stem}.unfiltered.json")
        self._folder = out.with_name(f"{out.name}.parts")
        self._parts = -(-len(names) // options.part_size)
        listed = hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:16]
        self._identity = {
            **captioner.identity,
            **pictures.identity,
            "seed": str(options.seed),
            "batch_size": str(options.batch_size),
            "part_size": str(options.part_size),
            "pictures": listed,
        }
        rules = (
            "none" if caption_filter is None else caption_filter.rules.model_dump_json(exclude_defaults=True)
        )
        self._result = {**self._identity, "sentences": str(options.sentences), "filter": rules}

    def complete(self, progress: Callable[[int, int], None] | None = None) -> CaptionReport:
        """Do what is missing and return what was done.

        Raises:
            ConfigError: ``out`` or its parts belong to another captioner, setting or list.
            DataError: no picture could be described.
        """
        # A finished run is made again of its parts only where they are left over from a kill.
        if self._is_finished() and not self._folder.is_dir():
            return self._stored()
        self._claim()
        missing = [index for index in range(self._parts) if not self._part(index).is_file()]
        try:
            for index in missing:
                write_json_atomic(self._part(index), self._described(index))
                if progress is not None:
                    done = min((index + 1) * self._options.part_size, len(self._pictures.names))
                    progress(done, len(self._pictures.names))
        except (ConfigError, ImportError):
            # A slip in the options: what has no part yet must not stand in the way of the run that is meant.
            if len(missing) == self._parts and not self._part(missing[0]).is_file():
                shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self._joined(resumed=self._parts - len(missing))

    def _part(self, index: int) -> Path:
        return self._folder / f"part-{index:06d}.json"

    def _is_finished(self) -> bool:
        """Return whether ``out`` is this run's result; refuse to touch any other file."""
        if not self._out.exists():
            return False
        stored = read_json(self._report_file, limits=_CEILING) if self._report_file.is_file() else {}
        run = stored.get("run") if isinstance(stored, dict) else None
        if not run:
            raise ConfigError(f"{self._out} exists and is no result of this program. Choose another --out.")
        _refuse_other(run, self._result, f"{self._out} exists and", "Delete it or choose another --out.")
        return True

    def _claim(self) -> None:
        """Make the parts folder this run's, or find that it already is."""
        record = self._folder / "run.json"
        if record.is_file():
            _refuse_other(
                read_json(record),
                self._identity,
                f"{self._folder} holds an unfinished run that",
                f"Delete {self._folder} to start again.",
            )
        elif self._folder.exists() and any(self._folder.glob("[!.]*")):
            raise ConfigError(
                f"{self._folder} is in the way and holds no run. Move it or choose another --out."
            )
        else:
            write_json_atomic(record, self._identity)

    def _described(self, index: int) -> dict[str, Any]:
        """Return the content of one part: (name, text) of each picture, and failures."""
        start = index * self._options.part_size
        stop = min(start + self._options.part_size, len(self._pictures.names))
        skipped: set[int] = set()

        def prepare(position: int, _: int) -> tuple[int, Tensor]:
            try:
                return position, self._pictures.read(position)
            except LeftOut:
                skipped.add(position)
                raise

        found = answer_each(
            range(start, stop),
            prepare,
            self._write,
            batch_size=self._options.batch_size,
            name=lambda position, _: self._pictures.names[position],
            workers=self._options.workers,
        )
        texts: list[list[str]] = []
        failures: list[dict[str, Any]] = []
        for position, (_, answer) in enumerate(found, start):
            name = self._pictures.names[position]
            if isinstance(answer, Failure):
                failures.append({"id": name, "error": answer.error, "skipped": position in skipped})
            elif answer.strip(" ."):
                texts.append([name, answer])
            else:
                failures.append({"id": name, "error": "the captioner wrote nothing", "skipped": False})
        return {"texts": texts, "failures": failures}

    def _write(self, batch: list[tuple[int, Tensor]]) -> list[str]:
        names = [self._pictures.names[position] for position, _ in batch]
        # By name, so that what is drawn for a batch does not depend on which parts were done before.
        digest = hashlib.sha256(f"{self._options.seed}:{names[0]}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return self._captioner.caption([picture for _, picture in batch], names=names, seed=seed)

    def _joined(self, *, resumed: int) -> CaptionReport:
        """Write the results of all parts and remove them; the captions come last and mark the end."""
        parts = [read_json(self._part(index), limits=_CEILING) for index in range(self._parts)]
        split = split_paragraph if self._options.sentences else lambda text: [" ".join(text.split())]
        captions = {name: tuple(dict.fromkeys(split(text))) for part in parts for name, text in part["texts"]}
        failed = [failure for part in parts for failure in part["failures"]]
        failures = tuple(Failure(one["id"], one["error"]) for one in failed)
        if not captions:
            raise DataError(
                f"None of {len(failures)} pictures could be described, first {failures[0].id}: "
                f"{failures[0].error}"
            )
        kept, filtered = captions, None
        if self._filter is not None:
            kept, filtered = self._filter(captions)
            write_caption_file(self._unfiltered, captions)
        report = CaptionReport(
            out=self._out,
            report=self._report_file,
            pictures=len(self._pictures.names),
            captioned=len(captions),
            failures=failures,
            skipped=sum(one["skipped"] for one in failed),
            statistics=corpus_statistics(kept),
            filtered=filtered,
            unfiltered=None if filtered is None else self._unfiltered,
            resumed=resumed,
            run=self._result,
        )
        write_json_atomic(self._report_file, report.to_dict())
        write_caption_file(self._out, kept)
        shutil.rmtree(self._folder)
        return report

    def _stored(self) -> CaptionReport:
        """Return the report of a finished run."""
        raw = read_json(self._report_file, limits=_CEILING)
        corpus, filtered = raw["corpus"], raw["filter"]
        per_tile, words = corpus["captions_per_tile"], corpus["words"]
        return CaptionReport(
            out=self._out,
            report=self._report_file,
            pictures=raw["pictures"],
            captioned=raw["captioned"],
            failures=tuple(Failure(one["id"], one["error"]) for one in raw["failures"]),
            skipped=raw["skipped"],
            statistics=CorpusStatistics(
                corpus["tiles"],
                corpus["captions"],
                (per_tile["mean"], per_tile["min"], per_tile["max"]),
                (words["mean"], words["max"]),
                corpus["duplicate_captions"],
            ),
            filtered=None if filtered is None else FilterReport.from_dict(filtered),
            unfiltered=None if raw["unfiltered"] is None else self._unfiltered,
            resumed=self._parts,
            run=raw["run"],
        )


def _refuse_other(stored: Mapping[str, str], wanted: Mapping[str, str], what: str, remedy: str) -> None:
    for key in dict.fromkeys((*wanted, *stored)):
        if stored.get(key) != wanted.get(key):
            raise ConfigError(
                f"{what} has {key} {stored.get(key)!r}; this run has {wanted.get(key)!r}. {remedy}"
            )
