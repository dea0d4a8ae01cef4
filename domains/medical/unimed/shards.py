"""Image-text pairs in tar shards: writing them, reading ours and the reference's, drawing from many.

A shard is an uncompressed tar of pairs, members ``NNNNNN.<image suffix>`` and ``NNNNNN.json`` (ours: a
list of captions) or ``NNNNNN.txt`` (the reference: one text, see :mod:`.drawing`). Image bytes are those
of the file.

Training reads no shards: a recipe reads what :func:`unpack_shards` writes. :class:`ShardStream` is for loops
of one's own.

Reference: ``src/training/data.py`` of mbzuai-oryx/UniMed-CLIP for the layout and the shuffling.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....core.errors import ConfigError, DataError, LimitError
from ....core.files import atomic_path, sha256_of, unique_keys, write_json_atomic, write_text_atomic
from ....core.limits import DEFAULT, Limits, MiB
from ....core.types import Sample
from ..loaders.image import load_image
from .captions import Row
from .drawing import candidates, draw

INDEX_FILE, PAIRS_FILE = "shards.json", "pairs.jsonl"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm")
_TEXT_SUFFIXES = (".json", ".txt")
_MEMBER_BYTES = 256 * MiB
"""Largest image in a shard; one file of a training set is far below, a hostile header is not."""


@dataclass(frozen=True)
class Part:
    """One data set: its shards, and how often it is drawn.

    Attributes:
        weight: how much more often each of its shards is drawn than one of weight 1; None for all
            parts goes through every shard once, so that each part counts by its size.
    """

    name: str
    shards: tuple[Path, ...]
    weight: float | None = None


@dataclass(frozen=True)
class Pair:
    """One sample of a shard.

    Attributes:
        id: shard name and member number.
        image: encoded image, as stored. suffix: of its file, e.g. ``.jpg``; its content decides.
        caption: the one drawn. captions: those that could have been.
        extras: what else the writer stored.
    """

    id: str
    image: bytes
    suffix: str
    caption: str
    captions: tuple[str, ...]
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where one sample lies in a shard: (offset, bytes) of its image and its text."""

    stem: str
    image: tuple[int, int]
    image_suffix: str
    text: tuple[int, int]
    text_suffix: str


def write_shards(rows: Iterable[Mapping[str, Any]], out: str | Path, *, per_shard: int = 1000) -> list[Path]:
    """Write rows as shards ``dataset-000001.tar`` ... and return their paths.

    The same rows give the same bytes. Each shard appears whole or not at all; ``shards.json`` with
    counts and SHA-256 comes last.

    Args:
        rows: dicts with ``path``, ``text`` (a string or a list) and perhaps ``id``, ``label``, ``extras``.
        out: folder without shards.
        per_shard: samples per shard.

    Raises:
        DataError: no rows, a row without image or caption, or a file that is no image by its name.
        ConfigError: ``out`` has shards already, or ``per_shard`` is not positive.
    """
    out = Path(out)
    if per_shard < 1:
        raise ConfigError(f"per_shard is at least 1, got {per_shard}.")
    if any(out.glob("*.tar")):
        raise ConfigError(f"{out} has shards already. Choose another folder.")
    listed: list[dict[str, Any]] = []
    paths: list[Path] = []
    block: list[tuple[int, Mapping[str, Any]]] = []

    def close() -> None:
        path = out / f"dataset-{len(paths) + 1:06d}.tar"
        with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, row in block:
                _add(tar, number, row)
        listed.append({"name": path.name, "samples": len(block), "sha256": sha256_of(path)})
        paths.append(path)
        block.clear()

    for number, row in enumerate(rows):
        block.append((number, row))
        if len(block) == per_shard:
            close()
    if block:
        close()
    if not paths:
        raise DataError("There are no rows to write.")
    write_json_atomic(out / INDEX_FILE, {"version": 1, "shards": listed})
    return paths


