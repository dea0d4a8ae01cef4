from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from verticlip.core.errors import InputError
from verticlip.core.metrics import Positives, image_text_ranks, positive_ranks, ranking, top_k
from verticlip.core.metrics.ranking import rank_of_best


def unit(rows: int, width: int = 8, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def with_ties(rows: int, seed: int = 0) -> Tensor:
    """Many equal rows: small integers, so that equal scores are exactly equal."""
    return torch.randint(-1, 2, (rows, 3), generator=torch.Generator().manual_seed(seed)).float()


def full_order(queries: Tensor, gallery: Tensor) -> np.ndarray:
    scores = (queries.double() @ gallery.double().T).float().numpy()
    return np.argsort(-scores, axis=1, kind="stable")


@given(
    st.integers(0, 1000),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 4000),
    st.booleans(),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_top_k_equals_a_stable_sort_for_any_tile(seed, queries, gallery, tile_bytes, ties, data):
    make = with_ties if ties else unit
    left, right = make(queries, seed=seed), make(gallery, seed=seed + 1)
    k = data.draw(st.integers(1, gallery))
    ids, scores = top_k(left, right, k, tile_bytes=tile_bytes)
    np.testing.assert_array_equal(ids.numpy(), full_order(left, right)[:, :k])
    torch.testing.assert_close(scores, (left @ right.T).gather(1, ids), rtol=1e-6, atol=1e-6)
    assert scores.dtype == torch.float32


def test_top_k_over_several_gallery_tiles():
    queries, gallery = with_ties(3), with_ties(20_000, seed=1)
    ids, _ = top_k(queries, gallery, 50)
    np.testing.assert_array_equal(ids.numpy(), full_order(queries, gallery)[:, :50])


def test_exclusion_reaches_every_gallery_tile():
    queries, gallery = unit(3), unit(20_000, seed=1)
    best = full_order(queries, gallery)[:, :2]
    ids, _ = top_k(queries, gallery, 1, exclude=torch.from_numpy(best[:, 0].copy()))
    assert ids[:, 0].tolist() == best[:, 1].tolist()
    assert best[:, 0].max() >= 8192


def test_negative_zero_equals_zero():
    # The product underflows to -0.0, which must not rank below 0.0.
    queries, gallery = torch.tensor([[1e-30]]), torch.tensor([[-1e-30], [0.0]])
    assert top_k(queries, gallery, 2)[0].tolist() == [[0, 1]]


def test_top_k_leaves_out_the_excluded():
    points = unit(10)
    ids, _ = top_k(points, points, 9, exclude=torch.arange(10))
    assert all(row not in found for row, found in enumerate(ids.tolist()))
    expected = [
        [item for item in row if item != i] for i, row in enumerate(full_order(points, points).tolist())
    ]
    assert ids.tolist() == expected


def test_top_k_of_no_queries():
    ids, scores = top_k(torch.empty(0, 8), unit(4), 2)
    assert ids.shape == scores.shape == (0, 2)


@given(st.integers(0, 1000), st.integers(1, 4000), st.booleans())
@settings(max_examples=50, deadline=None)
def test_positive_ranks_equal_a_stable_sort(seed: int, tile_bytes: int, ties: bool):
    make = with_ties if ties else unit
    queries, gallery = make(7, seed=seed), make(30, seed=seed + 1)
    generator = np.random.default_rng(seed)
    lists = [generator.choice(30, size=generator.integers(1, 20), replace=False).tolist() for _ in range(7)]
    positives = Positives.from_lists(lists)
    found = positive_ranks(queries, gallery, positives, tile_bytes=tile_bytes)
    place = np.argsort(full_order(queries, gallery), axis=1)
    expected = np.concatenate([place[query, sorted(ids)] for query, ids in enumerate(lists)])
    np.testing.assert_array_equal(found, expected)


def test_positive_ranks_without_the_query_itself():
    points, labels = unit(12), [0, 1, 2] * 4
    positives = Positives.from_groups(labels, labels, same=True)
    found = positive_ranks(points, points, positives, exclude=torch.arange(12))
    place = np.argsort(full_order(points, points), axis=1)
    own = np.repeat(np.arange(12), positives.counts)
    expected = place[own, positives.ids]
    # Every item is its own best match, so leaving it out moves the rest up by one.
    np.testing.assert_array_equal(found, expected - 1)


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 3), st.integers(64, 4000), st.booleans())
@settings(max_examples=80, deadline=None)
def test_image_text_ranks_equal_a_stable_sort(
    seed: int, images: int, extra: int, tile_bytes: int, ties: bool
):
    make = with_ties if ties else unit
    owner = torch.randint(0, images, (images * extra,), generator=torch.Generator().manual_seed(seed))
    owner = torch.cat([torch.arange(images), owner])
    left, right = make(images, seed=seed), make(len(owner), seed=seed + 1)
    image_ranks, text_ranks = image_text_ranks(left, right, owner, tile_bytes=tile_bytes)
    own = owner.numpy()
    place = np.argsort(full_order(left, right), axis=1)
    np.testing.assert_array_equal(image_ranks, [place[i, own == i].min() for i in range(images)])
    place = np.argsort(full_order(right, left), axis=1)
    np.testing.assert_array_equal(text_ranks, place[np.arange(len(own)), own])


