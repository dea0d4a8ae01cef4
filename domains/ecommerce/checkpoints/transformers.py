"""Product models as transformers keeps them: ``CLIPModel`` (FashionCLIP 2.0).

Reference: Chia et al. 2022, Contrastive language and vision learning of general fashion concepts, Scientific
Reports 12; patrickjohncyh/fashion-clip.
"""

from __future__ import annotations

from ....core.layouts.transformers import VERSION, convert_clip

__all__ = ["VERSION", "convert_clip"]