def _add(tar: tarfile.TarFile, number: int, row: Mapping[str, Any]) -> None:
    name = str(row.get("id") or f"row {number}")
    path = Path(row["path"]) if row.get("path") else None
    text = row.get("text")
    captions = [caption.strip() for caption in ([text] if isinstance(text, str) else text or [])]
    if path is None or not path.is_file() or not captions or not all(captions):
        what = "no captions, or an empty one" if path and path.is_file() else "no image file"
        raise DataError(f"{name}: {what}. A pair has an image and at least one caption.")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{name}: {path.suffix!r} is no image of {', '.join(IMAGE_SUFFIXES)}.")
    content = {"id": name, "captions": captions, "label": row.get("label"), "extras": row.get("extras") or {}}
    encoded = json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "backslashreplace")
    for suffix, data in ((path.suffix.lower(), path.read_bytes()), (".json", encoded)):
        # No times, owners or modes of this machine: equal rows give equal shards.
        member = tarfile.TarInfo(f"{number:06d}{suffix}")
        member.size, member.mode = len(data), 0o644
        tar.addfile(member, io.BytesIO(data))


def read_shard(path: str | Path, *, seed: int | str = 0, limits: Limits = DEFAULT) -> Iterator[Pair]:
    """Yield the pairs of one shard in stored order, each with a caption drawn by ``seed`` and its id.

    Raises:
        DataError: damaged, compressed, or with members that are not plain files of pairs.
        LimitError: a member is over its ceiling.
    """
    path = Path(path)
    places = _index(path, limits)
    with path.open("rb") as handle:
        for place in places:
            yield _pair(handle, path, place, seed, limits)


