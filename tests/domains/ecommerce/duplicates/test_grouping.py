"""What is one product joins, with the evidence; what is not stays apart, and the report says why."""

from __future__ import annotations

import pytest
from ecommerce.duplicates.make_copies import CHANGES, jpeg, photo
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.duplicates.grouping import find_duplicates
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings, Thresholds

EXACT = DuplicateSettings(perceptual=False, embedding=False)
PICTURES = DuplicateSettings(exact=False, embedding=False)
VECTORS = DuplicateSettings(exact=False, perceptual=False)


def groups(report):
    return [group.members for group in report.groups]


def reasons(report):
    return {(pair.first, pair.second): pair.reasons for group in report.groups for pair in group.pairs}


def test_the_same_file_is_the_same_product(build):
    catalog = build([{"id": "a", "photo": 1}, {"id": "b", "photo": 2}, {"id": "c", "photo": 1}])
    report = find_duplicates(catalog, EXACT)
    assert groups(report) == [("a", "c")]
    assert reasons(report) == {("a", "c"): ("same_file", "same_pixels")}
    assert report.marks() == {"c": "a"}
    assert report.duplicates == 1
    assert report.products == 3
    assert report.groups[0].pairs[0].words() == "same picture file, same pixels"


def test_the_same_pixels_in_another_file(build):
    import io

    source = Image.open(io.BytesIO(jpeg(photo(1))))
    buffer = io.BytesIO()
    source.save(buffer, "PNG")
    catalog = build([{"id": "a", "photo": 1}, {"id": "b", "photo": buffer.getvalue()}])
    assert reasons(find_duplicates(catalog, EXACT)) == {("a", "b"): ("same_pixels",)}


