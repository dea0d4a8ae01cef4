"""Whatever stands in a feed is text on the page, and never more than that."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from verticlip.domains.ecommerce.pages.markup import Markup, cut, element, escaped, joined


class Reader(HTMLParser):
    """Collects tags, attributes and text as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_elements():
    assert element("p", "a < b", element("b", "!"), class_="note") == '<p class="note">a &lt; b<b>!</b></p>'
    assert element("img", alt='"', width=3, hidden=True, title=None) == '<img alt="&quot;" width="3" hidden>'
    assert element("div", aria_label="x & y") == '<div aria-label="x &amp; y"></div>'
    assert element("meta", name="robots") == '<meta name="robots">'
    assert joined("<", None, Markup("<br>")) == "&lt;<br>"
    assert isinstance(joined("a"), Markup)


@given(st.text())
def test_text_comes_out_of_a_browser_as_it_went_in(text):
    shown = escaped(text).replace("\r", "\n")
    read = Reader(f'<p title="{shown}">{shown}</p>')
    assert [tag for tag, _ in read.tags] == ["p"]
    # What HTML does not allow becomes a replacement character; line ends are one to a browser.
    expected = "".join(
        "\ufffd"
        if (ord(one) < 32 and one not in "\t\n\r")
        or 127 <= ord(one) < 160
        or 0xFDD0 <= ord(one) <= 0xFDEF
        or ord(one) in (0xFFFE, 0xFFFF)
        else one
        for one in text
    )
    assert read.text == expected.replace("\r", "\n")


def test_half_a_character_becomes_a_mark():
    assert escaped("a\ud800b\x00") == "a\ufffdb\ufffd"
    escaped("a\ud800").encode("utf-8")


@given(st.text(), st.integers(1, 50))
def test_cut_keeps_to_its_length(text, letters):
    short = cut(text, letters)
    assert len(short) <= letters
    assert "\n" not in short


def test_cut_says_that_it_cut():
    assert cut("one  two\nthree", 20) == "one two three"
    assert cut("one two three", 8) == "one two…"
    assert cut("x" * 1_000_000, 5) == "xxxx…"
