"""What tests here share is imported by name: ``from liveness.evaluation import make_scores``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
