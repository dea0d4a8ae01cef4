"""Every block of the room's README, in order, on drawn things and simulated attacks."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
from verticlip.domains.liveness import io, tasks

README = Path(verticlip.__file__).parent / "domains" / "liveness" / "README.md"
ROOT = README.parents[2] / "README.md"
CARD = README.parent / "weights" / "minifasnet-v2" / "README.md"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Return the data set that the first block makes; made once."""
    folder = tmp_path_factory.mktemp("readme") / "drawn"
    things = re.search(r'write_drawn_captures\("drawn", (\d+)\)', README.read_text(encoding="utf-8"))
    assert things is not None
    io.write_drawn_captures(folder, int(things[1]))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Path) -> Path:
    """Work in a folder that holds the data set."""
    shutil.copytree(drawn, tmp_path / "drawn")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language: str, heading: str = "", readme: Path = README) -> list[str]:
    """Return the blocks of a language below a heading."""
    text = readme.read_text(encoding="utf-8")
    if heading:
        text = re.split(rf"\n#+ {heading}\n", text)[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lines_of(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_block_runs(here: Path, capsys) -> None:
    found = blocks("python")
    assert len(found) == 6
    names: dict[str, Any] = {}
    for block in found:
        exec(compile(block, str(README), "exec"), names)
    said = capsys.readouterr().out
    assert "missing.jpg" in said
    assert names["result"].threshold.mode == "uncalibrated"
    assert (here / "where.png").stat().st_size
    assert (names["film"].frames_read, names["crop"].shape) == (3, (80, 80, 3))
    assert names["branch"].labels == ("live", "paper", "tablet")
    assert "made for another detector; different: way frames are combined" in said
    assert names["balanced"].threshold == names["calibration"]["balanced"]
    report = names["report"]
    assert report.threshold.rule == "dev_eer"
    assert not report.threshold.oracle_threshold
    assert len(report.rows) == len(names["test"])
    assert (here / "report" / "det.png").stat().st_size
    assert {species for species, _ in names["written"].counts} == {"test"}


def test_the_block_of_the_first_page_runs(here: Path, capsys) -> None:
    (block,) = blocks("python", "Face liveness", ROOT)
    names: dict[str, Any] = {}
    exec(compile(block, str(ROOT), "exec"), names)
    assert names["result"].threshold.mode == "balanced"
    assert "max APCER" in capsys.readouterr().out


def test_commands_run_one_after_the_other(here: Path, run) -> None:
    commands = lines_of(blocks("bash", "On the command line")[0])
    assert {shlex.split(line)[2] for line in commands} == {
        "calibrate", "check", "evaluate", "simulate", "manifest",
    }  # fmt: skip
    for line in commands:
        status, stdout, stderr = run(*shlex.split(line)[1:])
        assert status == 0, (line, stderr)
        assert stdout, line
    for file in ("answers.json", "judged/report.json", "judged/det.png", "recount/report.json"):
        assert Path(file).stat().st_size, file
    assert list(Path("maps").glob("*.png"))
    assert json.loads(Path("recount/report.json").read_text())["threshold"]["rule"] == "dev_bpcer=0.01"


@pytest.mark.parametrize("readme", [README, ROOT], ids=["room", "root"])
def test_options_of_every_command_in_the_text_exist(run, readme: Path) -> None:
    known: dict[tuple[str, ...], set[str]] = {}
    for line in (line for block in blocks("bash", readme=readme) for line in lines_of(block)):
        words = shlex.split(line, comments=True)
        if words[:1] != ["verticlip"] or (readme == ROOT and words[1] != "liveness"):
            continue
        verb = tuple(words[1:3])
        if verb not in known:
            status, stdout, _ = run(*verb, "--help")
            assert status == 0, line
            known[verb] = set(re.findall(r"--?[a-z-]+", stdout))
        options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        assert options <= known[verb], line


def test_verbs_of_the_group_are_those_of_the_text(run) -> None:
    listed = run("liveness", "--help")[1].split("Commands:")[1]
    assert "..." not in listed  # every verb's summary fits its line
    text = README.read_text(encoding="utf-8")
    verbs = re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)
    assert len(verbs) >= 8
    for verb in verbs:
        assert f"verticlip liveness {verb} " in text, verb


def test_every_verb_has_the_same_options_for_the_same_thing(run) -> None:
    """A user who knows one verb knows the options of the others."""
    of = {verb: run("liveness", verb, "--help")[1] for verb in ("check", "calibrate", "evaluate")}
    for option in (
        "-m, --model",
        "--detector",
        "--yunet",
        "--frames",
        "--aggregator",
        "--gate",
        "--taxonomy",
    ):
        assert all(option in text for text in of.values()), option
    for verb in ("check", "calibrate", "evaluate", "manifest", "example"):
        assert "--out" in run("liveness", verb, "--help")[1], verb
    for verb in (*of, "folds", "manifest", "flip-lists", "simulate", "example"):
        assert re.search(r"--json +Print JSON lines", run("liveness", verb, "--help")[1]), verb


def test_presentations_that_show_a_rate() -> None:
    from verticlip.domains.liveness.metrics.iso import upper_bound

    said = README.read_text(encoding="utf-8").split("| rate | with no error")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([\d.]+) % \| ([\d,]+) \| ([\d,]+) \|$", said, re.MULTILINE)
    assert len(rows) == 6
    for rate, *counts in rows:
        target = float(rate) / 100
        for errors, count in enumerate(int(one.replace(",", "")) for one in counts):
            assert upper_bound(errors, count) <= target < upper_bound(errors, count - 1), (rate, errors)
        assert int(counts[0].replace(",", "")) == math.ceil(math.log(0.05) / math.log1p(-target))


def test_recipes_of_the_text_are_those_of_the_room() -> None:
    from verticlip.core.registry import recipes

    text = README.read_text(encoding="utf-8").split("## Train")[1].split("\n## ")[0]
    for name in recipes():
        if name.startswith("liveness/"):
            assert name in text or f"`{name.removeprefix('liveness/')}`" in text, name
    for name in re.findall(r"train run (liveness/[a-z0-9-]+)", text):
        assert name in recipes()


def test_tables_name_what_there_is() -> None:
    from verticlip.domains.liveness.metrics.thresholds import MODES
    from verticlip.domains.liveness.protocols.registry import READERS
    from verticlip.domains.liveness.published import PUBLISHED
    from verticlip.domains.liveness.taxonomy import load_taxonomy

    text = README.read_text(encoding="utf-8")
    for mode, rule in MODES.items():
        assert f"| `{mode}` | `{rule}` |" in text
    protocols = text.split("## Manifests and public data sets")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", protocols, re.MULTILINE)) == set(READERS)
    published = text.split("## Published checkpoints")[1].split("\n## ")[0]
    for spec in PUBLISHED:
        name = spec.name.replace("liveness/clip-vit-b32", "-b32").replace("liveness/flip-mcl-wcs", "-wcs")
        assert f"`{name}`" in published, spec.name
    default = load_taxonomy("default")
    sources = [one.source for one in default.categories if one.kind == "attack"]
    assert (len(sources), sources.count("abstract")) == (8, 4)


def test_the_first_screen_says_what_is_out_of_reach() -> None:
    for text in (README.read_text(encoding="utf-8").split("\n## ")[0],):
        for words in (
            "Injected video",
            "never the only basis",
            "no evidence of how live faces",
            "certifies nothing",
        ):
            assert words in " ".join(text.split()), words


def test_parity_figures_are_those_of_the_card() -> None:
    card = CARD.read_text(encoding="utf-8")
    assert "| largest difference from the authors' code, logits of three pictures, float32 | 0 |" in card
    folded = re.search(r"which is how it answers \| ([\d.e-]+) \|", card)
    assert folded is not None
    for readme in (README, ROOT):
        assert folded[1] in readme.read_text(encoding="utf-8"), readme


def test_figures_are_those_of_the_stored_run() -> None:
    stored = json.loads((README.parent / "weights/tiny/metrics.json").read_text(encoding="utf-8"))
    tested = stored["further"]["model"]["test"]
    simple = stored["further"]["pixel statistics"]["test"]
    room = README.read_text(encoding="utf-8").split("## `liveness/tiny`")[1].split("\n## ")[0]
    row = next(
        line for line in ROOT.read_text(encoding="utf-8").splitlines() if "| `liveness/tiny` | `" in line
    )

    def said(rate: dict[str, Any]) -> str:
        low, high = rate["interval_95"]
        return f"{100 * rate['rate']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

    for species, rate in tested["apcer"].items():
        assert f"| APCER {species} | {rate['n']:,} | {said(rate)} |" in room, species
    worst = max(tested["apcer"], key=lambda name: tested["apcer"][name]["rate"])
    assert f"| BPCER | {tested['bpcer']['n']:,} | {said(tested['bpcer'])} |" in room
    assert f"max APCER {said(tested['apcer'][worst])}, {worst}; BPCER {said(tested['bpcer'])}" in row
    for text in (row, " ".join(room.split())):
        assert f"AUC {tested['auc']:.3f}" in text
        assert f"AUC {simple['auc']:.3f}" in text
        assert "no evidence" in text


def test_figures_of_others_are_those_of_the_table() -> None:
    from verticlip.domains.liveness.evaluation.published_results import PUBLISHED_RESULTS

    root = ROOT.read_text(encoding="utf-8")
    for protocol in ("flip-1", "flip-2"):
        (hter,) = (
            one.value
            for one in PUBLISHED_RESULTS
            if (one.method, one.protocol, one.direction, one.metric)
            == ("FLIP-MCL", protocol, "average", "hter")
        )
        assert f"| HTER {hter:.2f} %, mean of" in root, protocol


def test_every_name_of_the_room_can_be_imported() -> None:
    assert not set(io.__all__) & set(tasks.__all__)
    for module in (io, tasks):
        for name in module.__all__:
            assert getattr(module, name) is not None, name
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing
