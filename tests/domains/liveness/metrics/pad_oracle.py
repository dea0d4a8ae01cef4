"""A second opinion on every figure: loops over presentations, written from the definitions alone."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def iso(scores, species, threshold):
    """APCER and APNRR per species, BPCER, BPNRR, their maximum, pooled and mean forms."""
    kinds = sorted(set(species) - {"bona_fide"})
    rows = list(zip(scores, species, strict=True))
    count = {kind: sum(1 for _, name in rows if name == kind) for kind in [*kinds, "bona_fide"]}
    wrong = {
        kind: sum(1 for score, name in rows if name == kind and score is not None and score >= threshold)
        for kind in kinds
    }
    silent = {
        kind: sum(1 for score, name in rows if name == kind and score is None)
        for kind in [*kinds, "bona_fide"]
    }
    refused = sum(
        1 for score, name in rows if name == "bona_fide" and score is not None and score < threshold
    )
    found = {
        "threshold": threshold,
        "apcer": {kind: wrong[kind] / count[kind] for kind in kinds},
        "apnrr": {kind: silent[kind] / count[kind] for kind in kinds},
        "bpcer": refused / count["bona_fide"],
        "bpnrr": silent["bona_fide"] / count["bona_fide"],
    }
    found["apcer_max"] = max(found["apcer"].values())
    found["apcer_pooled"] = sum(wrong.values()) / sum(count[kind] for kind in kinds)
    found["acer_max"] = (found["apcer_max"] + found["bpcer"]) / 2
    found["acer_pooled"] = (found["apcer_pooled"] + found["bpcer"]) / 2
    return found


def bpcer_at(scores, species, point):
    """The first threshold among the scores, ascending, then infinity, with maximum APCER at most 1/point."""
    for threshold in [*sorted({score for score in scores if score is not None}), math.inf]:
        found = iso(scores, species, threshold)
        if found["apcer_max"] <= 1 / point:
            return {key: found[key] for key in ("threshold", "apcer_max", "bpcer")}
    raise AssertionError("at infinity nothing is accepted")


def dev_bpcer(scores, species, allowed):
    """The last threshold among the scores with BPCER at most ``allowed``."""
    thresholds = sorted({score for score in scores if score is not None})
    return [one for one in thresholds if iso(scores, species, one)["bpcer"] <= allowed][-1]


def counts(scores, labels, threshold):
    """tn, fn, fp, tp."""
    pairs = [(score >= threshold, bool(label)) for score, label in zip(scores, labels, strict=True)]
    return tuple(pairs.count(one) for one in ((False, False), (False, True), (True, False), (True, True)))


def far_frr(scores, labels, threshold):
    """Rates of attacks accepted and bona fides rejected; that of an empty class is 1."""
    tn, fn, fp, tp = counts(scores, labels, threshold)
    return (fp / (fp + tn) if fp + tn else 1.0), (fn / (fn + tp) if fn + tp else 1.0)


def equal_error(scores, labels, thresholds):
    """EER and threshold: of the smallest distance the last threshold."""
    best, found = math.inf, (math.nan, math.nan)
    for threshold in thresholds:
        far, frr = far_frr(scores, labels, threshold)
        if math.fabs(frr - far) <= best:
            best, found = math.fabs(frr - far), ((far + frr) / 2, threshold)
    return found


def scan(scores, labels, density):
    """FLIP's scan."""
    return equal_error(scores, labels, [*(i / density for i in range(density + 1)), 1.1])


def area(scores, labels):
    """Share of pairs in which the bona fide wins, ties one half; exact until the last step."""
    live = [score for score, label in zip(scores, labels, strict=True) if label]
    fake = [score for score, label in zip(scores, labels, strict=True) if not label]
    won = sum(Fraction(2 if a > b else 1 if a == b else 0) for a in live for b in fake)
    return float(won / (2 * len(live) * len(fake)))


def tpr_at(scores, labels, fpr):
    """The last point of scikit-learn's curve with FPR <= fpr."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, scores)
    kept = true[false <= fpr]
    return float(kept[-1]) if len(kept) else 0.0


def videos(logits, ids, labels):
    """Per video in order of first appearance: mean probability of live (float32), label, mean logits."""
    import torch

    probabilities = torch.softmax(torch.from_numpy(logits), dim=1).numpy()[:, 1]
    rows: dict = {}
    for row, video in enumerate(ids):
        rows.setdefault(int(video), []).append(row)
    scores = [float(sum(probabilities[row] for row in members) / len(members)) for members in rows.values()]
    means = [logits[members].astype(np.float64).mean(axis=0) for members in rows.values()]
    return scores, [int(labels[members[0]]) for members in rows.values()], means


def metrics_case(inputs, density):
    """Every output of the reference case ``metrics``."""
    labels = inputs["frame_labels"].tolist()
    scores, live, means = videos(inputs["frame_logits"], inputs["frame_video_ids"].tolist(), labels)
    eer, threshold = scan(scores, live, density)
    tn, fn, fp, tp = counts(scores, live, threshold)
    half = far_frr(scores, live, 0.5)
    tn_half, _, _, tp_half = counts(scores, live, 0.5)
    losses = [
        math.log(sum(math.exp(one) for one in row)) - row[label]
        for row, label in zip(means, live, strict=True)
    ]
    right = [int(row[1] > row[0]) == label for row, label in zip(means, live, strict=True)]
    dev, dev_live = inputs["dev_scores"].tolist(), inputs["dev_labels"].tolist()
    test, test_live = inputs["test_scores"].tolist(), inputs["test_labels"].tolist()
    dev_eer, dev_threshold = scan(dev, dev_live, density)
    return {
        "video_prob": scores,
        "video_label": [float(label) for label in live],
        "eer": eer,
        "eer_threshold": threshold,
        "hter_at_eer_threshold": sum(far_frr(scores, live, threshold)) / 2,
        "acc_at_threshold_percent": 100 * (tp + tn) / (tp + tn + fp + fn),
        "auc": area(scores, live),
        "tpr_at_fpr_1pct": tpr_at(scores, live, 0.01),
        "apcer_at_0_5": half[0],
        "bpcer_at_0_5": half[1],
        "acer_at_0_5": sum(half) / 2,
        "acc_at_0_5": (tn_half + tp_half) / len(live),
        "loss_video_mean": sum(losses) / len(losses),
        "top1_video_percent": float(np.float32(100 * sum(right) / len(right))),
        "dev_eer": dev_eer,
        "dev_threshold": dev_threshold,
        "test_hter": sum(far_frr(test, test_live, dev_threshold)) / 2,
        "test_hter_oracle": scan(test, test_live, density)[0],
        "test_auc": area(test, test_live),
        "test_confusion_tn_fn_fp_tp": list(counts(test, test_live, dev_threshold)),
    }
