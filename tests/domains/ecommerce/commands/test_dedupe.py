"""``verticlip catalog dedupe``: look, label, fit, merge and take it back."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from verticlip.api import from_pretrained
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.duplicates.merging import marks_of
from verticlip.domains.ecommerce.duplicates.settings import Fit, Thresholds, save_thresholds


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((90, 90), Image.Resampling.BICUBIC)


@pytest.fixture
def catalog(tmp_path, model_folder):
    """Folder of a catalogue: the same picture twice, a copy of one saved again, and two others."""
    rows = []
    for name, seed, quality in (
        ("a", 1, 95),
        ("b", 1, 95),
        ("c", 2, 95),
        ("d", 2, 60),
        ("e", 3, 95),
        ("f", 4, 95),
    ):
        picture(seed).save(tmp_path / f"{name}.jpg", quality=quality)
        rows.append({"id": name, "title": f"red cat {name}", "image": f"{name}.jpg", "category": "cats"})
    rows[4] |= {"color": "red"}
    made = Catalog.create(tmp_path / "catalog", model=from_pretrained(str(model_folder)), index="flat")
    made.ingest(rows, image_root=tmp_path)
    made.close()
    return tmp_path / "catalog"


def marks(folder):
    with Catalog.open(folder, read_only=True) as opened:
        return marks_of(opened.index)[1]


def test_look_merge_and_take_back(run, catalog, tmp_path):
    page = tmp_path / "report.html"
    pictures = ("catalog", "dedupe", catalog, "--no-embedding")
    status, out, err = run(*pictures, "--html", page)
    assert status == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["group", "kept", "duplicate"],
        ["1", "a", "b"],
        ["2", "c", "d"],
    ]
    assert "same picture file" in out
    assert "nearly the same picture" in out
    assert "6 products: 2 duplicates in 2 groups" in err
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 4
    assert marks(catalog) == {}
    err = run(*pictures, "--merge", "--dry-run")[2]
    assert "2 duplicates would be marked; nothing was changed." in err
    assert marks(catalog) == {}
    err = run(*pictures, "--merge", "--html", page)[2]
    assert "2 duplicates marked; the catalogue is at version 2." in err
    assert "2 duplicates marked" in page.read_text(encoding="utf-8")
    assert marks(catalog) == {"b": "a", "d": "c"}
    assert "2 were marked before" in run(*pictures, "--merge")[2]
    assert "2 marks would be taken off" in run("catalog", "dedupe", catalog, "--unmerge", "--dry-run")[2]
    assert "2 marks taken off" in run("catalog", "dedupe", catalog, "--unmerge")[2]
    assert marks(catalog) == {}
    assert "2 duplicates taken out" in run(*pictures, "--merge", "--delete")[2]
    with Catalog.open(catalog, read_only=True) as opened:
        assert len(opened) == 4


def test_json_lines_hold_the_whole_report(run, catalog):
    out = run("catalog", "dedupe", catalog, "--threshold", "product=0.999", "--json")[1]
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["kind"] for row in rows} <= {"group", "variant", "refused"}
    first = next(row for row in rows if row["canonical"] == "a")
    assert first["pairs"][0]["reasons"][0] == "same_file"


def test_nothing_is_merged_by_numbers_that_nobody_measured(run, catalog):
    status, out, err = run("catalog", "dedupe", catalog, "--merge")
    assert (status, out) == (1, "")
    assert "Nobody has measured the thresholds" in err
    assert "--no-embedding" in err
    status, _, err = run("catalog", "dedupe", catalog, "--merge", "--threshold", "product=0.9999")
    assert status == 0
    assert marks(catalog)


def test_pairs_go_out_and_labels_fit_thresholds(run, catalog, tmp_path):
    table = tmp_path / "pairs.csv"
    status, out, err = run("catalog", "dedupe", catalog, "--to-label", table, "--floor", -1)
    assert (status, out) == (0, "")
    assert "15 pairs" in err
    assert (tmp_path / "pairs.html").read_text(encoding="utf-8").count("<h2>Pair") == 15
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert "fill in the column" in err
    assert "no row has a label" in run("catalog", "dedupe", catalog, "--labels", table)[2]
    same = ({"a", "b"}, {"c", "d"})
    for row in rows:
        row["duplicate"] = "yes" if {row["first"], row["second"]} in same else "no"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    status, _, err = run("catalog", "dedupe", catalog, "--labels", table)
    assert status == 1
    assert "2 are duplicates" in err
    assert "at least 299 are needed there" in err
    easy = ("--labels", table, "--precision", 0.3, "--confidence", 0.5)
    assert run("catalog", "dedupe", catalog, *easy, "--dry-run")[0] == 0
    assert not (catalog / "duplicates" / "thresholds.json").exists()
    status, _, err = run("catalog", "dedupe", catalog, *easy)
    assert status == 0
    assert "fitted: product at least" in err
    assert "Groups, by all evidence, join" in err
    assert (catalog / "duplicates" / "thresholds.json").is_file()
    assert "Nobody has measured" not in run("catalog", "dedupe", catalog)[2]


def test_groups_that_are_wrong_too_often_are_not_merged(run, catalog):
    with Catalog.open(catalog, read_only=True) as opened:
        made_by = opened.config.made_by
    fit = Fit(
        target=0.99,
        confidence=0.95,
        pairs=1_000,
        positives=700,
        held_out=500,
        accepted=350,
        wrong=0,
        precision=1.0,
        precision_low=0.991,
        recall=0.9,
        made_by=made_by,
        joined=400,
        joined_wrong=8,
    )
    save_thresholds(catalog, Thresholds(product=0.99, fit=fit))
    status, _, err = run("catalog", "dedupe", catalog, "--merge")
    assert status == 1
    assert "join 0.980 are right, less than the 0.99 asked for, so nothing is merged" in err
    assert marks(catalog) == {}
    assert run("catalog", "dedupe", catalog)[0] == 0
    assert run("catalog", "dedupe", catalog, "--merge", "--no-embedding")[0] == 0
    assert marks(catalog)
    save_thresholds(catalog, Thresholds(product=0.99, fit=fit.model_copy(update={"joined_wrong": 4})))
    assert run("catalog", "dedupe", catalog, "--merge")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--delete",), "--delete says what --merge does"),
        (("--merge", "--unmerge"), "undo each other"),
        (("--threshold", "produkt=0.9"), "Did you mean 'product'"),
        (("--threshold", "product=3"), "less than or equal to 1"),
        (("--threshold", "fit=1"), "only labelled pairs can fit"),
        (
            ("--no-exact", "--no-perceptual", "--no-embedding"),
            "at least one of exact, perceptual and embedding",
        ),
        (("--to-label", "pairs.txt"), "name a file that ends in .csv"),
        (("--html", "x.doc"), "name a file that ends in .html"),
        (("--where", "catgory = 'x'"), "Did you mean 'category'"),
    ],
)
def test_what_cannot_be_meant_is_said(run, catalog, arguments, message):
    status, out, err = run("catalog", "dedupe", catalog, *arguments)
    assert (status, out) == (1, "")
    assert message in err