def test_a_collapsed_model_gets_no_free_hits():
    same = unit(1).expand(50, 8)
    image_ranks, text_ranks = image_text_ranks(same, same, torch.arange(50))
    assert image_ranks.tolist() == text_ranks.tolist() == list(range(50))


def test_near_ties_are_decided_in_float64():
    # Texts are almost equal, so some scores are closer than the rounding of a float32 product.
    base = unit(1, 512, seed=3)
    texts = base + 1e-4 * unit(200, 512, seed=4)
    images = unit(200, 512, seed=5)
    owner = torch.arange(200)
    expected = np.argsort(full_order(texts, images), axis=1)[np.arange(200), np.arange(200)]
    for tile_bytes in (1, 5000, 10**7):
        _, found = image_text_ranks(images, texts, owner, tile_bytes=tile_bytes)
        np.testing.assert_array_equal(found, expected)


def test_lowered_matmul_precision_does_not_change_ranks(monkeypatch: pytest.MonkeyPatch):
    images, texts, owner = unit(40, 64), unit(40, 64, seed=1), torch.arange(40)
    expected = image_text_ranks(images, texts, owner)
    compare, used = ranking._compare, set()

    def spy(tile: Tensor, threshold: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
        used.add(tile.dtype)
        return compare(tile, threshold, tolerance)

    monkeypatch.setattr(ranking, "_compare", spy)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = image_text_ranks(images, texts, owner)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found, expected)
    # Not every machine lowers the precision, so the type of the product is looked at as well.
    assert used == {torch.float64}


def test_half_precision_embeddings():
    images, texts, owner = unit(20).half(), unit(20, seed=1).half(), torch.arange(20)
    found, _ = image_text_ranks(images, texts, owner)
    expected, _ = image_text_ranks(images.float(), texts.float(), owner)
    np.testing.assert_array_equal(found, expected)


def test_positives_from_groups_and_lists_agree():
    groups = Positives.from_groups(["a", "b"], ["b", "a", "a"])
    lists = Positives.from_lists([[2, 1], [0]])
    np.testing.assert_array_equal(groups.ids, lists.ids)
    np.testing.assert_array_equal(groups.offsets, lists.offsets)
    assert groups.counts.tolist() == [2, 1]


def test_messages():
    points = unit(4)
    with pytest.raises(InputError, match="Query 1 has no positive"):
        Positives.from_groups(["a", "z"], ["a"])
    with pytest.raises(InputError, match="Query 0 lists a positive twice"):
        Positives.from_lists([[1, 1]])
    with pytest.raises(InputError, match=r"k must be from 1 to 4 .* got 5"):
        top_k(points, points, 5)
    with pytest.raises(InputError, match="k must be from 1 to 3"):
        top_k(points, points, 4, exclude=torch.arange(4))
    with pytest.raises(InputError, match=r"exclude has shape \(2,\)"):
        top_k(points, points, 1, exclude=torch.arange(2))
    with pytest.raises(InputError, match=r"of one dimension; got \(4, 8\) and \(2, 5\)"):
        top_k(points, unit(2, 5), 1)
    with pytest.raises(InputError, match="gallery is empty"):
        top_k(points, points[:0], 1)
    with pytest.raises(InputError, match="Row 2 of the first embeddings is not finite"):
        top_k(points.index_fill(0, torch.tensor([2]), torch.nan), points, 1)
    with pytest.raises(InputError, match="positives has 1 queries, embeddings have 4"):
        positive_ranks(points, points, Positives.from_lists([[0]]))
    with pytest.raises(InputError, match="Positive id 4 is outside the gallery of 4"):
        positive_ranks(points, points, Positives.from_lists([[4]] * 4))
    with pytest.raises(InputError, match="excluded id is among its positives"):
        positive_ranks(points, points, Positives.from_lists([[0]] * 4), exclude=torch.arange(4))
    with pytest.raises(InputError, match=r"image_of_text has shape \(3,\)"):
        image_text_ranks(points, points, torch.arange(3))
    with pytest.raises(InputError, match=r"image_of_text must lie in \[0, 4\)"):
        image_text_ranks(points, points, torch.arange(1, 5))
    with pytest.raises(InputError, match="Image 3 has no text"):
        image_text_ranks(points, points, torch.tensor([0, 1, 2, 2]))


@pytest.mark.parametrize("make", [unit, with_ties])
def test_the_rank_of_the_best_is_that_of_a_stable_sort(make):
    queries, gallery = make(6), make(40, seed=1)
    right = torch.tensor([7, 3, 22])
    scores = (queries.double() @ gallery.double().T).float()
    scores[:, 5] = -torch.inf
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")
    wanted = [min(row.index(one) for one in right.tolist()) for row in order.tolist()]
    assert rank_of_best(scores, right).tolist() == wanted
