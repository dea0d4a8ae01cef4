"""What ``urban/tiny`` does on patches it has not seen, as they are and changed, and on tiles of a mosaic.

    python -m verticlip.benchmarks.urban_tiny DATA --model urban/tiny --out runs/urban_tiny.json

``DATA`` holds ``urban/eurosat_rgb/val``. With ``--write FOLDER`` the figures also go into ``metrics.json`` of
a model folder, under ``further``, and its card is written again.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.images import load_image
from ..core.metrics.bootstrap import Bootstrap
from ..core.metrics.classification import classification_report
from ..core.metrics.ranking import Positives, positive_ranks
from ..core.metrics.retrieval import QueryMetrics
from ..core.pixels import to_pixels
from ..domains.urban.facts import FAMILIES, WORDS, claims_held, facts_of
from ..domains.urban.readers import CLASSES, read_eurosat
from ..facade import Model
from .figures import figures_parser, keep_figures

WORDINGS: dict[str, tuple[str, ...]] = {
    "AnnualCrop": ("fields of crops", "plowed farm fields"),
    "Forest": ("dense woods", "a pine forest"),
    "HerbaceousVegetation": ("shrubs and bushes", "wild scrub on a slope"),
    "Highway": ("a motorway", "a big road"),
    "Industrial": ("factories and warehouses", "a factory"),
    "Pasture": ("a green meadow", "grass where cows graze"),
    "PermanentCrop": ("an orchard", "vineyards"),
    "Residential": ("houses", "a suburb with homes"),
    "River": ("a river", "the bend of a river"),
    "SeaLake": ("a lake", "the open sea"),
}
"""What people may say instead of a class name; some sentences are of no prompt set."""

Change = Callable[[Tensor], Tensor]


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Return images [N, 3, H, W] in [0, 1] after a round of JPEG."""
    from PIL import Image

    found = []
    for image in images:
        stream = io.BytesIO()
        rows = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(rows)).save(stream, "JPEG", quality=quality)
        found.append(torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1))
    return torch.stack(found).float() / 255


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Return images moved to the lower right; what comes in is mirrored."""
    return F.pad(images, (pixels, 0, pixels, 0), mode="reflect")[..., : images.shape[2], : images.shape[3]]


def coarser(images: Tensor, factor: float) -> Tensor:
    """Return images as a sensor with pixels ``factor`` times as large would see them, at the same size."""
    small = F.interpolate(images, scale_factor=1 / factor, mode="bilinear", antialias=True)
    return F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)


CHANGES: dict[str, Change] = {
    "turned by 90 degrees": lambda images: images.rot90(1, (2, 3)),
    "turned by 180 degrees": lambda images: images.rot90(2, (2, 3)),
    "mirrored": lambda images: images.flip(3),
    "20 % brighter": lambda images: (images * 1.2).clamp(max=1.0),
    "20 % darker": lambda images: images * 0.8,
    "moved by one pixel": lambda images: shifted(images, 1),
    "moved by eight pixels": lambda images: shifted(images, 8),
    "JPEG of quality 90": lambda images: jpeg(images, 90),
    "JPEG of quality 75": lambda images: jpeg(images, 75),
    "JPEG of quality 50": lambda images: jpeg(images, 50),
    "pixels of 20 m": lambda images: coarser(images, 2.0),
    "middle 48 pixels enlarged": lambda images: F.interpolate(
        images[..., 8:-8, 8:-8], images.shape[2:], mode="bilinear", align_corners=False
    ),
}


def read_patches(model: Model, folder: Path) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return validation patches float32 [N, 3, 64, 64] in [0, 1] twice, and class numbers [N].

    First as the model reads files, then as Pillow does: the two fill in the colors of a JPEG differently, by
    0.003 on average.
    """
    records = [record for record in read_eurosat(folder) if record["split"] in ("val", None)]
    images = torch.stack([to_pixels(model.load(record["path"]), name=record["id"]) for record in records])
    others = torch.stack([to_pixels(load_image(record["path"]), name=record["id"]) for record in records])
    return images, others, np.array([CLASSES.index(record["label"]) for record in records])


