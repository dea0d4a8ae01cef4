"""Records of a run: read, decoded once, split so that near-equal samples and groups stay together."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config import ProcessorConfig
from .data import Manifest, Record, check_leakage, group_equal_files, split
from .errors import DataError
from .prompts import PromptSet
from .recipe import LoadedRecipe, Recipe, ValidationConfig
from .sources import Row, class_names, read_source
from .start import Start
from .stores import Store, build_store
from .types import Modality

_log = logging.getLogger(__name__)
MAX_BAD_SHARE = 0.05
"""More undecodable files than this stop a run: the data folder is not what the recipe expects."""


@dataclass(frozen=True)
class GatheredRows:
    """The records of a run, split, before anything is decoded or batched.

    Attributes:
        rows: training, validation and test rows with captions and extras.
        manifest: the records of ``rows``. class_names: K classes; the indices of labels.
        prompts: the prompt set of the run, or None.
    """

    rows: tuple[Row, ...]
    manifest: Manifest
    class_names: tuple[str, ...]
    prompts: PromptSet | None

    def digest(self, *parts: str) -> str:
        """Return 16 hex digits that change when ids, labels, splits or one of ``parts`` change."""
        content = [*([r.id, r.label, r.split] for r in self.manifest.records), *parts]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def part(self, split: str) -> list[Record]:
        """Return the records of one split, in manifest order."""
        return [record for record in self.manifest.records if record.split == split]


@dataclass(frozen=True)
class GatheredData(GatheredRows):
    """The records of a run, split, and their decoded samples.

    Attributes:
        store: images or recordings.
    """

    store: Store


def gather_rows(loaded: LoadedRecipe, folder: Path, start: Start | None = None) -> GatheredRows:
    """Read and split the recipe's sources below ``folder`` without decoding a file.

    Rows of equal files, or of parts of one file, stay on one side of a split that is made here.

    Raises:
        DataError: no folder, an empty source, or a group or file in two splits.
        ConfigError: unknown reader, or a label the prompt set does not have.
    """
    read, manifest, prompts = _read(loaded, folder, start)
    manifest = split_sources(manifest, loaded.recipe, lambda own, _: group_equal_files(own))
    return GatheredRows(
        _rows(read, manifest), manifest, class_names(manifest.records, loaded.recipe, prompts), prompts
    )


def gather_data(
    loaded: LoadedRecipe,
    folder: Path,
    start: Start | None = None,
    *,
    processing: ProcessorConfig,
    modality: Modality = "image",
) -> GatheredData:
    """Read, decode and split the recipe's sources below ``folder``.

    Args:
        processing: how ``modality`` is prepared.
        modality: what the records are files of.

    Raises:
        DataError: as :func:`gather_rows`; too many files that cannot be read.
        ConfigError: as :func:`gather_rows`; nothing reads files of ``modality``.
    """
    recipe = loaded.recipe
    read, manifest, prompts = _read(loaded, folder, start)
    store = build_store(modality, processing, recipe, manifest)
    manifest = drop_unreadable(manifest, store.fill(manifest.records), store.noun)
    manifest = split_sources(manifest, recipe, store.grouped)
    names = class_names(manifest.records, recipe, prompts)
    return GatheredData(_rows(read, manifest), manifest, names, prompts, store)


def _read(
    loaded: LoadedRecipe, folder: Path, start: Start | None
) -> tuple[list[Row], Manifest, PromptSet | None]:
    """Return the rows of every source, their manifest, and the prompt set of the run."""
    recipe = loaded.recipe
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder. Pass the folder that the recipe's sources lie in.")
    prompts = PromptSet.load(loaded.prompts) if loaded.prompts else None
    # The classes of a start are those of its own data, which a task may have nothing to do with.
    if prompts is None and start is not None and not recipe.classifies and recipe.task is None:
        prompts = start.prompts
    read = [row for source in recipe.data.sources for row in read_source(source, recipe, folder, prompts)]
    return read, Manifest.from_records([row.record for row in read], root=folder), prompts


def _rows(read: Sequence[Row], manifest: Manifest) -> tuple[Row, ...]:
    """Return the rows of the manifest's records, in its order."""
    by_id = {row.record.id: row for row in read}
    return tuple(replace(by_id[record.id], record=record) for record in manifest.records)


def drop_unreadable(manifest: Manifest, failures: dict[str, str], noun: str) -> Manifest:
    """Return the manifest without files that cannot be decoded; too many of them are an error."""
    if not failures:
        return manifest
    tell_unreadable(failures, len(manifest), noun)
    kept = tuple(record for record in manifest.records if record.id not in failures)
    return replace(manifest, records=kept)


def tell_unreadable(failures: Mapping[str, str], total: int, noun: str, *, verb: str = "read") -> None:
    """Warn of files that a run has to do without.

    Args:
        failures: {id: reason}. total: how many files there are.
        noun, verb: how the message puts it: "3 of 40 recordings cannot be read".

    Raises:
        DataError: they are more than :data:`MAX_BAD_SHARE` of ``total``.
    """
    if not failures:
        return
    first, reason = next(iter(failures.items()))
    said = f"{len(failures)} of {total} {noun} cannot be {verb}, first {first}: {reason}"
    if len(failures) > MAX_BAD_SHARE * total:
        raise DataError(f"{said} More than {MAX_BAD_SHARE:.0%} stops a run.")
    _log.warning("%s They are left out.", said)


def split_sources(
    manifest: Manifest, recipe: Recipe, grouped: Callable[[Manifest, ValidationConfig], Manifest]
) -> Manifest:
    """Return the manifest with a split on every record; ``val`` is made where a source has none.

    Args:
        grouped: puts rows that must not lie on both sides of a new split in one group.
    """
    config = recipe.data.validation
    records: list[Record] = []
    for source in recipe.data.sources:
        own = replace(manifest, records=tuple(r for r in manifest.records if r.source == source.name))
        if not any(record.split == "val" for record in own):
            # A test part keeps its place, for the leakage check; it is not for choosing a model.
            records += [record for record in own if record.split == "test"]
            own = replace(own, records=tuple(r for r in own.records if r.split != "test"))
            own = grouped(own, config)
            own = split(own, {"train": 1 - config.fraction, "val": config.fraction}, seed=recipe.seed)
        records += own.records
    joined = replace(manifest, records=tuple(records))
    check_leakage(joined).raise_if_leaking()
    return joined
