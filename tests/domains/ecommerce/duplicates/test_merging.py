"""A merge marks, can be undone, touches nothing else, and refuses to act on what has changed."""

from __future__ import annotations

import pytest
from ecommerce.duplicates.make_copies import PixelEncoder
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.duplicates.grouping import find_duplicates
from verticlip.domains.ecommerce.duplicates.merging import Merge, marks_of, merge, unmerge
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings

EXACT = DuplicateSettings(perceptual=False, embedding=False)
ROWS = [
    {"id": "a", "photo": 1, "title": "Dress", "brand": "Acme", "attributes": {"supplier": "one"}},
    {"id": "b", "photo": 1, "title": "A dress", "attributes": {"supplier": "two"}},
    {"id": "c", "photo": 1},
    {"id": "d", "photo": 2},
]


def contents(catalog):
    """Everything but the marks."""
    found = {}
    for rows in catalog.index.scan(views=("image", "text", "product")):
        for place, (name, cells) in enumerate(zip(rows.ids, rows.payload.to_pylist(), strict=True)):
            del cells["duplicate_of"]
            found[name] = (cells, {view: one[place].tobytes() for view, one in rows.vectors.items()})
    return found


def marks(catalog):
    return marks_of(catalog.index)[1]


def test_a_merge_marks_and_can_be_undone(build):
    catalog = build(ROWS)
    before = contents(catalog)
    report = find_duplicates(catalog, EXACT)
    assert merge(catalog, report, dry_run=True) == Merge(2, 0, 0, 0, True, report.version)
    assert marks(catalog) == {}
    done = merge(catalog, report)
    assert done == Merge(2, 0, 0, 0, False, report.version + 1)
    assert marks(catalog) == {"b": "a", "c": "a"}
    assert contents(catalog) == before
    shown = [one.id for one in catalog.search(like="d")]
    assert shown == ["a"]
    again = find_duplicates(catalog, EXACT)
    assert merge(catalog, again) == Merge(0, 2, 0, 0, False, again.version)
    undone = unmerge(catalog)
    assert (undone.unmarked, marks(catalog)) == (2, {})
    assert contents(catalog) == before
    assert undone.to_dict()["deleted"] == 0


def test_one_mark_comes_off_by_name(build):
    catalog = build(ROWS)
    merge(catalog, find_duplicates(catalog, EXACT))
    assert unmerge(catalog, ["b"], dry_run=True).unmarked == 1
    unmerge(catalog, ["b"])
    assert marks(catalog) == {"c": "a"}
    with pytest.raises(InputError, match="'d' is no duplicate"):
        unmerge(catalog, ["d"])
    unmerge(catalog, ["a"])
    assert marks(catalog) == {}


def test_nothing_is_deleted_unless_asked(build):
    catalog = build(ROWS)
    merge(catalog, find_duplicates(catalog, EXACT))
    assert len(catalog) == 4
    done = merge(catalog, find_duplicates(catalog, EXACT), delete=True)
    assert done.deleted == 2
    assert set(contents(catalog)) == {"a", "d"}
    assert marks(catalog) == {}


def test_a_report_of_another_version_is_refused(build, tmp_path):
    catalog = build(ROWS)
    report = find_duplicates(catalog, EXACT)
    other = Catalog.open(tmp_path / "catalog", model=PixelEncoder())
    other.delete(["c"])
    # This process still reads the old version; the write sees the new one.
    with pytest.raises(ConfigError, match="has changed from version 1 to 2"):
        merge(catalog, report)
    catalog.refresh()
    with pytest.raises(ConfigError, match="The report is of version 1 .* at 2 now"):
        merge(catalog, report)
    assert marks(catalog) == {}


def test_a_mark_whose_product_is_gone_comes_off(build):
    catalog = build([*ROWS, {"id": "e", "photo": 3}, {"id": "f", "photo": 3}])
    merge(catalog, find_duplicates(catalog, EXACT))
    assert marks(catalog) == {"b": "a", "c": "a", "f": "e"}
    catalog.delete(["a", "e"])
    done = merge(catalog, find_duplicates(catalog, EXACT))
    # b stands for c now, and f for itself; nothing stays hidden behind what is gone.
    assert marks(catalog) == {"c": "b"}
    assert (done.marked, done.unmarked) == (1, 2)


def test_marks_never_name_a_marked_product(build):
    catalog = build(ROWS)
    catalog.mark_duplicates({"d": "c"})
    merge(catalog, find_duplicates(catalog, EXACT))
    # c stood for d already, so it goes on standing, for all of them.
    assert marks(catalog) == {"a": "c", "b": "c", "d": "c"}
    unmerge(catalog)
    catalog.mark_duplicates({"d": "c", "c": "b"})
    merge(catalog, find_duplicates(catalog, EXACT))
    assert not set(marks(catalog)) & set(marks(catalog).values())
    assert set(marks(catalog)) | set(marks(catalog).values()) == {"a", "b", "c", "d"}


def test_what_stood_behind_a_deleted_duplicate_stands_behind_its_product(build):
    catalog = build(ROWS)
    catalog.mark_duplicates({"d": "b"})
    catalog.mark_duplicates({"b": None})
    settings = EXACT.model_copy(update={"keep": "oldest"})
    report = find_duplicates(catalog, settings)
    assert report.groups[0].canonical == "b"
    catalog.mark_duplicates({"d": "c"})
    report = find_duplicates(catalog, settings)
    assert report.groups[0].canonical == "c"
    merge(catalog, report, delete=True)
    assert marks(catalog) == {"d": "c"}


def test_a_new_price_keeps_the_mark(build, tmp_path):
    catalog = build(ROWS)
    merge(catalog, find_duplicates(catalog, EXACT))
    row = {**ROWS[1], "image": "1.jpg", "category": "dress", "price": 7.0}
    del row["photo"]
    catalog.ingest([row], image_root=tmp_path / "photos")
    assert marks(catalog) == {"b": "a", "c": "a"}
