from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load
from hypothesis import given, settings
from hypothesis import strategies as st
from make_card_folder import make_card_folder
from verticlip.core.errors import ConfigError
from verticlip.hub.card import check_card, render_card
from verticlip.hub.card_check import split_card
from verticlip.hub.card_header import base_models_of, clean, header_text
from verticlip.hub.card_text import one_line
from verticlip.hub.licences import licence_page

HOSTILE = [
    "\n---\nlicense: other\n---\n# owned",
    "---",
    "a: b # c",
    "- [x] {y: z}",
    "'quoted' \"twice\" \\n",
    "!!python/object/apply:os.system [id]",
    "&anchor *alias <<: x",
    "yes",
    "null",
    "1e3",
    "2026-01-01",
    "| pipe | `tick` <b> [l](javascript:alert(1)) {name}",
    "\u2028---\u2028x: y",
    "\x85---\x85",
    "R&D",
]
hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


def header_of(card: str) -> dict:
    found, _ = split_card(card)
    assert found is not None
    return found


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.one_of(hostile, st.lists(hostile)), max_size=5))
@settings(deadline=None)
def test_metadata_reads_back_as_it_was_meant(fields):
    text = header_text(fields)
    assert header_of(f"{text}\n# body\n---\nlicense: other\n---\n") == clean(fields)
    assert ModelCard(f"{text}\n# body", ignore_metadata_errors=True).text.strip() == "# body"


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    return make_card_folder(model_folder, tmp_path_factory.mktemp("cards") / "plain")


@given(words=st.lists(hostile, min_size=9, max_size=9))
@settings(max_examples=25, deadline=None)
def test_no_text_of_the_records_changes_what_a_card_says_it_is(model_folder, folder, words):
    plain = header_of(render_card(make_card_folder(model_folder, folder)))
    text = [word.encode("utf-8", "replace").decode() for word in words]
    # YAML itself has no way to write some characters; the recipe could not hold them either.
    text = ["".join(c for c in word if c.isprintable() or c in "\n\t") or "x" for word in text]
    source = {"name": "shapes", "path": "p", "licence": text[0], "origin": text[1], "revision": text[2]}
    recipe = {"summary": text[3], "limits": [text[4]], "intended_use": text[5], "data": {"sources": [source]}}
    further = {"summary": {text[6]: 0.5}, "notes": text[7], "order": [text[6]]}
    metrics = {"further": further, "notes": [text[8]], "card_header": {"training_data_terms": text[0]}}
    metrics["card_header"]["license"] = "mit"
    make_card_folder(
        model_folder, folder, config={"description": text[3].strip() or "x"}, recipe=recipe, metrics=metrics
    )
    card = render_card(folder)
    header, body = split_card(card)
    assert header is not None
    assert header.pop("training_data_terms", "") == one_line(text[0])
    for found in (header, plain):
        for result in found["model-index"][0]["results"]:
            result["dataset"]["name"] = ""
    assert header == plain
    assert re.findall(r"(?m)^## (.+)$", body) == TITLES
    assert check_card(card, folder) == []


TITLES = [
    "Intended use", "Use", "Data", "Results on validation", "Limits", "Training", "Files", "Licence", "Citation",
]  # fmt: skip


def test_the_hubs_own_reader_finds_figures_with_intervals(model_folder, tmp_path):
    source = {"name": "shapes", "path": "p", "dataset": "acme/shapes", "origin": "Drawn"}
    recipe = {"language": ["en"], "data": {"sources": [source]}}
    made = make_card_folder(model_folder, tmp_path / "m", recipe=recipe, metrics={"language": ["en"]})
    (made / "README.md").write_text(render_card(made))
    header = metadata_load(made / "README.md")
    assert header is not None
    assert header["datasets"] == ["acme/shapes"]
    assert header["language"] == ["en"]
    assert header["metrics"] == ["accuracy", "f1", "roc_auc"]
    data = ModelCard((made / "README.md").read_text()).data
    assert isinstance(data, ModelCardData)
    assert (data.model_name, data.library_name, data.license) == ("random", "verticlip", "apache-2.0")
    assert data.pipeline_tag == "zero-shot-image-classification"
    first = (data.eval_results or [])[0]
    assert (first.task_type, first.dataset_type, first.dataset_name) == (
        "zero-shot-image-classification", "shapes", "Drawn, validation part",
    )  # fmt: skip
    assert (first.metric_type, first.metric_value) == ("accuracy", 0.8)
    assert first.metric_args == {"interval_95": [0.7, 0.9], "samples": 40}
    again = ModelCardData(**yaml.safe_load(data.to_yaml()))
    assert again.eval_results == data.eval_results