def load_pair(pair: Pair, *, limits: Limits = DEFAULT, **options: Any) -> Sample:
    """Return the image of a pair as :func:`verticlip.domains.medical.io.load_image` reads a file.

    Args:
        pair: from :func:`read_shard` or a :class:`ShardStream`.
        limits: ceilings of the loader.
        options: of the loader, e.g. ``window="lung"``.

    Raises:
        MedicalImageError: damaged or unsupported.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The loaders read files; what kind it is they tell from its content.
        path = Path(folder) / f"image{pair.suffix}"
        path.write_bytes(pair.image)
        sample = load_image(path, limits=limits, **options)
    return Sample(sample.value, sample.modality, sample.meta, id=pair.id)


def unpack_shards(shards: Sequence[str | Path], out: str | Path, *, limits: Limits = DEFAULT) -> list[Row]:
    """Write the images of shards into a folder, with ``pairs.jsonl`` beside them, and return the rows.

    ``pairs.jsonl`` has one line per caption, which a recipe reads with ``reader: jsonl`` and
    ``captions: text``.

    Raises:
        DataError, LimitError: as :func:`read_shard`.
    """
    out = Path(out)
    rows: list[Row] = []
    lines: list[str] = []
    for path in map(Path, shards):
        for pair in read_shard(path, limits=limits):
            image = out / f"{pair.id}{pair.suffix}"
            with atomic_path(image) as temporary:
                temporary.write_bytes(pair.image)
            label = pair.extras.get("label")
            extras = dict(pair.extras.get("extras") or {})
            row = {"id": pair.id, "path": str(image), "label": label, "text": list(pair.captions)}
            rows.append({**row, "split": None, "group": None, "locator": None, "extras": extras})
            for text in pair.captions:
                line = {"path": image.name, "text": text, **({"label": label} if label else {})}
                lines.append(json.dumps(line, ensure_ascii=False))
    write_text_atomic(out / PAIRS_FILE, "\n".join([*lines, ""]))
    return rows


class ShardStream:
    """Pairs of many shards in an order that seed and epoch fix; it can stop and go on anywhere.

    Shards are shuffled, and samples within a window of ``buffer`` of them. Only positions are held in
    the window: skipping to where a run stopped reads headers, no images. Every process of a group
    takes each ``world``-th shard.

    Args:
        parts: data sets. With weights, each epoch draws as many shards as there are, with
            replacement, each in proportion to its part's weight.
        seed: of the order and of the captions.
        buffer: samples that are shuffled together.
        rank, world: which process of how many this is.

    Example:
        >>> stream = ShardStream([Part("cxr", (Path("dataset-000001.tar"),))], seed=0)
        >>> for pair in stream.epoch(0): ...  # doctest: +SKIP
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        seed: int = 0,
        buffer: int = 5000,
        rank: int = 0,
        world: int = 1,
        limits: Limits = DEFAULT,
    ) -> None:
        shards = sum(len(part.shards) for part in parts)
        if not shards or any(not part.shards for part in parts):
            raise ConfigError("A shard stream needs parts that have shards each.")
        if not 0 <= rank < world or shards < world:
            raise ConfigError(f"rank {rank} of {world} with {shards} shards: every process needs a shard.")
        weighted = [part.weight is not None for part in parts]
        if any(weighted) and not all(weighted):
            raise ConfigError(
                f"Part {parts[weighted.index(False)].name!r} has no weight and others have one."
            )
        if any(part.weight is not None and not part.weight > 0 for part in parts):
            raise ConfigError("Weights of parts are positive. Leave a part out instead of weighing it 0.")
        if buffer < 1:
            raise ConfigError(f"buffer is at least 1, got {buffer}.")
        self.parts, self.seed, self.buffer, self.rank, self.world = tuple(parts), seed, buffer, rank, world
        self.limits = limits
        self._epoch, self._done = 0, 0

    def shards(self, epoch: int) -> list[tuple[str, Path]]:
        """Return (part, shard) of this process in the order of an epoch."""
        generator = random.Random(f"{self.seed}|{epoch}|shards")
        every = [(part.name, path) for part in self.parts for path in part.shards]
        if self.parts[0].weight is not None:
            weights = [part.weight or 0.0 for part in self.parts for _ in part.shards]
            every = generator.choices(every, weights, k=len(every))
        else:
            generator.shuffle(every)
        return every[self.rank :: self.world]

    def epoch(self, epoch: int) -> Iterator[Pair]:
        """Yield the pairs of an epoch; after :meth:`load_state_dict`, those that were not yet yielded."""
        skip = self._done if epoch == self._epoch else 0
        self._epoch, self._done = epoch, skip
        for number, (part, path, place) in enumerate(self._order(epoch)):
            if number < skip:
                continue
            # A repeated sample of a weighted part draws again, so its turn counts too.
            seed = f"{self.seed}|{epoch}|{part}|{number}"
            with path.open("rb") as handle:
                pair = _pair(handle, path, place, seed, self.limits)
            self._done = number + 1
            yield pair
        self._epoch, self._done = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Return where the stream is: ``epoch`` and how many of its pairs were yielded."""
        return {"epoch": self._epoch, "done": self._done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from :meth:`state_dict` of a stream with the same parts, seed and buffer.

        Raises:
            ConfigError: not such a state.
        """
        if set(state) != {"epoch", "done"} or min(state.values()) < 0:
            raise ConfigError(f"{dict(state)} is not the state of a shard stream.")
        self._epoch, self._done = int(state["epoch"]), int(state["done"])

    def _order(self, epoch: int) -> Iterator[tuple[str, Path, _Place]]:
        """Yield every position once, shuffled within a window."""
        generator = random.Random(f"{self.seed}|{epoch}|{self.rank}|samples")
        window: list[tuple[str, Path, _Place]] = []
        for part, path in self.shards(epoch):
            for place in _index(path, self.limits):
                if len(window) < self.buffer:
                    window.append((part, path, place))
                    continue
                slot = generator.randrange(len(window))
                window[slot], chosen = (part, path, place), window[slot]
                yield chosen
        generator.shuffle(window)
        yield from window


