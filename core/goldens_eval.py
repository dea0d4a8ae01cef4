"""Replays of the golden cases of inference: classifier, recall, INQUIRE metrics, prompt weights, composition.

Each replay computes, from the inputs of a case, the tensors that the case's outputs hold. ``CASES``
maps the name of a case to its replay and ``TOLERANCES`` to (relative to the tensor's largest
value, absolute).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .composition import direction, pdv
from .heads.zero_shot import ZeroShotHead, class_embeddings
from .metrics.ranking import Positives, image_text_ranks, top_k
from .metrics.retrieval import QueryMetrics
from .prompts import PromptSet, select_templates, template_logits, template_scores

Replay = Callable[[Mapping[str, Any], Mapping[str, Tensor], Path], dict[str, Tensor]]


def replay_zero_shot(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return classifier [D, K], logits, probabilities [N, K] and top1 [N] of a template ensemble.

    Reference: open_clip@src/open_clip/zero_shot_classifier.py.
    """
    table = inputs["template_embeddings"]
    names = [str(index) for index in range(len(table))]
    templates = tuple(f"{index} {{}}" for index in range(table.shape[1]))
    prompts = PromptSet(name="golden", classes={name: (name,) for name in names}, templates=templates)

    def encode(texts: list[str]) -> Tensor:
        places = [tuple(map(int, text.split())) for text in texts]
        return torch.stack([table[name, template] for template, name in places])

    head = ZeroShotHead(class_embeddings(prompts, encode), names, scale=config["logit_scale"])
    images = inputs["image_features"]
    return {
        "classifier": head.class_weights.T,
        "logits": head.logits(images),
        "probabilities": head.scores(images),
        "top1": head.logits(images).argmax(dim=1),
    }


