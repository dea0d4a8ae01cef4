from __future__ import annotations

import shutil

import pytest
from make_probed import CLIP, DIM, SOUND
from safetensors.torch import load_file, save_file
from verticlip.core import registry
from verticlip.core.config import ModelConfig, read_config
from verticlip.core.errors import ConfigError
from verticlip.hub import parity
from verticlip.hub.parity import (
    cases_of,
    covered_by,
    find_case,
    golden_homes,
    parts_of,
    replay_parity,
    uncovered,
)

CASE = "core/open_clip.zero_shot_classifier"


def test_every_case_that_a_model_names_exists_and_is_of_a_known_system(small_golden):
    from verticlip.core.verify import systems

    for spec in registry.models().values():
        for case in spec.parity:
            assert (small_golden / case).is_dir(), f"{spec.name}: {case}"
            assert case.split("/")[0] in systems()
        assert len(set(spec.parity)) == len(spec.parity)


def test_every_case_says_what_it_runs_and_only_that_counts():
    named = {case for spec in registry.models().values() for case in spec.parity}
    silent = [case for case in named if not covered_by(case, ["any"]) and not known_words(case)]
    assert silent == []
    parts = ("timm resnet18d", "bert")
    found = replay_parity(["unimed_clip/tiny_b16", CASE], parts=parts)
    assert [one.covers for one in found] == [("bert", "answers", "preprocessing"), ("answers",)]
    assert uncovered(parts, found) == ("timm resnet18d",)
    assert uncovered(parts, found[1:]) == parts, "averaging prompts runs no tower"
    failed = found[0].model_copy(update={"status": "failed"})
    assert uncovered(parts, [failed]) == parts


def known_words(case: str) -> tuple[str, ...]:
    return next((room.covers[case] for room in map(registry.room, registry.ROOMS) if case in room.covers), ())


def test_the_packaged_small_models_say_which_tower_no_case_runs():
    for spec in registry.models().values():
        if isinstance(spec.weights, registry.WeightsRef) and spec.weights.packaged:
            folder = registry.room(spec.domain).folder / spec.weights.packaged
            parts = parts_of(read_config(ModelConfig, folder / "config.json"))
            runs = {word for case in spec.parity for word in covered_by(case, parts)}
            assert set(parts) - runs <= {"timm resnet18d", "clipsonic"}, spec.name


def test_a_case_that_agrees_says_how_well():
    (found,) = replay_parity([CASE])
    assert (found.system, found.case, found.status) == ("core", "open_clip.zero_shot_classifier", "passed")
    assert found.compared == 4
    assert found.reason == ""
    assert found.error is not None
    assert found.tolerance is not None
    assert 0 <= found.error <= found.tolerance


def test_a_case_that_disagrees_names_an_output_and_no_place(small_golden, tmp_path):
    shutil.copytree(small_golden / CASE, tmp_path / CASE)
    outputs = load_file(tmp_path / CASE / "outputs.safetensors")
    outputs["probabilities"] = outputs["probabilities"].flip(1)
    save_file(outputs, tmp_path / CASE / "outputs.safetensors")
    (found,) = replay_parity([CASE], tmp_path)
    assert (found.status, found.output) == ("failed", "probabilities")
    assert found.reason == "1 of 4 outputs differ, probabilities for one"

    (tmp_path / CASE / "inputs.safetensors").unlink()
    (found,) = replay_parity([CASE], tmp_path)
    assert found.status == "failed"
    assert "inputs.safetensors is missing" in found.reason
    assert str(tmp_path) not in found.reason


def test_what_is_not_here_or_cannot_run_does_not_stop_the_others(monkeypatch):
    def missing(system, folder):
        raise ImportError(f"'cv2' is needed here, not in {folder}")

    (absent, present) = replay_parity(["core/nothing", CASE])
    assert (absent.status, present.status) == ("not here", "passed")
    assert "--goldens" in absent.reason
    assert parity.VARIABLE in absent.reason
    monkeypatch.setattr(parity, "replay", missing)
    (found,) = replay_parity([CASE])
    assert (found.status, found.reason) == (
        "cannot run",
        "'cv2' is needed here, not in open_clip.zero_shot_classifier",
    )


def test_homes_are_the_folder_the_variable_and_what_ships(monkeypatch, tmp_path, root):
    monkeypatch.delenv(parity.VARIABLE, raising=False)
    shipped = golden_homes()
    assert root / "tests" / "golden" in shipped
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / CASE).mkdir(parents=True)
    monkeypatch.setenv(parity.VARIABLE, str(tmp_path / "b"))
    assert golden_homes(tmp_path / "a") == (tmp_path / "a", tmp_path / "b", *shipped)
    assert find_case(CASE, golden_homes(tmp_path / "a")) == tmp_path / "b" / CASE
    monkeypatch.setenv(parity.VARIABLE, str(tmp_path / "gone"))
    assert golden_homes() == shipped
    monkeypatch.setattr(parity, "_PACKAGE", tmp_path)
    (tmp_path / "goldens").mkdir()
    assert golden_homes() == (tmp_path / "goldens",), "an installed wheel"
    with pytest.raises(ConfigError, match="no such folder. Give one that holds golden cases"):
        golden_homes(tmp_path / "missing")


def test_a_model_without_an_entry_has_the_cases_of_its_kind():
    def config(**facts) -> ModelConfig:
        return ModelConfig.model_validate({"name": "m", "embed_dim": 0, "architecture": "other", **facts})

    bare = registry.model_spec("medical/tiny")
    assert cases_of(bare, config()) == bare.parity
    prior = cases_of(None, config(domain="audio", architecture="diffusion_prior"))
    assert set(prior) == {"clipsonic/diffusion_prior", "clipsonic/diffusion_prior_v1_1"}
    assert "clipsep/clipsep_late_three_sources" in cases_of(
        None, config(domain="audio", architecture="clipsep")
    )
    assert cases_of(None, config()) == ()
    clip = config(architecture="contrastive", embed_dim=DIM, towers=CLIP)
    assert cases_of(None, clip) == ("clipc8/flip_it",), "one case runs both of its towers"
    conv = config(architecture="contrastive", embed_dim=DIM, towers=SOUND)
    assert cases_of(None, conv) == ("unimed_clip/tiny_b16",)
    assert cases_of(None, config(domain="medical", architecture="other")) == ()
