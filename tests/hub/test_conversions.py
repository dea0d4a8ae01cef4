"""Files that a user has, converted without network: roles, hashes, what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import verticlip
from verticlip.core import registry
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.registry import ModelSpec, PublishedFile, PublishedWeights
from verticlip.hub import conversions

OPTIONS = {"image_size": 32, "image_head_width": 16, "text_head_width": 10, "context_length": 32}
WEIGHTS = PublishedFile("weights", "org/model", "model.pt")
VOCABULARY = PublishedFile("vocab", "org/text", "vocab.txt")
SPEC = ModelSpec(
    "medical/test",
    "medical",
    "a test",
    ("image", "text"),
    24,
    PublishedWeights((WEIGHTS, VOCABULARY), "unimed", OPTIONS),
    "CC-BY-NC-4.0",
    "Research only.",
)


@pytest.fixture
def case(small_golden: Path) -> Path:
    return small_golden / "unimed_clip" / "tiny_b16"


@pytest.fixture
def files(case: Path, tmp_path: Path) -> dict[str, Path]:
    """The published files under their own names, in a folder."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "model.pt").write_bytes((case / "weights.safetensors").read_bytes())
    (folder / "vocab.txt").write_bytes((case / "vocab.txt").read_bytes())
    return {"weights": folder / "model.pt", "vocab": folder / "vocab.txt"}


def test_local_files_convert_without_network(files, tmp_path) -> None:
    result = conversions.convert_files(SPEC, files, tmp_path / "out")
    assert result.report["scalars"]["loaded"] == 1
    model = verticlip.from_pretrained(tmp_path / "out", device="cpu")
    assert model.revision.startswith("sha256:")
    assert model.config.name == "medical/test"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "conversion.json", "model.safetensors", "processor.json", "tokenizer.json",
    ]  # fmt: skip
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    with pytest.raises(ConfigError, match="out is not empty. Choose another folder"):
        conversions.convert_files(SPEC, files, tmp_path / "out")


