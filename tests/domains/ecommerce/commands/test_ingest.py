import json

import pytest
from PIL import Image

pytest.importorskip("pyarrow")


@pytest.fixture
def shop(run, tmp_path, model_folder):
    """An empty catalogue, and a table of three products with pictures."""
    assert run("catalog", "create", tmp_path / "shop", "--model", model_folder)[0] == 0
    (tmp_path / "img").mkdir()
    for name, color in (("a", "red"), ("b", "green"), ("c", "blue")):
        Image.new("RGB", (70, 70), color).save(tmp_path / "img" / f"{name}.png")
    (tmp_path / "items.csv").write_text(
        "sku;Name;Preis;Bild;Saison\n001;red square;9,50;img/a.png;SS\n002;green square;5;img/b.png;\n003;blue cat;7;img/c.png;AW\n"
    )
    return tmp_path


def test_a_table_is_taken_in_and_told(run, shop):
    status, out, err = run("catalog", "ingest", shop / "shop", shop / "items.csv")
    assert status == 0
    assert "3 rows in " in out
    assert "3 added; version 1" in out
    assert (
        "items.csv: id = sku (guessed), title = Name (guessed), price = Preis (guessed), image = Bild (guessed)"
        in err
    )
    assert "attributes: Saison" in err
    assert "note: items.csv: columns are separated by a semicolon" in err
    status, out, _ = run("catalog", "ingest", shop / "shop", shop / "items.csv", "--json")
    report = json.loads(out)
    assert (status, report["unchanged"], report["added"]) == (0, 3, 0)


def test_changes_and_rows_marked_deleted(run, shop):
    run("catalog", "ingest", shop / "shop", shop / "items.csv")
    (shop / "update.csv").write_text(
        "id,title,image,deleted\n001,,,yes\n002,green dog,img/b.png,\n004,new cat,img/c.png,no\n"
    )
    # The catalogue has no map of its own, so that each table is read by its own names.
    status, out, _ = run("catalog", "ingest", shop / "shop", shop / "update.csv")
    assert status == 0
    assert "1 added, 1 updated, 1 taken out; version" in out


def test_sync_takes_out_what_is_gone(run, shop):
    run("catalog", "ingest", shop / "shop", shop / "items.csv")
    (shop / "less.csv").write_text("id,title,image\n003,blue cat,img/c.png\n")
    arguments = ("catalog", "ingest", shop / "shop", shop / "less.csv", "--sync", "--json")
    status, _, err = run(*arguments)
    assert (status, "sync would take out 2 of 3 products (67%)" in err) == (1, True)
    status, out, _ = run(*arguments, "--max-delete-share", "0.7")
    assert (status, json.loads(out)["deleted"]) == (0, 2)
    (shop / "none.csv").write_text("id,title,image\n")
    status, _, err = run("catalog", "ingest", shop / "shop", shop / "none.csv", "--sync")
    assert (status, "The source has no product" in err) == (1, True)


def test_sizes_can_be_chosen(run, shop):
    (shop / "more.csv").write_text(
        "id,title,image,images\n1,red cat,img/a.png,img/b.png|img/c.png\n2,red dog,img/b.png,\n"
    )
    arguments = ("catalog", "ingest", shop / "shop", shop / "more.csv", "--json", "--batch-size", "1")
    status, out, _ = run(*arguments, "--pictures", "2", "--commit-rows", "1")
    report = json.loads(out)
    assert (status, report["added"], report["further"], report["version"]) == (0, 2, 1, 2)
    assert json.loads(run(*arguments, "--pictures", "3")[1])["further"] == 2


def test_too_many_rejects_are_a_partial_success(run, shop):
    (shop / "bad.csv").write_text(
        "id,title,image\n1,red cat,img/a.png\n,red dog,img/b.png\n3,x,../../etc/passwd\n4,y,img/none.png\n"
    )
    status, out, err = run("catalog", "ingest", shop / "shop", shop / "bad.csv")
    assert status == 3
    assert "1 added" in out
    assert "3 of 4 rows rejected; reasons in" in err
    assert "row 3: the id is empty. Every product needs one of its own." in err
    assert "leaves the image folder" in err
    rejects = [json.loads(line) for line in (shop / "shop" / "rejects.jsonl").read_text().splitlines()]
    assert sorted((one["row"], one["id"]) for one in rejects) == [(3, None), (4, "3"), (5, "4")]
    assert run("catalog", "ingest", shop / "shop", shop / "bad.csv", "--max-reject-rate", "0.8")[0] == 0
    (shop / "worse.csv").write_text("id,title\n,a\n,b\n")
    assert run("catalog", "ingest", shop / "shop", shop / "worse.csv")[0] == 1


