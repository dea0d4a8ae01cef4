"""Embedding many files into one Parquet file, resumable, with bad files set aside.

While a run is under way everything lies in ``OUT.parts``::

    run.json                    which model, processor, settings and inputs these parts belong to
    part-000000.parquet         ids and vectors of inputs 0 .. part_size - 1, minus the failed ones
    part-000000.failed.jsonl    the failed ones, with the reason

A part is written to a temporary name and renamed, so it is whole or absent; which inputs share a
part and a batch depends on the list alone. A run that was killed and started again therefore ends
in the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from .answer_each import blames_input, read_ahead, reason_of
from .errors import ConfigError, DataError, InputError
from .files import atomic_path, read_json, write_json_atomic, write_text_atomic

if TYPE_CHECKING:
    import pyarrow
    from torch import Tensor

_METADATA = b"verticlip"
R = TypeVar("R")


@dataclass(frozen=True)
class Encoder(Generic[R]):
    """The two halves of embedding one file, and what makes them this model and no other.

    Attributes:
        read: path -> prepared item; runs in threads, ahead of ``encode``.
        encode: prepared items (B of them) -> float32 [B, D].
        dim: D.
        identity: model, revision, processor, dtype ...; equal identity means equal vectors.
        alone: whether a file is too large, once read, to be held beside others; see
            :func:`.answer_each.answer_each`.
    """

    read: Callable[[Path], R]
    encode: Callable[[list[R]], Tensor]
    dim: int
    identity: Mapping[str, str]
    alone: Callable[[Path], bool] = lambda _: False


@dataclass(frozen=True)
class EmbedReport:
    """What a run did.

    Attributes:
        out: the Parquet file. embedded, failed: inputs with and without a vector.
        failures: JSON lines with id and reason, or None when nothing failed.
        resumed: parts that an earlier, interrupted run had finished.
    """

    out: Path
    embedded: int
    failed: int
    failures: Path | None
    resumed: int


def embed_files(
    encoder: Encoder[Any],
    items: Sequence[tuple[str, Path]],
    out: str | Path,
    *,
    batch_size: int = 8,
    part_size: int = 1024,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedReport:
    """Embed files into ``out``, continuing an interrupted run of the same model and list.

    Args:
        items: (id, path); ids must differ.
        out: Parquet file with columns ``id`` (string) and ``vector`` (fixed_size_list<float32>[D]) in
            the order of ``items``; the schema metadata names model, revision and processor.
        batch_size: inputs per call of the model.
        part_size: inputs per part; at most this much work is repeated after an interruption.
        workers: threads that read files ahead; None takes the number of CPUs.
        progress: called with (inputs done, inputs in all) after each part.

    Raises:
        DataError: no inputs, or an id twice.
        ConfigError: ``out`` or its parts belong to another model, setting or list.
    """
    if batch_size < 1 or part_size < 1:
        raise ConfigError(f"batch_size and part_size are at least 1; got {batch_size} and {part_size}.")
    run = _Run(encoder, items, Path(out), batch_size=batch_size, part_size=part_size)
    if run.claim_finished():
        return run.report(resumed=run.parts)
    run.claim_parts()
    missing = [index for index in range(run.parts) if not run.part(index).is_file()]
    try:
        run.write_parts(missing, workers or os.cpu_count() or 1, progress)
    except (ConfigError, ImportError):
        # A slip in the options: what has no part yet must not stand in the way of the run that is meant.
        run.abandon_if_empty()
        raise
    run.merge()
    return run.report(resumed=run.parts - len(missing))


def list_files(source: str | Path) -> list[tuple[str, Path]]:
    """Return (id, path) of every file that ``source`` stands for, in an order that never changes.

    Args:
        source: one file; a folder, taken with its sub-folders and without hidden files; or a manifest
            (``.csv``, ``.tsv``, ``.jsonl``).

    Raises:
        InputError: no such file or folder.
        DataError: nothing in it, or a manifest that cannot be used or names parts of files.
    """
    from .data.files import files_below
    from .data.manifest import Manifest

    source = Path(source)
    if source.is_dir():
        visible = sorted(Path(name) for name in files_below(source) if (source / name).is_file())
        if not visible:
            raise DataError(f"{source}: the folder holds no files.")
        return [(path.as_posix(), source / path) for path in visible]
    if not source.is_file():
        what = (
            "is not a regular file; copy its content to one" if source.exists() else "no such file or folder"
        )
        raise InputError(f"{source}: {what}.")
    if source.suffix in (".csv", ".tsv", ".jsonl"):
        read = Manifest.from_jsonl if source.suffix == ".jsonl" else Manifest.from_csv
        manifest = read(source, check=None)
        for record in manifest:
            # Without this, every part of a file would get the vector of the whole file.
            if record.locator is not None:
                raise DataError(
                    f"{source.name}: {record.id!r} is a part of a file (locator {record.locator!r}); whole "
                    "files are embedded. Save each part as a file of its own."
                )
        return [(record.id, manifest.file_of(record)) for record in manifest]
    return [(source.name, source)]


class _Run:
    """The files of one run and how each comes to be."""

    def __init__(
        self,
        encoder: Encoder[Any],
        items: Sequence[tuple[str, Path]],
        out: Path,
        *,
        batch_size: int,
        part_size: int,
    ) -> None:
        self.encoder, self.items, self.out = encoder, items, out
        self.batch_size, self.part_size = batch_size, part_size
        self.folder = out.with_name(out.name + ".parts")
        self.failures = out.with_name(out.name + ".failed.jsonl")
        self.parts = -(-len(items) // part_size)
        settings = {"batch_size": str(batch_size), "part_size": str(part_size)}
        self.identity = {**encoder.identity, **settings, "inputs": _fingerprint(items)}

    def part(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.parquet"

    def _part_failures(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.failed.jsonl"

    def claim_finished(self) -> bool:
        """Return whether ``out`` already is this run's result; refuse to touch any other file."""
        if not self.out.exists():
            return False
        import pyarrow
        from pyarrow import parquet

        try:
            stored = json.loads((parquet.read_schema(self.out).metadata or {}).get(_METADATA, b"{}"))
        except (pyarrow.ArrowInvalid, OSError, ValueError):
            stored = {}
        if not stored:
            raise ConfigError(f"{self.out} exists and is no result of this program. Choose another --out.")
        self._refuse_other(
            stored, f"{self.out} exists and", f"Delete it or choose another --out than {self.out.name}."
        )
        # A kill between the rename of the result and the removal of its parts leaves both.
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def claim_parts(self) -> None:
        """Make the parts folder this run's, or find that it already is."""
        record = self.folder / "run.json"
        if record.is_file():
            self._refuse_other(
                read_json(record),
                f"{self.folder} holds an unfinished run that",
                f"Delete {self.folder} to start again.",
            )
        elif self.folder.exists() and any(self.folder.glob("[!.]*")):
            raise ConfigError(
                f"{self.folder} is in the way and holds no run. Move it or choose another --out."
            )
        else:
            write_json_atomic(record, self.identity)

    def _refuse_other(self, stored: Mapping[str, str], what: str, remedy: str) -> None:
        for key, value in self.identity.items():
            if stored.get(key) != value:
                raise ConfigError(f"{what} has {key} {stored.get(key)!r}; this run has {value!r}. {remedy}")

    def write_parts(
        self, indices: Sequence[int], workers: int, progress: Callable[[int, int], None] | None
    ) -> None:
        """Embed the parts that are missing, one after the other."""
        with ThreadPoolExecutor(workers, thread_name_prefix="verticlip-read") as pool:
            for index in indices:
                self.write_part(index, pool, ahead=4 * self.batch_size)
                if progress is not None:
                    progress(min((index + 1) * self.part_size, len(self.items)), len(self.items))

    def abandon_if_empty(self) -> None:
        """Remove the parts folder when no part is finished."""
        if not any(self.part(index).is_file() for index in range(self.parts)):
            shutil.rmtree(self.folder, ignore_errors=True)

    def write_part(self, index: int, pool: ThreadPoolExecutor, *, ahead: int) -> None:
        """Embed one part. Its Parquet file is renamed into place last and marks the part as done."""
        ids: list[str] = []
        vectors: list[np.ndarray] = []
        failures: list[dict[str, str]] = []
        batch: list[tuple[str, Any]] = []

        def flush() -> None:
            rows = self._encoded([prepared for _, prepared in batch])
            for (identifier, _), row in zip(batch, rows, strict=True):
                if isinstance(row, str):
                    failures.append(_failure(identifier, row))
                elif np.isfinite(row).all():
                    ids.append(identifier)
                    vectors.append(row)
                else:
                    failures.append(_failure(identifier, "the embedding is not finite"))
            batch.clear()

        chunk = self.items[index * self.part_size : (index + 1) * self.part_size]
        paths = [path for _, path in chunk]
        read = read_ahead(pool, self.encoder.read, paths, ahead, self.encoder.alone)
        for (identifier, _), (_, is_large, pending) in zip(chunk, read, strict=True):
            if is_large and batch:
                flush()
            try:
                _check_id(identifier)
                batch.append((identifier, pending.result()))
            except Exception as error:  # the edge of the batch: one bad file must not stop the others
                if not blames_input(error):
                    raise
                failures.append(_failure(identifier, reason_of(error)))
            if batch and (is_large or len(batch) == self.batch_size):
                flush()
        if batch:
            flush()
        # ASCII, because a name that is not UTF-8 can only be written as an escape.
        lines = "".join(json.dumps(failure) + "\n" for failure in failures)
        write_text_atomic(self._part_failures(index), lines)
        self._write_table(self.part(index), ids, vectors)

    def _encoded(self, prepared: list[Any]) -> list[np.ndarray | str]:
        """Return the vector of each input, or why it has none: long ones are read while they are embedded."""
        try:
            return list(self.encoder.encode(prepared).float().cpu().numpy())
        except (InputError, OSError) as error:
            if len(prepared) == 1:
                return [reason_of(error)]
            return [row for one in prepared for row in self._encoded([one])]

    def _schema(self) -> pyarrow.Schema:
        import pyarrow

        vector = pyarrow.list_(pyarrow.field("element", pyarrow.float32(), nullable=False), self.encoder.dim)
        return pyarrow.schema(
            [
                pyarrow.field("id", pyarrow.string(), nullable=False),
                pyarrow.field("vector", vector, nullable=False),
            ],
            metadata={_METADATA: json.dumps(self.identity, sort_keys=True)},
        )

    def _write_table(self, path: Path, ids: list[str], vectors: list[np.ndarray]) -> None:
        import pyarrow
        from pyarrow import parquet

        schema = self._schema()
        flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
        columns = [
            pyarrow.array(ids, pyarrow.string()),
            pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(flat, pyarrow.float32()), type=schema.field(1).type
            ),
        ]
        with atomic_path(path) as temporary:
            parquet.write_table(pyarrow.Table.from_arrays(columns, schema=schema), temporary)

    def merge(self) -> None:
        """Join the parts in order, one in memory at a time, and remove them."""
        from pyarrow import parquet

        # Written inside the parts folder: what a kill leaves behind goes when the folder goes.
        merged, failed = self.folder / "merged.parquet", self.folder / "merged.failed.jsonl"
        with atomic_path(merged) as temporary, parquet.ParquetWriter(temporary, self._schema()) as writer:
            for index in range(self.parts):
                writer.write_table(parquet.read_table(self.part(index)))
        lines = "".join(self._part_failures(index).read_text("utf-8") for index in range(self.parts))
        if lines:
            write_text_atomic(failed, lines)
            os.replace(failed, self.failures)
        else:
            self.failures.unlink(missing_ok=True)
        os.replace(merged, self.out)
        shutil.rmtree(self.folder)

    def report(self, *, resumed: int) -> EmbedReport:
        from pyarrow import parquet

        embedded = parquet.read_metadata(self.out).num_rows
        failed = len(self.items) - embedded
        return EmbedReport(self.out, embedded, failed, self.failures if failed else None, resumed)


def _check_id(identifier: str) -> None:
    """Raise ``InputError`` when Parquet, whose text is UTF-8, cannot hold ``identifier``."""
    try:
        identifier.encode()
    except UnicodeEncodeError:
        raise InputError("the name is not UTF-8. Rename the file.") from None


def _failure(identifier: str, reason: str) -> dict[str, str]:
    # The id leads to the input; its path may name a person and stays with whoever made the list.
    return {"id": identifier, "reason": reason}


def _fingerprint(items: Sequence[tuple[str, Path]]) -> str:
    """Return 16 hex digits that change with the order, the ids and the sizes of the inputs.

    Paths are left out, so that moving the folder changes nothing.

    Raises:
        DataError: no inputs, or an id twice.
    """
    if not items:
        raise DataError("There is nothing to embed: the list of inputs is empty.")
    digest = hashlib.sha256()
    seen: set[str] = set()
    for identifier, path in items:
        if identifier in seen:
            raise DataError(f"The id {identifier!r} stands twice in the list of inputs. Ids must differ.")
        seen.add(identifier)
        size = path.stat().st_size if path.is_file() else -1
        digest.update(json.dumps([identifier, size]).encode() + b"\n")
    return digest.hexdigest()[:16]
