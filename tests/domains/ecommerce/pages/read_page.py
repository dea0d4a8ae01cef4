"""What a browser makes of a page, and what every page must keep to."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"img", "meta", "rect", "br", "hr"}


class Page(HTMLParser):
    """Tags with attributes, and text by tag."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.text.setdefault(tag, []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self, tag):
        return "".join(self.text.get(tag, []))


def read(page: str) -> Page:
    """Return a page that has been checked: it loads and runs nothing, and reads well aloud."""
    found = Page(page)
    names = {name for name, _ in found.tags}
    assert not names & {"script", "iframe", "link", "object", "embed", "form", "base", "video", "audio"}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes
        for name in ("src", "href", "data", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name)
    policy = next(one["content"] for one in found.all("meta") if one.get("http-equiv"))
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "url(" not in style
    assert "@import" not in style
    for image in found.all("img"):
        assert image["alt"]
        assert image["width"]
    assert found.all("html") == [{"lang": "en"}]
    assert next(name for name, _ in found.tags if re.fullmatch("h[1-6]", name)) == "h1"
    assert len(found.all("h1")) == 1
    assert len({one["id"] for _, one in found.tags if "id" in one}) == sum(
        "id" in one for _, one in found.tags
    )
    page.encode("utf-8")
    return found
