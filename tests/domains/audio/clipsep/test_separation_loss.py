"""The separation loss against the waveforms it speaks of, and through the network's own extras."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.audio.clipsep.model import ENERGIES, MIXTURE
from verticlip.domains.audio.clipsep.separation_loss import SeparationLoss

sys.path.insert(0, str(Path(__file__).parent))

import make_separator


def _batch(silent: bool = False) -> Batch:
    low, high = (torch.from_numpy(make_separator.wave(label, 2047 / 4000)) for label in ("low", "high"))
    waves = torch.stack([low, 0 * high if silent else high])[None]
    return Batch({MIXTURE: {"waves": waves}}, extras={"queries": torch.randn(1, 2, 8)})


def _outputs(batch: Batch, logits: torch.Tensor | None = None) -> Outputs:
    network = make_separator.model().network
    extras = dict(network(batch, extras=("query_logits", *ENERGIES)).extras)
    if logits is not None:
        extras["query_logits"] = logits
    return Outputs({}, torch.tensor(1.0), extras=extras)


def test_energies_are_those_of_the_spectra():
    batch = _batch()
    network = make_separator.model().network
    extras = network(batch, extras=ENERGIES).extras
    spectra = network.spectra.stft(batch.inputs[MIXTURE]["waves"])
    mixture = spectra.sum(dim=1)
    # Masks of one everywhere: sums over rows are sums over bins.
    torch.testing.assert_close(extras["mixture_energy"].sum(), mixture.abs().square().sum())
    torch.testing.assert_close(extras["source_energy"], spectra.abs().square().sum(dim=(2, 3)))
    shared = (spectra * mixture.conj()[:, None]).real.sum(dim=(2, 3))
    torch.testing.assert_close(extras["shared_energy"].sum(dim=(2, 3)), shared)
    assert not any(value.requires_grad for value in extras.values())


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_error_of_a_flat_mask_is_that_of_the_waveform(level):
    batch = _batch()
    logits = torch.full((1, 2, 32, 64), level).logit()
    outputs = _outputs(batch)
    logits = logits[..., : outputs.extras["query_logits"].shape[-1]].contiguous()
    loss = SeparationLoss(ceiling_db=80, shape_weight=0.0)
    parts = loss(Outputs({}, torch.tensor(1.0), extras={**outputs.extras, "query_logits": logits}), batch)
    spectra = make_separator.model().network.spectra.stft(batch.inputs[MIXTURE]["waves"])
    missed = (spectra - level * spectra.sum(dim=1, keepdim=True)).abs().square().sum(dim=(2, 3))
    expected = 10 * (missed / spectra.abs().square().sum(dim=(2, 3))).log10()
    torch.testing.assert_close(parts["error"], expected.mean(), atol=1e-3, rtol=1e-4)
    assert float(parts["loss"]) == pytest.approx(float(parts["error"]))


def test_queries_that_nothing_answers_are_asked_for_silence():
    batch = _batch(silent=True)
    frames = _outputs(batch).extras["query_logits"].shape[-1]
    loss = SeparationLoss(shape_weight=0.0, absent_weight=1.0, absent_db=15)
    found = []
    for level in (3.0, 0.0, -3.0, -30.0):
        logits = torch.zeros(1, 2, 32, frames)
        logits[:, 1] = level
        found.append(float(loss(_outputs(batch, logits), batch)["absence"]))
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(-15.0, abs=1e-3)


def test_the_best_mask_is_the_one_that_training_moves_to():
    batch = _batch()
    outputs = _outputs(batch)
    logits = torch.zeros_like(outputs.extras["query_logits"], requires_grad=True)
    loss = SeparationLoss()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        parts = loss(Outputs({}, torch.tensor(1.0), extras={**outputs.extras, "query_logits": logits}), batch)
        parts["loss"].backward()
        optimizer.step()
        values.append(float(parts["error"].detach()))
    assert values[-1] < -12
    masks = logits.detach().sigmoid()[0]
    assert float(masks[0, :8].mean()) > 0.8 > 0.2 > float(masks[1, :8].mean())


def test_silence_alone_has_a_loss_and_a_gradient():
    batch = Batch({MIXTURE: {"waves": torch.zeros(1, 2, 2047)}}, extras={"queries": torch.randn(1, 2, 8)})
    outputs = _outputs(batch)
    parts = SeparationLoss()(outputs, batch)
    parts["loss"].backward()
    assert all(torch.isfinite(value) for value in parts.values())


def test_it_is_built_by_its_word_and_refuses_what_cannot_be():
    assert isinstance(build_objective("separation", {"ceiling_db": 10}, domain="audio"), SeparationLoss)
    with pytest.raises(ConfigError, match="ceiling_db 0"):
        SeparationLoss(ceiling_db=0)
    batch = _batch()
    outputs = _outputs(batch, torch.zeros(1, 3, 32, 64))
    with pytest.raises(InputError, match="one query for each source, in the same order"):
        SeparationLoss()(outputs, batch)
    network = make_separator.model().network
    magnitude = Batch({MIXTURE: {"magnitude": torch.ones(1, 1, 65, 32)}})
    with pytest.raises(InputError, match="'mixture_energy' is made of the sources"):
        network(magnitude, extras=("mixture_energy",))
