import csv
import json

import pytest

pytest.importorskip("pyarrow")


@pytest.fixture
def shop(run, tmp_path, model_folder):
    run("catalog", "create", tmp_path / "shop", "--model", model_folder)
    (tmp_path / "items.jsonl").write_text(
        "".join(
            json.dumps({"id": f"00{number}", "title": f"red {animal}", "price": number, "category": animal})
            + "\n"
            for number, animal in enumerate(("cat", "dog", "square"))
        )
    )
    assert run("catalog", "ingest", tmp_path / "shop", tmp_path / "items.jsonl")[0] == 0
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_written_can_be_taken_in_again(run, shop, suffix):
    file = shop / f"out.{suffix}"
    status, out, err = run("catalog", "export", shop / "shop", "--to", file)
    assert (status, out, err) == (0, f"{file}\n", "3 products\n")
    status, out, _ = run("catalog", "ingest", shop / "shop", file, "--json")
    report = json.loads(out)
    assert (status, report["unchanged"], report["rejected"]) == (0, 3, 0)


def test_a_part_with_vectors(run, shop):
    file = shop / "out.jsonl"
    status, out, _ = run(
        "catalog", "export", shop / "shop", "--to", file, "--vectors", "--where", "price >= 1", "--json"
    )
    assert (status, json.loads(out)) == (0, {"out": str(file), "collection": None, "products": 2})
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["id"] for row in rows} == {"001", "002"}
    assert len(rows[0]["vector_text"]) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "out.xlsx"], "--to out.xlsx: name a file that ends in .parquet, .jsonl, .csv"),
        (["--to", "out.csv", "--vectors"], "a CSV has no room for vectors"),
        (["--to", "out.csv", "--where", "prize > 3"], "Did you mean 'price'?"),
        (["--to", "items.jsonl/out.csv"], "is a file. Name a folder."),
        (
            ["--to", "http://localhost:1"],
            "--to http://localhost:1: name the collection, for example --collection shop",
        ),
        (["--to", "out.csv", "--collection", "x"], "belong to --to http://"),
    ],
)
def test_what_cannot_be_written(run, shop, monkeypatch, options, message):
    monkeypatch.chdir(shop)
    status, _, err = run("catalog", "export", "shop", *options)
    assert status == 1
    assert message in err
    assert not list(shop.glob("out*"))


def test_a_cluster_gets_everything(run, shop, monkeypatch):
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    asked = []
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    monkeypatch.setattr("verticlip.core.index.qdrant.connect", lambda *given: asked.append(given) or client)
    arguments = ("catalog", "export", shop / "shop", "--to", "http://cluster:6333", "--collection", "mugs")
    status, out, err = run(*arguments)
    assert (status, out, err) == (0, "http://cluster:6333\n", "3 products\n")
    assert asked == [("http://cluster:6333", "secret")]
    status, _, err = run(*arguments)
    assert (status, "'mugs' is there already" in err) == (1, True)
    status, _, err = run(*arguments, "--update", "--where", "category = 'cat'")
    assert (status, err) == (0, "1 product\n")
    run("catalog", "delete", shop / "shop", "001")
    status, _, err = run(*arguments, "--update")
    assert (status, err) == (
        0,
        "note: the collection has 1 product more than the catalogue; --sync takes them out\n2 products\n",
    )
    status, _, err = run(*arguments, "--update", "--sync")
    assert (status, "sync would take out 1 of 3 products (33%)" in err) == (1, True)
    status, _, err = run(*arguments, "--update", "--sync", "--max-delete-share", "0.5")
    assert (status, err) == (0, "2 products\n")


def test_products_are_taken_out(run, shop):
    status, out, _ = run("catalog", "delete", shop / "shop", "--where", "category = 'cat'", "--dry-run")
    assert (status, out) == (0, "1 product would be taken out; version 1\n")
    status, out, err = run("catalog", "delete", shop / "shop", "000", "nope")
    assert (status, out) == (0, "1 product taken out; version 2\n")
    assert "note: 1 id is not in the catalogue, such as 'nope'" in err
    (shop / "ids.txt").write_text("\ufeff001\n\n 002 \n")
    status, out, _ = run("catalog", "delete", shop / "shop", "--ids-from", shop / "ids.txt", "--json")
    assert json.loads(out) == {"deleted": 2, "not_there": 0, "version": 3, "dry_run": False}
    file = shop / "out.csv"
    run("catalog", "export", shop / "shop", "--to", file)
    assert list(csv.DictReader(file.open())) == []


def test_a_condition_is_resolved_once_nobody_else_writes(run, shop, monkeypatch):
    import pyarrow as pa
    from verticlip.core.index import open_index
    from verticlip.core.index.base import Rows
    from verticlip.core.index.lock import WriterLock

    held, done = WriterLock.held, []

    def raised(lock, *given):
        """Another process makes 001 dearer, just before the command may write."""
        if not done:
            done.append(True)
            index = open_index(shop / "shop" / "index")
            rows = index.get(["001"], views=index.views)
            place = rows.payload.schema.get_field_index("price")
            payload = rows.payload.set_column(place, "price", pa.array([50.0]))
            index.upsert(Rows(rows.ids, payload, rows.vectors, rows.present))
        return held(lock, *given)

    monkeypatch.setattr(WriterLock, "held", raised)
    status, out, _ = run("catalog", "delete", shop / "shop", "--where", "price < 2", "--json")
    assert (status, json.loads(out)["deleted"]) == (0, 1)
    assert open_index(shop / "shop" / "index").get(["000", "001"], columns=[]).ids == ("001",)


@pytest.mark.parametrize("options", [[], ["000", "--where", "price > 1"]])
def test_which_products_has_to_be_said(run, shop, options):
    status, _, err = run("catalog", "delete", shop / "shop", *options)
    assert status == 1
    assert "Say which products: ids, --ids-from FILE or --where CONDITION" in err


def test_a_list_of_ids_that_is_no_text(run, shop):
    (shop / "ids.txt").write_bytes(b"\xff\xfe\x00")
    status, _, err = run("catalog", "delete", shop / "shop", "--ids-from", shop / "ids.txt")
    assert (status, "not UTF-8 text" in err) == (1, True)