def test_emissions_are_a_bound_and_say_how_they_came_about(folder, model_folder):
    header = header_of(render_card(make_card_folder(model_folder, folder)))
    found = header["co2_eq_emissions"]
    assert found["emissions"] == 20.0  # 2 threads x 8.6 W x 1 h x 1.58 x 480 g/kWh = 13 g, rounded up
    assert "estimated after training, not metered: 1 to 20 g" in found["source"]
    assert (found["training_type"], found["hardware_used"]) == ("pre-training", "2 CPU threads")
    metrics = {"run": {"device": "some accelerator", "seconds": 5.0, "parameters": 1}}
    card = render_card(make_card_folder(model_folder, folder, metrics=metrics))
    assert "co2_eq_emissions" not in header_of(card)
    assert "no estimate: device or time is not known" in card


@pytest.mark.parametrize(
    ("licence", "text", "expected"),
    [
        ("CC-BY-SA-4.0", None, {"license": "cc-by-sa-4.0"}),
        ("unknown", None, {"license": "unknown"}),
        ("Acme Research 1.0", "Acme", {"license": "other", "license_name": "acme-research-1.0"}),
        (
            "other",
            "\nAcme Research Licence, v2\n...",
            {"license": "other", "license_name": "acme-research-licence-v2"},
        ),
    ],
)
def test_licences_by_the_names_of_the_hub(model_folder, tmp_path, licence, text, expected):
    made = make_card_folder(model_folder, tmp_path / "m", config={"licence": licence})
    if text is not None:
        (made / "LICENSE.txt").write_text(text)
    header = header_of(render_card(made))
    assert {key: header[key] for key in expected} == expected
    assert header.get("license_link") == ("LICENSE.txt" if expected["license"] == "other" else None)


@pytest.mark.parametrize(
    "licence", ["MIT\nlicense: other", "<b>MIT</b>", "[MIT](javascript:x)", "-", "x" * 90]
)
def test_what_is_no_name_of_a_licence_is_refused(model_folder, tmp_path, licence):
    made = make_card_folder(model_folder, tmp_path / "m", config={"licence": licence})
    with pytest.raises(ConfigError, match=r"is no name of a licence\. Write its SPDX identifier"):
        render_card(made)


def test_publishing_reads_the_same_metadata(model_folder, tmp_path):
    from verticlip.hub.folder_facts import FolderFacts
    from verticlip.hub.folder_files import take_snapshot

    source = {"name": "shapes", "path": "p", "origin": "R&D *of* shapes: &all"}
    made = make_card_folder(model_folder, tmp_path / "m", recipe={"data": {"sources": [source]}})
    (made / "README.md").write_text(render_card(made))
    header = FolderFacts(take_snapshot(made), None).card_header
    assert header is not None
    assert (
        header["model-index"][0]["results"][0]["dataset"]["name"] == "R&D *of* shapes: &all, validation part"
    )


def test_pages_of_licences():
    assert licence_page("mit") == "https://spdx.org/licenses/MIT.html"
    assert licence_page("CC-BY-NC-4.0") == "https://spdx.org/licenses/CC-BY-NC-4.0.html"
    assert licence_page("cc") == licence_page("unknown") == licence_page("cc-by-9.9") == ""


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({"id": "audio/tiny-tagger", "revision": "sha256:c9f01fc4ebcef367"}, []),
        ({"id": "my/start", "revision": "sha256:c9f01fc4ebcef367"}, []),
        ({"id": "acme/start", "revision": "a" * 40}, ["acme/start"]),
        ({"id": "urban/openai-clip-vit-b32", "revision": "x"}, ["timm/vit_base_patch32_clip_224.openai"]),
        ({"id": "a\nb/c", "revision": "a" * 40}, []),
        ({}, []),
    ],
)
def test_base_models_are_repositories_of_the_hub_only(start, expected):
    assert base_models_of(start) == expected


def test_a_task_of_the_hub_is_taken_and_any_other_is_not(model_folder, tmp_path):
    made = make_card_folder(model_folder, tmp_path / "m", metrics={"pipeline_tag": "text-to-audio"})
    assert header_of(render_card(made))["pipeline_tag"] == "text-to-audio"
    make_card_folder(model_folder, made, metrics={"pipeline_tag": "x\ninference: false"})
    assert header_of(render_card(made))["pipeline_tag"] == "zero-shot-image-classification"
