"""Replaying a stored reference case and saying how far off each output is.

A case is a folder with ``config.json`` (or ``case.json``), ``inputs.safetensors`` and
``outputs.safetensors``. A system is a module with

* ``CASES``: the case names it can replay,
* ``replay(config, inputs, case_dir) -> {output name: tensor}``, which never sees the outputs,
* ``tolerance(case, name, expected) -> float``: largest absolute difference allowed,
* optionally ``NOT_REPLAYED``: {case: {output name: reason}} for outputs it does not produce.

The core's own modules are listed here; a domain names its module under ``GOLDENS``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from . import registry
from .errors import ConfigError, InputError, nearest
from .files import read_json

CORE = "core"
_CORE_MODULES = ("goldens", "goldens_eval")

Status = Literal["ok", "over", "shape", "not replayed", "documented"]


@dataclass(frozen=True)
class OutputCheck:
    """One output of a case.

    Attributes:
        error: largest absolute difference, or None when there was nothing to compare.
        tolerance: largest allowed difference, or None likewise.
        status: ``ok``; ``over`` the tolerance; another ``shape``; ``not replayed``; or
            ``documented``: not replayed, for the stated reason.
        note: the two shapes, or the reason.
    """

    name: str
    status: Status
    error: float | None = None
    tolerance: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The outputs of one replayed case, in name order."""

    system: str
    case: str
    checks: tuple[OutputCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing failed."""
        statuses = {check.status for check in self.checks}
        return "ok" in statuses and statuses <= {"ok", "documented"}


def systems() -> dict[str, str]:
    """Return {system: domain}; the domain of the core's own system is ``core``."""
    known = {CORE: CORE}
    for name in registry.ROOMS:
        known.update(dict.fromkeys(registry.room(name).goldens, name))
    return known


def replay(system: str, case_dir: str | Path) -> Report:
    """Replay one case and compare every stored output.

    Args:
        system: ``core`` or a system that a domain declares.
        case_dir: folder of the case.

    Raises:
        ConfigError: unknown system or case; those that exist are listed.
        InputError: the folder lacks a file or holds a damaged one.
    """
    case_dir = Path(case_dir)
    config = _read_config(case_dir)
    case = str(config.get("case", case_dir.name))
    module = _module_for(system, case)
    inputs, expected = (
        _read_tensors(case_dir / "inputs.safetensors"),
        _read_tensors(case_dir / "outputs.safetensors"),
    )
    got = module.replay({**config, "case": case}, inputs, case_dir)
    documented = getattr(module, "NOT_REPLAYED", {}).get(case, {})
    checks = [
        _check(module, case, name, expected[name], got.get(name), documented) for name in sorted(expected)
    ]
    return Report(system, case, tuple(checks))


def _module_for(system: str, case: str) -> ModuleType:
    known = systems()
    if system not in known:
        raise ConfigError(
            f"No golden system {system!r}; there are: {', '.join(known)}.{nearest(system, known)}"
        )
    if system == CORE:
        modules = [importlib.import_module(f".{name}", __package__) for name in _CORE_MODULES]
    else:
        modules = [sys.modules[registry.room(known[system]).function("goldens", system).__module__]]
    for module in modules:
        if case in module.CASES:
            return module
    cases = sorted(name for module in modules for name in module.CASES)
    raise ConfigError(
        f"System {system!r} has no case {case!r}; it replays: {', '.join(cases)}.{nearest(case, cases)}"
    )


def _read_config(case_dir: Path) -> dict[str, Any]:
    if not case_dir.is_dir():
        raise InputError(f"{case_dir}: no such folder. Give the folder of one golden case.")
    for name in ("config.json", "case.json"):
        if (case_dir / name).is_file():
            config = read_json(case_dir / name)
            if not isinstance(config, dict):
                raise InputError(f"{case_dir / name}: expected a mapping, got {type(config).__name__}.")
            return config
    raise InputError(
        f"{case_dir}: neither config.json nor case.json is here. Give the folder of one golden case."
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Return {name: tensor}. Not-a-number is legal here: some cases store it on purpose."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path.parent}: {path.name} is missing. Copy the case again.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}). Copy the case again.") from error


def _check(
    module: ModuleType,
    case: str,
    name: str,
    expected: Tensor,
    got: Tensor | None,
    documented: Mapping[str, str],
) -> OutputCheck:
    if got is None:
        if name in documented:
            return OutputCheck(name, "documented", note=documented[name])
        return OutputCheck(name, "not replayed")
    got = torch.as_tensor(got).detach().cpu()
    if got.shape != expected.shape:
        return OutputCheck(name, "shape", note=f"got {list(got.shape)}, expected {list(expected.shape)}")
    error, allowed = largest_error(got, expected), float(module.tolerance(case, name, expected))
    return OutputCheck(name, "ok" if error <= allowed else "over", error, allowed)


def largest_error(got: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference; equal infinities and paired NaNs count as equal.

    A value that is finite on one side only makes the result infinite.
    """
    got, expected = got.double(), expected.double()
    same = (got == expected) | (got.isnan() & expected.isnan())
    difference = (got - expected).abs().masked_fill(same, 0.0).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return float(difference.max()) if difference.numel() else 0.0
