"""Dataset readers of the e-commerce room: a folder to records that ``load_image`` can load.

Each record is {"id", "path", "label", "split", "group", "locator"}; with captions also {"text", "extras"}.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...core.data.files import files_below
from ...core.errors import ConfigError, DataError, nearest
from ...core.images import load_image
from ...core.limits import DEFAULT, Limits
from ...core.pixels import to_pixels
from ...core.prompts import PromptSet, normalize_label
from .facts import facts_of
from .wording import NOUNS, Caption, bits_of, captions_of, claims_held

Record = dict[str, Any]

CLASSES = tuple(NOUNS)
"""The ten kinds of garment as the folders of the data set are called."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_clothing(
    path: str | Path,
    *,
    captions: int = 0,
    class_captions: int = 0,
    prompts: str = "tiny",
    seed: int = 0,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per photo of the clothing data set; labels are its ten folder names.

    Photos lie in ``SPLIT/KIND/`` as published, or in ``KIND/``, where the split is left open.

    Args:
        path: the folder.
        captions: captions of each photo composed of its kind and of what its pixels show, and of the latter
            alone; see :mod:`.wording`. What each claims stays in ``extras`` for ``data.collate:
            garment_claims``. 0 reads labels only, without opening a photo.
        class_captions: sentences of the prompt set added to them, drawn for each photo.
        prompts: prompt set of the room they come from.
        seed: of all draws.
        limits: ceilings for each photo.

    Raises:
        DataError: no such folder, no photos, a folder that is no kind of garment, both layouts at once, or a
            photo that cannot be read.
        ConfigError: a negative number, class captions without captions, or an unknown prompt set.

    Reference:
        Grigorev 2020, Clothing dataset (full, high resolution), CC0; its subset clothing-dataset-small.
    """
    path = Path(path)
    if min(captions, class_captions) < 0 or (class_captions and not captions):
        raise ConfigError(
            f"captions {captions}, class_captions {class_captions}: numbers from 0, and class captions only "
            "beside captions (for kinds of garment alone say captions: prompts)."
        )
    records = _records(path)
    if not captions:
        return records
    sentences = _sentences(prompts) if class_captions else {}

    def described(record: Record) -> Record:
        return _described(record, captions, (sentences, class_captions), seed=seed, limits=limits)

    # Decoding and small tensor work release the interpreter lock for most of their time.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(described, records))


def _records(path: Path) -> list[Record]:
    if not path.is_dir():
        raise DataError(f"{path.name}: no such folder of photos. Give the folder that holds the kinds.")
    names = [name for name in files_below(path) if name.lower().endswith(_SUFFIXES)]
    if not names:
        raise DataError(f"{path.name}: no photos here ({', '.join(_SUFFIXES)}).")
    records = [_record(path, name) for name in names]
    if len({record["split"] is None for record in records}) > 1:
        raise DataError(
            f"{path.name}: folders of kinds and folders of splits lie beside each other. Keep one layout."
        )
    return records


def _record(path: Path, name: str) -> Record:
    folders = name.split("/")[:-1]
    split = _SPLITS.get(folders[0].lower()) if len(folders) == 2 else None
    if len(folders) != (1 if split is None else 2) or folders[-1] not in CLASSES:
        found = folders[-1] if folders else ""
        raise DataError(
            f"{name}: photos of clothes lie in KIND/ or in SPLIT/KIND/, with kinds {', '.join(CLASSES)}."
            f"{nearest(found, CLASSES)}"
        )
    return {
        "id": name.rpartition(".")[0],
        "path": str(path / name),
        "label": folders[-1],
        "split": split,
        "group": None,
        "locator": None,
    }


def _sentences(name: str) -> dict[str, list[str]]:
    """Return {kind: sentences} of a prompt set of the room that knows every kind."""
    file = Path(__file__).parent / "prompts" / f"{name}.yaml"
    if not file.is_file():
        known = sorted(one.stem for one in file.parent.glob("*.yaml"))
        raise ConfigError(
            f"No prompt set {name!r} in the room; it has {', '.join(known)}.{nearest(name, known)}"
        )
    found = PromptSet.load(file)
    known_as = {normalize_label(word): key for key, words in found.classes.items() for word in (key, *words)}
    lacking = [label for label in CLASSES if normalize_label(label) not in known_as]
    if lacking:
        raise ConfigError(f"Prompt set {name!r} has no class that is also called {lacking[0]!r}.")
    return {label: found.texts(known_as[normalize_label(label)]) for label in CLASSES}


def _described(
    record: Record,
    captions: int,
    drawn: tuple[dict[str, list[str]], int],
    *,
    seed: int,
    limits: Limits,
) -> Record:
    """Return a record with captions and with the bits of what they claim and of what holds."""
    kind, (sentences, class_captions) = str(record["label"]), drawn
    try:
        facts = facts_of(to_pixels(load_image(record["path"], limits=limits), name=record["id"]))
    except OSError as error:
        raise DataError(f"{record['id']}: cannot be read ({error.strerror}).") from error
    # By file, not by folder: the same photo has the same captions in either layout.
    own = f"{seed}:{record['id'].rpartition('/')[2]}"
    found = list(captions_of(kind, facts, count=captions, seed=own))
    if class_captions:
        known = sentences[kind]
        chosen = random.Random(own).sample(known, k=min(class_captions, len(known)))
        found += [Caption(text, frozenset((kind,))) for text in chosen]
    holds, may = claims_held(kind, facts)
    # A text that both draws gave counts once, with what the composed one claims.
    claims = {caption.text: bits_of(caption.claims) for caption in reversed(found)}
    extras = {"claims": claims, "holds": bits_of(holds), "may": bits_of(may)}
    return {**record, "text": list(claims), "extras": extras}
