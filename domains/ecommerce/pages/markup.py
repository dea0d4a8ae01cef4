"""HTML built from elements: text is escaped wherever it stands, because titles come from anybody's feed."""

from __future__ import annotations

import html
import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that HTML does not allow, halves of characters among them."""
_VOID = frozenset({"img", "meta", "br", "hr", "rect"})


class Markup(str):
    """HTML that goes into a page as it is; every other string is text."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Return text as HTML that shows it, also between quotes; what HTML does not allow becomes U+FFFD."""
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True))


def element(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """Return one element.

    Args:
        name: of the tag.
        children: markup as it is, other strings escaped, None left out.
        attributes: ``class_`` stands for ``class`` and ``aria_label`` for ``aria-label``; True is an
            attribute without a value, False and None leave it out.

    Example:
        >>> element("p", "a < b", element("b", "!"), class_="note")
        '<p class="note">a &lt; b<b>!</b></p>'
    """
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Return markup one after the other; other strings are escaped and None is left out."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escaped(child) for child in children if child is not None
        )
    )


def _attribute(key: str, value: str | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escaped(str(value))}"'


def cut(text: str, letters: int) -> str:
    """Return text on one line, at most so many letters long; what was cut off shows as an ellipsis."""
    line = " ".join(text[: 4 * letters].split())
    return line if len(line) <= letters else line[: letters - 1].rstrip() + "…"
