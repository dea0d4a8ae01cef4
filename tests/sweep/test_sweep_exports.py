"""One model of every kind in every format it can be had in, each compared with the model it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep.kinds import KINDS
from sweep.made import make
from sweep.specimens.by_room import specimens_of
from verticlip.core import registry
from verticlip.hub.export import export, exportable

IN_ONNX_TESTS = ("biovil", "vocoder", "separator", "faces")
"""Kinds whose ONNX files are written, with more inputs, in ``tests/hub/export/test_onnx.py``; each takes seconds."""

CASES = [
    (kind, to)
    for kind, about in KINDS.items()
    for to in about.formats
    if (to != "openvino" or kind == "clip") and (to != "onnx" or kind not in IN_ONNX_TESTS)
]
"""OpenVINO's files are made of the ONNX ones: one kind stands for all."""


def test_kinds_are_those_of_the_specimens():
    kinds = {name: specimen.kind for room in registry.ROOMS for name, specimen in specimens_of(room).items()}
    assert set(kinds.values()) == set(KINDS)
    assert {kind: kinds[about.example] for kind, about in KINDS.items()} == {kind: kind for kind in KINDS}
    assert set(IN_ONNX_TESTS) < set(KINDS)


@pytest.fixture(scope="module")
def models(quick, tmp_path_factory):
    """A function from a kind to its example; one is kept at a time."""
    kept = {}

    def of(kind):
        if kind not in kept:
            kept.clear()
            kept[kind] = make(KINDS[kind].example, tmp_path_factory.mktemp("made")).model
        return kept[kind]

    return of


@pytest.mark.parametrize(("kind", "to"), CASES)
def test_the_example_of_a_kind_is_exported(models, tmp_path: Path, kind, to):
    for module in {"onnx": ("onnxruntime", "onnxscript")}.get(to, (to,)):
        pytest.importorskip(module, reason="the export extra is not installed")
    parts = {"onnx": KINDS[kind].parts, "openvino": ("text",)}.get(to)
    report = export(models(kind), tmp_path / "out", to, **({"towers": parts} if parts else {}))
    assert report.passed
    assert report.model == KINDS[kind].example
    assert {check.status for check in report.checks} == {"ok"}


PUBLISHED = {
    # {model: (layers, heads) of both towers}; every other size is in its converter's options.
    "ecommerce/marqo-fashion-siglip": (12, 12),
    "ecommerce/marqo-ecommerce-l": (24, 16),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_siglip_of_published_size_can_be_had_in_open_clip(quick, tmp_path, name):
    """Not so the small ones: open_clip builds image towers of timm by name, and no name is of their size."""
    pytest.importorskip("open_clip", reason="the export extra is not installed")
    small, spec = make(name, tmp_path).model, registry.model_spec(name)
    config, processing = small.config, small.processor.config
    assert "timm has no name for this one" in exportable(config, processing)["open_clip"]
    layers, heads = PUBLISHED[name]
    image, text = config.towers["image"], config.towers["text"]
    sizes = {"embed_dim": spec.embed_dim, "depth": layers, "num_heads": heads, "mlp_ratio": 4.0}
    image = image.model_copy(update={"options": {**image.options, **sizes}})  # pyright: ignore
    text = text.model_copy(update={"output_dim": spec.embed_dim})
    whole = config.model_copy(update={"towers": {"image": image, "text": text}, "embed_dim": spec.embed_dim})
    assert exportable(whole, processing)["open_clip"] == ""
