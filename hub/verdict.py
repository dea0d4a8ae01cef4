"""What the checks of a certificate come to, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .certificate import ProbeCheck
    from .certified_files import FileCheck
    from .parity import ParityCheck

_SAID = {
    "registry": "the registry",
    "hub": "the Hub",
    "first use": "the record of the first download",
    "conversion": "the record of the conversion",
    "probe": "the stored probe",
}


def disagreements(
    files: tuple[FileCheck, ...], probe: ProbeCheck, parity: tuple[ParityCheck, ...]
) -> list[str]:
    """Return what disagrees, one line for each; any of it fails the model."""
    found = [
        f"{row.name} is not the file that {' and '.join(_SAID[by] for by in row.disagree)} states"
        if row.sha256
        else f"{row.name} is missing, which {_SAID[str(row.expected_by)]} states"
        for row in files
        if row.ok is False
    ]
    if probe.status in ("failed", "damaged"):
        found.append(f"stored probe: {probe.reason}")
    return found + [f"{one.system}/{one.case}: {one.reason}" for one in parity if one.status == "failed"]


def unchecked(
    files: tuple[FileCheck, ...], probe: ProbeCheck, parity: tuple[ParityCheck, ...]
) -> tuple[list[str], tuple[str, ...]]:
    """Return what keeps a model from being verified, and what a verdict does not cover anyway."""
    found = [f"{row.name} was compared with nothing" for row in files if row.ok is None and row.sha256]
    if probe.status in ("none", "cannot run"):
        found.append(f"stored probe: {probe.reason}")
    found += [
        f"{one.system}/{one.case}: {one.reason}" for one in parity if one.status in ("not here", "cannot run")
    ]
    notes = [
        f"{row.name}: the conversion read it; it is not kept here"
        for row in files
        if not row.sha256 and row.ok is None
    ]
    if not parity:
        notes.append("no golden case of a reference implementation runs the code of this architecture")
    by = {row.expected_by for row in files}
    if "first use" in by:
        notes.append(
            "its authors state no hash of some files: those are what the first download on this machine was"
        )
    if by <= {"probe", None}:
        notes.append("hashes are those of the folder itself; they show damage, not who made it")
    return found, tuple(notes)
