"""Satellite CLIPs in the layout of open_clip: RemoteCLIP, GeoRSCLIP, SkyCLIP and what they started from.

Reference: Liu et al. 2024, RemoteCLIP, arXiv 2306.11029; Zhang et al. 2024, RS5M and GeoRSCLIP, arXiv
2306.11300; Wang et al. 2024, SkyScript, arXiv 2312.12856.
"""

from __future__ import annotations

from ....core.layouts.open_clip import VERSION, convert

__all__ = ["VERSION", "convert"]
