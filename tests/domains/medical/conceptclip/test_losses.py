"""Both losses against plain formulas, their gradients, their memory, and several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.medical.conceptclip.losses import (
    best_patches,
    collect_concepts,
    pool_spans,
)

NONE = [-1, -1]
SPANS = torch.tensor([[[0, 2], [3, 4]], [NONE, NONE], [[1, 2], NONE], [[0, 1], [2, 5]]])


def make(batch=4, patches=6, length=8, width=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    extras = {
        "image_concepts": draw(batch, patches, width),
        "text_concepts": draw(batch, length, width),
        "concept_scale": torch.tensor(7.0, dtype=dtype),
        "concept_bias": torch.tensor(-2.0, dtype=dtype),
    }
    embeddings = {name: F.normalize(draw(batch, width), dim=1) for name in ("image", "text")}
    return Outputs(embeddings, torch.tensor(9.0, dtype=dtype), torch.tensor(-3.0, dtype=dtype), extras=extras)


def plain_pc(outputs, spans, *, reduction="max", positives=True, patches=None):
    """The loss written as sums over images, captions and concepts."""
    extras = outputs.extras
    unit = F.normalize(extras["image_concepts"] if patches is None else patches, dim=-1)
    total, count = 0.0, 0
    for j, own in enumerate(spans.tolist()):
        logits = []
        for start, end in own:
            if start < 0:
                continue
            vector = F.normalize(extras["text_concepts"][j, start + 1 : end + 1].mean(0), dim=0)
            logits.append(extras["concept_scale"] * (unit @ vector).amax(1) + extras["concept_bias"])
        count += len(logits)
        if logits and reduction == "lse":
            logits = [torch.stack(logits).exp().mean(0).log()]
        for logit in logits:
            for i in range(len(unit)):
                sign = 1 if positives and i == j else -1
                total = total - F.logsigmoid(sign * logit[i])
    return total / (len(unit) if reduction == "lse" else max(count, 1))


def leaves(outputs):
    tensors = {
        **dict(outputs.extras),
        **{f"emb_{name}": tensor for name, tensor in outputs.embeddings.items()},
        "scale": outputs.logit_scale,
        "bias": outputs.logit_bias,
    }
    return {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}


def joined(given):
    return Outputs(
        {name: given[f"emb_{name}"] for name in ("image", "text")},
        given["scale"],
        given["bias"],
        extras={
            name: given[name] for name in ("image_concepts", "text_concepts", "concept_scale", "concept_bias")
        },
    )


@pytest.mark.parametrize("reduction", ["max", "lse"])
@pytest.mark.parametrize("budget", [1, 100, 1 << 24])
def test_value_and_gradients_are_those_of_the_plain_formula(reduction, budget):
    given = leaves(make())
    options = {"reduction": reduction, "budget": budget}
    got = build_objective("pc_align", options, domain="medical")(
        joined(given), Batch({}, extras={"concept_spans": SPANS})
    )["loss"]
    want = plain_pc(joined(given), SPANS, reduction=reduction)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    names = ["image_concepts", "text_concepts", "concept_scale", "concept_bias"]
    ours, theirs = (torch.autograd.grad(loss, [given[name] for name in names]) for loss in (got, want))
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-9, atol=1e-12, msg=lambda text, at=name: f"{at}: {text}"
        )


def test_the_total_is_the_sigmoid_loss_plus_half_the_concept_loss():
    outputs, batch = make(), Batch({}, extras={"concept_spans": SPANS})
    parts = build_objective("conceptclip", domain="medical")(outputs, batch)
    alone = build_objective("pc_align", domain="medical")(outputs, batch)["loss"]
    pairs = build_objective("sigmoid")(outputs, batch)["loss"]
    torch.testing.assert_close(parts["pc_align"], 0.5 * alone)
    torch.testing.assert_close(parts["it_align"], pairs)
    torch.testing.assert_close(parts["loss"], pairs + 0.5 * alone)
    y = 2 * torch.eye(4, dtype=torch.float64) - 1
    z = 9 * outputs.embeddings["image"] @ outputs.embeddings["text"].T - 3
    torch.testing.assert_close(pairs, F.softplus(-y * z).sum() / 4)


def test_one_concept_in_the_last_caption_alone():
    spans = torch.tensor([[NONE], [NONE], [NONE], [[2, 3]]])
    outputs = make()
    got = build_objective("pc_align", domain="medical")(outputs, Batch({}, extras={"concept_spans": spans}))
    torch.testing.assert_close(got["loss"], plain_pc(outputs, spans))


@pytest.mark.parametrize("spans", [torch.full((4, 2, 2), -1), torch.empty(4, 0, 2, dtype=torch.long)])
@pytest.mark.parametrize("reduction", ["max", "lse"])
def test_a_batch_without_concepts_gives_zero_and_zero_gradients(spans, reduction):
    given = leaves(make())
    objective = build_objective("pc_align", {"reduction": reduction}, domain="medical")
    loss = objective(joined(given), Batch({}, extras={"concept_spans": spans}))["loss"]
    assert loss.item() == 0.0
    loss.backward()
    for name in ("image_concepts", "text_concepts", "concept_scale", "concept_bias"):
        assert given[name].grad is not None
        assert not given[name].grad.any()


def test_gradient_reaches_the_winning_patch_only():
    patches = make().extras["image_concepts"].requires_grad_()
    concepts = F.normalize(torch.ones(1, 5, dtype=torch.float64), dim=1)
    best, index = best_patches(patches, concepts)
    best.sum().backward()
    touched = patches.grad.abs().sum(-1) > 0
    assert touched.nonzero()[:, 1].tolist() == index[:, 0].tolist()
    assert not index.requires_grad


def test_gradients_by_finite_differences():
    given = [
        tensor.requires_grad_()
        for tensor in (
            make(2, 3, width=4).extras["image_concepts"],
            F.normalize(make(2, 3, width=4, seed=1).extras["text_concepts"][0], dim=1),
        )
    ]
    assert torch.autograd.gradcheck(lambda p, c: best_patches(p, c, budget=20)[0], given)


def test_scores_of_a_large_batch_are_never_held_at_once():
    """The largest tensor kept for the gradient is an input, not [images, concepts, patches]."""
    outputs = make(batch=8, patches=50, length=12, width=4, dtype=torch.float32)
    outputs.extras["image_concepts"].requires_grad_()
    spans = torch.tensor([[[k, k + 1] for k in range(10)]] * 8)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        build_objective("pc_align", {"budget": 500}, domain="medical")(
            outputs, Batch({}, extras={"concept_spans": spans})
        )["loss"].backward()
    assert max(saved) <= 8 * 50 * 4 < 8 * 80 * 50


def test_half_precision_outputs_are_computed_in_float32():
    exact = make(dtype=torch.float32)
    halved = {name: tensor.bfloat16() for name, tensor in exact.extras.items()}
    rounded = {name: tensor.float() for name, tensor in halved.items()}
    batch = Batch({}, extras={"concept_spans": SPANS})
    objective = build_objective("pc_align", domain="medical")
    losses = [
        objective(Outputs(exact.embeddings, exact.logit_scale, exact.logit_bias, extras=extras), batch)[
            "loss"
        ]
        for extras in (halved, rounded)
    ]
    assert losses[0].dtype is torch.float32
    torch.testing.assert_close(*losses)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(objective(exact, batch)["loss"], objective(exact, batch)["loss"].float())


def test_spans_are_pooled_without_the_start_token():
    states = torch.arange(12.0).view(1, 6, 2)
    pooled, exists = pool_spans(states, torch.tensor([[[0, 2], NONE, [4, 5]]]))
    assert exists.tolist() == [[True, False, True]]
    assert pooled[0].tolist() == [[3.0, 4.0], [0.0, 0.0], [10.0, 11.0]]
    concepts = collect_concepts(states, torch.tensor([[[0, 2]]]))
    torch.testing.assert_close(concepts.vectors.norm(dim=1), torch.ones(1))


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[[0, 9]]], r"caption 0, span 0 is \[0, 9\]; the text has 5 positions"),
        ([[[2, 2]]], r"span 0 is \[2, 2\]"),
        ([[[0, 1]], [[0, 1]]], r"expected \[1, K, 2\], got \[2, 1, 2\]"),
    ],
)
def test_bad_spans_are_named(spans, message):
    with pytest.raises(InputError, match=message):
        pool_spans(torch.zeros(1, 6, 2), torch.tensor(spans))


def test_bad_input_is_named():
    objective = build_objective("conceptclip", domain="medical")
    with pytest.raises(InputError, match=r"outputs.extras\['image_concepts'\]"):
        objective(Outputs(make().embeddings, torch.tensor(1.0)), Batch({}, extras={"concept_spans": SPANS}))
    with pytest.raises(InputError, match=r"batch.extras\['concept_spans'\]"):
        objective(make(), Batch({}))
    with pytest.raises(ConfigError, match="weight must be 0 or more"):
        build_objective("pc_align", {"weight": -1}, domain="medical")
    with pytest.raises(ConfigError, match="budget must be at least 1"):
        build_objective("pc_align", {"budget": 0}, domain="medical")
    with pytest.raises(ConfigError, match="reduction"):
        build_objective("pc_align", {"reduction": "mean"}, domain="medical")
    with pytest.raises(InputError, match="Patches must be"):
        best_patches(torch.zeros(1, 2, 3), torch.zeros(1, 4))
    outputs = make()
    outputs.extras["image_concepts"] = outputs.extras["image_concepts"][:2]
    with pytest.raises(InputError, match="2 images and 4 captions"):
        build_objective("pc_align", domain="medical")(outputs, Batch({}, extras={"concept_spans": SPANS}))


NOTHING = torch.full((4, 1, 2), -1)
RANK_SPANS = {
    "uneven": [SPANS, torch.tensor([[[0, 3]], [[2, 4]], [NONE], [NONE]])],
    "one empty": [NOTHING, SPANS],
    "all empty": [NOTHING, NOTHING],
}


@pytest.mark.slow
def test_other_processes_add_their_concepts_as_negatives(tmp_path):
    """Each rank's value is the plain formula; gradients of concepts travel back to their process."""
    ranks = 2
    given = [leaves(make(seed=rank)) for rank in range(ranks)]
    stored = {
        f"{rank}/{name}": tensor.detach() for rank in range(ranks) for name, tensor in given[rank].items()
    }
    for kind, spans in RANK_SPANS.items():
        stored |= {f"{rank}/spans/{kind}": spans[rank].clone() for rank in range(ranks)}
    save_file(stored, tmp_path / "inputs.safetensors")
    program = Path(__file__).with_name("rank_program.py")
    running = [
        subprocess.Popen([sys.executable, str(program), str(rank), str(ranks), str(tmp_path)])
        for rank in range(ranks)
    ]
    assert [process.wait(timeout=120) for process in running] == [0] * ranks
    got = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(ranks)]
    for kind, spans in RANK_SPANS.items():
        for reduction in ("max", "lse"):
            want = [own_and_others(given, spans, rank, reduction) for rank in range(ranks)]
            names = ("image_concepts", "text_concepts")
            tensors = [given[rank][name] for rank in range(ranks) for name in names]
            # Not every input takes part; the sum of all with weight 0 makes them all.
            total = sum(want) + 0.0 * sum(tensor.sum() for tensor in tensors)
            gradients = torch.autograd.grad(total, tensors)
            for exchange in ("bidir", "shift", "reduce", "gather"):
                key = f"{kind}/{reduction}/{exchange}"
                for rank in range(ranks):
                    value = torch.as_tensor(want[rank], dtype=torch.float64).detach()
                    torch.testing.assert_close(got[rank][f"{key}/loss"], value)
                    for place, name in enumerate(names):
                        torch.testing.assert_close(got[rank][f"{key}/{name}"], gradients[2 * rank + place])


