import dataclasses
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ecommerce.make_shop import DIM, HashEncoder, content_of, direction, row, write_rows
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.catalog.report import IngestOptions
from verticlip.domains.ecommerce.products.read import read_products
from verticlip.domains.ecommerce.products.record import Product


def rejects_of(report) -> list[dict]:
    return [json.loads(line) for line in report.rejects.read_text().splitlines()]


def figures(report) -> dict[str, int]:
    """Return the counts of a report that are not zero."""
    found = {name: value for name, value in report.to_dict().items() if isinstance(value, int) and value}
    for name in ("version", "too_many_rejects"):
        found.pop(name, None)
    return found


def test_everything_comes_in_and_a_second_run_does_nothing(tmp_path: Path, encoder, shop) -> None:
    table = shop(60)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(table, options=IngestOptions(batch_size=7, commit_rows=25))
    assert figures(report) == {"read": 60, "added": 60}
    assert report.rejects is None
    assert len(catalog) == 60
    before, version = content_of(catalog), catalog.version
    assert version == 3
    encoder.prepared.clear()
    encoder.encoded = 0
    assert figures(catalog.ingest(table)) == {"read": 60, "unchanged": 60}
    assert (encoder.prepared, encoder.encoded) == ([], 0)
    assert (content_of(catalog), catalog.version) == (before, version)


def test_vectors_are_those_of_the_pictures_and_texts(tmp_path: Path, encoder, shop) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(shop(5))
    rows = catalog.index.get(["P00003"], views=("image", "text", "product"))
    picture = (tmp_path / "shop" / "img" / "3.png").read_bytes()
    text = rows.payload["text"][0].as_py()
    assert text.startswith("Item 3")
    np.testing.assert_array_equal(rows.vectors["image"][0], direction(picture).numpy())
    np.testing.assert_array_equal(rows.vectors["text"][0], direction(text.encode()).numpy())
    mixed = 0.9 * direction(picture).numpy() + 0.1 * direction(text.encode()).numpy()
    np.testing.assert_allclose(rows.vectors["product"][0], mixed / np.linalg.norm(mixed), atol=1e-6)


def test_a_new_price_costs_no_encoding(tmp_path: Path, encoder, shop) -> None:
    table = shop(10)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    before = content_of(catalog)
    encoder.prepared.clear()
    encoder.encoded = 0
    rows = [row(number) for number in range(10)]
    rows[4]["price"], rows[5]["supplier"] = 999, "Acme"
    assert figures(catalog.ingest(write_rows(table, rows))) == {"read": 10, "payload_only": 2, "unchanged": 8}
    assert (encoder.prepared, encoder.encoded) == ([], 0)
    after = content_of(catalog)
    assert after["P00004"][0]["price"] == 999
    assert after["P00004"][1] == before["P00004"][1]


def test_changed_words_and_pictures_are_encoded_again(tmp_path: Path, encoder, shop) -> None:
    table = shop(10)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    before = content_of(catalog)
    rows = [row(number) for number in range(10)]
    rows[2]["title"] = "Other"
    (tmp_path / "shop" / "img" / "7.png").write_bytes(b"another picture")
    encoder.encoded = 0
    assert figures(catalog.ingest(write_rows(table, rows))) == {"read": 10, "updated": 2, "unchanged": 8}
    assert encoder.encoded == 2
    after = content_of(catalog)
    assert after["P00002"][1]["image"] == before["P00002"][1]["image"]
    assert after["P00002"][1]["text"] != before["P00002"][1]["text"]
    assert after["P00007"][1]["image"] != before["P00007"][1]["image"]
    assert [name for name in after if after[name] != before[name]] == ["P00002", "P00007"]


def test_a_file_with_a_new_time_is_read_but_not_encoded(tmp_path: Path, encoder, shop) -> None:
    table = shop(4)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    os.utime(tmp_path / "shop" / "img" / "1.png", ns=(1, 1))
    encoder.encoded = 0
    assert figures(catalog.ingest(table)) == {"read": 4, "payload_only": 1, "unchanged": 3}
    assert figures(catalog.ingest(table)) == {"read": 4, "unchanged": 4}
    assert encoder.encoded == 0


def test_check_files_sees_through_an_unchanged_time(tmp_path: Path, encoder, shop) -> None:
    table = shop(4)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    path = tmp_path / "shop" / "img" / "1.png"
    found = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert figures(catalog.ingest(table)) == {"read": 4, "unchanged": 4}
    options = IngestOptions(check_files=True)
    assert figures(catalog.ingest(table, options=options)) == {"read": 4, "updated": 1, "unchanged": 3}
    assert figures(catalog.ingest(table, options=options)) == {"read": 4, "unchanged": 4}


