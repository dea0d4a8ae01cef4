from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import ConfigError
from verticlip.core.mixgen import mix_pairs

CAPTIONS = [f"caption {n}" for n in range(9)]
PIXELS = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 3, 2, 2)


def test_rows_become_half_of_two_with_both_captions() -> None:
    pixels, captions = mix_pairs(PIXELS, CAPTIONS, share=0.4, generator=torch.Generator().manual_seed(0))
    mixed = [row for row in range(9) if captions[row] != CAPTIONS[row]]
    assert len(mixed) == 3
    partners = []
    for row in range(9):
        if row in mixed:
            own, other = captions[row].split(" caption ")
            assert own == CAPTIONS[row]
            partners.append(int(other))
            assert pixels[row].unique().tolist() == [(row + int(other)) / 2]
        else:
            assert torch.equal(pixels[row], PIXELS[row])
    # Pairs share no row.
    assert len({*mixed, *partners}) == 6


def test_the_batch_given_stays_as_it_is_and_draws_repeat() -> None:
    before = PIXELS.clone()
    first, second = (
        mix_pairs(PIXELS, CAPTIONS, share=0.5, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]
    assert torch.equal(PIXELS, before)
    pixels, captions = mix_pairs(PIXELS, CAPTIONS, share=0.0, generator=torch.Generator())
    assert torch.equal(pixels, PIXELS)
    assert captions == CAPTIONS


def test_normalized_pictures_mix_like_plain_ones() -> None:
    seeds = [torch.Generator().manual_seed(5) for _ in range(2)]
    plain, _ = mix_pairs(PIXELS, CAPTIONS, share=0.5, generator=seeds[0])
    scaled, _ = mix_pairs((PIXELS - 4.0) / 3.0, CAPTIONS, share=0.5, generator=seeds[1])
    assert torch.allclose(scaled, (plain - 4.0) / 3.0)


def test_the_share_has_a_range() -> None:
    with pytest.raises(ConfigError, match=r"between 0 and 0.5, got 0.6"):
        mix_pairs(PIXELS, CAPTIONS, share=0.6, generator=torch.Generator())
