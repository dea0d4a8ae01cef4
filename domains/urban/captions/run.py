"""One resumable run of a captioner over pictures, and the caption file it ends in.

See ``core/parts_run.py`` for the files of a run. Which pictures share a batch, and what each batch draws,
depends on the list and the seed alone. A run that was killed and started again therefore ends in the same
captions as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.answer_each import answer_each
from ....core.answers import Failure
from ....core.errors import ConfigError, DataError
from ....core.files import read_json, write_json_atomic, write_text_atomic
from ....core.limits import DEFAULT
from ....core.parts_run import LeftOut, PartsRun, failed_input
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
        failed: pictures that could not be used. skipped: those that a rule left out, such as tiles without
            data.
        failures: JSON lines with id and reason of both, the latter marked ``"skipped": true``; or None.
        statistics: of the captions in ``out``.
        filtered: what the filter did, or None. unfiltered: the captions before it, or None.
        resumed: parts that an earlier, interrupted run had finished.
    """

    out: Path
    report: Path
    pictures: int
    captioned: int
    failed: int
    skipped: int
    failures: Path | None
    statistics: CorpusStatistics
    filtered: FilterReport | None = None
    unfiltered: Path | None = None
    resumed: int = 0
    run: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; files by their names."""
        return {
            "captions": self.out.name,
            "unfiltered": None if self.unfiltered is None else self.unfiltered.name,
            "pictures": self.pictures,
            "captioned": self.captioned,
            "skipped": self.skipped,
            "failed": self.failed,
            "failures": None if self.failures is None else self.failures.name,
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


class CaptionRun(PartsRun):
    """The parts of one run and the captions they are joined to.

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
        self._report_file = out.with_name(f"{out.stem}.report.json")
        self._unfiltered = out.with_name(f"{out.stem}.unfiltered.json")
        identity = {
            **captioner.identity,
            **pictures.identity,
            "seed": str(options.seed),
            "batch_size": str(options.batch_size),
            "part_size": str(options.part_size),
            "pictures": hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:16],
        }
        rules = (
            "none" if caption_filter is None else caption_filter.rules.model_dump_json(exclude_defaults=True)
        )
        super().__init__(
            out,
            count=len(names),
            part_size=options.part_size,
            identity=identity,
            result={**identity, "sentences": str(options.sentences), "filter": rules},
            suffix=".jsonl",
        )

    def complete(self, progress: Callable[[int, int], None] | None = None) -> CaptionReport:
        """Do what is missing and return what was done; a finished run is only reported.

        Raises:
            ConfigError: ``out`` or its parts belong to another captioner, setting or list.
            DataError: no picture could be described.
        """
        resumed = self.finish(progress)
        raw = read_json(self._report_file, limits=_CEILING)
        return CaptionReport(
            out=self.out,
            report=self._report_file,
            pictures=raw["pictures"],
            captioned=raw["captioned"],
            failed=raw["failed"],
            skipped=raw["skipped"],
            failures=None if raw["failures"] is None else self.failures,
            statistics=CorpusStatistics.from_dict(raw["corpus"]),
            filtered=None if raw["filter"] is None else FilterReport.from_dict(raw["filter"]),
            unfiltered=None if raw["unfiltered"] is None else self._unfiltered,
            resumed=resumed,
            run=raw["run"],
        )

    def stored(self) -> Mapping[str, str]:
        """Return what the existing ``out`` belongs to; empty where it is no result of such a run."""
        report = read_json(self._report_file, limits=_CEILING) if self._report_file.is_file() else {}
        return (report.get("run") or {}) if isinstance(report, dict) else {}

    def write_part(self, index: int) -> None:
        """Describe the pictures of one part: a line with name and text for each."""
        start = index * self.part_size
        stop = min(start + self.part_size, self.count)
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
        lines: list[str] = []
        failures: list[dict[str, Any]] = []
        for position, (_, answer) in enumerate(found, start):
            name = self._pictures.names[position]
            if isinstance(answer, Failure):
                failures.append(failed_input(name, answer.error, skipped=position in skipped))
            elif answer.strip(" ."):
                lines.append(json.dumps([name, answer]) + "\n")
            else:
                failures.append(failed_input(name, "the captioner wrote nothing"))
        self.write_failures(index, failures)
        write_text_atomic(self.part(index), "".join(lines))

    def _write(self, batch: list[tuple[int, Tensor]]) -> list[str]:
        names = [self._pictures.names[position] for position, _ in batch]
        # By name, so that what is drawn for a batch does not depend on which parts were done before.
        digest = hashlib.sha256(f"{self._options.seed}:{names[0]}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        return self._captioner.caption([picture for _, picture in batch], names=names, seed=seed)

    def merge(self) -> None:
        """Write captions, failures and the report; the captions come last and mark the end."""
        split = split_paragraph if self._options.sentences else lambda text: [" ".join(text.split())]
        texts = self._lines(self.part)
        captions = {name: tuple(dict.fromkeys(split(text))) for name, text in texts}
        if not captions:
            first = next(self._lines(self.part_failures))
            raise DataError(
                f"None of {self.count} pictures could be described, first {first['id']}: {first['reason']}"
            )
        skipped = sum(bool(failure.get("skipped")) for failure in self._lines(self.part_failures))
        failed = self.count - len(captions) - skipped
        kept, filtered = captions, None
        if self._filter is not None:
            kept, filtered = self._filter(captions)
            write_caption_file(self._unfiltered, captions)
        report = CaptionReport(
            out=self.out,
            report=self._report_file,
            pictures=self.count,
            captioned=len(captions),
            failed=failed,
            skipped=skipped,
            failures=self.failures if failed or skipped else None,
            statistics=corpus_statistics(kept),
            filtered=filtered,
            unfiltered=None if filtered is None else self._unfiltered,
            run=self.result,
        )
        self.join_failures()
        write_json_atomic(self._report_file, report.to_dict())
        write_caption_file(self.out, kept)

    def _lines(self, of: Callable[[int], Path]) -> Iterator[Any]:
        """Yield the JSON value of every line of a file per part, one part in memory at a time."""
        for index in range(self.parts):
            for line in of(index).read_text("utf-8").splitlines():
                yield json.loads(line)
