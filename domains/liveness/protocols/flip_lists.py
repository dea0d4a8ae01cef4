"""Lists of FLIP's layout, rebuilt from the data sets: equivalent to the published ones, not copies of them.

The published lists have no licence and are not shipped. Which videos are drawn as shots is a choice of this
package (by a hash of the name), so few-shot results differ from published ones; whole lists and counts agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ....core.data.files import files_below
from ....core.errors import ConfigError, DataError, nearest
from ....core.files import write_text_atomic
from .casia_fasd import read_casia_fasd
from .entry import Entry
from .flip import LINES
from .flip_names import EXTRA, MCIO, WCS, read_name
from .msu_mfsd import read_msu_mfsd
from .oulu_npu import USERS, read_videos
from .protocol import found_in
from .replay_attack import read_replay_attack

SHOTS = 10
"""Lines of a shot list."""

CELEB_PICTURES = 40_000
"""Pictures of each kind that are taken of CelebA-Spoof."""

DATASETS = (*MCIO, *WCS, EXTRA)


def build_lists(dataset: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Return {list name without suffix: lines} of one data set, from the names of its frames.

    Args:
        dataset: msu, casia, replay, oulu, cefa, surf, wmca or celeb.
        names: ``<dataset>/{train,test}/{real,fake}/<frame>``, relative to the folder ``frame``; others, such
            as development parts and second frames, are left out.

    Raises:
        ConfigError: no such data set.
        DataError: too few names of a kind for ten shots and a test.
    """
    _check_dataset(dataset)
    names = list(names)
    lists: dict[str, list[str]] = {}
    for kind in ("real", "fake"):
        mine = sorted({name for name in names if _is_listed(dataset, name, kind)})
        lists |= _of_kind(dataset, kind, mine)
    return lists


def _of_kind(dataset: str, kind: str, names: Sequence[str]) -> dict[str, list[str]]:
    if dataset == EXTRA:
        taken = names if len(names) <= CELEB_PICTURES else sorted(_shuffled(names)[:CELEB_PICTURES])
        if not names:
            raise DataError(f"{dataset}: no pictures in {dataset}/{kind}/.")
        return {f"{dataset}_{kind}_train": list(taken)}
    tested = [name for name in names if dataset in MCIO or name.split("/")[1] == "test"]
    if len(tested) <= SHOTS:
        raise DataError(
            f"{dataset}: {len(tested)} frames in {dataset}/.../{kind}/ to test; more than {SHOTS} are needed."
        )
    shots = _shuffled(tested)[:SHOTS]
    drawn = set(shots)
    # WMCA alone keeps its test frames out of the training list.
    trained = [name for name in names if dataset != "wmca" or name.split("/")[1] == "train"]
    return {
        f"{dataset}_{kind}_train": trained,
        f"{dataset}_{kind}_test": [name for name in tested if name not in drawn],
        f"{dataset}_{kind}_shot": shots,
    }


def write_lists(dataset: str, names: Iterable[str], folder: str | Path) -> dict[str, tuple[int, int | None]]:
    """Write the lists of one data set and return {file name: (lines, lines of the published list)}.

    Args:
        dataset: see :func:`build_lists`. names: see there.
        folder: FLIP's data folder; lists go to ``MCIO/txt`` or ``WCS/txt`` below it.

    Raises:
        ConfigError: no such data set.
        DataError: too few names.
    """
    lists = build_lists(dataset, names)
    place = Path(folder) / ("WCS" if dataset in WCS else "MCIO") / "txt"
    counts = {}
    for name, lines in lists.items():
        write_text_atomic(place / f"{name}.txt", "".join(f"{line}\n" for line in lines))
        _, kind, which = name.split("_")
        counts[f"{name}.txt"] = (len(lines), LINES[dataset, kind].get(which))
    return counts


def names_in(dataset: str, folder: str | Path) -> list[str]:
    """Return the names of a data set's frames below FLIP's data folder, for :func:`build_lists`.

    Raises:
        ConfigError: no such data set.
        DataError: no folder of its frames; says what was found.
    """
    _check_dataset(dataset)
    frames = Path(folder) / ("WCS" if dataset in WCS else "MCIO") / "frame"
    if not (frames / dataset).is_dir():
        seen = found_in(frames) if frames.is_dir() else "no such folder"
        raise DataError(f"{frames}: no {dataset}/ in it. Expected its frames there. Found: {seen}.")
    return [f"{dataset}/{name}" for name in files_below((frames / dataset).absolute())]


def names_of_videos(dataset: str, folder: str | Path, *, partial: bool = False) -> list[str]:
    """Return the names that frames of an original MCIO data set get, for :func:`build_lists`.

    The frames themselves are cut out by whoever prepares the data: frame 6 of each video and frame
    6 + floor(total / 2), aligned by a face detector.

    Args:
        dataset: msu, casia, replay or oulu.
        folder: of the original data set, with its videos.
        partial: take a folder that does not hold every video.

    Raises:
        ConfigError: another data set.
        DataError: the folder is not that data set.
    """
    readers: dict[str, Callable[[], Sequence[Entry]]] = {
        "casia": lambda: read_casia_fasd(folder, partial=partial).entries,
        "msu": lambda: read_msu_mfsd(folder, partial=partial).entries,
        "replay": lambda: read_replay_attack(folder, partial=partial).entries,
        "oulu": lambda: read_videos(folder)[0],
    }
    if dataset not in readers:
        raise ConfigError(f"Data set {dataset!r}.{nearest(dataset, readers)} Videos: {', '.join(readers)}.")
    return [
        f"{dataset}/{entry.split}/{'real' if entry.label == 'live' else 'fake'}/"
        f"{_stem(dataset, entry)}_frame{number}.png"
        for entry in readers[dataset]()
        for number in (0, 1)
        if entry.split != "dev"
    ]


def _stem(dataset: str, entry: Entry) -> str:
    """Return the video's name in FLIP's lists."""
    if dataset == "casia":
        return entry.video_id.partition("-")[2]
    return f"real_{entry.video_id}" if dataset == "replay" and entry.label == "live" else entry.video_id


def _is_listed(dataset: str, name: str, kind: str) -> bool:
    """Whether a name is a training or test frame of its kind; raises nothing for what is something else."""
    parts = name.split("/")
    depth = 3 if dataset == EXTRA else 4
    if len(parts) != depth or parts[0] != dataset or parts[-2] != kind:
        return False
    if dataset != EXTRA and parts[1] not in {"train", "test"}:
        return False
    if dataset in MCIO and not name.endswith("_frame0.png"):
        return False
    if dataset not in MCIO and not name.lower().endswith((".jpg", ".png")):
        return False
    # OULU's development users are in neither list, wherever their frames lie.
    return dataset != "oulu" or int(read_name(dataset, name).subject or 0) not in USERS["dev"]


def _shuffled(names: Sequence[str]) -> list[str]:
    """Return the names in an order that looks random and is the same everywhere."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def _check_dataset(dataset: str) -> None:
    if dataset not in DATASETS:
        raise ConfigError(f"Data set {dataset!r}.{nearest(dataset, DATASETS)} Known: {', '.join(DATASETS)}.")
