"""Embeddings computed once and read many times: several vectors for each film or recording.

::

    FOLDER/identity.json               which model and settings the vectors belong to
    FOLDER/part-000000.safetensors     {id: float16 or float32 [N, D]} of some items
    FOLDER/part-000000.failed.json     {id: reason} of those that could not be used

A part appears whole or not at all, so a run that was interrupted goes on where it was. Frozen towers cost
more than training what stands on them; twelve vectors of 512 for a clip are 12 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.errors import ConfigError, DataError, InputError, WeightsError, nearest
from ....core.files import atomic_path, read_json, write_json_atomic
from ....core.inputs import encode_inputs
from ....core.limits import DEFAULT
from .video import extract_frames

if TYPE_CHECKING:
    import os

    from ....core.handle import ModelHandle

IDENTITY = "identity.json"
_LISTS = DEFAULT.with_(config_bytes=1 << 30)
"""The list of items is as long as the data set."""


@dataclass(frozen=True)
class CacheReport:
    """What a run did.

    Attributes:
        folder: of the cache. embedded: items with vectors. failures: {id: reason} of the others.
        resumed: parts that an earlier run had finished.
    """

    folder: Path
    embedded: int
    failures: Mapping[str, str]
    resumed: int


def write_cache(
    items: Sequence[tuple[str, Any]],
    encode: Callable[[Any], Tensor],
    folder: str | os.PathLike[str],
    *,
    identity: Mapping[str, str],
    part_size: int = 64,
    half: bool = True,
) -> CacheReport:
    """Write the vectors of many items, continuing an interrupted run of the same model and list.

    Args:
        items: (id, what ``encode`` takes); ids must differ.
        encode: item -> float [N, D]; an :class:`InputError` sets the item aside.
        folder: of the cache, made if need be.
        identity: model, revision, processor, settings: equal identity means equal vectors.
        part_size: items in a file; at most this much work is repeated after an interruption.
        half: store float16, which is exact enough for unit vectors and halves the size.

    Raises:
        DataError: no items, or an id twice. ConfigError: the folder belongs to another model or list.
    """
    folder = Path(folder)
    ids = [identifier for identifier, _ in items]
    if not items or len(set(ids)) < len(ids) or part_size < 1:
        raise DataError(
            f"{len(ids)} items of {len(set(ids))} ids in parts of {part_size}: there must be one or more of "
            "each, and every id once."
        )
    facts = {**identity, "part_size": str(part_size), "dtype": "float16" if half else "float32"}
    _claim(folder, {"identity": facts, "ids": ids})
    embedded, resumed, failures = 0, 0, {}
    for number, start in enumerate(range(0, len(items), part_size)):
        part, failed = _part(folder, number), _part(folder, number).with_suffix(".failed.json")
        if part.is_file():
            resumed += 1
        else:
            _write_part(items[start : start + part_size], encode, part, half=half)
        reasons = read_json(failed) if failed.is_file() else {}
        failures.update(reasons)
        embedded += min(part_size, len(items) - start) - len(reasons)
    return CacheReport(folder, embedded, failures, resumed)


def cache_video_embeddings(
    model: ModelHandle,
    films: Sequence[tuple[str, str | os.PathLike[str]]],
    folder: str | os.PathLike[str],
    *,
    fps: float = 1.0,
    size: int = 224,
    part_size: int = 64,
) -> CacheReport:
    """Write the embeddings of the frames of films, as they leave the image tower: not yet unit vectors.

    The mean of some of them is then the query that CLIPSep trains with.

    Args:
        model: with an image tower. films: (id, file). folder: of the cache.
        fps, size: of the frames; see :func:`.video.extract_frames`.
        part_size: films in a file of the cache.

    Raises:
        DataError, ConfigError: as :func:`write_cache`. DependencyError: PyAV is not installed.
    """

    def encode(path: Any) -> Tensor:
        frames = extract_frames(path, fps=fps, size=size, limits=model.limits).pixels
        return encode_inputs(model, "image", model.processor("image", list(frames)), normalize=False)

    identity = {
        "model": model.id,
        "revision": model.revision,
        "processor": model.processor.fingerprint,
        "frames": f"{fps:g} per second, {size} pixels",
    }
    return write_cache(films, encode, folder, identity=identity, part_size=part_size, half=False)


class EmbeddingCache:
    """A finished cache, read item by item.

    Args:
        folder: that :func:`write_cache` wrote.
        identity: what the caller needs the vectors to be of; only these keys are compared.

    Raises:
        ConfigError: no cache, or one of another model.
    """

    def __init__(self, folder: str | os.PathLike[str], *, identity: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder)
        record = read_json(self.folder / IDENTITY, limits=_LISTS)
        self.identity: dict[str, str] = record["identity"]
        _compare(self.folder.name, self.identity, identity or {})
        size = int(self.identity["part_size"])
        self._parts = {name: index // size for index, name in enumerate(record["ids"])}
        missing = [number for number in set(self._parts.values()) if not _part(self.folder, number).is_file()]
        if missing:
            raise ConfigError(
                f"{self.folder.name}: {len(missing)} parts are not written yet. Run what writes them again."
            )
        failed: set[str] = set()
        for path in self.folder.glob("part-*.failed.json"):
            failed |= set(read_json(path))
        self._parts = {name: part for name, part in self._parts.items() if name not in failed}
        self.ids = tuple(self._parts)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, identifier: str) -> Tensor:
        """Return float32 [N, D] of an item.

        Raises:
            DataError: no such item, or one that could not be used. WeightsError: a damaged part.
        """
        from safetensors import SafetensorError, safe_open

        number = self._parts.get(identifier)
        if number is None:
            raise DataError(
                f"{self.folder.name}: no vectors of {identifier!r}.{nearest(identifier, self.ids)}"
            )
        path = _part(self.folder, number)
        try:
            with safe_open(path, framework="pt") as tensors:
                return tensors.get_tensor(identifier).float()
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path.name}: the file is damaged ({error}). Delete it and run again."
            ) from error


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.safetensors"


def _claim(folder: Path, record: Mapping[str, Any]) -> None:
    """Say in the folder what its vectors are of, or refuse one that says otherwise."""
    if not (folder / IDENTITY).is_file():
        write_json_atomic(folder / IDENTITY, record)
        return
    found = read_json(folder / IDENTITY, limits=_LISTS)
    _compare(folder.name, found["identity"], record["identity"])
    if found["ids"] != record["ids"]:
        raise ConfigError(
            f"{folder.name}: holds the vectors of another list ({len(found['ids'])} items, now "
            f"{len(record['ids'])}). Take another folder."
        )


def _compare(name: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise ConfigError(
                f"{name}: the vectors are of {key} {found.get(key)!r}, not {value!r}. Take another folder."
            )


def _write_part(
    items: Sequence[tuple[str, Any]], encode: Callable[[Any], Tensor], path: Path, *, half: bool
) -> None:
    from safetensors.torch import save_file

    vectors, failed = {}, {}
    for identifier, item in items:
        try:
            made = encode(item).detach().cpu()
            if made.ndim != 2 or not len(made) or not torch.isfinite(made).all():
                raise InputError(
                    f"the encoder gave {list(made.shape)} or no finite numbers; expected [N, D]."
                )
        except InputError as error:
            failed[identifier] = str(error)
        else:
            vectors[identifier] = made.to(torch.float16 if half else torch.float32).contiguous().clone()
    # First, so that a part is never there without its failures, or with those of a run that died.
    path.with_suffix(".failed.json").unlink(missing_ok=True)
    if failed:
        write_json_atomic(path.with_suffix(".failed.json"), failed)
    with atomic_path(path) as temporary:
        save_file(vectors, temporary)
