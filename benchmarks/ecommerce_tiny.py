"""What ``ecommerce/tiny`` does on photos it has not seen, as they are and changed, beside a color histogram.

    python -m verticlip.benchmarks.ecommerce_tiny DATA --model ecommerce/tiny --out runs/ecommerce_tiny.json

``DATA`` holds ``ecommerce/clothing/{train,validation}``, or is a folder of ``train`` and ``validation``;
another split of unseen photos is named with ``--split``. With ``--write FOLDER`` the figures also go into
``metrics.json`` of a model folder, under ``further``, and its card is written again.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.metrics.bootstrap import Bootstrap
from ..core.metrics.classification import classification_report
from ..core.metrics.ranking import Positives, positive_ranks
from ..core.metrics.retrieval import QueryMetrics
from ..core.pixels import to_pixels
from ..domains.ecommerce.facts import COLORS, FACTS, facts_of
from ..domains.ecommerce.readers import CLASSES, read_clothing
from ..domains.ecommerce.wording import FAMILIES, UNCOUNTED, claims_held
from ..facade import Model
from .figures import figures_parser, keep_figures

WORDINGS: dict[str, tuple[str, ...]] = {
    "dress": ("a dress", "a lady's summer dress"),
    "hat": ("a cap", "something to wear on the head, a hat"),
    "longsleeve": ("a sweater", "a top with long sleeves"),
    "outwear": ("a jacket", "a warm winter coat"),
    "pants": ("trousers", "a pair of jeans"),
    "shirt": ("a button-up shirt", "a blouse with a collar"),
    "shoes": ("a pair of shoes", "footwear"),
    "shorts": ("shorts", "short pants for summer"),
    "skirt": ("a skirt", "a short pleated skirt"),
    "t-shirt": ("a tee", "a tshirt with short sleeves"),
}
"""What people may say instead of a kind; some sentences are of no prompt set."""

FEWEST = 5
"""Photos that a text must be true of to be asked for."""

NOTES = """Colors and patterns are as measured: a white shirt under a lamp counts as beige, pleats as stripes.
Photos were taken at home by volunteers, one garment each, on floors, beds and hangers. The model is no tool
to find or to compare people, and it knows no products but clothes: in other shops it serves demonstrations
only."""
"""What the card says after the figures."""

Change = Callable[[Tensor], Tensor]


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Return an image [3, H, W] in [0, 1] after a round of JPEG."""
    from PIL import Image

    stream = io.BytesIO()
    rows = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(rows)).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1).float() / 255


def middle(image: Tensor, share: float) -> Tensor:
    """Return the middle ``share`` of each side."""
    height, width = image.shape[1:]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return image[:, top : height - top, left : width - left]


def farther(image: Tensor, factor: float) -> Tensor:
    """Return the photo as from ``factor`` times the distance; what comes in at the rim is mirrored."""
    height, width = image.shape[1:]
    down, across = round(height * (factor - 1) / 2), round(width * (factor - 1) / 2)
    return F.pad(image[None], (across, across, down, down), mode="reflect")[0]


def resized(image: Tensor, factor: float) -> Tensor:
    """Return the photo with ``factor`` times the pixels a side."""
    size = [round(side * factor) for side in image.shape[1:]]
    scaled = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)
    return scaled[0].clamp(0, 1)


CHANGES: dict[str, Change] = {
    "mirrored": lambda image: image.flip(2),
    "20 % brighter": lambda image: (image * 1.2).clamp(max=1.0),
    "20 % darker": lambda image: image * 0.8,
    "JPEG of quality 75": lambda image: jpeg(image, 75),
    "JPEG of quality 50": lambda image: jpeg(image, 50),
    "middle 80 % of each side": lambda image: middle(image, 0.8),
    "1.3 times as near": lambda image: middle(image, 1 / 1.3),
    "1.3 times as far": lambda image: farther(image, 1.3),
    "1.3 times the pixels a side": lambda image: resized(image, 1.3),
    "half the pixels a side": lambda image: resized(image, 0.5),
}


def read_photos(model: Model, folder: Path) -> tuple[list[Tensor], np.ndarray]:
    """Return photos float32 [3, H, W] in [0, 1] as the model reads files, and numbers of kinds [N]."""
    records = read_clothing(folder)
    images = [to_pixels(model.load(record["path"]), name=record["id"]) for record in records]
    return images, np.array([CLASSES.index(record["label"]) for record in records])


def classify(model: Model, images: Sequence[Tensor]) -> np.ndarray:
    """Return the scores of the ten kinds, float [N, 10]."""
    answers = model.classify(list(images), list(CLASSES), batch_size=64)
    return np.array([[answer.scores[label] for label in CLASSES] for answer in answers])


def embed(model: Model, items: Sequence[Any]) -> Tensor:
    """Return unit vectors [N, D]."""
    return model.embed(list(items), batch_size=64).vectors


