"""One DICOM data set without identity, by the Basic Application Level Confidentiality Profile.

Not a legal guarantee: the profile treats headers, not what stands in the pixels or what a face shows.

Reference: DICOM PS3.15 annex E, table E.1-1 (``confidentiality.json``).
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ....core.errors import ConfigError
from ....core.files import read_json
from .errors import CorruptFile, MedicalImageError
from .geometry import check_box

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DATA = Path(__file__).with_name("confidentiality.json")
_DUMMIES: dict[str, Any] = {
    "AS": "000Y", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0",
    "OB": b"\0\0", "OW": b"\0\0", "UN": b"\0\0", "FL": 0.0, "FD": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0,
}  # fmt: skip
_TEXT_DUMMY = "ANONYMIZED"
_TEMPORAL = ("DA", "DT", "TM")
_STANDARD_UIDS = "1.2.840.10008."


@dataclass(frozen=True)
class DeidentifyOptions:
    """What may stay, each an option of the profile. The default keeps nothing.

    Attributes:
        dates: "remove", "keep" (full dates) or "shift" (all dates of one patient by the same number
            of days, which follows from the secret).
        retain: of "patient" (age, sex, size, weight ...), "device", "institution", "uids".
        blank: boxes (x0, y0, x1, y1) set to 0 in every frame, for text in the pixels; native
            transfer syntaxes only.
        keep_names: in a folder tree, keep the names of files and folders. They often name a person.
    """

    dates: Literal["remove", "keep", "shift"] = "remove"
    retain: tuple[str, ...] = ()
    blank: tuple[tuple[int, int, int, int], ...] = ()
    keep_names: bool = False

    def __post_init__(self) -> None:
        if self.dates not in ("remove", "keep", "shift"):
            raise ConfigError(f"dates must be 'remove', 'keep' or 'shift', got {self.dates!r}.")
        for name in self.retain:
            if name not in ("patient", "device", "institution", "uids"):
                raise ConfigError(f"retain knows 'patient', 'device', 'institution', 'uids'; got {name!r}.")
        for box in self.blank:
            if len(box) != 4:
                raise ConfigError(f"blank takes boxes (x0, y0, x1, y1), got {box!r}.")


@dataclass
class Run:
    """One export: the secret, the options, and the counts of elements so far."""

    secret: bytes
    options: DeidentifyOptions
    counts: dict[str, int] = field(default_factory=lambda: {"removed": 0, "emptied": 0, "replaced": 0})
    shift_days: int = 0


def clean_dataset(dataset: Dataset, run: Run, *, label: str) -> Dataset:
    """Return ``dataset`` after the profile, with new file meta; it is changed in place."""
    from pydicom.dataset import FileMetaDataset

    if "SOPInstanceUID" not in dataset or "SOPClassUID" not in dataset:
        raise CorruptFile(
            f"{label}: no SOPInstanceUID or SOPClassUID. Only complete DICOM objects can be exported."
        )
    clean = FileMetaDataset()
    try:
        run.shift_days = _shift_days(dataset, run.secret)
        if run.options.blank:
            _blank(dataset, run.options.blank, label)
        _clean(dataset, run)
        _mark(dataset, run.options)
        clean.MediaStorageSOPClassUID = dataset.SOPClassUID
        clean.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    except MedicalImageError:
        raise
    except Exception as error:  # damaged elements and too deep nesting raise many types in pydicom
        raise CorruptFile(f"{label}: an element cannot be read. Repair the file first.") from error
    clean.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = clean
    dataset.preamble = b"\0" * 128  # pyright: ignore[reportAttributeAccessIssue]
    return dataset


def _clean(dataset: Dataset, run: Run) -> None:
    """Apply the action of every element, sequences included. Values are not converted on the way."""
    for tag in [int(key) for key in dataset.keys()]:  # noqa: SIM118 - iterating a data set converts its values
        group = tag >> 16
        if group & 1 or group >> 8 in (0x50, 0x60):
            del dataset[tag]
            run.counts["removed"] += 1
            continue
        known = _known_vr(tag)
        own = dataset.get_item(tag).VR
        vr = own if own not in (None, "UN") else known or "UN"
        action = _action(tag, {vr, known}, run.options)
        _ACTIONS[action](dataset, tag, vr, run)


def _known_vr(tag: int) -> str | None:
    """Return the value representation of the standard's dictionary, or None for an element outside it."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def _action(tag: int, vrs: set[str | None], options: DeidentifyOptions) -> str:
    """Return what happens to an element: "keep", "shift", or a code of the table.

    Args:
        tag: of an even group.
        vrs: the representation in the file and the one of the dictionary, None for neither.
    """
    if tag in _kept(options.retain):
        return "keep"
    action = _table().get(tag)
    if action is None:
        # What the table leaves out: nobody can say what an unknown element holds, and a person's
        # name or a date that a later edition adds identifies as much as the ones listed.
        action = "X" if None in vrs else "Z" if vrs & {"PN", *_TEMPORAL} else "keep"
    if action == "U" and "uids" in options.retain:
        return "keep"
    if action != "keep" and vrs & {*_TEMPORAL} and options.dates != "remove" and tag >> 16 != 0x0010:
        return "keep" if options.dates == "keep" or "TM" in vrs else "shift"
    return action


