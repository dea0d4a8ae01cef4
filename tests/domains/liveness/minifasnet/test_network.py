"""The networks of the family: sizes, names, shapes, and the fused copies."""

from __future__ import annotations

import pytest
import torch
from liveness.minifasnet.make_networks import pictures, random_network
from verticlip.core.errors import InputError
from verticlip.domains.liveness.minifasnet.fused import FusedCopy, fuse
from verticlip.domains.liveness.minifasnet.network import (
    ARCHITECTURES,
    MiniFASNet,
    MultiFTNet,
    NetworkConfig,
    build_network,
)
from verticlip.domains.liveness.minifasnet.shapes import describe, inference_part


@pytest.mark.parametrize(
    ("architecture", "parameters", "tensors"),
    [
        ("MiniFASNetV1", 414_354, 334),
        ("MiniFASNetV2", 434_560, 334),
        ("MiniFASNetV1SE", 433_586, 370),
        ("MiniFASNetV2SE", 453_792, 370),
    ],
)
def test_sizes_are_those_of_the_released_networks(architecture, parameters, tensors):
    network = MiniFASNet(NetworkConfig(architecture=architecture))
    assert sum(one.numel() for one in network.parameters()) == parameters
    assert len(network.state_dict()) == tensors


@pytest.mark.parametrize(
    ("size", "kernel"), [((80, 80), (5, 5)), ((80, 60), (5, 4)), ((112, 96), (7, 6)), ((33, 17), (3, 2))]
)
def test_the_last_convolution_covers_the_last_map(size, kernel):
    config = NetworkConfig(architecture="MiniFASNetV1SE", height=size[0], width=size[1], fourier=True)
    assert config.kernel == kernel
    network = build_network(config).eval()
    assert isinstance(network, MultiFTNet)
    with torch.inference_mode():
        logits, spectrum = network.both(pictures(2, *size).float())
    assert logits.shape == (2, 3)
    assert spectrum.shape == (2, 1, *config.fourier_size)


def test_the_spectrum_is_twice_the_kernel_at_the_released_sizes():
    for size in ((80, 80), (80, 60)):
        config = NetworkConfig(architecture="MiniFASNetV2SE", height=size[0], width=size[1])
        assert config.fourier_size == (2 * config.kernel[0], 2 * config.kernel[1])


def test_pictures_of_another_size_are_refused():
    network = MiniFASNet(NetworkConfig(architecture="MiniFASNetV2"))
    with pytest.raises(InputError, match=r"reads pictures \[B, 3, 80, 80\], got \[1, 3, 64, 64\]"):
        network(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_fused_copy_answers_alike_and_shares_nothing(architecture):
    network = random_network(NetworkConfig(architecture=architecture))
    batch = pictures(3).float()
    copy = fuse(network)
    with torch.inference_mode():
        expected = network(batch)
        assert float(expected.std()) > 0.1
        torch.testing.assert_close(copy(batch), expected, atol=1e-4, rtol=0)
        torch.nn.init.zeros_(copy.prob.weight)
        torch.testing.assert_close(network(batch), expected, atol=0, rtol=0)


def test_without_packed_weights(monkeypatch):
    from verticlip.domains.liveness.minifasnet import fused

    network = random_network(NetworkConfig(architecture="MiniFASNetV1SE"))
    packed = fuse(network)
    monkeypatch.setattr(fused, "LARGEST_ERROR", -1.0)  # no packed answer is exact enough
    plain = fuse(network)
    assert not any(isinstance(module, fused.PackedConvolution) for module in plain.modules())

    def renamed(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(fused, "PackedConvolution", renamed)
    without = fuse(network)
    batch = pictures(2).float()
    with torch.inference_mode():
        torch.testing.assert_close(plain(batch), packed(batch), atol=1e-4, rtol=0)
        torch.testing.assert_close(without(batch), packed(batch), atol=1e-4, rtol=0)


def test_other_batch_sizes_and_layouts():
    network = random_network(NetworkConfig(architecture="MiniFASNetV2SE"))
    copy = fuse(network)
    for count in (1, 2, 9):
        batch = pictures(count).float()
        with torch.inference_mode():
            expected = network(batch)
            torch.testing.assert_close(copy(batch), expected, atol=1e-4, rtol=0)
            strided = batch.contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(copy(strided), expected, atol=1e-4, rtol=0)


def test_a_copy_knows_that_its_weights_changed():
    network = random_network(NetworkConfig(architecture="MiniFASNetV2"))
    copy = FusedCopy(network)
    assert copy.current
    with torch.no_grad():
        network.prob.weight.mul_(2)
    assert not copy.current
    copy = FusedCopy(network)
    network.train()(pictures(2).float())  # statistics alone move
    assert not copy.current


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensors_tell_the_network(architecture):
    config = NetworkConfig(architecture=architecture, height=96, width=48, embedding=64, classes=2)
    state = MiniFASNet(config).state_dict()
    assert describe(state, source="file") == config
    stated = config.model_copy(update={"height": 90, "width": 40})
    assert describe(state, source="file", size=(90, 40)) == stated


def test_a_wide_embedding_has_no_layer_before_it():
    network = random_network(NetworkConfig(architecture="MiniFASNetV1", embedding=512))
    batch = pictures(2).float()
    before = network(batch)
    torch.nn.init.zeros_(network.linear.weight)
    assert torch.equal(network(batch), before)


def test_a_training_checkpoint_is_reduced_to_what_answers():
    config = NetworkConfig(architecture="MiniFASNetV2SE", fourier=True)
    state = MultiFTNet(config).state_dict()
    part = inference_part(state)
    assert set(part) == set(MiniFASNet(config).state_dict())
    assert inference_part(part) == part
