"""CLIPs and SigLIPs of shops, and what they started from."""

from __future__ import annotations

from .clips import OPEN_CLIP_SIGLIP, clip, transformers_clip

SPECIMENS = {
    "ecommerce/marqo-fashion-siglip": OPEN_CLIP_SIGLIP,
    "ecommerce/marqo-fashion-clip": clip(16),
    "ecommerce/marqo-ecommerce-b": OPEN_CLIP_SIGLIP,
    "ecommerce/marqo-ecommerce-l": OPEN_CLIP_SIGLIP,
    "ecommerce/fashion-clip": transformers_clip(32),
    "ecommerce/open-fashion-clip": clip(32),
    "ecommerce/siglip-vit-b16-webli": OPEN_CLIP_SIGLIP,
    "ecommerce/clip-vit-b16-laion2b": clip(16),
}
