"""Every block of the guide to the Hub, in order, against the local server; and the Hub's part of the README."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip

sys.path.insert(0, str(Path(__file__).parent / "export"))

import make_exports
from PIL import Image
from verticlip.hub.certificate import Certificate
from verticlip.hub.export import FORMATS, export
from verticlip.hub.folder_files import PUBLISHED

README = Path(verticlip.__file__).parent / "hub" / "README.md"
ROOT = README.parents[1]
TINY = ROOT / "domains/medical/weights/tiny"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blocks(language: str, heading: str, readme: Path = README) -> list[str]:
    """Return the blocks of a language below a heading."""
    part = re.split(rf"\n#+ {heading}\n", readme.read_text(encoding="utf-8"))[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)


def run_blocks(names: dict[str, Any], *found: str) -> None:
    for block in found:
        exec(compile(block, str(README), "exec"), names)


def run_lines(run, block: str) -> str:
    """Run the program on every line of a block and return what it printed."""
    printed = ""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "verticlip"
        status, out, err = run(*words[1:])
        assert status == 0, (line, out, err)
        printed += out
    return printed


def test_from_loading_to_probes(online, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    online.login()
    names: dict[str, Any] = {}
    run_blocks(names, *blocks("python", "Loading"))
    assert names["again"].config == names["model"].config

    shutil.copytree(TINY, "runs/a/model")
    run_lines(run, blocks("bash", "Publishing")[0])
    [commit] = [one.id for one in online.hub.commits("acme/brain-mri") if one.title.startswith("Brain MRI")]
    run_blocks(names, *blocks("python", "Publishing"))
    assert not names["done"].changed
    assert names["done"].commit == names["model"].revision == commit
    assert set(online.hub.files("acme/brain-mri")) - {".gitattributes"} <= set(PUBLISHED)

    commands, by_hand = blocks("bash", "Certificates")
    printed = run_lines(run, commands)
    assert json.loads(printed.splitlines()[-1])["verdict"] == "verified"
    run_blocks(names, *blocks("python", "Certificates"))
    assert names["whole"]
    assert names["same"]
    # sha256sum of coreutils, which not every system has, prints the same digests.
    hashed = {name: hashlib.sha256((TINY / name).read_bytes()).hexdigest() for name in by_hand.split()[1:]}
    assert hashed == names["files"]

    run_blocks(names, *blocks("python", "Stored probes"))
    assert names["report"].passed
    relative = names["probe"].record.tolerance.relative
    assert f"by {relative:.0e}".replace("e-0", "e-") in README.read_text(encoding="utf-8")


@pytest.fixture
def clip(online, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A CLIP of open_clip as ``org/clip``, a picture, and names for the blocks."""
    monkeypatch.chdir(tmp_path)
    export(make_exports.word_clip(), tmp_path / "published", "open_clip")
    files = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    online.hub.add_repository("org/clip", files)
    Image.effect_noise((64, 48), 80).convert("RGB").save("photo.jpg")
    return {"verticlip": verticlip, "picture": Image.open("photo.jpg").convert("RGB")}


def test_imports_and_exports_for_other_libraries(clip, run, capsys) -> None:
    run_blocks(clip, *blocks("python", "Imports"))
    assert len(clip["imported"].revision) == 40
    commands = blocks("bash", "Exports")[0].splitlines()
    run_lines(run, "\n".join(commands[:2]))
    open_clip_block, transformers_block, sentences_block, _ = blocks("python", "Exports")
    with torch.no_grad():
        run_blocks(clip, open_clip_block)
    run_blocks(clip, transformers_block)
    ours = torch.as_tensor(clip["imported"].embed(["a red house", "a cat"]).vectors)
    assert torch.allclose(clip["text"], ours, atol=1e-5)
    pytest.importorskip("sentence_transformers")
    run_blocks(clip, sentences_block)
    assert abs(clip["vectors"] @ clip["vectors"].T - 1) < 1e-5
    assert capsys.readouterr().out.count("[[") == 3


