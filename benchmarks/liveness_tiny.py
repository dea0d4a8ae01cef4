"""What ``liveness/tiny`` does on simulated attacks it has not seen, photos and parameters, and a baseline.

    python -m verticlip.benchmarks.liveness_tiny DATA --model liveness/tiny --out runs/liveness_tiny.json

``DATA`` holds ``ecommerce/clothing/{train,validation}``, or is a folder of ``train`` and ``validation``. The
threshold comes from fresh presentations of the subjects that training kept for its dev split, with parameters
of the part "train"; it is applied unchanged to presentations of the validation photos with parameters of the
part "test". With ``--write FOLDER`` the figures also go into ``metrics.json`` of a model folder, under
``further``, and its card is written again.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import require
from ..domains.liveness.faces.crop import crop_face
from ..domains.liveness.metrics.iso import Rate, iso_report
from ..domains.liveness.metrics.literature import auc, exact_eer, live_labels
from ..domains.liveness.metrics.thresholds import choose
from ..domains.liveness.models.base import Scores, liveness_network, score_crops
from ..domains.liveness.protocols.entry import Entry
from ..domains.liveness.protocols.manifest import read_manifest
from ..domains.liveness.simulate.dataset import Plan, read_photo, write_dataset
from ..facade import Model
from .figures import figures_parser, keep_figures

Picture = np.ndarray
Change = Callable[[Picture], Picture]

UNTRAINED = ("composite",)
"""Families that training had no picture of; they are reported beside the others and move no threshold."""

DIM = 0.4
"""Share of its light that a bona fide photo keeps where dimness alone is measured; darkness is an attack."""

FACE_MODEL = "liveness/minifasnet-v2"
"""Made for faces, so out of its domain here; measured to show that the figures are none of face liveness."""

NOTES = """The threshold is that of the equal error rate on the dev part (photos of the training part that
training did not see, attack parameters of the training part) and was applied unchanged to the test part
(validation photos, attack parameters that never occur in training). `pixel statistics` is a logistic
regression on six numbers of a picture, fitted and thresholded on the same dev part; `liveness/minifasnet-v2`
was made for faces: what it does here says nothing about it there.

**What these figures say:** how well *simulated* recapture is told on *photos of clothes*. **What they do not
say:** anything about live faces. No face and no biometric data was used at any point, simulated prints and
displays are drawn by formulas, and the model may go by textures that real attacks do not have. Training
had no picture of the categories `digital_composite`, `mask_paper_or_3d` and `other_or_unknown`: composites
are mostly accepted, as the row of their family says, and the other two were not even simulated. Attacks
drawn by other programs are told where they leave patterns (dots, pixel grids, darkness, frames); compression
alone, a patch with a clean edge or a gentle bend made otherwise than here pass mostly. Darkness is a
category of attack, so bona fide pictures in dim light are mostly refused.

Three settings of training were compared on the dev part; two of them had composites among the attacks, did
not learn them, and were stopped. Nothing was chosen on the test part. Do not decide about people with this
model."""
"""What the card says after the figures."""


def jpeg(quality: int) -> Change:
    """Return the change that one more round of JPEG makes."""

    def change(picture: Picture) -> Picture:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        return np.array(Image.open(stream))

    return change


def half(picture: Picture) -> Picture:
    """Return a picture of half the pixels a side."""
    from PIL import Image

    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BOX)
    return np.array(small)


CHANGES: dict[str, Change] = {
    "JPEG of quality 75 once more": jpeg(75),
    "JPEG of quality 50 once more": jpeg(50),
    "half the pixels a side": half,
    "mirrored": lambda picture: np.ascontiguousarray(picture[:, ::-1]),
}
"""What happens to every picture of the test part, bona fide and attack; the threshold stays."""


@dataclass(frozen=True)
class Part:
    """Simulated presentations in memory.

    Attributes:
        entries: rows of the manifest. pictures: uint8 [H, W, 3] each.
    """

    entries: tuple[Entry, ...]
    pictures: tuple[Picture, ...]

    @property
    def species(self) -> list[str]:
        """ISO species of each."""
        return [entry.species for entry in self.entries]

    def of(self, wanted: Callable[[str], bool]) -> Part:
        """Return the presentations of the families that are wanted."""
        rows = [row for row, entry in enumerate(self.entries) if wanted(entry.groups["family"])]
        return Part(tuple(self.entries[row] for row in rows), tuple(self.pictures[row] for row in rows))


def make_part(photos: Path, plan: Plan, *, apart_from: Path | None = None) -> Part:
    """Return the presentations of a plan, made in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        written = write_dataset(photos, Path(folder) / "part", plan, apart_from=apart_from)
        entries = read_manifest(written.manifest)
        return Part(tuple(entries), tuple(read_photo(entry.path) for entry in entries))