def _index(path: Path, limits: Limits) -> list[_Place]:
    """Return the positions of a shard's pairs after checking every member."""
    if not path.is_file():
        raise DataError(f"{path.name}: no such shard.")
    members: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stem, suffix = _member(path, member, limits)
                if suffix in members.setdefault(stem, {}):
                    raise DataError(f"{path.name}: {member.name!r} stands twice. Write the shard again.")
                members[stem][suffix] = (member.offset_data, member.size)
    except LimitError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(f"{path.name}: not a whole uncompressed tar ({reason}). Copy it again.") from None
    size = path.stat().st_size
    places = []
    for stem, found in members.items():
        image = [suffix for suffix in found if suffix in IMAGE_SUFFIXES]
        text = [suffix for suffix in found if suffix in _TEXT_SUFFIXES]
        if len(image) != 1 or len(text) != 1:
            have = ", ".join(sorted(found))
            raise DataError(f"{path.name}: {stem!r} has {have}; a pair is one image and one .json or .txt.")
        if any(offset + length > size for offset, length in found.values()):
            raise DataError(f"{path.name}: ends inside {stem!r}. Copy it again.")
        places.append(_Place(stem, found[image[0]], image[0], found[text[0]], text[0]))
    return places


def _member(path: Path, member: tarfile.TarInfo, limits: Limits) -> tuple[str, str]:
    """Return (stem, suffix) of a member that may be read.

    Only names directly in the shard and only plain files pass: nothing is ever extracted by name, but a
    link or device in training data means that somebody tried.
    """
    stem, dot, suffix = member.name.rpartition(".")
    suffix = f"{dot}{suffix}".lower()
    if not member.isreg() or member.issparse():
        raise DataError(f"{path.name}: {member.name[:60]!r} is no plain file. Use shards of plain files.")
    if not stem or "/" in member.name or "\\" in member.name or stem.startswith("."):
        raise DataError(f"{path.name}: the member name {member.name[:60]!r} is not NNNNNN.suffix.")
    if suffix in _TEXT_SUFFIXES:
        limits.check("config_bytes", member.size, what=f"{path.name}: {member.name}: bytes")
    elif suffix in IMAGE_SUFFIXES:
        ceiling = min(_MEMBER_BYTES, limits.file_bytes)
        limits.with_(file_bytes=ceiling).check(
            "file_bytes", member.size, what=f"{path.name}: {member.name}: bytes"
        )
    else:
        raise DataError(f"{path.name}: {member.name[:60]!r} is neither image nor text. Remove it.")
    return stem, suffix


def _pair(handle: Any, path: Path, place: _Place, seed: int | str, limits: Limits) -> Pair:
    """Read one pair at its position."""

    def read(at: tuple[int, int]) -> bytes:
        handle.seek(at[0])
        return handle.read(at[1])

    name = f"{path.stem}-{place.stem}"
    where = f"{path.name}: {place.stem}{place.text_suffix}"
    captions, extras = _captions(read(place.text), place.text_suffix, where)
    limits.check("text_chars", max(map(len, captions)), what=f"{where}: characters")
    caption = draw(captions, f"{seed}|{name}")
    return Pair(name, read(place.image), place.image_suffix, caption, tuple(captions), extras)


def _captions(data: bytes, suffix: str, where: str) -> tuple[list[str], dict[str, Any]]:
    """Return (captions, everything else) of a text member of either kind."""
    try:
        text = data.decode("utf-8")
        content = json.loads(text, object_pairs_hook=unique_keys) if suffix == ".json" else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not UTF-8 text or not JSON ({type(error).__name__}).") from None
    if content is None and suffix == ".txt":
        try:
            return candidates(text), {}
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    content = content if isinstance(content, dict) else {}
    captions = content.pop("captions", None)
    usable = isinstance(captions, list) and all(isinstance(text, str) and text.strip() for text in captions)
    if not captions or not usable:
        raise DataError(f"{where}: 'captions' is not a list of texts, at least one and none empty.")
    return captions, content
