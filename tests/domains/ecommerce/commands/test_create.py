import json

import pytest

pytest.importorskip("pyarrow")


def test_an_empty_catalogue(run, tmp_path, model_folder):
    status, out, err = run(
        "catalog",
        "create",
        tmp_path / "shop",
        "--model",
        model_folder,
        "--template",
        "fashion",
        "--field",
        "title=name",
        "--image-share",
        "0.5",
        "--attribute",
        "size=number",
    )
    assert (status, out) == (0, f"{tmp_path / 'shop'}\n")
    assert "take products in: verticlip catalog ingest" in err
    config = json.loads((tmp_path / "shop" / "catalog.json").read_text())
    assert config["template"]["name"] == "fashion"
    assert config["fields"]["title"] == "name"
    assert (config["fusion"]["image"], config["fusion"]["text"]) == (0.5, 0.5)
    assert config["attributes"] == {"size": "number"}
    assert config["model"] == str(model_folder)


def test_facts_as_json(run, tmp_path, model_folder):
    (tmp_path / "map.yaml").write_text("id: sku\ntitle: name\n")
    (tmp_path / "text.yaml").write_text("name: mine\ntitle_tokens: 20\n")
    status, out, _ = run(
        "catalog",
        "create",
        tmp_path / "shop",
        "-m",
        model_folder,
        "--fields",
        tmp_path / "map.yaml",
        "--field",
        "title=name_en",
        "--template",
        tmp_path / "text.yaml",
        "--json",
    )
    facts = json.loads(out)
    assert status == 0
    assert facts["fields"] == "id = sku, title = name_en"
    assert facts["template"] == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template", "fashon"], "no text template 'fashon'. Did you mean 'fashion'?"),
        (["--field", "titel=name"], "--field: unknown key 'titel'. Did you mean 'title'?"),
        (["--field", "title"], "--field 'title' is not KEY=VALUE, for example title=name_en"),
        (["--fields", "none.yaml"], "none.yaml: no such file"),
        (["--attribute", "size"], "--attribute 'size': write NAME=TYPE with one of string, number, bool"),
        (["--attribute", "size=int"], "write NAME=TYPE"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(run, tmp_path, model_folder, options, message):
    status, _, err = run("catalog", "create", tmp_path / "shop", "--model", model_folder, *options)
    assert status == 1
    assert message in err
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_holds_something(run, tmp_path, model_folder):
    (tmp_path / "notes.txt").write_text("x")
    status, _, err = run("catalog", "create", tmp_path, "--model", model_folder)
    assert (status, "is not an empty folder. Name a new folder." in err) == (1, True)
    run("catalog", "create", tmp_path / "shop", "--model", model_folder)
    status, _, err = run("catalog", "create", tmp_path / "shop", "--model", model_folder)
    assert (status, "holds a catalogue already" in err) == (1, True)


def test_an_unknown_kind_of_index_is_wrong_usage(run, tmp_path):
    status, _, err = run("catalog", "create", tmp_path / "shop", "--index", "fast")
    assert status == 2
    assert "--index" in err
