from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from make_probed import CASES, model
from safetensors.torch import load_file, save_file
from verticlip.core import registry
from verticlip.core.errors import ConfigError, VerticlipError
from verticlip.core.files import sha256_of
from verticlip.core.registry import WeightsRef
from verticlip.core.verify import largest_error
from verticlip.facade import Model
from verticlip.hub.loading import ResolvedModel, load_model
from verticlip.hub.probe_values import thinned
from verticlip.hub.saving import save_model
from verticlip.hub.stored_probe import (
    LARGEST_BYTES,
    PROBE_FILE,
    PROBE_TENSORS,
    RELATIVE,
    StoredProbe,
    changed_files,
    make_probe,
    read_probe,
    replay_probe,
    write_probe,
)

PACKAGED = {
    spec.name: registry.room(spec.domain).folder / spec.weights.packaged
    for spec in registry.models().values()
    if isinstance(spec.weights, WeightsRef) and spec.weights.packaged
}
EVERY_TENSOR = bool(os.environ.get("VERTICLIP_EVERY_TENSOR"))
"""Set to change every tensor rather than a few of each model: a minute and a half."""


def strain(report) -> float:
    """How often the worst output's error holds its tolerance."""
    return max(check.error / check.tolerance if check.error is not None else 1e9 for check in report.checks)


def may_matter(name: str) -> bool:
    """Whether any answer can depend on a tensor.

    A bias of the keys of attention moves all scores of a query alike, which the softmax takes away again;
    ``num_batches_tracked`` counts training steps.
    """
    return not name.endswith(("key.bias", "to_k.bias", "num_batches_tracked"))


