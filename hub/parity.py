"""Golden cases of the systems a model runs: found where they lie, replayed, and summed up.

The smallest cases of every system ship with the package; all of them lie in the source distribution.

What a case runs is said in words: for a tower its backend, with what it builds where that is several things
(``vit``, ``bert``, ``timm resnet50``, ``open_clip text of coca``); for what an architecture has beside towers
its name (``clipsep``); ``answers`` for what is made of embeddings; ``preprocessing`` before towers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ..core import registry
from ..core.config import Config
from ..core.errors import ConfigError, VerticlipError
from ..core.files import CONFIG_FILE, read_json
from ..core.registry import ModelSpec, PublishedWeights
from ..core.verify import OutputCheck, Report, replay

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..core.config import ModelConfig

VARIABLE = "VERTICLIP_GOLDEN"
_PACKAGE = Path(__file__).resolve().parents[1]
_AROUND = ("answers", "preprocessing")
_CORE_COVERS = {"core/open_clip.zero_shot_classifier": ("answers",)}

Status = Literal["passed", "failed", "not here", "cannot run"]


class ParityCheck(Config):
    """What came of one golden case.

    Attributes:
        system, case: ``unimed_clip``, ``tiny_b16``.
        covers: what of the model's own code it runs, in the words above.
        status: ``passed``; ``failed``; ``not here``: no folder holds the case; or ``cannot run``: something
            it needs is not installed.
        compared: number of outputs. documented: of those left out on purpose.
        output: the one that used up most of its tolerance, with its ``error`` and ``tolerance``.
        reason: of any status but ``passed``.
    """

    system: str
    case: str
    covers: tuple[str, ...] = ()
    status: Status
    compared: int = 0
    documented: int = 0
    output: str = ""
    error: float | None = None
    tolerance: float | None = Field(default=None)
    reason: str = ""


def golden_homes(goldens: str | Path | None = None) -> tuple[Path, ...]:
    """Return the folders that may hold golden cases as ``<system>/<case>``, the first one first.

    These are ``goldens``, the folder that the variable ``VERTICLIP_GOLDEN`` names, the cases in this package
    and those of a checkout.

    Raises:
        ConfigError: ``goldens`` is no folder.
    """
    if goldens is not None and not Path(goldens).is_dir():
        raise ConfigError(f"{goldens}: no such folder. Give one that holds golden cases as system/case.")
    named = os.environ.get(VARIABLE)
    places = (goldens, named or None, _PACKAGE / "goldens", _PACKAGE / "tests" / "golden")
    return tuple(Path(place) for place in places if place is not None and Path(place).is_dir())


def find_case(name: str, homes: Iterable[Path]) -> Path | None:
    """Return the folder of the case ``system/case``, or None."""
    return next((home / name for home in homes if (home / name).is_dir()), None)


def parts_of(config: ModelConfig) -> tuple[str, ...]:
    """Return what a network is built of, in the words of the module text, without repetition."""
    own = () if config.architecture == "contrastive" else (config.architecture,)
    towers = [_word(tower, own) for tower in config.towers.values()]
    return tuple(dict.fromkeys([*towers, *own]))


def _word(tower: BaseModel, own: Sequence[str]) -> str:
    kinds = (getattr(tower, name, "") for name in ("architecture", "kind", "model_type"))
    backend = getattr(tower, "backend", "")
    # One class of open_clip makes towers that have little in common.
    of = [f"of {name}" for name in own] if backend == "open_clip" else []
    return " ".join(filter(None, [backend, *kinds, *of]))


def covered_by(case: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Return what of a network of these parts a golden case runs."""
    words = _CORE_COVERS.get(case, ())
    for name in registry.ROOMS:
        words = registry.room(name).covers.get(case, words)
    return tuple(word for word in words if word in (*parts, *_AROUND))


def uncovered(parts: Sequence[str], found: Iterable[ParityCheck]) -> tuple[str, ...]:
    """Return the parts of a network that no case ran and agreed on."""
    run = {word for one in found if one.status == "passed" for word in one.covers}
    return tuple(word for word in parts if word not in run)


