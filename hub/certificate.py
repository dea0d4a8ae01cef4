"""Checking a model on the user's own machine, and the certificate that says what was checked.

A certificate names every file with its hash and who said what it should be, the stored probe replayed here,
and the golden cases of the code that the model runs. Its own ``sha256`` is over the rest of it as canonical
JSON: keys sorted, no white space, every character outside ASCII escaped, as Python's ``json.dumps(content,
sort_keys=True, separators=(",", ":"))`` writes it. Anybody can recompute it; it proves that a certificate was
not altered, not who made it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import ConfigDict, Field

from ..core import registry
from ..core.config import Config, parse_config
from ..core.errors import ConfigError, DependencyError, VerticlipError, WeightsError
from ..core.files import CONFIG_FILE, read_json
from ..core.inference import prepare_model
from ..core.names import is_commit, is_repository
from ..core.provenance import now, version, versions_of
from ..core.verify import OutputCheck
from .certified_files import FILES, FileCheck, fetch_probe, named_here, packaged_files, resolved_files
from .conversions import CONVERSION_FILE
from .download import DamagedError, MismatchError
from .imports import kept_import
from .loading import ResolvedModel, load_model, resolve
from .parity import ParityCheck, cases_of, golden_homes, parts_of, replay_parity, uncovered
from .published import published_facts
from .stored_probe import PROBE_FILE, PROBE_TENSORS, StoredProbe, has_probe, read_probe, replay_probe
from .verdict import contradiction, disagreements, unchecked

if TYPE_CHECKING:
    from .stored_probe import Parts

SCHEMA = "verticlip.certificate/1"
_LIBRARIES = ("torch", "numpy", "safetensors", "huggingface_hub", "timm", "transformers", "open_clip_torch")

Verdict = Literal["verified", "incomplete", "failed"]


class OutputRow(Config):
    """One output of the stored probe, compared."""

    name: str
    status: str
    error: float | None = None
    tolerance: float | None = None
    note: str = ""


class ProbeCheck(Config):
    """What came of the stored probe.

    Attributes:
        status: ``passed``; ``failed``; ``damaged``: it cannot be read or is of another model; ``cannot run``:
            something it needs is not installed; ``none``.
        made_with: versions it was made with. date: when. checks: every output.
        reason: of any status but ``passed``.
    """

    status: Literal["passed", "failed", "damaged", "cannot run", "none"]
    made_with: dict[str, str] = Field(default_factory=dict)
    date: str = ""
    checks: tuple[OutputRow, ...] = ()
    reason: str = ""


class Certificate(Config):
    """What was checked about a model, where, and what came of it.

    Attributes:
        schema_id: of this record, written as ``schema``.
        model: registry name, ``org/name``, or what the config of a local folder calls it.
        revision: commit, or ``sha256:`` and the start of the hash of the weights.
        date: UTC. files, probe, parity: the checks.
        environment: versions and the kind of machine.
        verdict: ``failed`` where anything disagrees; ``incomplete`` where everything that could be checked
            agrees and something could not be checked; else ``verified``: every file and the stored probe.
        reasons: for a verdict other than ``verified``. notes: what a verdict does not cover, such as parts
            of the network that no golden case of a reference implementation runs.
        sha256: of the rest; see the module text.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_id: str = Field(default=SCHEMA, alias="schema")
    model: str
    revision: str
    date: str
    files: tuple[FileCheck, ...]
    probe: ProbeCheck
    parity: tuple[ParityCheck, ...]
    environment: dict[str, str]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain data, in the words of its file."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """SHA-256 of everything but ``sha256``, which should be the same."""
        content = {name: value for name, value in self.to_dict().items() if name != "sha256"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def verify_model(
    name_or_path: str | Path,
    revision: str | None = None,
    *,
    goldens: str | Path | None = None,
) -> Certificate:
    """Return the certificate of a model: files, stored probe and parity of its code, checked here.

    Args:
        name_or_path: registry name, folder, or ``org/name``; fetched when it is not in the cache.
        revision: of a Hub repository.
        goldens: folder with golden cases as ``system/case``; the packaged ones are used as well.

    Raises:
        ConfigError: no such model, no access to it, or weights that only a person can download.
        WeightsError: a file cannot be fetched. One that is damaged or not the stated one makes a certificate
            with the verdict ``failed`` instead.
        DependencyError: the model needs an extra that is not installed.
    """
    # What is wrong with the other arguments is said before anything is fetched.
    golden_homes(goldens)
    try:
        resolved = resolve(name_or_path, revision)
    except WeightsError as error:
        return _refused(str(name_or_path), error)
    trouble = fetch_probe(resolved)
    files = resolved_files(resolved)
    probe, label = _no_probe(resolved), resolved.id
    if trouble:
        probe = probe.model_copy(update={"reason": trouble})
    parity: tuple[ParityCheck, ...] = ()
    reasons: list[str] = []
    parts_alone: tuple[str, ...] = ()
    try:
        parts = load_model(resolved)
    except DependencyError:
        raise
    except VerticlipError as error:
        reasons.append(f"the model does not load: {_without_places(error, resolved)}")
        label = resolved.id if resolved.spec or resolved.commit else "unreadable"
    else:
        config = parts[0].config
        # A folder's name may say whose computer it is on.
        label = resolved.id if resolved.spec or resolved.commit else config.name
        if has_probe(resolved.folder):
            files, probe = _probed(resolved, parts, files)
        words = parts_of(config)
        parity = replay_parity(cases_of(resolved.spec, config), goldens, parts=words)
        parts_alone = uncovered(words, parity)
    return _signed(
        label, resolved.revision, files=files, probe=probe, parity=parity, reasons=reasons, alone=parts_alone
    )


def check_certificate(path: str | Path) -> Certificate:
    """Return a certificate whose own hash is right.

    Raises:
        ConfigError: not a certificate, one that was altered, or one whose verdict does not follow from it.
    """
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        stated = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise ConfigError(f"{path}: schema {stated!r} is not {SCHEMA!r}; not a certificate of this version.")
    found = parse_config(Certificate, raw, source=str(path))
    if found.digest != found.sha256:
        raise ConfigError(
            f"{path}: its content has SHA-256 {found.digest} and it says {found.sha256 or 'none'}. It was "
            "altered after it was made."
        )
    why = contradiction(found.verdict, found.files, found.probe, found.parity)
    if why:
        raise ConfigError(f"{path}: it contradicts itself: {why}. No version of verticlip wrote that.")
    return found


def compare_files(certificate: Certificate, folder: str | Path) -> list[str]:
    """Return what is different about the files of a folder now, one line for each; empty when nothing is.

    Files that a conversion read lie elsewhere and are not looked at.
    """
    found = []
    for row in certificate.files:
        if not named_here(row):
            continue
        path = Path(folder) / row.name
        if row.name not in FILES:
            # A certificate is anybody's: it must not choose which files of this machine are read.
            found.append(f"{row.name[:80]!r} is not the name of a file that a model has")
        elif not path.is_file():
            found.append(f"{row.name} is missing")
        elif (digest := FileCheck.of(path).sha256) != row.sha256:
            found.append(f"{row.name} has SHA-256 {digest}; the certificate says {row.sha256}")
    return found


def folder_here(certificate: Certificate, model: str | None = None) -> Path | None:
    """Return the folder with the files of a certificate's model on this machine, or None; nothing is fetched.

    Args:
        model: a folder, where it is not the one that loading by name would use.

    Raises:
        ConfigError: ``model`` is no folder, or the name of another model.
    """
    if model is not None and model != certificate.model:
        if Path(model).is_dir():
            return Path(model)
        raise ConfigError(
            f"{model!r} is no folder, and the certificate is of {certificate.model!r}. Name one or the other."
        )
    spec = registry.models().get(certificate.model)
    if spec is None and any("conversion" in row.agree for row in certificate.files):
        kept = kept_import(certificate.model, certificate.revision, verify=False)
        return None if kept is None else kept.folder
    if spec is None:
        return _in_the_hubs_cache(certificate.model, certificate.revision)
    if isinstance(spec.weights, registry.PublishedWeights):
        converted = published_facts(spec)["converted"]
        return Path(converted) if converted else None
    if spec.weights.packaged is not None:
        return registry.room(spec.domain).folder / spec.weights.packaged
    return _in_the_hubs_cache(str(spec.weights.repo_id), certificate.revision)


def _in_the_hubs_cache(repo_id: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if not is_repository(repo_id) or not is_commit(revision):
        return None
    found = try_to_load_from_cache(repo_id, CONFIG_FILE, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _no_probe(resolved: ResolvedModel) -> ProbeCheck:
    own = (
        resolved.commit is None
        and resolved.spec is None
        and not (resolved.folder / CONVERSION_FILE).is_file()
    )
    return ProbeCheck(
        status="none",
        reason=f"the folder has no {PROBE_FILE}; write one with: verticlip hub probe FOLDER"
        if own
        else "its authors published no stored probe, so outputs were compared with nothing of theirs",
    )


def _probed(
    resolved: ResolvedModel, parts: Parts, files: tuple[FileCheck, ...]
) -> tuple[tuple[FileCheck, ...], ProbeCheck]:
    """Return the file rows with what the probe says of them, and what came of replaying it."""
    try:
        probe = read_probe(resolved.folder)
        files = _with_probe(files, probe)
        network = prepare_model(parts[0], "float32")
        report = replay_probe((network, parts[1], parts[2]), probe)
    except DependencyError as error:
        return files, ProbeCheck(status="cannot run", reason=_without_places(error, resolved))
    except VerticlipError as error:
        return files, ProbeCheck(status="damaged", reason=_without_places(error, resolved))
    rows = tuple(map(_row, report.checks))
    over = [row.name for row in rows if row.status != "ok"]
    reason = f"{len(over)} of {len(rows)} outputs differ, {over[0]} for one" if over else ""
    checked = ProbeCheck(
        status="passed" if report.passed else "failed",
        made_with=probe.record.made_with,
        date=probe.record.date,
        checks=rows,
        reason=reason,
    )
    return files, checked


def _row(check: OutputCheck) -> OutputRow:
    error = check.error
    if error is not None and error == float("inf"):
        # JSON has no infinity.
        return OutputRow(name=check.name, status="not finite", tolerance=check.tolerance)
    return OutputRow(
        name=check.name, status=check.status, error=error, tolerance=check.tolerance, note=check.note
    )


def _with_probe(files: tuple[FileCheck, ...], probe: StoredProbe) -> tuple[FileCheck, ...]:
    known = {name: record.sha256 for name, record in probe.record.files.items()}
    known |= {PROBE_TENSORS: probe.record.tensors} if probe.record.tensors else {}
    here = {row.name for row in files}
    missing = [
        FileCheck(name=name, bytes=None, sha256=None, expected=sha256, expected_by="probe", ok=False)
        for name, sha256 in known.items()
        if name not in here
    ]
    return (*(row.witnessed("probe", known.get(row.name)) for row in files), *missing)


def _refused(name: str, error: WeightsError) -> Certificate:
    """Return the certificate of a model whose files are not those that were stated, else raise the error."""
    if not isinstance(error, (MismatchError, DamagedError)):
        raise error
    spec = registry.models().get(name)
    files = () if spec is None else packaged_files(spec)
    here = Path(name).is_dir()
    # A folder's name may say whose computer it is on.
    said = str(error).replace(f"{name}: ", "") if here else str(error)
    reasons = [] if files else [" ".join(said.split())[:500]]
    probe = ProbeCheck(status="none", reason="nothing was run: the files are not those that were stated")
    label = "unreadable" if here and spec is None else name
    return _signed(label, "", files=files, probe=probe, parity=(), reasons=reasons)


def _signed(
    label: str,
    revision: str,
    *,
    files: tuple[FileCheck, ...],
    probe: ProbeCheck,
    parity: tuple[ParityCheck, ...],
    reasons: list[str],
    alone: tuple[str, ...] = (),
) -> Certificate:
    """Return the certificate with its verdict.

    Args:
        alone: parts of the network that no golden case ran. The others as in :class:`Certificate`.
    """
    wrong = [*reasons, *disagreements(files, probe, parity)]
    doubts, notes = unchecked(files, probe, parity)
    if alone:
        notes = (*notes, f"no golden case of a reference implementation runs its {' or '.join(alone)}")
    verdict: Verdict = "failed" if wrong else "incomplete" if doubts else "verified"
    made = Certificate(
        model=label,
        revision=revision,
        date=now(),
        files=files,
        probe=probe,
        parity=parity,
        environment=_environment(),
        verdict=verdict,
        reasons=(*wrong, *doubts),
        notes=notes,
    )
    return made.model_copy(update={"sha256": made.digest})


def _environment() -> dict[str, str]:
    found = {"verticlip": version(), "python": platform.python_version(), **versions_of(_LIBRARIES)}
    found |= {"system": platform.system(), "machine": platform.machine(), "device": "cpu"}
    return {**found, "threads": str(torch.get_num_threads())}


def _without_places(error: Exception, resolved: ResolvedModel) -> str:
    """Return the message of an error on one line, without where the files lie."""
    text = str(error)
    for place in (str(resolved.folder), *(() if resolved.spec or resolved.commit else (resolved.id,))):
        if place.strip("./"):
            text = text.replace(f"{place}/", "").replace(place, "the folder")
    return " ".join(text.split())[:500]
