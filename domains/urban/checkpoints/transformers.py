"""Satellite models as transformers keeps them: ``CLIPModel`` (CLIP-rsicd), ``SiglipModel`` (Git-RSCLIP).

Reference: arampacha/CLIP-rsicd; Liu et al. 2025, Text2Earth and Git-RSCLIP, arXiv 2501.00895.
"""

from __future__ import annotations

from ....core.layouts.transformers import VERSION, convert_clip, convert_siglip

__all__ = ["VERSION", "convert_clip", "convert_siglip"]
