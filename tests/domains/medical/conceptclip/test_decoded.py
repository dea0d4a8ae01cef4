from __future__ import annotations

import pytest
from verticlip.domains.medical.conceptclip.decoded import DecodedText, spelled


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("MRI (T1): edema.", "mri ( t1 ) : edema."),
        ("A, B; C!  D?", "a, b ; c! d?"),
        ("Crohn's disease isn't 'old'", "crohn ' s disease isn ' t ' old '"),
        ("caf\u00e9 \u0391\u03b2", "cafe \u03b1\u03b2"),
        ("x\u00b2 5% \u00b1 2", "x\u00b2 5 % \u00b1 2"),
        ("", ""),
    ],
)
def test_captions_as_the_tokenizer_writes_them_back(caption, text):
    decoded = DecodedText(caption)
    # Blanks around an apostrophe go as well.
    assert decoded.text == text.replace(" ' ", "'")


def test_every_word_leads_back_to_itself():
    caption = (
        "Axial T2-weighted MRI (3 T): ring-enhancing lesion, 2.5 cm; patient\u2019s caf\u00e9-au-lait spots."
    )
    decoded = DecodedText(caption)
    for words in ("axial", "t2", "ring", "lesion", "spots"):
        place = decoded.find(words, 0)
        start, end = decoded.to_caption(*place)
        assert caption[start:end].lower() == words
    start, end = decoded.to_caption(*decoded.find("2. 5", 0))
    assert caption[start:end] == "2.5"
    start, end = decoded.to_caption(*decoded.find("cafe", 0))
    assert caption[start:end] == "caf\u00e9"
    assert decoded.to_caption(500, 510) is None
    assert decoded.find("glioma", 0) is None


def test_the_nearest_of_several_places():
    decoded = DecodedText("left lung and right lung and lungs")
    assert decoded.find("lung", 4) == (5, 9)
    assert decoded.find("lung", 30) == (20, 24)


def test_pieces_are_joined():
    assert spelled(["mamm", "##ogram"]) == "mammogram"
    assert spelled(["skin", "incision", ",", "site"]) == "skin incision, site"
