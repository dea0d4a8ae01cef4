"""FLIP's protocols over lists of frames: train on some data sets, test on one that was never seen.

Lists lie in ``MCIO/txt`` and ``WCS/txt`` as ``{data set}_{real,fake}_{train,test,shot}.txt``, one path per
line relative to ``MCIO/frame`` or ``WCS/frame``. They are not part of this package; :mod:`.flip_lists`
rebuilds equivalent ones from the data sets. In MCIO the list ``train`` is the official train and test part
together and ``test`` is ``train`` without the ten ``shot`` lines; in WCS ``train`` may hold the ``test``
lines too. So a set is a source or the target, never both, and its two lists are never used together.

Reference: Srivatsan, Naseer, Nandakumar, FLIP: Cross-domain face anti-spoofing with language guidance,
ICCV 2023; koushiksrivats/FLIP, list files and utils/utils.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ....core.data.files import inside
from ....core.data.tables import text_lines
from ....core.errors import ConfigError, DataError, InputError, nearest
from ....core.limits import DEFAULT
from .aliases import canonical_dataset
from .entry import Entry, Split
from .flip_names import EXTRA, MCIO, UNVERIFIED, WCS, FrameName, disagreeing, read_name, video_of
from .protocol import Protocol, found_in
from .subjects import FEW_SHOT

LETTERS = {
    "MCIO": {"M": "msu", "C": "casia", "I": "replay", "O": "oulu"},
    "WCS": {"W": "wmca", "C": "cefa", "S": "surf"},
}
"""{benchmark: {letter in FLIP's tables: data set}}."""

LINES: dict[tuple[str, str], dict[str, int]] = {
    ("casia", "real"): {"train": 150, "test": 140, "shot": 10},
    ("casia", "fake"): {"train": 450, "test": 440, "shot": 10},
    ("msu", "real"): {"train": 70, "test": 60, "shot": 10},
    ("msu", "fake"): {"train": 210, "test": 200, "shot": 10},
    ("replay", "real"): {"train": 140, "test": 130, "shot": 10},
    ("replay", "fake"): {"train": 700, "test": 690, "shot": 10},
    ("oulu", "real"): {"train": 720, "test": 710, "shot": 10},
    ("oulu", "fake"): {"train": 2880, "test": 2870, "shot": 10},
    ("celeb", "real"): {"train": 40000},
    ("celeb", "fake"): {"train": 40000},
    ("cefa", "real"): {"train": 15000, "test": 2990, "shot": 10},
    ("cefa", "fake"): {"train": 45000, "test": 8990, "shot": 10},
    ("surf", "real"): {"train": 29394, "test": 2984, "shot": 10},
    ("surf", "fake"): {"train": 67190, "test": 6604, "shot": 10},
    ("wmca", "real"): {"train": 3470, "test": 3460, "shot": 10},
    ("wmca", "fake"): {"train": 13288, "test": 5470, "shot": 10},
}
"""{(data set, kind): {list: lines}}, counted in the published lists."""

SHOTS_USED, SHOT_REPEATS = 5, 4
"""A 5-shot run takes the first five lines of each shot list of the target, four times over."""

_KINDS = ("real", "fake")
_ORACLE = (
    "the threshold at the equal error rate of the target's own test set, and the checkpoint with the lowest "
    "half total error rate on it, looked up every 100 steps"
)


def read_flip(
    folder: str | Path,
    *,
    target: str,
    sources: Sequence[str] | None = None,
    protocol: int = 1,
    shots: int = 0,
    celeb: bool = True,
    partial: bool = False,
) -> Protocol:
    """Return a run of FLIP: sources in ``train``, the target in ``test``; see ``dev_share`` of open_protocol.

    Args:
        folder: that holds ``MCIO/`` or ``WCS/``, each with ``txt/`` and ``frame/``.
        target: data set that is tested, by letter or any of its names (msu, casia, replay, oulu; wmca, cefa,
            surf; or as in :mod:`.aliases`).
        sources: that are trained on; default in protocols 1 and 2: all others. Protocol 3 needs one.
        protocol: 1 (MCIO, leave one out), 2 (WCS, leave one out) or 3 (MCIO, one to one).
        shots: 0, or 5 for the few-shot runs: shots of the target join the training part as a further set.
            They are of people who are tested too, by the protocol's design.
        celeb: train on CelebA-Spoof too, as every published run does.
        partial: take lists that are shorter than the published ones and frames that are missing, and note it.

    Raises:
        ConfigError: unknown protocol, data set or number of shots.
        DataError: the target among the sources, a list that is missing, malformed or of another length, or
            missing frames.
    """
    benchmark = "WCS" if protocol == 2 else "MCIO"
    aim = _dataset(target, protocol)
    learned = _sources(sources, aim, protocol)
    if shots not in (0, SHOTS_USED):
        raise ConfigError(f"shots {shots!r}: FLIP has runs of 0 and of {SHOTS_USED} shots.")
    home = _home(folder)
    notes: list[str] = []
    entries: list[Entry] = []
    for dataset in (*learned, *((EXTRA,) if celeb else ())):
        for kind in _KINDS:
            entries += _read(home, dataset, kind, "train", partial=partial, notes=notes)
    for kind in _KINDS:
        entries += _read(home, aim, kind, "test", partial=partial, notes=notes)
        if shots:
            entries += _read(home, aim, kind, "shot", partial=partial, notes=notes) * SHOT_REPEATS
    if shots:
        notes.append(
            f"The {shots} shots per class are of the target: their people, and in WCS other frames of their "
            "videos, are tested too, by the protocol's design. Training and evaluating with them has to be "
            "allowed by the option few_shot."
        )
    if not celeb:
        notes.append("Without CelebA-Spoof; published runs train on it too.")
    notes += [UNVERIFIED[one] for one in (*learned, *((EXTRA,) if celeb else ()), aim) if one in UNVERIFIED]
    letters = {name: letter for letter, name in LETTERS[benchmark].items()}
    arrow = f"{''.join(letters[one] for one in learned)}->{letters[aim]}"
    name = f"flip protocol {protocol} {arrow} {shots}-shot"
    return Protocol(name, tuple(entries), "test_eer", tuple(notes), _ORACLE)


def flip_entries(
    lines: Iterable[str], frames: Path, *, dataset: str, kind: str, split: Split, source: str = "list"
) -> list[Entry]:
    """Return the presentations of one list; lines of one video are its frames.

    Args:
        lines: paths relative to ``frames``, such as ``casia/train/fake/19_7_frame0.png``.
        frames: the folder ``MCIO/frame`` or ``WCS/frame``.
        dataset: its name in the lists.
        kind: ``real`` or ``fake``, as the list's name says.
        split: ``test`` adds the second frame of each MCIO video: lists hold the first only.
        source: the list's name in messages.

    Raises:
        DataError: a line of another layout, data set or kind, or one that stands twice.
    """
    videos: dict[str, list[str]] = {}
    named: dict[str, FrameName] = {}
    for row, line in enumerate(lines, 1):
        path = line.strip()
        if not path:
            continue
        try:
            fact = read_name(dataset, inside(frames, path))
        except (DataError, InputError) as error:
            raise DataError(f"{source} row {row}: {error}") from None
        if (fact.label == "live") != (kind == "real"):
            raise DataError(f"{source} row {row}: {path!r:.80} is {fact.label}, in a list of {kind} frames.")
        if path in videos.setdefault(fact.video_id, []):
            raise DataError(f"{source} row {row}: {path!r:.80} stands twice.")
        videos[fact.video_id].append(path)
        named[fact.video_id] = fact
    return [_entry(named[name], paths, frames, dataset, split) for name, paths in videos.items()]


def _entry(fact: FrameName, paths: Sequence[str], frames: Path, dataset: str, split: Split) -> Entry:
    files = list(paths)
    if split == "test" and dataset in MCIO:
        files = [f"{fact.video_id}_frame{number}.png" for number in (0, 1)]
    places = tuple(frames / file for file in files)
    return Entry(
        places[0],
        fact.video_id,
        fact.label,
        fact.species,
        fact.subject,
        split,
        dataset,
        places if len(places) > 1 else (),
        fact.groups,
    )


def _read(home: Path, dataset: str, kind: str, which: str, *, partial: bool, notes: list[str]) -> list[Entry]:
    """Return the presentations of one list file; adds to ``notes`` what is missing."""
    place = home / ("WCS" if dataset in WCS else "MCIO")
    name = f"{dataset}_{kind}_{which}.txt"
    file = place / "txt" / name
    if not file.is_file():
        seen = found_in(place / "txt") if (place / "txt").is_dir() else "no folder txt"
        raise DataError(
            f"{file}: no such list. Lists of FLIP lie in {place.name}/txt, frames in {place.name}/frame. "
            f"Found: {seen}. Lists can be rebuilt from a data set's frames (verticlip liveness flip-lists)."
        )
    lines = [line.strip() for _, line in text_lines(file, DEFAULT) if line.strip()]
    expected = LINES[dataset, kind][which]
    if len(lines) != expected:
        text = f"{name} has {len(lines):,} lines, the published list {expected:,}"
        if not partial:
            raise DataError(f"{text}. Complete the data set, or take the list as it is with partial.")
        notes.append(f"Incomplete: {text}; do not compare results with published ones.")
    if strange := disagreeing(dataset, kind, lines):
        notes.append(
            f"{name}: {strange:,} file names say the opposite of the list, which is followed, as by FLIP."
        )
    if which == "shot":
        entries = _shots(lines, place / "frame", dataset, kind, name)
    else:
        split: Split = "test" if which == "test" else "train"
        entries = flip_entries(lines, place / "frame", dataset=dataset, kind=kind, split=split, source=name)
    there = [entry for entry in entries if all(os.path.isfile(one) for one in entry.files)]
    if missing := len(entries) - len(there):
        absent = next(one for entry in entries for one in entry.files if not os.path.isfile(one))
        first = absent.relative_to(place)
        text = f"{name}: frames of {missing:,} of {len(entries):,} presentations are missing, first {first}"
        if not partial or not there:
            raise DataError(f"{text}. Complete {place.name}/frame, or leave them out with partial.")
        notes.append(f"Incomplete: {text}; do not compare results with published ones.")
    return there


def _shots(lines: Sequence[str], frames: Path, dataset: str, kind: str, source: str) -> list[Entry]:
    """Return the shots that are used, each a single frame with an id of its own."""
    entries = []
    for line in lines[:SHOTS_USED]:
        (entry,) = flip_entries([line], frames, dataset=dataset, kind=kind, split="train", source=source)
        groups = {**entry.groups, FEW_SHOT: "target"}
        entries.append(replace(entry, video_id=f"{video_of(dataset, line)} (shot)", groups=groups))
    return entries


def _sets(protocol: int) -> tuple[str, ...]:
    if protocol not in (1, 2, 3):
        raise ConfigError(
            f"protocol {protocol!r}: FLIP has protocols 1 (MCIO), 2 (WCS) and 3 (pairs of MCIO)."
        )
    return WCS if protocol == 2 else MCIO


def _dataset(word: str, protocol: int) -> str:
    sets = _sets(protocol)
    letters: Mapping[str, str] = LETTERS["WCS" if protocol == 2 else "MCIO"]
    by_name = {canonical_dataset(name): name for name in sets}
    name = letters.get(word.upper()) or by_name.get(canonical_dataset(word))
    if name is None:
        raise ConfigError(
            f"Data set {word!r} is not in protocol {protocol} of FLIP.{nearest(word, sets)} It has "
            f"{', '.join(f'{name} ({letter})' for letter, name in letters.items())}."
        )
    return name


def _sources(words: Sequence[str] | None, target: str, protocol: int) -> tuple[str, ...]:
    if words is None:
        if protocol == 3:
            others = [name for name in _sets(3) if name != target]
            raise ConfigError(f"Protocol 3 of FLIP trains on one data set: name one of {', '.join(others)}.")
        return tuple(name for name in _sets(protocol) if name != target)
    names = tuple(dict.fromkeys(_dataset(word, protocol) for word in words))
    if target in names:
        raise DataError(
            f"The target {target} is among the sources. Its train list holds its test list: what is tested "
            "must not be trained on."
        )
    if not names or (protocol == 3 and len(names) != 1):
        raise ConfigError(f"Protocol {protocol} of FLIP got {len(names)} sources.")
    return names


def _home(folder: str | Path) -> Path:
    """Return the folder that holds MCIO and WCS; the repository's own root is taken too."""
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"{folder}: no such folder. Expected FLIP's data folder, with MCIO/ and WCS/.")
    for home in (place, place / "data"):
        if (home / "MCIO").is_dir() or (home / "WCS").is_dir():
            return home
    raise DataError(
        f"{folder}: neither MCIO/ nor WCS/ in it. Expected FLIP's data folder, with MCIO/txt and MCIO/frame. "
        f"Found: {found_in(place)}."
    )
