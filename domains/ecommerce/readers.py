"""Dataset readers of the e-commerce room: a folder to records that ``load_image`` can load.

Each record is {"id", "path", "label", "split", "group", "locator"}; with captions also {"text", "extras"}.
"""

from __future__ import annotations

from pathlib import Path

from ...core.claims import Captions, ClassFolders, Record, Wording, read_described
from ...core.limits import DEFAULT, Limits
from .facts import facts_of
from .wording import NOUNS, TERMS, captions_of, claims_held

CLASSES = tuple(NOUNS)
"""The ten kinds of garment as the folders of the data set are called."""

_FOLDERS = ClassFolders("photos of clothes", CLASSES, (".jpg", ".jpeg", ".png", ".webp"))
_WORDING = Wording(TERMS, facts_of, captions_of, claims_held, Path(__file__).parent / "prompts")


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

    Photos lie in ``SPLIT/CLASS/`` as published, or in ``CLASS/``, where the split is left open.

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
    chosen = Captions(captions, class_captions, prompts, seed, by_file=True)
    return read_described(path, _FOLDERS, _WORDING, chosen, limits=limits)