def test_a_title_counts_where_no_picture_tells_otherwise(build):
    title = "Linen summer dress, blue"
    catalog = build(
        [
            {"id": "a", "photo": 1, "title": title},
            {"id": "b", "title": "LINEN  summer-dress blue"},
            {"id": "c", "photo": 2, "title": title},
            {"id": "d", "title": "Dress"},
            {"id": "e", "title": "Dress"},
            {"id": "f", "title": title, "brand": "Other", "category": "skirt"},
        ]
    )
    report = find_duplicates(catalog, EXACT)
    # b has no picture and fits both a and c, whose pictures differ: it goes with one of them only.
    assert groups(report) == [("a", "b")]
    assert [(one.pair.first, one.pair.second, one.reason) for one in report.refused] == [("b", "c", "chain")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_picture_is_found(build, change):
    rows = [{"id": f"p{number}", "photo": number} for number in range(6)]
    rows += [{"id": f"q{number}", "photo": jpeg(CHANGES[change](photo(number)), 92)} for number in range(6)]
    report = find_duplicates(build(rows), PICTURES.model_copy(update={"bits": 10}))
    found = set(reasons(report))
    assert all(first[1:] == second[1:] for first, second in found)
    assert len(found) >= 4
    kind = "mirrored_picture" if change == "mirrored" else "similar_picture"
    assert {kind} == {reason for one in reasons(report).values() for reason in one}


def test_the_hash_alone_does_not_see_color(build):
    blue = Image.merge("RGB", photo(1).split()[::-1])
    catalog = build([{"id": "a", "photo": 1}, {"id": "b", "photo": jpeg(blue)}])
    assert groups(find_duplicates(catalog, PICTURES)) == []


def test_placeholders_and_blank_pictures_prove_nothing(build):
    rows = [{"id": f"p{n}", "title": f"Thing number {n}", "photo": 5} for n in range(6)]
    rows += [
        {"id": f"w{n}", "title": f"White {n}", "photo": jpeg(Image.new("RGB", (96, 96), "white"))}
        for n in (1, 2)
    ]
    settings = DuplicateSettings(embedding=False, shared_by=4)
    report = find_duplicates(build(rows), settings)
    assert groups(report) == []
    assert any("taken for placeholders" in note for note in report.notes)
    assert any("1 pictures are blank" in note for note in report.notes)


def test_many_of_one_picture_under_one_title_are_one_product(build):
    rows = [
        {"id": f"p{n:02}", "title": "Thing", "photo": 5, "color": ("red", "blue")[n % 2]} for n in range(60)
    ]
    report = find_duplicates(build(rows), DuplicateSettings(embedding=False, shared_by=4))
    assert [len(members) for members in groups(report)] == [30, 30]
    # Not every pair of thirty: neighbors in a row are enough to join them.
    assert len(report.groups[0].pairs) == 29


def test_vectors_join_within_a_category(build):
    near = jpeg(photo(1), 60)
    catalog = build(
        [
            {"id": "a", "photo": 1, "title": "summer dress"},
            {"id": "b", "photo": near, "title": "summer dress"},
            {"id": "c", "photo": near, "title": "summer dress", "category": "Women > skirt"},
        ]
    )
    report = find_duplicates(catalog, VECTORS)
    assert groups(report) == [("a", "b")]
    (pair,) = report.groups[0].pairs
    assert pair.reasons == ("similar_product",)
    assert pair.product > 0.99
    assert pair.image > 0.99
    assert pair.text == 1.0
    assert pair.bits is None
    assert "Nobody has measured the thresholds" in report.notes[0]
    across = find_duplicates(catalog, VECTORS.model_copy(update={"same_category": False}))
    assert groups(across) == [("a", "b", "c")]


def test_variants_are_not_duplicates(build):
    catalog = build(
        [
            {"id": "red", "photo": 1, "color": "Red"},
            {"id": "red2", "photo": 1, "color": "red"},
            {"id": "unknown", "photo": 1},
            {"id": "blue", "photo": 1, "color": "blue"},
            {"id": "small", "photo": 2, "attributes": {"Size": "S"}},
            {"id": "large", "photo": 2, "attributes": {"Size": "L"}},
        ]
    )
    report = find_duplicates(catalog, EXACT)
    # The one of unknown color goes with the first; then no red one can join them.
    assert [set(members) for members in groups(report)] == [{"blue", "unknown"}, {"red", "red2"}]
    differs = {(one.pair.first, one.pair.second): one.differs for one in report.variants}
    assert differs == {
        ("blue", "red"): {"color": ("blue", "Red")},
        ("blue", "red2"): {"color": ("blue", "red")},
        ("large", "small"): {"size": ("L", "S")},
    }
    assert {one.reason for one in report.refused} == {"variant"}
    both = find_duplicates(catalog, EXACT.model_copy(update={"variant_attributes": ()}))
    assert [len(members) for members in groups(both)] == [4, 2]


def test_the_most_complete_or_the_oldest_stands_for_all(build):
    rows = [
        {"id": "a", "photo": 1, "updated_at": "2024-05-01"},
        {"id": "b", "photo": 1, "updated_at": "2021-05-01"},
        {"id": "c", "photo": 1, "brand": "Acme", "price": 9.5, "updated_at": "2023-05-01"},
    ]
    catalog = build(rows)
    assert find_duplicates(catalog, EXACT).groups[0].canonical == "c"
    oldest = find_duplicates(catalog, EXACT.model_copy(update={"keep": "oldest"}))
    assert oldest.groups[0].members == ("b", "a", "c")


def test_only_what_fits_a_filter_is_compared(build):
    catalog = build(
        [
            {"id": "a", "photo": 1, "price": 5},
            {"id": "b", "photo": 1, "price": 6},
            {"id": "c", "photo": 1, "price": 60},
        ]
    )
    report = find_duplicates(catalog, where="price < 50")
    assert report.products == 2
    assert groups(report) == [("a", "b")]
    with pytest.raises(InputError, match="Did you mean 'price'"):
        find_duplicates(catalog, where="prize < 50")


def test_the_report_is_the_same_every_time_and_plain_for_json(build):
    import json

    rows = [
        {"id": f"p{n}", "photo": n % 7, "title": f"Thing {n}", "color": ("red", "blue")[n % 2]}
        for n in range(30)
    ]
    catalog = build(rows)
    first = find_duplicates(catalog, DuplicateSettings())
    second = find_duplicates(catalog, DuplicateSettings(), workers=3)
    assert first == second
    assert json.loads(json.dumps(first.to_dict()))["duplicates"] == first.duplicates > 0


def test_a_picture_that_has_gone_is_noted_and_compared_by_vectors(build, tmp_path):
    catalog = build([{"id": "a", "photo": 1}, {"id": "b", "photo": jpeg(photo(1), 70)}])
    (tmp_path / "photos" / "1.jpg").unlink()
    report = find_duplicates(catalog)
    assert any(
        "1 pictures could not be read" in note and "1.jpg: no such file" in note for note in report.notes
    )
    assert reasons(report) == {("a", "b"): ("similar_product",)}


def test_settings_that_look_at_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        DuplicateSettings(exact=False, perceptual=False, embedding=False)
    assert Thresholds().words().startswith("product at least 0.92,")
