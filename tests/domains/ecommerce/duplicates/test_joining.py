"""Groups join where they are alike as a whole, not by chains of small steps."""

from __future__ import annotations

import numpy as np
from verticlip.domains.ecommerce.duplicates.joining import Joiner, Link
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings, Fit, Thresholds


def on_circle(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def outcomes(joiner, *pairs, least=0.88):
    return [joiner.join(Link(*pair, least))[0] for pair in pairs]


def test_a_chain_is_cut_where_its_ends_differ():
    # Steps of 20 degrees (cosine 0.94) from 0 to 80; the ends have cosine 0.17.
    joiner = Joiner(on_circle(0, 20, 40, 60, 80), [{}] * 5)
    assert outcomes(joiner, (0, 1), (2, 3), (1, 2), (3, 4)) == ["joined", "joined", "chain", "chain"]
    assert joiner.groups() == [[0, 1], [2, 3]]


def test_what_is_alike_as_a_whole_joins():
    joiner = Joiner(on_circle(0, 5, 10, 15), [{}] * 4)
    assert outcomes(joiner, (0, 1), (2, 3), (1, 2), (0, 3)) == ["joined", "joined", "joined", "together"]
    assert joiner.groups() == [[0, 1, 2, 3]]


def test_the_mean_is_over_all_pairs_across():
    vectors = on_circle(0, 30, 70)
    joiner = Joiner(vectors, [{}] * 3)
    joiner.join(Link(0, 1, -1))
    _, mean = joiner.join(Link(1, 2, -1))
    assert np.isclose(mean, (vectors[0] @ vectors[2] + vectors[1] @ vectors[2]) / 2, atol=1e-6)


def test_two_single_rows_and_equal_pictures_join_on_their_evidence():
    joiner = Joiner(on_circle(0, 90, 180, 270), [{}] * 4)
    assert outcomes(joiner, (0, 1)) == ["joined"]
    assert outcomes(joiner, (1, 2)) == ["chain"]
    assert outcomes(joiner, (1, 2), least=None) == ["joined"]
    assert joiner.groups() == [[0, 1, 2]]


def test_no_group_holds_two_colors():
    values = [{"color": "red"}, {}, {"color": "blue"}, {"color": "blue", "size": "s"}, {"size": "m"}]
    joiner = Joiner(on_circle(0, 0, 0, 0, 0), values)
    assert outcomes(joiner, (0, 1), (1, 2), (2, 3), (3, 4)) == ["joined", "variant", "joined", "variant"]
    assert outcomes(joiner, (0, 4), (0, 3), least=None) == ["joined", "variant"]
    assert joiner.groups() == [[0, 1, 4], [2, 3]]


def test_a_promised_precision_narrows_what_vectors_alone_may_join():
    free = DuplicateSettings(thresholds=Thresholds(product=0.99))
    assert free.chain_least == free.vector_chain_least == 0.99 - 0.05
    fit = Fit(
        target=0.9, confidence=0.9, pairs=9, positives=9, held_out=9, accepted=9, wrong=0, precision=1,
        precision_low=0.9, recall=1,
    )  # fmt: skip
    fitted = DuplicateSettings(thresholds=Thresholds(product=0.99, fit=fit))
    assert fitted.chain_least == 0.99 - 0.05
    assert np.isclose(fitted.vector_chain_least, 0.985)
