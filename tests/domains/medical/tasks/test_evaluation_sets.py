"""The zero-shot protocol on fabricated copies of public sets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from sklearn import metrics
from torch.nn import functional as F
from verticlip.core.answer_each import answer_each
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.limits import DEFAULT
from verticlip.core.prompts import PromptSet, prompt_set
from verticlip.domains.medical.tasks.evaluation_catalogue import SETS, evaluation_set
from verticlip.domains.medical.tasks.evaluation_protocol import (
    class_vectors,
    in_set_order,
    part_accuracies,
    read_prompt_bank,
    set_metrics,
)
from verticlip.domains.medical.tasks.evaluation_sets import evaluate_all, evaluate_set


class Listed:
    """A model whose embeddings are written down: of a text by its words, of an image by the file's text."""

    id, revision, limits = "listed", "r1", DEFAULT
    config = SimpleNamespace(embed_dim=16)
    processor = SimpleNamespace(fingerprint="f00d")

    def embed(self, items, *, modality=None, batch_size=8, **options):
        texts = items if modality == "text" else [Path(item).read_text() for item in items]
        if any(text == "bad" for text in texts):
            raise InputError("image 0: cannot be read.")
        return SimpleNamespace(
            vectors=F.normalize(torch.stack([self.vector(text) for text in texts]), dim=-1)
        )

    def embed_each(self, items, *, modality=None, batch_size=8, workers=None, **options):
        def prepare(item, position):
            return self.embed([item], modality=modality, **options)

        pairs = answer_each(items, prepare, list, batch_size=batch_size, workers=1)
        return (answer for _, answer in pairs)

    @staticmethod
    def vector(text: str) -> torch.Tensor:
        seed = sum((position + 1) * ord(letter) for position, letter in enumerate(text)) % 10_007
        return torch.randn(16, generator=torch.Generator().manual_seed(seed))


def fill(root: Path, name: str, images: dict[str, list[str]]) -> None:
    """Write {class: contents} as class folders of a set."""
    for label, contents in images.items():
        folder = root / name / label
        folder.mkdir(parents=True)
        for number, content in enumerate(contents):
            (folder / f"{number}.png").write_text(content)


def expected(
    model: Listed, prompts: PromptSet, images: dict[str, list[str]]
) -> tuple[np.ndarray, np.ndarray]:
    classes = torch.stack(
        [F.normalize(F.normalize(torch.stack([model.vector(t) for t in prompts.texts(name)]), dim=-1).mean(0), dim=0)
         for name in prompts.class_names]
    )  # fmt: skip
    names = sorted(images)
    contents = [content for name in names for content in images[name]]
    targets = [prompts.class_names.index(name) for name in names for _ in images[name]]
    pictures = F.normalize(torch.stack([model.vector(content) for content in contents]), dim=-1)
    return (pictures @ classes.T).numpy(), np.array(targets)


def test_binary_metrics_are_those_of_the_protocol(tmp_path: Path) -> None:
    images = {"benign": [f"b{n}" for n in range(9)], "malignant": [f"m{n}" for n in range(7)]}
    fill(tmp_path, "thyroid_us", images)
    result = evaluate_set(Listed(), "thyroid_us", tmp_path, out=tmp_path / "out", batch_size=3)
    cosines, targets = expected(Listed(), prompt_set("thyroid_us"), images)
    predicted = cosines.argmax(axis=1)
    assert result.images == 16
    for name, value in {
        "accuracy": metrics.accuracy_score(targets, predicted),
        "auc": metrics.roc_auc_score(targets, cosines[:, 1] - cosines[:, 0]),
        "f1": metrics.f1_score(targets, predicted),
        "precision": metrics.precision_score(targets, predicted),
        "recall": metrics.recall_score(targets, predicted),
    }.items():
        assert result.metrics[name].value == pytest.approx(value, abs=1e-6), name
        assert result.metrics[name].low <= value + 1e-9 <= result.metrics[name].high + 2e-9
        assert result.percent()[name] == pytest.approx(100 * value, abs=1e-4)
    assert (np.array(result.confusion) == metrics.confusion_matrix(targets, predicted)).all()
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored == json.loads(json.dumps(result.to_dict()))
    assert stored["prompt_set"] == "thyroid_us 1"
    assert Image.open(tmp_path / "out" / "confusion.png").format == "PNG"


def test_nothing_called_positive_counts_as_zero() -> None:
    cosines = np.array([[0.9, 0.1], [0.8, 0.2]])
    found = set_metrics(cosines, np.array([0, 1]), None, binary=True)
    assert (found["precision"].value, found["recall"].value, found["f1"].value) == (0, 0, 0)
    assert "auc" not in set_metrics(cosines, np.array([0, 0]), None, binary=True)
    assert list(set_metrics(cosines, np.array([0, 1]), None, binary=False)) == ["accuracy"]


