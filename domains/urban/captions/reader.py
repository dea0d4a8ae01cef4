"""The reader ``tile_captions``: pictures of tiles with several captions each, split so that nothing leaks."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from ....core.config import Config, parse_config
from ....core.data import Manifest, Record, group_equal_files, split
from ....core.errors import ConfigError, DataError
from ....core.limits import DEFAULT, Limits
from .filtering import CaptionFilter
from .layouts import check_images, read_caption_file

_log = logging.getLogger(__name__)

Take = Literal["any", "first", "one"]
"""``any``: one is drawn each time a tile is shown; ``first``: always the first; ``one``: one for good."""

_TILE = re.compile(r"^(\d{1,2})_(\d+)_(\d+)(?!\d)")
"""Names of tiles begin with zoom, column and row: ``16_12641_4726_s.jpg``."""


class TileCaptionOptions(Config):
    """What a recipe may say beside the name of the file, under ``options`` of the source."""

    images: str | None = None
    """Folder that the pictures' names start from, relative to the file's own; None is that folder."""
    take: Take = "any"
    """Which caption of a tile is shown. The published training code took ``one``."""
    caption_filter: str | None = None
    """Name of a filter (``urbanclip``), or a YAML file of rules beside the caption file."""
    missing: Literal["raise", "skip"] = "raise"
    """Captions of a picture that is not there are an error, or are left out and told."""
    parts: str = ""
    """Shares of training, validation and test, ``80/10/10``; empty leaves the split to the recipe, which then
    makes training and validation and can keep near-equal pictures together
    (``data.validation.near_duplicate_bits``), where these parts only see to equal files and blocks."""
    block: int = Field(default=0, ge=0)
    """Tiles of one block of so many columns and rows, by the numbers in their names, stay on one side of the
    split; 0 keeps only equal pictures together. Neighbors share roads, shores and light: a score on tiles
    between training tiles tells little about another place."""
    seed: int = 0
    """Of the split and of ``take: one``."""


def read_tile_captions(path: str | Path, *, limits: Limits = DEFAULT, **options: Any) -> list[dict[str, Any]]:
    """Return one record per picture of a caption file, in any layout of :mod:`.layouts`.

    Args:
        path: JSON file of captions.
        limits: ceilings on the file and on each caption.
        options: fields of :class:`TileCaptionOptions`.

    Returns:
        {"id", "path", "text", "group", "split"} per picture; ``group`` is the block, where there are blocks.

    Raises:
        DataError: as :func:`.layouts.read_caption_file` and :func:`.layouts.check_images`; nothing is left.
        ConfigError: an unknown option or filter, impossible parts, or names without numbers for blocks.
    """
    wanted = parse_config(TileCaptionOptions, options, source="tile_captions options")
    path = Path(path)
    root = path.parent / (wanted.images or ".")
    captions: Mapping[str, tuple[str, ...]] = read_caption_file(path, limits=limits)
    if wanted.missing == "skip":
        captions = _present(captions, root, path.name)
    else:
        check_images(captions, root)
    if wanted.caption_filter is not None:
        captions = _filtered(captions, wanted.caption_filter, path)
    if not captions:
        raise DataError(f"{path.name}: no captions are left.")
    groups = {image: _block(image, wanted.block) for image in captions} if wanted.block else {}
    shares = _shares(wanted.parts) if wanted.parts else {}
    splits = _splits(list(captions), root, groups, shares, wanted.seed) if shares else {}
    return [
        {
            "id": image,
            "path": str((root / image).absolute()),
            "text": list(_taken(texts, wanted.take, f"{wanted.seed}:{image}")),
            "group": groups.get(image),
            "split": splits.get(image),
        }
        for image, texts in captions.items()
    ]


def _present(captions: Mapping[str, tuple[str, ...]], root: Path, name: str) -> dict[str, tuple[str, ...]]:
    found = {image: texts for image, texts in captions.items() if (root / image).is_file()}
    if len(found) < len(captions):
        lost = next(image for image in captions if image not in found)
        _log.warning(
            "%s: %d of %d pictures with captions are not there and are left out, first %s.",
            name,
            len(captions) - len(found),
            len(captions),
            lost,
        )
    return found


def _filtered(
    captions: Mapping[str, tuple[str, ...]], name_or_file: str, path: Path
) -> dict[str, tuple[str, ...]]:
    is_file = Path(name_or_file).suffix.lower() in {".yaml", ".yml", ".json"}
    kept, report = CaptionFilter.read(path.parent / name_or_file if is_file else name_or_file)(captions)
    _log.info(
        "%s: %d of %d captions of %d of %d tiles pass the filter %s.",
        path.name,
        report.captions[1],
        report.captions[0],
        report.tiles[1],
        report.tiles[0],
        name_or_file,
    )
    return kept


def _taken(texts: tuple[str, ...], take: Take, key: str) -> tuple[str, ...]:
    if take == "any":
        return texts
    if take == "first":
        return texts[:1]
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    return (texts[number % len(texts)],)


def _shares(parts: str) -> dict[str, float]:
    """Return {split: share} of ``80/10/10``."""
    try:
        numbers = [float(part) for part in parts.split("/")]
    except ValueError:
        numbers = []
    # Comparisons with NaN are false.
    if len(numbers) not in (2, 3) or not all(0 < number < float("inf") for number in numbers):
        raise ConfigError(
            f"parts {parts!r}: expected the shares of training and validation, and of test where there is "
            "one, such as 80/10/10."
        )
    return {
        name: number / sum(numbers) for name, number in zip(("train", "val", "test"), numbers, strict=False)
    }


def _block(image: str, size: int) -> str:
    """Return the block of a tile by zoom, column and row in its name."""
    place = PurePosixPath(image)
    found = _TILE.match(place.name)
    if found is None:
        raise ConfigError(
            f"block needs names that begin with zoom, column and row, such as 16_12641_4726_s.jpg, and there "
            f"is {image!r}. Set block to 0."
        )
    zoom, column, row = map(int, found.groups())
    return f"{place.parent.as_posix()}/{zoom}_{column // size}_{row // size}"


def _splits(
    images: list[str], root: Path, groups: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str | None]:
    """Return {picture: split}; blocks and equal files stay together."""
    records = [Record(image, path=image, group=groups.get(image)) for image in images]
    manifest = group_equal_files(Manifest.from_records(records, root=root))
    return {record.id: record.split for record in split(manifest, shares, seed=seed)}
