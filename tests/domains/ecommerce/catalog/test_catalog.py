import dataclasses
import json
import threading
from pathlib import Path

import pytest
from ecommerce.make_shop import HashEncoder, content_of, picture, row, write_rows
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.filters import F
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.catalog.report import IngestOptions
from verticlip.domains.ecommerce.catalog.search import SearchOptions
from verticlip.domains.ecommerce.encoders.fusing import Fusion
from verticlip.domains.ecommerce.products.text import TextTemplate


@pytest.fixture
def catalog(tmp_path: Path, encoder, shop) -> Catalog:
    made = Catalog.create(tmp_path / "cat", model=encoder)
    made.ingest(shop(20))
    return made


def test_an_empty_catalogue_finds_nothing_and_says_so(tmp_path: Path, encoder) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    assert len(catalog) == 0
    assert catalog.version == 0
    assert catalog.search(text="dress") == []
    assert catalog.stats().products == 0
    assert catalog.stats().index is None
    with pytest.raises(ConfigError, match="the catalogue is empty. Take products in first"):
        _ = catalog.index
    with pytest.raises(ConfigError, match="the catalogue is empty"):
        catalog.delete(["a"])


def test_what_was_asked_for_is_there_when_opened_again(tmp_path: Path, encoder) -> None:
    template = TextTemplate.preset("hardware")
    made = Catalog.create(
        tmp_path / "cat", model=encoder, template=template, index="flat", attributes={"voltage": "number"}
    )
    config = Catalog.open(tmp_path / "cat").config
    assert config == made.config
    assert (config.template, config.kind, config.model) == (template, "flat", "hash")
    assert config.made_by.text == template.fingerprint
    assert config.attributes == {"voltage": "number"}
    made.ingest([{"id": "a", "title": "Drill", "attributes": {"voltage": 18, "weight": 2.0}}])
    assert "attr:weight" not in made.index.schema.names
    assert made.search(text="Drill", where="voltage > 12")[0].payload["attributes"] == {
        "voltage": 18,
        "weight": 2.0,
    }


def test_attributes_are_settled_by_the_first_rows(catalog, tmp_path: Path) -> None:
    assert Catalog.open(tmp_path / "cat").config.attributes == {
        "new": "bool",
        "size": "number",
        "sleeve": "string",
    }
    later = row(90, attributes={"sleeve": "long", "fit": "slim"})
    catalog.ingest([{**later, "image": None}])
    assert catalog.search(text="x", where="sleeve = 'long' and title = 'Item 90'")[0].payload[
        "attributes"
    ] == {
        "fit": "slim",
        "sleeve": "long",
    }
    with pytest.raises(InputError, match="Filter on 'fit'"):
        catalog.search(text="x", where="fit = 'slim'")


@pytest.mark.parametrize("kind", ["flat", "lancedb"])
def test_attributes_that_come_later_can_get_a_column(tmp_path: Path, encoder, kind) -> None:
    if kind == "lancedb":
        pytest.importorskip("lancedb")
    catalog = Catalog.create(tmp_path / "cat", model=encoder, index=kind)
    old = [{"id": f"a{number}", "title": "Mug", "attributes": {"volume": 2}} for number in range(3)]
    catalog.ingest(old)
    new = [{"id": "b", "title": "Shirt", "attributes": {"fit": "slim", "volume": 1}}]
    catalog.ingest(new)
    with pytest.raises(InputError, match="Filter on 'fit'.* or later by ingest --new-attributes"):
        catalog.search(text="x", where="fit = 'slim'")
    before, encoded = content_of(catalog), encoder.encoded
    report = catalog.ingest([*new, *old], options=IngestOptions(new_attributes=True))
    assert (report.payload_only, report.unchanged, encoder.encoded) == (1, 3, encoded)
    found = catalog.search(text="x", where="fit = 'slim'")
    assert [(one.id, one.payload["attributes"]) for one in found] == [("b", {"fit": "slim", "volume": 1})]
    assert Catalog.open(tmp_path / "cat").stats().attributes == ("volume", "fit")
    assert {name: vectors for name, (_, vectors) in content_of(catalog).items()} == {
        name: vectors for name, (_, vectors) in before.items()
    }
    again = catalog.ingest([*new, *old], options=IngestOptions(new_attributes=True))
    assert (again.unchanged, catalog.config.attributes) == (4, {"volume": "number", "fit": "string"})


def test_nothing_is_settled_by_nothing(tmp_path: Path, encoder) -> None:
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    for rows in ([], [{"id": ""}, {"id": "a"}], [{"id": "a", "deleted": True}]):
        report = catalog.ingest(rows)
        assert (report.added, report.read, len(catalog)) == (0, len(rows), 0)
        assert catalog.config.attributes is None
    catalog.ingest([{"id": "a", "title": "Mug", "attributes": {"volume": 2}}])
    assert catalog.stats().attributes == ("volume",)


