"""Class vectors, prompts and reports of public labelled sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import verticlip
from torch.nn import functional as F
from verticlip.core.answers import Failure
from verticlip.core.data.labelled import Folders
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.labelled_sets import LabelledSet, find_rows, missing_files
from verticlip.core.limits import DEFAULT
from verticlip.core.metrics.bootstrap import Estimate
from verticlip.core.prompts import PromptSet
from verticlip.core.set_results import (
    SetResult,
    SetTable,
    bank_prompts,
    class_vectors,
    prompts_in_order,
    set_metrics,
    set_notes,
)

ONE = LabelledSet(
    "shapes", "drawing", ("Disc", "box"), (Folders({"circles": "Disc", "boxes": "box"}, ("Data",)),),
    "A page.", images=3, group=r"(p\d)_", caution="Easy.",
)  # fmt: skip


def result(name: str, accuracy: float, **more: float) -> SetResult:
    metrics = {key: Estimate(value, 0, 1, 9) for key, value in {"accuracy": accuracy, **more}.items()}
    origin = {"model": "m"}
    return SetResult(name, "drawing", ("a", "b"), 9, metrics, ((5, 1), (0, 3)), "l", (), (), origin)


def test_raw_prompts_are_averaged_before_they_are_normalized(model_folder):
    model = verticlip.from_pretrained(model_folder, device="cpu")
    prompts = PromptSet(name="x", classes={"red": ("red square", "cat"), "dog": ("dog",)}, templates=("{}",))
    unit, raw = (class_vectors(model, prompts, way) for way in ("unit", "raw"))
    with torch.inference_mode():
        rows = model.network.encode("text", model.processor("text", ["red square", "cat"]), normalize=False)
    torch.testing.assert_close(raw[0], F.normalize(rows.mean(0), dim=0), atol=1e-5, rtol=1e-5)
    unit_rows = F.normalize(rows, dim=-1)
    torch.testing.assert_close(unit[0], F.normalize(unit_rows.mean(0), dim=0), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(raw[0], unit[0], atol=1e-4)
    with pytest.raises(ConfigError, match="ensemble is 'unit' or 'raw', got 'max'"):
        class_vectors(model, prompts, "max")  # pyright: ignore[reportArgumentType]


def test_prompts_follow_the_set():
    prompts = PromptSet(name="p", classes={"BOX": ("box",), "disc": ("disc",)}, templates=("{}", "a {}"))
    ordered = prompts_in_order(prompts, "shapes", ONE.classes)
    assert dict(ordered.prompts) == {"Disc": ("disc", "a disc"), "box": ("box", "a box")}
    words = PromptSet(name="p", classes={"round": ("round", "disc"), "angular": ("box",)}, templates=("{}",))
    assert prompts_in_order(words, "shapes", ONE.classes).texts("Disc") == ["round", "disc"]
    with pytest.raises(ConfigError, match="'p' has the classes BOX, disc; shapes has Disc. Name them alike"):
        prompts_in_order(prompts, "shapes", ["Disc"])
    weighed = prompts.model_copy(update={"weights": (1.0, 3.0)})
    with pytest.raises(ConfigError, match="weighs its templates; the protocol averages alike"):
        prompts_in_order(weighed, "shapes", ONE.classes)


def test_a_bank_of_sentences_is_data(tmp_path):
    path = tmp_path / "bank.json"
    path.write_text(json.dumps({"shapes": {"disc": ["d1", "d2"], "box": "b1"}}))
    found = bank_prompts(path, "shapes", ONE.classes, first=1)
    assert dict(found.prompts) == {"Disc": ("d1",), "box": ("b1",)}
    for content, said in (
        ("[1]", "bank.json: expected an object .* got list"),
        ("{}", "bank.json: no classes"),
        ('{"disc": 3, "box": "b"}', "bank.json: class 'disc' does not hold a list of sentences"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=said):
            bank_prompts(path, "shapes", ONE.classes)


def test_a_set_is_found_in_its_layout_or_in_folders_of_its_classes(tmp_path):
    with pytest.raises(DataError, match="no such folder. Pass the folder that holds shapes"):
        find_rows(ONE, tmp_path / "none", DEFAULT, shared=False)
    for name in ("disc/p1_a.png", "box/p2_b.png", "box/b_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_rows(ONE, tmp_path, DEFAULT, shared=True) is None, "folders may be another set's"
    rows, layout = find_rows(ONE, tmp_path, DEFAULT, shared=False, leave_out="_mask") or ([], "")
    assert [(row["label"], row["group"]) for row in rows] == [("box", "p2"), ("Disc", "p1")]
    assert layout == "the folders Disc, box"
    said = missing_files(ONE, tmp_path)
    assert "Expected the folders circles, boxes below Data; or one folder per class (Disc, box ...)" in said
    assert set_notes(ONE, rows, np.array([1, 1])) == (
        "Easy.",
        "2 images; the published set has 3.",
        "1 of 2 classes have no image: Disc.",
    )


def test_metrics_and_tables(tmp_path):
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    metrics = set_metrics(scores, np.array([0, 1, 1]), None, binary=True)
    assert {key: round(value.value, 3) for key, value in metrics.items()} == {
        "accuracy": 0.667, "auc": 1.0, "f1": 0.667, "precision": 1.0, "recall": 0.5,
    }  # fmt: skip
    table = SetTable({"a": result("a", 0.5, auc=0.9), "b": result("b", 0.7)}, {"c": "no files"})
    assert table.average() == pytest.approx(60)
    assert table.average("auc") == pytest.approx(80)
    assert table.by_modality() == {"drawing": pytest.approx(60)}
    assert table.to_dict()["missing"] == {"c": "no files"}
    assert SetTable({}, {}).average() is None
    one = result("a", 0.5)
    one.write(tmp_path)
    stored = json.loads((tmp_path / "report.json").read_text())
    assert (stored["percent"], stored["confusion"]) == ({"accuracy": 50.0}, [[5, 1], [0, 3]])
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    failed = SetResult(*list(vars(one).values())[:8], (Failure("x", "bad"),), one.origin)
    assert failed.to_dict()["failed"] == [Failure("x", "bad").to_dict()]
