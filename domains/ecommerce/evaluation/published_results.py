"""What the authors of published product models report, to compare one's own run with. Plain data.

Every value is its source's own; none was measured with this package. Fractions, as printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BOARD = "marqo-FashionCLIP, leaderboard of 2024-08-09"
_ESSPR = "eSSPR, README of the authors' repository; pool size not stated"
_GCL = "GCL, arXiv 2404.08535 and repository; in-domain split of MarqoGS"
_PDV = "PDV, arXiv 2502.07215, through a public summary"
_FC = "fashion-clip, model card; weighted macro F1"

_MODELS = (
    "ecommerce/marqo-fashion-siglip",
    "ecommerce/marqo-fashion-clip",
    "ecommerce/fashion-clip",
    "ecommerce/open-fashion-clip",
    "ecommerce/clip-vit-b16-laion2b",
    "ecommerce/siglip-vit-b16-webli",
)
"""Rows of the leaderboard, in its order."""


@dataclass(frozen=True)
class PublishedResult:
    """One reported number.

    Attributes:
        model: name in the registry, or the paper's own where there is none.
        protocol: of :mod:`.retrieval`. on: data set, or its average. task: query and document, or direction.
        metric: as printed there. value: fraction. source: who says so.
    """

    model: str
    protocol: str
    on: str
    task: str
    metric: str
    value: float
    source: str

    def to_dict(self) -> dict[str, str | float]:
        """Return plain values for JSON."""
        return dict(vars(self))


def _rows(
    protocol: str,
    source: str,
    on: str,
    task: str,
    metrics: Sequence[str],
    table: Sequence[tuple[str, Sequence[float | None]]],
) -> list[PublishedResult]:
    """Return one result per number; None marks what was not printed."""
    return [
        PublishedResult(model, protocol, on, task, metric, value, source)
        for model, values in table
        for metric, value in zip(metrics, values, strict=True)
        if value is not None
    ]


_TEXT, _CATEGORY = ("AvgRecall", "Recall@1", "Recall@10", "MRR"), ("AvgP", "P@1", "P@10", "MRR")
_AVERAGES = {
    ("text-to-image", _TEXT): (
        (0.231, 0.121, 0.340, 0.239), (0.192, 0.094, 0.290, 0.200), (0.163, 0.077, 0.249, 0.165),
        (0.132, 0.060, 0.204, 0.135), (0.174, 0.088, 0.261, 0.180), (0.212, 0.111, 0.314, 0.214),
    ),
    ("category-to-product", _CATEGORY): (
        (0.737, 0.758, 0.716, 0.812), (0.705, 0.734, 0.676, 0.776), (0.684, 0.681, 0.686, 0.741),
        (0.646, 0.653, 0.639, 0.720), (0.662, 0.673, 0.652, 0.743), (0.688, 0.690, 0.685, 0.751),
    ),
    ("sub-category-to-product", _CATEGORY): (
        (0.725, 0.767, 0.683, 0.811), (0.707, 0.747, 0.667, 0.772), (0.657, 0.676, 0.638, 0.733),
        (0.598, 0.619, 0.578, 0.689), (0.638, 0.651, 0.624, 0.712), (0.643, 0.643, 0.643, 0.726),
    ),
}  # fmt: skip
_TEXT_SETS = ("Atlas", "DeepFashion-InShop", "DeepFashion-Multimodal", "Fashion200k", "KAGL", "Polyvore")
_TEXT_BY_SET = (
    ((0.211, 0.244), (0.149, 0.330), (0.019, 0.015), (0.244, 0.187), (0.334, 0.293), (0.427, 0.367)),
    ((0.155, 0.172), (0.144, 0.331), (0.014, 0.009), (0.173, 0.125), (0.303, 0.265), (0.362, 0.299)),
    ((0.135, 0.140), (0.107, 0.259), (0.014, 0.008), (0.139, 0.103), (0.263, 0.217), (0.319, 0.261)),
    ((0.113, 0.116), (0.085, 0.221), (0.010, 0.006), (0.115, 0.086), (0.208, 0.170), (0.262, 0.209)),
    ((0.145, 0.160), (0.112, 0.267), (0.012, 0.008), (0.146, 0.108), (0.295, 0.259), (0.335, 0.277)),
    ((0.200, 0.229), (0.111, 0.255), (0.020, 0.013), (0.204, 0.155), (0.319, 0.272), (0.421, 0.359)),
)  # fmt: skip
_FIVE = tuple(model for model in _MODELS if model != "ecommerce/open-fashion-clip")
_CATEGORY_SETS = ("DeepFashion-InShop", "DeepFashion-Multimodal", "Fashion200k", "KAGL", "Polyvore")
_CATEGORY_BY_SET = (
    (0.800, 0.762, 0.960, 0.629, 0.534), (0.662, 0.747, 1.000, 0.643, 0.473),
    (0.744, 0.675, 0.870, 0.700, 0.429), (0.697, 0.637, 0.990, 0.550, 0.437),
    (0.697, 0.681, 0.850, 0.707, 0.502),
)  # fmt: skip
_SUB_SETS = ("Atlas", "DeepFashion-InShop", "Fashion200k", "KAGL")
_SUB_BY_SET = (
    (0.687, 0.806, 0.708, 0.699), (0.668, 0.819, 0.703, 0.640), (0.621, 0.787, 0.635, 0.586),
    (0.591, 0.738, 0.624, 0.598), (0.654, 0.650, 0.600, 0.667),
)  # fmt: skip

_DIRECTIONS = ("MRR", "hit_recall@1", "hit_recall@5", "hit_recall@10", "hit_recall@20")
_ESSPR_ROWS = {
    "i-i": (0.9027, 0.8784, 0.9355, 0.9511, 0.9675),
    "i-m": (0.8409, 0.7897, 0.9065, 0.9398, 0.9596),
    "t-t": (0.6428, 0.5597, 0.7485, 0.8174, 0.8761),
    "t-m": (0.5753, 0.4823, 0.6923, 0.7771, 0.8455),
    "m-m": (0.9197, 0.8870, 0.9619, 0.9761, 0.9879),
}
"""{direction: ...}; i-t and t-i were left blank by the authors."""

_GCL_ROWS = (
    ("CLIP ViT-L-14", (0.310, 0.093, 0.252)),
    ("GCL ViT-B-32", (0.577, 0.554, 0.446)),
    ("GCL ViT-B-32, later", (0.683, 0.689, 0.515)),
    ("GCL ViT-L-14", (0.603, 0.562, 0.467)),
    ("GCL ViT-L-14, later", (0.690, 0.630, 0.535)),
    ("BM25", (0.071, 0.028, 0.052)),
    ("E5-large-v2", (0.335, 0.095, 0.289)),
    ("cross-entropy XLM-R-base + B-32", (0.332, 0.099, 0.288)),
    ("GCL E5-large", (0.431, 0.400, 0.347)),
    ("GCL E5-large, later", (0.470, 0.457, 0.374)),
)

_PDV_ROWS = (
    ("CIReVL B/32", (0.2829, 0.4935), (0.3482, 0.5637)),
    ("CIReVL L/14", (0.2855, 0.4857), (0.3767, 0.5748)),
    ("CIReVL G/14", (0.3219, 0.5236), (0.4356, 0.6293)),
    ("Pic2Word L/14", (0.2429, 0.4408), (0.2605, 0.4523)),
    ("SEARLE B/32", (0.2281, 0.4230), (0.2364, 0.4343)),
    ("SEARLE L/14", (0.2511, 0.4567), (0.2775, 0.4850)),
)

_F1_SETS = ("fashion-mnist", "kagl", "deep")
_F1 = (
    ("OpenAI CLIP", (0.66, 0.63, 0.45)),
    ("FashionCLIP", (0.74, 0.67, 0.48)),
    ("LAION CLIP", (0.78, 0.71, 0.58)),
    ("ecommerce/fashion-clip", (0.83, 0.73, 0.62)),
)


def _board() -> list[PublishedResult]:
    found: list[PublishedResult] = []
    for (task, metrics), values in _AVERAGES.items():
        found += _rows("marqo", _BOARD, "average", task, metrics, tuple(zip(_MODELS, values, strict=True)))
    for model, pairs in zip(_MODELS, _TEXT_BY_SET, strict=True):
        for on, values in zip(_TEXT_SETS, pairs, strict=True):
            found += _rows("marqo", _BOARD, on, "text-to-image", ("AvgRecall", "MRR"), ((model, values),))
    for task, sets, table in (
        ("category-to-product", _CATEGORY_SETS, _CATEGORY_BY_SET),
        ("sub-category-to-product", _SUB_SETS, _SUB_BY_SET),
    ):
        for model, row in zip(_FIVE, table, strict=True):
            for on, value in zip(sets, row, strict=True):
                found += _rows("marqo", _BOARD, on, task, ("AvgP",), ((model, (value,)),))
    for model, value in (
        ("ecommerce/marqo-fashion-siglip", 0.423),
        ("ecommerce/siglip-vit-b16-webli", 0.627),
        ("ecommerce/fashion-clip", 0.595),
    ):
        found += _rows("marqo", _BOARD, "iMaterialist", "neckline-to-image", ("AvgP",), ((model, (value,)),))
    return found


def _others() -> list[PublishedResult]:
    found: list[PublishedResult] = []
    for direction, values in _ESSPR_ROWS.items():
        found += _rows("esspr", _ESSPR, "esspr_data4eval", direction, _DIRECTIONS, (("eSSPR", values),))
    found += _rows("gcl", _GCL, "MarqoGS q0d0", "query-to-product", ("NDCG@10", "ERR", "RBP"), _GCL_ROWS)
    for name, before, after in _PDV_ROWS:
        for model, values in ((name, before), (f"{name} + PDV", after)):
            metrics = ("Recall@10", "Recall@50")
            found += _rows("fashioniq", _PDV, "FashionIQ", "average", metrics, ((model, values),))
    found += _rows(
        "cirr",
        _PDV,
        "CIRR",
        "all",
        ("Recall@1",),
        (("CIReVL B/32", (0.2394,)), ("CIReVL B/32 + PDV", (0.3325,))),
    )
    return found


RESULTS: tuple[PublishedResult, ...] = (*_board(), *_others())
"""Every reported retrieval number."""

ACCURACIES: tuple[PublishedResult, ...] = tuple(
    PublishedResult(model, "zero-shot", on, "classes", "weighted F1", value, _FC)
    for model, values in _F1
    for on, value in zip(_F1_SETS, values, strict=True)
)
"""Every reported zero-shot number."""


def accuracies(name: str) -> list[PublishedResult]:
    """Return what is reported of a labelled set."""
    return [one for one in ACCURACIES if one.on == name]


def results(protocol: str, on: str | None = None, task: str | None = None) -> list[PublishedResult]:
    """Return what is reported by a protocol, of one data set and of one task where they are given."""
    return [
        one
        for one in RESULTS
        if one.protocol == protocol and on in (None, one.on) and task in (None, one.task)
    ]
