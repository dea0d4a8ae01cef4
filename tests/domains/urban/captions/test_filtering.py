from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.captions.filtering import CaptionFilter, FilterReport, FilterRules

CAPTIONS = {
    "a": ("The ocean meets a beach", "A pier"),
    "b": ("Ocean waves", "Oceanside houses"),
    "c": ("a forest", "a forest", "a forest and a lake with boats"),
    "d": ("a forest",),
}


def run(**rules: Any) -> tuple[dict[str, tuple[str, ...]], FilterReport]:
    likeness = rules.pop("likeness", None)
    return CaptionFilter(FilterRules(**rules), likeness=likeness)(CAPTIONS)


def test_the_published_rule_takes_whole_tiles_and_minds_case() -> None:
    kept, report = CaptionFilter(recipe="urbanclip")(CAPTIONS)
    assert set(kept) == {"b", "c", "d"}
    assert report.removed == {"tile_keywords": 2}
    assert report.dropped == {"a": "tile_keywords"}
    assert (report.tiles, report.captions) == ((4, 3), (8, 6))
    # A part of a word counts, as it did there.
    assert CaptionFilter(recipe="urbanclip")({"x": ("many oceans",)})[0] == {}


def test_keywords_find_words_in_any_case() -> None:
    kept, report = run(tile_keywords=["ocean"])
    assert set(kept) == {"c", "d"}
    assert report.keywords == {"ocean": 2}
    assert run(tile_keywords=["ocean"], case_sensitive=True)[1].dropped == {"a": "tile_keywords"}
    assert run(tile_keywords=["OCEANS"])[1].dropped == {}


def test_keywords_of_captions_leave_the_rest_of_a_tile() -> None:
    kept, report = run(caption_keywords=["ocean", "a  forest"])
    assert kept == {"a": ("A pier",), "b": ("Oceanside houses",)}
    assert report.removed == {"caption_keywords": 6}
    assert report.keywords == {"ocean": 2, "a  forest": 4}
    assert report.dropped == {"c": "caption_keywords", "d": "caption_keywords"}
    assert run(caption_keywords=["pier"])[0]["a"] == ("The ocean meets a beach",)


def test_a_phrase_may_break_over_lines_and_marks_are_literal() -> None:
    rules = FilterRules(caption_keywords=("golf course", "c++"))
    kept, _ = CaptionFilter(rules)({"x": ("a golf\ncourse", "c++ lab", "ccc lab", "golf courses")})
    assert kept == {"x": ("ccc lab", "golf courses")}


def test_numbers_of_words() -> None:
    kept, report = run(min_words=2, max_words=4)
    assert kept["a"] == ("A pier",)
    assert kept["c"] == ("a forest", "a forest")
    assert report.removed == {"min_words": 0, "max_words": 2}


def test_repeats_of_the_corpus_are_capped_in_order() -> None:
    kept, report = run(max_repeats=2)
    assert kept["c"] == CAPTIONS["c"]
    assert "d" not in kept
    assert report.removed == {"max_repeats": 1}
    assert run(max_repeats=1)[0]["c"] == ("a forest", "a forest and a lake with boats")


def test_likeness_drops_what_is_unlike_or_unknown() -> None:
    asked = []

    def likeness(captions: Any) -> dict[str, list[float]]:
        asked.append(dict(captions))
        return {
            image: [0.3 if "ocean" in text else math.nan for text in texts]
            for image, texts in captions.items()
        }

    kept, report = run(min_similarity=0.25, min_words=3, likeness=likeness)
    assert kept == {"a": ("The ocean meets a beach",)}
    assert report.unscored == 1
    assert report.removed == {"min_words": 6, "min_similarity": 1}
    # Only what earlier rules left is measured.
    assert asked == [{"a": CAPTIONS["a"][:1], "c": CAPTIONS["c"][2:]}]


def test_rules_apply_in_order_and_the_counts_add_up() -> None:
    kept, report = run(tile_keywords=["ocean"], caption_keywords=["boats"], max_repeats=1)
    assert kept == {"c": ("a forest",)}
    assert report.removed == {"tile_keywords": 4, "caption_keywords": 1, "max_repeats": 2}
    assert report.captions[0] - report.captions[1] == sum(report.removed.values())
    assert report.tiles[0] - report.tiles[1] == len(report.dropped)


def test_without_rules_all_stays() -> None:
    kept, report = run()
    assert kept == CAPTIONS
    assert (report.removed, report.dropped) == ({}, {})
    assert CaptionFilter(recipe="urbanclip")({})[1].captions == (0, 0)


def test_reports_are_stored_and_read_back(tmp_path: Path) -> None:
    _, report = run(tile_keywords=["ocean"], max_repeats=1)
    report.save(tmp_path / "report.json")
    raw = json.loads((tmp_path / "report.json").read_text())
    assert FilterReport.from_dict(raw) == report
    assert raw["rules"] == {"tile_keywords": ["ocean"], "max_repeats": 1}
    assert raw["dropped_tiles_by_rule"] == {"tile_keywords": 2, "max_repeats": 1}


def test_rules_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("tile_keywords: [ocean, open sea]\nmin_words: 4\n")
    found = CaptionFilter.read(tmp_path / "rules.yaml")
    assert found.rules == FilterRules(tile_keywords=("ocean", "open sea"), min_words=4)
    assert CaptionFilter.read("urbanclip").rules.match == "substring"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keywords: [ocean]", "rules.yaml: unknown key 'keywords'. Did you mean"),
        ("tile_keywords: ['']", "an empty keyword would be found everywhere"),
        ("min_words: 9\nmax_words: 3", "min_words 9 is over max_words 3"),
        ("min_words: 0", "min_words"),
        ("min_similarity: 0.2", "min_similarity 0.2 needs a model"),
    ],
)
def test_messages_of_rules(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        CaptionFilter.read(tmp_path / "rules.yaml")


def test_messages_of_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No caption filter called 'urbanclp'. Did you mean 'urbanclip'\?"):
        CaptionFilter.read("urbanclp")
    with pytest.raises(ConfigError, match="no such file"):
        CaptionFilter.read(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="rules or the name of a recipe, one of the two"):
        CaptionFilter()
    with pytest.raises(ConfigError, match="rules or the name of a recipe, one of the two"):
        CaptionFilter(FilterRules(), recipe="urbanclip")