@pytest.mark.parametrize("kind", ["flat", "auto", "hnsw", "lancedb"])
def test_every_kind_of_index(tmp_path: Path, encoder, shop, kind) -> None:
    if kind == "lancedb":
        pytest.importorskip("lancedb")
    catalog = Catalog.create(tmp_path / "cat", model=encoder, index=kind)
    rows = [row(number, attributes={"a.b `c`": number, "Größe": "M"}) for number in range(12)]
    rows[3]["images"] = ["img/5.png"]
    table = write_rows(shop(12), rows)
    assert (catalog.ingest(table).added, catalog.ingest(table).unchanged) == (12, 12)
    before = content_of(catalog)
    catalog.optimize()
    assert content_of(catalog) == before
    found = catalog.search(text="x", where=F("a.b `c`") > 9.5, k=5)
    assert sorted(one.id for one in found) == ["P00010", "P00011"]
    assert found[0].payload["attributes"]["Größe"] == "M"
    best = catalog.search(image=tmp_path / "shop" / "img" / "5.png", view="image", k=2)
    assert [(one.id, one.picture) for one in best] == [("P00003", 1), ("P00005", 0)]
    assert catalog.delete(["P00003"]).deleted == 1
    assert len(Catalog.open(tmp_path / "cat", encoder)) == 11


def test_a_catalogue_is_not_made_over_anything(tmp_path: Path, encoder, catalog) -> None:
    with pytest.raises(ConfigError, match="holds a catalogue already"):
        Catalog.create(tmp_path / "cat", model=encoder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigError, match="is not an empty folder"):
        Catalog.create(tmp_path / "full", model=encoder)
    with pytest.raises(ConfigError, match="is not an empty folder"):
        Catalog.create(tmp_path / "full" / "x", model=encoder)
    with pytest.raises(ConfigError, match="Unknown kind of index 'fast'; known: auto, flat"):
        Catalog.create(tmp_path / "new", model=encoder, index="fast")
    with pytest.raises(ConfigError, match="empty name"):
        Catalog.create(tmp_path / "new", model=encoder, attributes={"": "string"})
    assert not (tmp_path / "new").exists()


def test_what_is_no_catalogue_is_said(tmp_path: Path, encoder, catalog) -> None:
    with pytest.raises(ConfigError, match=r"no such folder .*verticlip catalog create"):
        Catalog.open(tmp_path / "absent")
    with pytest.raises(ConfigError, match="is no catalogue"):
        Catalog.open(tmp_path)
    (tmp_path / "cat" / "catalog.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"catalog\.json"):
        Catalog.open(tmp_path / "cat")


def test_another_model_is_refused_at_once(tmp_path: Path, catalog) -> None:
    with pytest.raises(ConfigError, match=r"model 'other'; .*'hash'"):
        Catalog.open(tmp_path / "cat", HashEncoder("other"))
    changed = HashEncoder()
    changed.__class__ = type(
        "Changed",
        (HashEncoder,),
        {"identity": property(lambda self: dataclasses.replace(HashEncoder().identity, revision="r2"))},
    )
    with pytest.raises(ConfigError, match=r"revision 'r2'"):
        Catalog.open(tmp_path / "cat", changed)
    assert len(Catalog.open(tmp_path / "cat", HashEncoder())) == 20


def test_without_the_model_products_are_found_by_products_only(tmp_path: Path, catalog) -> None:
    opened = Catalog.open(tmp_path / "cat")
    assert len(opened.search(like="P00003", k=5)) == 5
    with pytest.raises(ConfigError, match="open the catalogue with it"):
        opened.search(text="dress")
    with pytest.raises(ConfigError, match="needs the model hash"):
        opened.ingest([{"id": "a", "title": "b"}])


def test_a_second_writer_is_refused_at_once(tmp_path: Path, encoder, catalog, shop) -> None:
    other = Catalog.open(tmp_path / "cat", encoder)

    def rows():
        yield {"id": "a", "title": "Mug"}
        for write in (lambda: other.delete(["P00001"]), lambda: other.ingest(shop(3))):
            with pytest.raises(ConfigError, match="is writing to it. Try again when it is done"):
                write()

    assert catalog.ingest(rows()).added == 1
    assert other.delete(["P00001"]).deleted == 1
    assert len(other) == 20


def test_an_index_is_optimized_beside_a_writer(tmp_path: Path, encoder, catalog) -> None:
    other = Catalog.open(tmp_path / "cat")

    def rows():
        for number in range(40):
            if number == 20:
                assert other.optimize().rows >= 20
            yield {"id": f"new{number}", "title": "Mug"}

    assert catalog.ingest(rows(), options=IngestOptions(batch_size=1, commit_rows=1)).added == 40
    assert len(catalog) == 60


@pytest.mark.parametrize("kind", ["flat", "lancedb"])
def test_threads_share_a_catalogue(tmp_path: Path, kind) -> None:
    """They find something whenever they look, and take turns in writing."""
    if kind == "lancedb":
        pytest.importorskip("lancedb")
    catalog = Catalog.create(tmp_path / "cat", model=HashEncoder(), index=kind)
    catalog.ingest([row(number, image=None) for number in range(20)])
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            if len(found := catalog.search(text="Item", k=5)) != 5 or len(catalog) < 20:
                wrong.append(found)

    def write(first: int) -> None:
        for number in range(first, first + 4):
            catalog.ingest([{"id": f"new{number}", "title": "Mug"}])

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 4)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert (wrong, len(catalog)) == ([], 28)