def test_bad_rows_are_listed_and_the_others_come_in(tmp_path: Path, encoder, shop) -> None:
    table = shop(12)
    (tmp_path / "shop" / "img" / "3.png").write_bytes(b"bad")
    (tmp_path / "shop" / "img" / "4.png").unlink()
    rows = [row(number) for number in range(12)]
    rows[5]["title"] = "poison"
    rows[6]["id"] = ""
    rows[7]["id"] = rows[0]["id"]
    rows[8]["image"] = "../../etc/passwd"
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(write_rows(table, rows), options=IngestOptions(batch_size=4))
    assert figures(report) == {"read": 12, "added": 6, "rejected": 6}
    assert (report.reject_rate, report.too_many_rejects) == (0.5, True)
    found = {one["row"]: (one["id"], one["reason"]) for one in rejects_of(report)}
    assert list(found) == [4, 5, 6, 7, 8, 9]
    assert found[4] == ("P00003", "the image is damaged. Save it again.")
    assert found[5] == ("P00004", "img/4.png: no such file. Name one picture.")
    assert found[6] == ("P00005", "the text cannot be encoded.")
    assert found[7][0] is None
    assert "already used in row 1" in found[8][1]
    assert "leaves" in found[9][1] or "outside" in found[9][1]
    assert str(tmp_path) not in report.rejects.read_text()
    # Mended rows come in next time, and the list goes.
    mended = catalog.ingest(shop(12))
    assert figures(mended) == {"read": 12, "added": 5, "unchanged": 6, "rejected": 1}


def test_the_list_of_rejects_goes_when_there_are_none(tmp_path: Path, encoder, shop) -> None:
    table = shop(3)
    good = table.read_text()
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    table.write_text(good + "{]\n")
    report = catalog.ingest(table, max_reject_rate=0.25)
    assert (report.rejected, report.too_many_rejects) == (1, False)
    assert report.rejects.is_file()
    table.write_text(good)
    assert catalog.ingest(table).rejects is None
    assert not (tmp_path / "cat" / "rejects.jsonl").exists()


def test_a_product_whose_picture_cannot_be_read_can_come_in_by_its_text(
    tmp_path: Path, encoder, shop
) -> None:
    table = shop(5)
    broken = tmp_path / "shop" / "img" / "3.png"
    good = broken.read_bytes()
    broken.write_bytes(b"bad")
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    options = IngestOptions(on_image_error="text_only")
    assert figures(catalog.ingest(table, options=options)) == {"read": 5, "added": 5, "without_picture": 1}
    rows = catalog.index.get(["P00003"], views=("image", "text", "product"))
    assert not rows.present["image"][0]
    np.testing.assert_array_equal(rows.vectors["product"], rows.vectors["text"])
    assert figures(catalog.ingest(table, options=options)) == {"read": 5, "unchanged": 5}
    broken.write_bytes(good)
    assert figures(catalog.ingest(table, options=options)) == {"read": 5, "updated": 1, "unchanged": 4}
    assert catalog.index.get(["P00003"], views=("image",)).present["image"][0]


def test_without_words_a_bad_picture_is_rejected_whatever_is_asked(tmp_path: Path, encoder) -> None:
    (tmp_path / "x.png").write_bytes(b"bad")
    table = write_rows(tmp_path / "t.jsonl", [{"id": "a", "image": "x.png"}])
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(table, options=IngestOptions(on_image_error="text_only"))
    assert rejects_of(report)[0]["reason"] == "there is no text, and the image is damaged. Save it again."


def test_addresses_are_fetched_only_when_asked(tmp_path: Path, encoder, monkeypatch) -> None:
    from verticlip.domains.ecommerce.catalog import catalog as module

    rows = [{"id": "a", "title": "Mug", "image": "https://shop.example/a.png"}]
    rows.append({"id": "b", "image": "https://shop.example/b.png"})
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(rows)
    assert figures(report) == {"read": 2, "added": 1, "rejected": 1, "without_picture": 1, "not_fetched": 1}
    assert "addresses" in rejects_of(report)[0]["reason"] or "unless asked" in rejects_of(report)[0]["reason"]
    assert figures(catalog.ingest(rows))["unchanged"] == 1
    monkeypatch.setattr(module, "fetcher", lambda allowed: (lambda url: url.encode()) if allowed else None)
    assert figures(catalog.ingest(rows, allow_remote=True)) == {"read": 2, "added": 1, "updated": 1}
    picture = catalog.index.get(["a"], views=("image",)).vectors["image"][0]
    np.testing.assert_array_equal(picture, direction(b"https://shop.example/a.png").numpy())
    # What was fetched stays, also in a run that fetches nothing.
    assert figures(catalog.ingest(rows)) == {"read": 2, "unchanged": 2}
    rows[0]["title"] = "Cup"
    report = catalog.ingest(rows)
    assert figures(report)["rejected"] == 1
    assert len(catalog) == 2