def own_and_others(given, spans, rank, reduction):
    """The value of one rank: its own pairs, and everybody else's concepts as negatives."""
    scalars = {name: given[rank][name] for name in ("concept_scale", "concept_bias")}
    return sum(
        plain_pc(
            joined({**given[other], **scalars}),
            spans[other],
            reduction=reduction,
            positives=other == rank,
            patches=given[rank]["image_concepts"],
        )
        for other in range(len(given))
    )


def test_spans_behind_the_text_read_its_last_position_as_published():
    states = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    spans = torch.tensor([[[0, 2], [3, 5], [3, 9], [4, 7]], [[7, 9], [5, 6], NONE, NONE]])
    pooled, exists = pool_spans(states, spans, beyond="last")
    for row, which in exists.nonzero().tolist():
        start, end = spans[row, which].tolist()
        places = [min(position + 1, 5) for position in range(start, end)]
        torch.testing.assert_close(pooled[row, which], states[row, places].mean(0))
    assert exists.sum() == 6
    assert pooled[~exists].abs().max() == 0
    fitting = torch.where(spans[..., 1:] > 5, -1, spans)
    strict, kept = pool_spans(states, fitting)
    torch.testing.assert_close(strict[kept], pooled[kept])
    with pytest.raises(InputError, match=r"caption 0, span 2 is \[3, 9\]"):
        pool_spans(states, spans)


def test_the_objective_takes_spans_behind_the_text_only_when_asked():
    spans = torch.tensor([[[0, 2], [5, 12]], [NONE, NONE], [[1, 2], NONE], [[9, 11], NONE]])
    batch = Batch({}, extras={"concept_spans": spans})
    for name in ("pc_align", "conceptclip"):
        loss = build_objective(name, {"beyond": "last"}, domain="medical")(make(), batch)["loss"]
        assert torch.isfinite(loss)
        with pytest.raises(InputError, match="Drop spans that do not fit"):
            build_objective(name, domain="medical")(make(), batch)


def test_a_second_derivative_is_refused():
    """Its backward pass keeps no graph: a second derivative would be zero without a word."""
    patches = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    concepts = F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=-1).requires_grad_()
    best, _ = best_patches(patches, concepts)
    (gradient,) = torch.autograd.grad(best.square().sum(), patches, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
