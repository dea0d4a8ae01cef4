"""The detector as users hold it: stills, films, batches, gates, thresholds, evidence, calibration."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from liveness import make_captures as captures
from liveness.models import make_models
from liveness.simulate import make_pictures
from PIL import Image
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, DataError, InputError, WeightsError
from verticlip.domains.liveness.calibration.threshold import Threshold, save_threshold
from verticlip.domains.liveness.cropped import save_crop
from verticlip.domains.liveness.detector import DetectorSettings, LivenessDetector
from verticlip.domains.liveness.faces.crop import CropConfig
from verticlip.domains.liveness.frames.sampling import Sampling
from verticlip.domains.liveness.protocols.manifest import read_manifest
from verticlip.domains.liveness.quality.config import QualityConfig
from verticlip.domains.liveness.result import LivenessResult
from verticlip.domains.liveness.simulate.presentation import simulate


@pytest.fixture(scope="module")
def model():
    """A random model of nine categories."""
    return make_models.handle()


@pytest.fixture(scope="module")
def detector(model):
    """Of pre-cropped faces, without a threshold."""
    return LivenessDetector(model)


def test_a_still(detector):
    found = detector.predict(captures.texture())
    assert found.decision in ("live", "attack")
    assert found.decision == found.model_decision
    assert found.p_live == pytest.approx(1 / (1 + np.exp(-found.margin)), abs=1e-12)
    assert tuple(found.categories) == detector.labels
    assert sum(found.categories.values()) == pytest.approx(1, abs=1e-9)
    assert found.categories["live"] == pytest.approx(found.p_live, abs=1e-9)
    shares = [one.probability for one in found.attack_types]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-9)
    top = found.attack_types[0]
    assert found.categories[top.id] == pytest.approx(top.probability * (1 - found.p_live), abs=1e-9)
    assert found.explanation.evidence.category_text
    assert (found.frames_used, found.frames_read, found.faces, found.failed_checks) == (1, 1, (), ())
    assert set(found.timings_ms) >= {"read", "quality", "crop", "model", "total"}


def test_nothing_of_the_picture_is_kept_unless_asked(detector):
    plain = detector.predict(captures.texture())
    assert plain.pixels is None
    assert plain.embedding is None
    assert not {"pixels", "pixels_png", "embedding"} & set(plain.to_dict())
    with pytest.raises(InputError, match=r"predict\(\.\.\., keep=\('pixels',\)\)"):
        plain.to_dict(include_pixels=True)
    kept = detector.predict(captures.texture(), keep=("pixels", "embedding"))
    assert (kept.pixels == captures.texture()).all()
    assert len(kept.embedding) == make_models.DIM
    assert not {"pixels", "pixels_png", "embedding"} & set(kept.to_dict())
    said = json.loads(json.dumps(kept.to_dict(include_pixels=True, include_embeddings=True)))
    back = LivenessResult.from_dict(said)
    assert (back.pixels == kept.pixels).all()
    assert back.to_dict(include_pixels=True, include_embeddings=True) == said
    with pytest.raises(ConfigError, match="keep takes pixels and embedding, got 'pixel'"):
        detector.predict(captures.texture(), keep=("pixel",))


def test_many_are_answered_as_one_by_one(detector, tmp_path):
    items: list = [captures.texture(seed) for seed in range(5)]
    items.append([captures.texture(seed) for seed in range(10, 13)])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    items.insert(2, tmp_path / "bad.png")
    items.append(captures.flat(40))
    found = list(detector.predict_each(items, batch_size=3))
    assert isinstance(found[2], Failure)
    assert "bad.png" in found[2].id
    for item, one in zip(items, found, strict=True):
        if isinstance(one, Failure):
            continue
        alone = detector.predict(item)
        assert (one.decision, one.quality) == (alone.decision, alone.quality)
        if alone.p_live is None:
            assert one.p_live is None
        else:
            assert one.p_live == pytest.approx(alone.p_live, abs=1e-6)
            assert one.margin == pytest.approx(alone.margin, abs=1e-5)
    with pytest.raises(InputError):
        detector.predict(tmp_path / "bad.png")


def test_a_tiny_face_is_no_response_and_the_model_is_not_asked(detector):
    found = detector.predict(captures.texture(side=40))
    assert (found.decision, found.model_decision, found.p_live, found.margin) == (
        "no_response",
        None,
        None,
        None,
    )
    assert [check.name for check in found.failed_checks] == ["usable_frames", "face_size"]
    assert "higher resolution" in found.explanation.text
    assert found.excluded == {"face_size": 1}
    assert detector.score(captures.texture(side=40)) is None


def test_a_blurred_face_is_no_response_and_the_model_is_heard(detector):
    found = detector.predict(captures.flat())
    assert found.decision == "no_response"
    assert found.model_decision in ("live", "attack")
    assert found.p_live is not None
    assert "The model alone says" in found.explanation.text
    assert found.frames_used == 0
    assert "sharpness" in [check.name for check in found.failed_checks]


def test_a_dark_frame_is_judged_and_said_to_be_dark(detector):
    found = detector.predict(captures.texture(low=0, high=30))
    assert found.decision in ("live", "attack")
    assert found.p_live is not None
    assert "luma" in [check.name for check in found.failed_checks]


@pytest.mark.parametrize(
    ("faces", "names"),
    [
        ((), {"face_count"}),
        ((captures.face_at(200, 200), captures.face_at(320, 200)), {"face_count"}),
        ((captures.face_at(200, 200, 40),), {"face_size", "eye_distance", "face_share"}),
        ((captures.face_at(20, 20),), {"face_inside"}),
    ],
    ids=["no face", "two faces", "tiny face", "over the border"],
)
def test_gates_before_the_model(model, faces, names):
    found = LivenessDetector(model, detector=captures.Told(*faces)).predict(captures.texture(side=400))
    assert (found.decision, found.p_live) == ("no_response", None)
    assert {check.name for check in found.failed_checks if check.blocks} - {"usable_frames"} == names
    assert len(found.faces) == len(faces)


def test_an_extreme_pose_is_told_beside_the_models_answer(model):
    turned = captures.face_at(200, 200)
    points = turned.landmarks.copy()
    points[2] = points[0] + [4, 40]
    found = LivenessDetector(model, detector=captures.Told(replace(turned, landmarks=points))).predict(
        captures.texture(side=400)
    )
    assert found.decision == "no_response"
    assert found.model_decision is not None
    assert {"yaw"} <= {check.name for check in found.failed_checks}


def test_gates_can_be_switched_off(model):
    gates = QualityConfig(face_count=None, sharpness=None, face_size=None)
    detector = LivenessDetector(model, quality=gates)
    assert detector.predict(captures.flat(40)).decision != "no_response"
    two = captures.Told(captures.face_at(150, 200), captures.face_at(290, 200))
    assert (
        LivenessDetector(model, detector=two, quality=gates).predict(captures.texture(side=400)).decision
        != "no_response"
    )
    # Without any face there is nothing to cut, whatever is switched off.
    nobody = LivenessDetector(model, detector=captures.Told(), quality=gates)
    assert nobody.predict(captures.texture(side=400)).decision == "no_response"


def test_frames_of_a_film(model, detector):
    frames = [captures.texture(seed) for seed in range(4)]
    single = [detector.predict(frame).p_live for frame in frames]
    margins = [detector.predict(frame).margin for frame in frames]
    found = detector.predict([*frames, captures.flat()])
    assert found.p_live == pytest.approx(np.mean(single), abs=1e-6)
    assert (found.frames_used, found.frames_read, found.excluded) == (4, 5, {"sharpness": 1})
    expected = (np.argmax if found.decision == "live" else np.argmin)(margins)
    assert found.explanation.evidence.frame == expected
    lowest = LivenessDetector(model, aggregator="min_k", min_k=1).predict(frames)
    assert lowest.margin == pytest.approx(min(margins), abs=1e-5)


def test_films_that_give_too_little(detector):
    few = detector.predict([captures.texture(), captures.flat(), captures.flat(value=121)])
    assert few.decision == "no_response"
    assert few.model_decision is not None
    assert "Only 1 of 3 frames can be used" in few.explanation.text
    same = detector.predict([captures.texture()] * 3)
    assert [check.name for check in same.failed_checks] == ["frame_variety"]
    assert same.decision != "no_response"
    strict = detector.using(quality=QualityConfig(blocking=("frame_variety",)), threshold=0.5)
    refused = strict.predict([captures.texture()] * 3)
    assert refused.decision == "no_response"
    said = refused.to_dict(explain="end_user")
    assert said["advice"] == [], "how a still is told from a camera is not for the person before it"
    pair = detector.predict([captures.texture(1), captures.texture(2)])
    assert pair.decision == "no_response"
    two = detector.using(sampling=Sampling(kind="flip_mcio"))
    assert two.predict([captures.texture(1), captures.texture(2)]).decision != "no_response"


def test_without_a_calibration_every_answer_says_so(detector):
    found = detector.predict(captures.texture())
    used = found.threshold
    assert (used.mode, used.rule, used.value, used.margin) == ("uncalibrated", "fixed=0.5", 0.5, 0.0)
    assert used.provenance == "not calibrated"
    assert any("nobody knows the error rates" in note for note in found.notes)


@pytest.mark.parametrize(
    "settings", [{"threshold": "secure"}, {"mode": "balanced"}, {"threshold": "dev_eer"}]
)
def test_a_mode_that_was_not_calibrated_stops(model, settings):
    with pytest.raises(ConfigError, match=r"needs a threshold that was calibrated.*liveness calibrate"):
        LivenessDetector(model, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.5}, "between 0 and 1"),
        ({"threshold": "test_eer"}, "for evaluation only"),
        ({"threshold": "nothing.json"}, "nothing.json: no such file"),
        ({"mode": "secur"}, "Did you mean 'secure'"),
        ({"threshold": 0.4, "mode": "secure"}, "Leave one of them out"),
        ({"threshold": "secure", "mode": "balanced"}, "disagree"),
        ({"temperature": 0}, "A temperature is a positive number"),
        ({"temperature": "no.json"}, "no.json: no such file"),
        ({"aggregator": "max"}, "Unknown aggregator 'max'"),
        ({"min_k": 0}, "min_k is at least 1"),
        ({"detectors": "none"}, "no setting 'detectors'. Did you mean 'detector'"),
        ({"detector": "mtcnn"}, "Unknown face detector 'mtcnn'"),
    ],
)
def test_settings_that_cannot_be(model, settings, message):
    with pytest.raises(ConfigError, match=message):
        LivenessDetector(model, **settings)


def test_yunet_without_its_file(model, monkeypatch):
    pytest.importorskip("cv2")
    monkeypatch.delenv("VERTICLIP_YUNET", raising=False)
    with pytest.raises(WeightsError, match="VERTICLIP_YUNET"):
        LivenessDetector(model, detector="yunet")


def test_a_model_that_compares_no_categories():
    plain = make_models.handle("contrastive")
    with pytest.raises(ConfigError, match="no liveness model"):
        LivenessDetector(plain)
    prompted = LivenessDetector(plain, taxonomy="binary")
    assert prompted.labels == ("spoof", "live")
    assert prompted.predict(captures.texture()).decision in ("live", "attack")


def test_thresholds_decide(model, detector, tmp_path):
    margin = detector.predict(captures.texture()).margin
    for offset, decision in ((-1e-3, "live"), (0.0, "live"), (1e-3, "attack")):
        made = Threshold.at_margin(
            margin + offset, rule="dev_eer", mode="balanced", fingerprint=detector.fingerprint
        )
        path = save_threshold(made, tmp_path / "t.json")
        strict = LivenessDetector(model, threshold=path)
        found = strict.predict(captures.texture())
        assert found.decision == decision
        assert found.threshold.mode == "balanced"
        assert (found.p_live >= found.threshold.value) == (decision == "live")
    with pytest.raises(
        ConfigError, match=r"made for another detector.*way frames are combined \(median here"
    ):
        LivenessDetector(model, threshold=path, aggregator="median")
    assert LivenessDetector(model, threshold=0.25).predict(captures.texture()).threshold.mode == "custom"


def test_a_threshold_in_the_models_folder(tmp_path, detector):
    import verticlip

    folder = tmp_path / "model"
    make_models.handle().save(folder)
    made = LivenessDetector.from_pretrained(folder)
    stored = Threshold.at_margin(0.7, rule="dev_eer", mode="balanced", fingerprint=made.fingerprint)
    save_threshold(stored, folder / "threshold.json")
    assert LivenessDetector.from_pretrained(folder, threshold="balanced").threshold == stored
    assert LivenessDetector(verticlip.from_pretrained(folder), mode="balanced").threshold == stored
    with pytest.raises(ConfigError, match="no threshold for 'secure'; it holds: balanced"):
        LivenessDetector.from_pretrained(folder, threshold="secure")


def test_a_temperature_changes_probabilities_and_no_decision(detector):
    items = [captures.texture(seed) for seed in range(6)]
    items.append([captures.texture(seed) for seed in range(7, 10)])
    for temperature in (0.2, 4.0):
        other = detector.using(temperature=temperature, threshold=0.4)
        for one, two in zip(
            detector.using(threshold=0.4).predict_each(items), other.predict_each(items), strict=True
        ):
            assert (one.decision, one.margin) == (two.decision, pytest.approx(one.margin, abs=1e-6))
            assert one.p_live != two.p_live
            assert sum(two.categories.values()) == pytest.approx(1)
            assert (two.p_live >= two.threshold.value) == (two.decision == "live")
    assert detector.using(temperature=4.0).fingerprint == detector.fingerprint


def test_the_fingerprint_follows_what_scores_depend_on(model, detector):
    same = make_models.handle()
    assert LivenessDetector(same).fingerprint == detector.fingerprint
    with torch.no_grad():
        next(same.network.parameters()).add_(0.01)
    changed = LivenessDetector(same).fingerprint
    assert [phrase.split(" (")[0] for phrase in changed.differences(detector.fingerprint)] == ["weights"]
    others = [
        LivenessDetector(make_models.handle(taxonomy="binary")),
        LivenessDetector(make_models.handle(crops=[CropConfig(scale=2.7)])),
        LivenessDetector(model, aggregator="median"),
        LivenessDetector(model, detector=captures.Told()),
    ]
    digests = {str(one.fingerprint) for one in (detector, *others)}
    assert len(digests) == 5
    # What decides who is judged, and what softens, does not change scores.
    gates = QualityConfig(sharpness=None)
    assert str(detector.using(quality=gates).fingerprint) == str(detector.fingerprint)


def test_the_fingerprint_follows_the_sampling(detector):
    kinds = [
        Sampling(count=3), Sampling(count=20), Sampling(kind="every", seconds=0.5), Sampling(kind="every"),
        Sampling(kind="every", seconds=1.0), Sampling(kind="flip_mcio"), Sampling(kind="all"),
        Sampling(kind="all", max_frames=9),
    ]  # fmt: skip
    found = [detector.using(sampling=one).fingerprint for one in kinds]
    assert found[2] == found[3]
    assert found[6] == found[7], "a ceiling refuses films and changes no score"
    assert len({str(one) for one in found}) == 6
    made = Threshold.at_margin(0.1, rule="dev_eer", fingerprint=found[0])
    with pytest.raises(
        ConfigError, match=r"frames taken from films \(equidistant 20 here, equidistant 3 there"
    ):
        detector.using(sampling=Sampling(count=20), threshold=made)


def test_the_fingerprint_follows_the_configuration(tmp_path):
    import verticlip

    folder = tmp_path / "model"
    make_models.handle().save(folder)
    before = LivenessDetector.from_pretrained(folder)
    raw = json.loads((folder / "config.json").read_text())
    raw["towers"]["image"]["quick_gelu"] = True
    raw["options"]["taxonomy"]["categories"][0]["explanation"] = "Said in other words."
    raw["description"] = "another description"
    (folder / "config.json").write_text(json.dumps(raw))
    after = LivenessDetector(verticlip.from_pretrained(folder))
    picture = captures.texture()
    assert after.predict(picture).margin != before.predict(picture).margin
    differences = after.fingerprint.differences(before.fingerprint)
    assert [phrase.split(" (")[0] for phrase in differences] == ["architecture"]


def test_weights_that_are_written_to_later_are_noticed(tmp_path):
    folder = tmp_path / "model"
    make_models.handle().save(folder)
    made = LivenessDetector.from_pretrained(folder)
    before = made.fingerprint
    assert before.weights == made.model.revision
    with torch.no_grad():
        next(made.model.network.parameters()).add_(0.01)
    for changed in (made, made.using(aggregator="mean")):
        assert changed.fingerprint.weights.startswith("state:")
        assert [one.split(" (")[0] for one in changed.fingerprint.differences(before)] == ["weights"]


def test_settings_as_a_record(model):
    stored = DetectorSettings(aggregator="median", threshold=0.25)
    made = LivenessDetector(model, stored, min_k=3)
    assert (made.settings.aggregator, made.settings.min_k, made.threshold.value) == ("median", 3, 0.25)
    assert made.using(aggregator="mean").settings == replace(made.settings, aggregator="mean")


def test_the_score_is_the_one_thresholds_are_on(detector):
    picture = captures.texture()
    plain = detector.predict(picture)
    softened = detector.using(temperature=3.0)
    assert softened.score(picture) == pytest.approx(plain.p_live, abs=1e-9)
    assert softened.predict(picture).p_live != pytest.approx(plain.p_live, abs=1e-3)


@pytest.mark.parametrize("part", ["train", "test"])
def test_darkness_is_judged_and_never_turned_away(detector, part):
    pytest.importorskip("cv2")
    taken = [
        simulate(make_pictures.drawn(seed, height=224, width=168), "low_light", part=part, seed=seed)
        for seed in range(8)
    ]
    # A camera that lifts what it took makes pictures that are not dark.
    dark = [picture for picture in taken if picture.mean() < 75]
    assert len(dark) >= 6
    failed = []
    for picture in dark:
        found = detector.predict(picture)
        assert found.decision == found.model_decision, [check.name for check in found.failed_checks]
        failed += [check.name for check in found.failed_checks]
    assert "sharpness" in failed, "the gate says what it measured"
    assert "luma" in failed
    film = detector.predict(dark[:3])
    assert (film.frames_used, film.decision) == (3, film.model_decision)


def test_a_crop_made_for_another_model_is_refused(model, tmp_path):
    pytest.importorskip("cv2")
    wide = LivenessDetector(make_models.handle(crops=[CropConfig(scale=2.7)]))
    crop = save_crop(tmp_path / "face.png", captures.texture(), CropConfig(scale=2.7, size=120))
    assert wide.predict(crop).decision in ("live", "attack")
    with pytest.raises(
        InputError, match=r"cropped with other settings \(scale 2.7\) than the model takes \(scale 1\)"
    ):
        LivenessDetector(model).predict(crop)
    with pytest.raises(InputError, match="is a face crop already"):
        LivenessDetector(model, detector=captures.Told()).predict(crop)


def test_relevance_is_given_when_asked(detector):
    found = detector.predict(captures.texture(), relevance=True)
    relevance = found.explanation.evidence.relevance
    assert (len(relevance.grid), relevance.size, relevance.box) == (8, (120, 120), (0, 0, 120, 120))
    assert relevance.category == found.explanation.evidence.category
    assert "pixels" not in found.to_dict()
    assert LivenessResult.from_dict(found.to_dict()).explanation == found.explanation
    assert detector.predict(captures.texture()).explanation.evidence.relevance is None


def test_calibration_end_to_end(detector, tmp_path):
    dev = captures.write_set(tmp_path)
    test = captures.write_set(tmp_path, split="test", first=50)
    found = detector.calibrate(dev, test=test, rules=["dev_apcer=0.2"])
    assert found["balanced"].dataset == "drawn"
    assert found["balanced"].n == {"bona_fide": 6, "display": 6, "print": 6}
    assert found["balanced"].crops[0]["scale"] == 1.0
    assert '"equidistant"' in found["balanced"].sampling
    found.save(tmp_path / "threshold.json")
    ready = detector.using(threshold=tmp_path / "threshold.json", mode="balanced")
    achieved = found["balanced"].achieved
    wrong = sum(
        ready.predict(entry).decision != "live" for entry in read_manifest(dev) if entry.label == "live"
    )
    assert wrong == achieved.bpcer.errors
    answer = ready.predict(captures.texture())
    assert answer.threshold.provenance.startswith("dev_eer on drawn: 6 bona fide, 12 attacks")
    assert answer.threshold.achieved["bpcer"]["n"] == 6
    assert not answer.notes


def test_sets_that_must_not_be_calibrated_on(detector, tmp_path):
    dev = read_manifest(captures.write_set(tmp_path))
    with pytest.raises(DataError, match=r"No presentation is in split dev \(found: test 18\)"):
        detector.calibrate([replace(entry, split="test") for entry in dev])
    mixed = [replace(entry, split="test" if entry.species == "print" else "dev") for entry in dev]
    with pytest.raises(DataError, match=r"drawn/s0 \(dev and test\)"):
        detector.calibrate(mixed)
    with pytest.raises(DataError, match=r"drawn/s0 \(dev and test\)"):
        detector.calibrate(dev, test=[replace(entry, video_id="x" + entry.video_id) for entry in dev[:2]])
    with pytest.raises(DataError, match="has 6 bona fide and 0 attack"):
        detector.calibrate([entry for entry in dev if entry.label == "live"])
    dev[3].path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="1 of 18 presentations cannot be read, first: dev1-bona_fide.png"):
        detector.calibrate(dev)


def test_the_shipped_small_network():
    pytest.importorskip("cv2")
    shipped = LivenessDetector.from_pretrained(
        "liveness/minifasnet-v2", detector=captures.Told(captures.face_at(200, 200))
    )
    found = shipped.predict(captures.texture(side=400), relevance=True)
    assert found.model == "liveness/minifasnet-v2"
    assert found.revision.startswith("sha256:")
    assert found.explanation.evidence.category_text == ""
    with pytest.raises(ConfigError, match="no embedding of pictures to keep"):
        shipped.predict(captures.texture(side=40), keep=("embedding",))
    with pytest.raises(ConfigError, match="no embedding of pictures to keep"):
        shipped.predict_each([], keep=("embedding",))
    x1, y1, x2, y2 = found.explanation.evidence.relevance.box
    assert (x2 - x1, y2 - y1) == (325, 325), "2.7 times the face, both ends inclusive"


def test_items_of_many_kinds(detector, tmp_path):
    pixels = captures.texture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = detector.predict(pixels).p_live
    data = (tmp_path / "a.png").read_bytes()
    for item in (tmp_path / "a.png", str(tmp_path / "a.png"), data, Image.fromarray(pixels), [pixels]):
        assert detector.predict(item).p_live == pytest.approx(expected, abs=1e-6)
