from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("openvino", reason="the openvino extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")

sys.path.insert(0, str(Path(__file__).parent))

import export_models
from verticlip.hub.export import openvino
from verticlip.hub.export.report import ExportRefused


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("openvino") / "out"
    subject = export_models.case("timm and bert")
    drawn = []

    def draw_all(*given):
        drawn.extend((graph, file, (given[1] / file.name).read_bytes()) for graph, file in draw(*given))
        return [(graph, file) for graph, file, _ in drawn]

    draw = openvino.draw_all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino, "draw_all", draw_all)
        report = openvino.export(subject, out, towers=["text"])
    return subject, out, report, drawn


def test_the_folder_holds_openvino_models_and_no_onnx(exported):
    _, out, report, _ = exported
    assert report.passed
    assert report.format == "openvino"
    assert {"text.xml", "text.bin", "verticlip.json", "reader.py"} <= set(report.files)
    assert not any(name.endswith(".onnx") for name in report.files)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    facts = json.loads((out / "verticlip.json").read_text())
    assert facts["parts"]["text"]["file"] == "text.xml"
    assert "openvino" in facts["versions"]
    for path in out.iterdir():
        assert str(out.parent).encode() not in path.read_bytes(), path.name


def test_every_kind_of_inputs_is_compared(exported):
    _, _, report, _ = exported
    found = {check.name: check for check in report.checks}
    for kind in ("batch of 3", "batch of 1", "batch of 8", "shortest texts"):
        assert found[f"text embedding, {kind}"].error < 5e-6
        assert found[f"text embedding, {kind}, 1 - cosine"].status == "ok"


def test_the_reader_answers_as_the_model(exported):
    subject, out, *_ = exported
    spec = importlib.util.spec_from_file_location("reader", out / "reader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    texts = ["a small dog", "river"] * 5
    with torch.no_grad():
        expected = subject.network.encode("text", subject.processor("text", texts)).numpy()
    assert np.abs(module.Model(out).embed_texts(texts) - expected).max() < 1e-6


def test_a_difference_is_refused(exported, tmp_path, monkeypatch):
    subject, _, _, drawn = exported
    encode = subject.network.encode
    monkeypatch.setattr(subject.network, "encode", lambda *given: encode(*given) * 1.001)

    def draw_all(_, folder, names):
        for _, file, content in drawn:
            (folder / file.name).write_bytes(content)
        return [(graph, file) for graph, file, _ in drawn]

    monkeypatch.setattr(openvino, "draw_all", draw_all)
    with pytest.raises(ExportRefused, match="The openvino export of test/small does not agree"):
        openvino.export(subject, tmp_path / "out")
    assert not list(tmp_path.iterdir())
