import csv
import gzip
import json
import tracemalloc
from random import Random

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.limits import DEFAULT
from verticlip.domains.ecommerce.products import FieldMap, ImageRoot, Product, read_products


def read(source, **options):
    rejects = []
    reader = read_products(source, on_reject=rejects.append, **options)
    return list(reader), rejects, reader


def test_a_messy_feed(tmp_path):
    (tmp_path / "img").mkdir()
    lines = [
        "sku;Name;Preis;Farbe;Bild;gelöscht;Saison",
        '007;"Hemd; blau\nmit Kragen";1.299,00 €;blau;img/7.jpg;;SS24',
        "008;Hose;12,50;rot;../../etc/passwd;;",
        "009;Rock;abc",
        ";ohne Nummer;5;;;;",
        "007;noch einmal;5;;;;",
        "010;;;;;;",
        "011;;;;img/11.jpg;;",
        "012;Rock;auf Anfrage;;;;",
    ]
    file = tmp_path / "feed.csv"
    file.write_bytes("\r\n".join(lines).encode("cp1252"))
    products, rejects, reader = read(file, fields={"deleted": "gelöscht"})
    assert [product.id for product in products] == ["007", "011", "012"]
    first = products[0]
    assert (first.title, first.price, first.currency, first.color) == (
        "Hemd; blau\nmit Kragen",
        1299.0,
        "EUR",
        "blau",
    )
    assert first.image.path == tmp_path / "img" / "7.jpg"
    assert first.attributes == {"Saison": "SS24"}
    assert products[2].price is None
    assert [(reject.row, reject.id) for reject in rejects] == [
        (4, "008"),
        (5, None),
        (6, None),
        (7, "007"),
        (8, "010"),
    ]
    assert "leaves the image folder" in rejects[0].reason
    assert "3 cells for 7 columns" in rejects[1].reason
    assert "the id is empty" in rejects[2].reason
    assert "already used in row 2" in rejects[3].reason
    assert "neither a title nor an image" in rejects[4].reason
    assert (reader.rows, reader.rejected) == (8, 5)
    notes = "\n".join(reader.notes)
    assert "read as Windows-1252" in notes
    assert "separated by a semicolon" in notes
    assert (
        "prices that could not be read were left empty: 1 row, first row 10: 'auf Anfrage' is no price"
        in notes
    )
    assert reader.fields.describe().startswith(
        "id = sku (guessed), title = Name (guessed), color = Farbe (guessed)"
    )
    assert reader.other_columns == ("Saison",)


def test_every_format_gives_the_same(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"id": f"{number:03}", "title": f"Mug {number}", "price": f"{number}.50", "brand": "Ä"}
        for number in range(5)
    ]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "a.tsv").write_text(
        "\t".join(rows[0]) + "\n" + "".join("\t".join(row.values()) + "\n" for row in rows), encoding="utf-8"
    )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "no_suffix").write_bytes((tmp_path / "a.jsonl").read_bytes())
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "odd").write_bytes((tmp_path / "a.parquet").read_bytes())

    def plain(source):
        products, rejects, _ = read(source)
        assert not rejects
        return [(one.id, one.title, one.price, one.brand) for one in products]

    expected = [(f"{number:03}", f"Mug {number}", number + 0.5, "Ä") for number in range(5)]
    for name in ("a.csv", "a.tsv", "a.jsonl", "b.jsonl.gz", "no_suffix", "c.csv.gz", "a.parquet", "odd"):
        assert plain(tmp_path / name) == expected, name
    assert plain(str(tmp_path / "a.csv")) == expected
    assert plain(rows) == plain(iter(rows)) == expected


def test_a_folder_of_pictures(tmp_path):
    (tmp_path / "dress").mkdir()
    (tmp_path / "dress" / "1.jpg").write_bytes(b"x")
    [product], _, _ = read(tmp_path, fields={"id": "sku"})
    assert (product.id, product.category, product.title) == ("dress/1.jpg", "dress", None)
    assert product.image.path == tmp_path / "dress" / "1.jpg"


def test_deleted_rows_need_no_more_than_an_id():
    products, rejects, _ = read(
        [{"id": 1, "deleted": "yes", "title": ""}, {"id": 2, "deleted": "perhaps", "title": "A"}]
    )
    assert products == [Product("1", deleted=True, row=1)]
    assert "deleted is 'perhaps'; expected yes or no" in rejects[0].reason
    assert rejects[0].id == "2"


def test_a_flag_that_comes_late_is_found():
    rows = [{"id": str(number), "title": "A"} for number in range(1500)] + [{"id": "x", "deleted": True}]
    products, _, reader = read(rows)
    assert products[-1].deleted
    assert "deleted" in reader.fields.guessed


def test_long_titles_are_kept_up_to_a_limit():
    title = "word " * 5000
    [product], rejects, reader = read([{"id": 1, "title": title}])
    assert not rejects
    assert len(product.title) <= DEFAULT.text_chars
    assert product.title == title[: DEFAULT.text_chars].strip()
    assert reader.notes == ("title cut to 20,000 characters: 1 row, first row 1: 24,999 characters",)


def test_products_of_a_program_are_checked_too():
    given = [
        Product(" 1 ", title="A"),
        Product("", title="B"),
        Product("1", title="C"),
        Product("3"),
        "no product",
    ]
    products, rejects, _ = read(given)
    assert products == [Product("1", title="A", row=1)]
    assert [reject.row for reject in rejects] == [2, 3, 4, 5]


