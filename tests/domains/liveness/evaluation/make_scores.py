"""Made-up scores of presentations whose error rates can be counted on fingers."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
from verticlip.domains.liveness.evaluation.table import ScoredPresentation

SPECIES = (("bona_fide", 4.0, 6), ("print", -4.0, 4), ("display", -2.0, 5), ("mask", -0.5, 3))
"""(species, mean margin, presentations of each subject)."""


def presentation(id, score, species, **rest):
    """One presentation; groups as a mapping."""
    margin = rest.pop("margin", None)
    return ScoredPresentation(id, score, margin, species, **rest)


def population(split, subjects, *, seed=0, margins=True, reverse=False, silent=0.05, scale=2.0):
    """Return the presentations of made-up subjects: some without a response, half of them at night."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(subjects):
        for species, mean, count in SPECIES:
            for number in range(count):
                margin = float(rng.normal(-mean if reverse else mean, scale))
                answered = rng.random() >= silent
                rows.append(
                    ScoredPresentation(
                        f"{split}-{subject}-{species}-{number}",
                        1 / (1 + math.exp(-margin)) if answered else None,
                        margin if answered and margins else None,
                        species,
                        subject=f"{split}{subject}",
                        dataset="made-up" if subject % 2 else "made-up-too",
                        split=split,
                        groups=MappingProxyType({"light": "night" if number % 2 else "day"}),
                        failed_checks=() if answered else ("face_size",),
                        path=f"videos/{split}-{subject}-{species}-{number}.mp4",
                        fingerprint="0123456789abcdef",
                    )
                )
    return rows


class Oracle:
    """A stand-in for a detector: what it says of an entry is in the name of the video, such as ``a_2.5``."""

    fingerprint = "feedc0de00000000"

    def predict_each(self, items, *, batch_size=8):
        """Answer by the last word of the name: a margin, ``none`` for a non-response, ``bad`` for a failure."""
        from verticlip.core.answers import Failure
        from verticlip.domains.liveness.quality.checks import Check
        from verticlip.domains.liveness.result import AppliedThreshold, Explanation, LivenessResult

        threshold = AppliedThreshold(0.5, 0.0, "fixed=0.5", "uncalibrated", "")
        for item in items:
            word = item.video_id.rsplit("_", 1)[1]
            if word == "bad":
                yield Failure(str(item.path), "not a picture")
                continue
            margin = 9.0 if word == "none" else float(word)
            quality = (
                Check("face_size", 10.0, (80.0, None), False, "px", True, "Come closer."),
                Check("blur", 10.0, (60.0, None), False, "", False, "Hold still."),
                Check("pose", 1.0, (-30.0, 30.0), True, "deg", False, ""),
            )
            yield LivenessResult(
                id=item.video_id,
                decision="no_response" if word == "none" else "live" if margin >= 0 else "attack",
                threshold=threshold,
                explanation=Explanation(""),
                p_live=0.5,
                margin=margin,
                quality=quality if word == "none" else (),
            )


def write_manifest(folder, rows, name="manifest.csv", *, split=True):
    """Write empty files and the manifest of (video, species, subject, split); the video names its answer."""
    lines = ["path,video_id,label,species,subject,dataset,light" + (",split" if split else "")]
    for video, species, subject, part in rows:
        (folder / f"{name}-{video}.png").touch()
        label = "live" if species == "bona_fide" else "attack"
        line = f"{name}-{video}.png,{video},{label},{species},{subject},made-up,{'day' if part else 'night'}"
        lines.append(line + (f",{part}" if split else ""))
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def both_splits(prefix=""):
    """Rows of a manifest with a development set and a test set whose errors are known."""
    return [
        (f"{prefix}{part}{number}_{answer}", species, f"{prefix}{part}{number % 3}", part)
        for part, shift in (("dev", 0.0), ("test", 0.5))
        for number, (answer, species) in enumerate(
            [
                (3.0 - shift, "bona_fide"),
                (2.0 - shift, "bona_fide"),
                (1.0 - shift, "bona_fide"),
                (-2.0, "print"),
                (-1.0, "print"),
                (0.75, "display"),
                ("none", "display"),
            ]
        )
    ]