def color_histograms(images: Sequence[Tensor], *, bins: int = 8) -> Tensor:
    """Return unit vectors [N, bins ** 3]: square roots of the shares of colors in RGB.

    Their dot product is the Bhattacharyya coefficient of two histograms, the usual way to compare them.
    """
    rows = []
    for image in images:
        red, green, blue = (image * bins).long().clamp(0, bins - 1).flatten(1)
        cells = (red * bins + green) * bins + blue
        rows.append(torch.bincount(cells, minlength=bins**3).float())
    counts = torch.stack(rows)
    return (counts / counts.sum(1, keepdim=True)).sqrt()


def mean_average_precision(
    queries: Tensor, gallery: Tensor, answers: Positives, *, depth: int | None = None, own: bool = False
) -> dict[str, Any]:
    """Return mAP with a 95 % bootstrap interval over queries; ``own``: a query is in the gallery itself."""
    exclude = torch.arange(len(queries)) if own else None
    ranks = positive_ranks(queries, gallery, answers, exclude=exclude)
    values = QueryMetrics.from_ranks(ranks, answers).average_precision(depth)
    return Bootstrap(len(values)).mean(values).to_dict()


def measure_similar(
    unseen: dict[str, Tensor], seen: dict[str, Tensor], *, kinds: list[int], others: list[int]
) -> dict[str, Any]:
    """Return how well photos find photos of their kind, by the model and by colors alone.

    Args:
        unseen, seen: {"model", "color_histogram"}: vectors; queries are the unseen ones.
        kinds, others: numbers of kinds of both.
    """
    inside = Positives.from_groups(kinds, kinds, same=True)
    across = Positives.from_groups(kinds, others)
    found: dict[str, Any] = {}
    for name, vectors in unseen.items():
        gallery = seen[name]
        found[name] = {
            "map_at_10": mean_average_precision(vectors, vectors, inside, depth=10, own=True),
            "map_at_10_among_training_photos": mean_average_precision(vectors, gallery, across, depth=10),
            "map": mean_average_precision(vectors, vectors, inside, own=True),
        }
    for key in ("map_at_10", "map_at_10_among_training_photos"):
        ratio = found["model"][key]["value"] / found["color_histogram"][key]["value"]
        found[f"{key}_over_color_histogram"] = ratio
    return found


def measure_texts(model: Model, vectors: Tensor, targets: np.ndarray) -> dict[str, Any]:
    """Return how well names of kinds find their photos, and the accuracy of single sentences."""
    prompts = model.prompts_for(list(CLASSES))
    classes = torch.stack(
        [F.normalize(embed(model, prompts.texts(name)).mean(0), dim=0) for name in prompts.class_names]
    )
    groups = targets.tolist()
    answers = Positives.from_groups(range(len(CLASSES)), groups)
    found: dict[str, Any] = {"kind_to_image_map": mean_average_precision(classes, vectors, answers)}
    for place in range(2):
        text = embed(model, [WORDINGS[label][place] for label in CLASSES])
        found[f"sentence_{place + 1}"] = {
            "accuracy": float(((vectors @ text.T).argmax(1).numpy() == targets).mean()),
            "map": mean_average_precision(text, vectors, answers)["value"],
            "map_at_10": mean_average_precision(text, vectors, answers, depth=10)["value"],
        }
    return found


def asked_texts(held: Sequence[tuple[frozenset[str], frozenset[str]]]) -> dict[str, dict[str, set[str]]]:
    """Return {group: {text: claims}} of everything that is true of enough of the photos."""
    texts: dict[str, dict[str, set[str]]] = {
        "facts": {f"{word} clothes": {word} for word in FACTS},
        "families": {nouns[0]: {family} for family, (_, _, nouns) in FAMILIES.items()},
        "kind with color": {
            f"{_article(color, label)}{color} {label}": {label, color}
            for label in CLASSES
            for color in COLORS
        },
        "kind with pattern": {
            f"{_article(word, label)}{word} {label}": {label, word}
            for label in CLASSES
            for word in ("plain", "striped", "patterned")
        },
        "kind with shade and color": {
            f"{_article(shade, label)}{shade} {color} {label}": {label, shade, color}
            for label in CLASSES
            for shade in ("dark", "light")
            for color in ("blue", "red", "green", "gray", "brown")
        },
    }
    count = Counter[frozenset[str]]()
    for claims in {frozenset(claims) for group in texts.values() for claims in group.values()}:
        count[claims] = sum(claims <= holds for holds, _ in held)
    return {
        name: {text: claims for text, claims in group.items() if count[frozenset(claims)] >= FEWEST}
        for name, group in texts.items()
    }


def _article(word: str, noun: str) -> str:
    return "" if noun in UNCOUNTED else "an " if word[0] in "aeiou" else "a "


