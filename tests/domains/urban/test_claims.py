"""The objective of captions that are true of several patches."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.objectives.pairwise import InfoNCE
from verticlip.core.types import Batch, Outputs
from verticlip.domains.urban.claims import collate_claims, truth


def outputs(count: int, *, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(count, 8, generator=generator), dim=1) for _ in range(2))
    return Outputs({"image": image, "text": text}, torch.tensor(7.0))


def batch(claims: list[int], holds: list[int], may: list[int]) -> Batch:
    named = {"claims": claims, "holds": holds, "may": may}
    return Batch({}, extras={name: torch.tensor(bits) for name, bits in named.items()})


def test_without_shared_claims_it_is_infonce():
    own = [1, 2, 4, 8]
    for smoothing in (0.0, 0.1):
        found = build_objective("claims", {"label_smoothing": smoothing}, domain="urban")
        expected = InfoNCE(label_smoothing=smoothing)
        given = outputs(4)
        assert torch.allclose(
            found(given, batch(own, own, own))["loss"], expected(given, Batch({}))["loss"], atol=1e-6
        )


def test_with_claims_by_class_it_is_infonce_with_positives_by_label():
    own, labels = [1, 2, 1, 1], torch.tensor([0, 1, 0, 0])
    given = outputs(4)
    found = build_objective("claims", domain="urban")(given, batch(own, own, own))["loss"]
    expected = InfoNCE(positives="labels")(given, Batch({}, labels=labels))["loss"]
    assert torch.allclose(found, expected, atol=1e-6)


def test_undecided_captions_neither_attract_nor_repel():
    # Patch 0 may show what caption 1 claims; both of its rows are right on the diagonal.
    given = batch([1, 2], [1, 2], [3, 2])
    is_true, undecided = truth(*(given.extras[name] for name in ("claims", "holds", "may")))
    assert is_true.tolist() == [[True, False], [False, True]]
    assert undecided.tolist() == [[False, True], [False, False]]
    made = outputs(2)
    logits = 7.0 * made.embeddings["image"] @ made.embeddings["text"].T
    # Row 0 and column 1 have one candidate left, so only row 1 and column 0 are asked anything.
    row, column = -logits.log_softmax(1)[1, 1], -logits.log_softmax(0)[0, 0]
    found = build_objective("claims", domain="urban")(made, given)["loss"]
    assert torch.allclose(found, (row + column) / 4, atol=1e-6)


def test_gradients_are_finite_where_everything_is_undecided_or_true():
    given = outputs(3)
    for tensor in given.embeddings.values():
        tensor.requires_grad_()
    build_objective("claims", {"label_smoothing": 0.1}, domain="urban")(
        given, batch([1, 2, 0], [1, 2, 0], [7, 7, 7])
    )["loss"].backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in given.embeddings.values())


def test_settings_and_batches_without_claims_are_refused():
    with pytest.raises(ConfigError, match=r"label_smoothing must be in \[0, 1\), got 1"):
        build_objective("claims", {"label_smoothing": 1.0}, domain="urban")
    with pytest.raises(InputError, match="claims"):
        build_objective("claims", domain="urban")(outputs(2), Batch({}))


def test_the_collate_looks_up_what_the_drawn_captions_claim():
    extras = [
        {"claims": {"woods": 1, "dark": 4}, "holds": 5, "may": 7},
        {"claims": {"sea": 2}, "holds": 2, "may": 2},
    ]
    found = collate_claims(extras, ["dark", "sea"], None, torch.Generator())  # type: ignore[arg-type]
    assert {name: bits.tolist() for name, bits in found.items()} == {
        "claims": [4, 2],
        "holds": [5, 2],
        "may": [7, 2],
    }
    with pytest.raises(DataError, match="no 'claims' to hold captions against.*eurosat"):
        collate_claims([{}], ["dark"], None, torch.Generator())  # type: ignore[arg-type]
