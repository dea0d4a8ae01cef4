"""FLIP-MCL: projector, views of pictures, views of texts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from liveness.models import make_models
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.types import Batch
from verticlip.domains.liveness.models.base import score_crops
from verticlip.domains.liveness.models.flip_mcl import draw_prompt_views
from verticlip.domains.liveness.objectives.flip import FlipMCLLoss

EXTRAS = (
    "category_logits",
    "text_embeddings",
    "view_1_embeddings",
    "view_2_embeddings",
    "view_1_projections",
    "view_2_projections",
)


def ready():
    network = make_models.network("flip_mcl", taxonomy="binary", ssl_width=10, ssl_dim=7)
    network.use_processor(make_models.processor())
    return network


def batch(count=3):
    generator = torch.Generator().manual_seed(1)
    side = make_models.SIZE
    image, first, second = (torch.randn(count, 3, side, side, generator=generator) for _ in range(3))
    return Batch({"image": {"pixels": image}}, extras={"view_1": first, "view_2": second})


def test_every_extra_has_its_shape():
    extras = ready().train()(batch(), extras=EXTRAS).extras
    assert {name: list(value.shape) for name, value in extras.items()} == {
        "category_logits": [3, 2],
        "text_embeddings": [12, 12],
        "view_1_embeddings": [3, 12],
        "view_2_embeddings": [3, 12],
        "view_1_projections": [3, 7],
        "view_2_projections": [3, 7],
    }


def test_statistics_see_one_view_after_the_other():
    network, given_batch = ready().train(), batch()
    norm = network.image_mlp.bn1
    network(given_batch, extras=("category_logits", "view_1_embeddings"))
    assert norm.num_batches_tracked == 0
    network(given_batch, extras=EXTRAS)
    assert norm.num_batches_tracked == 2
    means = []
    for view in ("view_1", "view_2"):
        raw, _ = network.embed("image", {"pixels": given_batch.extras[view]})
        means.append(network.image_mlp.layer1(raw).mean(0))
    assert torch.allclose(norm.running_mean, 0.09 * means[0] + 0.1 * means[1], atol=1e-6)


def test_at_inference_it_is_the_category_model():
    model, plain = (
        make_models.handle("flip_mcl", taxonomy="binary", ssl_width=10, ssl_dim=7),
        make_models.handle(taxonomy="binary"),
    )
    plain.network.load_state_dict(
        {name: one for name, one in model.network.state_dict().items() if not name.startswith("image_mlp")}
    )
    pictures = make_models.pictures(2)
    assert torch.equal(score_crops(model, [pictures]).logits, score_crops(plain, [pictures]).logits)


def test_it_learns_what_its_pictures_show():
    network, loss = ready().train(), FlipMCLLoss()
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1] * 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    values = []
    for _ in range(25):
        side = make_models.SIZE
        # A dark half marks an attack; everything else is noise.
        shown = torch.randn(3, 8, 3, side, side, generator=generator)
        shown[:, labels == 0, :, : side // 2] -= 3
        drawn = draw_prompt_views(labels, [6, 6], generator=generator)
        extras = {"view_1": shown[1], "view_2": shown[2]}
        extras |= {"prompt_view_1": drawn[0], "prompt_view_2": drawn[1]}
        step = Batch({"image": {"pixels": shown[0]}}, labels, extras=extras)
        parts = loss(network(step, extras=loss.needs.output_extras), step)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        values.append(parts["classification"].item())
    assert sum(values[-5:]) < 0.25 * sum(values[:5])


def test_what_training_needs():
    network = ready().train()
    with pytest.raises(InputError, match=r"batch.extras has no 'view_1'"):
        network(Batch({"image": batch().inputs["image"]}), extras=EXTRAS)
    with pytest.raises(InputError, match="at least 2 pictures, got 1"):
        network(batch(1), extras=EXTRAS)


@given(
    st.lists(st.integers(2, 7), min_size=1, max_size=4),
    st.sampled_from(["reference", "disjoint"]),
    st.integers(0, 1000),
)
def test_views_of_texts_are_of_the_rows_category_and_share_none(counts, mode, seed):
    labels = torch.arange(20) % len(counts)
    views = draw_prompt_views(labels, counts, generator=torch.Generator().manual_seed(seed), mode=mode)
    for row, label in enumerate(labels.tolist()):
        own = set(range(sum(counts[:label]), sum(counts[: label + 1])))
        first, second = ([index for index in view[row].tolist() if index >= 0] for view in views)
        assert not set(first) & set(second)
        assert set(first) | set(second) == own
        assert len(first) == counts[label] // 2
        if mode == "disjoint":
            assert len(set(first)) == len(first)


def test_the_reference_draws_with_replacement_and_row_by_row():
    labels = torch.zeros(200, dtype=torch.int64)
    first, second = draw_prompt_views(labels, [6, 6], generator=torch.Generator().manual_seed(0))
    assert first.shape == (200, 3)
    sizes = {int(size) for size in (second >= 0).sum(1)}
    assert sizes == {3, 4, 5}
    assert len({tuple(row) for row in first.tolist()}) > 50
    again = draw_prompt_views(labels, [6, 6], generator=torch.Generator().manual_seed(0))
    assert torch.equal(again[0], first)
    first, second = draw_prompt_views(
        labels, [6, 6], generator=torch.Generator().manual_seed(0), mode="disjoint"
    )
    assert first.shape == second.shape == (200, 3)


def test_what_cannot_be_drawn():
    generator = torch.Generator()
    with pytest.raises(ConfigError, match="category number 1 has one"):
        draw_prompt_views(torch.tensor([0]), [2, 1], generator=generator)
    for label in (-1, 2):
        with pytest.raises(InputError, match=f"row 1: label {label} is none of the 2 categories"):
            draw_prompt_views(torch.tensor([0, label]), [2, 2], generator=generator)
