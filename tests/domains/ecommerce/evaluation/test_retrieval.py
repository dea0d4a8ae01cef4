"""Every protocol on a tiny data set in its published layout, with a model whose answers are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.ecommerce.composed.query import ComposeSettings
from verticlip.domains.ecommerce.evaluation import published_results
from verticlip.domains.ecommerce.evaluation.composed import evaluate_composed
from verticlip.domains.ecommerce.evaluation.composed_data import Region, join_captions, read_composed
from verticlip.domains.ecommerce.evaluation.esspr import evaluate_esspr, read_esspr
from verticlip.domains.ecommerce.evaluation.gcl import draw, evaluate_gcl, read_gcl, rescale
from verticlip.domains.ecommerce.evaluation.marqo import evaluate_marqo, read_marqo
from verticlip.domains.ecommerce.evaluation.retrieval import evaluate_retrieval, read_pairs, write_result
from verticlip.domains.ecommerce.evaluation.vectors import rank

sys.path.insert(0, str(Path(__file__).parent))

import make_sets


def values(task):
    return {name: round(value.value, 4) for name, value in task.metrics.items()}


@pytest.mark.parametrize("parquet", [False, True])
def test_marqo(tmp_path, parquet):
    if parquet:
        pytest.importorskip("pyarrow")
    config, data = make_sets.marqo(tmp_path, parquet=parquet)
    result = evaluate_marqo(make_sets.encoder(), read_marqo(config, data))
    text, category = result.tasks
    assert (text.name, text.queries, text.documents) == ("text-to-image", 6, 12)
    # Two documents of each color: one of them is first, both are among ten.
    assert values(text)["Recall@1"] == 0.5
    assert values(text)["Recall@10"] == 1.0
    assert values(text)["AvgRecall"] == 0.75
    assert values(text)["MRR"] == 1.0
    assert category.queries == 1
    assert values(category)["P@1"] == 1.0
    assert values(category)["P@10"] == 0.2
    assert "AvgRecall" not in category.metrics
    assert any("1 queries have no right answer" in note for note in result.notes)
    assert any("one moves a metric by 17 points" in note for note in result.notes)
    said = text.published["ecommerce/marqo-fashion-siglip"]
    assert said == {"AvgRecall": 0.334, "MRR": 0.293}
    assert result.images == 12


def test_a_published_number_stands_beside_ones_own(tmp_path):
    config, data = make_sets.marqo(tmp_path)
    own = make_sets.encoder("ecommerce/open-fashion-clip")
    result = evaluate_marqo(own, read_marqo(config, data))
    header, rows = result.table()
    assert header[-1] == "published"
    assert rows[0][:2] == ("text-to-image", "AvgRecall")
    assert rows[0][-1] == "0.208"
    assert "a photo of a red thing" in own.encoder.asked, "its authors put this before every query"


def test_marqo_files_that_do_not_fit_say_so(tmp_path):
    config, data = make_sets.marqo(tmp_path)
    (data / "gt_query_doc" / "ground_truth_text-image.json").unlink()
    with pytest.raises(DataError, match="ground_truth_text-image.json is missing"):
        read_marqo(config, data)
    content = json.loads(config.read_text())
    content["tasks"][1]["doc_weights"] = [1.0]
    make_sets.write_json(config, content)
    with pytest.raises(ConfigError, match="needs one of doc_weights for each of"):
        read_marqo(config, data)
    config, data = make_sets.marqo(tmp_path / "b")
    table = data / "documents.jsonl"
    first = table.read_text().splitlines()[0]
    table.write_text(first + "\n" + first + "\n")
    with pytest.raises(DataError, match="documents.jsonl row 2: item_ID 'd00' is given twice"):
        read_marqo(config, data)
    table.write_text(first.replace("img/0.png", "../secret.png") + "\n")
    with pytest.raises(DataError, match="image path '../secret.png' leaves the image folder"):
        read_marqo(config, data)
    table.write_text(first.replace("item_ID", "id") + "\n")
    with pytest.raises(DataError, match="no column 'item_ID'"):
        read_marqo(config, data)
    table.unlink()
    with pytest.raises(DataError, match="no table of documents"):
        read_marqo(config, data)


def test_esspr_in_every_direction(tmp_path):
    path, images = make_sets.esspr(tmp_path)
    (images / "r0.png").unlink()
    (images / "t5.png").write_bytes(b"broken")
    result = evaluate_esspr(make_sets.encoder(), read_esspr(path, images))
    tasks = {task.name: task for task in result.tasks}
    assert list(tasks) == ["i-i", "i-t", "i-m", "t-i", "t-t", "t-m", "m-m"]
    # t0's right picture is gone, t5's own cannot be read: four queries, eleven pictures.
    assert (tasks["i-i"].queries, tasks["i-i"].documents) == (4, 11)
    # r1 to r4 of the same color, and w0 to w3 (the color after) tie; ids "r" come first.
    assert values(tasks["i-i"])["hit_recall@1"] == 1.0
    assert tasks["t-t"].queries == 6, "titles are not lost with their pictures"
    assert values(tasks["t-t"])["MRR"] == 1.0
    assert tasks["m-m"].queries == 4
    assert result.missing == ("r0",)
    assert [failure.id for failure in result.failures] == ["t5"]
    assert any(note.startswith("i-i: 1 queries have no right answer") for note in result.notes)
    assert tasks["m-m"].published["eSSPR"]["MRR"] == 0.9197
    assert tasks["t-i"].published == {}
    assert result.origin["pairs"] == "12"


def test_esspr_reads_every_shape_of_table(tmp_path):
    path, images = make_sets.esspr(tmp_path)
    rows = json.loads(path.read_text())
    from verticlip.domains.ecommerce.evaluation.esspr import COLUMNS

    expected = read_esspr(path, images).rows
    lists = [[row[column] for column in COLUMNS] for row in rows]
    shapes = {
        "lists.json": json.dumps(lists),
        "table.json": json.dumps({"columns": COLUMNS, "data": lists}),
        "nested.json": json.dumps({"rows": rows}),
        "lines.json": "".join(json.dumps(row) + "\n" for row in rows),
        "lines.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }
    for name, content in shapes.items():
        (tmp_path / name).write_text(content)
        assert read_esspr(tmp_path / name, images).rows == expected, name
        assert read_pairs(tmp_path / name, images).protocol == "esspr", name
    del rows[0]["recall_id"]
    (tmp_path / "short.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"short.json row 1: no column 'recall_id'. Did you mean 'recall_"):
        read_esspr(tmp_path / "short.json", images)
    with pytest.raises(ConfigError, match="No direction 'i-x'"):
        evaluate_esspr(make_sets.encoder(), read_esspr(path, images), directions=["i-x"])


def test_gcl(tmp_path):
    path, images = make_sets.gcl(tmp_path)
    data = read_gcl(path, images)
    assert len(data.judged) == 2
    grades = [grade for found in data.judged.values() for grade in found.values()]
    assert min(grades) == 1
    assert max(grades) == 100
    result = evaluate_gcl(make_sets.encoder(), data)
    (task,) = result.tasks
    assert set(task.metrics) == {"NDCG@10", "ERR", "RBP", "MRR", "Recall@10", "Recall@100"}
    assert values(task)["MRR"] == 1.0
    assert values(task)["ERR"] > 0.95, "the product of the color itself is first, also by its title alone"
    assert task.published["GCL ViT-B-32"]["NDCG@10"] == 0.577
    assert result.images == 5
    # With a ground truth and corpora beside the table those count.
    make_sets.write_json(path.with_name("query_0_product_id_0_gt_test.json"), {"red shirt": {"0": 100}})
    make_sets.write_json(path.with_name("corpus_1.json"), {"9": {"title": "green shirt"}})
    make_sets.write_json(
        path.with_name("corpus_2.json"), {"0": {"title": "red shirt"}, "1": {"title": "green shirt"}}
    )
    again = read_gcl(path, images)
    assert again.documents.ids == ("0", "1")
    assert values(evaluate_gcl(make_sets.encoder(), again).tasks[0])["NDCG@10"] == 1.0


def test_gcl_draws_and_rescales_as_published():
    pandas = pytest.importorskip("pandas")
    scores = np.random.default_rng(0).normal(size=300)
    theirs = pandas.DataFrame({"query": [f"q{n % 40}" for n in range(300)], "w": scores})
    theirs["w"] = (
        ((theirs["w"] - theirs["w"].min()) / (theirs["w"].max() - theirs["w"].min())) * 99 + 1
    ).astype(int)
    assert rescale(scores).tolist() == theirs["w"].tolist()
    summed = theirs.groupby("query").sum()
    drawn = list(summed.sample(n=15, weights=summed["w"], random_state=1, replace=False).index)
    assert draw(summed["w"].to_dict(), 15) == drawn
    assert rescale(np.full(3, 7.0)).tolist() == [1, 1, 1]


def test_fashioniq_and_what_the_words_do(tmp_path):
    data = read_composed(make_sets.fashioniq(tmp_path))
    assert data.protocol == "fashioniq"
    assert data.tasks[0].queries[0].change == "is green and nice"
    result = evaluate_composed(make_sets.encoder(), data)
    assert [task.name for task in result.tasks] == ["dress", "shirt", "average"]
    assert values(result.tasks[0]) == {"Recall@10": 1.0, "Recall@50": 1.0}
    assert result.tasks[2].published["CIReVL L/14 + PDV"] == {"Recall@10": 0.3767, "Recall@50": 0.5748}
    assert np.isnan(result.tasks[2].metrics["Recall@10"].low), "a mean of categories has no interval here"
    assert any("reference_captions.json" in note for note in result.notes)
    assert "95 %" not in result.table()[1][-1][2]


def test_cirr_leaves_the_reference_out_and_looks_into_the_set(tmp_path):
    root = make_sets.cirr(tmp_path)
    make_sets.write_json(
        root / "reference_captions.json", {"dev-0": "red", "dev-1": "green", "dev-2": "blue"}
    )
    data = read_composed(root)
    assert data.protocol == "cirr"
    words = evaluate_composed(make_sets.encoder(), data)
    assert values(words.tasks[0])["Recall@1"] == 1.0
    assert values(words.tasks[0])["Recall_subset@1"] == 1.0
    assert words.notes == ()
    looks = ComposeSettings(beta=0.0, alpha_image=0.0)
    picture = evaluate_composed(make_sets.encoder(), data, settings=looks)
    # Without itself, which is left out, a picture alone is as far from all others: they go by their place.
    assert values(picture.tasks[0])["Recall@1"] == 0.3333
    for method in ("sum", "encoder"):
        found = evaluate_composed(make_sets.encoder(), data, settings=ComposeSettings(method=method))
        assert values(found.tasks[0])["Recall@5"] == 1.0


def test_genecis_cuts_boxes_and_ranks_in_a_gallery_of_its_own(tmp_path):
    data = read_composed(make_sets.genecis(tmp_path), tmp_path / "images")
    assert [task.name for task in data.tasks] == ["change_attribute", "focus_object"]
    result = evaluate_composed(make_sets.encoder(), data)
    assert set(result.tasks[0].metrics) == {"Recall@1", "Recall@2", "Recall@3"}
    assert values(result.tasks[1])["Recall@1"] == 1.0
    assert result.tasks[-1].name == "average"
    region = Region(tmp_path / "images" / "7.png", (30, 10, 20, 20))
    # 0.7 of the box is added on each side, as far as the picture goes: columns 16 to 50, rows 0 to 34.
    part = region.load().value
    assert tuple(part.shape) == (3, 34, 34)
    assert part[:, 0, 0].tolist() == list(make_sets.COLORS["red"])
    wide = Region(tmp_path / "images" / "7.png", (40, 30, 40, 10)).load().value
    assert wide.shape[1] == wide.shape[2]
    assert wide[:, 0].sum() == 0, "filled up with black"


def test_composed_data_that_does_not_fit_says_so(tmp_path):
    with pytest.raises(DataError, match="neither FashionIQ .* CIRR .* nor GeneCIS"):
        read_composed(tmp_path)
    root = make_sets.fashioniq(tmp_path / "f")
    (root / "images" / "dress-green.png").unlink()
    data = read_composed(root)
    assert data.missing == ("dress-green",)
    assert data.left_out == 2
    assert any(
        "2 queries need a picture" in note for note in evaluate_composed(make_sets.encoder(), data).notes
    )
    path = root / "captions" / "cap.shirt.val.json"
    path.write_text('[{"candidate": "a", "captions": []}]')
    with pytest.raises(DataError, match=r"cap.shirt.val.json row 1: no 'target'"):
        read_composed(root)
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="cap.shirt.val.json: expected a list, got dict"):
        read_composed(root)
    assert join_captions([" has dots.", "", "is  long ?"]) == "has dots and is long"


def test_ranks_go_by_document_id_where_scores_are_equal():
    gallery = torch.eye(3)[[0, 0, 1, 0]]
    found = rank({"q": torch.eye(3)[0]}, gallery, ["d", "b", "a", "c"], 3)
    assert found == {"q": ["b", "c", "d"]}
    assert rank({"q": torch.eye(3)[0]}, gallery, ["d", "b", "a", "c"], 99) == {"q": ["b", "c", "d", "a"]}
    assert rank({}, gallery, ["d", "b", "a", "c"], 2) == {}


def test_the_data_says_its_protocol(tmp_path):
    config, data = make_sets.marqo(tmp_path / "m")
    assert read_pairs(config, data).protocol == "marqo"
    path, images = make_sets.gcl(tmp_path / "g")
    assert read_pairs(path, images).protocol == "gcl"
    assert read_pairs(make_sets.cirr(tmp_path / "c"), tmp_path / "c").protocol == "cirr"
    assert read_pairs(make_sets.fashioniq(tmp_path / "f"), tmp_path / "f").protocol == "fashioniq"
    assert read_pairs(make_sets.genecis(tmp_path / "n"), tmp_path / "n").protocol == "genecis"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="other.csv: not the data of a known protocol"):
        read_pairs(tmp_path / "other.csv", tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_pairs(tmp_path / "nothing", tmp_path)
    source = read_pairs(config, data)
    with pytest.raises(ConfigError, match="KAGL.json is data of the protocol 'marqo', not 'cirr'"):
        evaluate_retrieval(None, source, protocol="cirr")
    with pytest.raises(ConfigError, match="No retrieval protocol 'marko'; .* Did you mean 'marqo'"):
        evaluate_retrieval(None, source, protocol="marko")
    with pytest.raises(ConfigError, match="no loader option 'window'"):
        evaluate_retrieval(None, source, window=3)


def test_a_real_model_end_to_end(tmp_path, model_folder):
    import verticlip

    model = verticlip.from_pretrained(model_folder, device="cpu")
    config, data = make_sets.marqo(tmp_path)
    result = evaluate_retrieval(model, read_pairs(config, data), batch_size=5, show_paths=True)
    assert result.tasks[0].documents == 12
    path = write_result(result, tmp_path / "out")
    stored = json.loads(path.read_text())
    assert stored["protocol"] == "marqo"
    assert stored["tasks"][0]["metrics"]["AvgRecall"]["low"] is not None
    path, images = make_sets.esspr(tmp_path / "e")
    long = json.loads(path.read_text())
    long[0]["tirgger_title"] = "red square " * 30
    path.write_text(json.dumps(long))
    result = evaluate_retrieval(model, read_pairs(path, images))
    assert any(note.startswith("1 titles are longer than the model reads") for note in result.notes)
    again = evaluate_retrieval(model, read_pairs(path, images), batch_size=1)
    assert [task.to_dict() for task in result.tasks] == [task.to_dict() for task in again.tasks]


def test_published_numbers_are_those_of_the_tables():
    board = published_results.results("marqo", "average", "text-to-image")
    assert len(board) == 24
    best = {one.model: one.value for one in board if one.metric == "AvgRecall"}
    assert max(best, key=best.get) == "ecommerce/marqo-fashion-siglip"
    assert best["ecommerce/siglip-vit-b16-webli"] == 0.212
    # A published average of two columns is their mean.
    for task in ("text-to-image", "category-to-product", "sub-category-to-product"):
        rows = {
            (one.model, one.metric): one.value for one in published_results.results("marqo", "average", task)
        }
        names = ("AvgRecall", "Recall@1", "Recall@10") if task[0] == "t" else ("AvgP", "P@1", "P@10")
        for model in {model for model, _ in rows}:
            mean = (rows[model, names[1]] + rows[model, names[2]]) / 2
            assert rows[model, names[0]] == pytest.approx(mean, abs=1.1e-3), (task, model)
    assert len(published_results.results("esspr", task="m-m")) == 5
    assert published_results.accuracies("fashion-mnist")[-1].value == 0.83


def test_on_the_command_line(run, tmp_path, model_folder):
    root = make_sets.fashioniq(tmp_path / "data")
    status, out, err = run(
        "evaluate", "retrieval", "--pairs", root, "--images", root, "-m", "ecommerce/tiny", "--protocol",
        "fashioniq", "--out", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert status == 0, err
    assert out.splitlines()[0].split() == ["task", "metric", "value", "queries"]
    assert "dress    Recall@10" in out
    assert "reference_captions.json" in err
    assert "12 images, 8 texts; report in" in err
    status, _, err = run(
        "evaluate",
        "retrieval",
        "--pairs",
        root,
        "--images",
        root,
        "-m",
        "ecommerce/tiny",
        "--protocol",
        "cirr",
    )
    assert status == 1
    assert "is data of the protocol 'fashioniq', not 'cirr'" in err