def unseen(parts, probe: StoredProbe, count: int) -> list[str]:
    """Change some tensors one after the other; return those whose change no output shows."""
    network = parts[0]
    state = network.state_dict(keep_vars=True)
    names = [name for name, tensor in state.items() if may_matter(name) and tensor.is_floating_point()]
    step = max(1, len(names) // count)
    chosen = names if EVERY_TENSOR else names[step // 2 :: step]
    found = []
    for name in chosen:
        old = state[name].detach().clone()
        size = 0.5 * float(old.square().mean().sqrt()) + 0.05
        noise = torch.randn(old.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            state[name].add_(size * noise)
        if replay_probe(parts, probe).passed:
            found.append(name)
        with torch.no_grad():
            state[name].copy_(old)
    assert replay_probe(parts, probe).passed, "the weights are back"
    return found


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_answers_as_its_probe_says(name):
    folder = PACKAGED[name]
    probe = read_probe(folder)
    parts = load_model(ResolvedModel(folder, name))
    report = replay_probe(Model(*parts[:2], prompts=parts[2]), probe)
    assert report.passed, report.worst
    assert strain(report) < 0.5, "this machine is no exception"
    assert changed_files(folder, probe) == []
    stated = registry.model_spec(name).weights.files
    assert {file: record.sha256 for file, record in probe.record.files.items()}.items() <= stated.items()
    assert (folder / PROBE_TENSORS).stat().st_size < 300_000
    assert probe.record.device.startswith("cpu")
    assert "/" not in probe.record.device


@pytest.mark.parametrize("name", PACKAGED)
def test_a_changed_weight_of_a_packaged_model_shows(name):
    folder = PACKAGED[name]
    assert unseen(load_model(ResolvedModel(folder, name)), read_probe(folder), 5) == []


@pytest.mark.parametrize("name", CASES)
def test_every_architecture_has_a_probe_that_its_whole_network_answers(name):
    parts = model(name)
    probe = make_probe(parts)
    assert probe.record.architecture == name.split()[0]
    assert replay_probe(parts, probe).passed
    assert unseen(parts, probe, 3 if name == "minifasnet" else 6) == []


def test_every_architecture_of_every_room_is_among_them():
    known = {word for room in registry.ROOMS for word in registry.room(room).architectures}
    assert {name.split()[0] for name in CASES} - {"contrastive"} == known
    assert {word for room in registry.ROOMS for word in registry.room(room).probes} == known


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(model_folder, copied)
    return copied


def test_a_probe_is_written_once_and_read_again(folder):
    written = write_probe(folder)
    stamps = {name: (folder / name).stat().st_mtime_ns for name in (PROBE_FILE, PROBE_TENSORS)}
    assert write_probe(folder).record == written.record
    assert stamps == {name: (folder / name).stat().st_mtime_ns for name in stamps}, "nothing was written anew"
    assert write_probe(folder, seed=1).record.seed == 1
    read = read_probe(folder)
    assert read.record.files.keys() == {
        "config.json",
        "processor.json",
        "model.safetensors",
        "prompts.yaml",
    } | ({"tokenizer.json"} if (folder / "tokenizer.json").exists() else set())
    assert str(folder) not in (folder / PROBE_FILE).read_text()
    assert "red square" in " ".join(read.record.texts), "the model's own words are asked as well"
    assert replay_probe(folder).passed
    assert not list(folder.glob(".*")), "no temporary file is left"


def test_one_changed_weight_and_one_changed_setting_show(folder):
    write_probe(folder)
    state = load_file(folder / "model.safetensors")
    name = "towers.text.encoder.layer.0.output.dense.weight"
    state[name] = state[name] * 1.02
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    report = replay_probe(folder)
    assert not report.passed
    assert {check.name for check in report.checks if check.status == "over"} >= {"text.embedding"}
    assert "image.embedding" not in {check.name for check in report.checks if check.status == "over"}
    assert changed_files(folder, read_probe(folder)) == ["model.safetensors"]

    shutil.copytree(folder, folder.parent / "other")
    other = folder.parent / "other"
    write_probe(other)
    settings = json.loads((other / "processor.json").read_text())
    settings["image"]["mean"] = [0.4, 0.4, 0.4]
    (other / "processor.json").write_text(json.dumps(settings))
    assert {check.name for check in replay_probe(other).checks if check.status == "over"} == {
        "image.embedding",
        "image-text.logits",
    }


def test_packed_towers_and_other_threads_stay_within_the_tolerance(folder):
    probe = write_probe(folder)
    parts = load_model(ResolvedModel(folder, "m"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        report = replay_probe(Model(*parts[:2], prompts=parts[2]), probe)
    finally:
        torch.set_num_threads(threads)
    assert report.passed
    assert strain(report) < 0.5


@pytest.mark.parametrize("shape", [(2, 1152), (2, 1536), (3, 64, 64), (2, 8, 4941)])
def test_no_value_of_a_large_output_can_change_unseen(shape):
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    kept = thinned(whole)
    assert len(kept) < 2100
    allowed = RELATIVE * float(kept.abs().max())
    for place in range(0, whole.numel(), max(1, whole.numel() // 97)):
        changed = whole.clone()
        changed.view(-1)[place] += 0.05
        assert largest_error(thinned(changed), kept) > allowed, place
    for column in range(0, shape[-1], max(1, shape[-1] // 53)):
        changed = whole.clone()
        changed[..., column] += 0.01  # as another bias would, for every row alike
        assert largest_error(thinned(changed), kept) > allowed, column
    # Rounding moves the sums no more than it moves values.
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    rounded = whole + 1.5e-6 * float(whole.abs().max()) * noise.clamp(-1, 1)
    assert largest_error(thinned(rounded), kept) < allowed / 3


def test_the_weights_of_the_sums_are_the_same_everywhere():
    assert thinned(torch.ones(4096))[-8:].tolist() == pytest.approx(
        [-0.765375, 0.470848, -0.467643, -1.117707, -2.088196, -0.682797, 0.156285, 0.262844], rel=1e-4
    )


def test_the_kept_values_are_of_all_columns():
    kept = thinned(torch.arange(1152.0).expand(2, -1))[:-8]
    assert kept.unique().numel() == len(kept)
    for factor in (2, 3, 4, 6, 9):
        assert len({int(column) % factor for column in kept}) == factor


def test_logits_near_zero_are_held_to_their_scale(folder):
    probe = write_probe(folder)
    logits = probe.outputs["image-text.logits"] * 1e-3
    near_zero = StoredProbe(probe.record, probe.inputs, {**probe.outputs, "image-text.logits": logits})
    checks = {check.name: check for check in replay_probe(folder, near_zero).checks}
    scale = float(probe.outputs["scale"])
    assert checks["image-text.logits"].tolerance == pytest.approx(RELATIVE * scale, rel=0.01)
    assert checks["image-text.logits"].status == "over"


def test_half_precision_is_refused(folder):
    probe = write_probe(folder)
    parts = load_model(ResolvedModel(folder, "m"))
    with pytest.raises(ConfigError, match="float32 outputs and the model is in bfloat16"):
        replay_probe(Model(*parts[:2], dtype="bfloat16"), probe)


def test_a_loaded_model_needs_the_probe(folder):
    with pytest.raises(ConfigError, match="pass read_probe"):
        replay_probe(load_model(ResolvedModel(folder, "m")))


def test_a_probe_of_another_architecture_is_refused():
    with pytest.raises(ConfigError, match="of architecture 'bigvgan', the model of 'diffusion_prior'"):
        replay_probe(model("diffusion_prior"), make_probe(model("bigvgan")))


def test_inputs_of_another_shape_are_refused():
    parts = model("bigvgan")
    probe = make_probe(parts)
    wrong = StoredProbe(probe.record, {"vocoder_mel": torch.zeros(1, 2, 3)}, probe.outputs)
    with pytest.raises(
        ConfigError,
        match=r"holds \[1, 2, 3\] for its input 'vocoder_mel'; this model takes float32 \[1, 16, 4\]",
    ):
        replay_probe(parts, wrong)
    with pytest.raises(ConfigError, match="holds nothing for its input 'vocoder_mel'"):
        replay_probe(parts, StoredProbe(probe.record, {}, probe.outputs))


def test_a_model_that_nothing_can_be_asked_says_so(monkeypatch):
    home = registry.room("audio")
    monkeypatch.delitem(home.probes, "bigvgan")
    with pytest.raises(ConfigError, match="name a function under PROBES"):
        make_probe(model("bigvgan"))


def test_an_answer_that_is_not_finite_makes_no_probe():
    parts = model("bigvgan")
    with torch.no_grad():
        parts[0].generator.conv_pre.weight.fill_(float("inf"))
    with pytest.raises(VerticlipError, match="'wave' is not finite"):
        make_probe(parts)


def damaged(folder: Path, **changes: object) -> None:
    record = json.loads((folder / PROBE_FILE).read_text()) | changes
    (folder / PROBE_FILE).write_text(json.dumps(record))


def test_what_is_wrong_with_a_probe_is_said(folder, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_probe(folder)
    write_probe(folder)
    good = (folder / PROBE_FILE).read_text()
    for changes, message in (
        ({"format": 9}, "format 9; this version of verticlip reads up to 1"),
        ({"tensors": "0" * 64}, "not the file that probe.json was written with"),
        ({"outputs": {"other": [1]}}, "does not hold the outputs that probe.json names"),
        ({"tolerance": {"relative": 2 * RELATIVE, "reason": ""}}, "tolerance.relative"),
        ({"code": "import os"}, "code"),
        ({"outputs": {}}, "outputs"),
    ):
        (folder / PROBE_FILE).write_text(good)
        damaged(folder, **changes)
        with pytest.raises(ConfigError, match=message):
            read_probe(folder)
    (folder / PROBE_FILE).write_text(good)
    tensors = folder / PROBE_TENSORS
    whole = tensors.read_bytes()
    for content, message in (
        (b"\x80\x04pickle", "not the file that probe.json"),
        (b"\0" * (LARGEST_BYTES + 1), "a probe has at most"),
    ):
        tensors.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            read_probe(folder)
    tensors.write_bytes(whole[:-4])
    damaged(folder, tensors=sha256_of(tensors))
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        read_probe(folder)
    tensors.unlink()
    with pytest.raises(ConfigError, match="no probe.safetensors beside it"):
        read_probe(folder)


def test_a_missing_text_of_the_probe_is_no_pass(folder):
    write_probe(folder)
    damaged(folder, texts=[])
    with pytest.raises(ConfigError, match="asks nothing of 'text'"):
        replay_probe(folder)


def test_a_probe_that_asks_less_than_the_model_answers_is_no_pass(folder):
    write_probe(folder)
    tensors = load_file(folder / PROBE_TENSORS)
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith("input.") or name == "output.scale"
    }
    save_file(kept, folder / PROBE_TENSORS)
    damaged(folder, outputs={"scale": [1]}, tensors=sha256_of(folder / PROBE_TENSORS))
    report = replay_probe(folder)
    assert not report.passed
    assert {check.name: check.status for check in report.checks} == {
        "scale": "ok",
        "image-text.logits": "not replayed",
        "image.embedding": "not replayed",
        "text.embedding": "not replayed",
    }


def test_inputs_of_another_kind_are_refused():
    parts = model("clipsonic")
    probe = make_probe(parts)
    for name, wrong, message in (
        ("waves", torch.zeros(4), r"waves are torch.float32 \[4\], not float32 \[B, T\]"),
        ("noisy_mel", probe.inputs["noisy_mel"].long(), "this model takes float32"),
    ):
        with pytest.raises(ConfigError, match=message):
            replay_probe(parts, StoredProbe(probe.record, {**probe.inputs, name: wrong}, probe.outputs))
    parts = model("fused_product")
    probe = make_probe(parts)
    with pytest.raises(ConfigError, match=r"images are torch.float32 .*, not uint8 \[B, H, W, 3\]"):
        replay_probe(
            parts, StoredProbe(probe.record, {"images": probe.inputs["images"].float()}, probe.outputs)
        )


def test_a_saved_architecture_is_probed_from_its_folder(tmp_path):
    parts = model("clipsonic")
    save_model(tmp_path / "sonic", *parts)
    probe = write_probe(tmp_path / "sonic")
    assert {"noisy_mel", "vocoder_mel", "waves"} == set(read_probe(tmp_path / "sonic").inputs)
    assert replay_probe(parts, probe).passed
