"""A data set of simulated presentations from a folder of photos: pictures and their manifest."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ....core.config_base import Config
from ....core.data.groups import Groups
from ....core.data.leakage import difference_hash
from ....core.data.perceptual import near_hashes
from ....core.errors import ConfigError, DataError
from ....core.images import open_still
from ....core.limits import DEFAULT, Limits
from ..protocols.entry import Entry, Split
from ..protocols.manifest import write_manifest
from ..taxonomy import load_taxonomy
from .presentation import BONA_FIDE, Simulated, simulated
from .ranges import Part, check_families

if TYPE_CHECKING:
    from collections.abc import Mapping

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
NEAR_BITS = 2
"""Photos whose 64-bit difference hashes are this close are one subject."""

MANIFEST = "manifest.csv"


class Plan(Config):
    """What to make of every photo."""

    part: Part = "train"
    families: tuple[str, ...] = ()
    """Empty: all."""
    leave_out: tuple[str, ...] = ()
    """Families that have their turn without a picture being made: all other pictures stay as they are."""
    seed: int = Field(default=0, ge=0)
    bona_fide: int = Field(default=1, ge=0)
    """Bona fide presentations of each photo."""
    attacks: int = Field(default=2, ge=0)
    """Attack presentations of each photo; families take turns."""
    dev_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the subjects of the train part that become the dev split; the test part is one split."""
    splits: tuple[Split, ...] = ()
    """Which splits to write; empty: all of the part."""
    dataset: str = Field(default="simulated", min_length=1)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        manifest: the table.
        subjects: groups of near-equal photos.
        left_out: photos that are near-equal to one of ``apart_from``.
        counts: {(split, family): pictures}.
    """

    manifest: Path
    subjects: int
    left_out: int
    counts: Mapping[tuple[str, str], int]


def write_dataset(
    photos: str | Path,
    out: str | Path,
    plan: Plan | None = None,
    *,
    apart_from: str | Path | None = None,
    limits: Limits = DEFAULT,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write simulated presentations of ``photos`` and their manifest into a new folder.

    Each photo is a subject, and photos that are nearly equal are one. In the train part, subjects are dealt
    to the splits train and dev by their names; the test part is one split. Pictures are JPEG files of the
    simulated camera, so that attacks and bona fide pictures have the same encoding.

    Args:
        photos: folder, searched through, of ordinary photos; people or not, they become "subjects".
        out: folder to make; it must not hold anything yet.
        plan: what to make of every photo.
        apart_from: another folder of photos; those of ``photos`` nearly equal to one of them are left out, so
            that a later test part shares no subject.
        limits: ceilings for each photo.
        progress: called with the photos done and all.

    Returns:
        What was written; the manifest has the columns of :mod:`..protocols.manifest` and the groups
        ``category``, ``family`` and ``severity`` (weak, medium, strong among the values of the part).

    Raises:
        DataError: no photos, or one that cannot be used.
        ConfigError: an unknown family, or ``out`` is in use or below ``photos``.
    """
    plan = plan or Plan()
    families = check_families(plan.families)
    check_families(plan.leave_out)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already. Name a new folder for the simulated presentations.")
    if out.resolve().is_relative_to(Path(photos).resolve()):
        raise ConfigError(f"{out}: lies among the photos; another run would take attacks for photos.")
    files = _photos(Path(photos))
    subjects = _subjects(files, None if apart_from is None else _photos(Path(apart_from)), limits)
    left_out = len(files) - len(subjects)
    names = {path: name for name, path in files.items()}
    if plan.splits:
        subjects = {
            path: subject
            for path, subject in subjects.items()
            if split_of(subject, plan.part, plan.dev_share) in plan.splits
        }
    if not subjects:
        raise DataError(
            f"{photos}: no photo is left for the splits {', '.join(plan.splits) or 'of the part'}."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        entries = []
        for number, (path, subject) in enumerate(subjects.items()):
            photo = (names[path], path)
            entries += _presentations(half, photo, subject, _turn(families, plan, number), plan, limits)
            if progress is not None:
                progress(number + 1, len(subjects))
        write_manifest(entries, half / MANIFEST)
        half.chmod(0o755)
        if out.exists():
            out.rmdir()
        half.rename(out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.split, entry.groups["family"])
        counts[key] = counts.get(key, 0) + 1
    return Written(out / MANIFEST, len(set(subjects.values())), left_out, counts)


def read_photo(path: Path, *, limits: Limits = DEFAULT) -> NDArray[np.uint8]:
    """Return a photo uint8 [H, W, 3], turned upright.

    Raises:
        InputError: not a still picture.
        LimitError: over a ceiling.
    """
    with open_still(path, name=path.name, limits=limits) as (image, _):
        return np.array(image.convert("RGB"))


def split_of(subject: str, part: Part, dev_share: float) -> Split:
    """Return the split of a subject: by its name alone, so that more photos leave it where it is."""
    if part == "test":
        return "test"
    place = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64
    return "dev" if place < dev_share else "train"


def _photos(folder: Path) -> dict[str, Path]:
    """Return {name below the folder: photo}, sorted."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder of photos.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: holds no photos ({', '.join(SUFFIXES)}).")
    return {path.relative_to(folder).as_posix(): path for path in found}


def _subjects(files: dict[str, Path], others: dict[str, Path] | None, limits: Limits) -> dict[Path, str]:
    """Return {photo: subject}, without those near-equal to one of ``others``."""
    paths = [*files.values(), *(others or {}).values()]
    names = list(files)
    hashes = np.array([difference_hash(_grey(path, limits)) for path in paths], np.uint64)
    groups: Groups[int] = Groups()
    foreign: set[int] = set()
    for first, second in near_hashes(hashes, NEAR_BITS)[0].tolist():
        if max(first, second) < len(names):
            groups.join(first, second)
        elif min(first, second) < len(names):
            foreign.add(min(first, second))
    return {
        files[name]: names[groups.find(number)] for number, name in enumerate(names) if number not in foreign
    }


def _grey(path: Path, limits: Limits) -> NDArray[np.float32]:
    with open_still(path, name=path.name, limits=limits) as (image, _):
        return np.asarray(image.convert("L"), dtype=np.float32)


def _turn(families: Sequence[str], plan: Plan, number: int) -> list[str]:
    """Return the presentations of the photo of this number: bona fide ones, then attacks in turn."""
    start = number * plan.attacks
    attacks = [families[(start + step) % len(families)] for step in range(plan.attacks)]
    return [BONA_FIDE] * plan.bona_fide + attacks


def _presentations(
    folder: Path, photo: tuple[str, Path], subject: str, turn: Sequence[str], plan: Plan, limits: Limits
) -> Iterator[Entry]:
    """Write the presentations of one photo (name below its folder, file) and yield their rows."""
    below, path = photo
    taxonomy = load_taxonomy("default")
    picture = read_photo(path, limits=limits)
    for step, family in enumerate(turn):
        if family in plan.leave_out:
            continue
        key = hashlib.sha256(f"{plan.seed}/{below}/{step}".encode()).hexdigest()
        made = simulated(picture, family, part=plan.part, seed=int(key[:12], 16))
        name = f"{family}/{key[:16]}.jpg"
        file = folder / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(made.encoded)
        yield Entry(
            file,
            name.removesuffix(".jpg"),
            "live" if family == BONA_FIDE else "attack",
            taxonomy.species_of(made.category),
            subject,
            split_of(subject, plan.part, plan.dev_share),
            plan.dataset,
            groups={"category": made.category, "family": family} | _severity(made),
        )


def _severity(made: Simulated) -> dict[str, str]:
    if made.strength is None:
        return {}
    return {"severity": ("weak", "medium", "strong")[min(2, int(made.strength * 3))]}