def test_weights_that_contradict_the_registry_need_a_word(files, tmp_path) -> None:
    weights = PublishedWeights((replace(WEIGHTS, sha256="0" * 64), VOCABULARY), "unimed", OPTIONS)
    spec = replace(SPEC, weights=weights)
    with pytest.raises(WeightsError, match=rf"model.pt has SHA-256 .* has {'0' * 64}.*--any-file"):
        conversions.convert_files(spec, files, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    conversions.convert_files(spec, files, tmp_path / "out", any_file=True)
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert (record["variant"], record["files"][0]["registered"]) == (True, False)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "other weights than the published ones" in config["description"]


def test_a_failed_conversion_leaves_nothing(files, tmp_path) -> None:
    files["weights"].write_bytes(b"\x80\x02garbage")
    with pytest.raises(WeightsError, match="model.pt: not a checkpoint that can be read"):
        conversions.convert_files(SPEC, files, tmp_path / "deep" / "out")
    assert not list((tmp_path / "deep").iterdir()) if (tmp_path / "deep").exists() else True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_files_that_nothing_is_known_of_are_marked(cache, files, tmp_path) -> None:
    result = conversions.convert_files(SPEC, files, tmp_path / "out")
    assert result.unverified == ("weights", "vocab")
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert (record["unverified"], record["variant"]) == (["weights", "vocab"], False)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "compared with no hash: weights, vocab" in config["description"]


def test_files_are_compared_with_the_first_download(cache, files, tmp_path) -> None:
    from verticlip.core.files import sha256_of
    from verticlip.hub.trust import FirstUse, record

    use = FirstUse("org/model", "model.pt", "main", "1" * 40, sha256_of(files["weights"]), 3, "2026-01-01")
    record([use, FirstUse("org/text", "vocab.txt", "main", "1" * 40, "0" * 64, 3, "2026-01-01")])
    with pytest.raises(
        WeightsError, match=r"vocab.txt has SHA-256 .*; the first download, of 2026-01-01, of vocab.txt has 0"
    ):
        conversions.convert_files(SPEC, files, tmp_path / "out")
    result = conversions.convert_files(SPEC, files, tmp_path / "out", any_file=True)
    assert [file.registered for file in result.files] == [True, False]
    assert result.unverified == ()
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["variant"] is True


def test_which_file_is_for_which_role(files, tmp_path) -> None:
    folder, vocabulary = files["vocab"].parent, str(files["vocab"])
    assert conversions.roles(SPEC, [str(folder)]) == files
    assert conversions.roles(SPEC, [f"vocab={vocabulary}", str(files["weights"])]) == files
    with pytest.raises(
        ConfigError, match=r"which file is this\? Write ROLE=PATH; .* weights=model.pt, vocab="
    ):
        conversions.roles(SPEC, [vocabulary])
    with pytest.raises(ConfigError, match="no role 'weight'.*Did you mean 'weights'"):
        conversions.roles(SPEC, [f"weight={vocabulary}"])
    with pytest.raises(ConfigError, match="medical/test: no file for 'vocab'; it needs: weights=model.pt"):
        conversions.convert_files(SPEC, {"weights": files["weights"]}, tmp_path / "out")
    with pytest.raises(ConfigError, match="no role 'vocabulary'"):
        conversions.convert_files(SPEC, {**files, "vocabulary": "x"}, tmp_path / "out")
    with pytest.raises(WeightsError, match="nowhere: no such file. medical/test needs vocab=vocab.txt"):
        conversions.convert_files(SPEC, {**files, "vocab": tmp_path / "nowhere"}, tmp_path / "out")


def test_packaged_models_have_nothing_to_convert() -> None:
    with pytest.raises(ConfigError, match="ships in verticlip's own format"):
        conversions.roles(registry.model_spec("medical/tiny"), [])


def test_two_processes_at_once_leave_one_whole_folder(files, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    write = conversions.write_json_atomic

    def late(path, value) -> None:
        # The other process is done just before this one.
        if path.name == conversions.CONVERSION_FILE:
            out.mkdir()
            (out / "config.json").write_text("theirs")
        write(path, value)

    monkeypatch.setattr(conversions, "write_json_atomic", late)
    with pytest.raises(ConfigError, match="out: something was written there meanwhile"):
        conversions.convert_files(SPEC, files, out)
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


BY_HAND = ModelSpec(
    "audio/test",
    "audio",
    "a test",
    (),
    0,
    PublishedWeights(
        (
            PublishedFile("weights", "", "best_model.pt", page="https://example.org/weights"),
            PublishedFile("clip", "org/clip", "clip.safetensors", optional=True, purpose="for words"),
            PublishedFile("labels", "", "labels.json", optional=True),
        ),
        "clipsep",
    ),
    "MIT",
    "Research only.",
)


@pytest.fixture
def separator(small_golden: Path, tmp_path: Path) -> Path:
    path = tmp_path / "best_model.pt"
    path.write_bytes((small_golden / "clipsep" / "clipsep_nit" / "weights.safetensors").read_bytes())
    return path


def test_an_optional_file_may_be_left_out(separator, tmp_path) -> None:
    result = conversions.convert_files(BY_HAND, {"weights": separator}, tmp_path / "out")
    assert [file.role for file in result.files] == ["weights"]
    assert result.files[0].repo_id == "https://example.org/weights"
    model = verticlip.from_pretrained(tmp_path / "out", device="cpu")
    assert model.config.description.endswith(
        "convert it again with a 'clip' file. Converted from files that were compared with no hash: weights."
    )
    with pytest.raises(
        ConfigError, match=r"no file for 'weights'; it needs: weights=best_model.pt, \[clip=clip"
    ):
        conversions.convert_files(BY_HAND, {}, tmp_path / "other")


def test_a_bare_path_is_for_what_is_needed(separator) -> None:
    assert conversions.roles(BY_HAND, [str(separator)]) == {"weights": separator}


def test_weights_that_only_a_person_can_download_say_how() -> None:
    from verticlip.hub.published import how_by_hand, resolve_published

    with pytest.raises(
        ConfigError, match="on no model hub. Download best_model.pt from https://example.org/weights"
    ):
        resolve_published(BY_HAND)
    said = how_by_hand(BY_HAND)
    assert "verticlip models convert audio/test --file weights=best_model.pt --out FOLDER" in said
    assert said.endswith(
        "It also takes: --file clip=clip.safetensors from https://huggingface.co/org/clip (for words); "
        "--file labels=labels.json."
    )
    assert how_by_hand(SPEC) == ""
