from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from verticlip.core.config import ImageProcessing
from verticlip.core.errors import InputError, LimitError
from verticlip.core.heatmaps import HeatMap, from_processing, gaussian_smooth, place, to_input_pixels
from verticlip.core.limits import Limits


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("size", [(15, 15), (1, 1), (2, 7), (14, 3), (1, 9), (40, 31)])
@pytest.mark.parametrize("sigma", [0.4, 1.5, 3.0])
def test_smoothing_equals_scipy_also_on_grids_smaller_than_the_kernel(size, sigma):
    maps = noise(2, 3, *size)
    smooth = gaussian_smooth(maps, sigma)
    for index in np.ndindex(2, 3):
        expected = ndimage.gaussian_filter(maps[index].numpy().astype(np.float64), sigma)
        np.testing.assert_allclose(smooth[index].numpy(), expected, atol=5e-7)


def test_smoothing_lets_gradients_through_keeps_the_type_and_accepts_no_width():
    maps = noise(1, 5, 5).double().requires_grad_()
    gaussian_smooth(maps).sum().backward()
    assert maps.grad is not None
    assert maps.grad.dtype == torch.float64
    assert gaussian_smooth(maps, 0.0) is maps
    # Mirrored at the border, no weight is lost: the sum of a map stays.
    assert gaussian_smooth(maps).sum().item() == pytest.approx(maps.sum().item(), abs=1e-9)


@pytest.mark.parametrize("case", ["phrase_grounding"])
def test_the_steps_of_phrase_grounding_match_the_reference(golden_dir: Path, case: str):
    folder = golden_dir / "biovil" / case
    config = json.loads((folder / "config.json").read_text())
    out = load_file(folder / "outputs.safetensors")
    raw = (out["patch_embeddings_hwd"] @ out["text_embedding"][0]).float()
    torch.testing.assert_close(raw, out["similarity_raw"], atol=1e-6, rtol=0)
    smooth = gaussian_smooth(raw, config["gaussian"]["sigma"])
    torch.testing.assert_close(smooth, out["similarity_smoothed"], atol=1e-6, rtol=0)
    size = config["image"]["height"], config["image"]["width"]
    rule = {"resize": config["transform"]["resize"], "crop": config["transform"]["center_crop"]}
    for mode in ("nearest", "bilinear"):
        torch.testing.assert_close(
            to_input_pixels(smooth, size, mode=mode, **rule),
            out[f"heatmap_{mode}"],
            atol=1e-5,
            rtol=0,
            equal_nan=True,
        )
    for name, variant in config["variants"].items():
        found = to_input_pixels(
            smooth, (variant["height"], variant["width"]), resize=variant["resize"], crop=variant["crop"],
            mode=name.rsplit("_", 1)[1],
        )  # fmt: skip
        torch.testing.assert_close(found, out[name], atol=1e-5, rtol=0, equal_nan=True)


def test_the_footprint_of_a_centre_crop():
    values = to_input_pixels(torch.ones(2, 7, 7), (300, 421), resize=256, crop=224)
    assert values.shape == (2, 300, 421)
    seen = torch.isfinite(values[0])
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    # int(224 * 300 / 256) = 262; margins 38 and 159, the larger half right and below.
    assert (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) == (19, 280, 79, 340)
    assert seen.sum() == 262 * 262


def test_a_crop_larger_than_the_image_is_cut():
    values = to_input_pixels(
        torch.arange(4.0).view(1, 4).expand(4, 4), (10, 6), resize=None, crop=12, mode="nearest"
    )
    assert values.shape == (10, 6)
    assert torch.isfinite(values).all()
    # Twelve columns of three each; the image has the middle six.
    assert values[0].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_every_resize_rule_puts_a_spot_back_where_it_was():
    for rule, size in (
        ("squash", (60, 90)),
        ("longest", (60, 90)),
        ("longest", (90, 61)),
        ("shortest", (64, 80)),
    ):
        processing = ImageProcessing(size=32, resize=rule, short_side=40 if rule == "shortest" else None)
        from verticlip.core.processing import Processor, ProcessorConfig

        processor = Processor(ProcessorConfig(image=processing))
        image = torch.zeros(1, *size)
        image[0, 28:36, 40:48] = 1
        grid = processor.fit_image(image).mean(dim=0)  # the input itself as a 32 x 32 map
        values = from_processing(grid, size, processing)
        assert values.shape == size
        heat = torch.nan_to_num(values)
        rows, columns = torch.meshgrid(
            torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij"
        )
        center = (float((heat * rows).sum() / heat.sum()), float((heat * columns).sum() / heat.sum()))
        assert center == pytest.approx((32, 44), abs=0.8), rule


def test_longest_leaves_no_pixel_unseen_and_ignores_the_bars():
    processing = ImageProcessing(size=32, resize="longest")
    grid = torch.zeros(32, 32)
    grid[:8] = grid[-8:] = 100.0  # the bars of an image twice as wide as high
    values = from_processing(grid, (50, 100), processing, mode="nearest")
    assert torch.isfinite(values).all()
    assert float(values.max()) == 0.0