def test_a_set_of_many_classes_reports_accuracy_only(tmp_path: Path) -> None:
    images = {name: [f"{name}{n}" for n in range(3)] for name in ("heart", "liver", "spleen")}
    fill(tmp_path, "CT_axial", images)
    result = evaluate_set(Listed(), "CT_axial", tmp_path)
    cosines, targets = expected(Listed(), prompt_set("CT_axial"), images)
    assert list(result.metrics) == ["accuracy"]
    assert result.metrics["accuracy"].value == pytest.approx((cosines.argmax(1) == targets).mean())
    assert result.notes == (
        "8 of 11 classes have no image: left lung, right lung, pancreas, left kidney, right kidney, bladder, "
        "left femoral head, right femoral head.",
    )


def test_failures_size_and_contamination_are_said(tmp_path: Path) -> None:
    fill(tmp_path, "odir_retina", {"normal": ["a", "bad"], "cataract": ["c"], "pathologic myopia": ["d"]})
    result = evaluate_set(Listed(), "odir_retina", tmp_path)
    assert result.images == 3
    assert result.failures[0].id == "normal/1.png"
    assert result.failures[0].error == "image 0: cannot be read."
    assert "ODIR-5K" in result.notes[0]
    assert result.notes[1] == "3 images; the published set has 600."


def test_patients_are_resampled_whole(tmp_path: Path) -> None:
    lines = ["imgpath," + ",".join(SETS["chexpert-5x200"].classes)]
    for number in range(6):
        path = tmp_path / f"train/patient0000{number % 2}/study{number}/view1_frontal.jpg"
        path.parent.mkdir(parents=True)
        path.write_text(str(number))
        lines.append(
            f"{path.relative_to(tmp_path)}," + ",".join("1" if n == number % 5 else "0" for n in range(5))
        )
    (tmp_path / "chexpert-5x200.csv").write_text("\n".join(lines))
    assert evaluate_set(Listed(), "chexpert-5x200", tmp_path).metrics["accuracy"].n == 2


def test_all_sets_give_a_table_and_say_what_is_missing(tmp_path: Path) -> None:
    fill(tmp_path, "breast_us", {"benign": ["b", "c", "d"], "malignant": ["m", "n"]})
    fill(tmp_path, "LC25000_colon", {"colon_aca": ["x", "y"], "colon_n": ["z"]})
    table = evaluate_all(Listed(), tmp_path, out=tmp_path / "out")
    assert list(table.results) == ["breast_us", "LC25000_colon"]
    assert len(table.missing) == 19
    assert "no files of PCAM. Expected images named like 123_0.png" in table.missing["PCAM"]
    first, second = (one.percent() for one in table.results.values())
    assert table.average() == pytest.approx((first["accuracy"] + second["accuracy"]) / 2)
    assert table.average("auc") == pytest.approx((first["auc"] + second["accuracy"]) / 2)
    assert table.by_modality() == {"ultrasound": first["accuracy"], "pathology": second["accuracy"]}
    assert json.loads((tmp_path / "out" / "table.json").read_text())["missing"] == dict(table.missing)
    assert (tmp_path / "out" / "breast_us" / "report.json").is_file()


def test_folders_of_common_names_in_a_shared_root_belong_to_no_set(tmp_path: Path) -> None:
    fill(tmp_path, "", {"benign": ["a"], "malignant": ["b"], "normal": ["c"], "glaucoma": ["d"]})
    with pytest.raises(DataError, match=r"no set could be measured\. .*no files of thyroid_us"):
        evaluate_all(Listed(), tmp_path, sets=["thyroid_us", "five_retina"])


def test_raw_prompts_are_averaged_before_normalizing(model_folder: Path) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    prompts = PromptSet(
        name="x", classes={"a": ("a",), "b": ("b",)}, prompts={"a": ("red square", "cat"), "b": ("blue",)}
    )
    unit, raw = (class_vectors(model, prompts, ensemble) for ensemble in ("unit", "raw"))
    inputs = model.processor("text", ["red square", "cat"])
    with torch.inference_mode():
        rows = model.network.encode("text", inputs, normalize=False)
    assert torch.allclose(raw[0], F.normalize(rows.mean(0), dim=0), atol=1e-5)
    assert torch.allclose(unit[0], F.normalize(F.normalize(rows, dim=-1).mean(0), dim=0), atol=1e-5)
    assert not torch.allclose(raw[0], unit[0], atol=1e-4)
    assert torch.allclose(raw[1], unit[1], atol=1e-5)
    with pytest.raises(ConfigError, match="ensemble is 'unit' or 'raw', got 'max'"):
        class_vectors(model, prompts, "max")


