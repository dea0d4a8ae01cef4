"""``deidentify``: copies of DICOM files, or of a whole folder tree, without identity."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ....core.errors import ConfigError, VerticlipError
from ....core.files import atomic_path, read_json, write_json_atomic
from ....core.limits import DEFAULT, Limits
from .deidentify import DeidentifyOptions, Run, clean_dataset
from .dicom_file import read_whole_dataset
from .errors import CorruptFile, MedicalImageError, MissingInput, NotAMedicalImage, label_of
from .header import Header
from .inspect import burned_in_risks

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RECORD = ".deidentified.json"
"""Written into the target folder: which settings its files were made with. Holds no identity."""
_DIRECTORY_RECORDS = 0x00041220
_SECRET_BYTES = 16
_COPIES = "Remove the copy first, or keep the names of the files (keep_names, --keep-names)."


@dataclass(frozen=True)
class ExportedFile:
    """What became of one file.

    Attributes:
        source: the original; target: its clean copy, or None. Paths may name a patient: neither is
            part of the representation.
        status: "written", "planned" (dry run), "skipped" (holds no DICOM object) or "failed".
        removed, emptied, replaced: elements treated.
        warnings: what a person must still check, above all text in the pixels.
        error: why the file was skipped or failed, or None.
    """

    source: Path = field(repr=False)
    target: Path | None = field(repr=False)
    status: Literal["written", "planned", "skipped", "failed"]
    removed: int = 0
    emptied: int = 0
    replaced: int = 0
    warnings: tuple[str, ...] = ()
    error: VerticlipError | None = None


@dataclass(frozen=True)
class DeidentifyReport:
    """What was done: counts over all files, the files written, and what a person must still check."""

    written: tuple[Path, ...] = field(default=(), repr=False)
    removed: int = 0
    emptied: int = 0
    replaced: int = 0
    warnings: tuple[str, ...] = ()


def deidentify(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    options: DeidentifyOptions | None = None,
    secret: bytes | None = None,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> DeidentifyReport:
    """Write a copy of a DICOM file, or of every DICOM file of a folder tree, without identity.

    UIDs are replaced consistently within one secret, so that series and references stay together.
    Names of files and folders carry identity too: in a tree, a file is named by its new
    SOPInstanceUID and a folder by a keyed hash of its name, unless ``options.keep_names``.

    Example::

        report = deidentify("study/", "clean/")
        print(report.warnings)

    Args:
        source: file or folder (with subfolders; files of other formats are skipped with a warning).
        target: file for a file, folder for a folder. It must not exist, be empty, or hold an
            earlier export with the same options and secret.
        options: what may stay; see :class:`DeidentifyOptions`.
        secret: at least 16 bytes; the same secret gives the same UIDs in a later run. None draws a
            fresh one that nobody keeps.

    Raises:
        MedicalImageError: target would overwrite the source or another file; damaged input.
        ConfigError: secret too short, or the target folder holds something else.
    """
    source = Path(source)
    written: list[Path] = []
    warnings: list[str] = []
    counts = {"removed": 0, "emptied": 0, "replaced": 0}
    for result in export_each(
        source, target, options=options, secret=secret, limits=limits, show_paths=show_paths
    ):
        name = label_of(result.source, show_paths=show_paths)
        if result.error is not None and (result.status == "failed" or not source.is_dir()):
            raise result.error
        if result.target is None:
            warnings.append(f"{name}: not a DICOM object, not copied")
            continue
        written.append(result.target)
        warnings += [f"{name}: {risk}" for risk in result.warnings]
        counts = {word: count + getattr(result, word) for word, count in counts.items()}
    return DeidentifyReport(tuple(written), **counts, warnings=tuple(warnings))


def export_each(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    options: DeidentifyOptions | None = None,
    secret: bytes | None = None,
    dry_run: bool = False,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> Iterator[ExportedFile]:
    """Yield what became of each file, in order; a bad file does not stop the others.

    Arguments as :func:`deidentify`; with ``dry_run`` everything but the writing is done.

    Raises:
        MedicalImageError, ConfigError: the source or the target as a whole cannot be used.
        OSError: the target cannot be written to.
    """
    if secret is not None and len(secret) < _SECRET_BYTES:
        raise ConfigError(
            f"secret needs at least {_SECRET_BYTES} bytes, got {len(secret)}. Use secrets.token_bytes(32)."
        )
    options = options or DeidentifyOptions()
    secret = secret or secrets.token_bytes(32)
    source, target = Path(source), Path(target)
    label, target_label = (label_of(path, show_paths=show_paths) for path in (source, target))
    if not source.exists():
        raise MissingInput(f"{label}: no such file or folder.")
    if source.is_dir():
        settings = _settings(options, secret)
        _check_folder_target(source, target, (label, target_label), settings)
        paths = _paths_below(source)
    else:
        settings = None
        _check_file_target(source, target, (label, target_label))
        paths = [source]
    taken: set[Path] = set()
    for path in paths:
        run = Run(secret, options)
        name = label_of(path, show_paths=show_paths)
        try:
            clean, warnings = _clean_file(path, run, limits=limits, label=name)
            out = target if settings is None else _target_of(path, clean, (source, target), run)
            if out in taken:
                raise MedicalImageError(f"{name}: two files share one SOPInstanceUID. {_COPIES}")
            if settings is not None and not dry_run and not taken:
                write_json_atomic(target / RECORD, settings)
            _write(clean, out, name, dry_run=dry_run)
        except NotAMedicalImage as error:
            yield ExportedFile(path, None, "skipped", error=error)
        except VerticlipError as error:
            yield ExportedFile(path, None, "failed", error=error)
        else:
            taken.add(out)
            status = "planned" if dry_run else "written"
            counts = run.counts
            yield ExportedFile(
                path, out, status, counts["removed"], counts["emptied"], counts["replaced"], tuple(warnings)
            )


def _paths_below(folder: Path) -> list[Path]:
    """Return all files of a folder tree, and the folders that cannot be entered: nothing is passed over."""
    refused: list[OSError] = []
    found: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=refused.append):
        found += [Path(here, name) for name in names]
        found += [path for name in folders if (path := Path(here, name)).is_symlink()]
    return sorted([*found, *(Path(error.filename) for error in refused)])


def _refuse_folder(path: Path, label: str) -> None:
    if path.is_symlink() and path.is_dir():
        raise NotAMedicalImage(f"{label}: a link to a folder, which is not followed. Export that one, too.")
    if path.is_dir():
        raise MedicalImageError(f"{label}: a folder that may not be read. Ask for read permission.")


def _clean_file(path: Path, run: Run, *, limits: Limits, label: str) -> tuple[Dataset, list[str]]:
    """Return the data set without identity, and what the profile cannot see to."""
    _refuse_folder(path, label)
    dataset = read_whole_dataset(path, limits=limits, label=label)
    if _DIRECTORY_RECORDS in dataset:
        raise NotAMedicalImage(
            f"{label}: a DICOM directory (DICOMDIR), which lists names and refers to files by name. "
            "Pass the files it refers to."
        )
    warnings = burned_in_risks(Header(dataset, label))
    if _is_cut(dataset):
        warnings.append("fewer pixels than the header says: a copy of a damaged file")
    return clean_dataset(dataset, run, label=label), warnings


def _is_cut(dataset: Dataset) -> bool:
    """Return whether uncompressed pixel data is shorter than the header says; False if that is unclear."""
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    try:
        if "PixelData" not in dataset or syntax is None or syntax.is_compressed:
            return False
        bits = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated
        expected = bits * int(dataset.get("NumberOfFrames") or 1) // 8
    except (AttributeError, TypeError, ValueError):
        return False
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        expected = expected * 2 // 3
    return len(dataset.PixelData) < expected


def _target_of(path: Path, clean: Dataset, roots: tuple[Path, Path], run: Run) -> Path:
    """Return where the copy of a file in a tree goes; see :func:`deidentify` for the rule."""
    source, target = roots
    relative = path.relative_to(source)
    if run.options.keep_names:
        return target / relative
    folders = [
        hmac.new(run.secret, b"name:" + os.fsencode(name), hashlib.sha256).hexdigest()[:12]
        for name in relative.parts[:-1]
    ]
    return target.joinpath(*folders, f"{clean.file_meta.MediaStorageSOPInstanceUID}.dcm")


def _write(dataset: Dataset, out: Path, label: str, *, dry_run: bool) -> None:
    try:
        if dry_run:
            dataset.save_as(io.BytesIO(), enforce_file_format=True)
            return
        with atomic_path(out) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    except (MedicalImageError, OSError):
        raise
    except Exception as error:  # pydicom refuses to write some damaged elements with many types
        raise CorruptFile(f"{label}: an element cannot be written. Repair the file first.") from error


def _settings(options: DeidentifyOptions, secret: bytes) -> dict[str, Any]:
    """Return what makes two exports one: equal settings give equal files for equal inputs."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(options).items()
    }
    plain["blank"] = [list(box) for box in options.blank]
    return plain | {"secret": hmac.new(secret, b"folder", hashlib.sha256).hexdigest()[:16]}


