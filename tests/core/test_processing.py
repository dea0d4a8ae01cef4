from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from verticlip.core.config import AugmentConfig, ImageProcessing, ProcessorConfig, TextProcessing
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.files import write_json_atomic
from verticlip.core.limits import Limits
from verticlip.core.pixels import to_pixels
from verticlip.core.processing import Processor
from verticlip.core.types import Sample

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
TOKENIZER = """{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":{"type":"Lowercase"},
"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,"model":{"type":"WordLevel",
"vocab":{"[PAD]":0,"[UNK]":1,"a":2,"cat":3},"unk_token":"[UNK]"}}"""


def image_processor(**changes) -> Processor:
    return Processor(ProcessorConfig(image=ImageProcessing(**{"size": 16, **PLAIN, **changes})))


def text_processor(**changes) -> Processor:
    config = ProcessorConfig(text=TextProcessing(**{"context_length": 4, **changes}))
    return Processor(config, TOKENIZER)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("size", [(40, 53), (53, 40), (16, 16), (7, 9)])
def test_shortest_side_and_crop_match_the_reference_transform(size):
    from open_clip import image_transform

    image = Image.fromarray(noise(*size))
    reference = image_transform(16, is_train=False, mean=PLAIN["mean"], std=PLAIN["std"])(image)
    ours = image_processor()("image", [image])["pixels"][0]
    assert ours.shape == reference.shape
    # Both resize 8 bits with a cubic antialias kernel; rounding differs by a step or two.
    assert (ours - reference).abs().max() <= 2.01 / 255


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
def test_eight_bits_and_floats_agree(resize):
    array = noise(30, 41)
    processor = image_processor(resize=resize)
    from_bytes = processor("image", [array])["pixels"]
    from_floats = processor("image", [torch.from_numpy(array).permute(2, 0, 1).float() / 255])["pixels"]
    assert (from_bytes - from_floats).abs().max() <= 2.5 / 255


def test_longest_pads_and_squash_fills():
    white = torch.ones(1, 10, 20)
    padded = image_processor(resize="longest")("image", [white])["pixels"][0, 0]
    assert padded[8].min() > 0.999
    assert padded[0].eq(0).all()
    assert image_processor(resize="squash")("image", [white])["pixels"].min() > 0.999


def test_sixteen_bits_are_scaled_never_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for image in (ramp, Image.fromarray(ramp)):
        pixels = to_pixels(image)
        torch.testing.assert_close(pixels[0], torch.from_numpy(ramp / 65535).float())
        assert len(pixels.unique()) == 256


def test_alpha_goes_onto_black_and_palettes_become_colour():
    half = Image.new("RGBA", (4, 4), (200, 100, 50, 128))
    assert to_pixels(half)[:, 0, 0].mul(255).round().tolist() == [100, 50, 25]
    palette = Image.new("RGB", (4, 4), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert to_pixels(palette)[:, 0, 0].mul(255).round().tolist() == [10, 20, 30]


def test_grey_is_repeated_and_colour_becomes_luma():
    assert image_processor()("image", [torch.full((1, 16, 16), 0.5)])["pixels"].shape == (1, 3, 16, 16)
    grey = image_processor(channels=1, mean=(0.0,), std=(1.0,))
    red = torch.zeros(3, 16, 16)
    red[0] = 1
    assert grey("image", [red])["pixels"].mean().item() == pytest.approx(0.299, abs=1e-6)


def test_trim_and_stretch():
    framed = torch.zeros(1, 40, 40)
    framed[:, 8:30, 10:32] = 0.4
    framed[:, 20, 20] = 0.5
    trimmed = image_processor(trim_border=0.12, resize="squash")("image", [framed])["pixels"]
    assert trimmed.min() > 0.3
    assert image_processor(resize="squash")("image", [framed])["pixels"].min() < 0.01
    stretched = image_processor(size=40, stretch=(0.0, 100.0))("image", [framed])["pixels"]
    assert stretched.max().item() == pytest.approx(1.0, abs=1e-6)
    constant = image_processor(trim_border=0.12, stretch=(1, 99))("image", [torch.full((1, 9, 9), 0.05)])[
        "pixels"
    ]
    assert constant.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    resize=st.sampled_from(["shortest", "longest", "squash"]),
    seed=st.integers(0, 99),
)
def test_any_image_becomes_one_finite_square_and_rows_are_independent(height, width, channels, resize, seed):
    image = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))
    processor = image_processor(resize=resize)
    pixels = processor("image", [image, torch.zeros(1, 5, 5)])["pixels"]
    assert pixels.shape == (2, 3, 16, 16)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert torch.equal(pixels[:1], processor("image", [image])["pixels"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("scan.png", "image 0: str is not an image"),
        (np.zeros((4, 4), np.int16), "dtype int16 has no known range"),
        (np.zeros((4,), np.uint8), "shape \\(4,\\) is not an image"),
        (torch.zeros(2, 4, 4), "shape \\(2, 4, 4\\) is not \\[1, H, W\\] or \\[3, H, W\\]"),
        (torch.zeros(1, 0, 4), "is not \\[1, H, W\\]"),
        (torch.zeros(1, 4, 4, dtype=torch.int64), "has no known range"),
        (torch.full((1, 4, 4), -1000.0), "values from -1000 to -1000; expected \\[0, 1\\]. Choose a window"),
        (torch.full((1, 4, 4), float("nan")), "values from nan"),
    ],
)
def test_unusable_images(item, message):
    with pytest.raises(InputError, match=message):
        image_processor()("image", [item])


