"""``verticlip index``: from embeddings to answers on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def embeddings(model_folder: Path, tmp_path: Path, run) -> Path:
    """Embeddings of a red, a green and a blue picture."""
    for channel, name in enumerate(("red", "green", "blue")):
        pixels = np.zeros((20, 24, 3), np.uint8)
        pixels[..., channel] = 200
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    out = tmp_path / "run.parquet"
    assert run("embed", str(tmp_path / "pictures"), "--model", str(model_folder), "--out", str(out))[0] == 0
    return out


@pytest.fixture
def index(embeddings: Path, tmp_path: Path, run) -> Path:
    status, out, told = run("index", "build", str(embeddings), "--out", str(tmp_path / "index"))
    assert status == 0
    assert "store ..." in told
    assert "rows" in out
    return tmp_path / "index"


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_what_was_embedded_is_found(index: Path, tmp_path: Path, run) -> None:
    picture = tmp_path / "pictures" / "red.png"
    status, out, _ = run("index", "search", str(index), "--image", str(picture), "-k", "2", "--json")
    assert status == 0
    first, second = rows(out)
    assert Path(first["id"]).stem == "red"
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert first["score"] > second["score"]
    status, out, _ = run("index", "search", str(index), "--like", first["id"], "--json")
    assert (status, [row["id"] for row in rows(out)][:2]) == (0, [first["id"], second["id"]])
    status, out, _ = run("index", "search", str(index), "--text", "a red square")
    assert status == 0
    assert out.splitlines()[0].split() == ["id", "score"]
    assert len(out.splitlines()) == 4


def test_an_index_is_described(index: Path, run) -> None:
    status, out, _ = run("index", "info", str(index), "--json")
    (facts,) = rows(out)
    assert status == 0
    assert (Path(facts["model"]).name, facts["dim"], facts["rows"]) == ("random", 12, 3)
    assert facts["views"] == ["vector"]
    assert facts["kind"] == {"vector": "flat"}
    status, out, _ = run("index", "info", str(index))
    assert status == 0
    assert "needs optimize" in out


def test_columns_come_along_and_filter(embeddings: Path, tmp_path: Path, run) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(embeddings)
    parquet.write_table(table.append_column("price", pa.array([1.0, 2.0, 3.0])), embeddings)
    out = tmp_path / "index"
    kind = ["--column", "price", "--kind", "flat"]
    assert run("index", "build", str(embeddings), "--out", str(out), *kind)[0] == 0
    name = table["id"][0].as_py()
    status, text, _ = run("index", "search", str(out), "--like", name, "--where", "price > 1.5", "--json")
    assert status == 0
    assert sorted(row["columns"]["price"] for row in rows(text)) == [2.0, 3.0]
    status, text, told = run("index", "search", str(out), "--like", name, "--where", "price > 9")
    assert (status, text, told) == (0, "", "no row fits\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to look for with one of --text, --image and --like"),
        (["--text", "a", "--like", "b"], "with one of"),
        (["--like", "nothing"], "no row 'nothing'"),
        (["--like", "x", "--where", "prize > 1"], "prize"),
        (["--like", "x", "--view", "image"], "no view 'image'"),
        (["--text", "a", "--model", "nothing"], "No model called 'nothing'"),
    ],
)
def test_what_cannot_be_asked_is_said(index: Path, run, arguments: list[str], message: str) -> None:
    status, out, told = run("index", "search", str(index), *arguments)
    assert (status, out) == (1, "")
    assert message in told


def test_another_model_is_refused(index: Path, model_folder: Path, tmp_path: Path, run) -> None:
    import shutil

    other = shutil.copytree(model_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "name": "other"}))
    status, _, told = run("index", "search", str(index), "--text", "a cat", "--model", str(other))
    assert status == 1
    assert "The query was made with" in told
