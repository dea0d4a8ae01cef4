"""Retrieval in both directions, with duplicates, long reports and searches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from torch.nn import functional as F
from verticlip.core import text_gallery
from verticlip.core.answer_each import answer_each
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.limits import DEFAULT
from verticlip.core.metrics.retrieval import image_text_report
from verticlip.core.sentences import sentences
from verticlip.domains.medical.tasks.retrieval import (
    Pair,
    evaluate_retrieval,
    read_pairs,
    search_reports,
    write_result,
)


class Listed:
    """A model that embeds images by the text in the file and texts by their words, at most eight."""

    id, revision, limits = "listed", "r1", DEFAULT
    config = SimpleNamespace(embed_dim=24)
    processor = SimpleNamespace(fingerprint="f00d")

    def embed(self, items, *, modality=None, batch_size=8, **options):
        texts = items if modality == "text" else [Path(item).read_text() for item in items]
        if modality != "text" and "bad" in texts:
            raise InputError("cannot be read.")
        for text in texts:
            if len(text.split()) > 8:
                raise InputError(f"The text {text[:20]!r}... has too many tokens.")
        return SimpleNamespace(vectors=torch.stack([self.vector(text) for text in texts]))

    def embed_each(self, items, *, modality=None, batch_size=8, workers=None, **options):
        def prepare(item, position):
            return self.embed([item], modality=modality, **options)

        pairs = answer_each(items, prepare, list, batch_size=batch_size, workers=1)
        return (answer for _, answer in pairs)

    @staticmethod
    def vector(text: str) -> torch.Tensor:
        seed = (
            sum((position + 1) * ord(letter) for position, letter in enumerate(" ".join(text.split())))
            % 10_007
        )
        return F.normalize(torch.randn(24, generator=torch.Generator().manual_seed(seed)), dim=0)


def pairs_of(folder: Path, rows: list[tuple[str, str]]) -> list[Pair]:
    """Return pairs; an image is named by its content."""
    for content, _ in rows:
        (folder / f"{content}.png").write_text(content)
    return [Pair(folder / f"{content}.png", text) for content, text in rows]


def test_one_text_each_is_the_report_of_the_core(tmp_path: Path) -> None:
    rows = [(f"image{n}", f"finding {n} of the chest") for n in range(40)]
    result = evaluate_retrieval(Listed(), pairs_of(tmp_path, rows), batch_size=7)
    images = torch.stack([Listed.vector(content) for content, _ in rows])
    texts = torch.stack([Listed.vector(text) for _, text in rows])
    core = image_text_report(images, texts, torch.arange(40), ks=(1, 5, 10))
    assert (result.images, result.texts) == (40, 40)
    assert list(result.image_to_text.recall) == [1, 5, 10]
    for ours, theirs in (
        (result.image_to_text, core.image_to_text),
        (result.text_to_image, core.text_to_image),
    ):
        assert ours.to_dict() == theirs.to_dict()


def brute_force(images: torch.Tensor, texts: torch.Tensor, matches: set[tuple[int, int]]):
    """Return the best 1-based rank of each image's and each text's matches."""
    scores = (images.double() @ texts.double().T).float().numpy()
    by_image = [
        min(1 + list(np.argsort(-row, kind="stable")).index(t) for i, t in matches if i == index)
        for index, row in enumerate(scores)
    ]
    by_text = [
        min(1 + list(np.argsort(-column, kind="stable")).index(i) for i, t in matches if t == index)
        for index, column in enumerate(scores.T)
    ]
    return by_image, by_text


def test_duplicates_are_several_matches_or_rows_of_their_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(text_gallery, "_TILE", 10)
    rows = [
        ("a", "no pneumonia"),
        ("b", " no  pneumonia"),
        ("a", "old rib fracture"),
        ("c", "effusion"),
        ("d", "edema"),
    ]
    pairs = pairs_of(tmp_path, rows)
    images = torch.stack([Listed.vector(name) for name in "abcd"])
    names = ["no pneumonia", "old rib fracture", "effusion", "edema"]
    texts = torch.stack([Listed.vector(text) for text in names])
    matches = {("abcd".index(image), names.index(" ".join(text.split()))) for image, text in rows}
    by_image, by_text = brute_force(images, texts, matches)
    merged = evaluate_retrieval(Listed(), pairs)
    assert (merged.images, merged.texts) == (4, 4)
    assert merged.image_to_text.mean_rank.value == pytest.approx(np.mean(by_image))
    assert merged.text_to_image.median_rank.value == pytest.approx(np.median(by_text))
    assert merged.image_to_text.recall[1].value == pytest.approx(np.mean(np.array(by_image) <= 1))
    separate = evaluate_retrieval(Listed(), pairs, duplicates="separate")
    row_images = torch.stack([Listed.vector(image) for image, _ in rows])
    row_texts = torch.stack([Listed.vector(text) for _, text in rows])
    by_image, by_text = brute_force(row_images, row_texts, {(n, n) for n in range(5)})
    assert (separate.images, separate.texts) == (5, 5)
    assert separate.image_to_text.mean_rank.value == pytest.approx(np.mean(by_image))
    assert separate.text_to_image.mean_rank.value == pytest.approx(np.mean(by_text))


def test_the_result_does_not_depend_on_the_tile(tmp_path: Path, monkeypatch) -> None:
    pairs = pairs_of(tmp_path, [(f"i{n}", f"text {n % 9}") for n in range(30)])
    whole = evaluate_retrieval(Listed(), pairs, long_text="max")
    monkeypatch.setattr(text_gallery, "_TILE", 17)
    assert evaluate_retrieval(Listed(), pairs, long_text="max").to_dict() == whole.to_dict()


def test_long_reports_are_refused_or_scored_by_sentences(tmp_path: Path) -> None:
    report = "The heart is of normal size. There is no effusion. Old fracture of a rib."
    rows = [("a", report), ("b", "Clear lungs. No pneumothorax."), ("c", "Edema.")]
    pairs = pairs_of(tmp_path, rows)
    with pytest.raises(
        InputError, match=r"too many tokens. Or score reports by their sentences: .*--long-text"
    ):
        evaluate_retrieval(Listed(), pairs)
    images = torch.stack([Listed.vector(name) for name in "abc"])
    parts = [sentences(text) for _, text in rows]
    assert [len(part) for part in parts] == [3, 2, 1]
    best = torch.stack(
        [torch.stack([images @ Listed.vector(s) for s in part]).amax(0) for part in parts], dim=1
    )
    result = evaluate_retrieval(Listed(), pairs, long_text="max")
    ranks = [1 + int((best[n] > best[n, n]).sum()) for n in range(3)]
    assert result.image_to_text.mean_rank.value == pytest.approx(np.mean(ranks))
    ranks = [1 + int((best[:, n] > best[n, n]).sum()) for n in range(3)]
    assert result.text_to_image.mean_rank.value == pytest.approx(np.mean(ranks))
    means = torch.stack(
        [F.normalize(torch.stack([Listed.vector(s) for s in part]).mean(0), dim=0) for part in parts]
    )
    scores = images @ means.T
    result = evaluate_retrieval(Listed(), pairs, long_text="mean")
    ranks = [1 + int((scores[n] > scores[n, n]).sum()) for n in range(3)]
    assert result.image_to_text.mean_rank.value == pytest.approx(np.mean(ranks))
    with pytest.raises(InputError, match=r"Even a single sentence is too long: .* Break it with a line end"):
        evaluate_retrieval(Listed(), pairs_of(tmp_path, [("a", "one " * 20)]), long_text="max")


def test_a_text_that_is_too_long_shows_before_any_image_is_read(tmp_path: Path) -> None:
    missing = [Pair(tmp_path / "none.png", "one " * 20)]
    with pytest.raises(InputError, match="too many tokens"):
        evaluate_retrieval(Listed(), missing)
    with pytest.raises(InputError, match="too many tokens"):
        search_reports(Listed(), [missing[0].path], [missing[0].text])


def test_reports_of_several_images_are_scored_by_sentences_too(tmp_path: Path) -> None:
    rows = [
        ("a", "No edema. Old fracture."),
        ("bad", "Gone with its image."),
        ("c", "No  edema. Old fracture."),
        ("d", "Nodule."),
    ]
    result = evaluate_retrieval(Listed(), pairs_of(tmp_path, rows), long_text="max")
    assert (result.images, result.texts) == (3, 2)
    images = torch.stack([Listed.vector(name) for name in "acd"])
    best = torch.stack(
        [(images @ Listed.vector(s)) for s in ("No edema.", "Old fracture.", "Nodule.")], dim=1
    )
    scores = torch.stack([best[:, :2].amax(1), best[:, 2]], dim=1)
    own = [0, 0, 1]
    ranks = [1 + int((scores[n] > scores[n, own[n]]).sum()) for n in range(3)]
    assert result.image_to_text.mean_rank.value == pytest.approx(np.mean(ranks))
    top = max(scores[0, 0], scores[1, 0])
    ranks = [1 + int((scores[:, 0] > top).sum()), 1 + int((scores[:, 1] > scores[2, 1]).sum())]
    assert result.text_to_image.mean_rank.value == pytest.approx(np.mean(ranks))


def test_a_list_of_findings_is_cut_into_its_items(tmp_path: Path) -> None:
    seen: list[str] = []

    class Noted(Listed):
        def embed(self, items, **options):
            seen.extend(map(str, items))
            return super().embed(items, **options)

    rows = [("a", "1. Clear lungs. 2. No effusion; Normal heart\nNo change")]
    evaluate_retrieval(Noted(), pairs_of(tmp_path, rows), long_text="max")
    assert seen[:4] == ["1. Clear lungs.", "2. No effusion;", "Normal heart", "No change"]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_something(tmp_path: Path, batch_size: int) -> None:
    pairs = pairs_of(tmp_path, [("a", "one"), ("b", "two")])
    with pytest.raises(ConfigError, match=f"batch_size is at least 1, got {batch_size}"):
        evaluate_retrieval(Listed(), pairs, batch_size=batch_size)
    with pytest.raises(ConfigError, match=f"batch_size is at least 1, got {batch_size}"):
        search_reports(Listed(), [pair.path for pair in pairs], ["one"], batch_size=batch_size)


def test_progress_is_no_loader_option(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pairs = pairs_of(tmp_path, [(f"image{n}", f"text {n}") for n in range(5)])
    evaluate_retrieval(Listed(), pairs, batch_size=2, progress=lambda *at: told.append(at))
    assert told == [(2, 5), (4, 5), (5, 5)]
    search_reports(Listed(), [p.path for p in pairs], ["x"], progress=lambda *at: told.append(at))
    assert told[3:] == [(5, 5)]


def test_bad_images_take_their_texts_with_them(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, [("a", "first"), ("bad", "second"), ("c", "third")])
    result = evaluate_retrieval(Listed(), pairs)
    assert (result.images, result.texts) == (2, 2)
    assert result.failures[0].error == "cannot be read."
    stored = json.loads(write_result(result, tmp_path / "out").read_text())
    assert stored["failed"][0]["id"].endswith("bad.png")
    assert [row[0] for row in result.rows()] == ["recall@1", "mrr", "median_rank", "mean_rank"]
    with pytest.raises(DataError, match="None of 1 images could be used. First: cannot be read"):
        evaluate_retrieval(Listed(), pairs[1:2])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"duplicates": "drop"}, "duplicates is 'merge' or 'separate', got 'drop'"),
        ({"long_text": "first"}, "long_text is 'error', 'max' or 'mean', got 'first'"),
        ({"depths": (0, 5)}, r"depths must be 1 or more, got \[0, 5\]"),
    ],
)
def test_conventions_that_do_not_exist(tmp_path: Path, options, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        evaluate_retrieval(Listed(), pairs_of(tmp_path, [("a", "x")]), **options)


def test_pairs_are_read_from_csv_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text('path,report\na.png,"Clear, no effusion."\nsub/b.png,Edema\n')
    (tmp_path / "pairs.jsonl").write_text(
        '{"image": "a.png", "caption": "Clear, no effusion."}\n{"image": "sub/b.png", "caption": "Edema"}\n'
    )
    read = read_pairs(tmp_path / "pairs.csv", tmp_path / "images")
    assert read == read_pairs(tmp_path / "pairs.jsonl", tmp_path / "images")
    assert read[1] == Pair(tmp_path / "images" / "sub" / "b.png", "Edema")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            "path,words\na.png,b\n",
            r"pairs.csv: none of the columns text, caption, report, sentence; it has path, words",
        ),
        ("path,text\na.png, \n", r"pairs.csv row 2: path and text must be words, and not empty"),
        ("path,text\n../a.png,b\n", r"pairs.csv row 2: '../a.png' leaves the data folder"),
        ("path,text\nhttp://x/a.png,b\n", r"is a URL"),
        ("path,text\n", "no rows"),
    ],
)
def test_pairs_that_cannot_be_read(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(DataError, match=match):
        read_pairs(tmp_path / "pairs.csv", tmp_path)


def test_searching_ranks_both_ways(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(text_gallery, "_TILE", 5)
    names = ["a", "bad", "c", "d"]
    for name in names:
        (tmp_path / f"{name}.png").write_text(name)
    images = [tmp_path / f"{name}.png" for name in names]
    reports = ["clear lungs", "edema", "nodule", "fracture", "effusion"]
    found = search_reports(Listed(), images, reports, k=2)
    usable = [0, 2, 3]
    scores = (
        torch.stack([Listed.vector(names[n]) for n in usable])
        @ torch.stack([Listed.vector(r) for r in reports]).T
    )
    for row, position in enumerate(usable):
        order = scores[row].argsort(descending=True)[:2].tolist()
        assert [match.position for match in found.reports_of_image[position]] == order
        assert [match.value for match in found.reports_of_image[position]] == [reports[n] for n in order]
        assert found.reports_of_image[position][0].score == pytest.approx(scores[row].max().item(), abs=1e-6)
    assert found.reports_of_image[1] == ()
    assert len(found.failures) == 1
    for column in range(5):
        order = [usable[n] for n in scores[:, column].argsort(descending=True)[:2].tolist()]
        assert [match.position for match in found.images_of_report[column]] == order
        assert found.images_of_report[column][0].value == str(images[order[0]])
    assert json.loads(json.dumps(found.to_dict()))["failed"]


def test_searches_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images and reports are lists"):
        search_reports(Listed(), tmp_path / "a.png", ["x"])
    with pytest.raises(InputError, match=r"A search needs images, reports and k >= 1; got 1, 0, 5"):
        search_reports(Listed(), [tmp_path / "a.png"], [])
    with pytest.raises(DataError, match="None of 1 images could be used"):
        search_reports(Listed(), [tmp_path / "none.png"], ["x"])


def test_a_real_model(tmp_path: Path, model_folder: Path) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    for index in range(3):
        Image.fromarray(np.full((20, 20, 3), 80 * index, np.uint8)).save(tmp_path / f"{index}.png")
    pairs = [
        Pair(tmp_path / f"{n}.png", text) for n, text in enumerate(("red cat", "blue dog", "green square"))
    ]
    result = evaluate_retrieval(model, pairs)
    assert result.image_to_text.mean_rank.value >= 1
    with pytest.raises(InputError, match=r"has 42 tokens; this model takes 16. Shorten it. Or score"):
        search_reports(model, [tmp_path / "0.png"], ["red " * 40])
