"""What the file names of FLIP's frames say: the video, the species and the subject.

Names are those of the data sets' own files with ``_frame0.png`` (two frames per video) or ``_NN.jpg`` (frames
of a series) appended, below ``<data set>/<train or test>/<real or fake>/``. Layout and names were read in
FLIP's lists; what the codes inside CASIA-CeFA and WMCA names stand for is **unverified**.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ....core.errors import DataError
from .casia_fasd import species_of
from .entry import BONA_FIDE, UNSPECIFIED, Label

MCIO = ("msu", "casia", "replay", "oulu")
WCS = ("wmca", "cefa", "surf")
EXTRA = "celeb"
"""CelebA-Spoof: a further source of every run, never a target."""

UNVERIFIED = {
    "casia": "Unverified: what the file names of CASIA-FASD stand for (taken from the literature).",
    "cefa": "Unverified: that the last code of a CASIA-CeFA name is 2 for prints and 4 for displays.",
    "surf": "CASIA-SURF: file names tell neither the kind of attack nor, for most pictures, the subject.",
    "wmca": (
        "Unverified: that the codes 1 to 4 of WMCA names are disguises, fake faces, photos and videos, and "
        "that the second part of a name is the subject."
    ),
    "celeb": "CelebA-Spoof: the kind of attack is not in the file names; its attacks have no species.",
}
"""{data set: what its names do not settle}."""

_LABELS: dict[str, Label] = {"real": "live", "fake": "attack"}
_OULU = re.compile(r"([1-6])_([1-3])_(\d{2})_([1-5])")
_CASIA = re.compile(r"(\d{1,2})_(HR_[1-4]|[1-8])")
_MSU = re.compile(r"(?:real|attack)_client(\d{3})_(?:android|laptop)_SD_(ipad|iphone|printed)?")
_REPLAY = re.compile(r"(?:real|(?:fixed|hand)_attack_(print|mobile|highdef))_client(\d{3})_")
_CEFA = re.compile(r"([1-3])_(\d{3})_\d_\d_(\d)")
_WMCA = re.compile(r"\d\d\.\d\d\.\d\d_(\d{3})_\d{2}_\d{3}_(\d)_\d+")
_SURF = re.compile(r"Training_(?:real|fake)_part_CLKJ_([A-Z]{2}\d{4})")
_CELEB = re.compile(r"(\d+)_(live|spoof)_\d+")
_WMCA_SPECIES = {"1": "disguise", "2": "mask", "3": "photo", "4": "video"}


@dataclass(frozen=True)
class FrameName:
    """What one line of a list says.

    Attributes:
        video_id: the path without its frame; equal for frames of one video.
        label: from the folder ``real`` or ``fake``.
        species: of the attack; ``unspecified`` where the name does not tell.
        subject: within the data set; None where the name does not tell.
        groups: further facts of the name.
    """

    video_id: str
    label: Label
    species: str
    subject: str | None
    groups: Mapping[str, str] = field(default_factory=dict)


def read_name(dataset: str, path: str) -> FrameName:
    """Return what a path such as ``casia/train/fake/19_7_frame0.png`` says.

    Raises:
        DataError: a path of another data set or layout.
    """
    name = PurePosixPath(path)
    kind = name.parts[-2] if len(name.parts) >= 3 else ""
    if name.parts[:1] != (dataset,) or kind not in _LABELS:
        raise DataError(
            f"{path!r:.80}: expected {dataset}/.../real/ or {dataset}/.../fake/ before the file name."
        )
    video_id = video_of(dataset, path)
    label = _LABELS[kind]
    species, subject, groups = _facts(dataset, PurePosixPath(video_id))
    if species is not None and (species == BONA_FIDE) != (label == "live"):
        raise DataError(f"{path!r:.80}: the folder says {kind}, the file name says {species}.")
    return FrameName(
        video_id, label, BONA_FIDE if label == "live" else species or UNSPECIFIED, subject, groups
    )


def video_of(dataset: str, path: str) -> str:
    """Return the path without its frame: the rule that joins frames of one video.

    ``_frame0.png`` and ``_frame1.png`` are cut off in MCIO, ``_NN.jpg`` in CASIA-CeFA and WMCA. CASIA-SURF
    and CelebA-Spoof are scored by picture: their names carry no video.
    """
    if dataset in MCIO:
        stem = re.sub(r"_frame[01]\.png$", "", path)
    elif dataset in {"cefa", "wmca"}:
        stem = re.sub(r"_\d{2}\.jpg$", "", path)
    else:
        stem = str(PurePosixPath(path).with_suffix(""))
    if stem == path:
        frame = "_frame0.png" if dataset in MCIO else "_00.jpg"
        raise DataError(f"{path!r:.80}: a frame of {dataset} ends like {frame}.")
    return stem


def disagreeing(dataset: str, kind: str, paths: Iterable[str]) -> int:
    """Return how many names of CelebA-Spoof say ``live`` in a list of attacks, or the reverse."""
    word = "_live_" if kind == "fake" else "_spoof_"
    return sum(word in path for path in paths) if dataset == EXTRA else 0


def _facts(dataset: str, video: PurePosixPath) -> tuple[str | None, str | None, dict[str, str]]:
    """Return (species, subject, groups) as far as a name tells; species None where it does not."""
    name = video.name
    nothing: tuple[None, None, dict[str, str]] = (None, None, {})
    if dataset == "oulu":
        found = _OULU.fullmatch(name)
        if found is None:
            return nothing
        species = BONA_FIDE if found[4] == "1" else "print" if found[4] in "23" else "display"
        return species, found[3], {"phone": found[1], "session": found[2]}
    if dataset == "casia":
        found = _CASIA.fullmatch(name)
        meant = species_of(found[2]) if found else None
        if found is None or meant is None:
            return nothing
        # Numbers start again in the test part: subject 1 of the two parts are two people.
        return meant[0], f"{video.parts[1]}-{found[1]}", {"quality": meant[1]}
    if dataset == "msu":
        found = _MSU.match(name)
        if found is None:
            return nothing
        species = BONA_FIDE if name.startswith("real_") else "print" if found[2] == "printed" else "display"
        return species, found[1], {}
    if dataset == "replay":
        found = _REPLAY.match(name)
        if found is None:
            return nothing
        species = BONA_FIDE if found[1] is None else "print" if found[1] == "print" else "display"
        return species, found[2], {}
    return _further_facts(dataset, name)


def _further_facts(dataset: str, name: str) -> tuple[str | None, str | None, dict[str, str]]:
    if dataset == "cefa" and (found := _CEFA.fullmatch(name)):
        species = {"1": BONA_FIDE, "2": "print", "4": "display"}.get(found[3])
        return species, f"{found[1]}_{found[2]}", {"ethnicity": f"code_{found[1]}"}
    if dataset == "wmca" and (found := _WMCA.fullmatch(name)):
        return BONA_FIDE if found[2] == "0" else _WMCA_SPECIES.get(found[2]), found[1], {}
    if dataset == "surf":
        found = _SURF.match(name)
        # Names of validation and test pictures carry neither subject nor instrument.
        return None, found[1] if found else None, {}
    if dataset == EXTRA and (found := _CELEB.fullmatch(name)):
        # The published list of attacks has 256 names that say live: the folder decides, see disagreeing().
        return None, found[1], {}
    return None, None, {}