def classify(model: Model, images: Tensor, *, labels: Sequence[str] = CLASSES) -> np.ndarray:
    """Return the number of the best label of each image, int [N]."""
    answers = model.classify(list(images), list(labels), batch_size=64)
    return np.array([list(labels).index(answer.label) for answer in answers])


def embed(model: Model, items: Sequence[Any]) -> Tensor:
    """Return unit vectors [N, D]."""
    return model.embed(list(items), batch_size=64).vectors


def mean_average_precision(
    queries: Tensor, gallery: Tensor, answers: Positives, *, depth: int | None = None, own: bool = False
) -> dict[str, Any]:
    """Return mAP with a 95 % bootstrap interval over queries; ``own``: a query is in the gallery itself."""
    exclude = torch.arange(len(queries)) if own else None
    ranks = positive_ranks(queries, gallery, answers, exclude=exclude)
    values = QueryMetrics.from_ranks(ranks, answers).average_precision(depth)
    return Bootstrap(len(values)).mean(values).to_dict()


def measure_retrieval(model: Model, vectors: Tensor, targets: np.ndarray) -> dict[str, Any]:
    """Return how well patches find patches of their class, and texts the patches they are true of."""
    groups = targets.tolist()
    names = list(model.prompts_for(list(CLASSES)).class_names)
    prompts = model.prompts_for(names)
    classes = torch.stack([F.normalize(embed(model, prompts.texts(name)).mean(0), dim=0) for name in names])
    said = [text for label in CLASSES for text in WORDINGS[label]]
    of_class = [number for number, label in enumerate(CLASSES) for _ in WORDINGS[label]]
    every = Positives.from_groups(groups, groups, same=True)
    return {
        "image_to_image_map": mean_average_precision(vectors, vectors, every, own=True),
        "image_to_image_map_at_10": mean_average_precision(vectors, vectors, every, depth=10, own=True),
        "class_to_image_map": mean_average_precision(
            classes, vectors, Positives.from_groups(range(len(CLASSES)), groups)
        ),
        "wording_to_image_map": mean_average_precision(
            embed(model, said), vectors, Positives.from_groups(of_class, groups)
        ),
    }


def measure_facts(model: Model, images: Tensor, vectors: Tensor, targets: np.ndarray) -> dict[str, Any]:
    """Return mAP and share of the patches for each fact, family, and pair of class and fact that occurs.

    Patches for which a text is undecided take no part.
    """
    held = [
        claims_held(CLASSES[target], facts_of(image)) for image, target in zip(images, targets, strict=True)
    ]
    texts: dict[str, set[str]] = {f"a {word} area": {word} for word in WORDS}
    texts |= {words[0]: {family} for family, (_, _, words) in FAMILIES.items()}
    pairs = {
        "a dark green forest": {"Forest", "dark", "green"},
        "a bright bare field": {"AnnualCrop", "bright", "brown"},
        "a green field": {"AnnualCrop", "green"},
        "a gray industrial area": {"Industrial", "gray"},
        "dark water": {"water", "dark"},
        "a green river": {"River", "green"},
        "gray houses": {"Residential", "gray"},
        "a smooth green pasture": {"Pasture", "smooth", "green"},
    }
    found: dict[str, Any] = {}
    values: dict[str, list[float]] = {"facts and families": [], "class with facts": []}
    for kind, asked in (("facts and families", texts), ("class with facts", pairs)):
        for text, claims in asked.items():
            decided = [n for n, (holds, may) in enumerate(held) if claims <= holds or not claims <= may]
            right = [place for place, n in enumerate(decided) if claims <= held[n][0]]
            if not right:
                continue
            precision = mean_average_precision(
                embed(model, [text]), vectors[decided], Positives.from_lists([right])
            )["value"]
            found[text] = {"map": precision, "share": len(right) / len(decided), "patches": len(right)}
            values[kind].append(precision)
    return {"texts": found, **{f"map of {kind}": float(np.mean(one)) for kind, one in values.items()}}


