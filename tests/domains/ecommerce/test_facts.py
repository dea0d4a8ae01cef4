"""Colors and patterns of garments made for it: what people would say of them, whatever lies behind."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.facts import COLORS, FACTS, Facts, color_indices, facts_of, to_lab


def flat(color: tuple[float, float, float], height: int = 128, width: int = 96) -> torch.Tensor:
    return torch.tensor(color).view(3, 1, 1).expand(3, height, width).clone()


def garment(
    color: tuple[float, float, float] | torch.Tensor, *, on: tuple[float, float, float]
) -> torch.Tensor:
    """Return a photo [3, 128, 96] of a rectangle that leaves a fifth of each side to the background."""
    photo = flat(on)
    inside = flat(color) if isinstance(color, tuple) else color
    photo[:, 24:-24, 18:-18] = inside[:, 24:-24, 18:-18]
    return photo


def stripes(period: int, *, upright: bool) -> torch.Tensor:
    places = torch.arange(96 if upright else 128) // (period // 2) % 2
    plane = (places[None].expand(128, 96) if upright else places[:, None].expand(128, 96)).float()
    return torch.stack([0.1 + 0.8 * plane] * 3)


NAMED = {
    "black": (0.05, 0.05, 0.06),
    "white": (0.92, 0.92, 0.90),
    "gray": (0.5, 0.5, 0.5),
    "red": (0.75, 0.08, 0.10),
    "pink": (0.98, 0.60, 0.72),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.15, 0.55, 0.22),
    "blue": (0.20, 0.40, 0.85),
    "navy": (0.08, 0.10, 0.30),
    "purple": (0.48, 0.15, 0.55),
    "brown": (0.42, 0.26, 0.13),
    "beige": (0.85, 0.76, 0.62),
}


@pytest.mark.parametrize("name", COLORS)
@pytest.mark.parametrize("ground", [(0.72, 0.58, 0.42), (0.35, 0.30, 0.28), (0.55, 0.65, 0.70)])
def test_the_garment_gives_its_color_and_not_the_floor(name, ground):
    facts = facts_of(garment(NAMED[name], on=ground))
    assert facts.color == name
    assert name in facts.holds
    assert facts.shares[name] > 0.9


def test_every_pixel_has_exactly_one_color_and_shares_add_up():
    noise = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(1))
    found = color_indices(to_lab(noise))
    assert found.shape == (60, 80)
    assert 0 <= int(found.min()) <= int(found.max()) < len(COLORS)
    facts = facts_of(noise)
    assert sum(facts.shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert tuple(facts.shares) == COLORS


def test_lab_of_known_colors():
    white, black, red = (
        to_lab(torch.tensor(one).view(3, 1)).flatten() for one in ((1.0,) * 3, (0.0,) * 3, (1.0, 0, 0))
    )
    assert torch.allclose(white, torch.tensor([100.0, 0.0, 0.0]), atol=0.02)
    assert torch.allclose(black, torch.zeros(3), atol=0.02)
    assert torch.allclose(red, torch.tensor([53.24, 80.09, 67.20]), atol=0.05)


def test_a_plain_garment_is_plain_and_checks_are_patterned():
    assert facts_of(garment((0.7, 0.1, 0.1), on=(0.8, 0.8, 0.8))).pattern == "plain"
    squares = ((torch.arange(128)[:, None] // 6 + torch.arange(96)[None] // 6) % 2).float()
    assert facts_of(garment(torch.stack([squares] * 3), on=(0.7, 0.5, 0.3))).pattern == "patterned"


@pytest.mark.parametrize("upright", [True, False])
def test_stripes_either_way_are_stripes(upright):
    facts = facts_of(garment(stripes(12, upright=upright), on=(0.75, 0.5, 0.3)))
    assert facts.pattern == "striped"
    assert facts.direction > 0.9


def test_navy_is_blue_too_and_dark_and_light_are_of_the_garment():
    facts = facts_of(garment(NAMED["navy"], on=(0.9, 0.9, 0.9)))
    assert {"navy", "blue", "dark"} <= facts.holds
    assert "light" not in facts.may_hold
    assert "light" in facts_of(garment(NAMED["pink"], on=(0.2, 0.2, 0.2))).holds


def test_two_colors_are_both_true_and_many_are_multicolored():
    half = flat(NAMED["red"])
    half[:, 64:] = flat(NAMED["blue"])[:, 64:]
    facts = facts_of(garment(half, on=(0.85, 0.85, 0.8)))
    assert {"red", "blue"} <= facts.holds
    assert "multicolored" not in facts.holds
    bands = flat((0.0, 0.0, 0.0))
    for place, name in enumerate(["red", "green", "blue", "yellow", "purple", "white"]):
        bands[:, 24 + place * 14 : 38 + place * 14] = torch.tensor(NAMED[name]).view(3, 1, 1)
    assert "multicolored" in facts_of(garment(bands, on=(0.5, 0.5, 0.5))).holds


def test_what_cannot_be_told_from_the_background_leaves_the_pattern_open():
    facts = facts_of(flat((0.5, 0.5, 0.5)))
    assert facts.found < 0.25
    assert facts.pattern is None
    assert facts.color == "gray"
    assert {"plain", "striped", "patterned"} <= facts.may_hold


def test_what_holds_may_hold():
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        shares = torch.rand(len(COLORS), generator=generator) ** 3
        shares = dict(zip(COLORS, (shares / shares.sum()).tolist(), strict=True))
        light, detail, direction, found = (float(torch.rand((), generator=generator)) for _ in range(4))
        facts = Facts(shares, 100 * light, 25 * detail, direction, found)
        assert facts.holds <= facts.may_hold <= set(FACTS)


def test_size_and_mirror_change_little():
    photo = garment(NAMED["green"], on=(0.8, 0.7, 0.6))
    small = facts_of(torch.nn.functional.interpolate(photo[None], scale_factor=0.5, mode="area")[0])
    whole, mirrored = facts_of(photo), facts_of(photo.flip(2))
    assert small.shares["green"] == pytest.approx(whole.shares["green"], abs=0.05)
    assert mirrored.detail == pytest.approx(whole.detail, rel=1e-3)
    assert mirrored.holds == whole.holds == small.holds


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            torch.zeros(1, 32, 32),
            r"float \[3, H, W\] of at least 8 x 8 pixels, got torch.float32 \[1, 32, 32\]",
        ),
        (torch.zeros(3, 32, 4), r"\[3, 32, 4\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "torch.uint8"),
        (torch.full((3, 32, 32), 255.0), r"values in \[0, 1\], got 255 to 255. Scale them first"),
        (torch.full((3, 32, 32), float("nan")), r"values in \[0, 1\], got nan"),
    ],
)
def test_what_is_no_photo_is_refused(image, said):
    with pytest.raises(InputError, match=said):
        facts_of(image)
