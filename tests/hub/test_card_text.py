from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from verticlip.hub.card_text import (
    block,
    bounds,
    cell,
    code,
    fenced,
    inline,
    one_line,
    prose,
    sentence,
    table,
)

ATTACKS = [
    "a | b | c",
    "`code` **bold** _em_ ~~gone~~",
    "[click](javascript:alert(1))",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "---",
    "--- \n# heading\n---\nlicense: mit",
    "{name} {0} {{x}} {{ config.items() }}",
    "1. list\n2. list",
    "> quote",
    "- item",
    "+ item",
    "===",
    "# heading",
    "&lt;b&gt; &amp; &#60; AT&T",
    "back\\slash \\| \\",
    "|||",
    "``` fence ```",
    "$$x$$",
    "\x00\x07\u202e\u200b\ufeff\u2028x",
    "![image](data:text/html;base64,x)",
    "<https://example.org> <javascript:alert(1)>",
    "",
    "  ",
]

texts = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=60))


def to_html(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


def shown(rendered: str) -> str:
    """Return the text of HTML that holds no tag but paragraphs; any other tag fails."""
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    assert tags <= {"p"}, rendered
    return " ".join(html.unescape(re.sub(r"</?p>", "", rendered)).split())


@given(texts)
@settings(deadline=None)
def test_a_text_shows_as_itself_and_as_nothing_else(text):
    assert shown(to_html(block(text))) == one_line(text)
    assert "\n" not in inline(text)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4))
@settings(deadline=None)
def test_no_text_changes_the_shape_of_a_table(rows):
    made = to_html(
        table(["a", "b", "c"], [[cell(one), code(two), inline(three)] for one, two, three in rows])
    )
    assert made.count("<table>") == 1
    assert made.count("<tr>") == len(rows) + 1
    assert made.count("<td>") == 3 * len(rows)
    assert set(re.findall(r"<([a-z]+)", made)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    first = re.findall(r"<td>(.*?)</td>", made, re.DOTALL)[::3]
    wanted = [one_line(one) or "-" for one, _, _ in rows]
    assert [" ".join(html.unescape(found).split()) for found in first] == wanted


@given(texts)
@settings(deadline=None)
def test_nothing_closes_a_fence(text):
    made = to_html(fenced("bash", [text]) + "\n\nafter\n")
    assert made.count("<pre>") == 1
    assert made.endswith("<p>after</p>\n")


def test_stars_that_mark_nothing_are_stars():
    for text in ("2 * 3 * 4", "***x***", "* no*", "a ** b ** c"):
        assert shown(to_html(prose(text))) == text


@given(texts)
@settings(deadline=None)
def test_paragraphs_know_bold_and_code_and_nothing_more(text):
    made = to_html(prose(text))
    assert set(re.findall(r"<([a-z0-9]+)", made)) <= {"p", "strong", "em", "code"}


def test_marks_that_paragraphs_know_are_kept():
    made = to_html(prose("**What** *these* say:\n`x | y` at 1 < 2.\n\nSecond [no](http://link)."))
    assert made == (
        "<p><strong>What</strong> <em>these</em> say: x | y at 1 &lt; 2.</p>\n<p>Second [no](http://link).</p>\n"
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, ("0", "0")),
        (0.000129, 0.000121, ("0.0001", "0.0002")),
        (3.9, 10.4, ("3", "20")),
        (950, 951, ("900", "1000")),
        (0.25, 0.2, ("0.2", "0.2")),
        (1e-9, 5e20, ("0.000000001", "500000000000000000000")),
    ],
)
def test_bounds_show_one_digit_and_stay_bounds(low, high, expected):
    assert bounds(low, high) == expected


def test_a_sentence_has_one_capital_and_one_stop():
    assert sentence("two shapes, for tests.") == "Two shapes, for tests."
    assert sentence("") == ""