def _check_folder_target(
    source: Path, target: Path, labels: tuple[str, str], settings: dict[str, Any]
) -> None:
    """Raise unless the target folder is new, empty, or holds an export with the same settings."""
    label, target_label = labels
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise MedicalImageError(f"{label}: the target lies in the source folder. Choose a folder outside it.")
    if target.exists() and not target.is_dir():
        raise MedicalImageError(
            f"{target_label}: is a file; a folder is exported to a folder. Choose another target."
        )
    record = target / RECORD
    if record.is_file():
        if read_json(record) != settings:
            raise ConfigError(
                f"{target_label}: holds an export with other options or another secret. Choose an empty "
                "folder, or repeat the options and give the same secret."
            )
    elif target.exists() and any(target.iterdir()):
        raise ConfigError(
            f"{target_label}: is not empty and holds no export of this program. Choose an empty folder."
        )


def _check_file_target(source: Path, target: Path, labels: tuple[str, str]) -> None:
    label, target_label = labels
    if target.is_dir():
        raise MedicalImageError(f"{target_label}: is a folder. Name the file to write, as in clean/scan.dcm.")
    if target.exists() and target.samefile(source):
        raise MedicalImageError(f"{label}: the target is the source file. Choose another target.")
    if target.exists():
        raise MedicalImageError(f"{target_label}: exists already. Choose another target or remove it.")
