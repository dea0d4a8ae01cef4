"""What tests of protocols make for themselves is imported by name: ``from make_trees import oulu_names``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