def test_place_puts_a_part_where_it_was():
    values = place(torch.ones(1, 2, 3), (5, 7), (4, 1, 7, 3))
    assert torch.isfinite(values).sum() == 6
    assert torch.isfinite(values[0, 1:3, 4:7]).all()
    with pytest.raises(InputError, match=r"does not fill the box \(4, 1, 8, 3\) of an image 5 x 7"):
        place(torch.ones(1, 2, 4), (5, 7), (4, 1, 8, 3))


def heat_map(values: torch.Tensor, phrase: str = "opacity") -> HeatMap:
    return HeatMap(values, phrase, 0.25, torch.zeros(2, 2), (-1.0, 1.0), id="a.png", model="m")


def test_peak_boxes_and_seen_of_a_map():
    values = torch.full((20, 30), torch.nan)
    values[2:18, 5:25] = 0.0
    values[4:8, 6:10] = 0.5
    values[12:14, 20:25] = 0.9
    values[17, 24] = 0.4
    record = heat_map(values)
    assert record.peak in {(22, 12), (22, 13)}  # the middle of the five by two
    assert record.seen == (5, 2, 25, 18)
    boxes = record.boxes(0.3)
    assert [box[:4] for box in boxes] == [(20, 12, 25, 14), (6, 4, 10, 8), (24, 17, 25, 18)]
    assert [box[4] for box in boxes] == pytest.approx([0.9, 0.5, 0.4])
    assert [box[:4] for box in record.boxes(0.3, min_area=10)] == [(20, 12, 25, 14), (6, 4, 10, 8)]
    assert record.boxes(0.95) == []


def test_a_map_that_saw_nothing():
    record = heat_map(torch.full((3, 4), torch.nan))
    assert record.seen is None
    assert record.to_dict()["peak"] is None
    assert record.boxes(0.1) == []
    with pytest.raises(InputError, match="map of 'opacity' holds no finite value"):
        _ = record.peak


def test_the_record_as_json():
    values = torch.zeros(4, 6)
    values[1, 2] = 0.75
    plain = heat_map(values).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["peak"] == {"x": 2, "y": 1, "value": 0.75}
    assert (plain["size"], plain["seen"], plain["id"]) == ([4, 6], [0, 0, 6, 4], "a.png")


def test_the_overlay_is_a_picture_with_colour_where_the_model_looked(tmp_path: Path):
    values = torch.full((60, 80), torch.nan)
    values[:, 40:] = 0.9
    record = heat_map(values, "costs $5 and $6")
    record.save_overlay(tmp_path / "map.png", np.full((60, 80), 128, np.uint8), boxes=record.boxes(0.5))
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    left, right = pixels[height // 2, width // 4], pixels[height // 2, width // 2 + 20]
    assert max(left) - min(left) <= 2  # grey: nothing was seen there
    assert right[0] > right[2] + 30  # red: close to 1


def test_messages(tmp_path: Path):
    with pytest.raises(InputError, match=r"float \[\.\.\., h, w\] .* got torch.int64 \[3, 3\]"):
        gaussian_smooth(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(InputError, match="sigma must be a number of grid cells, 0 or more; got nan"):
        gaussian_smooth(torch.zeros(3, 3), math.nan)
    with pytest.raises(InputError, match="interpolation 'bilinaer' is not offered.*Did you mean 'bilinear'"):
        to_input_pixels(torch.zeros(3, 3), (9, 9), resize=None, crop=None, mode="bilinaer")
    with pytest.raises(InputError, match=r"\(height, width\) of at least 1, got \(0, 9\)"):
        to_input_pixels(torch.zeros(3, 3), (0, 9), resize=None, crop=None)
    with pytest.raises(InputError, match="covers less than one pixel"):
        to_input_pixels(torch.zeros(3, 3), (1, 9), resize=512, crop=448)
    with pytest.raises(InputError, match="finite threshold and min_area of at least 1, got inf and 1"):
        heat_map(torch.zeros(2, 2)).boxes(math.inf)
    with pytest.raises(InputError, match=r"its map \[H, W\]; got \(3, 3\) and \(2, 2\)"):
        heat_map(torch.zeros(2, 2)).save_overlay(tmp_path / "x.png", torch.zeros(1, 3, 3))
    with pytest.raises(LimitError, match="overlay: pixels 9 is over the limit of 4"):
        heat_map(torch.zeros(3, 3)).save_overlay(
            tmp_path / "x.png", torch.zeros(1, 3, 3), limits=Limits(pixels=4)
        )
    assert not list(tmp_path.iterdir())


def test_contrast_is_the_span_of_what_was_seen() -> None:
    values = torch.tensor([[0.25, float("nan")], [0.75, 0.5]])
    heat = HeatMap(values, "x", 0.0, values, (-1.0, 1.0))
    assert heat.contrast == pytest.approx(0.5)
    assert heat.to_dict()["contrast"] == pytest.approx(0.5)
