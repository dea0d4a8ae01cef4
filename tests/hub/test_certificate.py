from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import verticlip
from make_foreign import clip_files
from safetensors.torch import load_file, save_file
from verticlip.core import registry
from verticlip.core.errors import ConfigError, DependencyError, WeightsError
from verticlip.core.limits import DEFAULT
from verticlip.core.registry import PublishedFile, PublishedWeights, WeightsRef
from verticlip.hub import certificate
from verticlip.hub.certificate import SCHEMA, check_certificate, compare_files, folder_here, verify_model
from verticlip.hub.certified_files import FileCheck
from verticlip.hub.integrity import digests_of
from verticlip.hub.loading import resolve
from verticlip.hub.parity import replay_parity
from verticlip.hub.stored_probe import write_probe

PACKAGED = [
    spec.name
    for spec in registry.models().values()
    if isinstance(spec.weights, WeightsRef) and spec.weights.packaged
]


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    copied = tmp_path / "somebodys-secret-place" / "model"
    shutil.copytree(model_folder, copied)
    write_probe(copied)
    return copied


def change_weights(folder: Path, factor: float = 1.02) -> None:
    state = load_file(folder / "model.safetensors")
    name = "towers.text.encoder.layer.0.output.dense.weight"
    state[name] = state[name] * factor
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def recomputed(content: dict) -> str:
    """The hash as the text of the module tells anybody to compute it."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_model_is_verified(name):
    found = verify_model(name)
    assert (found.verdict, found.reasons) == ("verified", ())
    spec = registry.model_spec(name)
    rows = {row.name: row for row in found.files}
    assert {file: rows[file].sha256 for file in spec.weights.files} == dict(spec.weights.files)
    assert all(rows[file].expected_by == "registry" for file in spec.weights.files)
    assert found.probe.status == "passed"
    assert [f"{one.system}/{one.case}" for one in found.parity] == list(spec.parity)
    assert all(one.status == "passed" for one in found.parity)
    content = json.loads(json.dumps(found.to_dict()))
    assert content["schema"] == SCHEMA
    assert recomputed(content) == content["sha256"]
    assert found.revision == verticlip.from_pretrained(name, device="cpu").revision


def test_a_folder_is_checked_by_its_probe_and_named_by_its_config(folder):
    found = verify_model(folder)
    assert (found.model, found.verdict) == ("random", "verified")
    assert found.revision == f"sha256:{found.files[2].sha256[:16]}"
    assert {row.expected_by for row in found.files if row.name != "probe.json"} == {"probe"}
    assert {"probe.json", "probe.safetensors"} < {row.name for row in found.files}
    assert any("not who made it" in note for note in found.notes)
    text = json.dumps(found.to_dict())
    assert "somebodys-secret-place" not in text
    assert str(Path.home()) not in text


def test_a_changed_weight_fails_by_hash_and_by_output(folder):
    change_weights(folder)
    found = verify_model(folder)
    assert found.verdict == "failed"
    assert found.probe.status == "failed"
    assert "model.safetensors is not the file that the stored probe states" in found.reasons
    assert any(reason.startswith("stored probe:") and "outputs differ" in reason for reason in found.reasons)
    row = next(row for row in found.files if row.name == "model.safetensors")
    assert (row.ok, row.disagree) == (False, ("probe",))


def test_a_folder_without_a_probe_is_incomplete_and_says_how_to_make_one(folder):
    (folder / "probe.json").unlink()
    (folder / "probe.safetensors").unlink()
    found = verify_model(folder)
    assert found.verdict == "incomplete"
    assert "verticlip hub probe FOLDER" in found.probe.reason
    assert any("model.safetensors was compared with nothing" in reason for reason in found.reasons)


def test_half_a_probe_and_a_damaged_one_fail(folder):
    (folder / "probe.safetensors").unlink()
    found = verify_model(folder)
    assert (found.verdict, found.probe.status) == ("failed", "damaged")
    assert "no probe.safetensors beside it" in found.probe.reason


def test_what_is_not_installed_keeps_a_model_from_being_verified_and_fails_nothing(folder, monkeypatch):
    def missing(*_):
        raise DependencyError("'cv2' is needed here and not installed.")

    monkeypatch.setattr(certificate, "replay_probe", missing)
    found = verify_model(folder)
    assert (found.verdict, found.probe.status) == ("incomplete", "cannot run")
    assert found.reasons == ("stored probe: 'cv2' is needed here and not installed.",)
    monkeypatch.setattr(certificate, "load_model", missing)
    with pytest.raises(DependencyError, match="cv2"):
        verify_model(folder)


def test_a_file_that_the_probe_knew_and_that_is_gone_is_missing(folder):
    (folder / "prompts.yaml").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "prompts": None}))
    found = verify_model(folder)
    assert found.verdict == "failed"
    assert "prompts.yaml is missing, which the stored probe states" in found.reasons


def test_a_model_that_does_not_load_fails_without_a_place(folder):
    state = load_file(folder / "model.safetensors")
    state.popitem()
    save_file(state, folder / "model.safetensors")
    found = verify_model(folder)
    assert (found.verdict, found.model) == ("failed", "unreadable")
    assert any("does not load" in reason and "missing" in reason for reason in found.reasons)
    assert "somebodys-secret-place" not in json.dumps(found.to_dict())


def test_packaged_weights_that_were_changed_fail_before_anything_runs(monkeypatch, tmp_path):
    spec = registry.model_spec("medical/tiny")
    home = registry.room("medical")
    copied = tmp_path / "room"
    shutil.copytree(home.folder / spec.weights.packaged, copied / spec.weights.packaged)
    change_weights(copied / spec.weights.packaged)
    (copied / spec.weights.packaged / "tokenizer.json").unlink()
    monkeypatch.setattr(
        registry, "room", lambda name: type("Room", (), {"folder": copied, "models": home.models})()
    )
    monkeypatch.setattr(registry, "models", lambda: {"medical/tiny": spec})
    found = verify_model("medical/tiny")
    assert found.verdict == "failed"
    assert found.reasons[:2] == (
        "model.safetensors is not the file that the registry states",
        "tokenizer.json is missing, which the registry states",
    )
    assert found.probe.status == "none"
    assert recomputed(found.to_dict()) == found.sha256


def test_what_cannot_be_verified_is_an_error_with_advice(tmp_path):
    with pytest.raises(ConfigError, match="verticlip models convert liveness/flip-mcl"):
        verify_model("liveness/flip-mcl")
    with pytest.raises(ConfigError, match="Did you mean 'medical/tiny'"):
        verify_model("medical/tinny")
    with pytest.raises(ConfigError, match="no such folder. Give one that holds golden cases"):
        verify_model("medical/tiny", goldens=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        verify_model(tmp_path / "empty")


def test_a_certificate_is_checked_and_compared(folder, tmp_path):
    made = verify_model(folder)
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(made.to_dict()))
    assert check_certificate(path) == made
    assert compare_files(made, folder) == []
    assert folder_here(made) is None
    assert folder_here(made, str(folder)) == folder
    change_weights(folder)
    (folder / "config.json").unlink()
    (missing, changed) = compare_files(made, folder)
    assert missing == "config.json is missing"
    assert changed.startswith("model.safetensors has SHA-256 ")
    with pytest.raises(ConfigError, match="is no folder, and the certificate is of 'random'"):
        folder_here(made, "medical/tiny")

    for change, message in (
        ({"verdict": "incomplete"}, "altered after it was made"),
        ({"sha256": "0" * 64}, "altered after it was made"),
        ({"sha256": ""}, "it says none"),
        ({"schema": "other/1"}, "schema 'other/1' is not"),
        ({"verdict": "fine"}, "verdict"),
        ({"extra": 1}, "extra"),
    ):
        path.write_text(json.dumps({**made.to_dict(), **change}))
        with pytest.raises(ConfigError, match=message):
            check_certificate(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="schema 'list'"):
        check_certificate(path)


def resealed(certificate, **changes):
    """A certificate that somebody changed, hash included."""
    changed = certificate.model_copy(update=changes)
    return changed.model_copy(update={"sha256": changed.digest})


def test_a_verdict_that_does_not_follow_is_refused(folder, tmp_path):
    made = verify_model(folder)
    path = tmp_path / "certificate.json"

    def stored(**changes):
        path.write_text(json.dumps(resealed(made, **changes).to_dict()))
        return check_certificate(path)

    assert stored(verdict="failed", reasons=("it does not load",)).verdict == "failed"
    first, *rest = made.files
    wrong = first.model_copy(update={"ok": False, "agree": (), "disagree": ("probe",), "expected": "0" * 64})
    checks = (made.probe.checks[0].model_copy(update={"error": 1.0}), *made.probe.checks[1:])
    over = made.probe.model_copy(update={"checks": checks})
    failed = made.probe.model_copy(update={"status": "failed", "reason": "1 of 4 outputs differ"})
    none = made.probe.model_copy(update={"status": "none", "reason": "nobody wrote one", "checks": ()})
    (parity,) = replay_parity(["core/open_clip.zero_shot_classifier"])
    lost = parity.model_copy(update={"status": "not here", "reason": "not on this machine"})
    far = parity.model_copy(update={"error": 1.0})
    for changes, message in (
        ({"files": (wrong, *rest)}, "is not the file that the stored probe states"),
        ({"files": (wrong.model_copy(update={"ok": True}), *rest)}, "ok is True and its witnesses say False"),
        ({"files": (first.model_copy(update={"expected": "0" * 64}), *rest)}, "its hashes and what it says"),
        ({"files": ()}, "no file was looked at"),
        ({"probe": failed}, "1 of 4 outputs differ"),
        ({"probe": over}, "the stored probe passed and"),
        ({"probe": made.probe.model_copy(update={"checks": ()})}, "passed and no output agrees"),
        ({"probe": none}, "nobody wrote one"),
        ({"parity": (lost,)}, "not on this machine"),
        ({"parity": (far,)}, "its numbers do not agree"),
    ):
        with pytest.raises(ConfigError, match=f"contradicts itself: .*{message}"):
            stored(**changes)
    assert stored(probe=none, verdict="incomplete").verdict == "incomplete"


def test_a_certificate_chooses_no_file_to_read(folder, tmp_path):
    made = verify_model(folder)
    (tmp_path / "diary.txt").write_text("private")
    for name in (str(tmp_path / "diary.txt"), "../../diary.txt", "diary.txt", "../model/config.json"):
        row = FileCheck(name=name, bytes=7, sha256="0" * 64)
        (line,) = compare_files(made.model_copy(update={"files": (row,)}), folder)
        assert line.endswith("is not the name of a file that a model has")


def test_what_no_case_runs_is_noted(folder):
    note = "no golden case of a reference implementation runs its"
    assert any(one == f"{note} timm resnet18d" for one in verify_model("medical/tiny").notes)
    assert not any(note in one for one in verify_model("liveness/minifasnet-v2").notes)


def test_witnesses_add_up():
    row = FileCheck(name="f", bytes=1, sha256="a" * 64)
    assert row.witnessed("probe", None) == row
    agreed = row.witnessed("hub", "a" * 64).witnessed("probe", "a" * 64)
    assert (agreed.ok, agreed.expected_by, agreed.agree) == (True, "hub", ("hub", "probe"))
    torn = agreed.witnessed("conversion", "b" * 64)
    assert (torn.ok, torn.disagree, torn.expected) == (False, ("conversion",), "a" * 64)
    small = row.witnessed("hub", "git:" + "c" * 40, agrees=True)
    assert (small.ok, small.expected) == (True, "git:" + "c" * 40)


class TestOverTheHub:
    def published(self, folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def test_a_repository_with_a_probe_is_verified_and_then_again_offline(self, online, folder):
        commit = online.hub.add_repository("org/model", self.published(folder))
        found = verify_model("org/model")
        assert (found.model, found.revision, found.verdict) == ("org/model", commit, "verified"), (
            found.reasons
        )
        rows = {row.name: row for row in found.files}
        assert rows["model.safetensors"].agree == ("hub", "probe")
        assert rows["model.safetensors"].expected == rows["model.safetensors"].sha256
        assert rows["config.json"].expected.startswith("git:")
        assert {rows[name].expected_by for name in ("probe.json", "probe.safetensors")} == {"hub"}
        assert not any("the Hub was not asked" in note for note in found.notes)
        online.offline()
        again = verify_model("org/model", commit)
        assert (again.verdict, again.revision) == ("verified", commit)
        assert {row.name: row.sha256 for row in again.files} == {row.name: row.sha256 for row in found.files}
        assert {row.expected_by for row in again.files} == {"cache"}
        assert any("the Hub was not asked" in note for note in again.notes)
        assert folder_here(found) == online.snapshot("org/model", commit)
        assert compare_files(found, folder_here(found)) == []

    def test_a_cache_that_somebody_rewrote_whole_shows_once_the_hub_is_asked(self, online, folder):
        commit = online.hub.add_repository("org/model", self.published(folder))
        verify_model("org/model")
        snapshot = online.snapshot("org/model", commit)
        change_weights(folder)
        write_probe(folder)
        for name in ("model.safetensors", "probe.json", "probe.safetensors"):
            link, content = snapshot / name, (folder / name).read_bytes()
            digests = digests_of(folder / name, "0" * 40)
            named = digests.sha256 if name.endswith(".safetensors") else digests.sha1[0]
            blob = link.resolve().with_name(named)
            blob.write_bytes(content)
            link.unlink()
            link.symlink_to(Path("../../blobs") / named)
        online.offline()
        found = verify_model("org/model", commit)
        assert {row.expected_by for row in found.files} == {"cache"}, "nobody here could know"
        online.offline(False)
        found = verify_model("org/model", commit)
        assert found.verdict == "failed"
        assert "model.safetensors is not the file that the Hub states" in found.reasons

    def test_a_huge_probe_of_a_stranger_is_not_fetched(self, online, folder):
        huge = b"\0" * (DEFAULT.probe_bytes + 1)
        files = {**self.published(folder), "probe.safetensors": huge}
        online.hub.add_repository("org/model", files)
        found = verify_model("org/model")
        assert "Not fetched" in found.probe.reason or found.probe.status == "damaged"
        assert found.verdict == "failed", "half a probe"
        assert not any(one.method == "GET" and "probe.safetensors" in one.path for one in online.hub.requests)

    def test_files_that_were_tampered_with_make_a_failed_certificate(self, online, folder, tmp_path):
        commit = online.hub.add_repository("org/clip", clip_files())
        kept = folder_here(verify_model("org/clip"))
        (kept / "processor.json").write_text("{}")
        found = verify_model("org/clip", commit)
        assert (found.model, found.verdict) == ("org/clip", "failed")
        assert "processor.json has SHA-256" in found.reasons[0]

        commit = online.hub.add_repository("org/model", self.published(folder))
        verify_model("org/model")
        online.offline()
        blob = (online.snapshot("org/model", commit) / "model.safetensors").resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
        found = verify_model("org/model", commit)
        assert found.verdict == "failed"
        assert "damaged" in found.reasons[0]
        assert str(tmp_path) not in json.dumps(found.to_dict())

        theirs = tmp_path / "somebodys-other-place"
        theirs.mkdir()
        for name, content in clip_files().items():
            (theirs / name).write_bytes(content)
        online.offline(False)
        (resolve(theirs).folder / "config.json").write_text("{}")
        found = verify_model(theirs)
        assert (found.model, found.verdict) == ("unreadable", "failed")
        assert "somebodys-other-place" not in json.dumps(found.to_dict())

    def test_weights_that_do_not_belong_to_the_probe_fail(self, online, folder):
        files = self.published(folder)
        change_weights(folder)
        files["model.safetensors"] = (folder / "model.safetensors").read_bytes()
        online.hub.add_repository("org/model", files)
        found = verify_model("org/model")
        assert found.verdict == "failed"
        row = next(row for row in found.files if row.name == "model.safetensors")
        assert (row.agree, row.disagree) == (("hub",), ("probe",)), "it is what the Hub has"
        assert found.probe.status == "failed"

    def test_a_repository_without_a_probe_is_incomplete(self, online, folder):
        files = {name: content for name, content in self.published(folder).items() if "probe" not in name}
        online.hub.add_repository("org/model", files)
        found = verify_model("org/model")
        assert found.verdict == "incomplete"
        assert found.reasons == (f"stored probe: {found.probe.reason}",)
        assert "published no stored probe" in found.probe.reason
        assert all(row.agree == ("hub",) for row in found.files)

    def test_a_probe_that_cannot_be_asked_for_is_not_called_missing(self, online, folder):
        commit = online.hub.add_repository("org/model", self.published(folder))
        resolve("org/model")
        online.offline()
        found = verify_model("org/model", commit)
        assert found.verdict == "incomplete"
        assert "probe.json" in found.probe.reason
        assert "published no" not in found.probe.reason
        online.offline(False)
        assert verify_model("org/model", commit).verdict == "verified"

    def test_private_repositories_and_unknown_ones_say_what_to_do(self, online, folder):
        online.hub.add_repository("org/secret", self.published(folder), private=True)
        with pytest.raises(ConfigError, match="hf auth login"):
            verify_model("org/secret")
        online.login()
        assert verify_model("org/secret").verdict == "verified"
        with pytest.raises(ConfigError, match="org/none"):
            verify_model("org/none")

    def test_what_another_library_wrote_is_covered_by_hashes(self, online, tmp_path):
        foreign_files = clip_files()
        commit = online.hub.add_repository("org/clip", foreign_files)
        found = verify_model("org/clip")
        assert (found.model, found.revision, found.verdict) == ("org/clip", commit, "incomplete")
        rows = {row.name: row for row in found.files}
        assert rows["org/clip: model.safetensors"].agree == ("hub", "first use")
        assert rows["model.safetensors"].agree == ("conversion",)
        assert compare_files(found, folder_here(found)) == []
        (folder_here(found) / "processor.json").write_text("{}")
        (changed,) = compare_files(found, folder_here(found))
        assert changed.startswith("processor.json has SHA-256")

        theirs = tmp_path / "somebodys-secret-place"
        theirs.mkdir()
        for name, content in foreign_files.items():
            (theirs / name).write_bytes(content)
        found = verify_model(theirs)
        assert found.verdict == "incomplete"
        assert {row.agree for row in found.files} == {("conversion",)}
        assert "somebodys-secret-place" not in json.dumps(found.to_dict())

    def test_published_weights_are_covered_by_hashes_and_parity(self, online, small_golden, monkeypatch):
        case = small_golden / "unimed_clip" / "tiny_b16"
        weights, vocabulary = (case / "weights.safetensors").read_bytes(), (case / "vocab.txt").read_bytes()
        online.hub.add_repository("org/theirs", {"model.pt": weights, "vocab.txt": vocabulary})
        digest = hashlib.sha256(weights).hexdigest()
        published = PublishedWeights(
            (
                PublishedFile("weights", "org/theirs", "model.pt", sha256=digest),
                PublishedFile("vocab", "org/theirs", "vocab.txt"),
            ),
            "unimed",
            {"image_size": 32, "image_head_width": 16, "text_head_width": 10, "context_length": 32},
        )
        spec = replace(
            registry.model_spec("medical/unimed-clip-vit-b16"), name="medical/test", weights=published
        )
        monkeypatch.setattr(registry, "models", lambda: {spec.name: spec})
        found = verify_model("medical/test")
        assert found.verdict == "incomplete"
        assert found.reasons == (f"stored probe: {found.probe.reason}",)
        rows = {row.name: row for row in found.files}
        assert (rows["org/theirs: model.pt"].expected, rows["org/theirs: model.pt"].expected_by) == (
            digest,
            "registry",
        )
        assert rows["org/theirs: vocab.txt"].ok
        assert rows["model.safetensors"].agree == ("conversion",)
        assert {one.status for one in found.parity} == {"passed"}
        assert folder_here(found) is not None
        assert compare_files(found, folder_here(found)) == []

        shutil.rmtree(online.cache)
        rows = {row.name: row for row in verify_model("medical/test").files}
        assert (rows["org/theirs: model.pt"].ok, rows["org/theirs: model.pt"].sha256) == (None, None)

        other = replace(published.files[0], sha256="0" * 64)
        weights = replace(published, files=(other, *published.files[1:]))
        monkeypatch.setattr(registry, "models", lambda: {spec.name: replace(spec, weights=weights)})
        shutil.rmtree(folder_here(found))
        found = verify_model("medical/test")
        assert (found.model, found.verdict) == ("medical/test", "failed")
        assert f"the registry states {'0' * 64}" in found.reasons[0]


def test_it_is_a_verb_of_the_package():
    assert verticlip.verify_model("urban/tiny").verdict == "verified"
