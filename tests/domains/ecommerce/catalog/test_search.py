import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from ecommerce.make_shop import HashEncoder, direction, row, write_rows
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.filters import F
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.catalog.search import SearchOptions
from verticlip.domains.ecommerce.composed.query import ComposeSettings

VIEWS = ("image", "text", "product")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Catalog, dict[str, dict[str, np.ndarray]]]:
    """A catalogue of 300 products, some without picture or words, and its vectors."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "img").mkdir()
    rows = []
    for number in range(300):
        (folder / "img" / f"{number}.png").write_bytes(f"picture {number}".encode())
        rows.append(row(number))
        if number % 10 == 3:
            del rows[-1]["image"]
        if number % 10 == 4:
            rows[-1] |= {"title": None, "category": None, "attributes": {}}
    catalog = Catalog.create(folder / "cat", model=HashEncoder(), attributes={"sleeve": "string"})
    catalog.ingest(write_rows(folder / "t.jsonl", rows))
    vectors: dict[str, dict[str, np.ndarray]] = {view: {} for view in VIEWS}
    for found in catalog.index.scan(columns=[], views=VIEWS):
        for place, name in enumerate(found.ids):
            for view in VIEWS:
                if found.present[view][place]:
                    vectors[view][name] = found.vectors[view][place].astype(np.float64)
    return catalog, vectors


def best_of(vectors: dict[str, np.ndarray], query: np.ndarray, k: int) -> list[tuple[str, float]]:
    """Return the exact answer, ties by id."""
    scores = {name: float(vector @ query) for name, vector in vectors.items()}
    return [(name, scores[name]) for name in sorted(scores, key=lambda name: (-scores[name], name))[:k]]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("k", [1, 7, 1000])
def test_words_find_what_numpy_finds(made, view, k) -> None:
    catalog, vectors = made
    found = catalog.search(text="a red dress", view=view, k=k)
    expected = best_of(vectors[view], direction(b"a red dress").numpy().astype(np.float64), k)
    assert [one.id for one in found] == [name for name, _ in expected]
    np.testing.assert_allclose([one.score for one in found], [score for _, score in expected], atol=1e-6)
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    assert {one.view for one in found} == {view}


def test_pictures_words_and_products_have_three_views(made) -> None:
    _, vectors = made
    assert {view: len(found) for view, found in vectors.items()} == {
        "image": 270,
        "text": 270,
        "product": 300,
    }


def test_the_nearest_of_all_views(made) -> None:
    catalog, vectors = made
    query = direction(b"shirt").numpy().astype(np.float64)
    best = {
        name: max(vectors[view][name] @ query for view in VIEWS if name in vectors[view])
        for name in vectors["product"]
    }
    expected = sorted(best, key=lambda name: (-best[name], name))[:20]
    found = catalog.search(text="shirt", view="best", k=20)
    assert [one.id for one in found] == expected
    for one in found:
        assert one.score == one.scores[one.view] == pytest.approx(max(one.scores.values()), abs=1e-6)


def test_a_product_is_not_its_own_answer(made) -> None:
    catalog, vectors = made
    found = catalog.search(like="P00012", k=5)
    expected = best_of(vectors["product"], vectors["product"]["P00012"], 6)
    assert expected[0][0] == "P00012"
    assert [one.id for one in found] == [name for name, _ in expected[1:]]
    assert len(catalog.search(like="P00012", k=500)) == 299
    by_picture = catalog.search(like="P00012", k=5, view="image")
    expected = best_of(vectors["image"], vectors["image"]["P00012"], 6)
    assert [one.id for one in by_picture] == [name for name, _ in expected[1:]]


def test_pictures_from_outside(made, tmp_path: Path) -> None:
    catalog, _ = made
    path = tmp_path / "q.png"
    path.write_bytes(b"picture 77")
    for image in (path, str(path), b"picture 77"):
        found = catalog.search(image=image, view="image", k=1)[0]
        assert (found.id, found.image.name) == ("P00077", "77.png")
        assert found.score == pytest.approx(1, abs=1e-6)


def test_a_picture_with_words_moves(made) -> None:
    catalog, vectors = made
    settings = ComposeSettings(method="sum", weight=0.25)
    found = catalog.search(
        image=b"picture 5", text="white", options=SearchOptions(compose=settings), view="image", k=3
    )
    query = 0.25 * direction(b"picture 5").numpy() + 0.75 * direction(b"white").numpy()
    expected = best_of(vectors["image"], query / np.linalg.norm(query), 3)
    assert [one.id for one in found] == [name for name, _ in expected]


def test_a_product_with_words_is_described_by_its_own_text(made) -> None:
    catalog, vectors = made
    text = catalog.index.get(["P00012"]).payload["text"][0].as_py()
    said, changed = direction(text.encode()), direction(f"{text}, in white".encode())
    settings = ComposeSettings()
    step = (changed - said).numpy()
    image = vectors["image"]["P00012"] + settings.alpha_image * step
    words = said.numpy() + settings.alpha_text * step
    query = (1 - settings.beta) * image + settings.beta * words
    expected = best_of(vectors["product"], query / np.linalg.norm(query), 9)
    found = catalog.search(like="P00012", text="in white", k=8)
    assert [one.id for one in found] == [name for name, _ in expected if name != "P00012"][:8]


def test_what_a_product_lacks_is_said(made) -> None:
    catalog, _ = made
    with pytest.raises(InputError, match="'P00003' has no picture; search with another view"):
        catalog.search(like="P00003", view="image")
    with pytest.raises(InputError, match="'P00004' has no text"):
        catalog.search(like="P00004", view="text")
    assert catalog.search(like="P00003", k=1)
    assert catalog.search(like="P00003", text="in white", k=1)
    lone = next(one for one in catalog.search(like="P00010", k=300) if one.id == "P00003")
    assert set(lone.scores) == {"text", "product"}
    assert lone.image is None


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("sleeve = 'long'", lambda number: number % 2 == 0 and number % 10 != 4),
        (F("price") < 50, lambda number: number < 45),
        ("price >= 50 and price < 60 or title = 'Item 7'", lambda number: 45 <= number < 55 or number == 7),
        ("title is null", lambda number: number % 10 == 4),
        ("category contains 'Shirt' and not price > 100", lambda number: number % 2 and number <= 95),
    ],
)
def test_filters_leave_exactly_what_fits(made, where, fits) -> None:
    catalog, vectors = made
    wanted = {name: vector for name, vector in vectors["product"].items() if fits(int(name[1:]))}
    found = catalog.search(text="dress", where=where, k=12)
    expected = best_of(wanted, direction(b"dress").numpy().astype(np.float64), 12)
    assert [one.id for one in found] == [name for name, _ in expected]


def test_no_fit_is_no_answer_and_no_error(made) -> None:
    assert made[0].search(text="dress", where="price < 0") == []


def test_impossible_questions(made) -> None:
    catalog, _ = made
    with pytest.raises(InputError, match="k is at least 1, got 0"):
        catalog.search(text="dress", k=0)
    with pytest.raises(InputError, match="k is at least 1, got -3"):
        catalog.search(text="dress", k=-3)
    with pytest.raises(InputError, match="nothing to search for: give words, a picture or a product id"):
        catalog.search()
    with pytest.raises(InputError, match="without words nothing to take the negative ones from"):
        catalog.search(options=SearchOptions(negative="logo"))
    with pytest.raises(InputError, match="from a picture or from a product of the catalogue, not from both"):
        catalog.search(image=b"x", like="P00001")
    with pytest.raises(InputError, match="no product 'P9'"):
        catalog.search(like="P9")
    with pytest.raises(InputError, match="Did you mean 'price'"):
        catalog.search(text="dress", where="prise < 3")
    with pytest.raises(InputError):
        catalog.search(text="  ")
    with pytest.raises(ConfigError, match=r"Unknown view 'img'; .* Did you mean 'image'\?"):
        catalog.search(text="dress", view="img")


def test_results_are_plain(made) -> None:
    catalog, _ = made
    when = datetime(2026, 1, 2, tzinfo=timezone.utc)
    rows = [{"id": "Z", "title": "dress", "updated_at": when.isoformat(), "price": "9.50 EUR"}]
    catalog.ingest(rows)
    try:
        plain = json.loads(json.dumps(catalog.search(text="dress", view="text", k=1)[0].to_dict()))
        assert plain["updated_at"] == when.isoformat()
        assert (plain["rank"], plain["id"], plain["view"], plain["price"]) == (1, "Z", "text", 9.5)
        assert plain["scores"]["text"] == pytest.approx(1, abs=1e-6)
        assert not {"row_hash", "image_sha256", "image_state", "image_path", "brand"} & set(plain)
    finally:
        catalog.delete(["Z"])


def test_settings_fitted_to_the_catalogue_are_taken(made) -> None:
    from verticlip.domains.ecommerce.composed.stored import save_settings

    catalog, _ = made
    fitted = ComposeSettings(method="sum", weight=0.125)
    asked = {"image": b"picture 5", "text": "white", "k": 5}
    plain, other = catalog.search(**asked), catalog.search(**asked, options=SearchOptions(compose=fitted))
    assert plain != other
    path = save_settings(catalog.folder, fitted)
    try:
        assert catalog.search(**asked) == other
        assert catalog.search(**asked, options=SearchOptions(compose=ComposeSettings())) == plain
    finally:
        path.unlink()
