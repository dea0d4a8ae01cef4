"""The contrastive benchmark compares equal work."""

from __future__ import annotations

import pytest
import torch
from verticlip.benchmarks import infonce
from verticlip.core.errors import VerticlipError


def test_inputs_are_seeded_unit_leaves_in_correlated_pairs():
    image, text, scale = infonce.make_inputs(64)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(64))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(64))
    assert torch.equal(infonce.make_inputs(64)[1], text)
    assert 0.1 < float((image.detach() * text.detach()).sum(1).mean()) < 0.4
    assert image.is_leaf
    assert scale.requires_grad


def test_both_variants_do_the_same_work():
    figures = infonce.check(128)
    assert 0 < figures["ours_gradient_error"] < 1e-5
    assert 0 < figures["peer_gradient_error"] < 1e-4
    (workload,) = infonce.workloads(quick=True)
    assert workload.gate == 1.25


def test_a_wrong_gradient_fails_the_check(monkeypatch):
    monkeypatch.setitem(
        infonce.VARIANTS, "ours", lambda image, text, scale: infonce.ours(image, -text, scale)
    )
    with pytest.raises(VerticlipError, match=r"Our gradient error .* is above the peer's"):
        infonce.check(32)
