from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.core.config import ImageProcessing, ProcessorConfig
from verticlip.core.data import Record
from verticlip.core.errors import InputError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.recipe import LoadedRecipe, load_recipe
from verticlip.domains.liveness.faces.crop import CropConfig, crop_face
from verticlip.domains.liveness.faces.detect import Face
from verticlip.domains.liveness.frames.media import read_media
from verticlip.domains.liveness.minifasnet.spectrum import fourier_target
from verticlip.domains.liveness.models.base import LivenessModel
from verticlip.domains.liveness.protocols.entry import Entry
from verticlip.domains.liveness.training.store import PresentationStore
from verticlip.domains.liveness.training.task import LivenessData, prepare

sys.path.insert(0, str(Path(__file__).parent))
from make_presentations import make_set
from make_start import OVERRIDES, RECIPES, make_start


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_set(folder, name="presentations.csv", subjects=8, frames=3)
    return folder


def prepared(name: str, data: Path, *changes: str) -> LivenessData:
    loaded = load_recipe(RECIPES / f"{name}.yaml").recipe.with_(["batch_size=8", *OVERRIDES[name], *changes])
    return prepare(LoadedRecipe(loaded), data, make_start() if loaded.start else None)


def test_flip_mcl_gets_two_views_and_two_sets_of_sentences(data):
    found = prepared("flip-mcl", data)
    batch, again = next(iter(found.loader)), next(iter(prepared("flip-mcl", data).loader))
    assert set(batch.extras) == {"live", "view_1", "view_2", "prompt_view_1", "prompt_view_2"}
    for name in batch.extras:
        assert torch.equal(batch.extras[name], again.extras[name])
    views = batch.extras["view_1"], batch.extras["view_2"]
    assert views[0].shape == views[1].shape == batch.inputs["image"]["pixels"].shape == (8, 3, 32, 32)
    assert not torch.equal(*views)
    # Class 0 is the attack; its sentences come first.
    assert torch.equal(batch.labels, batch.extras["live"])
    for label, first, second in zip(
        batch.labels, batch.extras["prompt_view_1"], batch.extras["prompt_view_2"], strict=True
    ):
        assert len(first) == 3
        used = {*first.tolist(), *second.tolist()} - {-1}
        assert used == set(range(6 * int(label), 6 * int(label) + 6))
        assert not set(first.tolist()) & set(second.tolist())
    disjoint = next(iter(prepared("flip-mcl", data, "options.prompt_views=disjoint").loader))
    assert disjoint.extras["prompt_view_2"].shape == (8, 3)
    assert int(disjoint.extras["prompt_view_2"].min()) >= 0


def test_flip_trains_with_the_first_frame_and_judges_by_all(data):
    found = prepared("flip-it", data, "options.changes=recipe")
    record = next(iter(found.validation.values()))[0]
    assert found.store.parts(record).shape == (3, 3, 32, 32)
    first = found.store.parts(record)[:1]
    for seed in range(5):
        assert torch.equal(found.store.draw([record], torch.Generator().manual_seed(seed)), first)
    every = prepared("flip-it", data, "options.changes=recipe", "options.train_frames=null")
    drawn = {
        float(every.store.draw([record], torch.Generator().manual_seed(seed)).sum()) for seed in range(20)
    }
    assert len(drawn) == 3


def test_the_spectrum_is_that_of_the_picture_as_it_was_taken(data):
    found = prepared("minifasnet", data, "options.changes=minifasnet")
    batch = next(iter(found.loader))
    by_id = {record.id: record for record in found.loader.records}
    frames = torch.stack([found.store.parts(by_id[name]) for name in batch.ids])
    targets = torch.stack([fourier_target(own, (10, 10)) for own in frames])
    assert batch.extras["fourier_target"].shape == (8, 1, 10, 10)
    distances = (targets - batch.extras["fourier_target"][:, None]).abs().flatten(2).amax(2).amin(1)
    assert float(distances.max()) < 1e-5
    pixels = batch.inputs["image"]["pixels"]
    assert pixels.shape == (8, 3, 80, 80)
    assert 0.4 < float(pixels.max()) <= 1
    held = next(iter([found.collate.held_out(found.loader.records[:4], torch.Generator())]))
    assert torch.equal(
        held.inputs["image"]["pixels"],
        torch.stack([found.store.parts(one)[0] for one in found.loader.records[:4]]),
    )


