"""What the authors of the published checkpoints report, to compare one's own run with. Plain data.

Every value is its source's own; none was measured with this package. In percent.
"""

from __future__ import annotations

from dataclasses import dataclass

_GEORSCLIP = "arXiv 2306.11300, table of zero-shot results"
_CLIP_RSICD = "arampacha/CLIP-rsicd, README"
_TRANSCLIP = (
    "RS-TransCLIP (ICASSP 2025), inductive rows: the mean of 106 prompts, everything loaded with GELU"
)
_REMOTE = "arXiv 2306.11029, cross-modal retrieval"
_GEO_PAIRS = "arXiv 2306.11300, cross-modal retrieval"


@dataclass(frozen=True)
class PublishedAccuracy:
    """Accuracy of a model on a labelled set.

    Attributes:
        model: name in the registry, or the paper's own where there is none.
        on: set. protocol: of this room, or another's.
        percent: top-1. source: who says so.
    """

    model: str
    on: str
    protocol: str
    percent: float
    source: str

    def to_dict(self) -> dict[str, str | float]:
        """Return plain values for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class PublishedRetrieval:
    """Recall at 1, 5 and 10 of a model, both ways, by the ``remoteclip`` protocol.

    Attributes:
        model: name in the registry, or the paper's own where there is none.
        on: test set.
        image_to_text, text_to_image: recall at 1, 5 and 10. mean: of the six.
        source: who says so.
    """

    model: str
    on: str
    image_to_text: tuple[float, float, float]
    text_to_image: tuple[float, float, float]
    mean: float
    source: str

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return dict(vars(self))


_ZERO_SHOT = (
    ("urban/georsclip-vit-b32", "eurosat", "georsclip", 61.40, _GEORSCLIP),
    ("urban/georsclip-vit-b32", "resisc45", "georsclip", 72.74, _GEORSCLIP),
    ("urban/georsclip-vit-b32", "aid", "georsclip", 74.42, _GEORSCLIP),
    ("urban/georsclip-vit-h14", "eurosat", "georsclip", 67.47, _GEORSCLIP),
    ("urban/georsclip-vit-h14", "resisc45", "georsclip", 73.83, _GEORSCLIP),
    ("urban/georsclip-vit-h14", "aid", "georsclip", 76.33, _GEORSCLIP),
    ("urban/clip-rsicd-v2", "rsicd-30", "rsicd", 88.3, _CLIP_RSICD),
    ("urban/clip-rsicd", "rsicd-30", "rsicd", 84.3, _CLIP_RSICD),
    ("urban/openai-clip-vit-b32", "rsicd-30", "rsicd", 57.2, _CLIP_RSICD),
)

_TRANSCLIP_SETS = ("aid", "eurosat", "patternnet", "resisc45", "whu-rs19")
_TRANSCLIP_ROWS = (
    ("CLIP RN50", 55.4, 28.3, 46.4, 52.8, 71.3),
    ("urban/remoteclip-rn50", 89.1, 26.7, 43.6, 51.6, 95.4),
    ("urban/openai-clip-vit-b32", 66.4, 45.3, 59.6, 60.7, 81.1),
    ("urban/georsclip-vit-b32", 70.3, 53.4, 75.8, 68.8, 88.8),
    ("urban/remoteclip-vit-b32", 91.7, 35.5, 55.9, 68.1, 95.2),
    ("urban/skyclip-vit-b32-top50", 70.3, 52.6, 73.8, 66.7, 91.0),
    ("urban/openai-clip-vit-l14", 69.7, 60.1, 74.7, 71.3, 85.5),
    ("urban/georsclip-vit-l14", 74.4, 59.9, 77.4, 73.8, 88.5),
    ("urban/remoteclip-vit-l14", 84.1, 43.6, 61.4, 76.0, 93.5),
    ("urban/skyclip-vit-l14-top50", 72.1, 51.5, 75.3, 70.5, 87.5),
    ("urban/georsclip-vit-h14", 76.3, 68.3, 82.7, 73.8, 90.4),
)

ACCURACIES = (
    *(PublishedAccuracy(*row) for row in _ZERO_SHOT),
    *(
        PublishedAccuracy(model, on, "rs-transclip", value, _TRANSCLIP)
        for model, *values in _TRANSCLIP_ROWS
        for on, value in zip(_TRANSCLIP_SETS, values, strict=True)
    ),
)
"""Accuracies on the sets of this room."""

RETRIEVALS = tuple(
    PublishedRetrieval(model, on, (a, b, c), (d, e, f), mean, source)
    for model, on, a, b, c, d, e, f, mean, source in (
        ("urban/remoteclip-rn50", "RSITMD", 23.67, 47.57, 64.60, 19.29, 51.55, 70.58, 46.21, _REMOTE),
        ("urban/remoteclip-vit-b32", "RSITMD", 27.88, 50.66, 65.71, 22.17, 56.46, 73.41, 49.38, _REMOTE),
        ("urban/remoteclip-vit-l14", "RSITMD", 28.76, 52.43, 63.94, 23.76, 59.51, 74.73, 50.52, _REMOTE),
        ("CLIP-CL (RET-3) ViT-B/32", "RSITMD", 24.78, 50.00, 63.27, 22.61, 55.27, 69.87, 47.63, _REMOTE),
        ("urban/remoteclip-rn50", "RSICD", 13.36, 32.94, 44.83, 10.76, 32.83, 48.75, 30.58, _REMOTE),
        ("urban/remoteclip-vit-b32", "RSICD", 17.02, 37.97, 51.51, 13.71, 37.11, 54.25, 35.26, _REMOTE),
        ("urban/remoteclip-vit-l14", "RSICD", 18.39, 37.42, 51.05, 14.73, 39.93, 56.58, 36.35, _REMOTE),
        ("CLIP-CL (RET-3) ViT-B/32", "RSICD", 17.84, 35.96, 50.14, 13.89, 35.15, 50.08, 33.96, _REMOTE),
        ("urban/remoteclip-rn50", "UCM", 13.33, 50.48, 74.76, 15.24, 57.14, 84.57, 49.25, _REMOTE),
        ("urban/remoteclip-vit-b32", "UCM", 20.48, 59.85, 83.33, 18.67, 61.52, 94.29, 56.36, _REMOTE),
        ("urban/remoteclip-vit-l14", "UCM", 19.05, 54.29, 80.95, 17.71, 62.19, 93.90, 54.68, _REMOTE),
        ("urban/georsclip-vit-b32", "RSICD", 12.17, 28.45, 38.61, 9.31, 26.51, 41.28, 26.06, _GEO_PAIRS),
        ("urban/georsclip-vit-h14", "RSICD", 14.27, 29.55, 40.44, 11.38, 30.80, 44.41, 28.48, _GEO_PAIRS),
        (
            "urban/georsclip-vit-b32-rsicd", "RSICD",
            22.14, 40.53, 51.78, 15.26, 40.46, 57.79, 38.00, _GEO_PAIRS,
        ),
        (
            "urban/georsclip-vit-b32-ret2", "RSICD",
            21.13, 41.72, 55.63, 15.59, 41.19, 57.99, 38.87, _GEO_PAIRS,
        ),
        ("urban/openai-clip-vit-b32", "RSICD", 5.31, 14.18, 23.70, 5.78, 17.73, 27.76, 15.74, _GEO_PAIRS),
        ("urban/georsclip-vit-b32", "RSITMD", 17.92, 34.96, 46.02, 14.12, 41.46, 57.52, 35.33, _GEO_PAIRS),
        ("urban/georsclip-vit-h14", "RSITMD", 23.45, 42.92, 53.32, 18.01, 44.60, 59.96, 40.38, _GEO_PAIRS),
        (
            "GeoRSCLIP-FT (RS5M, RSITMD)", "RSITMD",
            30.09, 51.55, 63.27, 23.54, 57.52, 74.60, 50.10, _GEO_PAIRS,
        ),
        (
            "urban/georsclip-vit-b32-ret2", "RSITMD",
            32.30, 53.32, 67.92, 25.04, 57.88, 74.38, 51.81, _GEO_PAIRS,
        ),
        ("urban/openai-clip-vit-b32", "RSITMD", 9.51, 23.01, 32.74, 8.81, 27.88, 43.19, 24.19, _GEO_PAIRS),
    )
)  # fmt: skip
"""Recalls on RSICD, RSITMD and UCM-captions. RemoteCLIP was trained on the training parts of all three."""


def published_accuracies(on: str) -> tuple[PublishedAccuracy, ...]:
    """Return what is reported on a set."""
    return tuple(one for one in ACCURACIES if one.on == on)


def accuracy_note(model: str, on: str, protocol: str) -> tuple[str, ...]:
    """Return a line with what is reported for a model on a set by a protocol; empty without."""
    return tuple(
        f"Reported for {model}: {one.percent:.2f} % ({one.source}); not measured with this package."
        for one in published_accuracies(on)
        if (one.model, one.protocol) == (model, protocol)
    )


TEST_IMAGES = {"RSICD": 1_093, "RSITMD": 452, "UCM": 210}
"""{test set: images}; that of RSITMD is as far as it could be found out."""
_NAMES = {"ucmcaptions": "UCM", "ucm-captions": "UCM", "ucm_captions": "UCM"}


def retrieval_notes(model: str, on: str, images: int) -> tuple[str, ...]:
    """Return what to compare a model's retrieval on a test set with: what is reported, or why that is not.

    Args:
        on: name of the data set, as its caption file is called. images: that were measured.
    """
    on = _NAMES.get(on.casefold(), on.upper())
    if on in TEST_IMAGES and images != TEST_IMAGES[on]:
        return (f"{images:,} images; the test split of {on} has {TEST_IMAGES[on]:,}.",)
    return tuple(
        f"Reported for {model} on {on}: mean recall {one.mean:.2f} % ({one.source}); not measured with this "
        "package."
        for one in RETRIEVALS
        if (one.model, one.on) == (model, on)
    )
