"""Training objectives: what turns a model's outputs and a batch into a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .base import Needs, Objective, build_objective, list_objectives, register_objective
    from .caption import CoCa
    from .distill import Distill
    from .gradcache import cached_backward
    from .pairwise import CWCL, InfoNCE, Sigmoid

_HOMES = {
    "Objective": "base",
    "Needs": "base",
    "build_objective": "base",
    "list_objectives": "base",
    "register_objective": "base",
    "cached_backward": "gradcache",
    "InfoNCE": "pairwise",
    "Sigmoid": "pairwise",
    "CWCL": "pairwise",
    "CoCa": "caption",
    "Distill": "distill",
}

__all__ = [
    "CWCL",
    "CoCa",
    "Distill",
    "InfoNCE",
    "Needs",
    "Objective",
    "Sigmoid",
    "build_objective",
    "cached_backward",
    "list_objectives",
    "register_objective",
]

__getattr__ = lazy_names(__name__, _HOMES)
