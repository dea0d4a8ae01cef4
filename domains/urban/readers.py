"""Dataset readers of the urban room: a folder to records that ``load_image`` can load.

Each record is {"id", "path", "label", "split", "group", "locator"}; with captions also {"text", "extras"}.
"""

from __future__ import annotations

from pathlib import Path

from ...core.claims import Captions, ClassFolders, Record, Wording, read_described
from ...core.limits import DEFAULT, Limits
from .facts import NOUNS, TERMS, claimed_captions, claims_held, facts_of

CLASSES = tuple(NOUNS)
"""The ten classes of EuroSAT as its folders are called."""

_FOLDERS = ClassFolders("patches of EuroSAT", CLASSES, (".jpg", ".jpeg", ".png"))
_WORDING = Wording(TERMS, facts_of, claimed_captions, claims_held, Path(__file__).parent / "prompts")


def read_eurosat(
    path: str | Path,
    *,
    captions: int = 0,
    class_captions: int = 0,
    prompts: str = "tiny",
    seed: int = 0,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per patch of EuroSAT RGB; labels are its ten folder names.

    Patches lie in ``CLASS/`` as published, where the split is left open, or in ``SPLIT/CLASS/``.

    Args:
        path: the folder.
        captions: captions of each patch composed of its class and of what its pixels show, and of the
            latter alone; see :mod:`.facts`. What each claims stays in ``extras`` for ``data.collate:
            tile_claims``. 0 reads labels only, without opening a patch.
        class_captions: sentences of the prompt set added to them, drawn for each patch.
        prompts: prompt set of the room they come from.
        seed: of all draws.
        limits: ceilings for each patch.

    Raises:
        DataError: no such folder, no patches, a folder that is no class, both layouts at once, or a patch
            that cannot be read.
        ConfigError: a negative number, class captions without captions, or an unknown prompt set.

    Reference:
        Helber et al. 2019, EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land
        Cover Classification.
    """
    chosen = Captions(captions, class_captions, prompts, seed)
    return read_described(path, _FOLDERS, _WORDING, chosen, limits=limits)
