"""Whether a card says what the folder's records say, in a form that the Hub accepts."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

from ..core.config import parse_yaml
from ..core.errors import ConfigError
from ..core.files import CARD_FILE
from .card_header import PIPELINES
from .licences import HUB_LICENCES, OTHER

NOTE = "\n## Note\n"

_HEADER = re.compile(r"---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_PLACE = re.compile(r"(?<!\\)\{[a-z_]+\}")
_MOST = 5


def problems_of(text: str, rendered: str) -> list[str]:
    """Return what is wrong with a card, compared with the one that its folder gives."""
    header, body = split_card(text)
    if header is None:
        return ["The card does not begin with metadata between '---' lines that can be read."]
    wanted, wanted_body = split_card(rendered)
    found = _metadata_problems(header)
    titles = re.findall(r"^## (.+?)\s*$", body, re.MULTILINE)
    needed = re.findall(r"^## (.+?)\s*$", wanted_body, re.MULTILINE)
    found += [f"The section {title!r} is missing." for title in needed if title not in titles]
    prose_only = re.sub(r"(?s)```.*?\n```", "", body)
    found += [f"A place was left unfilled: {one}." for one in dict.fromkeys(_PLACE.findall(prose_only))]
    found += _header_differences(header, wanted or {})
    return found + _body_differences(body.partition(NOTE)[0].rstrip("\n"), wanted_body.rstrip("\n"))


def split_card(text: str) -> tuple[dict[str, Any] | None, str]:
    """Return the metadata of a card, or None where there is none that is sound, and the rest.

    The card may be anybody's: an alias, which can stand for a billion values, is not sound.
    """
    match = _HEADER.match(text)
    if match is None:
        return None, text
    try:
        header = parse_yaml(match[1], source=CARD_FILE)
    except ConfigError:
        return None, text
    return (header if isinstance(header, dict) else None), text[match.end() :]


def _metadata_problems(header: dict[str, Any]) -> list[str]:
    """Return what the Hub would not accept or not show."""
    found = []
    licence = header.get("license")
    if licence not in HUB_LICENCES:
        found.append(f"Metadata: license {licence!r:.60} is no identifier of the Hub.")
    if licence == OTHER and not (header.get("license_name") and header.get("license_link")):
        found.append("Metadata: license other needs license_name and license_link.")
    if header.get("library_name") != "verticlip":
        found.append("Metadata: library_name is not verticlip.")
    if header.get("pipeline_tag") not in PIPELINES:
        found.append(f"Metadata: pipeline_tag {header.get('pipeline_tag')!r:.60} is no task of the Hub.")
    tags = header.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or "verticlip" not in tags:
        found.append("Metadata: tags lack verticlip, or are no list of words.")
    return found + _index_problems(header)


def _index_problems(header: dict[str, Any]) -> list[str]:
    """Return why the Hub's own reader refuses the metadata."""
    from huggingface_hub import ModelCardData

    try:
        ModelCardData(**{str(key): value for key, value in header.items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return [f"Metadata: the Hub's reader refuses it: {' '.join(str(error).split())[:200]}"]
    return []


def _header_differences(header: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    keys = dict.fromkeys([*wanted, *header])
    return [
        f"Metadata: {key} is {_short(header.get(key))}; the folder's records give {_short(wanted.get(key))}."
        for key in keys
        if header.get(key) != wanted.get(key)
    ]


def _short(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _body_differences(body: str, wanted: str) -> list[str]:
    found = []
    title = "the beginning"
    for mine, theirs in zip_longest(body.splitlines(), wanted.splitlines()):
        if theirs is not None and theirs.startswith("## "):
            title = repr(theirs[3:])
        if mine != theirs:
            found.append(f"In {title}: {_short(mine)}; the folder's records give {_short(theirs)}.")
        if len(found) == _MOST:
            return [*found, "There may be more; write the card again."]
    return found
