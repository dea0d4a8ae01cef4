from __future__ import annotations

import colorsys

import pytest
import torch
from verticlip.core.config import AugmentConfig
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.training import changes


def pictures(count: int = 64, side: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hsv(picture: torch.Tensor, row: int, column: int) -> tuple[float, float, float]:
    return colorsys.rgb_to_hsv(*picture[:, row, column].tolist())


def test_saturation_changes_as_in_hsv_and_is_cut_off():
    given = pictures(2)
    made = changes.saturated(given, torch.tensor([1.2, 0.8]).view(2, 1, 1, 1))
    for number, factor in enumerate((1.2, 0.8)):
        for place in ((0, 0), (5, 9), (23, 23)):
            hue, saturation, value = hsv(given[number], *place)
            expected = colorsys.hsv_to_rgb(hue, min(1, saturation * factor), value)
            assert made[number][:, place[0], place[1]].tolist() == pytest.approx(expected, abs=1e-5)
    grey = torch.full((1, 3, 4, 4), 0.4)
    assert torch.allclose(changes.saturated(grey, torch.full((1, 1, 1, 1), 1.2)), grey)
    assert torch.equal(
        changes.saturated(torch.zeros(1, 3, 2, 2), torch.ones(1, 1, 1, 1)), torch.zeros(1, 3, 2, 2)
    )


def test_flip_changes_half_of_the_pictures():
    given = pictures(400, 8)
    changed = (changes.flip_saturation(given, seeded()) != given).flatten(1).any(1).float().mean()
    assert 0.4 < float(changed) < 0.6
    mirrored = changes.mirror(given, seeded())
    flipped = torch.tensor([torch.equal(one, two.flip(2)) for one, two in zip(mirrored, given, strict=True)])
    kept = torch.tensor([torch.equal(one, two) for one, two in zip(mirrored, given, strict=True)])
    assert bool((flipped ^ kept).all())
    assert 0.4 < float(flipped.float().mean()) < 0.6


def test_hue_turns_as_in_hsv():
    given = pictures(2)
    made = changes.hue_turned(given, torch.tensor([0.1, -0.1]).view(2, 1, 1, 1))
    for number, turn in enumerate((0.1, -0.1)):
        for place in ((0, 0), (5, 9), (23, 23)):
            hue, saturation, value = hsv(given[number], *place)
            expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            assert made[number][:, place[0], place[1]].tolist() == pytest.approx(expected, abs=1e-5)


def test_crops_have_the_area_that_was_asked_for():
    side = 64
    ramp = torch.arange(side) / side
    across = ramp.expand(side, side)
    given = torch.stack([across, across.T, torch.zeros(side, side)]).expand(300, 3, side, side)
    made = changes.resized_crop(given, (0.08, 1.0), seeded())
    wide = (made[:, 0, 0, -1] - made[:, 0, 0, 0]).clamp(min=1 / side)
    high = (made[:, 1, -1, 0] - made[:, 1, 0, 0]).clamp(min=1 / side)
    area, ratio = wide * high, wide / high
    assert 0.06 < float(area.min()) < 0.2
    assert 0.8 < float(area.max()) <= 1.0
    assert 0.6 < float(ratio.min()) < 0.85
    assert 1.18 < float(ratio.max()) < 1.6
    # An area above that of the picture never fits: the picture stays whole.
    torch.testing.assert_close(
        changes.resized_crop(given[:4], (1.05, 1.1), seeded()), given[:4], atol=1e-4, rtol=0
    )


def test_rotation_turns_counterclockwise_about_the_center():
    given = torch.zeros(1, 3, 33, 33)
    given[:, :, 16, 28] = 1.0
    quarter = changes.rotated(given, torch.tensor([90.0]))
    assert float(quarter[0, 0, 4, 16]) == pytest.approx(1.0, abs=1e-3)
    assert float(changes.rotated(torch.ones(1, 3, 33, 33), torch.tensor([45.0]))[0, 0, 0, 0]) == 0.0


def test_blur_is_a_gaussian_and_keeps_brightness():
    given = torch.zeros(1, 3, 31, 31)
    given[:, :, 15, 15] = 1.0
    made = changes.gaussian_blur(given, torch.tensor([1.5]))[0, 0]
    assert float(made.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(made[15, 17] / made[15, 15]) == pytest.approx(
        torch.tensor(-4 / (2 * 2.25)).exp().item(), rel=1e-4
    )


@pytest.mark.parametrize("change", [changes.simclr_view, changes.minifasnet_changes, changes.flip_saturation])
def test_changes_repeat_and_stay_in_range(change):
    given = pictures(16)
    first, again, other = change(given, seeded(3)), change(given, seeded(3)), change(given, seeded(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == given.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(given, pictures(16))


def test_views_are_grey_in_one_of_five():
    made = changes.simclr_view(pictures(400, 12), seeded())
    grey = (made.amax(1) - made.amin(1)).flatten(1).amax(1) < 1e-4
    assert 0.14 < float(grey.float().mean()) < 0.26


def test_changes_by_name():
    config = AugmentConfig(flip_horizontal=1.0)
    own = changes.changes_of("recipe", config).own(pictures(2), seeded())
    torch.testing.assert_close(own, pictures(2).flip(3), atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="leave augment out"):
        changes.changes_of("flip", config)
    with pytest.raises(ConfigError, match="Did you mean 'minifasnet'"):
        changes.changes_of("minifasnt", AugmentConfig())