def test_unreadable_pictures_may_be_taken_by_their_text(run, shop):
    (shop / "bad.csv").write_text("id,title,image\n4,red cat,img/none.png\n")
    status, out, _ = run(
        "catalog", "ingest", shop / "shop", shop / "bad.csv", "--on-image-error", "text_only", "--json"
    )
    report = json.loads(out)
    assert (status, report["added"], report["without_picture"]) == (0, 1, 1)


def forget_model(shop):
    """Make the catalogue name a model that cannot be loaded; return the one it named."""
    file = shop / "shop" / "catalog.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"model": "someone/else"}))
    return config["model"]


def test_a_dry_run_needs_no_model_and_writes_nothing(run, shop):
    (shop / "bad.csv").write_text("id,title,image\n1,red cat,http://cdn.example/a.png\n,red dog,img/b.png\n")
    forget_model(shop)
    status, out, err = run("catalog", "ingest", shop / "shop", shop / "bad.csv", "--dry-run")
    assert status == 3
    assert out == "2 rows: 1 products, 1 with an image (1 by address), 0 to take out, 1 rejected\n"
    assert "row 3: the id is empty" in err
    status, out, _ = run("catalog", "ingest", shop / "shop", shop / "bad.csv", "--dry-run", "--json")
    facts, reject = [json.loads(line) for line in out.splitlines()]
    assert (facts["products"], reject["row"]) == (1, 3)
    assert not (shop / "shop" / "index").exists()


def test_addresses_are_not_fetched_unless_asked(run, shop):
    (shop / "web.csv").write_text("id,title,image\n1,red cat,http://127.0.0.1/a.png\n")
    status, _, err = run("catalog", "ingest", shop / "shop", shop / "web.csv")
    assert status == 0
    assert "images are addresses and were not fetched; see --allow-remote" in err
    status, _, err = run("catalog", "ingest", shop / "shop", shop / "web.csv", "--allow-remote")
    assert status == 1
    assert "127.0.0.1 is not a public address" in err
    status, _, err = run(
        "catalog", "ingest", shop / "shop", shop / "web.csv", "--allow-host", "cdn.example.com"
    )
    assert (status, "add --allow-remote" in err) == (1, True)
    status, _, err = run(
        "catalog",
        "ingest",
        shop / "shop",
        shop / "web.csv",
        "--allow-remote",
        "--allow-host",
        "cdn.example:80",
    )
    assert (status, "'cdn.example:80' is no host name" in err) == (1, True)


def test_paths_outside_are_allowed_on_purpose(run, shop):
    (shop / "lists").mkdir()
    (shop / "lists" / "a.csv").write_text("id,image\n1,../img/a.png\n")
    assert run("catalog", "ingest", shop / "shop", shop / "lists" / "a.csv")[0] == 1
    assert run("catalog", "ingest", shop / "shop", shop / "lists" / "a.csv", "--allow-outside")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "none.csv: no such file or folder"),
        (["items.csv", "--field", "title=Nam"], "no column 'Nam' (for title). Did you mean 'Name'?"),
        (["items.csv", "--delimiter", "xx"], "give auto or one sign"),
        (["items.csv", "--encoding", "utf-9"], "encoding 'utf-9' is unknown"),
        (["items.csv", "--image-root", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_first(run, shop, monkeypatch, arguments, message):
    monkeypatch.chdir(shop)
    forget_model(shop)
    status, _, err = run("catalog", "ingest", "shop", *arguments)
    assert status == 1
    assert message in err


def test_no_catalogue(run, tmp_path):
    status, _, err = run("catalog", "ingest", tmp_path, tmp_path)
    assert status == 1
    assert "is no catalogue" in err


def test_a_catalogue_does_not_choose_what_is_downloaded(run, shop):
    model = forget_model(shop)
    status, _, err = run("catalog", "ingest", shop / "shop", shop / "items.csv")
    assert status == 1
    assert "made with 'someone/else', which is neither a model of this program nor a folder here" in err
    assert run("catalog", "ingest", shop / "shop", shop / "items.csv", "--model", model)[0] == 0
