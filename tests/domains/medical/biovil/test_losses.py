"""The objective: every term against its formula written out, what it needs, and bad settings."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective, file_process_group
from verticlip.core.types import Batch, Outputs
from verticlip.domains.medical.biovil.losses import (
    BioViLObjective,
    local_loss,
    masked_word_loss,
    section_loss,
)

TEMPORAL = {"dim": 16, "grid": [2, 2], "heads": 2, "blocks": 2, "mlp_width": 16}


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def outputs(image, text, *, scale=2.0, **extras):
    return Outputs({"image": image, "text": text}, torch.tensor(scale, dtype=torch.float64), extras=extras)


def both(first, second, tau):
    """L = -1/N sum_i [log softmax_j(a_i.b_j / tau)_i + log softmax_j(b_i.a_j / tau)_i], term by term."""
    total = 0.0
    for a, b in ((first, second), (second, first)):
        for i in range(len(a)):
            logits = [float(a[i] @ b[j]) / tau for j in range(len(b))]
            total -= logits[i] - torch.tensor(logits, dtype=torch.float64).logsumexp(0).item()
    return total / len(first)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_global_term_is_the_sum_of_both_directions(count):
    image, text = unit(count, 8), unit(count, 8, seed=1)
    found = BioViLObjective(global_weight=0.5)(outputs(image, text), Batch({}))
    assert float(found["global"]) == pytest.approx(0.5 * both(image, text, 0.5), abs=1e-9)
    assert float(found["loss"]) == float(found["global"])
    swapped = BioViLObjective(global_weight=0.5)(outputs(text, image), Batch({}))
    assert float(swapped["loss"]) == pytest.approx(float(found["loss"]), abs=1e-9)


def test_a_learnt_temperature_is_the_models_scale():
    image, text = unit(5, 8), unit(5, 8, seed=1)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    made = Outputs({"image": image, "text": text}, scale)
    loss = BioViLObjective(None)(made, Batch({}))["loss"]
    assert float(loss.detach()) == pytest.approx(both(image, text, 1 / 3), abs=1e-9)
    loss.backward()
    assert abs(float(scale.grad)) > 1e-3
    fixed = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    BioViLObjective()(Outputs({"image": image, "text": text}, fixed), Batch({}))["loss"].backward()
    assert float(fixed.grad) == 0.0


def test_masked_words_are_cross_entropy_at_the_chosen_places():
    labels = torch.tensor([[-100, 3, -100], [1, -100, -100]])
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    expected = -(logits[0].log_softmax(0)[3] + logits[1].log_softmax(0)[1]) / 2
    assert float(masked_word_loss(logits, labels)) == pytest.approx(float(expected), abs=1e-6)
    empty = torch.empty(0, 6, requires_grad=True)
    nothing = masked_word_loss(empty, torch.full((2, 3), -100))
    assert float(nothing.detach()) == 0.0
    nothing.backward()


def test_section_matching_skips_reports_that_lack_one():
    findings, impression = unit(5, 8), unit(5, 8, seed=1)
    has = torch.tensor([True, False, True, True, False])
    found = section_loss(findings, impression, has, temperature=0.5)
    assert float(found) == pytest.approx(both(findings[has], impression[has], 0.5), abs=1e-9)
    none = section_loss(findings.requires_grad_(), impression, has & ~has, temperature=0.5)
    assert float(none.detach()) == 0.0
    none.backward()
    assert float(findings.grad.abs().max()) == 0.0


def test_the_local_term_matches_words_with_what_they_see():
    patches, words = unit(2, 2, 2, 6), unit(2, 4, 6, seed=1)
    mask = torch.tensor([[False, True, True, False], [False, True, False, False]])
    flat = patches.flatten(1, 2)
    seen, kept = [], []
    for row in range(2):
        for place in range(4):
            if mask[row, place]:
                weights = (flat[row] @ words[row, place] / 0.3).softmax(0)
                seen.append(F.normalize(weights @ flat[row], dim=0))
                kept.append(words[row, place])
    expected = both(torch.stack(kept), torch.stack(seen), 0.2)
    extras = {"patch_embeddings": patches, "word_embeddings": words, "word_mask": mask}
    found = local_loss(extras, temperature=0.2, attention_temperature=0.3)
    assert float(found) == pytest.approx(expected, abs=1e-5)
    nothing = local_loss({**extras, "word_mask": mask & ~mask}, temperature=0.2, attention_temperature=0.3)
    assert float(nothing) == 0.0


def test_all_terms_train_a_whole_model(network, processor):
    from verticlip.domains.medical.biovil.sections import collate_sections

    model = network(temporal=TEMPORAL).train()
    objective = build_objective(
        "biovil",
        {"masked_words_weight": 1.0, "sections_weight": 1.0, "local_weight": 0.5, "global_weight": 0.5},
        domain="medical",
    )
    records = [{"findings": "Lungs clear.", "impression": "No edema."}, {"impression": "Pneumonia."}]
    generator = torch.Generator().manual_seed(2)
    extras = collate_sections(records, ["a", "b"], processor, generator)
    extras["mlm_labels"][0, 1] = int(extras["text.input_ids"][0, 1])
    has = torch.tensor([True, False])
    image = {"pixels": torch.rand(2, 3, 64, 64), "previous": torch.rand(2, 3, 64, 64), "has_previous": has}
    text = {name: extras.pop(f"text.{name}") for name in ("input_ids", "attention_mask")}
    batch = Batch({"image": image, "text": text}, extras=extras)
    made = model(batch, tokens=objective.needs.tokens, extras=objective.needs.output_extras)
    found = objective(made, batch)
    found["loss"].backward()
    found = {name: value.detach() for name, value in found.items()}
    parts = {"global", "masked_words", "sections", "local"}
    assert set(found) == {"loss", *parts}
    assert all(torch.isfinite(value) for value in found.values())
    assert float(found["loss"]) == pytest.approx(sum(float(found[part]) for part in parts), abs=1e-5)
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert silent == []


def test_needs_follow_the_weights():
    assert BioViLObjective().needs.output_extras == ()
    assert BioViLObjective().needs.modalities == ("image", "text")
    text_only = BioViLObjective(global_weight=0, masked_words_weight=1)
    assert text_only.needs.modalities == ()
    assert text_only.needs.batch_extras == ("mlm_labels",)
    with pytest.raises(InputError, match="mlm_logits"):
        text_only(outputs(unit(2, 4), unit(2, 4)), Batch({}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"local_temperatures": (0.1, -1.0)}, r"local_temperatures\[1\] must be above 0"),
        ({"sections_weight": -1.0}, "sections_weight must not be negative"),
        ({"global_weight": 0.0}, "Every weight is 0"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        BioViLObjective(**options)


def test_half_precision_is_finite():
    image, text = unit(8, 8).bfloat16(), unit(8, 8, seed=1).bfloat16()
    assert torch.isfinite(BioViLObjective(0.01)(outputs(image, text), Batch({}))["loss"])


def _rank(rank, folder, results):
    torch.set_num_threads(1)
    image, text, findings, impression = (unit(6, 4, seed=seed).requires_grad_() for seed in range(4))
    has = torch.tensor([True, True, False, False, False, True])
    mine = slice(3 * rank, 3 * rank + 3)
    with file_process_group(rank, 2, folder / "meet"):
        made = outputs(
            image[mine],
            text[mine],
            findings_embeddings=findings[mine],
            impression_embeddings=impression[mine],
        )
        objective = BioViLObjective(sections_weight=1.0)
        loss = objective(made, Batch({}, extras={"has_sections": has[mine]}))["loss"]
        loss.backward()
    gradients = [tensor.grad[mine] for tensor in (image, text, findings, impression)]
    results.put((rank, float(loss.detach()), [gradient.tolist() for gradient in gradients]))


def test_two_processes_give_what_one_gives(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=_rank, args=(rank, tmp_path, results)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = sorted(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(timeout=60)
    image, text, findings, impression = (unit(6, 4, seed=seed).requires_grad_() for seed in range(4))
    has = torch.tensor([True, True, False, False, False, True])
    made = outputs(image, text, findings_embeddings=findings, impression_embeddings=impression)
    whole = BioViLObjective(sections_weight=1.0)(made, Batch({}, extras={"has_sections": has}))["loss"]
    whole.backward()
    assert sum(loss for _, loss, _ in found) / 2 == pytest.approx(float(whole.detach()), abs=1e-6)
    for place, tensor in enumerate((image, text, findings, impression)):
        # Distributed training averages parameter gradients over the ranks.
        joined = (
            torch.cat([torch.tensor(gradients[place], dtype=torch.float64) for _, _, gradients in found]) / 2
        )
        assert torch.allclose(joined, tensor.grad, atol=1e-6)