def replay_recall(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return image-text recall in both published conventions and the GeneCIS recall.

    Reference: CLIP_benchmark@clip_benchmark/metrics/zeroshot_retrieval.py; Wang et al. 2023, "Where
    Does the Performance Improvement Come From?"; GeneCIS (Vaze et al. 2023), section 4.
    """
    images, texts = inputs["image_features"], inputs["text_features"]
    per_image = len(texts) // len(images)
    owner = torch.arange(len(images)).repeat_interleave(per_image)
    image_ranks, text_ranks = image_text_ranks(images, texts, owner)
    outputs = {
        "itr.i2t_ranks": torch.from_numpy(image_ranks),
        "itr.t2i_ranks": torch.from_numpy(text_ranks),
        "itr.i2t": _summary(image_ranks),
        "itr.t2i": _summary(text_ranks),
    }
    outputs["itr.rsum"] = outputs["itr.i2t"][:3].sum() + outputs["itr.t2i"][:3].sum()
    for side, ranks in (("text", image_ranks), ("image", text_ranks)):
        for k in (1, 5, 10):
            outputs[f"clip_benchmark.{side}_retrieval_recall@{k}"] = torch.tensor(np.mean(ranks < k))
    fold = len(images) // 5
    folds = []
    for start in range(0, 5 * fold, fold):
        own = slice(start * per_image, (start + fold) * per_image)
        found = image_text_ranks(images[start : start + fold], texts[own], owner[own] - start)
        folds.append(torch.cat([_summary(ranks)[:3] for ranks in found]))
    outputs["itr.five_fold_mean"] = torch.stack(folds).mean(dim=0)
    outputs |= _genecis(inputs["genecis_similarity"], inputs["genecis_target_rank"])
    return outputs


def _summary(ranks: np.ndarray[Any, Any]) -> Tensor:
    """R@1, R@5, R@10 in percent, median (rounded down) and mean rank, both from 1."""
    recalls = [100.0 * float(np.mean(ranks < k)) for k in (1, 5, 10)]
    return torch.tensor([*recalls, np.floor(np.median(ranks)) + 1, ranks.mean() + 1], dtype=torch.float64)


def _genecis(similarity: Tensor, target: Tensor) -> dict[str, Tensor]:
    # Each query has its own gallery: its row of scores against a one-dimensional query of 1.
    rows = [top_k(torch.ones(1, 1), row[:, None], 3)[0][0] for row in similarity]
    hits = torch.stack(rows) == target[:, None]
    return {f"genecis.recall@{k}": hits[:, :k].any(dim=1).double().mean() for k in (1, 2, 3)}


def replay_inquire(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return precision, recall, AP@k, nDCG@k and MRR of each query [Q].

    Reference: INQUIRE (Vendrow et al. 2024); inquire-benchmark/INQUIRE@src/metrics.py.
    """
    found = inputs["y_true"].numpy().astype(bool)
    k = found.shape[1]
    ranks, counts = [], inputs["count_pos"].tolist()
    for row, count in zip(found, counts, strict=True):
        hits = np.flatnonzero(row).tolist()
        # Positives that are not in the list lie somewhere behind it.
        ranks += hits + [k] * (count - len(hits))
    offsets = np.cumsum([0, *counts])
    positives = Positives(offsets, np.concatenate([np.arange(count) for count in counts]))
    metrics = QueryMetrics.from_ranks(np.array(ranks, dtype=np.int64), positives)
    values = {
        "precision": metrics.precision_at(k),
        "recall": metrics.recall_at(k),
        "ap_at_k": metrics.average_precision(k),
        "ndcg_at_k": metrics.ndcg(k),
        "mrr": metrics.reciprocal_rank(k),
    }
    return {name: torch.from_numpy(value) for name, value in values.items()}


def replay_prompt_weights(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return template logits, scores in every debias mode, weights, ensembles and the selection.

    Reference: Allingham et al. 2023; google/uncertainty-baselines, notebook of zero-shot prompt
    ensembling. ``ensembled_logits`` there is a mean over prompts of weight times logits, and
    ``pretrain_star`` subtracts one mean per prompt, over images and classes.
    """
    scale = float(np.exp(config["log_logit_scale"]))
    logits = template_logits(inputs["image_embeddings"], inputs["text_embeddings"], scale=scale)
    prior = template_logits(inputs["pretrain_image_embeddings"], inputs["text_embeddings"], scale=scale)
    both = template_scores(logits, prior, debias="both")
    weight = torch.softmax(both.mean(dim=0), dim=0)
    # A bias shared by all classes of a prompt is a one-class prior, spread over the classes.
    star = prior.mean(dim=2, keepdim=True).expand_as(prior)
    outputs = {
        "logits": logits,
        "pretrain_logits": prior,
        "score_per_example.both": both,
        "weight.both": weight,
        "ensembled_logits": (weight[None, :, None] * logits).mean(dim=1),
        "equal_logits": logits.mean(dim=1),
        "selected_prompts": select_templates(both.mean(dim=0), config["mad_threshold"]),
        "score.pretrain_star": template_scores(logits, star, debias="pretrain").mean(dim=0),
    }
    for mode in ("none", "test", "pretrain", "both"):
        outputs[f"score.{mode}"] = template_scores(logits, prior, debias=mode).mean(dim=0)
    return outputs


def replay_pdv(config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path) -> dict[str, Tensor]:
    """Return the change of the words, its step from picture, from words and from both, and the ranking.

    Reference: Tursun et al. 2025, arXiv 2502.07215.
    """
    image, base, composed = (inputs[name] for name in ("image", "base_text", "composed_text"))
    alphas = {name: float(config[name]) for name in ("alpha_image", "alpha_text")}
    fused = pdv(image, base, composed, beta=float(config["beta"]), **alphas)
    similarity = fused @ torch.nn.functional.normalize(inputs["gallery"], dim=-1).T
    return {
        "delta": direction(base, composed),
        "pdv_image": pdv(image, base, composed, beta=0.0, **alphas),
        "pdv_text": pdv(image, base, composed, beta=1.0, **alphas),
        "pdv_fused": fused,
        "similarity": similarity,
        "ranking": similarity.argsort(dim=1, descending=True, stable=True),
    }


CASES: dict[str, Replay] = {
    "open_clip.zero_shot_classifier": replay_zero_shot,
    "retrieval.recall": replay_recall,
    "inquire.metrics": replay_inquire,
    "zpe.prompt_weights": replay_prompt_weights,
    "formula.pdv": replay_pdv,
}

TOLERANCES: dict[str, tuple[float, float]] = {
    "open_clip.zero_shot_classifier": (1e-5, 0.0),
    "retrieval.recall": (1e-12, 0.0),
    "inquire.metrics": (0.0, 1e-9),
    "zpe.prompt_weights": (1e-5, 0.0),
    "formula.pdv": (1e-12, 0.0),
}
