"""What the catalogue says of the product models: tasks, sizes, where they are from, figures. Plain data."""

from __future__ import annotations

from ...core.registry import Facts, Measured

_TASKS = ("product search", "retrieval", "zero-shot classification")
_MARQO = "https://github.com/marqo-ai"
_OPEN_CLIP = "https://github.com/mlfoundations/open_clip"
_B32, _B16, _SIGLIP_B16 = 151_277_313, 149_620_737, 203_155_970

_TOWERS = Measured(
    "embeddings within 1e-5 of open_clip or transformers, on random weights in the layout of the file",
    "python -m pytest tests/domains/ecommerce/checkpoints",
)


def _facts(source: str, parameters: int, figure: str = "") -> Facts:
    """Return the facts of a checkpoint; ``figure`` is of Marqo's comparison of fashion search."""
    said = f"text to image, mean of six sets of fashion: {figure}"
    theirs = (Measured(said, source="marqo-ai/marqo-FashionCLIP"),) if figure else ()
    return Facts(_TASKS, source, parameters, (_TOWERS, *theirs))


FACTS = {
    "ecommerce/tiny": Facts(
        (*_TASKS, "duplicates"),
        measured=(
            Measured(
                "unseen photos, 10 kinds: accuracy {validation/sources/clothing/accuracy:.3f}; mAP@10, "
                "photos of the kind of a photo {further/similar/model/map_at_10:.3f}, by a color histogram "
                "{further/similar/color_histogram/map_at_10:.3f}",
                "verticlip train run ecommerce/tiny --data DATA --out RUN",
            ),
        ),
    ),
    "ecommerce/marqo-fashion-siglip": _facts(
        f"{_MARQO}/marqo-FashionCLIP", _SIGLIP_B16, "mean of Recall@1 and 10 0.231; MRR 0.239"
    ),
    "ecommerce/marqo-fashion-clip": _facts(
        f"{_MARQO}/marqo-FashionCLIP", _B16, "mean of Recall@1 and 10 0.192; MRR 0.200"
    ),
    "ecommerce/marqo-ecommerce-b": _facts(f"{_MARQO}/marqo-ecommerce-embeddings", _SIGLIP_B16),
    "ecommerce/marqo-ecommerce-l": _facts(f"{_MARQO}/marqo-ecommerce-embeddings", 652_150_786),
    "ecommerce/fashion-clip": _facts("https://github.com/patrickjohncyh/fashion-clip", _B32, "MRR 0.165"),
    "ecommerce/open-fashion-clip": _facts(
        "https://github.com/aimagelab/open-fashion-clip", _B32, "MRR 0.135"
    ),
    "ecommerce/siglip-vit-b16-webli": _facts(_OPEN_CLIP, _SIGLIP_B16, "MRR 0.214"),
    "ecommerce/clip-vit-b16-laion2b": _facts(_OPEN_CLIP, _B16, "MRR 0.180"),
}
"""{name: its facts}, of every model of the room."""
