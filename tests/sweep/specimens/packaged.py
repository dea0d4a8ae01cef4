"""Models that are part of the package: they are small, and taken as they are."""

from __future__ import annotations

from .specimen import Specimen

SPECIMENS = {
    "medical/tiny": Specimen("words and pictures"),
    "audio/tiny-tagger": Specimen("words and sounds"),
    "audio/tiny-sep": Specimen("separator"),
    "audio/tiny-sonic": Specimen("words and sounds"),
    "urban/tiny": Specimen("words and pictures"),
    "ecommerce/tiny": Specimen("words and pictures"),
    "liveness/tiny": Specimen("categories"),
    "liveness/minifasnet-v2": Specimen("faces"),
}
