from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from verticlip.core.errors import InputError
from verticlip.domains.audio.clipsonic.bridge import Bridge


def cones(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and text embeddings [200, 16] of the same things, each in a cone of its own."""
    generator = torch.Generator().manual_seed(seed)
    things = torch.randn(200, 16, generator=generator)
    images = normalize(things + torch.tensor([5.0] + [0.0] * 15), dim=-1)
    texts = normalize(things + torch.tensor([0.0, -5.0] + [0.0] * 14), dim=-1)
    return images, texts


def made() -> Bridge:
    bridge = Bridge(("image", "text"), 16)
    images, texts = cones()
    bridge.measure("image", images)
    bridge.measure("text", texts)
    return bridge


@pytest.mark.parametrize("how", ["shift", "standardize"])
def test_the_bridge_brings_texts_to_their_images(how: str) -> None:
    images, texts = cones()
    found = made()(texts, "text", "image", how=how)
    before = (texts * images).sum(dim=1).mean()
    after = (found * images).sum(dim=1).mean()
    assert before < 0.4
    assert after > 0.95
    assert torch.allclose(found.norm(dim=1), torch.ones(200))


def test_the_shift_is_the_difference_of_the_means() -> None:
    images, texts = cones()
    expected = normalize(texts - texts.mean(dim=0) + images.mean(dim=0), dim=-1)
    assert torch.allclose(made()(texts, "text", "image", how="shift"), expected, atol=1e-6)


def test_nothing_moves_within_a_modality_or_without_a_bridge() -> None:
    images, texts = cones()
    assert torch.allclose(made()(images, "image", "image", how="shift"), images, atol=1e-6)
    assert torch.allclose(made()(texts, "text", "image", how="none"), texts, atol=1e-6)


@pytest.mark.parametrize("how", ["shift", "none"])
def test_centered_embeddings_of_both_modalities_lie_around_zero(how: str) -> None:
    images, texts = cones()
    bridge = made()
    for values, source in ((images, "image"), (texts, "text")):
        found = bridge(values, source, "image", how=how, center=True)
        assert found.mean(dim=0).norm() < 0.1


def test_means_travel_with_the_state() -> None:
    other = Bridge(("image", "text"), 16)
    assert not other.knows("text")
    other.load_state_dict(made().state_dict())
    assert other.knows("text")


def test_what_was_never_measured_is_refused() -> None:
    bridge = Bridge(("image", "text"), 16)
    with pytest.raises(InputError, match="carry no mean of text embeddings"):
        bridge(torch.ones(1, 16), "text", "image", how="shift")
    with pytest.raises(InputError, match="has no 'txt'.*Did you mean 'text'"):
        bridge(torch.ones(1, 16), "txt", "image", how="shift")
    with pytest.raises(InputError, match="Pass two or more"):
        bridge.measure("text", torch.ones(1, 16))
