"""The page of duplicates shows groups with their evidence and says what a merge would do."""

from __future__ import annotations

from dataclasses import replace

from ecommerce.pages.read_page import read
from PIL import Image
from verticlip.core.index.base import Identity
from verticlip.domains.ecommerce.duplicates.labels import Candidate
from verticlip.domains.ecommerce.duplicates.report import DuplicateReport, Group, Pair, Refusal, Variant
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings, Fit, Thresholds
from verticlip.domains.ecommerce.pages.duplicates import MOST_GROUPS, duplicates_page, shown_ids
from verticlip.domains.ecommerce.pages.pairs import pairs_page
from verticlip.domains.ecommerce.pages.shell import ProductCard
from verticlip.domains.ecommerce.pages.thumbnails import thumbnail

RED = thumbnail(Image.new("RGB", (30, 40), "red"))
PAIR = Pair("a", "b", ("similar_picture", "similar_product"), 3, 0.97, 0.98, None)
REPORT = DuplicateReport(
    version=4,
    made_by=Identity("ecommerce/tiny", "0123456789abcdef", "p", 4),
    settings=DuplicateSettings(),
    products=1_200,
    groups=(Group("b", ("b", "a"), (PAIR,)),),
    variants=(Variant(replace(PAIR, first="c", second="d"), {"color": ("red", "<blue>")}),),
    refused=(Refusal(replace(PAIR, first="e", second="f"), "chain", 0.61),),
    notes=("Nobody has measured the thresholds.",),
)
NASTY = "</section><script>x</script>"
CARDS = {
    name: ProductCard(name, f"{NASTY} {name}", {"supplier": NASTY}, RED if name in "ab" else None)
    for name in "abcdef"
}


def test_a_group_with_its_evidence_and_consequence():
    page = read(duplicates_page(REPORT, CARDS, catalog="Shop"))
    header = page.said("header")
    assert "1,200 products compared. 1 product could be marked as duplicates of 1 other." in header
    assert "Nothing has been changed." in header
    assert "Nobody has measured the thresholds." in header
    group = page.said("section")
    assert "Group 1: 2 products" in group
    assert "Merging keeps b and marks 1 duplicate of it." in group
    assert (
        page.said("td") == "abnearly the same picture (3 of 64 bits apart), alike as products0.9700.980none"
    )
    assert "Alike, but of another color" in group
    assert "<blue>" in group
    assert "Alike, but their groups as a whole are not: mean cosine 0.610" in group
    assert "Nobody has measured these thresholds." in page.said("footer")
    assert "Version 4, ecommerce/tiny, revision 0123456789ab" in page.said("footer")
    kept = [one for one in page.all("li") if one.get("class") == "kept"]
    assert len(kept) == 1


def test_what_was_done_and_measured_is_said():
    fit = Fit(
        target=0.99, confidence=0.95, pairs=900, positives=400, held_out=450, accepted=200, wrong=0,
        precision=1.0, precision_low=0.991, recall=0.8, joined=210, joined_wrong=7,
    )  # fmt: skip
    settings = DuplicateSettings(thresholds=Thresholds(fit=fit))
    report = replace(REPORT, settings=settings, notes=())
    page = read(duplicates_page(report, CARDS, catalog="Shop", done="1 duplicates marked."))
    assert "1 duplicates marked." in page.said("header")
    footer = page.said("footer")
    assert "precision 1.000, at least 0.991 with 95% confidence if pairs were drawn evenly; 80%" in footer
    assert "Groups, by all evidence, join 210 of them, of which 203 are right." in footer


def test_nothing_found():
    empty = replace(REPORT, groups=(), variants=(), refused=(), notes=())
    page = read(duplicates_page(empty, {}, catalog="Shop"))
    assert "none is there twice" in page.said("header")
    assert shown_ids(empty) == []


def test_a_long_report_says_what_it_leaves_out():
    members = tuple(f"m{n}" for n in range(30))
    pairs = tuple(Pair("m0", one, ("same_file",)) for one in members[1:]) * 2
    long = Group("m0", members, pairs)
    groups = (long, *(Group("b", ("b", "a"), (PAIR,)) for _ in range(MOST_GROUPS + 4)))
    report = replace(REPORT, groups=groups, variants=REPORT.variants * 60)
    assert len(shown_ids(report)) < 50
    page = read(duplicates_page(report, CARDS, catalog="Shop"))
    assert "5 smaller groups are not shown here" in page.said("main")
    assert "and 18 more" in page.said("section")
    assert "18 more pairs are not shown" in page.said("details")
    assert "20 more pairs are not shown" in page.said("main")


def test_pairs_to_label_are_numbered_like_the_table():
    pairs = [Candidate("a", "b", 0.9, None, None), Candidate("x", "a", 0.8, None, None)]
    page = read(pairs_page(pairs, CARDS, catalog="Shop"))
    assert page.said("h2") == "Pair 1Pair 2"
    assert page.said("h1") == "Is it the same product?"
    assert "No title" in page.said("h3")