@pytest.mark.parametrize("name", ["flip-it", "minifasnet"])
def test_training_sees_what_the_model_will_see(name, data):
    found = prepared(name, data)
    model = build_model(found.model_config)
    assert isinstance(model, LivenessModel)
    for record in next(iter(found.validation.values()))[:2]:
        frames = read_media(list(found.entries[record.id].frames)).frames
        crops = [crop_face(frame, None, model.crops[0]) for frame in frames]
        served = model.prepare_crop(found.processor, crops, 0)["pixels"]
        served = served.float() / 255 if served.dtype == torch.uint8 else served
        trained = found.store.finish(found.store.parts(record), found.processor)["pixels"]
        torch.testing.assert_close(trained, served, atol=1e-6, rtol=0)


class Detector:
    """Finds the bright square of a dark picture."""

    name, digest = "bright", "00"

    def detect(self, picture: np.ndarray) -> list[Face]:
        rows, columns = np.nonzero(picture.max(2) > 128)
        if not len(rows):
            return []
        return [
            Face((float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)))
        ]


def test_faces_are_cut_as_the_model_says_and_frames_without_one_are_left_out(tmp_path):
    bright = np.zeros((60, 80, 3), np.uint8)
    bright[20:40, 30:50] = 200
    entry = Entry(tmp_path / "a.png", "a", "live")
    processor = Processor(ProcessorConfig(image=ImageProcessing(size=16, resize="squash")))
    frames = {"a": [bright, np.zeros_like(bright), bright], "b": [np.zeros_like(bright)]}

    def store(scale: float) -> PresentationStore:
        return PresentationStore(
            processor,
            {"a": entry, "b": replace(entry, video_id="b")},
            crop=CropConfig(scale=scale),
            read=lambda one: frames[one.video_id],
            detector=Detector(),
        )

    tight, wide = store(1.0).parts(Record("a")), store(2.0).parts(Record("a"))
    assert tight.shape == wide.shape == (2, 3, 16, 16)
    assert float(tight.min()) == pytest.approx(200 / 255, abs=1e-3)
    assert float(wide[0, 0, 0, 0]) == 0.0
    with pytest.raises(InputError, match="no face in any of 1 frames.*options.detector: none"):
        store(1.0).decode(Record("b"))
    assert set(store(1.0).fill([Record("a"), Record("b")])) == {"b"}


def test_a_film_is_one_presentation(tmp_path):
    av = pytest.importorskip("av")
    from make_presentations import draw

    generator = np.random.default_rng(0)
    folder = tmp_path / "films"
    folder.mkdir()
    lines = ["path,label,species,subject,split"]
    for subject in range(4):
        for species in ("bona_fide", "print"):
            name = f"{subject}_{species}.mp4"
            with av.open(str(folder / name), "w") as container:
                stream = container.add_stream("mpeg4", rate=10)
                stream.width = stream.height = 48
                stream.pix_fmt = "yuv420p"
                for _ in range(12):
                    frame = av.VideoFrame.from_ndarray(draw(species, generator), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
            label = "live" if species == "bona_fide" else "attack"
            lines.append(f"films/{name},{label},{species},{subject},{'dev' if subject == 3 else 'train'}")
    (tmp_path / "presentations.csv").write_text("\n".join(lines))
    found = prepared("clipc8", tmp_path, "options.sampling={kind: equidistant, count: 4}")
    record = next(iter(found.validation.values()))[0]
    assert found.store.parts(record).shape == (4, 3, 32, 32)
    assert len(next(iter(found.loader))) == 8


def test_pictures_are_read_anew_without_a_cache(data):
    kept, fresh = prepared("flip-it", data), prepared("flip-it", data, "data.cache=none")
    first, second = next(iter(kept.loader)), next(iter(fresh.loader))
    assert torch.equal(first.inputs["image"]["pixels"], second.inputs["image"]["pixels"])