def margins_of(model: Model, pictures: Sequence[Picture]) -> list[float]:
    """Return the log-odds of live of each picture."""
    return scores_of(model, pictures).margin.tolist()


def scores_of(model: Model, pictures: Sequence[Picture]) -> Scores:
    """Return what a model says of pictures that are used whole, as a detector without face detection does."""
    crops = [
        [crop_face(picture, None, crop) for picture in pictures] for crop in liveness_network(model).crops
    ]
    return score_crops(model, crops, batch_size=32)


def statistics(picture: Picture) -> list[float]:
    """Return six numbers of a picture: sharpness, light and the loudest single frequency."""
    cv2 = require("cv2", extra="liveness")
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.log1p(abs(np.fft.rfft2(grey - grey.mean())))
    high = spectrum[spectrum.shape[0] // 8 : -spectrum.shape[0] // 8, spectrum.shape[1] // 4 :]
    return [
        float(np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var())),
        float(grey.mean() / 255),
        float(grey.std() / 255),
        float(high.max() - np.median(high)),
        float(high.mean()),
        float(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].mean() / 255),
    ]


def fit_baseline(part: Part) -> Callable[[Sequence[Picture]], list[float]]:
    """Return the log-odds of live by a logistic regression on :func:`statistics`, fitted on ``part``."""
    rows = torch.tensor([statistics(picture) for picture in part.pictures], dtype=torch.float64)
    live = torch.tensor(live_labels(part.species), dtype=torch.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    weights = torch.zeros(rows.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    # Both classes count the same, as they do in training.
    balance = torch.where(live > 0, 0.5 / live.mean(), 0.5 / (1 - live.mean()))
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def margins(values: torch.Tensor) -> torch.Tensor:
        return (values - mean) / deviation @ weights[1:] + weights[0]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(margins(rows), live, balance)
        value = value + 1e-4 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)

    def score(pictures: Sequence[Picture]) -> list[float]:
        values = torch.tensor([statistics(picture) for picture in pictures], dtype=torch.float64)
        return margins(values).detach().tolist()

    return score


def judged(margins: Sequence[float], species: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return ISO figures at a threshold, AUC, and the equal error rate of this very set."""
    report = iso_report(margins, species, threshold)
    live = live_labels(species)
    return report.to_dict() | {
        "acer_max": report.acer_max,
        "auc": auc(margins, live),
        "eer_of_this_set": exact_eer(margins, live)[0],
    }


def rates_by(
    part: Part, margins: Sequence[float], threshold: float, column: str
) -> dict[str, dict[str, Any]]:
    """Return {value of a group column: APCER} over the attacks."""
    counts: dict[str, list[bool]] = {}
    for entry, margin in zip(part.entries, margins, strict=True):
        if entry.label == "attack":
            counts.setdefault(entry.groups[column], []).append(margin >= threshold)
    return {name: Rate(sum(errors), len(errors)).to_dict() for name, errors in sorted(counts.items())}


def named_right(model: Model, part: Part) -> float:
    """Return the share of attacks whose most probable attack category is the one that was simulated."""
    scores = scores_of(model, part.pictures)
    attacks = [row for row, entry in enumerate(part.entries) if entry.label == "attack"]
    right = sum(scores.attack_types(row)[0][0] == part.entries[row].groups["category"] for row in attacks)
    return right / len(attacks)


def measure(
    model: Model,
    photos: Path,
    *,
    seed: int,
    bona_fide: int = 3,
    attacks: int = 9,
    others: Mapping[str, Model] | None = None,
) -> dict[str, Any]:
    """Return every figure; ``photos`` holds ``train`` and ``validation``.

    Args:
        model: that is measured. photos: see above.
        seed: of the test part; the dev part has the next one.
        bona_fide: presentations of each photo. attacks: of each photo, families in turn.
        others: {name: model} measured on the same pictures, each with its own threshold from the dev part.
    """
    plan = Plan(
        part="train",
        splits=("dev",),
        seed=seed + 1,
        bona_fide=bona_fide,
        attacks=attacks,
        leave_out=UNTRAINED,
    )
    dev = make_part(photos / "train", plan, apart_from=photos / "validation")
    whole = make_part(
        photos / "validation", Plan(part="test", seed=seed, bona_fide=bona_fide, attacks=attacks)
    )
    test = whole.of(lambda family: family not in UNTRAINED)
    untrained = whole.of(lambda family: family in UNTRAINED)
    scorers: dict[str, Callable[[Sequence[Picture]], list[float]]] = {
        "model": lambda pictures: margins_of(model, pictures),
        "pixel statistics": fit_baseline(dev),
        **{name: partial(margins_of, other) for name, other in (others or {}).items()},
    }
    found: dict[str, Any] = {
        "seed": seed,
        "dev": {"presentations": len(dev.entries), "subjects": len({one.subject for one in dev.entries})},
        "test": {"presentations": len(test.entries), "subjects": len({one.subject for one in test.entries})},
        "named_right": named_right(model, test),
    }
    for name, score in scorers.items():
        on_dev = score(dev.pictures)
        threshold = choose("dev_eer", on_dev, dev.species).value
        margins = score(test.pictures)
        found[name] = {
            "threshold": threshold,
            "dev": judged(on_dev, dev.species, threshold),
            "test": judged(margins, test.species, threshold),
            "apcer_by_family": rates_by(test, margins, threshold, "family"),
            "apcer_by_severity": rates_by(test, margins, threshold, "severity"),
        }
        if name == "model":
            found["changed"] = {
                label: judged(score([change(one) for one in test.pictures]), test.species, threshold)
                for label, change in CHANGES.items()
            }
            found["unprocessed"] = _unprocessed(score, photos / "validation", threshold)
            found["dim"] = _unprocessed(score, photos / "validation", threshold, light=DIM)
            found["untrained"] = rates_by(untrained, score(untrained.pictures), threshold, "family")
    return found | {"summary": summary(found), "notes": NOTES}


def _unprocessed(
    score: Callable[[Sequence[Picture]], list[float]],
    photos: Path,
    threshold: float,
    *,
    light: float = 1.0,
) -> dict[str, Any]:
    """Return the BPCER on the photos without the simulated camera, with a share of their light."""
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    margins = score([(read_photo(path) * light).round().astype(np.uint8) for path in files])
    return Rate(sum(margin < threshold for margin in margins), len(margins)).to_dict()


def _shown(rate: Mapping[str, Any]) -> dict[str, Any]:
    low, high = rate["interval_95"]
    return {"value": rate["rate"], "low": low, "high": high}


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that the model card shows."""
    own = found["model"]
    test = own["test"]
    rows: dict[str, Any] = {
        f"APCER, {name}, n = {rate['n']:,}": _shown(rate) for name, rate in test["apcer"].items()
    }
    rows[f"BPCER, n = {test['bpcer']['n']:,}"] = _shown(test["bpcer"])
    rows |= {
        "maximum APCER": max(rate["rate"] for rate in test["apcer"].values()),
        "ACER (maximum APCER)": test["acer_max"],
        "AUC": test["auc"],
        "equal error rate of the test part itself": test["eer_of_this_set"],
        "BPCER, photos as they are": _shown(found["unprocessed"]),
        f"BPCER, photos with {DIM:g} of their light": _shown(found["dim"]),
    }
    rows |= {f"APCER, family {name}": _shown(rate) for name, rate in own["apcer_by_family"].items()}
    rows |= {
        f"APCER, family {name}, which training left out": _shown(rate)
        for name, rate in found["untrained"].items()
    }
    rows |= {f"APCER, {name} attacks": _shown(rate) for name, rate in own["apcer_by_severity"].items()}
    for label, report in found["changed"].items():
        rows[f"maximum APCER, {label}"] = max(rate["rate"] for rate in report["apcer"].values())
        rows[f"BPCER, {label}"] = report["bpcer"]["rate"]
        rows[f"AUC, {label}"] = report["auc"]
    rows["attacks whose category was named right"] = found["named_right"]
    for name in ("pixel statistics", FACE_MODEL):
        if name in found:
            report = found[name]["test"]
            rows[f"{name}, maximum APCER"] = max(rate["rate"] for rate in report["apcer"].values())
            rows[f"{name}, BPCER"] = report["bpcer"]["rate"]
            rows[f"{name}, AUC"] = report["auc"]
    return rows


def main() -> int:
    """Measure and write; see the module."""
    from ..api import from_pretrained

    parser = figures_parser(__doc__, model="liveness/tiny")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--bona-fide", type=int, default=3)
    parser.add_argument("--attacks", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    below = options.data / "ecommerce/clothing"
    folder = below if below.is_dir() else options.data
    model = from_pretrained(options.model)
    others = {FACE_MODEL: from_pretrained(FACE_MODEL)}
    found = measure(
        model, folder, seed=options.seed, bona_fide=options.bona_fide, attacks=options.attacks, others=others
    )
    keep_figures(found, options.out, options.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
