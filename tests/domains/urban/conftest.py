"""What tests of the room make for themselves is imported by name: ``from urban import make_scenes``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
