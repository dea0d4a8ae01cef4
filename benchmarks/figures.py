"""Figures of a measured model: written as JSON, and into its folder and card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.files import read_json, write_json_atomic


def figures_parser(doc: str | None, *, model: str) -> argparse.ArgumentParser:
    """Return the options of a program that measures one model.

    Args:
        doc: of the module, whose first line is the description.
        model: that is measured unless ``--model`` says otherwise.
    """
    parser = argparse.ArgumentParser(description=doc.split("\n")[0] if doc else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=model)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--write", type=Path)
    return parser


def keep_figures(found: dict[str, Any], out: Path | None, folder: Path | None) -> None:
    """Write figures as JSON to ``out``, and to the metrics and the card of the model in ``folder``."""
    from ..hub.card import write_card

    if out:
        write_json_atomic(out, found)
    if folder:
        metrics = folder / "metrics.json"
        # Keys of the file are sorted; the card shows the figures in the order they were put in.
        further = {**found, "order": list(found["summary"])} if "summary" in found else found
        write_json_atomic(metrics, {**read_json(metrics), "further": further})
        write_card(folder)