def test_attributes_from_columns_and_objects():
    row = {
        "id": 1,
        "title": "A",
        "attributes": '{"fit": "slim"}',
        "season": "SS",
        "weight": "1,5",
        "size": {"waist": 3},
        "vector_image": [0.1] * 8,
        "duplicate_of": "x",
    }
    [product], _, _ = read([row], fields=FieldMap(numbers=("weight",)))
    assert product.attributes == {"season": "SS", "weight": 1.5, "size.waist": 3.0, "fit": "slim"}
    [product], _, _ = read([row], fields={"others": "ignore"})
    assert product.attributes == {"fit": "slim"}
    [product], _, reader = read([{"id": 1, "title": "A", "attributes": "slim"}])
    assert product.attributes == {}
    assert "attributes that could not be read were left out: 1 row" in reader.notes[0]


def test_pictures_of_one_product_are_told_once():
    row = {"id": 1, "image": "a.jpg", "images": "a.jpg|b.jpg|b.jpg", "image2": "c.jpg"}
    [product], _, _ = read([row])
    assert product.image.given == "a.jpg"
    assert [ref.given for ref in product.images] == ["b.jpg"]
    assert product.attributes == {"image2": "c.jpg"}
    [product], _, _ = read([{"id": 1, "images": ["a.jpg", "b.jpg"]}])
    assert (product.image.given, [ref.given for ref in product.images]) == ("a.jpg", ["b.jpg"])


def test_the_column_of_the_primary_picture_may_hold_several():
    for cell in (["a.jpg", "b.jpg"], '["a.jpg", "b.jpg"]', "a.jpg | b.jpg"):
        [product], _, _ = read([{"id": 1, "image": cell}])
        assert (product.image.given, [ref.given for ref in product.images]) == ("a.jpg", ["b.jpg"])


def test_levels_of_a_category_are_one_path():
    [product], _, _ = read(
        [{"id": 1, "title": "A", "category1": "Clothing", "category2": None, "category3": "Dresses"}]
    )
    assert (product.category, product.category_leaf, product.attributes) == (
        "Clothing > Dresses",
        "Dresses",
        {},
    )


def test_where_paths_start(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id,image\n1,../x.jpg\n")
    (tmp_path / "img").mkdir()
    _, rejects, _ = read(file, image_root=tmp_path / "img")
    assert "leaves the image folder" in rejects[0].reason
    [product], _, _ = read(file, image_root=ImageRoot(tmp_path / "img", allow_outside=True))
    assert product.image.path == tmp_path / "x.jpg"
    with pytest.raises(DataError, match="none: no such folder"):
        read(file, image_root=tmp_path / "none")


def test_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="int is no source of products"):
        read(3)
    with pytest.raises(DataError, match="bytes is no source of products"):
        read(b"id\n1\n")
    file = tmp_path / "a.csv"
    file.write_text("code_nr,label_text\n1,A\n")
    with pytest.raises(
        DataError, match="a.csv: no column is known to hold ids. Columns: code_nr, label_text"
    ):
        read(file)
    with pytest.raises(DataError, match=r"no column 'label_txt' \(for title\). Did you mean 'label_text'\?"):
        read(file, fields={"id": "code_nr", "title": "label_txt"})
    with pytest.raises(ConfigError, match="fields: unknown key 'titel'. Did you mean 'title'"):
        read(file, fields={"titel": "x"})
    assert read([])[0] == []


def test_a_file_that_is_cut_off_gives_its_rows_first(tmp_path):
    file = tmp_path / "a.jsonl.gz"
    rows = "".join(json.dumps({"id": number, "title": str(number * 7919)}) + "\n" for number in range(5000))
    file.write_bytes(gzip.compress(rows.encode())[:-200])
    reader = read_products(file)
    seen = []
    with pytest.raises(DataError, match="the compressed file ends too early"):
        for product in reader:
            seen.append(product.id)
    assert len(seen) > 1000


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "tsv", "txt"])
def test_whatever_is_in_a_file_every_row_is_a_product_or_a_reject(tmp_path, suffix):
    random = Random(suffix)
    lines = [b"id,title,price,image", *(b'%d,"Mug, %d",9.5,a.png' % (number, number) for number in range(20))]
    parts = [b'"', b"\n", b"\r", b",", b";", b"\0", b'""', b"\xff", b"\xc3\xa9"]
    accounted = 0
    for _ in range(100):
        data = bytearray(b"\n".join(lines))
        for _ in range(random.randrange(20)):
            place = random.randrange(len(data))
            if random.random() < 0.5:
                data[place:place] = random.choice(parts)
            else:
                del data[place : place + random.randrange(1, 20)]
        file = tmp_path / f"a.{suffix}"
        file.write_bytes(bytes(data))
        try:
            products, rejects, reader = read(file)
        except DataError:
            continue
        assert len(products) + len(rejects) == reader.rows
        assert len({product.id for product in products}) == len(products)
        accounted += 1
    assert accounted > 50 or suffix == "jsonl"


def test_memory_grows_with_ids_only():
    def rows(count):
        for number in range(count):
            yield {"id": f"p{number:07}", "title": "A " * 500}

    def peak(count):
        tracemalloc.start()
        for _ in read_products(rows(count)):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(2000), peak(10_000)
    assert large - small < 8000 * 400
