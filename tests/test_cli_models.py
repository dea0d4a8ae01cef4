"""``verticlip models``: listing, facts without a download, conversion, forgetting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from verticlip.core import registry
from verticlip.core.registry import ModelSpec, PublishedFile, PublishedWeights

OPTIONS = {"image_head_width": 16, "text_head_width": 10, "context_length": 32}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def downloaded(small_golden: Path, tmp_path: Path) -> Path:
    """A folder with the files of a tiny published model under their published names."""
    case = small_golden / "unimed_clip" / "tiny_b16"
    folder = tmp_path / "downloaded"
    folder.mkdir()
    shutil.copy(case / "weights.safetensors", folder / "model.pt")
    shutil.copy(case / "vocab.txt", folder)
    return folder


@pytest.fixture
def spec(monkeypatch) -> ModelSpec:
    files = (
        PublishedFile("weights", "org/model", "model.pt", sha256="0" * 64, size="1 GB"),
        PublishedFile("vocab", "org/text", "vocab.txt"),
    )
    weights = PublishedWeights(files, "unimed", OPTIONS, gated="https://example.org/ask")
    spec = ModelSpec(
        "medical/test", "medical", "a test", ("image", "text"), 24, weights, "CC-BY-NC-4.0", "Research only."
    )
    monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})
    return spec


def test_the_list_shows_licence_and_access(run) -> None:
    status, out, err = run("models", "list")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "CC-BY-NC-4.0 (non-commercial)" in lines["medical/unimed-clip-vit-b16"]
    assert " gated " in lines["medical/conceptclip"]
    assert " packaged " in lines["medical/tiny"]
    assert " open " in lines["medical/biovil-t"]
    _, out, _ = run("models", "list", "--json")
    access = {row["name"]: row["access"] for row in map(json.loads, out.splitlines())}
    assert access["medical/conceptclip"] == "gated"


def test_the_list_is_narrow_and_can_be_chosen_from(run) -> None:
    out = run("models", "list")[1]
    assert out.splitlines()[0].split() == ["name", "takes", "licence", "access", "tasks"]
    assert max(map(len, out.splitlines())) < 170
    status, out, err = run("models", "list", "--domain", "audio", "--takes", "image", "--licence", "mit")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "audio/clipsep-nit", "audio/openai-clip-vit-b32", "audio/openai-clip-vit-l14",
    ]  # fmt: skip
    status, out, err = run("models", "list", "--task", "captionin")
    assert (status, out) == (1, "")
    assert "Did you mean 'captioning'" in err
    status, out, _ = run("models", "list", "--task", "separation", "--licence", "apache")
    assert (status, len(out.splitlines())) == (0, 1)


def test_the_list_comes_in_the_formats_of_others(run, tmp_path: Path) -> None:
    status, out, err = run("models", "list", "--format", "csv", "--domain", "medical")
    assert (status, err) == (0, "")
    assert out.startswith("name,domain,system,")
    assert run("models", "list", "--format", "json")[1] == run("models", "list", "--json")[1]
    row = json.loads(run("models", "list", "--json")[1].splitlines()[0])
    assert row["measured"][0]["command"].startswith("verticlip train run medical/tiny")
    out = run("models", "list", "--format", "md", "--domain", "liveness")[1]
    assert out.startswith("### Models: liveness\n\n| model | what it is |")
    page = tmp_path / "page.md"
    page.write_text("# Ours\n")
    status, _, err = run("models", "list", "--format", "md", "--write", page)
    assert status == 1
    assert "have to be there once each" in err
    assert page.read_text() == "# Ours\n"
    status, _, err = run("models", "list", "--write", page)
    assert status == 2
    assert "--write goes with --format md" in err


def test_facts_say_what_to_do_next(run) -> None:
    out = run("models", "info", "medical/tiny")[1]
    assert "verticlip hub verify medical/tiny" in out
    assert "    verticlip train run medical/tiny --data DATA --out RUN" in out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert "onnx," in lines["export"]
    assert lines["parameters"] == ["3.1", "M"]
    assert "as published: arXiv 2301.04558" in run("models", "info", "medical/biovil")[1]
    facts = json.loads(run("models", "info", "medical/tiny", "--json")[1])
    assert facts["export"]["onnx"] == ""
    assert facts["export"]["transformers"]


def test_a_folder_of_another_library_is_told_without_its_weights(run, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {
        "model_type": "clip",
        "projection_dim": 12,
        "text_config": {**sizes, "vocab_size": 30, "max_position_embeddings": 8},
        "vision_config": {**sizes, "image_size": 16, "patch_size": 8},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"nobody reads this")
    status, out, err = run("models", "info", folder, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert facts["format"] == "transformers:clip"
    assert (facts["modalities"], facts["embed_dim"]) == (["image", "text"], 12)
    assert facts["export"] is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", sorted(registry.models()))
def test_facts_of_every_model_are_shown_without_a_download(run, name: str) -> None:
    status, out, err = run("models", "info", name)
    assert (status, err) == (0, "")
    assert registry.model_spec(name).licence in out
    status, out, _ = run("models", "info", name, "--json")
    facts = json.loads(out)
    assert facts["intended_use"]
    if isinstance(registry.model_spec(name).weights, PublishedWeights):
        assert facts["converted"] is None
        assert all(file["sha256"] for file in facts["files"])


def test_facts_name_files_sizes_and_hashes(run, spec) -> None:
    out = run("models", "info", "medical/test")[1]
    assert "not yet; the first load fetches the files below" in out
    assert "https://example.org/ask" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("weights", "vocab"))]
    assert rows[0] == ["weights", "org/model/model.pt", "main", "1", "GB", "0" * 64]
    assert rows[1] == ["vocab", "org/text/vocab.txt", "main", "-", "recorded", "at", "first", "use"]


def test_convert_writes_a_folder_that_loads(run, spec, downloaded: Path, tmp_path: Path) -> None:
    arguments = ("models", "convert", "medical/test", "--file", downloaded, "--out", tmp_path / "out")
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert "which forbids commercial use" in err
    assert f"the published model.pt has {'0' * 64}" in err
    status, out, err = run(*arguments, "--any-file")
    assert status == 0
    assert out.splitlines()[0].split() == ["part", "loaded", "missing", "unexpected", "dropped"]
    assert ["image", "44", "0", "0", "0"] in [line.split() for line in out.splitlines()]
    assert f"model folder: {tmp_path / 'out'}" in err
    assert "note: no SHA-256 is known of vocab; nothing says that these are the published files" in err
    status, out, _ = run("models", "info", tmp_path / "out", "--json")
    assert json.loads(out)["licence"] == "CC-BY-NC-4.0"


def test_convert_reports_as_json(run, spec, downloaded: Path, tmp_path: Path) -> None:
    files = ("--file", f"weights={downloaded / 'model.pt'}", "--file", downloaded / "vocab.txt")
    status, out, _ = run(
        "models", "convert", "medical/test", *files, "--out", tmp_path / "out", "--any-file", "--json"
    )
    assert status == 0
    facts = json.loads(out)
    assert facts["report"]["text"]["missing"] == []
    assert facts["files"][0]["registered"] is False
    assert facts["unverified"] == ["vocab"]
    status, _, err = run("models", "convert", "medical/test", *files, "--out", tmp_path / "out")
    assert status == 1
    assert "is not empty. Choose another folder" in err


def test_forget_says_what_it_forgot(run, spec) -> None:
    from verticlip.hub.trust import FirstUse, record

    record([FirstUse("org/model", "model.pt", "main", "1" * 40, "2" * 64, 3, "2026-01-01")])
    status, out, err = run("models", "forget", "medical/test")
    assert (status, out) == (0, f"org/model/model.pt\tmain\t{'1' * 40}\t{'2' * 64}\n")
    assert "1 files forgotten" in err
    assert run("models", "forget", "medical/test", "--json")[:2] == (0, "")
    status, _, err = run("models", "forget", "medical/tset")
    assert status == 1
    assert "Did you mean 'medical/test'" in err


def test_prune_says_what_goes_and_keeps_it_in_a_dry_run(run, spec, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "converted" / "medical--test" / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x" * 10_000_000)
    line = f"medical/test\t{left}\t0.01 GB\tunfinished\n"
    status, out, err = run("models", "prune", "--dry-run")
    assert (status, out) == (0, line)
    assert "1 folders, 0.01 GB would be removed." in err
    assert left.is_dir()
    status, out, _ = run("models", "prune", "medical/test", "--json")
    assert json.loads(out) == {
        "model": "medical/test", "folder": str(left), "bytes": 10_000_000, "reason": "unfinished",
    }  # fmt: skip
    assert not left.parent.exists()
    assert run("models", "prune")[1] == ""
    status, _, err = run("models", "prune", "medical/tset")
    assert status == 1
    assert "Did you mean 'medical/test'" in err


def test_weights_of_other_sizes_convert_with_options(run, small_golden: Path, tmp_path: Path) -> None:
    case = small_golden / "conceptclip" / "tiny_a"
    files = ["--file", f"weights={case / 'weights.safetensors'}", "--file", f"vocab={case / 'vocab.txt'}"]
    heads = ["--option", "image_heads=4", "--option", "text_heads=4", "--option", "context_length=24"]
    convert = ("models", "convert", "medical/conceptclip", *files, "--out", tmp_path / "small")
    status, _, err = run(*convert)
    assert status == 1
    assert "--option image_heads=N" in err
    status, out, _ = run(*convert, *heads)
    assert status == 0
    assert "image" in out
    described = json.loads((tmp_path / "small" / "config.json").read_text())["description"]
    assert "other weights than the published ones" in described
    status, _, err = run(*convert[:-1], tmp_path / "other", "--option", "image_heads")
    assert status == 1
    assert "--option 'image_heads' is not KEY=VALUE" in err


def test_weights_that_only_a_person_can_download(
    run, monkeypatch, small_golden: Path, tmp_path: Path
) -> None:
    files = (
        PublishedFile("weights", "", "best_model.pt", page="https://example.org/weights"),
        PublishedFile("clip", "org/clip", "clip.safetensors", optional=True),
        PublishedFile("labels", "", "labels.json", optional=True),
    )
    spec = ModelSpec(
        "audio/test", "audio", "a test", (), 0, PublishedWeights(files, "clipsep"), "MIT", "Research."
    )
    monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})
    assert "by hand" in run("models", "list")[1]
    out = run("models", "info", "audio/test")[1]
    assert "best_model.pt, https://example.org/weights" in out
    assert "clip (optional)" in out
    assert "labels.json, your own" in out
    assert "on no model hub" in out
    weights = small_golden / "clipsep" / "clipsep_nit" / "weights.safetensors"
    status, out, err = run(
        "models", "convert", "audio/test", "--file", str(weights), "--out", str(tmp_path / "out")
    )
    assert status == 0, err
    assert "separator" in out
