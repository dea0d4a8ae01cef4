"""Queries of a photo with words on photos of clothes: what each way of composing finds.

    python -m verticlip.benchmarks.composed DATA --model ecommerce/tiny --out runs/composed.json

A query is an unseen photo and a color it has not: "like this, in green". Right are the training photos of the
same kind and that color, as measured from their pixels. Negative queries ask for a kind, or things like a
photo, without a color. ``DATA`` holds ``ecommerce/clothing/{train,validation}``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.composition import NegativeMethod, pdv, weighted_sum, without
from ..core.files import write_json_atomic
from ..core.metrics.bootstrap import Bootstrap
from ..core.metrics.ranking import Positives, positive_ranks, top_k
from ..core.pixels import to_pixels
from ..domains.ecommerce.composed.fitting import ComposedQueries, fit
from ..domains.ecommerce.composed.query import PLAIN_REFERENCE, ComposeSettings, joined
from ..domains.ecommerce.facts import COLORS, facts_of
from ..domains.ecommerce.readers import CLASSES, read_clothing
from ..facade import Model

COLORS_ASKED = 3
"""Colors that each photo is asked in, drawn."""
FEWEST = 3
"""Right answers that a query has at least."""
STRENGTHS = (0.5, 1.0, 1.5, 2.0)
METHODS: tuple[NegativeMethod, ...] = ("project", "subtract")

Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True, eq=False)
class Photos:
    """N photos: unit vectors [N, D], kinds, and colors that hold, that may hold, and the main one."""

    vectors: Tensor
    kinds: list[str]
    holds: list[frozenset[str]]
    may: list[frozenset[str]]
    main: list[str]


def read_photos(model: Model, folder: Path) -> Photos:
    """Return the photos of a folder of kinds."""
    records = read_clothing(folder)
    images = [to_pixels(model.load(record["path"]), name=record["id"]) for record in records]
    facts = [facts_of(image) for image in images]
    return Photos(
        model.embed(images, batch_size=64).vectors,
        [record["label"] for record in records],
        [one.holds for one in facts],
        [one.may_hold for one in facts],
        [one.color for one in facts],
    )


def measure_changes(encode: Encode, unseen: Photos, seen: Photos, *, seed: int = 0) -> dict[str, Any]:
    """Return recall and MRR of each way to ask for a photo in another color."""
    draw = random.Random(seed)
    queries: list[tuple[int, str, list[int]]] = []
    for place, kind in enumerate(unseen.kinds):
        others = [color for color in COLORS if color not in unseen.may[place]]
        for color in draw.sample(others, len(others))[:COLORS_ASKED]:
            right = [n for n, one in enumerate(seen.kinds) if one == kind and color in seen.holds[n]]
            if len(right) >= FEWEST:
                queries.append((place, color, right))
    positives = Positives.from_lists([right for _, _, right in queries])
    image = unseen.vectors[[place for place, _, _ in queries]]
    change = encode([f"in {color}" for _, color, _ in queries])
    nearest = (image @ encode(CLASSES).T).argmax(dim=1).tolist()
    said = {
        "nothing is said of the photo": [PLAIN_REFERENCE] * len(queries),
        "the nearest kind": [CLASSES[place] for place in nearest],
        "its kind": [unseen.kinds[place] for place, _, _ in queries],
        "its color and kind": [f"{unseen.main[place]} {unseen.kinds[place]}" for place, _, _ in queries],
    }
    found = {
        "photo alone": _report(image, seen.vectors, positives),
        "words alone": _report(change, seen.vectors, positives),
        **{
            f"sum, photo {weight:g}": _report(
                weighted_sum(image, change, weight=weight), seen.vectors, positives
            )
            for weight in (0.3, 0.5, 0.7)
        },
    }
    fitted = {}
    usual = ComposeSettings()
    alphas = {name: getattr(usual, name) for name in ("alpha_image", "alpha_text", "beta")}
    for name, texts in said.items():
        reference = encode(texts)
        composed = encode(
            [joined(text, f"in {color}") for text, (_, color, _) in zip(texts, queries, strict=True)]
        )
        found[f"pdv, {name}"] = _report(pdv(image, reference, composed, **alphas), seen.vectors, positives)
        asked = ComposedQueries(image, reference, composed, change, positives)
        fitted[name] = fit(asked, seen.vectors, current=usual).to_dict()
    return {"queries": len(queries), "gallery": len(seen.kinds), "found": found, "fitted": fitted}


def _report(queries: Tensor, gallery: Tensor, positives: Positives) -> dict[str, Any]:
    ranks = positive_ranks(queries, gallery, positives)
    best = np.array([part.min() for part in np.split(ranks, positives.offsets[1:-1])])
    bootstrap = Bootstrap(len(best))
    values = {"hit_recall@1": best < 1, "hit_recall@10": best < 10, "mrr": 1.0 / (best + 1)}
    return {name: bootstrap.mean(value).to_dict() for name, value in values.items()}


def measure_negatives(encode: Encode, unseen: Photos, seen: Photos) -> dict[str, Any]:
    """Return, of the first ten, the shares that have the color, that are of the kind, and of it without."""
    words = [
        (kind, color)
        for kind in CLASSES
        for color in COLORS
        if sum(one == kind and color in held for one, held in zip(seen.kinds, seen.holds, strict=True)) >= 8
    ]
    places = [place for place, color in enumerate(unseen.main) if color in unseen.holds[place]]
    pictures = [(unseen.kinds[place], unseen.main[place]) for place in places]
    neutral = encode([PLAIN_REFERENCE])
    found: dict[str, Any] = {}
    for name, asked, queries in (
        ("words", words, encode([kind for kind, _ in words])),
        ("photos", pictures, unseen.vectors[places]),
    ):
        negative = encode([joined(PLAIN_REFERENCE, color) for _, color in asked])
        rows = {"as asked": _shares(queries, seen, asked)}
        if name == "words":
            said = encode([f"{kind}, not {color}" for kind, color in asked])
            rows["'not' in the words"] = _shares(said, seen, asked)
        for method in METHODS:
            for strength in STRENGTHS:
                changed = without(queries, negative, neutral, strength=strength, method=method)
                rows[f"{method} {strength:g}"] = _shares(changed, seen, asked)
        found[name] = {"queries": len(asked), "shares": rows}
    return found


def _shares(queries: Tensor, seen: Photos, asked: Sequence[tuple[str, str]]) -> dict[str, float]:
    ids, _ = top_k(queries, seen.vectors, 10)
    rows = []
    for places, (kind, color) in zip(ids.tolist(), asked, strict=True):
        has = [color in seen.holds[place] for place in places]
        of_kind = [seen.kinds[place] == kind for place in places]
        good = [right and color not in seen.may[place] for place, right in zip(places, of_kind, strict=True)]
        rows.append((np.mean(has), np.mean(of_kind), np.mean(good)))
    has_color, right_kind, both = np.mean(rows, axis=0).tolist()
    return {"has the color": has_color, "of the kind": right_kind, "of the kind without it": both}


def measure(model: Model, unseen: Path, seen: Path) -> dict[str, Any]:
    """Return every figure; both are folders of kinds."""

    def encode(texts: Sequence[str]) -> Tensor:
        return model.embed(list(texts), modality="text", batch_size=64).vectors

    first, second = read_photos(model, unseen), read_photos(model, seen)
    return {
        "model": model.id,
        "revision": model.revision,
        "changes": measure_changes(encode, first, second),
        "negatives": measure_negatives(encode, first, second),
    }


def main() -> int:
    """Measure and write; see the module."""
    from ..api import from_pretrained

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="ecommerce/tiny")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    below = options.data / "ecommerce/clothing"
    folder = below if below.is_dir() else options.data
    found = measure(from_pretrained(options.model), folder / "validation", folder / "train")
    if options.out:
        write_json_atomic(options.out, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
