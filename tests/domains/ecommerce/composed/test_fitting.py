"""Fitting: the fast ranks against the plain ones, and settings that really are better."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.composition import pdv, weighted_sum
from verticlip.core.errors import InputError
from verticlip.core.metrics.ranking import Positives, positive_ranks
from verticlip.domains.ecommerce.composed.fitting import ComposedQueries, candidates, fit
from verticlip.domains.ecommerce.composed.query import ComposeSettings


def world(seed=0, kinds=6, colors=5, copies=3, dim=24):
    """Products of kind and color; a query is one of them and the name of another color."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return F.normalize(torch.randn(*shape, generator=generator), dim=-1)

    kind, color, base = draw(kinds, dim), draw(colors, dim), draw(1, dim)
    names = [(i, j) for i in range(kinds) for j in range(colors) for _ in range(copies)]
    gallery = F.normalize(
        torch.stack([kind[i] + 0.5 * color[j] for i, j in names]) + 0.25 * draw(len(names), dim), dim=-1
    )
    start = list(range(0, len(names), copies))
    wanted = [(names[row][0], (names[row][1] + 1) % colors) for row in start]
    words = torch.stack([base[0] + kind[names[row][0]] + color[names[row][1]] for row in start])
    change = torch.stack([color[j] for _, j in wanted])
    return ComposedQueries(
        image=gallery[start],
        reference_text=F.normalize(words, dim=-1),
        composed_text=F.normalize(words + change - torch.stack([color[names[r][1]] for r in start]), dim=-1),
        change=change,
        positives=Positives.from_groups(wanted, names),
        exclude=torch.tensor(start),
    ), gallery


def test_ranks_are_those_of_the_composed_vectors():
    queries, gallery = world()
    found = fit(queries, gallery, current=ComposeSettings(alpha_image=1.0, alpha_text=1.3))
    for settings, value in (
        (found.before, found.choice.before.value),
        (found.settings, found.choice.after.value),
    ):
        if settings.method == "sum":
            vectors = weighted_sum(queries.image, queries.change, weight=settings.weight)
        else:
            vectors = pdv(
                queries.image,
                queries.reference_text,
                queries.composed_text,
                alpha_image=settings.alpha_image,
                alpha_text=settings.alpha_text,
                beta=settings.beta,
            )
        ranks = torch.from_numpy(positive_ranks(vectors, gallery, queries.positives, exclude=queries.exclude))
        best = [part.min() for part in ranks.split(queries.positives.counts.tolist())]
        assert value == pytest.approx(float((1 / (torch.stack(best) + 1.0)).mean()), abs=1e-6)


def test_the_fit_is_better_and_says_what_to_expect():
    queries, gallery = world()
    found = fit(queries, gallery, current=ComposeSettings(alpha_image=0.0, alpha_text=0.0, beta=0.3))
    assert found.choice.after.value >= found.choice.before.value
    assert found.choice.held_out.value <= found.choice.after.value + 1e-9
    assert found.choice.worthwhile
    assert found.tried == len(candidates(found.before))
    assert found.hit_recall[1][1] >= found.hit_recall[1][0]
    assert set(found.to_dict()) == {"settings", "before", "tried", "mrr", "hit_recall@1", "hit_recall@10"}
    again = fit(queries, gallery, current=found.settings)
    assert again.settings == found.settings, "what is best is kept"


def test_every_step_of_pdv_is_reached_by_equal_alphas():
    image, words, composed = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    step = 0.45 * 1.0 + 0.55 * 1.3
    torch.testing.assert_close(
        pdv(image, words, composed, alpha_image=1.0, alpha_text=1.3, beta=0.55),
        pdv(image, words, composed, alpha_image=step, alpha_text=step, beta=0.55),
    )


def test_bad_input_is_named():
    queries, gallery = world()
    with pytest.raises(InputError, match="method 'encoder' has no settings to fit"):
        fit(queries, gallery, current=ComposeSettings(method="encoder"))
    with pytest.raises(InputError, match="The parts of the queries are"):
        fit(queries, gallery[:, :5])
    one = ComposedQueries(
        *(getattr(queries, name)[:1] for name in ("image", "reference_text", "composed_text", "change")),
        Positives.from_lists([[0]]),
    )
    with pytest.raises(InputError, match="1 labelled queries cannot choose a setting"):
        fit(one, gallery)
    with pytest.raises(InputError, match="Query 0 has its own reference product as a right answer"):
        both = (queries.image, queries.reference_text, queries.composed_text, queries.change)
        everything = Positives.from_lists([[int(row)] for row in queries.exclude])
        fit(ComposedQueries(*both, everything, queries.exclude), gallery)