@pytest.mark.slow
def test_exports_for_runtimes(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    line = blocks("bash", "Exports")[0].splitlines()[2]
    assert line.endswith("--to onnx")
    run_lines(run, line)
    monkeypatch.chdir(tmp_path / "out/onnx")
    monkeypatch.syspath_prepend(".")
    names: dict[str, Any] = {"picture": Image.effect_noise((64, 48), 80).convert("RGB")}
    try:
        run_blocks(names, blocks("python", "Exports")[3])
    finally:
        sys.modules.pop("reader", None)
    assert "dress" in capsys.readouterr().out


def test_the_headline_of_the_readme(clip, online, run, monkeypatch: pytest.MonkeyPatch) -> None:
    online.login()
    shutil.copytree(TINY, "runs/a/model")
    monkeypatch.setitem(
        online.hub.repositories, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", online.hub.repositories["org/clip"]
    )
    heading = "What you load is what was measured"
    [block] = blocks("python", heading, ROOT / "README.md")
    run_blocks(clip, block)
    assert clip["model"].revision == clip["commit"]
    assert clip["clip"].revision == online.hub.commits("org/clip")[0].id
    [text] = blocks("json", heading, ROOT / "README.md")
    shown = json.loads(text)
    whole = json.loads(run("hub", "verify", "medical/tiny", "--json")[1])
    for key in ("model", "revision", "verdict"):
        assert shown[key] == whole[key]
    assert shown["probe"]["status"] == whole["probe"]["status"]
    parts = (
        (shown["files"], whole["files"], "name"),
        (shown["probe"]["checks"], whole["probe"]["checks"], "name"),
        (shown["parity"], whole["parity"], "case"),
    )
    for few, many, key in parts:
        for row in few:
            [real] = [one for one in many if one[key] == row[key]]
            for name in row.keys() - {"error", "tolerance"}:
                assert row[name] == real[name], (row, name)
            if "error" in row:
                assert row["error"] <= row["tolerance"] == pytest.approx(real["tolerance"], rel=5e-3)


def test_the_server_starts_as_the_text_says(tmp_path: Path) -> None:
    server, here = blocks("bash", "Trying it offline")
    words = shlex.split(server)
    assert words[:1] + words[2:4] == ["python", "--port", "8765"]
    fault = re.search(r"`--fault '(.*?)'`", README.read_text(encoding="utf-8"))
    assert fault is not None
    command = [sys.executable, str(ROOT / words[1]), "--port", "0", *words[4:], "--fault", fault[1]]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
    assert first.startswith("HF_ENDPOINT=http://127.0.0.1:")
    assert "HF_ENDPOINT=http://127.0.0.1:8765" in here


@pytest.mark.parametrize("readme", [README, ROOT / "README.md"], ids=["hub", "root"])
def test_options_of_every_command_in_the_text_exist(run, readme: Path) -> None:
    known: dict[str, set[str]] = {}
    text = readme.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    seen = 0
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:2] != ["verticlip", "hub"]:
            continue
        if words[2] not in known:
            status, out, _ = run("hub", words[2], "--help")
            assert status == 0, line
            known[words[2]] = set(re.findall(r"--[a-z-]+", out))
        assert {word for word in words if word.startswith("--")} <= known[words[2]], line
        seen += 1
    assert seen >= 4


def test_help_names_every_verb_of_the_text_and_cuts_no_sentence(run) -> None:
    listed = run("hub", "--help")[1].split("Commands:")[1]
    verbs = re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE)
    assert sorted(verbs) == ["card", "export", "probe", "push", "verify"]
    assert "..." not in listed
    text = README.read_text(encoding="utf-8")
    for verb in verbs:
        assert f"verticlip hub {verb} " in text, verb


def test_tables_name_what_the_code_has() -> None:
    text = README.read_text(encoding="utf-8")
    # Every check by the code that it prints, with its level.
    sources = [
        (ROOT / "hub" / f"{name}.py").read_text() for name in ("checks", "checks_content", "checks_origin")
    ]
    codes = {code for source in sources for code in re.findall(r'Finding\(\s*"([a-z-]+)"', source)}
    codes |= {
        "secret",
        "local-path",
        "computer-name",
        "data-sample",
        "metrics-validation",
        "metrics-baseline",
    }
    table = text.split("| what is checked |")[1].split("\n\n")[0]
    told = set(re.findall(r"`([a-z-]+)`", table))
    assert told == codes, told ^ codes
    for name in PUBLISHED:
        assert f"`{name}`" in text.split("These files are published")[1].split("\n\n")[0], name
    fields = text.split("| field | what it says |")[1].split("\n\n")[0]
    named = {word for row in fields.splitlines()[2:] for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {field.alias or name for name, field in Certificate.model_fields.items()}
    for name in FORMATS:
        assert f"--to {name}" in text, name
