"""Every block of the room's README, in order, on a made-up shop."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
from verticlip.domains.ecommerce import shop

README = Path(verticlip.__file__).parent / "domains" / "ecommerce" / "README.md"
ROOT = README.parents[2] / "README.md"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blocks(language: str, heading: str = "", readme: Path = README) -> list[str]:
    """Return the blocks of a language below a heading."""
    text = readme.read_text(encoding="utf-8")
    if heading:
        text = re.split(rf"\n#+ {heading}\n", text)[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lines_of(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert len(found) == 7
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block, str(README), "exec"), names)
    assert len(names["rejects"]) == 3
    assert (names["again"].added, names["again"].unchanged) == (0, names["taken"].added)
    assert names["found"][0].payload["price"] < 60
    assert names["changed"][0].id == "D-005"
    assert {one.canonical for one in names["report"].groups} >= {"P-007", "S-013"}
    assert names["done"].marked == names["report"].duplicates
    assert names["asked"].tasks[0].metrics["hit_recall@5"].value > 0.8
    mined = names["mined"]
    assert mined.kept + mined.removed["the same picture"] == len(names["shop"].copies)
    assert len(names["index"]) == len(names["photos"]) - 1


def test_commands_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run) -> None:
    monkeypatch.chdir(tmp_path)
    shop.write_shop(".")
    commands = lines_of(blocks("bash", "On the command line")[0])
    assert {shlex.split(line)[2] for line in commands} == {
        "create", "ingest", "search", "dedupe", "eval", "tune", "delete", "export", "pairs",
    }  # fmt: skip
    for line in commands:
        status, _, stderr = run(*shlex.split(line)[1:])
        assert status == 0, (line, stderr)
    for file in ("found.html", "changed.html", "duplicates.html", "eval.json", "items.parquet"):
        assert Path(file).stat().st_size, file


@pytest.mark.parametrize("readme", [README, ROOT], ids=["room", "root"])
def test_options_of_every_command_in_the_text_exist(run, readme: Path) -> None:
    known: dict[tuple[str, ...], set[str]] = {}
    for line in (line for block in blocks("bash", readme=readme) for line in lines_of(block)):
        words = shlex.split(line, comments=True)
        if words[:1] != ["verticlip"] or (readme == ROOT and words[1] != "catalog"):
            continue
        verb = tuple(words[1:3])
        if verb not in known:
            status, stdout, _ = run(*verb, "--help")
            assert status == 0, line
            known[verb] = set(re.findall(r"--?[a-z-]+", stdout))
        options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        assert options <= known[verb], line


def test_verbs_of_the_group_are_those_of_the_text(run) -> None:
    listed = run("catalog", "--help")[1].split("Commands:")[1]
    text = README.read_text(encoding="utf-8")
    for verb in re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE):
        assert f"verticlip catalog {verb} " in text, verb


def test_figures_are_those_of_the_stored_run() -> None:
    stored = json.loads((README.parent / "weights/tiny/metrics.json").read_text(encoding="utf-8"))
    accuracy = stored["validation"]["sources"]["clothing"]["accuracy"]
    room = " ".join(README.read_text(encoding="utf-8").split())
    row = next(
        line for line in ROOT.read_text(encoding="utf-8").splitlines() if "| `ecommerce/tiny` | `" in line
    )
    similar = stored["further"]["similar"]
    figures = {
        "accuracy": accuracy,
        "of the kind of a photo": similar["model"]["map_at_10"],
        "a color histogram": similar["color_histogram"]["map_at_10"],
    }
    for text in (room, row):
        for label, one in figures.items():
            low, high = f"{one['low']:.3f}", f"{one['high']:.3f}"
            said = rf"{label} (?:reaches )?{one['value']:.3f} \((?:95 % interval )?{low} to {high}\)"
            assert re.search(said, text), (label, one)


def test_figures_of_published_checkpoints_are_those_of_the_table() -> None:
    from verticlip.core.registry import models
    from verticlip.domains.ecommerce.evaluation.published_results import results

    text = README.read_text(encoding="utf-8").split("## Published checkpoints")[1]
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `ecommerce/")}
    for task, metrics in (
        ("text-to-image", ("AvgRecall", "MRR")),
        ("category-to-product", ("AvgP", "MRR")),
    ):
        said = {(one.model, one.metric): one.value for one in results("marqo", on="average", task=task)}
        for name in {model for model, _ in said}:
            pair = ", ".join(f"{said[name, metric]:.3f}" for metric in metrics)
            assert f"| {pair} |" in rows[name], (name, task)
    for name, spec in models().items():
        if name in rows and name != "ecommerce/marqo-ecommerce-b":
            assert f"| {spec.embed_dim} | {spec.licence}" in rows[name], name


def test_room_of_an_index_is_what_the_table_says() -> None:
    said = README.read_text(encoding="utf-8").split("| rows | D |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (.*) \|$", said, re.MULTILINE)
    assert len(rows) == 4
    for count, dim, cells in rows:
        size, d = int(count.replace(",", "")) / 1e9, int(dim)
        given = [float(one) for one in re.findall(r"[\d.]+", cells.replace("8-bit", ""))]
        flat, graph = 4 * d * size, (d + 264) * size
        expected = [flat, flat + graph, graph, flat + d * size, 1.5 * flat, 1.5 * d * size]
        assert given == pytest.approx(expected, rel=0.06), (count, dim)


def test_a_row_of_the_graph_takes_what_the_text_says(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    import numpy as np
    from verticlip.core.index.graph import GraphEngine

    for dim in (32, 128):
        vectors = np.random.default_rng(0).standard_normal((2000, dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        GraphEngine.build(vectors, threads=1).save(tmp_path / "rows.graph")
        assert (tmp_path / "rows.graph").stat().st_size / 2000 == pytest.approx(dim + 264, rel=0.08)


def test_every_name_of_the_room_can_be_imported() -> None:
    from verticlip.domains.ecommerce import io, tasks

    assert not set(io.__all__) & set(tasks.__all__)
    for module in (io, tasks):
        for name in module.__all__:
            assert getattr(module, name) is not None, name
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing
