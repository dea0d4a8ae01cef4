"""One number that makes probabilities fit frequencies, apart from any threshold.

A temperature T divides the log-odds of a presentation: ``p_live = sigmoid(margin / T)``. That keeps the order
of presentations, and thresholds are kept as log-odds before it. So it changes what probability is reported
and never who is accepted: a threshold stays valid when a temperature is added, changed or left out. Dividing
the logits of every category instead would change the order where there are several kinds of attack.

Reference: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from ....core.config import parse_config
from ....core.config_base import Config
from ....core.errors import ConfigError, DataError, InputError
from ....core.limits import DEFAULT, Limits
from .fingerprint import Fingerprint
from .sealed import read_sealed, write_sealed
from .threshold import probability_of

TEMPERATURE_FILE = "temperature.json"
_FORMAT = "verticlip liveness temperature 1"
_ADVICE = "Make it again: verticlip liveness calibrate MANIFEST --model MODEL --temperature"
_LARGEST = 1000.0
"""Beyond it every probability is 0.5 for all practical purposes."""


class Temperature(Config):
    """A temperature and where it comes from."""

    value: float = Field(gt=0, le=_LARGEST)
    nll_before: float | None = None
    """Mean negative log-likelihood per presentation in nats, with temperature 1 and with this one."""
    nll_after: float | None = None
    n_bona_fide: int = 0
    n_attack: int = 0
    dataset: str = ""
    fingerprint: Fingerprint | None = None
    date: str = ""
    verticlip: str = ""

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON with a SHA-256 over its content, and return the path."""
        return write_sealed(path, _FORMAT, self.model_dump(mode="json"))

    @classmethod
    def load(
        cls, path: str | Path, fingerprint: Fingerprint | None = None, *, limits: Limits = DEFAULT
    ) -> Temperature:
        """Return the record of a file, checked against the detector that will use it.

        Raises:
            ConfigError: no such file, a changed one, or made for another detector.
        """
        path = Path(path)
        content = read_sealed(path, _FORMAT, advice=_ADVICE, limits=limits)
        found = parse_config(cls, content, source=path.name)
        found.check_made_for(fingerprint, source=str(path))
        return found

    def check_made_for(self, fingerprint: Fingerprint | None, *, source: str = "temperature") -> None:
        """Raise ``ConfigError`` where it was fitted for another detector, naming what differs."""
        if fingerprint is None or self.fingerprint is None:
            return
        differences = fingerprint.differences(self.fingerprint)
        if differences:
            raise ConfigError(f"{source}: fitted for another detector; different: {'; '.join(differences)}.")


def negative_log_likelihood(
    margins: Sequence[float], is_live: Sequence[bool], temperature: float = 1.0
) -> float:
    """Return the mean of ``-log p`` of the true class, in nats.

    Args:
        margins: N log-odds of live.
        is_live: N labels.
        temperature: that divides the margins.

    Raises:
        InputError: nothing, or another number of labels.
    """
    signed = _signed(margins, is_live)
    return float(np.logaddexp(0.0, -signed / temperature).mean())


def fit_temperature(margins: Sequence[float], is_live: Sequence[bool]) -> float:
    """Return the temperature with the lowest negative log-likelihood.

    In ``1 / T`` the likelihood is convex, so its slope has one zero, found by bisection to 1e-12.

    Args:
        margins: N log-odds of live of a development set, before any temperature.
        is_live: N labels.

    Raises:
        InputError: nothing, or another number of labels.
        DataError: no bona fide or no attack; no temperature is best, because the signs of the margins are
            right without exception (ever colder is better) or wrong on the whole (ever hotter is).
    """
    signed = _signed(margins, is_live)
    if all(is_live) or not any(is_live):
        raise DataError("A temperature needs bona fide and attack presentations; the set has one of the two.")
    if _slope(signed, 0.0) >= 0:
        raise DataError(
            "The margins say no more than chance about these labels (or the labels are reversed), so no "
            "temperature fits them. Check the label column."
        )
    if signed.min() > 0:
        raise DataError(
            "Every bona fide has positive and every attack negative log-odds: the colder the temperature, "
            "the better it fits, without end. Fit it on a set that has errors, or leave it out."
        )
    low, high = 0.0, 1.0
    while _slope(signed, high) < 0:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if high - low <= 1e-12 * high:
            break
        low, high = (middle, high) if _slope(signed, middle) < 0 else (low, middle)
    if high * _LARGEST < 1:
        raise DataError(
            f"The best temperature is over {_LARGEST:g}: the margins say next to nothing about these labels."
        )
    return 2 / (low + high)


def _slope(signed: np.ndarray, inverse: float) -> float:
    """Return the derivative of the mean negative log-likelihood by ``1 / T``."""
    # sigmoid(-x) without overflow, weighted by -x's coefficient.
    weights = np.exp(-np.logaddexp(0.0, signed * inverse))
    return float(-(signed * weights).mean())


def _signed(margins: Sequence[float], is_live: Sequence[bool]) -> np.ndarray:
    """Return float64 [N]: margins of bona fides, negated margins of attacks."""
    found, live = np.asarray(margins, np.float64), np.asarray(is_live, bool)
    if found.ndim != 1 or found.shape != live.shape or not len(found):
        raise InputError(
            f"{len(margins)} margins for {len(is_live)} labels; give one label per margin, at least one."
        )
    if not np.isfinite(found).all():
        raise InputError(f"Margin {int(np.flatnonzero(~np.isfinite(found))[0])} is not a finite number.")
    return np.where(live, found, -found)


def soften(margin: float, temperature: float) -> float:
    """Return P(live) of log-odds at a temperature."""
    return probability_of(margin / temperature)
