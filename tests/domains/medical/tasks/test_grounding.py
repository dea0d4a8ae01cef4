from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from safetensors.torch import load_file
from verticlip.core.answers import Failure
from verticlip.core.checkpoint import load_strict, read_weights
from verticlip.core.conversion import build_empty, wordpiece_tokenizer
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.heatmaps import gaussian_smooth
from verticlip.core.processing import Processor
from verticlip.core.types import Sample
from verticlip.domains.medical.biovil.convert import ConversionOptions, convert_states
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.loaders.errors import GeometryError
from verticlip.domains.medical.tasks import can_ground, evaluate_grounding, ground, ground_each
from verticlip.domains.medical.tasks.grounding import prepare_phrases

PHRASE = "red square"


def picture(height: int, width: int, spot: tuple[int, int], side: int = 24) -> np.ndarray:
    """A dark grey picture with a bright square whose centre is ``spot`` (x, y)."""
    image = np.full((height, width), 60, np.uint8)
    x, y = spot
    image[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 250
    return image


def center_of(values: torch.Tensor) -> tuple[float, float]:
    """Centre of mass of what stands out, in pixels."""
    heat = torch.nan_to_num(values, nan=float(values[torch.isfinite(values)].min()))
    heat = (heat - (heat.max() + heat.min()) / 2).clamp(min=0)
    rows = torch.arange(heat.shape[0])[:, None] + 0.5
    columns = torch.arange(heat.shape[1])[None] + 0.5
    return float((heat * columns).sum() / heat.sum()), float((heat * rows).sum() / heat.sum())


RULES = [
    {"resize": "squash"},
    {"resize": "longest"},
    {"resize": "shortest"},
    {"resize": "shortest", "short_side": 36},
    {"resize": "shortest", "short_side": 36, "resampler": "pillow"},
    {"resize": "squash", "trim_border": 0.1},
    {"resize": "shortest", "trim_border": 0.1},
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_spot_is_found_where_it_is_in_the_file(spots, tmp_path: Path, rule):
    image = np.zeros((200, 260), np.uint8)
    image[30:170, 50:230] = picture(140, 180, (70, 80))  # dark margins around
    Image.fromarray(image).save(tmp_path / "spot.png")
    (found,) = ground(spots(size=32, **rule), tmp_path / "spot.png", PHRASE)[0]
    assert found.values.shape == (200, 260)
    assert center_of(found.values) == pytest.approx((120, 110), abs=8), rule
    assert found.id == str(tmp_path / "spot.png")
    if "trim_border" in rule:
        assert found.seen is not None
        x0, y0, x1, y1 = found.seen
        assert (y0, y1) == (30, 170)
        assert (x0, x1) == ((50, 230) if rule["resize"] == "squash" else (70, 210))


def test_pixels_of_a_turned_photograph_are_those_of_the_upright_one(spots, tmp_path: Path):
    upright = picture(120, 200, (160, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (found,) = ground(spots(resize="squash"), [tmp_path / "turned.jpg"], [PHRASE])[0]
    assert found.values.shape == load_image(tmp_path / "turned.jpg").pixels.shape[1:] == (120, 200)
    assert center_of(found.values) == pytest.approx((160, 40), abs=8)


def test_crops_and_sizes_of_the_loader_are_undone(spots, tmp_path: Path):
    Image.fromarray(picture(200, 260, (150, 100))).save(tmp_path / "spot.png")
    model = spots(resize="squash")
    (cropped,) = ground(model, tmp_path / "spot.png", PHRASE, box=(100, 60, 220, 160))[0]
    assert cropped.values.shape == (200, 260)
    assert cropped.seen == (100, 60, 220, 160)
    assert center_of(cropped.values) == pytest.approx((150, 100), abs=6)
    for size in ((50, 40), (300, 500)):
        (resized,) = ground(model, tmp_path / "spot.png", PHRASE, box=(100, 60, 220, 160), size=size)[0]
        assert resized.seen == (100, 60, 220, 160)
        assert center_of(resized.values) == pytest.approx((150, 100), abs=6)
    # A crop of the processor inside a crop and size of the loader.
    (both,) = ground(
        spots(resize="shortest", short_side=20), tmp_path / "spot.png", PHRASE, box=(100, 60, 220, 160), size=(80, 96)
    )[0]  # fmt: skip
    assert both.seen == pytest.approx((120, 70, 200, 150), abs=2)
    assert center_of(both.values) == pytest.approx((150, 100), abs=6)


def test_a_transform_whose_way_back_is_unknown_is_refused(spots, tmp_path: Path):
    Image.fromarray(picture(64, 64, (30, 30))).save(tmp_path / "spot.png")
    with pytest.raises(GeometryError, match="'transform' has no known inverse"):
        ground(spots(), tmp_path / "spot.png", PHRASE, transform=lambda pixels: pixels.flip(2))


def test_dicom_in_file_pixels(spots, make, tmp_path: Path):
    stored = picture(90, 130, (100, 60)).astype(np.uint16) * 100
    path = tmp_path / "x.dcm"
    make.image(path, stored)
    (found,) = ground(spots(size=32, resize="longest"), path, PHRASE, window="minmax")[0]
    assert found.values.shape == (90, 130)
    assert center_of(found.values) == pytest.approx((100, 60), abs=6)


@pytest.mark.data
def test_batches_give_what_single_calls_give(tiny, data_dir: Path):
    files = [
        path
        for folder in sorted((data_dir / "medical/brain_mri/train").iterdir())
        for path in sorted(folder.iterdir())[:2]
    ]
    phrases = ["glioma", "no tumor", "pituitary tumor"]
    together = ground(tiny, files, phrases, batch_size=8)
    for file, maps in zip(files, together, strict=True):
        for one, other in zip(maps, ground(tiny, file, phrases)[0], strict=True):
            torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=0, equal_nan=True)
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_tokens_of_a_mean_pooled_tower_carry_the_score_of_the_image(tiny):
    image = torch.rand(1, 70, 90, generator=torch.Generator().manual_seed(0))
    (found,) = ground(tiny, image, "pneumonia")[0]
    vectors = tiny.embed(image).vectors
    assert found.score == pytest.approx(float(vectors @ tiny.embed("pneumonia").vectors.T), abs=1e-5)
    assert found.value_range == (-1.0, 1.0)
    assert found.grid.shape == (3, 3)
    assert (found.model, found.processor) == (tiny.id, tiny.processor.fingerprint)
    assert not found.values.requires_grad
    (found.values.nan_to_num() * 2).sum()  # a tensor like any other, outside inference mode


def test_maps_are_smoothed_when_the_model_asks_for_it(spots):
    image = picture(64, 64, (20, 40))
    (plain,) = ground(spots(), image, PHRASE)[0]
    (smooth,) = ground(spots(smoothing=1.5), image, PHRASE)[0]
    torch.testing.assert_close(smooth.grid, gaussian_smooth(plain.grid, 1.5))


def test_every_phrase_gets_its_own_map(spots):
    short, long = ground(spots(), [picture(64, 64, (20, 40))], ["red", "red green blue cat"])[0]
    assert short.phrase == "red"
    assert short.score > 1.5 * long.score
    torch.testing.assert_close(short.grid * 3, long.grid * 6)


def test_interpolation_nearest_gives_the_cells(spots):
    (found,) = ground(spots(), picture(64, 64, (20, 40)), PHRASE, interpolation="nearest")[0]
    torch.testing.assert_close(found.values[::8, ::8], found.grid)


def test_phrases_are_encoded_once_for_all_images(tiny, monkeypatch):
    calls = []
    encode = type(tiny.network).encode

    def counted(network, modality, inputs, **options):
        calls.append(modality)
        return encode(network, modality, inputs, **options)

    monkeypatch.setattr(type(tiny.network), "encode", counted)
    ground(tiny, [picture(64, 64, (20, 40))] * 5, ["pneumonia", "glioma"], batch_size=2)
    assert calls == ["text"]


def test_each_yields_without_holding_the_rest(spots):
    made = ground_each(spots(), [picture(64, 64, (20, 40))] * 5, PHRASE, batch_size=2)
    assert next(made)[0].values.shape == (64, 64)
    assert len(list(made)) == 4


def test_each_tells_a_bad_image_apart(spots, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    items = [picture(64, 64, (20, 40)), tmp_path / "bad.png", picture(64, 64, (40, 20))]
    maps, failure, last = ground_each(spots(), items, PHRASE)
    assert isinstance(failure, Failure)
    assert failure.id == str(tmp_path / "bad.png")
    assert (len(maps), last[0].values.shape) == (1, (64, 64))


def test_a_template_says_the_phrase_in_a_sentence(tiny):
    image = picture(64, 64, (20, 40))
    said = ground(tiny, image, ["glioma"], template="brain MRI showing {}")[0][0]
    whole = ground(tiny, image, ["brain MRI showing glioma"])[0][0]
    assert said.phrase == "glioma"
    torch.testing.assert_close(said.grid, whole.grid)
    assert not torch.allclose(said.grid, ground(tiny, image, ["glioma"])[0][0].grid)
    with pytest.raises(ConfigError, match=r"template needs exactly one \{\} where the phrase goes, got 'x'"):
        ground(tiny, image, ["glioma"], template="x")


def test_many_phrases_are_encoded_in_bounded_batches(tiny, monkeypatch):
    sizes = []
    encode = type(tiny.network).encode

    def counted(network, modality, inputs, **options):
        sizes.append(inputs["input_ids"].shape)
        return encode(network, modality, inputs, **options)

    monkeypatch.setattr(type(tiny.network), "encode", counted)
    phrases = [f"pneumonia {'of the lung ' * (number % 4)}{number}" for number in range(300)]
    got = prepare_phrases(tiny, phrases)["phrases"]
    assert len(sizes) > 1
    assert all(rows < 300 for rows, _ in sizes)
    torch.testing.assert_close(got[17:18], prepare_phrases(tiny, phrases[17:18])["phrases"])


def test_which_models_can(tiny, spots, model_folder: Path):
    random = verticlip.from_pretrained(model_folder)
    assert [can_ground(model) for model in (tiny, spots(), random)] == [True, True, False]
    with pytest.raises(
        InputError, match="'random' cannot ground phrases: .* medical/biovil or medical/conceptclip"
    ):
        ground(random, picture(64, 64, (20, 40)), PHRASE)


def test_the_overlay_of_a_real_result(tiny, tmp_path: Path):
    image = picture(90, 120, (40, 40))
    (found,) = ground(tiny, image, "white blood cell")[0]
    found.save_overlay(tmp_path / "map.png", image, boxes=found.boxes(0.0))
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.width > 400


def test_from_a_file_to_the_map_as_in_the_reference_of_biovil(small_golden: Path, tmp_path: Path):
    case = small_golden / "biovil/phrase_grounding"
    config = json.loads((case / "config.json").read_text())
    weights = read_weights(case / "weights.safetensors")
    states = {
        part: {
            name.removeprefix(f"{part}_model."): value
            for name, value in weights.items()
            if name.startswith(part)
        }
        for part in ("image", "text")
    }
    options = ConversionOptions(
        short_side=config["transform"]["resize"],
        crop=config["transform"]["center_crop"],
        text_heads=config["bert"]["num_attention_heads"],
    )
    done = convert_states(
        "medical/golden", states, options,
        sources=dict.fromkeys(states, "weights"), tokenizer=wordpiece_tokenizer(case / "vocab.txt"),
    )  # fmt: skip
    network = build_empty(done.config)
    load_strict(network, done.state, source="weights")
    model = verticlip.Model(network.eval(), Processor(done.processor, done.tokenizer_json))
    pixels = load_file(case / "inputs.safetensors")["image_uint16"].numpy().astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = load_file(case / "outputs.safetensors")
    for mode in ("nearest", "bilinear"):
        (found,) = ground(model, tmp_path / "x.png", config["prompt"], interpolation=mode)[0]
        torch.testing.assert_close(
            found.values, expected[f"heatmap_{mode}"], atol=1e-5, rtol=0, equal_nan=True
        )
        assert found.score == pytest.approx(float(expected["global_score_single"]), abs=1e-5)
    assert set(prepare_phrases(model, [config["prompt"]])) == {"phrases"}


@pytest.mark.data
def test_real_cells_are_found_where_experts_drew_them(tiny, data_dir: Path, tmp_path: Path):
    root = data_dir / "medical/bccd/val"
    rows = []
    for label in sorted(root.rglob("*.xml"))[:24]:
        tree = ElementTree.parse(label).getroot()
        boxes = [
            [int(found.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
            for found in tree.iter("object")
            if found.findtext("name") == "WBC"
        ]
        if boxes:
            rows.append({"path": f"{label.stem}.jpg", "text": "white blood cell", "boxes": boxes})
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = evaluate_grounding(tiny, tmp_path / "boxes.jsonl", root)
    # A box covers an eighth of a picture, which is what pointing at random would reach.
    assert report.mean["cnr_signed"].value > 1.5
    assert report.mean["miou"].value > 0.25
    assert report.mean["pointing"].value > 0.2


def test_messages(spots, tiny, tmp_path: Path):
    image = picture(64, 64, (20, 40))
    with pytest.raises(InputError, match="list of phrases is empty"):
        ground(tiny, image, [])
    with pytest.raises(InputError, match="phrase 1 is '  '; expected words"):
        ground(tiny, image, ["a", "  "])
    with pytest.raises(InputError, match="the batch is empty"):
        ground(tiny, [], PHRASE)
    with pytest.raises(InputError, match="interpolation 'cubic' is not offered.*Did you mean 'bicubic'"):
        ground(tiny, image, PHRASE, interpolation="cubic")
    with pytest.raises(ConfigError, match="batch_size is at least 1, got 0"):
        ground(tiny, image, PHRASE, batch_size=0)
    with pytest.raises(InputError, match="image 0: a sample of 'video'; expected one image"):
        ground(tiny, Sample(torch.zeros(2, 1, 8, 8), "video"), PHRASE)
    with pytest.raises(InputError, match="no such file") as caught:
        ground(tiny, tmp_path / "Doe^Jane.png", PHRASE)
    assert "Doe" not in str(caught.value)
    tight = spots()
    tight.limits = tight.limits.with_(decoded_bytes=1000)
    with pytest.raises(LimitError, match="heat maps: bytes 16,384 is over the limit of 1,000"):
        ground(tight, image, PHRASE)
