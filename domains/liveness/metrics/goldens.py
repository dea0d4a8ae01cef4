"""Reference cases of the metrics: FLIP's figures of the literature, and a worked example of the ISO rates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import literature
from .iso import bpcer_at_apcer, iso_report
from .video import video_loss, video_means

Replay = Callable[[Mapping[str, Any], Mapping[str, Tensor], Path | None], dict[str, Tensor]]


def replay_metrics(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path | None
) -> dict[str, Tensor]:
    """Return the metrics of frames grouped into videos, and of a development and a test set."""
    density, positive = int(config.get("grid_density", literature.GRID)), _positive(config)
    logits = inputs["frame_logits"]
    videos = inputs["frame_video_ids"].tolist()
    classes = [int(label) for label in inputs["frame_labels"].tolist()]
    means = video_means(logits.softmax(dim=1)[:, positive].numpy(), videos, classes)
    return (
        {
            "video_prob": torch.from_numpy(means.scores),
            "video_label": torch.from_numpy(means.labels).double(),
        }
        | _of_videos(means.scores, means.labels == positive, density)
        | _of_logits(logits, videos, classes)
        | _of_sets(inputs, positive, density)
    )


def _of_videos(scores: np.ndarray, live: np.ndarray, density: int) -> dict[str, Tensor]:
    eer, threshold = literature.grid_eer(scores, live, density=density)
    counts, half = literature.confusion(scores, live, threshold), literature.at_half(scores, live)
    return {
        "eer": _number(eer),
        "eer_threshold": _number(threshold),
        "hter_at_eer_threshold": _number(counts.hter),
        "acc_at_threshold_percent": _number(100 * counts.accuracy),
        "auc": _number(literature.auc(scores, live)),
        "tpr_at_fpr_1pct": _number(literature.tpr_at_fpr(scores, live)),
        "apcer_at_0_5": _number(half.apcer),
        "bpcer_at_0_5": _number(half.bpcer),
        "acer_at_0_5": _number(half.acer),
        "acc_at_0_5": _number(half.accuracy),
    }


def _of_logits(logits: Tensor, videos: list[int], classes: list[int]) -> dict[str, Tensor]:
    found = video_loss(logits, videos, classes)
    # The reference keeps its running mean of the accuracy in float32.
    return {
        "loss_video_mean": _number(found.loss),
        "top1_video_percent": torch.tensor(100 * found.top1, dtype=torch.float32).double(),
    }


def _of_sets(inputs: Mapping[str, Tensor], positive: int, density: int) -> dict[str, Tensor]:
    dev, test = inputs["dev_scores"].numpy(), inputs["test_scores"].numpy()
    dev_live, test_live = (inputs[f"{part}_labels"].numpy() == positive for part in ("dev", "test"))
    dev_eer, threshold = literature.grid_eer(dev, dev_live, density=density)
    counts = literature.confusion(test, test_live, threshold)
    oracle, _ = literature.grid_eer(test, test_live, density=density)
    return {
        "dev_eer": _number(dev_eer),
        "dev_threshold": _number(threshold),
        "test_hter": _number(counts.hter),
        "test_hter_oracle": _number(oracle),
        "test_auc": _number(literature.auc(test, test_live)),
        "test_confusion_tn_fn_fp_tp": torch.tensor([counts.tn, counts.fn, counts.fp, counts.tp]),
    }


def _positive(config: Mapping[str, Any]) -> int:
    """Return the class index of a bona fide, from words such as ``real (1)``."""
    found = re.search(r"\d+", str(config.get("positive_class", "")))
    return int(found[0]) if found else 1


def replay_iso_worked(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path | None
) -> dict[str, Tensor]:
    """Return the ISO rates of the presentations in a case, by dotted names."""
    rows, expected = config["presentations"], config["expected"]
    scores, species = [row["score"] for row in rows], [row["species"] for row in rows]
    report = iso_report(scores, species, float(expected["threshold"]))
    found: dict[str, Tensor] = {
        "threshold": _number(report.threshold),
        "bpcer": _number(report.bpcer.value),
        "bpnrr": _number(report.bpnrr.value),
        "apcer_max": _number(report.apcer_max),
        "apcer_pooled": _number(report.apcer_pooled.value),
        "acer_max": _number(report.acer_max),
        "acer_pooled": _number(report.acer_pooled),
    }
    for name in report.apcer:
        found[f"apcer.{name}"] = _number(report.apcer[name].value)
        found[f"apnrr.{name}"] = _number(report.apnrr[name].value)
    points = [int(point) for point in expected.get("bpcer_at_apcer", {})]
    operating = bpcer_at_apcer(scores, species, points=points)
    for point in points:
        at, name = operating.get(point), f"bpcer_at_apcer.{point}"
        found[f"{name}.threshold"] = _number(at and at.threshold)
        found[f"{name}.apcer_max"] = _number(at and at.apcer_max)
        found[f"{name}.bpcer"] = _number(at and at.bpcer.value)
        # A case of one class may say null for the point as a whole.
        found[name] = _number(None)
    return found


def _number(value: float | None) -> Tensor:
    return torch.tensor(math.nan if value is None else value, dtype=torch.float64)


CASES: dict[str, Replay] = {"metrics": replay_metrics, "iso_worked": replay_iso_worked}
"""Golden cases by name."""

_FLOAT32 = {"video_prob", "loss_video_mean"}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output: 1e-6 where float32 logits are averaged, else 1e-9."""
    return 1e-6 if name in _FLOAT32 else 1e-9
