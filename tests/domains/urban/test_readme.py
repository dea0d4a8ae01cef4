"""Every block of the room's README, in order, on a made-up scene."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
import verticlip.domains.urban.io

pytest.importorskip("rasterio", reason="the urban extra is not installed")
pytest.importorskip("geopandas", reason="the urban extra is not installed")
README = Path(verticlip.__file__).parent / "domains" / "urban" / "README.md"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blocks(language: str, heading: str = "") -> list[str]:
    """Return the blocks of a language below a heading."""
    text = README.read_text(encoding="utf-8")
    if heading:
        text = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert len(found) == 7
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block, str(README), "exec"), names)
    assert len(names["table"]) == names["done"].embedded == len(names["tiles"])
    assert names["inside"].regions is not None
    for file in ("tiles.gpkg", "hits.geojson", "hits.png", "thumbnails.png", "land-use/classes.tif"):
        assert Path(file).stat().st_size, file
    assert set(names["predicted"].files) <= {
        path.relative_to("maps").as_posix() for path in Path("maps").rglob("*")
    }
    assert len(names["captions"]) == len(names["inside"])
    # Where a file lies on this machine is in none of them.
    for path in Path().rglob("*"):
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes(), path


def test_commands_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run) -> None:
    monkeypatch.chdir(tmp_path)
    verticlip.domains.urban.io.write_scene(".", size=384)
    commands = blocks("bash", "On the command line")[0].replace("\\\n", " ").splitlines()
    assert [shlex.split(line)[2] for line in commands] == [
        "tiles", "embed", "classify", "search", "predict", "caption",
    ]  # fmt: skip
    for line in commands:
        status, _, stderr = run(*shlex.split(line)[1:])
        assert status == 0, (line, stderr)
    for file in ("town.parquet", "places.png", "maps/regions.gpkg", "described.json"):
        assert Path(file).stat().st_size, file


def test_options_of_every_command_in_the_text_exist(run) -> None:
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    known: dict[tuple[str, ...], set[str]] = {}
    for line in lines:
        words = shlex.split(line)[1:]
        verb = tuple(words[:2])
        if verb not in known:
            status, stdout, _ = run(*verb, "--help")
            assert status == 0, line
            known[verb] = set(re.findall(r"--[a-z-]+", stdout))
        options = {word for word in words if word.startswith("--")}
        assert options <= known[verb], line


def test_figures_are_those_of_the_stored_run() -> None:
    import json

    weights = README.parent / "weights" / "tiny"
    stored = json.loads((weights / "metrics.json").read_text(encoding="utf-8"))
    accuracy = stored["validation"]["sources"]["eurosat"]["accuracy"]
    found = stored["further"]["retrieval"]["class_to_image_map"]
    for text in (README, README.parents[2] / "README.md"):
        said = text.read_text(encoding="utf-8")
        for name, one in (("accuracy", accuracy), ("search by class mAP", found)):
            value = re.search(rf"{name} {one['value']:.3f} \((?:95 % interval )?(\S+) to (\S+?)\)", said)
            assert value is not None, (text.parent.name, name)
            assert value.groups() == (f"{one['low']:.3f}", f"{one['high']:.3f}")


def test_columns_and_keys_of_the_file_are_those_in_the_text() -> None:
    from verticlip.domains.urban.outputs.geoparquet import table_schema

    text = README.read_text(encoding="utf-8").split("| column | what |")[1].split("## Land use")[0]
    for name in table_schema(4, "float32").names:
        assert f"`{name}`" in text, name


def test_figures_of_published_checkpoints_are_those_of_the_table() -> None:
    from verticlip.domains.urban.tasks.published_results import RETRIEVALS, published_accuracies

    text = README.read_text(encoding="utf-8").split("## Published checkpoints")[1]
    for on in ("eurosat", "resisc45", "aid", "rsicd-30"):
        for one in published_accuracies(on):
            if one.protocol in ("georsclip", "rsicd"):
                assert f"{one.percent:.2f}".rstrip("0") in text, one
    for pair in RETRIEVALS:
        if pair.model.startswith("urban/") and pair.on in ("RSICD", "RSITMD"):
            assert f"{pair.mean:.2f}" in text, pair


def test_every_name_of_the_room_can_be_imported() -> None:
    from verticlip.domains.urban import io, tasks

    for module in (io, tasks):
        for name in module.__all__:
            assert getattr(module, name) is not None, name
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing
