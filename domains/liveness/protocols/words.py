"""The words of labelled tables, the same in manifests and in tables of scores: labels, splits, species.

Users write ``real`` or ``bona_fide`` for live and ``devel`` for dev; whichever table they write it in, it
means the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from ....core.errors import DataError
from ..taxonomy import LIVE_NAMES
from .entry import BONA_FIDE, SPLITS, UNSPECIFIED, Label, Split

LABEL_WORDS: dict[str, Label] = {
    **dict.fromkeys((*LIVE_NAMES, "1"), "live"),
    **dict.fromkeys(("attack", "spoof", "fake", "imposter", "impostor", "0"), "attack"),
}
SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train",
    "dev": "dev", "devel": "dev", "development": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test", "testing": "test",
}  # fmt: skip

_ADVICE = (
    "Write live (also real, bona_fide, 1) or attack (also spoof, fake, 0); the kind of attack goes into "
    "the column species."
)


def label_of(where: str, word: str) -> Label:
    """Return the label that a word means; ``where`` begins the message.

    Raises:
        DataError: it means none.
    """
    found = LABEL_WORDS.get(word.lower())
    if found is None:
        raise DataError(f"{where}: label {word!r:.40}.{_near(word, LABEL_WORDS)} {_ADVICE}")
    return found


def split_of(where: str, word: str) -> Split:
    """Return the split that a word means.

    Raises:
        DataError: it means none.
    """
    found = SPLIT_WORDS.get(word.lower())
    if found is None:
        raise DataError(
            f"{where}: split {word!r:.40}.{_near(word, SPLIT_WORDS)} Splits are {', '.join(SPLITS)}."
        )
    return found


def species_of(where: str, word: str, label: Label | None) -> str:
    """Return the species of a row: live is always bona fide, an attack never.

    Args:
        where: begins messages.
        word: of the row; empty where it says nothing.
        label: of the row; None where it has none, and the species says both.

    Raises:
        DataError: the two contradict each other, or the row says neither.
    """
    live = word.lower() in LIVE_NAMES
    if label is None and not word:
        raise DataError(f"{where}: the species is empty; expected {BONA_FIDE} or that of the attack.")
    if (label == "live" and not word) or (live and label != "attack"):
        return BONA_FIDE
    if label == "live" or live:
        raise DataError(
            f"{where}: label {label} with species {word!r}. Live presentations are {BONA_FIDE} or have an "
            "empty species; attacks have that of their instrument, such as print."
        )
    return word or UNSPECIFIED


def cell_text(where: str, name: str, value: Any) -> str:
    """Return a cell as text, empty where there is none.

    Raises:
        DataError: it is neither text nor a number.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"{where}: {name} must be text or a number, got {type(value).__name__}.")
    return str(value).strip()


def refuse_slips(where: str, present: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a column that is one letter from a column that is absent.

    Any column without a meaning of its own is a group, so a slip would cost the column it was meant to be.

    Raises:
        DataError: names both.
    """
    absent = [name for name in columns if name not in present]
    for name in present:
        if name in columns:
            continue
        close = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.8)
        if close:
            raise DataError(
                f"{where}: column {name!r} would be a group, and there is no column {close[0]!r}. Rename it "
                "to one or the other."
            )


def refuse_spellings(where: str, species: Iterable[str]) -> None:
    """Refuse species that differ in case, spaces, hyphens or underscores alone.

    Each would get an APCER of its own, over a part of its presentations.

    Raises:
        DataError: names both spellings.
    """
    spellings: dict[str, str] = {}
    for name in species:
        letters = name.casefold().translate(_NO_LETTERS)
        first = spellings.setdefault(letters, name)
        if first != name:
            raise DataError(
                f"{where}: the species {first!r:.60} and {name!r:.60} would be counted apart. Write one."
            )


_NO_LETTERS = str.maketrans("", "", " -_")


def _near(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant.

    Only of words that are nearly equal: a hint at the other class, such as real for replay or 1 for -1, would
    reverse labels.
    """
    word = word.lower()
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.75) if word.strip("+-.0123456789") else []
    return f" Did you mean {close[0]!r}?" if close and not word.startswith(("un", "non", "not")) else ""
