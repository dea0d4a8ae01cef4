"""Training with captions that are true of more patches than their own.

See :mod:`verticlip.core.objectives.claims`. The bits are those of :func:`.facts.bits_of`.
"""

from __future__ import annotations

from ...core.objectives.claims import BITS, ClaimContrast, collate_claims, truth

__all__ = ["BITS", "ClaimContrast", "collate_claims", "truth"]
