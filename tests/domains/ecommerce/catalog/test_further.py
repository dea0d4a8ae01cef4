import json
from pathlib import Path

import numpy as np
import pytest
from ecommerce.make_shop import HashEncoder, direction
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.catalog.further import FurtherPictures, row_id
from verticlip.domains.ecommerce.catalog.report import IngestOptions


def row(number: int, pictures: int, **changes: object) -> dict[str, object]:
    names = [f"{number}-{place}.png" for place in range(pictures)]
    return {
        "id": f"P{number:03d}",
        "title": f"Item {number}",
        "image": names[0],
        "images": names[1:],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(60):
        for place in range(7):
            (tmp_path / f"{number}-{place}.png").write_bytes(f"picture {number} {place}".encode())
    return tmp_path


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    made = Catalog.create(folder / "cat", model=HashEncoder())
    rows = [row(number, 1 + number % 4) for number in range(60)]
    report = made.ingest(rows, image_root=folder, options=IngestOptions(batch_size=7, commit_rows=20))
    assert (report.added, report.further, report.further_failed) == (60, 15 + 30 + 45, 0)
    return made


def test_a_product_is_found_by_any_of_its_pictures(catalog: Catalog) -> None:
    assert len(catalog) == 60
    assert catalog.stats().further_pictures == 90
    for view in ("image", "best"):
        found = catalog.search(image=b"picture 7 2", view=view, k=3)[0]
        assert (found.id, found.picture, found.image.name, found.view) == ("P007", 2, "7-2.png", "image")
        assert found.score == found.scores["image"] == pytest.approx(1, abs=1e-6)
        assert json.loads(json.dumps(found.to_dict()))["picture"] == 2
    first = catalog.search(image=b"picture 7 0", view="image", k=1)[0]
    assert (first.id, first.picture, first.image.name) == ("P007", 0, "7-0.png")
    # They have no part in the vector of the product.
    assert catalog.search(image=b"picture 7 2", view="product", k=1)[0].score < 0.99


@pytest.mark.parametrize("k", [1, 5, 40, 1000])
@pytest.mark.parametrize("where", [None, "title != 'Item 7'", "title in ('Item 3', 'Item 7', 'Item 9')"])
def test_the_best_picture_counts_exactly(catalog: Catalog, k: int, where: str | None) -> None:
    query = direction(b"something").numpy().astype(np.float64)
    best = {
        f"P{number:03d}": max(
            float(direction(f"picture {number} {place}".encode()).numpy() @ query)
            for place in range(1 + number % 4)
        )
        for number in range(60)
    }
    fits = {
        None: best,
        "title != 'Item 7'": best.keys() - {"P007"},
        "title in ('Item 3', 'Item 7', 'Item 9')": {"P003", "P007", "P009"},
    }[where]
    expected = sorted(fits, key=lambda name: (-best[name], name))[:k]
    found = catalog.search(text="something", view="image", k=k, where=where)
    assert [one.id for one in found] == expected
    np.testing.assert_allclose([one.score for one in found], [best[name] for name in expected], atol=1e-6)


def test_a_product_is_not_its_own_answer_by_another_picture(catalog: Catalog) -> None:
    assert "P007" not in {one.id for one in catalog.search(like="P007", view="image", k=100)}


def test_a_second_run_does_nothing_and_a_new_price_encodes_nothing(catalog: Catalog, folder: Path) -> None:
    encoder, rows = HashEncoder(), [row(number, 1 + number % 4) for number in range(60)]
    again = Catalog.open(folder / "cat", encoder)
    assert again.ingest(rows, image_root=folder).unchanged == 60
    rows[7]["price"] = 9
    report = again.ingest(rows, image_root=folder)
    assert (report.payload_only, report.unchanged, report.further) == (1, 59, 0)
    assert (encoder.encoded, encoder.prepared) == (0, [])
    assert again.search(image=b"picture 7 2", view="image", k=1)[0].id == "P007"


def test_changed_and_lost_pictures_are_followed(catalog: Catalog, folder: Path) -> None:
    (folder / "7-2.png").write_bytes(b"something new")
    report = catalog.ingest([row(7, 4)], image_root=folder)
    assert (report.payload_only, report.further, report.updated) == (1, 3, 0)
    assert catalog.search(image=b"something new", view="image", k=1)[0].picture == 2
    assert catalog.search(image=b"picture 7 2", view="image", k=1)[0].score < 0.99
    catalog.ingest([row(7, 2)], image_root=folder)
    assert catalog.search(image=b"something new", view="image", k=1)[0].score < 0.99
    assert catalog.search(image=b"picture 7 1", view="image", k=1)[0].picture == 1
    catalog.ingest([row(7, 1)], image_root=folder)
    assert catalog.stats().further_pictures == 87
    catalog.ingest([{"id": "P003", "deleted": True}])
    assert catalog.stats().further_pictures == 84
    catalog.delete(["P011"])
    assert catalog.stats().further_pictures == 81
    assert "P011" not in {one.id for one in catalog.search(image=b"picture 11 3", view="image", k=100)}


def test_a_bad_further_picture_is_listed_and_the_product_comes_in(catalog: Catalog, folder: Path) -> None:
    (folder / "8-1.png").write_bytes(b"bad")
    (folder / "8-2.png").unlink()
    rows = [row(8, 4)]
    report = catalog.ingest(rows, image_root=folder)
    assert (report.rejected, report.further, report.further_failed, report.too_many_rejects) == (
        0,
        1,
        2,
        False,
    )
    lines = [json.loads(line) for line in report.rejects.read_text().splitlines()]
    assert [line["taken_in"] for line in lines] == [True, True]
    assert lines[0]["reason"] == "taken in without picture 2: the image is damaged. Save it again."
    assert lines[1]["reason"].startswith("taken in without picture 3: 8-2.png: no such file")
    assert catalog.search(image=b"picture 8 3", view="image", k=1)[0].picture == 3
    # The same row is not tried again; a mended picture is.
    assert catalog.ingest(rows, image_root=folder).unchanged == 1
    (folder / "8-2.png").write_bytes(b"picture 8 2")
    assert catalog.ingest(rows, image_root=folder).further == 2


def test_a_further_picture_that_cannot_be_encoded_is_listed(folder: Path) -> None:
    class Picky(HashEncoder):
        def encode(self, images, texts, **options):
            bad = direction(b"picture 3 2")
            if any(one is not None and bool((one == bad).all()) for one in images):
                raise InputError("the embedding is not finite.")
            return super().encode(images, texts, **options)

    catalog = Catalog.create(folder / "picky", model=Picky())
    report = catalog.ingest([row(number, 4) for number in range(5)], image_root=folder)
    assert (report.added, report.further, report.further_failed) == (5, 14, 1)
    assert "without picture 3: the embedding is not finite" in report.rejects.read_text()


def test_as_many_as_asked_for(folder: Path) -> None:
    catalog = Catalog.create(folder / "few", model=HashEncoder())
    rows = [row(number, 7) for number in range(3)]
    assert catalog.ingest(rows, image_root=folder).further == 12
    assert catalog.ingest(rows, image_root=folder, options=IngestOptions(pictures=3)).further == 6
    assert catalog.stats().further_pictures == 6
    assert catalog.ingest(rows, image_root=folder, options=IngestOptions(pictures=1)).further == 0
    assert catalog.stats().further_pictures == 0
    for wrong in (0, 51):
        with pytest.raises(ConfigError, match=f"pictures is from 1 to 50, got {wrong}"):
            IngestOptions(pictures=wrong)


def test_addresses_of_further_pictures_wait_until_they_are_fetched(folder: Path, monkeypatch) -> None:
    from verticlip.domains.ecommerce.catalog import catalog as module

    monkeypatch.setattr(module, "fetcher", lambda allowed: (lambda url: url.encode()) if allowed else None)
    catalog = Catalog.create(folder / "far", model=HashEncoder())
    rows = [row(1, 2, images=["1-1.png", "https://shop.example/b.png"])]
    assert catalog.ingest(rows, image_root=folder).further == 1
    assert catalog.ingest(rows, image_root=folder).unchanged == 1
    assert catalog.ingest(rows, image_root=folder, allow_remote=True).further == 2
    assert catalog.ingest(rows, image_root=folder).unchanged == 1
    found = catalog.search(image=b"https://shop.example/b.png", view="image", k=1)[0]
    assert (found.picture, found.image) == (2, None)


def test_a_further_picture_that_could_not_be_fetched_is_tried_again(folder: Path, monkeypatch) -> None:
    from verticlip.domains.ecommerce.catalog import catalog as module

    up = {"https://shop.example/b.png"}

    def fetch(url: str) -> bytes:
        if url not in up:
            raise InputError(f"{url}: the host does not answer.")
        return url.encode()

    monkeypatch.setattr(module, "fetcher", lambda allowed: fetch if allowed else None)
    catalog = Catalog.create(folder / "far", model=HashEncoder())
    rows = [row(1, 2, images=["https://shop.example/b.png", "https://shop.example/c.png"])]
    report = catalog.ingest(rows, image_root=folder, allow_remote=True)
    assert (report.added, report.further, report.further_failed) == (1, 1, 1)
    # A run that fetches nothing keeps what there is.
    assert catalog.ingest(rows, image_root=folder).unchanged == 1
    assert catalog.stats().further_pictures == 1
    up.add("https://shop.example/c.png")
    assert catalog.ingest(rows, image_root=folder, allow_remote=True).further == 2
    assert catalog.ingest(rows, image_root=folder, allow_remote=True).unchanged == 1
    assert catalog.search(image=b"https://shop.example/c.png", view="image", k=1)[0].picture == 2


def test_a_further_picture_that_could_not_be_read_is_tried_again(folder: Path, monkeypatch) -> None:
    catalog = Catalog.create(folder / "disk", model=HashEncoder())
    rows, read = [row(1, 3)], Path.read_bytes

    def broken(path: Path) -> bytes:
        if path.name == "1-2.png":
            raise OSError(5, "Input/output error")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", broken)
        assert catalog.ingest(rows, image_root=folder).further == 1
    assert catalog.ingest(rows, image_root=folder).further == 2
    assert catalog.ingest(rows, image_root=folder).unchanged == 1


def test_vectors_without_their_product_are_nobody(catalog: Catalog) -> None:
    """As a run leaves them that is killed between the two writes."""
    catalog.index.delete(["P007"])
    catalog.refresh()
    assert "P007" not in {one.id for one in catalog.search(image=b"picture 7 2", view="best", k=100)}


def test_what_a_killed_deletion_left_does_not_come_back(catalog: Catalog, folder: Path) -> None:
    catalog.index.delete(["P007"])
    assert catalog.stats().further_pictures == 90
    catalog.ingest([row(7, 1)], image_root=folder)
    assert catalog.stats().further_pictures == 87
    assert catalog.search(image=b"picture 7 2", view="image", k=1)[0].score < 0.99


def test_ids_of_any_length(folder: Path) -> None:
    assert row_id("a", 3) != row_id("a", 4)
    assert len(row_id("x" * 1000, 3)) < 100
    catalog = Catalog.create(folder / "long", model=HashEncoder())
    catalog.ingest([row(1, 3, id="x" * 1000)], image_root=folder)
    assert catalog.search(image=b"picture 1 2", view="image", k=1)[0].id == "x" * 1000


def test_no_folder_without_need(folder: Path) -> None:
    catalog = Catalog.create(folder / "plain", model=HashEncoder())
    catalog.ingest([row(1, 1)], image_root=folder)
    assert not (folder / "plain" / "pictures").exists()
    assert isinstance(catalog._further, FurtherPictures)
    assert catalog.optimize().rows == 1
