"""How well duplicates are found among photographs and altered copies of them, stage by stage.

Some photographs get copies as shops make them: the file itself, saved again, smaller, brighter, cropped, with
a watermark, mirrored. Which belong together is known. Every stage is run alone, then all together, and for
each the share of found pairs that are right and the share of right pairs that are found is counted, by kind
of copy as well.
Then thresholds are fitted to all candidates, labelled by what is known, and the same is counted with them;
beside it stands what the held-out labels say of the groups, which is all that a shop can know.
At last thresholds are fitted to part of the candidates, drawn evenly again and again, and the precision they
have among all candidates is compared with the one that was asked for and the bound that was given.

    python -m verticlip.benchmarks.duplicates --photos PHOTOS --out runs/duplicates.json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DataError
from ..core.files import write_json_atomic
from ..domains.ecommerce.catalog.catalog import Catalog
from ..domains.ecommerce.duplicates.fitting import LabelledPair, fit_thresholds
from ..domains.ecommerce.duplicates.grouping import find_duplicates
from ..domains.ecommerce.duplicates.judging import judge_groups
from ..domains.ecommerce.duplicates.labels import candidates
from ..domains.ecommerce.duplicates.report import DuplicateReport
from ..domains.ecommerce.duplicates.settings import DuplicateSettings

if TYPE_CHECKING:
    from PIL.Image import Image

Pair = tuple[str, str]


SAME_FILE = "same file"
KINDS = ("brighter", "cropped 5 %", "half the size", "mirrored", SAME_FILE, "saved again", "watermark")
"""What shops do to a copy; all but the same file are then saved as JPEG of quality 70."""


def changed(image: Image, kind: str) -> Image:
    """Return a picture as a copy of this kind shows it."""
    from PIL import ImageDraw, ImageEnhance, ImageOps

    width, height = image.size
    if kind == "brighter":
        return ImageEnhance.Brightness(image).enhance(1.25)
    if kind == "cropped 5 %":
        left, top = round(width * 0.025), round(height * 0.025)
        return image.crop((left, top, width - left, height - top))
    if kind == "half the size":
        return image.resize((max(64, width // 2), max(64, height // 2)))
    if kind == "mirrored":
        return ImageOps.mirror(image)
    if kind == "watermark":
        copy = image.copy()
        place, size = (width // 8, height // 2), max(10, width // 9)
        ImageDraw.Draw(copy).text(place, "SHOP.EXAMPLE", fill="white", font_size=size)
        return copy
    return image


STAGES: dict[str, dict[str, bool]] = {
    "exact": {"perceptual": False, "embedding": False},
    "perceptual": {"exact": False, "embedding": False},
    "embedding": {"exact": False, "perceptual": False},
    "all": {},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one JSON line per stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, class by class")
    parser.add_argument("--model", default="ecommerce/tiny")
    parser.add_argument("--originals", type=int, default=1000, help="photographs that are taken")
    parser.add_argument("--copied", type=int, default=500, help="of these, how many get copies, two each")
    parser.add_argument("--precision", type=float, nargs="+", default=[0.95, 0.99])
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--labels", type=int, default=20_000, help="candidates of one draw")
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    from ..api import from_pretrained

    with tempfile.TemporaryDirectory() as folder:
        truth, kinds = write_copies(given.photos, Path(folder), given.originals, given.copied)
        catalog = Catalog.create(Path(folder) / "catalog", model=from_pretrained(given.model))
        catalog.ingest(Path(folder) / "shop")
        rows = []
        pairs = _labelled(catalog, truth)
        found = _rows(catalog, truth, kinds, pairs, given.precision, given.confidence)
        drawn = (
            drawn_fits(pairs, precision, given.confidence, labels=given.labels, draws=given.draws)
            for precision in given.precision
        )
        for row in chain(found, drawn):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
            rows.append(row)
    if given.out is not None:
        write_json_atomic(given.out, {"model": given.model, "products": len(truth), "rows": rows})
    return 0


def write_copies(
    photos: Path, folder: Path, originals: int, copied: int, *, seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Write photographs and copies into ``folder / "shop"``, class by class.

    Returns:
        {product id: photograph it shows} and {product id: what was done to it, "" for the photograph}.
    """
    from PIL import Image as Images
    from PIL import ImageOps

    rng = random.Random(seed)
    chosen = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rng.shuffle(chosen)
    chosen = chosen[:originals]
    truth: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for number, path in enumerate(chosen):
        with Images.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        versions = [""]
        if number < copied:
            versions += rng.sample(KINDS, 2)
        for version in versions:
            name = f"{path.parent.name}/{number:05d}{version.replace(' ', '-').replace('%', 'pc')}.jpg"
            target = folder / "shop" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if version not in ("", SAME_FILE):
                changed(image, version).save(target, "JPEG", quality=70)
            else:
                target.write_bytes(path.read_bytes())
            truth[name], kinds[name] = str(number), version
    return truth, kinds


