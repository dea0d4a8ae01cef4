from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.audio.metrics.frechet import (
    Gaussian,
    frechet_audio_distance,
    frechet_distance,
    frechet_report,
)


def sets(count: int, other: int, width: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    first = torch.randn(count, width, generator=generator) @ mix
    second = 0.7 * torch.randn(other, width, generator=generator) + 0.5
    return first, second


def test_the_distance_is_that_of_the_formula_with_a_matrix_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    first, second = sets(200, 150)
    a, b = first.double().numpy(), second.double().numpy()
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(linalg.sqrtm(s1 @ s2)))
    assert frechet_distance(Gaussian.of(first), Gaussian.of(second)) == pytest.approx(expected, rel=1e-9)


def test_sets_smaller_than_the_dimension_have_a_finite_distance() -> None:
    first, second = sets(4, 5, width=32)
    found = frechet_distance(Gaussian.of(first), Gaussian.of(second))
    assert math.isfinite(found)
    assert found > 0


def test_equal_sets_have_no_distance_and_it_is_symmetric() -> None:
    first, second = (Gaussian.of(values) for values in sets(50, 60))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_extrapolation_takes_away_most_of_what_small_sets_add() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(20_000, 16, generator=generator)
    generated = torch.randn(150, 16, generator=generator)
    found = frechet_report(real, generated, embedding="test")
    assert found.infinite is not None
    assert found.fit is not None
    # The true distance is 0.
    assert abs(found.infinite) < 0.35 * found.distance
    assert found.fit > 0.8
    assert found.warning == ""


def test_few_sounds_are_warned_about_and_not_extrapolated(caplog: pytest.LogCaptureFixture) -> None:
    first, second = sets(10, 12, width=32)
    found = frechet_report(first, second, embedding="test")
    assert found.infinite is None
    assert "10 sounds cannot fill 32 dimensions" in found.warning
    assert "Frechet distance" in caplog.text
    assert found.to_dict()["embedding"] == "test"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(1, 4), "N of at least 2"),
        (torch.zeros(4), r"got \[4\]"),
        (torch.full((3, 4), math.inf), "NaN or infinite"),
    ],
)
def test_bad_embeddings_are_refused(values: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Gaussian.of(values)


def test_embeddings_of_two_models_are_refused() -> None:
    with pytest.raises(InputError, match="4 and 5 values"):
        frechet_distance(Gaussian.of(torch.eye(4)), Gaussian.of(torch.eye(5)))


def test_a_model_without_ears_and_too_few_files_are_refused() -> None:
    deaf = cast("Any", SimpleNamespace(id="eyes", network=SimpleNamespace(modalities=("image", "text"))))
    with pytest.raises(InputError, match="eyes has no audio tower"):
        frechet_audio_distance(deaf, [Path("a.wav")] * 2, [Path("b.wav")] * 2)
    hears = cast("Any", SimpleNamespace(id="ears", network=SimpleNamespace(modalities=("audio",))))
    with pytest.raises(InputError, match="1 generated recordings"):
        frechet_audio_distance(hears, [Path("a.wav")] * 2, [Path("b.wav")])