def measure_mosaic(model: Model, images: Tensor, targets: np.ndarray) -> dict[str, float]:
    """Return the accuracy on tiles read back from one GeoTIFF of all patches, and at half its resolution.

    At half resolution, a tile of 64 pixels shows 2 x 2 patches of one class.
    """
    from ..core.errors import require
    from ..domains.urban.loaders.raster import Raster

    rasterio = require("rasterio", extra="urban")
    order = np.argsort(targets, kind="stable")
    chosen = [order[targets[order] == number][:60] for number in range(len(CLASSES))]
    side, rows = images.shape[2], []
    # Blocks of 2 x 2 patches of one class; 15 blocks of each class beside each other.
    for members in chosen:
        whole = images[members[: len(members) // 4 * 4]]
        block = whole.view(-1, 2, 2, 3, side, side).permute(3, 1, 4, 0, 2, 5)
        rows.append(block.reshape(3, 2 * side, -1))
    scene = torch.cat(rows, dim=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        height, width = scene.shape[1:]
        transform = rasterio.transform.from_origin(500_000, 5_500_000, 10, 10)
        profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=transform) as file:
            file.write((scene * 255).round().to(torch.uint8).numpy())
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.average)
        raster = Raster.open(path)
        found = {}
        for name, step in (("tiles of a mosaic", side), ("tiles of 2 x 2 patches at 20 m", 2 * side)):
            windows = [(x, y, step, step) for y in range(0, height, step) for x in range(0, width, step)]
            tiles = [raster.read(window, size=(side, side)).image for window in windows]
            wanted = np.array([window[1] // (2 * side) for window in windows])
            found[name] = float((classify(model, torch.stack(tiles)) == wanted).mean())
    return found


def measure(model: Model, folder: Path) -> dict[str, Any]:
    """Return every figure of ``folder`` (class folders, or split folders of which ``val`` is taken)."""
    images, others, targets = read_patches(model, folder)
    labels = list(CLASSES)
    answers = model.classify(list(images), labels, batch_size=64)
    scores = np.array([[answer.scores[label] for label in labels] for answer in answers])
    report = classification_report(scores, targets, labels).to_dict()
    changed = {
        name: float((classify(model, change(images)) == targets).mean()) for name, change in CHANGES.items()
    }
    changed["decoded by Pillow"] = float((classify(model, others) == targets).mean())
    vectors = embed(model, list(images))
    sentences = {}
    for place in range(2):
        text = embed(model, [WORDINGS[label][place] for label in CLASSES])
        hits = (vectors @ text.T).argmax(1).numpy() == targets
        sentences[f"sentence {place + 1} of each class"] = float(hits.mean())
    retrieval = measure_retrieval(model, vectors, targets)
    facts = measure_facts(model, images, vectors, targets)
    mosaic = measure_mosaic(model, images, targets)
    return {
        "patches": len(targets),
        "zero_shot": {key: report[key] for key in ("accuracy", "balanced_accuracy", "macro_f1")},
        "recall": {
            label: float((scores.argmax(1)[targets == number] == number).mean())
            for number, label in enumerate(labels)
        },
        "one_sentence_each": sentences,
        "changed": changed,
        "mosaic": mosaic,
        "retrieval": retrieval,
        "facts": facts,
        "summary": {
            "accuracy with one sentence for each class instead of the prompt set": min(sentences.values()),
            **{f"accuracy, patches: {name}": value for name, value in changed.items()},
            **{f"accuracy, {name}": value for name, value in mosaic.items()},
            "mAP, patches of the class of a patch": retrieval["image_to_image_map"],
            "mAP@10, patches of the class of a patch": retrieval["image_to_image_map_at_10"],
            "mAP, patches of a class by its prompts": retrieval["class_to_image_map"],
            "mAP, patches of a class by one sentence": retrieval["wording_to_image_map"],
            "mAP, patches by what they show (a dark area, water)": facts["map of facts and families"],
            "mAP, patches by class and what they show (a dark green forest)": facts[
                "map of class with facts"
            ],
        },
    }


def main() -> int:
    """Measure and write; see the module."""
    from ..api import from_pretrained

    parser = figures_parser(__doc__, model="urban/tiny")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(from_pretrained(options.model), options.data / "urban/eurosat_rgb/val")
    keep_figures(found, options.out, options.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
