"""What makes networks is imported by name: ``from liveness.minifasnet import make_networks``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