def test_a_prompt_bank_is_data_with_the_cuts_of_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    bank = {
        "rsna_pneumonia": {"Pneumonia": ["p1", "p2"], "normal": ["n1", "n2"]},
        "chexpert-5x200": {
            name: [f"{name} {n}" for n in range(14)] for name in SETS["chexpert-5x200"].classes
        },
    }
    path.write_text(json.dumps(bank))
    rsna = read_prompt_bank(path, "rsna_pneumonia")
    assert rsna.class_names == ("Normal", "Pneumonia")
    assert rsna.prompts == {"Normal": ("n1",), "Pneumonia": ("p1",)}
    assert read_prompt_bank(path, "rsna_pneumonia", cut=False).prompts["Normal"] == ("n1", "n2")
    assert len(read_prompt_bank(path, "chexpert-5x200").prompts["Edema"]) == 11
    path.write_text(json.dumps({"no": "one sentence", "yes": ["another"]}))
    assert read_prompt_bank(path, "acl_mri").prompts["no"] == ("one sentence",)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[1]", r"bank.json: expected an object \{class: \[prompts\]\}, got list"),
        ('{"no": 3, "yes": ["a"]}', "bank.json: class 'no' does not hold a list of sentences"),
        ('{"no": ["a"], "maybe": ["b"]}', "has the classes no, maybe; acl_mri has no, yes. Name them alike"),
        ("{}", "bank.json: no classes"),
    ],
)
def test_banks_that_cannot_be_used(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "bank.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=match):
        read_prompt_bank(path, "acl_mri")


def test_prompts_of_the_user_may_stand_in_any_order() -> None:
    own = PromptSet(
        name="own", classes={"Malignant": ("cancer",), "BENIGN": ("harmless",)}, templates=("{}", "a {}")
    )
    ordered = in_set_order(own, evaluation_set("breast_us"))
    assert ordered.class_names == ("benign", "malignant")
    assert ordered.texts("malignant") == ["cancer", "a cancer"]
    weighted = own.model_copy(update={"weights": (1.0, 2.0)})
    with pytest.raises(ConfigError, match="weighs its templates"):
        in_set_order(weighted, evaluation_set("breast_us"))


def test_a_real_model_with_statements_as_biovil_uses_them(tmp_path: Path) -> None:
    for number, label in enumerate(("Normal", "Pneumonia")):
        folder = tmp_path / "rsna_pneumonia" / label
        folder.mkdir(parents=True)
        for index in range(3):
            pixels = np.random.default_rng(10 * number + index).integers(0, 255, (64, 64), np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    model = verticlip.from_pretrained("medical/tiny", device="cpu")
    statements = prompt_set("rsna_pneumonia-statements")
    result = evaluate_set(model, "rsna_pneumonia", tmp_path, prompts=statements, scoring="raw")
    assert set(result.metrics) == {"accuracy", "auc", "f1", "precision", "recall"}
    assert result.origin["ensemble"] == "raw"
    assert result.origin["prompt_set"] == "rsna_pneumonia-statements 1"


def test_radimagenet_tells_its_kinds_of_image_apart(tmp_path: Path) -> None:
    one = evaluation_set("radimagenet")
    assert {kind: len(indices) for kind, indices in one.parts.items()} == {
        "MRI": 116,
        "CT": 34,
        "ultrasound": 15,
    }
    for place in ("MR/knee/fracture", "MR/hip/hematoma", "US/liver"):
        folder = tmp_path / "radimagenet" / place
        folder.mkdir(parents=True)
        (folder / "1.png").write_text(place)
    found = evaluate_set(Listed(), "radimagenet", tmp_path)
    assert list(found.metrics) == ["accuracy", "accuracy of MRI", "accuracy of ultrasound"]
    assert found.metrics["accuracy of MRI"].n == 2
    assert found.notes[1].startswith("162 of 165 classes have no image: knee MRI: meniscal abnormality, ")


def test_parts_are_resampled_by_patient_too() -> None:
    one = evaluation_set("radimagenet")
    name, classes = next(iter(one.parts.items()))
    targets = np.array([classes[row % 2] for row in range(12)])
    scores = np.zeros((12, len(one.classes)))
    scores[:, classes[0]] = 1.0
    groups = [f"patient {row // 4}" for row in range(12)]
    by_image = part_accuracies(scores, targets, one, None)[f"accuracy of {name}"]
    by_patient = part_accuracies(scores, targets, one, groups)[f"accuracy of {name}"]
    assert by_image.value == by_patient.value
    assert (by_image.n, by_patient.n) == (12, 3)


def test_what_was_found_is_not_read_again(tmp_path: Path, monkeypatch) -> None:
    from verticlip.domains.medical.tasks import evaluation_sets

    fill(tmp_path, "thyroid_us", {"benign": ["b0", "b1"], "malignant": ["m0"]})
    found = evaluation_sets.read_set("thyroid_us", tmp_path)
    monkeypatch.setattr(evaluation_sets, "_find", pytest.fail)
    assert evaluate_set(Listed(), "thyroid_us", found).images == 3
