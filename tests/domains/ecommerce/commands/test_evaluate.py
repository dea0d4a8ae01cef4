"""``verticlip catalog eval`` and ``tune``, as a user types them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

pytest.importorskip("pyarrow")

COLORS = ((200, 20, 20), (20, 200, 20), (20, 20, 200))
NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def shop(tmp_path_factory, model_folder):
    """A catalogue of 18 squares in three colors, made with a random model, and labelled queries."""
    import verticlip
    from verticlip.domains.ecommerce.catalog.catalog import Catalog

    root = tmp_path_factory.mktemp("eval")
    rows = []
    for number in range(18):
        color = number % 3
        Image.new("RGB", (70, 70), COLORS[color]).save(root / f"{number}.png")
        rows.append(
            {
                "id": f"s{number:02d}",
                "title": f"{NAMES[color]} square",
                "category": NAMES[color],
                "image": f"{number}.png",
            }
        )
    table = root / "items.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = verticlip.from_pretrained(model_folder, device="cpu")
    with Catalog.create(root / "shop", model=model) as catalog:
        catalog.ingest(table, image_root=root)
    labelled = []
    for number in range(6):
        same = [f"s{n:02d}" for n in range(18) if n % 3 == number % 3 and n != number]
        changed = [f"s{n:02d}" for n in range(18) if n % 3 == (number + 1) % 3]
        labelled.append({"like": f"s{number:02d}", "right": same})
        labelled.append(
            {"like": f"s{number:02d}", "text": NAMES[(number + 1) % 3], "right": changed, "id": f"c{number}"}
        )
    (root / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    return root


def test_eval_without_options_says_how_the_catalogue_is(run, shop):
    status, out, _ = run("catalog", "eval", shop / "shop", "-k", "5")
    assert status == 0
    assert "same category by image  P@5" in out
    assert "1.0000 (95 % CI 1.0000 to 1.0000, n=18)" in out, "equal pictures are nearest"
    assert "recall@5" in out
    assert out.count("flat") == 3


def test_eval_of_labelled_queries_as_json(run, shop, tmp_path):
    status, out, err = run(
        "catalog", "eval", shop / "shop", "--queries", shop / "labelled.jsonl", "--direction", "i-i",
        "--direction", "m-m", "-k", "1", "--out", tmp_path / "report.json", "--json", "--device", "cpu",
    )  # fmt: skip
    assert status == 0
    report = json.loads(out)
    assert [task["task"] for task in report["tasks"]] == ["i-i", "m-m"]
    assert report["tasks"][0]["metrics"]["hit_recall@1"]["value"] == 1.0
    assert report["products"] == 18
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert "6 queries change a product by words; no direction asks them" in err


def test_tune_measures_the_index_before_and_after(run, shop):
    status, out, err = run("catalog", "tune", shop / "shop")
    assert status == 0
    assert out.count("before") == out.count("after") == 3
    assert "exact search is the fastest here" in err


def test_tune_fits_to_labelled_queries_and_keeps_what_helps(run, shop):
    queries = shop / "labelled.jsonl"
    status, out, err = run(
        "catalog", "tune", shop / "shop", "--queries", queries, "--dry-run", "--device", "cpu", "--json"
    )
    assert status == 0
    report = json.loads(out.splitlines()[-1])
    assert report["queries"] == 12
    assert set(report) == {"queries", "composition", "fusion"}
    assert "12 labelled queries are few" in err
    assert not (shop / "shop" / "compose.json").exists(), "a dry run keeps nothing"
    found = report["composition"]
    status, out, err = run("catalog", "tune", shop / "shop", "--queries", queries, "--device", "cpu")
    assert status == 0
    assert "expected on other queries" in out
    gain = found["mrr"]["gain"]
    kept = (shop / "shop" / "compose.json").exists()
    assert kept == (gain["low"] > 0 and gain["n"] >= 10 and found["settings"] != found["before"])
    if kept:
        assert json.loads((shop / "shop" / "compose.json").read_text()) == found["settings"]


def test_fitted_shares_are_applied_to_a_new_catalogue(run, shop, tmp_path, monkeypatch):
    from verticlip.domains.ecommerce.catalog.catalog import Catalog
    from verticlip.domains.ecommerce.encoders.fusing import Fusion
    from verticlip.domains.ecommerce.evaluation import own_fitting

    real = own_fitting.fit_share
    better = Fusion(image=0.2, text=0.8)
    how = ("--queries", shop / "labelled.jsonl", "--device", "cpu")
    monkeypatch.setattr(
        own_fitting, "fit_share", lambda *args, **how: replace(real(*args, **how), fusion=how["current"])
    )
    assert "none is not written" in run("catalog", "tune", shop / "shop", *how, "--out", tmp_path / "none")[2]
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(
        own_fitting, "fit_share", lambda *args, **how: replace(real(*args, **how), fusion=better)
    )
    status, _, err = run("catalog", "tune", shop / "shop", *how, "--out", tmp_path / "new")
    assert status == 0
    assert "18 products with these shares" in err
    with Catalog.open(tmp_path / "new") as made:
        assert len(made) == 18
        assert made.config.fusion == better
    for options, message in (
        ((*how, "--out", tmp_path / "new"), "exists. Name a new folder."),
        (("--out", tmp_path / "other"), "--dry-run and --out belong to --queries"),
        ((*how, "--dry-run", "--out", tmp_path / "other"), "--dry-run keeps nothing"),
    ):
        status, _, err = run("catalog", "tune", shop / "shop", *options)
        assert status in (1, 2)
        assert message in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--direction", "i-i"], "--direction says how --queries are asked; give both."),
        (["--same", "colour"], "No field or attribute 'colour'"),
        (["--queries", "nothing.jsonl"], "nothing.jsonl"),
    ],
)
def test_wrong_usage_is_told(run, shop, options, message):
    status, _, err = run("catalog", "eval", shop / "shop", *options)
    assert status in (1, 2)
    assert message in err