def test_a_write_opens_no_index_anew(catalog, monkeypatch) -> None:
    from verticlip.domains.ecommerce.catalog import catalog as module

    monkeypatch.setattr(module, "open_index", None)
    index = catalog.index
    catalog.ingest([{"id": "a", "title": "Mug"}])
    assert catalog.index is index
    assert len(catalog) == 21


def test_an_index_that_another_object_made_is_seen(tmp_path: Path, encoder) -> None:
    waiting = Catalog.create(tmp_path / "new", model=encoder)
    Catalog.open(tmp_path / "new", encoder).ingest([{"id": "a", "title": "Mug"}])
    assert [one.id for one in waiting.search(text="Mug")] == ["a"]


def test_shares_that_an_encoder_does_not_use_are_refused(tmp_path: Path, encoder) -> None:
    assert Catalog.create(tmp_path / "same", model=encoder, fusion=Fusion()).config.fusion == Fusion()
    with pytest.raises(ConfigError, match="shares of its own, not by those that are given"):
        Catalog.create(tmp_path / "cat", model=encoder, fusion=Fusion(image=0.5, text=0.5))
    assert not (tmp_path / "cat").exists()


def test_readers_see_a_version_until_they_refresh(tmp_path: Path, encoder, catalog) -> None:
    reader = Catalog.open(tmp_path / "cat", encoder, read_only=True)
    before = reader.version
    catalog.delete(["P00001"])
    assert "P00001" in reader.index.get(["P00001"]).ids
    assert len(reader.search(text="Item", k=50)) == 20
    reader.refresh()
    assert len(reader.search(text="Item", k=50)) == 19
    assert len(Catalog.open(tmp_path / "cat", version=before)) == 20
    with pytest.raises(ConfigError, match="read only"):
        reader.delete(["P00002"])
    with pytest.raises(ConfigError, match="read only"):
        Catalog.open(tmp_path / "cat", version=before).delete(["P00002"])
    with pytest.raises(ConfigError, match="99"):
        Catalog.open(tmp_path / "cat", version=99)


def test_products_are_deleted_by_id_and_by_condition(catalog) -> None:
    assert catalog.delete(["P00001", "nobody"]).deleted == 1
    assert catalog.delete(F("sleeve") == "short").deleted == 9
    assert {cells["attr:sleeve"] for cells, _ in content_of(catalog).values()} == {"long"}
    with pytest.raises(InputError, match="a list of ids or a condition, got the text 'P00002'"):
        catalog.delete("P00002")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Did you mean 'sleeve'"):
        catalog.delete(F("sleve") == "long")


def test_nothing_is_decided_on_an_old_version(catalog) -> None:
    version = catalog.version
    catalog.delete(["P00001"])
    with pytest.raises(ConfigError, match=f"changed from version {version} to {version + 1}"):
        catalog.delete(["P00002"], version=version)
    with pytest.raises(ConfigError, match="Look again"):
        catalog.mark_duplicates({"P00002": "P00003"}, version=version)
    assert catalog.delete(["P00002"], version=version + 1).deleted == 1


def test_marks_can_be_set_hidden_and_taken_off(catalog) -> None:
    before = content_of(catalog)
    catalog.mark_duplicates({"P00001": "P00000", "P00002": "P00000"})
    assert catalog.stats().duplicates == 2
    every = SearchOptions(hide_duplicates=False)
    found = {one.id: one for one in catalog.search(text="Item", k=50, options=every)}
    assert found["P00001"].payload["duplicate_of"] == "P00000"
    hidden = catalog.search(text="Item", k=50, where="price < 100")
    assert {one.id for one in hidden} == set(found) - {"P00001", "P00002"}
    catalog.mark_duplicates({"P00001": None, "P00002": None})
    assert content_of(catalog) == before
    with pytest.raises(InputError, match=r"no product 'nobody' \(1 such ids\)"):
        catalog.mark_duplicates({"P00001": "nobody"})


def test_marks_never_hide_all_of_a_group(catalog) -> None:
    for circle in ({"P00001": "P00001"}, {"P00001": "P00002", "P00002": "P00001"}):
        with pytest.raises(InputError, match="leads back to itself"):
            catalog.mark_duplicates(circle)
    catalog.mark_duplicates({"P00001": "P00002", "P00002": "P00003"})
    with pytest.raises(InputError, match="'P00003' cannot be a duplicate of 'P00001'"):
        catalog.mark_duplicates({"P00003": "P00001"})
    assert catalog.stats().duplicates == 2
    catalog.mark_duplicates({"P00003": "P00001", "P00001": None})
    assert {one.id for one in catalog.search(text="Item", k=50)} >= {"P00001", "P00000"}


def test_optimize_changes_no_product(catalog) -> None:
    before = content_of(catalog)
    catalog.delete(["P00001"])
    assert catalog.optimize().rows == 19
    after = content_of(catalog)
    assert after == {name: value for name, value in before.items() if name != "P00001"}


def test_pictures_of_products(catalog, tmp_path: Path) -> None:
    found = catalog.image_of("P00007")
    assert (found.mode, found.size, found.getpixel((0, 0))) == ("RGB", (64, 64), (7, 0, 90))
    with pytest.raises(InputError, match="no product 'nobody'"):
        catalog.image_of("nobody")
    catalog.ingest([{"id": "a", "title": "Mug"}, {"id": "b", "image": picture()}])
    with pytest.raises(InputError, match="'a': it has no picture"):
        catalog.image_of("a")
    with pytest.raises(InputError, match="'b': it has no picture"):
        catalog.image_of("b")
    (tmp_path / "shop" / "img" / "7.png").unlink()
    with pytest.raises(InputError, match=r"img/7\.png: no such file"):
        catalog.image_of("P00007")


def test_stats_count_what_is_there(catalog) -> None:
    catalog.ingest([{"id": "a", "title": "Mug", "category": "Kitchen"}])
    stats = catalog.stats()
    assert stats.products == 21
    assert stats.views == {"image": 20, "text": 21, "product": 21}
    assert stats.categories == {"Clothing > Dress": 10, "Clothing > Shirt": 10, "Kitchen": 1}
    assert stats.attributes == ("new", "size", "sleeve")
    assert json.loads(json.dumps(stats.to_dict()))["index"]["rows"] == 21


def test_a_catalogue_is_closed_by_with(tmp_path: Path, catalog) -> None:
    with Catalog.open(tmp_path / "cat") as opened:
        assert len(opened) == 20
    with pytest.raises(ConfigError, match=r"was closed\. Open it again"):
        _ = opened.index
    with pytest.raises(ConfigError, match="was closed"):
        opened.search(like="P00001")


def test_a_catalogue_killed_before_its_index_was_made_goes_on(tmp_path: Path, encoder, shop) -> None:
    table = shop(5)
    made = Catalog.create(tmp_path / "cat", model=encoder)
    made.config.model_copy(update={"attributes": {"sleeve": "string"}}).save(tmp_path / "cat")
    (tmp_path / "cat" / "index").mkdir()
    opened = Catalog.open(tmp_path / "cat", encoder)
    assert len(opened) == 0
    assert opened.ingest(table).added == 5
    assert opened.stats().attributes == ("sleeve",)


def test_a_real_model(tmp_path: Path, model_folder, shop) -> None:
    from verticlip.api import from_pretrained

    model = from_pretrained(model_folder)
    table = write_rows(shop(6), [row(number, title=f"red cat {number}") for number in range(6)])
    catalog = Catalog.create(tmp_path / "cat", model=model)
    assert catalog.ingest(table).added == 6
    assert catalog.config.model == model.id
    opened = Catalog.open(tmp_path / "cat", model)
    best = opened.search(image=tmp_path / "shop" / "img" / "4.png", view="image", k=2)
    assert best[0].score == pytest.approx(1, abs=1e-5)
    assert len(opened.search(text="blue dog", options=SearchOptions(negative="red"), k=3)) == 3
    assert len(opened.search(image=picture((0, 200, 0)), text="green square", k=3)) == 3
    with pytest.raises(InputError, match="nothing to search"):
        opened.search(options=SearchOptions(negative="red"))