def measure_facts(
    model: Model, images: Sequence[Tensor], vectors: Tensor, targets: np.ndarray
) -> dict[str, Any]:
    """Return mAP and mAP@10 of texts about kinds, colors and patterns, and what chance gives.

    Photos for which a text is undecided take no part. ``share`` is that of the photos it is true of, which is
    about what a random order gives.
    """
    held = [
        claims_held(CLASSES[target], facts_of(image)) for image, target in zip(images, targets, strict=True)
    ]
    found: dict[str, Any] = {"texts": {}}
    for name, group in asked_texts(held).items():
        rows = []
        for text, claims in group.items():
            decided = [n for n, (holds, may) in enumerate(held) if claims <= holds or not claims <= may]
            right = [place for place, n in enumerate(decided) if claims <= held[n][0]]
            query, answers = embed(model, [text]), Positives.from_lists([right])
            whole, first = (
                mean_average_precision(query, vectors[decided], answers, depth=depth)["value"]
                for depth in (None, 10)
            )
            rows.append((whole, first, len(right) / len(decided)))
            found["texts"][text] = {
                "map": whole,
                "map_at_10": first,
                "share": rows[-1][2],
                "photos": len(right),
            }
        means = np.array(rows).mean(0).tolist() if rows else [None, None, None]
        found[name] = dict(zip(("map", "map_at_10", "share"), means, strict=True)) | {"texts": len(rows)}
    return found


def measure(model: Model, unseen: Path, seen: Path) -> dict[str, Any]:
    """Return every figure of the photos below ``unseen`` (folders of kinds); ``seen`` is a second gallery."""
    images, targets = read_photos(model, unseen)
    scores = classify(model, images)
    guesses = scores.argmax(1)
    report = classification_report(scores, targets, list(CLASSES)).to_dict()
    changed = {
        name: float((classify(model, [change(image) for image in images]).argmax(1) == targets).mean())
        for name, change in CHANGES.items()
    }
    vectors = embed(model, images)
    others, other_targets = read_photos(model, seen)
    similar = measure_similar(
        {"model": vectors, "color_histogram": color_histograms(images)},
        {"model": embed(model, others), "color_histogram": color_histograms(others)},
        kinds=targets.tolist(),
        others=other_targets.tolist(),
    )
    texts = measure_texts(model, vectors, targets)
    facts = measure_facts(model, images, vectors, targets)
    wrong = guesses != targets
    confusions = Counter(zip(targets[wrong].tolist(), guesses[wrong].tolist(), strict=True))
    found = {
        "photos": len(targets),
        "zero_shot": {key: report[key] for key in ("accuracy", "balanced_accuracy", "macro_f1")},
        "recall": {
            label: float((guesses[targets == number] == number).mean())
            for number, label in enumerate(CLASSES)
        },
        "confusions": {
            f"{CLASSES[true]} taken for {CLASSES[guess]}": number
            for (true, guess), number in confusions.most_common(8)
        },
        "changed": changed,
        "similar": similar,
        "texts": texts,
        "facts": facts,
    }
    return found | {"summary": summary(found), "notes": NOTES}


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that the model card shows."""
    similar, texts, facts = found["similar"], found["texts"], found["facts"]
    model, colors = similar["model"], similar["color_histogram"]
    among = "map_at_10_among_training_photos"
    figures = {
        "accuracy with one sentence for each kind instead of the prompt set": min(
            texts[f"sentence_{place}"]["accuracy"] for place in (1, 2)
        ),
        **{f"accuracy, photos: {name}": value for name, value in found["changed"].items()},
        **{f"recall, {label}": value for label, value in found["recall"].items()},
        "mAP@10, photos of the kind of a photo": model["map_at_10"],
        "mAP@10, photos of the kind of a photo, by a color histogram": colors["map_at_10"],
        "mAP@10, photos of the kind of a photo, among training photos": model[among],
        "mAP@10, photos of the kind of a photo, among training photos, by a color histogram": colors[among],
        "mAP, photos of a kind by its prompts": texts["kind_to_image_map"],
        "mAP@10, photos by color or pattern (red clothes)": facts["facts"]["map_at_10"],
        "mAP@10, photos by kind and color (a red dress)": facts["kind with color"]["map_at_10"],
        "share of the photos that such a text is true of, kind and color": facts["kind with color"]["share"],
        "mAP@10, photos by kind, shade and color (dark blue pants)": facts["kind with shade and color"][
            "map_at_10"
        ],
        "mAP@10, photos by kind and pattern (a striped t-shirt)": facts["kind with pattern"]["map_at_10"],
    }
    # Few photos may leave a group without a text that is true of enough of them.
    return {name: value for name, value in figures.items() if value is not None}


def main() -> int:
    """Measure and write; see the module."""
    from ..api import from_pretrained

    parser = figures_parser(__doc__, model="ecommerce/tiny")
    parser.add_argument("--split", default="validation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    below = options.data / "ecommerce/clothing"
    folder = below if below.is_dir() else options.data
    found = measure(from_pretrained(options.model), folder / options.split, folder / "train")
    keep_figures(found, options.out, options.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
