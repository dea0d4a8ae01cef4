"""What draws pictures is imported by name: ``from liveness.simulate import make_pictures``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="the liveness extra is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
