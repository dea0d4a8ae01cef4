"""Measuring and fitting a catalogue of one's own, with products whose answers are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.index.base import Rows
from verticlip.domains.ecommerce.composed.query import ComposeSettings
from verticlip.domains.ecommerce.composed.stored import load_settings, save_settings
from verticlip.domains.ecommerce.encoders.fusing import Fusion
from verticlip.domains.ecommerce.evaluation.choosing import choose
from verticlip.domains.ecommerce.evaluation.own import evaluate_queries, evaluate_same, index_recall
from verticlip.domains.ecommerce.evaluation.own_fitting import fit_composition, fit_share, read_gallery
from verticlip.domains.ecommerce.evaluation.queries import LabelledQuery, read_queries

sys.path.insert(0, str(Path(__file__).parent))

import make_sets


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return make_sets.catalog(tmp_path_factory.mktemp("own"))


def of_color(number):
    return {f"p{place:02d}": 1.0 for place in range(24) if place % 6 == number % 6}


def likes(numbers):
    # A product that stands among its own right answers is no answer.
    return [LabelledQuery(f"q{number}", of_color(number), like=f"p{number:02d}") for number in numbers]


def values(task):
    return {name: round(value.value, 4) for name, value in task.metrics.items()}


def test_products_of_the_same_color_are_near(catalog):
    task = evaluate_same(catalog, "color", ks=(3,))
    assert task.queries == 23, "a product without a picture does not ask by picture"
    # Five colors have three others with a picture; pink has two.
    assert values(task)["hit_recall@3"] == 1.0
    assert values(task)["P@3"] == pytest.approx((20 * 1 + 3 * 2 / 3) / 23, abs=1e-4)
    assert values(task)["mAP@3"] == 1.0
    kind = evaluate_same(catalog, "category", ks=(5,), sample=10)
    assert kind.queries == 10
    assert values(kind)["P@5"] < 0.8, "pictures say nothing of the kind"
    again = evaluate_same(catalog, "category", ks=(5,), sample=10)
    assert values(kind) == values(again)


def test_labelled_queries_as_they_are_asked(catalog):
    queries = [
        *likes([0, 1, 5]),
        LabelledQuery("words", {"p02": 1.0, "p08": 2.0}, text="blue thing"),
        LabelledQuery("lost", {"nothing": 1.0}, text="red"),
        LabelledQuery("gone", of_color(0), like="nobody"),
    ]
    found = evaluate_queries(catalog, queries, ks=(1, 4))
    (task,) = found.tasks
    assert task.queries == 4
    assert values(task)["hit_recall@1"] == 1.0
    assert values(task)["MRR@100"] == 1.0
    assert found.notes == (
        "1 queries are like a product that is not in the catalogue; left out.",
        "1 queries have no right answer in the catalogue; left out.",
    )


def test_every_direction_has_its_row(catalog):
    picture = catalog.folder.parent / "img" / "3.png"
    queries = [
        *likes([0, 23]),
        LabelledQuery("words", of_color(2), text="blue"),
        LabelledQuery("both", of_color(3), text="white shirt", image=picture),
        LabelledQuery("change", of_color(1), text="green", like="p00"),
    ]
    found = evaluate_queries(catalog, queries, ks=(1,), directions=["i-i", "t-m", "m-m"])
    assert {task.name: task.queries for task in found.tasks} == {"i-i": 2, "t-m": 4, "m-m": 3}
    assert all(values(task)["hit_recall@1"] == 1.0 for task in found.tasks)
    assert "1 queries change a product by words; no direction asks them." in found.notes
    assert "i-i: 2 queries lack that side; left out." in found.notes
    with pytest.raises(ConfigError, match="No direction 'x-i'"):
        evaluate_queries(catalog, queries, directions=["x-i"])


def test_composed_queries_take_the_settings_of_the_catalogue(catalog, tmp_path):
    queries = [LabelledQuery("q", of_color(1), text="green", like="p00")]
    looks = ComposeSettings(beta=0.0, alpha_image=0.0)
    assert values(evaluate_queries(catalog, queries, ks=(1,), compose=looks).tasks[0])["hit_recall@1"] == 0.0
    assert values(evaluate_queries(catalog, queries, ks=(1,)).tasks[0])["hit_recall@1"] == 1.0
    path = save_settings(catalog.folder, looks)
    try:
        assert load_settings(catalog.folder) == looks
        assert values(evaluate_queries(catalog, queries, ks=(1,)).tasks[0])["hit_recall@1"] == 0.0
        assert catalog.search(like="p00", text="green", k=1)[0].payload["color"] == "red"
        path.write_text('{"beta": 7}')
        with pytest.raises(ConfigError, match="compose.json: beta"):
            load_settings(catalog.folder)
    finally:
        path.unlink()
    assert load_settings(tmp_path) == ComposeSettings()
    assert catalog.search(like="p00", text="green", k=1)[0].payload["color"] == "green"


def test_the_index_is_measured_against_the_exact_search(catalog):
    measured = {one.view: one for one in index_recall(catalog, k=3, sample=10)}
    assert set(measured) == {"image", "text", "product"}
    assert all(one.recall == 1.0 and one.queries == 10 for one in measured.values())
    assert measured["image"].kind
    assert measured["image"].exact_ms > 0
    with pytest.raises(InputError, match="k is at least 1"):
        index_recall(catalog, k=0)


def test_quality_is_measured_by_the_exact_search(catalog, monkeypatch):
    asked = []
    search = type(catalog.index).search

    def watched(index, *args, **how):
        asked.append(how.get("ef"))
        return search(index, *args, **how)

    monkeypatch.setattr(type(catalog.index), "search", watched)
    evaluate_queries(catalog, likes([0, 1]), ks=(1,))
    evaluate_queries(catalog, likes([0, 1]), ks=(1,), directions=["i-i"])
    evaluate_same(catalog, "color", ks=(3,))
    assert set(asked) == {0}


def test_composition_is_fitted_to_queries_of_the_catalogue(catalog):
    queries = [
        LabelledQuery(
            f"q{number}", of_color(number + 1), text=make_sets.NAMES[(number + 1) % 6], like=f"p{number:02d}"
        )
        for number in range(12)
    ]
    bad = ComposeSettings(beta=0.1, alpha_image=0.0, alpha_text=0.0)
    found = fit_composition(catalog, queries, current=bad)
    assert found.choice.before.value < 0.5
    assert found.choice.after.value == 1.0
    assert found.choice.worthwhile
    assert fit_composition(catalog, likes([0, 1]), current=bad) is None
    expected = evaluate_queries(catalog, queries, ks=(1,), compose=bad).tasks[0]
    assert found.choice.before.value == pytest.approx(expected.metrics["MRR@100"].value, abs=1e-6)


def test_the_share_of_the_picture_is_fitted(catalog):
    # Products are right where the kind agrees, which only the titles say.
    kinds = [
        LabelledQuery(f"q{n}", {f"p{m:02d}": 1.0 for m in range(24) if m // 6 % 2 == n // 6 % 2 and m != n}, like=f"p{n:02d}")
        for n in range(12)
    ]  # fmt: skip
    found = fit_share(catalog, kinds, current=Fusion())
    assert found.before == Fusion()
    assert found.choice.after.value >= found.choice.before.value
    same = fit_share(catalog, likes(range(12)), current=Fusion())
    assert same.fusion == Fusion(), "what is best is kept"
    assert not same.worthwhile
    # At the share in use the scores are those of the catalogue's own search.
    measured = evaluate_queries(catalog, kinds, ks=(1,)).tasks[0].metrics["MRR@100"].value
    assert found.choice.before.value == pytest.approx(measured, abs=1e-6)
    composed = [LabelledQuery("q", of_color(1), text="x", like="p00")]
    assert fit_share(catalog, composed, current=Fusion()) is None


class _TwoKinds:
    """A catalogue of pairs: machines are told apart by their text, dresses by their picture."""

    def __init__(self):
        noise = np.random.default_rng(0)
        base = noise.normal(size=(60, 1, 16)).repeat(2, axis=1)
        loud, quiet = (base + level * noise.normal(size=base.shape) for level in (3.0, 0.2))
        machine = np.arange(60)[:, None, None] < 30
        self.ids = [f"p{pair:02d}{side}" for pair in range(60) for side in "ab"]
        vectors = {"image": np.where(machine, loud, quiet), "text": np.where(machine, quiet, loud)}
        self.vectors = {
            view: F.normalize(torch.from_numpy(one.reshape(120, 16)).float(), dim=1).numpy()
            for view, one in vectors.items()
        }
        self.vectors["product"] = self.vectors["image"]
        self.categories = [
            "Machinery > Pumps" if pair < 30 else "Dresses" for pair in range(60) for _ in "ab"
        ]
        self.index = self

    def scan(self, *, columns, views):
        yield Rows(tuple(self.ids), pyarrow.table({"category": self.categories}), {})

    def get(self, ids, *, columns, views):
        assert list(ids) == self.ids
        return Rows(tuple(self.ids), pyarrow.table({"category": self.categories}), self.vectors)


def test_categories_get_shares_of_their_own():
    catalog = _TwoKinds()
    queries = [LabelledQuery(f"q{pair}", {f"p{pair:02d}b": 1.0}, like=f"p{pair:02d}a") for pair in range(60)]
    found = fit_share(catalog, queries, current=Fusion(image=0.5, text=0.5))
    assert found.worthwhile
    assert found.fusion.of("Machinery > Pumps").text > 0.5
    assert found.fusion.of("Dresses").image > 0.5
    assert set(found.categories) == {"Machinery > Pumps", "Dresses"} - {
        name for name in ("Machinery > Pumps", "Dresses") if name not in found.fusion.by_category
    }
    assert found.to_dict()["worthwhile"]
    # A category of fewer queries than say something has no share of its own.
    few = fit_share(catalog, queries[:25] + queries[30:], current=Fusion(image=0.5, text=0.5))
    assert "Machinery > Pumps" not in few.fusion.by_category


def test_a_large_catalogue_is_sampled_with_its_right_answers(catalog):
    gallery = read_gallery(catalog.index, {"p03", "p20"}, most=6)
    assert len(gallery.ids) == 6
    assert {"p03", "p20"} <= set(gallery.ids)
    assert gallery.image.shape == (6, 8)


def test_a_choice_is_worth_what_it_gives_on_other_queries():
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(50, 20))
    noise[0] = 0.2
    by_chance = choose(noise, current=0)
    assert by_chance.after.value > by_chance.held_out.value
    real = np.stack([np.zeros(20), np.ones(20)])
    assert choose(real, current=0).worthwhile
    assert not choose(real[:, :2], current=0).worthwhile, "two queries say nothing of others"
    # Held out it is a little better on average, as one query in three loses what the others gain.
    doubtful = np.stack([np.zeros(21), np.tile([1.0, 1.0, -1.4], 7)])
    found = choose(doubtful, current=0, seed=1)
    assert found.held_out.value > found.before.value
    assert found.gain.low < 0
    assert not found.worthwhile
    assert choose(np.ones((3, 4)), current=2).best == 2, "a change needs a reason"


def test_labelled_queries_are_read_from_both_kinds_of_file(tmp_path):
    (tmp_path / "mug.png").write_bytes(make_sets.png("red"))
    rows = [
        {"text": "red dress", "right": ["a", "b"]},
        {"like": "a", "text": "in white", "right": {"b": 3, "c": 1}, "without": "logo", "id": "white"},
        {"image": "mug.png", "right": "a"},
    ]
    lines = tmp_path / "labelled.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_queries(lines)
    assert [one.is_composed for one in found] == [False, True, False]
    assert found[1].right == {"b": 3.0, "c": 1.0}
    assert found[1].name == "white"
    assert found[2].image == tmp_path / "mug.png"
    table = tmp_path / "labelled.csv"
    table.write_text("text,like,right\nred dress,,a|b\n,a,b\n")
    assert [one.right for one in read_queries(table)] == [{"a": 1.0, "b": 1.0}, {"b": 1.0}]
    for content, said in (
        ({"txt": "x", "right": ["a"]}, r"no field 'txt' in a labelled query. Did you mean 'text'"),
        ({"text": "x"}, "no right answer; give 'right' as ids"),
        ({"text": "x", "right": {"a": 0}}, "right answer 'a' has grade 0.0; grades are above 0"),
        ({"text": "x", "right": {"a": "much"}}, "grades of 'right' are not all numbers"),
        ({"right": ["a"]}, "nothing is asked; give text, image or like"),
        ({"image": "../x.png", "right": ["a"]}, "image path '../x.png' leaves the image folder"),
        ({"image": "x.png", "right": ["a"]}, "the picture 'x.png' is not there"),
        ({"image": "mug.png", "like": "a", "right": ["a"]}, "has an image or is like a product, not both"),
    ):
        lines.write_text(json.dumps(content) + "\n")
        with pytest.raises(DataError, match=said):
            read_queries(lines)
    with pytest.raises(DataError, match="no such file"):
        read_queries(tmp_path / "nothing.jsonl")


def test_bad_questions_are_named(catalog):
    with pytest.raises(ConfigError, match="compared with one of image, text, product, not 'best'"):
        evaluate_queries(catalog, likes([0]), view="best")
    with pytest.raises(InputError, match=r"k is at least 1, got \[0\]"):
        evaluate_queries(catalog, likes([0]), ks=[0])
    with pytest.raises(InputError, match="No field or attribute 'colr'; .* Did you mean 'color'"):
        evaluate_same(catalog, "colr")
    with pytest.raises(DataError, match="No two products with a text vector share a value of 'brand'"):
        evaluate_same(catalog, "brand", view="text")
    with pytest.raises(DataError, match="None of 1 queries has a right answer in the catalogue"):
        evaluate_queries(catalog, [LabelledQuery("q", {"x": 1.0}, text="red")])
    with pytest.raises(DataError, match="Two labelled queries are called 'q0'"):
        evaluate_queries(catalog, likes([0, 0]))


def test_a_picture_behind_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(make_sets.png("red"))
    folder = tmp_path / "queries"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    path = folder / "q.jsonl"
    path.write_text('{"image": "link.png", "right": ["a"]}\n')
    with pytest.raises(DataError, match="q.jsonl row 1: the image path 'link.png' leaves the image folder"):
        read_queries(path)
