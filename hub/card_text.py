"""Text of others in Markdown: it stays text, whatever it contains."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

_ALWAYS = re.compile(r"[\\`*\[\]{}|~$]")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_STARTS_BLOCK = re.compile(r"^(?:[-+#=:]|\d+[.)])")
_MARKED = re.compile(r"`([^`]+)`|(?<!\*)(\*{1,2})(?=[^\s*])([^*]+)(?<=[^\s*])\2(?!\*)")


def one_line(value: object) -> str:
    """Return a value as one line of text without control, direction and unassigned characters."""
    words = " ".join(str(value).split())
    # Surrogates and private characters are letters of nothing; direction marks would reorder what is read.
    return "".join(char for char in words if unicodedata.category(char)[0] != "C").strip()


def inline(value: object) -> str:
    """Return a value as Markdown that shows exactly its text: no emphasis, link, HTML, code or border."""
    text = _ALWAYS.sub(r"\\\g<0>", one_line(value))
    text = _ENTITY.sub("&amp;", _UNDERSCORE.sub(r"\\_", text))
    return text.replace("<", "&lt;").replace(">", "&gt;")


def block(value: object) -> str:
    """Return :func:`inline` text that may begin a line: no heading, list, rule or quote."""
    text = inline(value)
    found = _STARTS_BLOCK.match(text)
    if not found:
        return text
    place = found.end() - 1
    return f"{text[:place]}\\{text[place:]}"


def cell(value: object) -> str:
    """Return :func:`inline` text for a table; nothing becomes a dash."""
    return inline(value) or "-"


def code(value: object) -> str:
    """Return a value as a code span, which may also stand in a table."""
    text = one_line(value)
    if not text:
        return "-"
    if "|" in text:
        # A border of the table even inside a span; the escape would show outside of tables.
        return inline(text)
    marks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{marks}{pad}{text}{pad}{marks}"


def fenced(language: str, lines: Iterable[str]) -> str:
    """Return lines of code in a fence that nothing in them can close."""
    text = "\n".join(line for given in lines for line in str(given).splitlines() or [""])
    marks = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{marks}{language}\n{text}\n{marks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are Markdown already (:func:`cell`, :func:`code`)."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(text: str) -> str:
    """Return paragraphs of text in which only ``*stress*``, ``**bold**`` and spans of code mean anything."""
    paragraphs = (one_line(part) for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(_marked(part) for part in paragraphs if part)


def _marked(paragraph: str) -> str:
    parts, place = [], 0
    for found in _MARKED.finditer(paragraph):
        parts.append(inline_kept(paragraph[place : found.start()]))
        parts.append(code(found[1]) if found[1] else f"{found[2]}{inline(found[3])}{found[2]}")
        place = found.end()
    whole = "".join([*parts, inline_kept(paragraph[place:])]).strip()
    start = _STARTS_BLOCK.match(whole)
    return whole if not start else f"{whole[: start.end() - 1]}\\{whole[start.end() - 1 :]}"


def inline_kept(text: str) -> str:
    """Return :func:`inline` text with the spaces at its ends."""
    if not text.strip():
        return " " if text else ""
    lead, tail = text[0].isspace(), text[-1].isspace()
    return f"{' ' if lead else ''}{inline(text)}{' ' if tail else ''}"


def sentence(text: object) -> str:
    """Return text as one sentence: a capital first, a full stop last."""
    words = one_line(text).rstrip(".")
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def bounds(low: float, high: float) -> tuple[str, str]:
    """Return the bounds of an estimate to one digit: the lower one rounded down, the upper one up."""
    return _one_digit(low, ROUND_FLOOR), _one_digit(high, ROUND_CEILING)


def _one_digit(value: float, rounding: str) -> str:
    exact = Decimal(repr(value))
    if not exact:
        return "0"
    shown = f"{exact.quantize(Decimal(1).scaleb(exact.adjusted()), rounding=rounding):f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
