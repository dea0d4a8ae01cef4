"""Product models in the layouts of open_clip.

``convert``: CLIPs, as Marqo-FashionCLIP, OpenFashionCLIP (whose file keeps its weights under ``CLIP``) and
LAION's ViT-B/16. ``convert_siglip``: SigLIPs, as Marqo-FashionSigLIP, Marqo's models for all products and
the ViT-B/16 that both families started from.

Reference: marqo-ai/marqo-FashionCLIP; Cartella et al. 2023, OpenFashionCLIP, ICIAP 2023.
"""

from __future__ import annotations

from ....core.layouts.open_clip import VERSION, convert
from ....core.layouts.open_clip_siglip import convert as convert_siglip

__all__ = ["VERSION", "convert", "convert_siglip"]
