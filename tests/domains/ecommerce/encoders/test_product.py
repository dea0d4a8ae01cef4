from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.encoders.fusing import Fusion, FusionWeights
from verticlip.domains.ecommerce.encoders.product import ProductEncoder

sys.path.insert(0, str(Path(__file__).parent))
from make_product_models import CAUSAL, make_model

KINDS = ["contrastive", "fused_product", "unified_product"]
TEXTS = ["red mug", "a blue shoe in white", "owl", None, "green frog lamp", None]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def sides(encoder: ProductEncoder) -> tuple[list, list]:
    images = [encoder.prepare_image(picture(seed)) for seed in range(6)]
    images[2] = images[4] = None
    return images, list(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_unit_and_zero_where_missing(kind: str) -> None:
    encoder = ProductEncoder(make_model(kind))
    images, texts = sides(encoder)
    found = encoder.encode(images, texts)
    assert len(found) == 6
    assert encoder.dim == 12
    assert found.has_image.tolist() == [True, True, False, True, False, True]
    assert found.has_text.tolist() == [True, True, True, False, True, False]
    for view, present in (
        (found.image, found.has_image),
        (found.text, found.has_text),
        (found.product, torch.ones(6)),
    ):
        assert view.shape == (6, 12)
        assert view.dtype == torch.float32
        torch.testing.assert_close(view.norm(dim=1), present.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_product_of_one_side_is_that_side(kind: str) -> None:
    encoder = ProductEncoder(make_model(kind))
    found = encoder.encode(*sides(encoder))
    only_image = found.has_image & ~found.has_text
    only_text = found.has_text & ~found.has_image
    torch.testing.assert_close(found.product[only_image], found.image[only_image], atol=1e-6, rtol=0)
    torch.testing.assert_close(found.product[only_text], found.text[only_text], atol=1e-6, rtol=0)
    both = found.has_image & found.has_text
    assert (found.product[both] - found.image[both]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_result_does_not_depend_on_batch_size_or_order(kind: str, batch_size: int) -> None:
    encoder = ProductEncoder(make_model(kind))
    images, texts = sides(encoder)
    whole = encoder.encode(images, texts)
    order = [4, 2, 0, 5, 1, 3]
    other = encoder.encode([images[i] for i in order], [texts[i] for i in order], batch_size=batch_size)
    for name in ("image", "text", "product"):
        torch.testing.assert_close(getattr(other, name), getattr(whole, name)[order], atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_those_of_the_model(kind: str) -> None:
    model = make_model(kind)
    encoder = ProductEncoder(model)
    images, texts = sides(encoder)
    found = encoder.encode(images, texts)
    words = model.embed([text for text in texts if text]).vectors
    torch.testing.assert_close(found.text[found.has_text], words, atol=2e-6, rtol=0)
    seen = model.embed([picture(seed) for seed in (0, 1, 3, 5)], modality="image").vectors
    torch.testing.assert_close(found.image[found.has_image], seen, atol=2e-6, rtol=0)
    prepared = [image for image in images if image is not None]
    torch.testing.assert_close(encoder.encode_images(prepared), seen, atol=2e-6, rtol=0)
    torch.testing.assert_close(encoder.encode_texts([t for t in texts if t]), words, atol=2e-6, rtol=0)


def test_late_fusion_is_the_published_mean() -> None:
    encoder = ProductEncoder(make_model("contrastive"))
    found = encoder.encode(*sides(encoder))
    both = found.has_image & found.has_text
    image, text = found.image[both].double().numpy(), found.text[both].double().numpy()
    mixed = 0.9 * image + 0.1 * text
    expected = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(found.product[both].numpy(), expected, atol=1e-6)


def test_fusion_by_category() -> None:
    fusion = Fusion(by_category={"Machinery": FusionWeights(image=0.0, text=1.0)})
    encoder = ProductEncoder(make_model("contrastive"), fusion=fusion)
    images, texts = sides(encoder)
    found = encoder.encode(images, texts, categories=["Machinery > Pumps", "Shoes", *[None] * 4])
    torch.testing.assert_close(found.product[0], found.text[0])
    assert (found.product[1] - found.text[1]).abs().max() > 1e-3
    with pytest.raises(InputError, match="There are 1 categories for 6 products"):
        encoder.encode(images, texts, categories=["Shoes"])


@pytest.mark.parametrize("kind", KINDS)
def test_encode_product_takes_one_or_many(kind: str) -> None:
    encoder = ProductEncoder(make_model(kind))
    one = encoder.encode_product(picture(0), "red frog")
    assert one.shape == (1, 12)
    many = encoder.encode_product([picture(0), None], ["red frog", "owl"])
    torch.testing.assert_close(many[:1], one, atol=2e-6, rtol=0)
    torch.testing.assert_close(many[1:], encoder.encode_texts(["owl"]), atol=2e-6, rtol=0)
    prepared = encoder.prepare_image(picture(0))
    torch.testing.assert_close(encoder.encode_product(prepared, "red frog"), one, atol=2e-6, rtol=0)
    torch.testing.assert_close(
        encoder.encode_product(image=picture(0)), encoder.encode_images([prepared]), atol=2e-6, rtol=0
    )
    with pytest.raises(InputError, match="a picture, a text, or both"):
        encoder.encode_product()


def test_identity_names_weights_preprocessing_and_fusion(tmp_path: Path) -> None:
    first = ProductEncoder(make_model("contrastive")).identity
    assert first == ProductEncoder(make_model("contrastive")).identity
    assert first.dim == 12
    assert first.processor.endswith("+image0.9+text0.1")
    assert first.revision != ProductEncoder(make_model("contrastive", seed=1)).identity.revision
    other = ProductEncoder(make_model("contrastive"), fusion=Fusion(image=0.5, text=0.5)).identity
    with pytest.raises(ConfigError, match=r"made with processor '\w+\+image0.5\+text0.5'"):
        first.check(other)
    by_category = Fusion(by_category={"Toys": FusionWeights(image=1, text=0)})
    assert by_category.fingerprint.startswith("image0.9+text0.1+")
    folder = make_model("unified_product").save(tmp_path / "one")
    saved = ProductEncoder(verticlip.from_pretrained(folder)).identity
    assert saved.processor.endswith("+unified_product")
    assert saved.model == "test/unified_product"
    moved = folder.rename(tmp_path / "two")
    assert ProductEncoder(verticlip.from_pretrained(moved)).identity == saved


def test_bad_input_is_named() -> None:
    encoder = ProductEncoder(make_model("contrastive"))
    image = encoder.prepare_image(picture(0))
    with pytest.raises(InputError, match="item 1 has neither picture nor text"):
        encoder.encode([image, None], [None, "  "])
    with pytest.raises(InputError, match="There are 1 pictures and 2 texts"):
        encoder.encode([image], ["a", "b"])
    with pytest.raises(InputError, match="has 14 tokens; this model takes 12"):
        encoder.encode([None], ["red " * 12])
    with pytest.raises(InputError, match="item 0: its image embedding is not finite"):
        encoder.encode([torch.full_like(image, torch.nan)], [None])
    with pytest.raises(ConfigError, match="puts pictures and texts together by itself"):
        ProductEncoder(make_model("fused_product"), fusion=Fusion())
    assert encoder.count_tokens("red mug") == 4
    assert encoder.context_length == 12


def test_pictures_of_every_kind_are_prepared_alike(tmp_path: Path) -> None:
    encoder = ProductEncoder(make_model("contrastive"))
    rng = np.random.default_rng(0)
    clear = Image.fromarray(rng.integers(0, 256, (70, 80, 4), dtype=np.uint8), "RGBA")
    clear.save(tmp_path / "mug.png")
    expected = encoder.prepare_image(tmp_path / "mug.png")
    assert expected.shape == (3, 16, 16)
    for source in (str(tmp_path / "mug.png"), (tmp_path / "mug.png").read_bytes(), clear):
        torch.testing.assert_close(encoder.prepare_image(source), expected, atol=1 / 255, rtol=0)
    palette = Image.new("P", (80, 70), 0)
    palette.info["transparency"] = 0
    assert encoder.prepare_image(palette).min() == 1
    with pytest.raises(InputError, match="no such file"):
        encoder.prepare_image(tmp_path / "gone.png")
    with pytest.raises(InputError, match="shorter side needs 64"):
        Image.new("RGB", (80, 20)).save(tmp_path / "icon.png")
        encoder.prepare_image(tmp_path / "icon.png")


def test_no_products_give_no_vectors() -> None:
    found = ProductEncoder(make_model("contrastive")).encode([], [])
    assert found.product.shape == (0, 12)
    assert len(found) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_causal_text_tower(kind: str) -> None:
    encoder = ProductEncoder(make_model(kind, text=CAUSAL))
    alone = encoder.encode_texts(["red mug"])
    among = encoder.encode_texts(["red mug", "a blue shoe in white"])
    torch.testing.assert_close(alone, among[:1], atol=2e-6, rtol=0)
