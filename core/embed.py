"""Embedding many files into one Parquet file, resumable, with bad files set aside; see ``embed_run.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .embed_run import METADATA_KEY, EmbedReport, EmbedRun, Encoder
from .errors import DataError, InputError

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

__all__ = ["EmbedReport", "Encoder", "embed_files", "list_files"]


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
    run = EmbedRun(
        encoder,
        items,
        Path(out),
        layout=_FileRows(items, encoder.dim),
        inputs={"inputs": _fingerprint(items)},
        batch_size=batch_size,
        part_size=part_size,
    )
    return run.complete(workers, progress)


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


@dataclass(frozen=True)
class _FileRows:
    """Columns ``id`` and ``vector`` for some files."""

    items: Sequence[tuple[str, Path]]
    dim: int
    compression: Literal["snappy", "zstd"] = "snappy"
    row_group: int = 1

    def schema(self) -> pyarrow.Schema:
        import pyarrow

        vector = pyarrow.list_(pyarrow.field("element", pyarrow.float32(), nullable=False), self.dim)
        return pyarrow.schema(
            [
                pyarrow.field("id", pyarrow.string(), nullable=False),
                pyarrow.field("vector", vector, nullable=False),
            ]
        )

    def arrays(
        self, positions: Sequence[int], vectors: NDArray[np.float32], notes: Sequence[object]
    ) -> list[pyarrow.Array]:
        import pyarrow

        flat = pyarrow.array(vectors.reshape(-1), pyarrow.float32())
        return [
            pyarrow.array([self.items[position][0] for position in positions], pyarrow.string()),
            pyarrow.FixedSizeListArray.from_arrays(flat, type=self.schema().field(1).type),
        ]

    def metadata(self, identity: Mapping[str, str], parts: Sequence[Path]) -> dict[bytes, bytes]:
        return {METADATA_KEY: json.dumps(identity, sort_keys=True).encode()}


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
