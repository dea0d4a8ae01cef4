"""Replaying a stored reference case and saying how far off each output is.

A case is a folder with ``config.json`` (or ``case.json``), ``inputs.safetensors`` and
``outputs.safetensors``. A worked example has no tensors: its JSON file holds the numbers, those to come out
under ``expected``, where nested names are joined by dots (``ppm_text.rows``). A system is a module with

* ``CASES``: {case: ``replay(config, inputs, case_dir) -> {output: tensor}``},
* ``tolerance(case, output, expected) -> float``: largest absolute difference allowed; or
  ``TOLERANCES``: {case: (relative to the largest expected value, absolute)},
* optionally ``error(case, output, got, expected) -> float | None``: what the tolerance is compared with
  where the largest absolute difference is the wrong measure (None: it is the right one),
* optionally ``NOT_REPLAYED``: {case: {output: reason}} for outputs that are left out on purpose,
* optionally ``ANY_CASE``: the name in ``CASES`` that replays every case of another name.

The core's own modules are listed here; a domain names its module under ``GOLDENS``.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
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
        error: largest absolute difference, or the system's own measure; None when there was nothing to
            compare.
        tolerance: largest error allowed, or None likewise.
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
    module, known = _find(system, case)
    if "expected" in config and not (case_dir / "outputs.safetensors").is_file():
        inputs, expected = {}, dict(_worked(config["expected"], ""))
    else:
        inputs, expected = (_read_tensors(case_dir / f"{name}.safetensors") for name in ("inputs", "outputs"))
    got = module.CASES[known]({**config, "case": known}, inputs, case_dir)
    checks = [_check(module, known, name, expected[name], got.get(name)) for name in sorted(expected)]
    return Report(system, case, tuple(checks))


def _find(system: str, case: str) -> tuple[ModuleType, str]:
    """Return the module that replays ``case`` and the name it knows the case by."""
    known = systems()
    if system not in known:
        raise ConfigError(
            f"No golden system {system!r}; there are: {', '.join(known)}.{nearest(system, known)}"
        )
    if system == CORE:
        modules = [importlib.import_module(f".{name}", __package__) for name in _CORE_MODULES]
    else:
        modules = [registry.room(known[system]).module("goldens", system)]
    homes = {name: module for module in modules for name in module.CASES}
    # A further case of the same kind carries a suffix: "windowing_b" is replayed as "windowing".
    matches = [
        name for name in homes if case == name or case.startswith((f"{name}.", f"{name}_", f"{name}-"))
    ]
    if not matches and hasattr(modules[0], "ANY_CASE"):
        return modules[0], modules[0].ANY_CASE
    if not matches:
        raise ConfigError(
            f"System {system!r} has no case {case!r}.{nearest(case, homes)} Known: {', '.join(homes)}."
        )
    name = max(matches, key=len)
    return homes[name], name


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


def _worked(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the numbers of a worked example as float64 tensors, by their dotted names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _worked(inner, f"{name}.{key}" if name else key)
        return
    try:
        # null: what is not defined, such as a rate of nobody.
        yield name, torch.tensor(math.nan if value is None else value, dtype=torch.float64)
    except (TypeError, ValueError):
        raise InputError(f"expected.{name} is no array of numbers. Copy the case again.") from None


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


def _check(module: ModuleType, case: str, name: str, expected: Tensor, got: Any) -> OutputCheck:
    if got is None:
        reason = getattr(module, "NOT_REPLAYED", {}).get(case, {}).get(name)
        return OutputCheck(name, "documented", note=reason) if reason else OutputCheck(name, "not replayed")
    got = torch.as_tensor(got).detach().cpu()
    if got.shape != expected.shape:
        return OutputCheck(name, "shape", note=f"got {list(got.shape)}, expected {list(expected.shape)}")
    own = module.error(case, name, got, expected) if hasattr(module, "error") else None
    error = largest_error(got, expected) if own is None else float(own)
    allowed = _tolerance(module, case, name, expected)
    # A tolerance relative to an infinite output is infinite too, and would allow anything.
    return OutputCheck(name, "ok" if error <= allowed and math.isfinite(error) else "over", error, allowed)


def _tolerance(module: ModuleType, case: str, name: str, expected: Tensor) -> float:
    if hasattr(module, "tolerance"):
        return float(module.tolerance(case, name, expected))
    relative, absolute = module.TOLERANCES[case]
    finite = expected.double().abs().nan_to_num(0.0, posinf=0.0)
    return absolute + relative * (float(finite.max()) if finite.numel() else 0.0)


def largest_error(got: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference; equal infinities and paired NaNs count as equal.

    A value that is finite on one side only makes the result infinite.
    """
    got, expected = got.double(), expected.double()
    same = (got == expected) | (got.isnan() & expected.isnan())
    difference = (got - expected).abs().masked_fill(same, 0.0).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return float(difference.max()) if difference.numel() else 0.0