def test_bytes_are_pictures_too(tmp_path: Path, encoder) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    rows = [{"id": "a", "image": b"one"}, {"id": "b", "title": "Mug", "image": b"two"}]
    assert figures(catalog.ingest(rows)) == {"read": 2, "added": 2}
    assert figures(catalog.ingest(rows)) == {"read": 2, "unchanged": 2}
    rows[0]["image"] = b"three"
    assert figures(catalog.ingest(rows)) == {"read": 2, "updated": 1, "unchanged": 1}


def test_rows_marked_as_deleted_go(tmp_path: Path, encoder, shop) -> None:
    table = shop(6)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    rows = [row(0), row(1, deleted=True), {"id": "P00002", "deleted": "yes"}, {"id": "gone", "deleted": 1}]
    assert figures(catalog.ingest(write_rows(table, rows))) == {"read": 4, "unchanged": 1, "deleted": 2}
    assert sorted(content_of(catalog)) == ["P00000", "P00003", "P00004", "P00005"]


def test_sync_deletes_what_the_source_no_longer_has(tmp_path: Path, encoder, shop) -> None:
    table = shop(8)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    rows = [row(number) for number in range(5)]
    rows[4]["image"] = "img/lost.png"
    assert "deleted" not in figures(catalog.ingest(write_rows(table, rows)))
    options = IngestOptions(sync=True, max_delete_share=0.4)
    report = catalog.ingest(table, options=options)
    assert figures(report) == {"read": 5, "unchanged": 4, "deleted": 3, "rejected": 1}
    # The rejected row is still in the source: its product stays as it was.
    assert sorted(content_of(catalog)) == [f"P{number:05d}" for number in range(5)]


def test_sync_deletes_nothing_where_it_cannot_tell(tmp_path: Path, encoder, shop) -> None:
    table = shop(8)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    write_rows(table, [row(0)])
    with table.open("a") as file:
        file.write("{broken\n")
    report = catalog.ingest(table, options=IngestOptions(sync=True))
    assert report.deleted == 0
    assert "1 rejected rows have no id" in report.kept
    assert len(catalog) == 8
    packed = tmp_path / "shop" / "items.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(json.dumps(row(n)).encode() + b"\n" for n in range(8)))[:-40])
    with pytest.raises(DataError):
        catalog.ingest(packed, options=IngestOptions(sync=True))
    assert len(catalog) == 8


def test_sync_deletes_nothing_for_a_source_that_was_cut(tmp_path: Path, encoder, shop) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(shop(10))
    options = IngestOptions(sync=True)
    rows = [row(number) for number in range(7)] + [{"id": "new", "title": "Mug"}]
    with pytest.raises(
        ConfigError, match=r"sync would take out 3 of 10 products \(30%\), more than .* 0\.2 "
    ):
        catalog.ingest(write_rows(shop(10), rows), options=options)
    # What the source has is in, and what it lacks is still there.
    assert len(catalog) == 11
    empty = tmp_path / "shop" / "empty.csv"
    empty.write_text("id,title\n")
    for source in (empty, [], [{"id": "P00001", "deleted": True}]):
        with pytest.raises(ConfigError, match="The source has no product; sync would take out all"):
            catalog.ingest(source, options=IngestOptions(sync=True, max_delete_share=1))
    assert len(catalog) == 10
    rows = [row(number) for number in range(9) if number != 1] + [{"id": "new", "title": "Mug"}]
    assert catalog.ingest(write_rows(shop(10), rows), options=options).deleted == 1
    with pytest.raises(ConfigError, match="max_delete_share is from 0 to 1, got 2"):
        IngestOptions(max_delete_share=2)


@pytest.mark.parametrize("deleted", [1, 999, 1000, 1200])
def test_deleted_rows_before_the_first_product_hide_nothing(tmp_path: Path, encoder, deleted) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    rows = [{"id": f"gone{number}", "deleted": True} for number in range(deleted)]
    rows += [{"id": f"P{number}", "title": f"Item {number}", "volume": number} for number in range(50)]
    said: list[int] = []
    report = catalog.ingest(rows, progress=lambda read, written: said.append(read))
    assert figures(report) == {"read": deleted + 50, "added": 50}
    assert said == [deleted + 50]
    assert catalog.stats().attributes == ("volume",)


