"""What the checks of a certificate come to, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.files import PROBE_FILE

if TYPE_CHECKING:
    from .certificate import OutputRow, ProbeCheck
    from .certified_files import FileCheck
    from .parity import ParityCheck

_SAID = {
    "registry": "the registry",
    "hub": "the Hub",
    "cache": "the Hub's cache on this machine",
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


def contradiction(
    verdict: str, files: tuple[FileCheck, ...], probe: ProbeCheck, parity: tuple[ParityCheck, ...]
) -> str:
    """Return why a stated verdict, or what a row states of itself, does not follow from the rows; else ""."""
    for row in files:
        stated = None if not (row.agree or row.disagree) else not row.disagree
        if row.sha256 and row.ok is not stated:
            return f"{row.name}: ok is {row.ok} and its witnesses say {stated}"
        whole = row.sha256 and row.expected and len(row.expected) == len(row.sha256)
        if whole and (row.expected == row.sha256) is not (row.expected_by in row.agree):
            return f"{row.name}: its hashes and what it says of them differ"
    wrong = [one.name for one in probe.checks if one.status != "ok" or _over(one)]
    if probe.status == "passed" and (wrong or not probe.checks):
        return f"the stored probe passed and {wrong[0] if wrong else 'no output'} agrees"
    for one in parity:
        if one.status == "passed" and (_over(one) or not one.compared):
            return f"{one.system}/{one.case} passed and its numbers do not agree"
    wrong, doubts = disagreements(files, probe, parity), unchecked(files, probe, parity)[0]
    if verdict != "failed" and wrong:
        return f"its verdict is {verdict!r} and {wrong[0]}"
    if verdict == "verified" and doubts:
        return f"its verdict is 'verified' and {doubts[0]}"
    return ""


def _over(row: OutputRow | ParityCheck) -> bool:
    return row.error is not None and (row.tolerance is None or not row.error <= row.tolerance)


def unchecked(
    files: tuple[FileCheck, ...], probe: ProbeCheck, parity: tuple[ParityCheck, ...]
) -> tuple[list[str], tuple[str, ...]]:
    """Return what keeps a model from being verified, and what a verdict does not cover anyway."""
    # probe.json states hashes; in a folder of the user's own nobody states that of probe.json.
    found = [
        f"{row.name} was compared with nothing"
        for row in files
        if row.ok is None and row.sha256 and row.name != PROBE_FILE
    ]
    if not any(row.sha256 for row in files):
        found.append("no file was looked at")
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
    if any("cache" in (*row.agree, *row.disagree) for row in files):
        notes.append(
            "the Hub was not asked about some files: they were compared with the names that its cache on "
            "this machine keeps them by, and who can write there can change both"
        )
    by = {row.expected_by for row in files}
    if "first use" in by:
        notes.append("its authors state no hash of some files: those are what was downloaded first")
    if by <= {"probe", None}:
        notes.append("hashes are those of the folder itself; they show damage, not who made it")
    return found, tuple(notes)
