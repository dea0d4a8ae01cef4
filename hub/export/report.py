"""What an export is compared with before it may exist, and the folder that appears only if it agrees.

Every format follows the same order: write into a staging folder, read it back with the other library, run
both on the same inputs, and only then give the folder its name. ``report.json`` stays beside the files.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError, WeightsError
from ...core.files import new_folder, sha256_of, write_json_atomic
from ...core.verify import OutputCheck, largest_error

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from the model it was made from.

    Attributes:
        format: ``open_clip``, ``transformers``, ``onnx`` or ``openvino``.
        files: {name inside the folder: sha256}, without the report itself.
        checks: one per output and kind of input that was compared.
        tolerance: largest difference allowed where a check has no tolerance of its own.
        versions: {package: version} of what wrote and of what read the files.
        model: id of the model.
        revision: commit or hash of its weights.
        notes: what the reader of the export has to know, one sentence each.
    """

    format: str
    files: Mapping[str, str]
    checks: tuple[OutputCheck, ...]
    tolerance: float
    versions: Mapping[str, str]
    model: str = ""
    revision: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether something was compared and every comparison held."""
        return bool(self.checks) and all(check.status == "ok" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; an infinite error becomes the text ``"inf"``."""
        return {
            "format": self.format,
            "model": self.model,
            "revision": self.revision,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "checks": [_finite(asdict(check)) for check in self.checks],
            "files": dict(self.files),
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    def require_passed(self) -> None:
        """Raise :class:`ExportRefused` unless :attr:`passed`."""
        if not self.passed:
            raise ExportRefused(self)


class ExportRefused(WeightsError):
    """An export does not do what the model does, so nothing was written.

    Attributes:
        report: every comparison, with those that failed.
    """

    def __init__(self, report: ExportReport) -> None:
        self.report = report
        failed = [check for check in report.checks if check.status != "ok"]
        said = "; ".join(_said(check) for check in failed[:3]) or "nothing was compared"
        more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
        super().__init__(
            f"The {report.format} export of {report.model or 'the model'} does not agree with the model: "
            f"{said}{more}. Nothing was written."
        )


def compare(name: str, got: Any, expected: Any, tolerance: float) -> OutputCheck:
    """Return how far ``got`` is from ``expected``.

    Args:
        name: of the output, and of what went in where there are several.
        got: tensor, array or numbers of the exported model.
        expected: the same of ours.
        tolerance: largest absolute difference allowed. Not-a-number on either side fails.
    """
    got, expected = _tensor(got), _tensor(expected)
    if got.shape != expected.shape:
        note = f"got {list(got.shape)}, expected {list(expected.shape)}"
        return OutputCheck(name, "shape", tolerance=tolerance, note=note)
    error = largest_error(got, expected)
    bad = "not finite" if not (torch.isfinite(got).all() and torch.isfinite(expected).all()) else ""
    fits = error <= tolerance and not bad
    return OutputCheck(name, "ok" if fits else "over", error, tolerance, bad)


@contextlib.contextmanager
def stage(out: str | Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``out`` that becomes ``out`` at the end, or is removed after an error.

    Args:
        out: missing, or an empty folder.

    Raises:
        ConfigError: ``out`` is a file or holds something, at the beginning or by the end.
    """
    check_out(out)
    # A link to an empty folder stays a link.
    target = Path(out).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = new_folder(target.parent, f".{target.name}.")
    try:
        yield folder
        check_out(out)
        if target.is_dir():
            target.rmdir()
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_out(out: str | Path) -> None:
    """Raise ``ConfigError`` unless ``out`` is missing or an empty folder."""
    out = Path(out)
    if out.is_dir():
        if any(out.iterdir()):
            raise ConfigError(f"{out} is not empty. Name a new folder: an export overwrites nothing.")
    elif out.exists() or out.is_symlink():
        raise ConfigError(f"{out} is not a folder. Name a new folder for the export.")


def file_hashes(folder: str | Path) -> dict[str, str]:
    """Return {name inside ``folder``: sha256} of every file, by name, without the report."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_of(path) for name, path in names.items() if name != REPORT_FILE}


def write_report(folder: str | Path, report: ExportReport) -> None:
    """Write ``report.json`` into ``folder``."""
    write_json_atomic(Path(folder) / REPORT_FILE, report.to_dict())


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu().double()


def _said(check: OutputCheck) -> str:
    if check.error is None:
        return f"{check.name} ({check.note or check.status})"
    why = f", {check.note}" if check.note else ""
    return f"{check.name} is off by {check.error:.3g} where {check.tolerance:.3g} is allowed{why}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
