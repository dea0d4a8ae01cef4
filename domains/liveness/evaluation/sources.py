"""Where scored presentations come from: a manifest and a detector, or tables that were saved before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....core.answers import Failure
from ....core.data.tables import json_rows, table_rows
from ....core.errors import DataError
from ....core.limits import DEFAULT, Limits
from ..protocols.entry import Entry, Split
from ..protocols.manifest import read_manifest
from ..protocols.subjects import FEW_SHOT, check_disjoint, is_shot
from .scoring import Detector, score_entries
from .table import ScoredPresentation, read_scores


@dataclass(frozen=True)
class Scored:
    """What :func:`~.report.evaluate` takes.

    Attributes:
        rows: presentations to judge, and where ``dev`` is None also those that find the threshold.
        dev: those of a development set that was given apart.
        failures: presentations that could not be read.
        shots: training presentations of a few-shot protocol in the manifest, which may be of people tested.
    """

    rows: list[ScoredPresentation]
    dev: list[ScoredPresentation] | None
    failures: tuple[Failure, ...] = ()
    shots: int = 0


def from_tables(scores: str | Path, dev: str | Path | None = None) -> Scored:
    """Return the presentations of a score table, and those of another for the threshold.

    Raises:
        DataError: a table cannot be read.
    """
    rows = read_scores(scores)
    shots = {(row.dataset, row.id) for row in rows if row.split == "train" and FEW_SHOT in row.groups}
    return Scored(rows, None if dev is None else read_scores(dev), shots=len(shots))


@dataclass(frozen=True)
class Sets:
    """Presentations of a manifest that share nobody between its splits.

    Attributes:
        tested: to judge. held: to find the threshold; empty where it needs none.
        shots: of :class:`Scored`.
        folder: that the paths of the manifest start from; rows name files as the manifest does.
    """

    tested: list[Entry]
    held: list[Entry]
    shots: int = 0
    folder: Path | None = None


def read_sets(
    manifest: str | Path,
    *,
    dev: str | Path | None = None,
    root: str | Path | None = None,
    needs_dev: bool = True,
    few_shot: bool = False,
) -> Sets:
    """Return the presentations of a manifest that are to be scored.

    Args:
        manifest: with the columns of :mod:`..protocols.manifest`; without a split all rows are judged.
        dev: another manifest that finds the threshold: its split ``dev``, or all where it has only one.
        root: folder that the paths start from.
        needs_dev: whether a development set is used at all.
        few_shot: let training presentations of the group ``few_shot`` be of people who are tested.

    Raises:
        DataError: a manifest cannot be used; subjects, videos or files in two splits; or no development set
            where one is needed.
    """
    entries = _read(manifest, "test", root)
    apart = None if dev is None else _development(_read(dev, "dev", root), Path(dev).name)
    if apart is not None:
        entries = [entry for entry in entries if entry.split != "dev"]
    check_disjoint([*entries, *(apart or [])], few_shot=few_shot)
    tested = [entry for entry in entries if entry.split == "test"]
    held = apart if apart is not None else [entry for entry in entries if entry.split == "dev"]
    if not tested:
        raise DataError(
            f"{Path(manifest).name}: no presentation is of the split test; nothing can be judged."
        )
    if needs_dev and not held:
        raise DataError(
            f"{Path(manifest).name}: no presentation is of the split dev, and the threshold has to be found "
            "on such. Mark some of other subjects as dev, give a development set apart (--dev MANIFEST), or "
            "decide by a stored threshold (--threshold FILE)."
        )
    shots = {entry.id for entry in entries if is_shot(entry)}
    folder = Path(Path(manifest).parent if root is None else root).absolute()
    return Sets(tested, held if needs_dev else [], len(shots), folder)


def score_sets(
    detector: Detector,
    sets: Sets,
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Return what a detector says about the presentations of :func:`read_sets`.

    Presentations of the split ``train`` are not scored, nor those of ``dev`` where the threshold needs none.

    Args:
        detector: that answers.
        sets: to judge, and to find the threshold.
        batch_size, progress: of :func:`~.scoring.score_entries`.

    Raises:
        DataError: nothing could be read.
    """
    failures: list[Failure] = []
    asked = [*sets.tested, *sets.held]
    rows = score_entries(detector, asked, batch_size=batch_size, failures=failures, progress=progress)
    return Scored([_as_named(row, sets.folder) for row in rows], None, tuple(failures), sets.shots)


def _as_named(row: ScoredPresentation, folder: Path | None) -> ScoredPresentation:
    """Return a row with its path from the manifest's folder on: reports travel, folders are private."""
    if folder is None or not Path(row.path).is_relative_to(folder):
        return row
    return replace(row, path=Path(row.path).relative_to(folder).as_posix())


def _read(manifest: str | Path, split: Split, root: str | Path | None) -> list[Entry]:
    path = Path(manifest)
    return read_manifest(path, root=root, split=None if _has_split(path, DEFAULT) else split)


def _has_split(path: Path, limits: Limits) -> bool:
    """Return whether the first row says which split it is in; a manifest is read whole afterwards."""
    rows = json_rows(path, limits) if path.suffix.lower() == ".jsonl" else table_rows(path, limits)
    return "split" in next(iter(rows), ("", {"split": ""}))[1]


def _development(entries: Sequence[Entry], name: str) -> list[Entry]:
    found = [entry for entry in entries if entry.split == "dev"]
    if not found and len({entry.split for entry in entries}) > 1:
        raise DataError(f"{name}: no presentation is of the split dev.")
    return found or [replace(entry, split="dev") for entry in entries]