def test_texts_are_padded_to_the_longest_and_masked():
    batch = text_processor()("text", ["a cat", Sample("a", "text")])
    assert batch["input_ids"].tolist() == [[2, 3], [2, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert text_processor(padding="context")("text", ["a"])["input_ids"].shape == (1, 4)
    assert text_processor()("text", ["  a\n&amp;cat "])["input_ids"].tolist() == [[2, 1, 3]]


def test_over_long_text_is_refused_or_cut_as_declared():
    long = "a cat a cat a cat"
    with pytest.raises(InputError, match="has 6 tokens; this model takes 4"):
        text_processor()("text", [long])
    assert text_processor(overlong="truncate")("text", [long])["input_ids"].tolist() == [[2, 3, 2, 3]]
    with pytest.raises(LimitError, match="text: characters 17 is over the limit of 5"):
        Processor(text_processor().config, TOKENIZER, limits=Limits(text_chars=5))("text", [long])


def test_bad_calls():
    with pytest.raises(InputError, match="has no 'audio'; it prepares: text"):
        text_processor()("audio", ["x"])
    with pytest.raises(InputError, match="No text to process"):
        text_processor()("text", [])
    with pytest.raises(InputError, match="text 1 is empty"):
        text_processor()("text", ["a", " "])
    with pytest.raises(InputError, match="text 0: int is not a string"):
        text_processor()("text", [3])
    with pytest.raises(ConfigError, match="tokenizer.json, which is missing"):
        Processor(ProcessorConfig(text=TextProcessing(context_length=4)))
    with pytest.raises(ConfigError, match="not a tokenizer file"):
        Processor(ProcessorConfig(text=TextProcessing(context_length=4)), "{}")


def test_a_saved_processor_is_the_same_processor(tmp_path):
    config = ProcessorConfig(image=ImageProcessing(size=16), text=TextProcessing(context_length=4))
    processor = Processor(config, TOKENIZER)
    processor.save(tmp_path)
    again = Processor.load(tmp_path)
    assert again.fingerprint == processor.fingerprint
    assert again.modalities == ("image", "text")
    assert again.fingerprint != Processor(config, TOKENIZER.replace('"cat"', '"dog"')).fingerprint


def test_augmentation_is_repeatable_and_stays_in_range():
    config = AugmentConfig(
        content_box=(0, 1.1), zoom=(0.8, 1.2), aspect=0.2, rotate_deg=20, translate=0.1, flip_horizontal=0.5,
        flip_vertical=0.5, border="reflection", histogram=0.5, tone_curve=0.5, brightness=0.2, contrast=0.3, gamma=0.3,
        channel_gain=0.1, invert=0.2, blur=0.5, low_resolution=0.5, noise=0.1, erase=0.5,
    )  # fmt: skip
    processor = Processor(ProcessorConfig(image=ImageProcessing(size=16, **PLAIN)), augmentation=config)
    items = [noise(20, 20), noise(18, 25)]
    first, second = (
        processor("image", items, train=True, generator=torch.Generator().manual_seed(3))["pixels"]
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert 0 <= first.min() <= first.max() <= 1
    assert not torch.equal(first, processor("image", items)["pixels"])
    with pytest.raises(ConfigError, match=r"need a torch.Generator"):
        processor("image", items, train=True)


def test_no_augmentation_is_the_identity():
    from verticlip.core.augment import augment

    images = torch.rand(2, 3, 8, 8).clamp(min=1e-3)
    torch.testing.assert_close(augment(images, AugmentConfig(), torch.Generator()), images, atol=1e-6, rtol=0)


def test_histogram_transfer_changes_grey_images_only():
    from verticlip.core.augment import augment

    images = torch.rand(6, 3, 8, 8) * torch.linspace(0.2, 1, 6).view(6, 1, 1, 1)
    images[:3] = images[:3, :1]
    changed = augment(images, AugmentConfig(histogram=1.0, photometric=0.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed[3:], images[3:], atol=1e-6, rtol=0)
    assert (changed[:3] - images[:3]).abs().amax((1, 2, 3)).max() > 0.05


def test_content_box_magnifies_what_is_not_black():
    from verticlip.core.augment import augment

    framed = torch.zeros(1, 1, 32, 32)
    framed[:, :, 4:20, 10:26] = 0.7
    seen = augment(
        framed, AugmentConfig(content_box=(1.0, 1.0), photometric=0.0), torch.Generator().manual_seed(0)
    )
    assert (seen > 0.3).float().mean() > 0.97


def test_standardized_images_have_their_own_mean():
    pixels = image_processor(standardize=0.05)("image", [noise(20, 20), torch.full((1, 9, 9), 0.3)])["pixels"]
    torch.testing.assert_close(pixels.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    assert pixels[1].abs().max() < 1e-4


def test_a_strip_too_thin_to_enlarge_is_refused():
    processor = image_processor(size=64, resize="shortest")
    with pytest.raises(LimitError, match=r"pixels after resizing 1 x 60000 245,760,000 is over the limit"):
        processor("image", [torch.zeros(1, 1, 60_000, dtype=torch.uint8)])


def test_a_tokenizer_file_that_is_no_text(tmp_path):
    write_json_atomic(tmp_path / "processor.json", {"text": {"context_length": 8}})
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: not UTF-8 text"):
        Processor.load(tmp_path)


@pytest.mark.parametrize("resize", ["squash", "shortest"])
def test_fit_box_is_what_fit_image_looks_at(resize: str):
    image = torch.zeros(1, 60, 80)
    image[:, 10:50, 20:75] = torch.rand(1, 40, 55, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5
    trimming = Processor(ProcessorConfig(image=ImageProcessing(size=16, resize=resize, trim_border=0.1)))
    plain = Processor(ProcessorConfig(image=ImageProcessing(size=16, resize=resize)))
    assert trimming.fit_box(image) == (20, 10, 75, 50)
    assert trimming.fit_box((image[0].numpy() * 255).astype(np.uint8)) == (20, 10, 75, 50)
    assert plain.fit_box(image) == (0, 0, 80, 60)
    assert torch.equal(trimming.fit_image(image), plain.fit_image(image[:, 10:50, 20:75]))
    assert trimming.fit_box(torch.zeros(1, 60, 80)) == (0, 0, 80, 60)


@pytest.mark.parametrize("size", [(9, 30), (30, 9), (20, 20), (200, 13), (21, 20)])
def test_a_picture_smaller_than_the_crop_lies_on_black_as_in_torchvision(size):
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    array = noise(*size)
    ours = image_processor(size=25, short_side=20, interpolation="bilinear", resampler="pillow")
    expected = Compose([Resize(20), CenterCrop(25), ToTensor()])(Image.fromarray(array))
    assert torch.equal(ours("image", [array])["pixels"][0], expected)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("the &ldquo;left&rdquo; lung", 'the "left" lung'),
        ("caf&Atilde;&copy;", "café"),
        ("a &amp;amp;amp;lt; b", "a < b"),
        ("&EACUTE;dema &amp; x", "Édema & x"),
        ("plain (text), 50%", "plain (text), 50%"),
    ],
)
def test_escapes_are_mended_as_open_clip_does(text, cleaned):
    from open_clip.tokenizer import get_clean_fn

    assert text_processor().clean_text(text) == get_clean_fn("whitespace")(text) == cleaned


def test_images_that_are_not_warped_are_turned_by_quarters_and_mirrored_and_stay_sharp():
    from verticlip.core.augment import augment

    images = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    config = AugmentConfig(
        warp=0.0,
        rotate_deg=180,
        zoom=(0.5, 2.0),
        translate=0.2,
        aspect=0.3,
        flip_horizontal=0.5,
        flip_vertical=0.5,
    )
    changed = augment(images, config, torch.Generator().manual_seed(0))
    turned = [images.rot90(turn, (2, 3)) for turn in range(4)]
    distance = torch.stack(
        [(one - changed).abs().amax((1, 2, 3)) for image in turned for one in (image, image.flip(3))]
    )
    assert float(distance.amin(0).max()) < 1e-3
    assert len(distance.argmin(0).unique()) == 8


def test_a_share_of_the_images_is_warped():
    from verticlip.core.augment import augment

    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    changed = augment(images, AugmentConfig(warp=0.25, zoom=(0.5, 0.8)), torch.Generator().manual_seed(0))
    unchanged = ((images - changed).abs().amax((1, 2, 3)) < 1e-3).float().mean()
    assert 0.65 <= float(unchanged) <= 0.85


@pytest.mark.parametrize("bands", [1, 3])
def test_pixels_without_data_are_zero_for_the_network(bands: int) -> None:
    processor = image_processor(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[:, 5:] = False
    image = torch.rand(bands, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = processor("image", [Sample(image, "image", valid=mask)])["pixels"][0]
    assert float(pixels[:, :, 5:].abs().max()) < 1e-6
    whole = processor("image", [Sample(image, "image")])["pixels"][0]
    assert torch.equal(pixels[:, :, :5], whole[:, :, :5])