def _rows(
    catalog: Catalog,
    truth: Mapping[str, str],
    kinds: Mapping[str, str],
    pairs: Sequence[LabelledPair],
    precisions: Sequence[float],
    confidence: float,
) -> Iterator[dict[str, Any]]:
    for stage, switches in STAGES.items():
        start = time.perf_counter()
        report = find_duplicates(catalog, DuplicateSettings.model_validate(switches))
        yield {
            "stage": stage,
            "thresholds": "starting values",
            **scores(report, truth, kinds),
            "seconds": round(time.perf_counter() - start, 2),
        }
    for precision in precisions:
        try:
            fitted = fit_thresholds(pairs, target_precision=precision, confidence=confidence)
        except DataError as error:
            yield {"stage": "fit", "precision": precision, "refused": str(error)}
            continue
        yield {"stage": "fit", **fitted.model_dump()}
        for stage in ("embedding", "all"):
            settings = DuplicateSettings.model_validate({**STAGES[stage], "thresholds": fitted})
            report = judge_groups(find_duplicates(catalog, settings), pairs)
            yield {
                "stage": stage,
                "thresholds": precision,
                **scores(report, truth, kinds),
                "held_out": joined_in(report),
            }


def _labelled(catalog: Catalog, truth: Mapping[str, str]) -> list[LabelledPair]:
    return [
        LabelledPair(
            one.first, one.second, truth[one.first] == truth[one.second], one.product, one.image, one.text
        )
        for one in candidates(catalog, 10**9, floor=0.6)
    ]


def drawn_fits(
    pairs: Sequence[LabelledPair], precision: float, confidence: float, *, labels: int, draws: int
) -> dict[str, Any]:
    """Return how often thresholds fitted to drawn labels keep the precision among all candidates."""
    label = np.array([pair.is_duplicate for pair in pairs])
    cosines = np.array([(pair.product, pair.image, pair.text) for pair in pairs], dtype=np.float64).T
    held_out, real, missed, below = [], [], 0, 0
    for seed in range(draws):
        chosen = np.random.default_rng(seed).permutation(len(pairs))[:labels].tolist()
        try:
            fitted = fit_thresholds(
                [pairs[one] for one in chosen], target_precision=precision, confidence=confidence, seed=seed
            )
        except DataError:
            continue
        product, image, text = cosines
        took = (product >= fitted.product) & ((image >= fitted.image) | (text >= fitted.text))
        if fitted.fit is not None:
            held_out.append(fitted.fit.precision)
            real.append(float(label[took].mean()))
            missed += real[-1] < precision
            below += real[-1] < fitted.fit.precision_low
    row: dict[str, Any] = {"stage": "draws", "precision": precision, "labels": labels, "draws": draws}
    row |= {"fitted": len(real), "below_target": missed, "below_bound": below}
    if real:
        row |= {"held_out": round(float(np.mean(held_out)), 4), "real": round(float(np.mean(real)), 4)}
    return row


def scores(report: DuplicateReport, truth: Mapping[str, str], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return precision and recall over pairs in one group, and the recall by kind of copy."""
    wanted = _pairs_of(truth)
    found = {pair for group in report.groups for pair in combinations(sorted(group.members), 2)}
    right = found & wanted
    by_kind: dict[str, tuple[int, int]] = {}
    for pair in wanted:
        # Against its photograph; two copies of one are counted above only.
        changed = [kinds[one] for one in pair if kinds[one]]
        if len(changed) == 1:
            hit, total = by_kind.get(changed[0], (0, 0))
            by_kind[changed[0]] = (hit + (pair in right), total + 1)
    return {
        "precision": round(len(right) / len(found), 4) if found else None,
        "recall": round(len(right) / len(wanted), 4),
        "found": len(found),
        "wrong": len(found - wanted),
        "refused": len(report.refused),
        "recall_by_change": {kind: round(hit / total, 3) for kind, (hit, total) in sorted(by_kind.items())},
    }


def joined_in(report: DuplicateReport) -> dict[str, Any]:
    """Return what the held-out labels say of the groups."""
    fit = report.settings.thresholds.fit
    if fit is None or fit.joined_precision is None:
        return {}
    return {"joined": fit.joined, "wrong": fit.joined_wrong, "precision": round(fit.joined_precision, 4)}


def _pairs_of(truth: Mapping[str, str]) -> set[Pair]:
    homes: dict[str, list[str]] = {}
    for name, home in truth.items():
        homes.setdefault(home, []).append(name)
    return {pair for members in homes.values() for pair in combinations(sorted(members), 2)}


if __name__ == "__main__":
    sys.exit(main())
