from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.encoders.fitting import fit_fusion
from verticlip.domains.ecommerce.encoders.product import ProductVectors


def make_pairs(count: int, *, image_noise: torch.Tensor, text_noise: torch.Tensor, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def noisy(base, noise):
        return F.normalize(base + noise[:, None] * torch.randn(base.shape, generator=generator), dim=1)

    base = torch.randn(count, 16, generator=generator)
    there = torch.ones(count, dtype=torch.bool)
    sides = []
    for _ in range(2):
        image, text = noisy(base, image_noise), noisy(base, text_noise)
        sides.append(ProductVectors(image, text, image, there, there))
    return sides


def test_the_telling_side_gets_the_larger_share():
    noise, little = torch.full((80,), 3.0), torch.full((80,), 0.3)
    left, right = make_pairs(80, image_noise=noise, text_noise=little)
    fit = fit_fusion(left, right)
    assert fit.fusion.text > 0.5
    assert fit.after > fit.before + 0.3
    assert fit.pairs == {"": 80}
    other = fit_fusion(*make_pairs(80, image_noise=little, text_noise=noise))
    assert other.fusion.image >= 0.8


def test_categories_get_shares_of_their_own():
    flags = torch.arange(90) < 45
    image = torch.where(flags, 3.0, 0.3)
    left, right = make_pairs(90, image_noise=image, text_noise=3.3 - image)
    names = ["Machinery > Pumps" if flag else "Dresses" for flag in flags.tolist()]
    names[-1] = None
    fit = fit_fusion(left, right, categories=names)
    assert fit.fusion.of("Machinery > Pumps").text > 0.5
    assert fit.fusion.of("Dresses").image > 0.5
    assert fit.pairs == {"": 90, "Machinery > Pumps": 45, "Dresses": 44}
    assert fit.after > fit_fusion(left, right).after
    assert fit_fusion(left, right, categories=names, least_pairs=50).fusion.by_category == {}


def test_nothing_to_gain_keeps_the_default():
    there, vectors = torch.ones(4, dtype=torch.bool), torch.eye(4)
    same = ProductVectors(vectors, vectors, vectors, there, there)
    fit = fit_fusion(same, same)
    assert (fit.fusion.image, fit.before, fit.after) == (0.9, 1.0, 1.0)


def test_bad_input():
    left, right = make_pairs(3, image_noise=torch.ones(3), text_noise=torch.ones(3))
    with pytest.raises(InputError, match="There are 1 categories for 3 pairs"):
        fit_fusion(left, right, categories=["x"])
    one = ProductVectors(
        *(getattr(left, name)[:1] for name in ("image", "text", "product")), *(left.has_image[:1],) * 2
    )
    with pytest.raises(InputError, match="two or more pairs; got 1 left and 3 right"):
        fit_fusion(one, right)
