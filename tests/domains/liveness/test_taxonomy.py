"""Taxonomies: what is shipped, what a file has to keep to, and what messages say."""

from __future__ import annotations

import json

import pytest
import yaml
from verticlip.core.errors import ConfigError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.liveness.taxonomy import (
    BONA_FIDE,
    Taxonomy,
    load_taxonomy,
    parse_taxonomy,
    taxonomy_names,
)

DEFAULT_TABLE = {
    "live": ("live", "bona_fide", "project"),
    "print_photo": ("attack", "print", "abstract"),
    "screen_replay": ("attack", "display", "abstract"),
    "dark_environment": ("attack", "low_light_presentation", "abstract"),
    "id_card_tamper": ("attack", "document", "abstract"),
    "cut_or_bent_photo": ("attack", "print_cut", "project"),
    "mask_paper_or_3d": ("attack", "mask", "project"),
    "digital_composite": ("attack", "composite", "project"),
    "other_or_unknown": ("attack", "other", "project"),
}


def entry(name="live", kind="live", species=None, texts=("a face",), **more):
    species = species or (BONA_FIDE if kind == "live" else "print")
    return {"id": name, "kind": kind, "species": species, "texts": list(texts), **more}


def raw(*entries, name="own"):
    return {"name": name, "categories": list(entries or (entry(), entry("print", "attack")))}


def test_live_and_eight_kinds_of_attack():
    taxonomy = load_taxonomy("default")
    assert {one.id: (one.kind, one.species, one.source) for one in taxonomy.categories} == DEFAULT_TABLE
    assert taxonomy.live == (0,)
    assert taxonomy.attacks == tuple(range(1, 9))
    assert all(len(one.texts) >= 3 and one.explanation.endswith(".") for one in taxonomy.categories)
    assert len(set(taxonomy.texts)) == len(taxonomy.texts) == sum(taxonomy.counts)


def test_two_classes_in_the_order_of_flip():
    taxonomy = load_taxonomy("binary")
    assert (taxonomy.ids, taxonomy.live, taxonomy.attacks) == (("spoof", "live"), (1,), (0,))
    assert taxonomy.counts == (6, 6)
    assert taxonomy_names() == ("binary", "default")


def test_words_about_a_category():
    taxonomy = load_taxonomy("default")
    assert taxonomy.index("screen_replay") == 2
    assert taxonomy.species_of("id_card_tamper") == "document"
    with pytest.raises(ConfigError, match=r"no category 'screen_reply'. Did you mean 'screen_replay'\?"):
        taxonomy.index("screen_reply")


def test_the_texts_as_a_prompt_set():
    taxonomy = load_taxonomy("default")
    prompts = taxonomy.prompts()
    assert prompts.class_names == taxonomy.ids
    assert [prompts.texts(name) for name in taxonomy.ids] == [list(one.texts) for one in taxonomy.categories]


def test_the_digest_covers_what_scores_depend_on_and_nothing_else():
    base = parse_taxonomy(raw(), source="own").digest
    assert len(bytes.fromhex(base)) == 8
    reworded = raw(entry(explanation="A person."), entry("print", "attack", "paper"), name="other")
    assert parse_taxonomy(reworded, source="own").digest == base
    for changed in (
        raw(entry("print", "attack"), entry()),
        raw(entry(texts=["a Face"]), entry("print", "attack")),
        raw(entry("person"), entry("print", "attack")),
        raw(entry(texts=["a face", "a face"]), entry("print", "attack")),
    ):
        assert parse_taxonomy(changed, source="own").digest != base


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    path.write_text(json.dumps(raw()) if suffix == ".json" else yaml.safe_dump(raw()))
    assert load_taxonomy(path) == load_taxonomy(str(path)) == parse_taxonomy(raw(), source="own")
    taxonomy = load_taxonomy("binary")
    assert load_taxonomy(taxonomy) is taxonomy
    assert Taxonomy.model_validate(taxonomy.model_dump(mode="json")) == taxonomy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (raw(entry(texts=[]), entry("print", "attack")), r"category 'live': texts: needs at least one text"),
        (
            raw(entry(), entry("print", "attack", texts=["a", " "])),
            "category 'print': texts: .* no empty one",
        ),
        (
            raw(entry(), entry("Print!", "attack")),
            "category 'Print!': id: only small letters, digits and '_'",
        ),
        (
            raw(entry(), entry("print", "attack", "Paper print")),
            "category 'print': species: only small letters",
        ),
        (raw(entry(), entry("print", "spoof", "print")), "category 'print': kind: .*'live' or 'attack'"),
        (raw(entry(), entry("live", "attack")), "category 'live' is there twice"),
        (raw(entry(), entry("person")), "no category of kind 'attack' among 'live', 'person'; add one"),
        (raw(entry("print", "attack")), "no category of kind 'live' among 'print'"),
        (
            raw(entry(), entry("print", "attack", BONA_FIDE)),
            "'print' is of kind 'attack' and species 'bona_fide'",
        ),
        (
            raw(entry(), entry("print", "attack", "real")),
            "'print' is an attack of species 'real', which reads as a live one",
        ),
        (
            raw(entry("live", "live", "print"), entry("p", "attack")),
            "'live' is of kind 'live' and species 'print'",
        ),
        (raw(entry(), {"id": "print", "kind": "attack"}), "category 'print': species: Field required"),
        (raw(entry(), {"kind": "attack"}), "category 2: id: Field required"),
        (
            raw(entry(), entry("print", "attack", text=["x"])),
            "category 'print': unknown key 'text'. Did you mean",
        ),
        (raw(entry(), "print"), "category 2: expected a mapping"),
        ({"name": "own", "categories": []}, "no category of kind 'live' among none"),
        ({"name": "My own", "categories": raw()["categories"]}, "name: .*pattern"),
        ({"name": "own"}, "categories: Field required"),
        ({"name": "own", "categories": {"live": {}}}, "categories: expected a list of them, got dict"),
        (
            raw(entry(), {**entry("print", "attack"), "texts": "a face"}),
            "category 'print': texts: needs a list of texts, got the single text 'a face'",
        ),
        (["live"], "expected a mapping of settings, got list"),
    ],
)
def test_what_a_file_has_to_keep_to(content, said):
    with pytest.raises(ConfigError, match=f"own.yaml.*{said}"):
        parse_taxonomy(content, source="own.yaml")


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"No taxonomy called 'defalt'. Did you mean 'default'\?.*\.yaml"):
        load_taxonomy("defalt")
    with pytest.raises(ConfigError, match="no such file"):
        load_taxonomy(tmp_path / "none.yaml")
    path = tmp_path / "long.json"
    path.write_text(json.dumps(raw(entry(texts=["x" * 30_000]), entry("print", "attack"))))
    with pytest.raises(LimitError, match="category 'live': characters of a text"):
        load_taxonomy(path)
    with pytest.raises(LimitError, match="categories"):
        load_taxonomy("default", limits=DEFAULT.with_(labels=3))