def test_a_picture_has_a_ceiling(tmp_path: Path, encoder, shop) -> None:
    table = shop(2)
    with (tmp_path / "shop" / "img" / "1.png").open("wb") as file:
        file.truncate(64 * 1024**2 + 1)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(table)
    assert figures(report) == {"read": 2, "added": 1, "rejected": 1}
    assert "img/1.png: bytes 67,108,865 is over the limit of 67,108,864" in rejects_of(report)[0]["reason"]


def test_an_open_reader_goes_on_where_it_is(tmp_path: Path, encoder, shop) -> None:
    told: list[object] = []
    reader = read_products(write_rows(shop(3), [row(0), row(1), {"id": ""}]), on_reject=told.append)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    report = catalog.ingest(reader)
    assert (report.added, report.rejected, told) == (2, 1, [])
    assert rejects_of(report)[0]["row"] == 3


def test_duplicate_marks_survive_an_update(tmp_path: Path, encoder, shop) -> None:
    table = shop(4)
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    catalog.ingest(table)
    assert catalog.mark_duplicates({"P00001": "P00000"}).replaced == 1
    rows = [row(number, price=1) for number in range(4)]
    rows[1]["title"] = "Changed"
    catalog.ingest(write_rows(table, rows))
    marks = {name: cells["duplicate_of"] for name, (cells, _) in content_of(catalog).items()}
    assert marks == {"P00000": None, "P00001": "P00000", "P00002": None, "P00003": None}


def test_products_that_a_program_made(tmp_path: Path, encoder) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    products = [
        Product("a", title="Mug", row=1),
        Product("b", title="Cup", row=2),
        Product("a", title="X", row=3),
    ]
    report = catalog.upsert(products)
    assert (report.added, report.rejected, report.too_many_rejects) == (2, 1, True)


def test_long_titles_are_kept_and_counted(tmp_path: Path, encoder) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    title = " ".join(f"word{number}" for number in range(5000))[:20_000].rsplit(" ", 1)[0]
    report = catalog.ingest([{"id": "a", "title": title}, {"id": "b", "title": "Mug"}])
    assert (report.added, report.truncated) == (2, 1)
    row = catalog.index.get(["a"]).payload.to_pylist()[0]
    assert row["title"] == title
    assert len(row["text"].split()) <= encoder.context_length


def test_the_network_that_breaks_stops_the_run_and_the_next_one_goes_on(tmp_path: Path, shop) -> None:
    class Failing(HashEncoder):
        left = 3

        def encode(self, images, texts, *, categories=None, batch_size=32):
            if not self.left:
                raise MemoryError
            self.left -= 1
            return super().encode(images, texts, categories=categories)

    table, failing = shop(40), Failing()
    catalog = Catalog.create(tmp_path / "cat", model=failing)
    options = IngestOptions(batch_size=8, commit_rows=8)
    with pytest.raises(MemoryError):
        catalog.ingest(table, options=options)
    assert len(catalog) == 24
    failing.left = 99
    assert figures(catalog.ingest(table, options=options)) == {"read": 40, "added": 16, "unchanged": 24}


def test_progress_is_told_after_each_version(tmp_path: Path, encoder, shop) -> None:
    catalog, said = Catalog.create(tmp_path / "cat", model=encoder), []
    catalog.ingest(
        shop(50),
        progress=lambda *done: said.append(done),
        options=IngestOptions(batch_size=5, commit_rows=20),
    )
    assert [written for _, written in said] == [20, 40, 50]
    assert said[-1] == (50, 50)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"commit_rows": 0}, {"workers": 0}])
def test_options_are_checked(options) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is at least 1, got 0"):
        IngestOptions(**options)


def test_the_result_does_not_depend_on_sizes(tmp_path: Path, shop) -> None:
    table, found = shop(30), []
    for name, batch, commit, workers in (("a", 1, 1, 1), ("b", 32, 1024, 4), ("c", 7, 10, 2)):
        catalog = Catalog.create(tmp_path / name, model=HashEncoder())
        catalog.ingest(table, options=IngestOptions(batch_size=batch, commit_rows=commit, workers=workers))
        found.append(content_of(catalog))
    assert found[0] == found[1] == found[2]


def test_reports_are_plain(tmp_path: Path, encoder, shop) -> None:
    report = Catalog.create(tmp_path / "cat", model=encoder).ingest(shop(3))
    assert json.loads(json.dumps(report.to_dict()))["added"] == 3
    assert set(report.to_dict()) == {one.name for one in dataclasses.fields(report)} | {"too_many_rejects"}
    assert DIM == 16