def cases_of(spec: ModelSpec | None, config: ModelConfig) -> tuple[str, ...]:
    """Return the golden cases that run the code of a model, ``system/case``.

    Those of a model without an entry of its own are those of the registered models of its domain and
    architecture or, where it has no domain, as few as run what of its network any case runs.
    """
    if spec is not None:
        return spec.parity
    if config.domain is None:
        return _few_for(parts_of(config))
    home = registry.room(config.domain)
    found = [
        one.parity for one in home.models.values() if _architecture(one, home.folder) == config.architecture
    ]
    return tuple(dict.fromkeys(case for cases in found for case in cases))


def _few_for(parts: Sequence[str]) -> tuple[str, ...]:
    runs = {
        case: {*covered_by(case, parts)} & {*parts}
        for name in registry.ROOMS
        for case in registry.room(name).covers
    }
    chosen: list[str] = []
    left = set(parts)
    while runs and (best := max(runs, key=lambda case: len(runs[case] & left))) and runs[best] & left:
        chosen.append(best)
        left -= runs.pop(best)
    return tuple(chosen)


def _architecture(spec: ModelSpec, room: Path) -> str:
    """Return the architecture of a registered model: of its config, else its converter is named after it."""
    if isinstance(spec.weights, PublishedWeights):
        return spec.weights.converter
    if spec.weights.packaged is None:
        return ""
    return str(read_json(room / spec.weights.packaged / CONFIG_FILE).get("architecture", "contrastive"))


def replay_parity(
    cases: Sequence[str], goldens: str | Path | None = None, *, parts: Sequence[str] = ()
) -> tuple[ParityCheck, ...]:
    """Replay golden cases and return what came of each; a case that fails does not stop the others.

    Args:
        cases: ``system/case``.
        goldens: folder to look in first; see :func:`golden_homes`.
        parts: of the model; see :func:`parts_of`.

    Raises:
        ConfigError: ``goldens`` is no folder.
    """
    homes = golden_homes(goldens)
    return tuple(
        _replay(name, homes).model_copy(update={"covers": covered_by(name, parts)}) for name in cases
    )


def _replay(name: str, homes: Sequence[Path]) -> ParityCheck:
    system, _, case = name.partition("/")
    folder = find_case(name, homes)
    if folder is None:
        return ParityCheck(
            system=system,
            case=case,
            status="not here",
            reason=f"the case is not on this machine: name its folder with --goldens or {VARIABLE}",
        )
    try:
        return _summary(replay(system, folder), case)
    except ImportError as error:
        return ParityCheck(system=system, case=case, status="cannot run", reason=_one_line(error, folder))
    except VerticlipError as error:
        return ParityCheck(system=system, case=case, status="failed", reason=_one_line(error, folder))


def _summary(report: Report, case: str) -> ParityCheck:
    worst = max(report.checks, key=_strain, default=None)
    failed = [check.name for check in report.checks if check.status not in ("ok", "documented")]
    reason = f"{len(failed)} of {len(report.checks)} outputs differ, {failed[0]} for one" if failed else ""
    facts: dict[str, Any] = {}
    # JSON has no infinity.
    if worst is not None and math.isfinite(worst.error or 0.0) and math.isfinite(worst.tolerance or 0.0):
        facts = {"output": worst.name, "error": worst.error, "tolerance": worst.tolerance}
    return ParityCheck(
        system=report.system,
        case=case,
        status="passed" if report.passed else "failed",
        compared=sum(check.status in ("ok", "over", "shape") for check in report.checks),
        documented=sum(check.status == "documented" for check in report.checks),
        reason=reason or ("" if report.passed else "no output could be compared"),
        **facts,
    )


def _strain(check: OutputCheck) -> float:
    if check.error is None:
        return -1.0
    return check.error / check.tolerance if check.tolerance else float(check.error > 0) * 1e9


def _one_line(error: Exception, folder: Path) -> str:
    """Return the message of an error without the place where the case lies."""
    return " ".join(str(error).replace(str(folder), folder.name).split())[:500]
