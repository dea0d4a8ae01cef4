"""Which threshold and temperature a detector uses, from any way a user may name one."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ....core.errors import ConfigError, nearest
from ..metrics.thresholds import MODES, Kind, parse_rule
from .temperature import Temperature
from .threshold import THRESHOLD_FILE, Threshold, check_made_for, load_threshold

if TYPE_CHECKING:
    from ..detector import LivenessDetector


def chosen_threshold(
    given: Threshold | float | str | os.PathLike[str] | None, mode: str | None, detector: LivenessDetector
) -> Threshold | None:
    """Return the threshold that a user named, checked against the detector; None where none was named.

    Raises:
        ConfigError: not calibrated, of another detector, changed, out of range, or an unknown mode.
    """
    if mode is not None and mode not in MODES:
        raise ConfigError(f"Unknown mode {mode!r}; modes: {', '.join(MODES)}.{nearest(mode, MODES)}")
    if given is None:
        return None if mode is None else _of_model(mode, detector)
    if isinstance(given, str) and (given in MODES or given.partition("=")[0] in get_args(Kind)):
        return _named(given, mode, detector)
    if isinstance(given, (str, os.PathLike)):
        return load_threshold(Path(given), detector.fingerprint, mode=mode, limits=detector.model.limits)
    found = given if isinstance(given, Threshold) else Threshold.fixed(given)
    if mode is not None and found.mode != mode:
        raise ConfigError(
            f"mode {mode!r} was asked for, and the threshold given is {found.name!r}. Leave one of them out."
        )
    check_made_for(found, detector.fingerprint)
    return found


def chosen_temperature(
    given: Temperature | float | str | os.PathLike[str] | None, detector: LivenessDetector
) -> float:
    """Return the temperature that a user named, checked against the detector; 1 where none was named.

    Raises:
        ConfigError: not a positive number, of another detector, or a changed file.
    """
    if given is None:
        return 1.0
    if isinstance(given, (str, os.PathLike)):
        return Temperature.load(Path(given), detector.fingerprint, limits=detector.model.limits).value
    if isinstance(given, Temperature):
        given.check_made_for(detector.fingerprint)
        return given.value
    if (
        isinstance(given, bool)
        or not isinstance(given, (int, float))
        or not (given > 0 and math.isfinite(given))
    ):
        raise ConfigError(f"A temperature is a positive number, got {given!r}.")
    return float(given)


def _named(word: str, mode: str | None, detector: LivenessDetector) -> Threshold:
    """Return the threshold of a mode or rule that the model's folder holds, or of ``fixed=0.5``."""
    if mode is not None and mode != word:
        raise ConfigError(f"threshold {word!r} and mode {mode!r} disagree. Leave one of them out.")
    if word in MODES:
        return _of_model(word, detector)
    rule = parse_rule(word)
    if rule.kind == "fixed":
        return Threshold.fixed(float("nan") if rule.target is None else rule.target)
    if rule.oracle:
        raise ConfigError(
            f"{word} takes its threshold from the set it is judged on: for evaluation only. Use dev_eer."
        )
    return _of_model(str(rule), detector)


def _of_model(name: str, detector: LivenessDetector) -> Threshold:
    folder = getattr(getattr(detector.model, "source", None), "folder", None)
    stored = None if folder is None else Path(folder) / THRESHOLD_FILE
    if stored is None or not stored.is_file():
        raise ConfigError(
            f"{name!r} needs a threshold that was calibrated on labelled captures of your own, and "
            f"{detector.model.id} brings none. Calibrate first: `verticlip liveness calibrate MANIFEST "
            f"--model {detector.model.id} --out threshold.json`, or detector.calibrate(dev).save(FILE); then "
            "name the file as threshold."
        )
    return load_threshold(stored, detector.fingerprint, mode=name, limits=detector.model.limits)
