"""The published program's treatment of a recording."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.config import ModelConfig
from verticlip.core.errors import InputError
from verticlip.domains.audio.clipsep.model import ClipSep
from verticlip.domains.audio.clipsep.reference_inference import separate_as_published


def network(kind: str = "nit", **options) -> ClipSep:
    torch.manual_seed(0)
    settings = {"kind": kind, "layers": 5, "channels": 2, "ngf": 1, "query_dim": 4, "frames": 32, **options}
    return ClipSep(
        ModelConfig(name="a/b", domain="audio", architecture="clipsep", embed_dim=0, options=settings)
    ).eval()


def everything(model: ClipSep) -> ClipSep:
    """Return a model whose mask lets everything through."""
    with torch.no_grad():
        model.separator.synth_net.scale.zero_()
        model.separator.synth_net.bias.fill_(20.0)
    return model


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize(
    ("samples", "returned"),
    [(1, 1), (500, 500), (7936, 7936), (8000, 7936), (8190, 7936), (8191, 8191), (20_000, 20_000)],
)
def test_an_open_mask_gives_the_recording_back_up_to_whole_hops(samples, returned):
    model, wave = everything(network()), noise(samples)
    assert model.options.window_samples == 8191
    found = separate_as_published(model, wave, torch.ones(1, 4))
    assert found.waves.shape == (1, returned)
    assert float((found.waves[0] - wave[:returned]).abs().max()) < 1e-5


def test_masks_and_noise_heads():
    found = separate_as_published(network(), noise(5000), torch.randn(3, 4), threshold=None)
    assert found.waves.shape == (3, 5000)
    assert found.noise.shape == (2, 5000)
    assert found.masks.shape == (3, 256, 32)
    assert found.linear_masks.shape == (3, 513, 32)
    late = separate_as_published(network("late"), noise(5000), torch.randn(1, 4))
    assert late.noise is None
    assert late.noise_masks is None


def test_loud_recordings_are_clipped():
    found = separate_as_published(everything(network()), noise(6000) * 50, torch.ones(1, 4))
    assert float(found.waves.abs().max()) <= 1.0


def test_a_length_of_its_own():
    found = separate_as_published(everything(network()), noise(9000), torch.ones(1, 4), length=8191)
    assert found.waves.shape == (1, 7936)


def test_labels_and_no_queries():
    labelled = separate_as_published(network("label", n_labels=3), noise(3000), torch.tensor([1, 2]))
    assert labelled.waves.shape == (2, 3000)
    assert separate_as_published(network("pit"), noise(3000), None).waves.shape == (2, 3000)


def test_no_sound_is_refused():
    with pytest.raises(InputError, match=r"must be \[samples\] with at least one, got \[0\]"):
        separate_as_published(network(), torch.zeros(0), torch.ones(1, 4))
