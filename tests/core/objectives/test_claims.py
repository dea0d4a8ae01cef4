"""The objective of captions that are true of several samples, as every room gets it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.objectives.base import build_objective
from verticlip.core.objectives.claims import ClaimContrast, truth
from verticlip.core.types import Batch, Outputs


def outputs(count: int) -> Outputs:
    generator = torch.Generator().manual_seed(5)
    image, text = (F.normalize(torch.randn(count, 8, generator=generator), dim=1) for _ in range(2))
    return Outputs({"image": image, "text": text}, torch.tensor(5.0))


def batch(claims: list[int], holds: list[int], may: list[int]) -> Batch:
    named = {"claims": claims, "holds": holds, "may": may}
    return Batch({}, extras={name: torch.tensor(bits) for name, bits in named.items()})


def test_true_wrong_and_undecided():
    is_true, undecided = truth(torch.tensor([1, 3, 4]), torch.tensor([3, 1]), torch.tensor([3, 3]))
    assert is_true.tolist() == [[True, True, False], [True, False, False]]
    assert undecided.tolist() == [[False, False, False], [False, True, False]]


def test_rooms_share_one_objective():
    for room in ("urban", "ecommerce"):
        assert type(build_objective("claims", {"label_smoothing": 0.1}, domain=room)) is ClaimContrast


def test_against_sums_written_out():
    """Three rows; caption 0 is true of rows 0 and 1, caption 2 undecided for row 0."""
    given, smoothing = outputs(3), 0.2
    loss = ClaimContrast(smoothing)(given, batch([1, 3, 4], [1, 3, 4], [5, 3, 4]))["loss"]
    logits = (5.0 * given.embeddings["image"] @ given.embeddings["text"].T).double()
    is_true = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]]).double()
    decided = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1]]).double()
    total = 0.0
    for scores, right, asked in ((logits, is_true, decided), (logits.T, is_true.T, decided.T)):
        for row in range(3):
            weights = asked[row] * scores[row].exp()
            shares = weights / weights.sum()
            for column in range(3):
                if asked[row, column]:
                    target = (1 - smoothing) * right[row, column] / right[row].sum()
                    target = target + smoothing / asked[row].sum()
                    total -= float(target * shares[column].log()) / 6
    assert float(loss) == pytest.approx(total, rel=1e-5)