def _keep(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    if vr == "SQ":
        for item in dataset[tag].value or ():
            _clean(item, run)


def _remove(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    del dataset[tag]
    run.counts["removed"] += 1


def _empty(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    dataset.add_new(tag, vr, [] if vr == "SQ" else None)
    run.counts["emptied"] += 1


def _dummy(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    from pydicom.dataset import Dataset as Item

    if vr == "UI":
        _replace_uids(dataset, tag, vr, run)
        return
    dataset.add_new(tag, vr, [Item()] if vr == "SQ" else _DUMMIES.get(vr, _TEXT_DUMMY))
    run.counts["replaced"] += 1


def _replace_uids(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    if vr == "SQ":
        _keep(dataset, tag, vr, run)
        return
    value = dataset.get_item(tag).value
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    parts = text.split("\\") if isinstance(text, str) else [str(part) for part in text or ()]
    mapped = [_new_uid(part.strip(" \0"), run.secret) for part in parts if part.strip(" \0")]
    dataset.add_new(tag, "UI", mapped if len(mapped) > 1 else (mapped or [""])[0])
    run.counts["replaced"] += 1


def _shift(dataset: Dataset, tag: int, vr: str, run: Run) -> None:
    value = dataset.get_item(tag).value
    text = (value.decode("latin-1") if isinstance(value, bytes) else str(value or "")).strip(" \0")
    try:
        day = datetime.datetime.strptime(text[:8], "%Y%m%d") - datetime.timedelta(days=run.shift_days)
        dataset.add_new(tag, vr, day.strftime("%Y%m%d") + text[8:])
    except (ValueError, OverflowError):
        # Not one plain date: nothing can be shifted, so nothing may stay.
        dataset.add_new(tag, vr, None)
    run.counts["replaced"] += 1


_ACTIONS: dict[str, Callable[[Dataset, int, str, Run], None]] = {
    "keep": _keep, "shift": _shift, "X": _remove, "Z": _empty, "D": _dummy, "U": _replace_uids,
}  # fmt: skip


@functools.cache
def _table() -> dict[int, str]:
    """Return {tag: action} with every combined code resolved.

    A combined code allows the weaker action only when the object stays valid, which depends on the
    object definition. Its last letter is valid for every definition: X/Z gives Z, X/Z/D gives D.
    """
    data = read_json(_DATA)
    return {
        int(group + element, 16): code.rstrip("*").split("/")[-1]
        for actions in (data["further"], data["actions"])
        for code, groups in actions.items()
        for group, elements in groups.items()
        for element in elements.split()
    }


@functools.cache
def _kept(retain: tuple[str, ...]) -> frozenset[int]:
    options = read_json(_DATA)["options"]
    return frozenset(
        int(group + element, 16)
        for name in retain
        for group, elements in options[name]["keep"].items()
        for element in elements.split()
    )


def _new_uid(uid: str, secret: bytes) -> str:
    """Return a UID that only the holder of ``secret`` can recompute; standard UIDs stay.

    Reference: PS3.5 B.2, UIDs derived from a UUID ("2.25." and a 128-bit number).
    """
    if uid.startswith(_STANDARD_UIDS):
        return uid
    digest = hmac.new(secret, uid.encode("latin-1", "replace"), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _shift_days(dataset: Dataset, secret: bytes) -> int:
    element = dataset.get_item(0x00100020) if 0x00100020 in dataset else None
    value = b"" if element is None or element.value is None else element.value
    patient = value if isinstance(value, bytes) else str(value).encode("utf-8")
    digest = hmac.new(secret, b"dates:" + patient.strip(b" \0"), hashlib.sha256).digest()
    return 1 + int.from_bytes(digest[:4], "big") % 3650


def _mark(dataset: Dataset, options: DeidentifyOptions) -> None:
    """Write what was done: PatientIdentityRemoved, method codes, temporal information."""
    from pydicom.dataset import Dataset as Item

    data = read_json(_DATA)
    names = list(options.retain) + ([f"dates_{options.dates}"] if options.dates != "remove" else [])
    names += ["pixels"] if options.blank else []
    items = []
    for entry in [data["profile"], *(data["options"][name] for name in names)]:
        item = Item()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = entry["code"], "DCM", entry["meaning"]
        items.append(item)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = data["profile"]["meaning"]
    dataset.DeidentificationMethodCodeSequence = items
    dataset.LongitudinalTemporalInformationModified = {
        "remove": "REMOVED",
        "keep": "UNMODIFIED",
        "shift": "MODIFIED",
    }[options.dates]
    if options.blank:
        dataset.BurnedInAnnotation = "NO"


def _blank(dataset: Dataset, boxes: tuple[tuple[int, int, int, int], ...], label: str) -> None:
    """Set the boxes to 0 in every frame of a native, unpacked image."""
    from pydicom.uid import UID

    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed or dataset.get("BitsAllocated") not in (
        8,
        16,
        32,
    ):
        raise MedicalImageError(
            f"{label}: blank needs native 8, 16 or 32-bit pixels. Decompress the file first."
        )
    try:
        pixels = dataset.pixel_array.copy()
    except Exception as error:  # pydicom raises many types on damaged pixels
        raise CorruptFile(f"{label}: the pixel data is damaged and cannot be blanked.") from error
    channels_last = dataset.SamplesPerPixel > 1
    for box in boxes:
        x0, y0, x1, y1 = check_box(box, (dataset.Rows, dataset.Columns), label)
        region = (..., slice(y0, y1), slice(x0, x1), *((slice(None),) if channels_last else ()))
        pixels[region] = 0
    photometric = "RGB" if channels_last else dataset.PhotometricInterpretation
    dataset.set_pixel_data(pixels, photometric, dataset.BitsStored, generate_instance_uid=False)
