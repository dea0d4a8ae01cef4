from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")

from verticlip.cli import app
from verticlip.core.errors import ConfigError


def run(*arguments):
    return CliRunner().invoke(app, ["hub", "export", *map(str, arguments)])


def test_it_writes_a_folder_and_prints_what_was_compared(model_folder, tmp_path):
    out = tmp_path / "out"
    done = run(model_folder, out, "--to", "onnx", "--tower", "text", "--tower", "text")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["compared", "off", "by", "allowed"]
    assert rows[1][:5] == ["text", "embedding,", "batch", "of", "3"]
    assert {row[-1] for row in rows[1:]} == {"ok"}
    assert f"{out} as onnx: " in " ".join(done.stderr.split())
    assert (out / "text.onnx").is_file()
    assert not (out / "image.onnx").exists()
    # The folder of this machine is nobody else's business.
    for name in ("verticlip.json", "README.md", "report.json"):
        assert str(model_folder.parent) not in (out / name).read_text(), name
    again = run(model_folder, out, "--to", "onnx")
    assert isinstance(again.exception, ConfigError)
    assert "is not empty" in str(again.exception)


def test_a_refusal_has_the_whole_table_and_status_one(model_folder, tmp_path, monkeypatch):
    from verticlip.hub.export import onnx
    from verticlip.hub.export.report import ExportReport, compare

    def refused(subject, out, **options):
        checks = (
            compare("text embedding, batch of 3", [0.5], [0.25], 1e-5),
            compare("token ids", [1], [1], 0.0),
        )
        ExportReport("onnx", {}, checks, 1e-5, {}, subject.id).require_passed()

    # That a real difference is found and leaves nothing is tested in test_onnx.py.
    monkeypatch.setattr(onnx, "export", refused)
    failed = run(model_folder, tmp_path / "out", "--to", "onnx", "--tower", "text", "--json")
    assert failed.exit_code == 1
    report = json.loads(failed.stdout)
    assert (report["format"], report["passed"]) == ("onnx", False)
    over = [check for check in report["checks"] if check["status"] == "over"]
    assert over
    assert all(check["error"] > check["tolerance"] for check in over)
    assert "does not agree with the model: text embedding, batch of 3 is off by" in failed.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "onxn"), r"--to onxn: there are .*onnx, openvino\. Did you mean 'onnx'\?"),
        (("--to", "open_clip", "--tower", "image"), "--tower is for onnx and openvino: open_clip has all"),
        (("--to", "onnx", "--tower", "imge"), r"no part 'imge' to export; .*Did you mean 'image'\?"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(model_folder, tmp_path, arguments, message):
    failed = run(model_folder, tmp_path / "out", *arguments)
    assert failed.exit_code == 1
    with pytest.raises(ConfigError, match=message):
        raise failed.exception
    assert not list(tmp_path.iterdir())
