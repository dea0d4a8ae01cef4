"""The annotation files of the UniMed parts, as their authors distribute them, to rows with captions.

Every layout gives rows with ``id, path, label, text, split, group, locator, extras``; ``text`` is the
list of captions to draw from, by the rules of :mod:`.drawing`. Images are not touched.

Reference: section "Data" of mbzuai-oryx/UniMed-CLIP and its preparation scripts.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ....core.data.tables import csv_rows, json_rows, table_rows
from ....core.errors import ConfigError, DataError, nearest
from ....core.files import unique_keys
from ....core.limits import DEFAULT, Limits
from .captions import LABEL_SEPARATOR, Row
from .drawing import NO_REPORT

_TAKEN = 10
"""How many captions of a class the reference draws from."""
_FUNDUS_PREFIX = "The fundus image of "
"""What the reference puts before the keywords of DEN."""


def read_annotations(
    path: str | Path, *, layout: str, images: str = "", second: str = "", limits: Limits = DEFAULT
) -> list[Row]:
    """Return one row per image-text pair of one part's annotation file.

    Args:
        path: the annotation file.
        layout: one of :data:`LAYOUTS`.
        images: folder of the images, relative to that of ``path``; "" is the same folder.
        second: ``openai_refined_concepts.json`` of layout ``openi``, relative likewise.
        limits: ceilings on file size and text length.

    Raises:
        ConfigError: unknown layout, or ``second`` missing or not wanted.
        DataError: a row that is not of the layout; its number is named.
    """
    path = Path(path)
    if layout not in LAYOUTS:
        raise ConfigError(f"No layout {layout!r}; there are: {', '.join(LAYOUTS)}.{nearest(layout, LAYOUTS)}")
    if bool(second) != (layout == "openi"):
        raise ConfigError(f"layout {layout!r}: 'second' is for layout 'openi', which needs it.")
    sources = [path, path.parent / second] if second else [path]
    for source in sources:
        if not source.is_file():
            raise DataError(f"{source.name}: no such file. Give the annotation file of the part.")
        limits.check("file_bytes", source.stat().st_size, what=f"{source.name}: bytes")
    root = path.parent / images
    rows = []
    for number, found in enumerate(LAYOUTS[layout](*sources, limits=limits), 1):
        texts = list(dict.fromkeys(text.strip() for text in found["text"] if text.strip()))
        if not texts:
            raise DataError(f"{path.name} row {number}: has no caption. Remove the row.")
        limits.check("text_chars", max(map(len, texts)), what=f"{path.name} row {number}: characters")
        rows.append(_row(path.name, number, root, {**found, "text": texts}))
    if not rows:
        raise DataError(f"{path.name}: has no rows of layout {layout!r}.")
    _number_repeats(rows)
    return rows


def _row(name: str, number: int, root: Path, found: dict[str, Any]) -> Row:
    image = str(found["image"])
    if not image or Path(image).is_absolute() or ".." in Path(image.replace("\\", "/")).parts:
        raise DataError(f"{name} row {number}: the image path is empty or leaves its folder. Mend it.")
    labels = found.get("labels") or []
    extras = {key: value for key, value in found.items() if key not in ("image", "text") and value}
    return {
        "id": image,
        "path": str(root / image),
        "label": LABEL_SEPARATOR.join(labels) or None,
        "text": found["text"],
        "split": None,
        "group": None,
        "locator": None,
        "extras": extras,
    }


def _number_repeats(rows: list[Row]) -> None:
    """Give further rows of the same image ids of their own; they share a group."""
    seen: dict[str, int] = {}
    for row in rows:
        count = seen[row["id"]] = seen.get(row["id"], 0) + 1
        if count > 1:
            row["group"], row["id"] = row["id"], f"{row['id']}#{count}"
    for row in rows:
        if seen.get(row["id"], 0) > 1:
            row["group"] = row["id"]


def _labelled(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """CheXpert, ChestX-ray8, RadImageNet, MIMIC-CXR: lists of path, labels, captions; perhaps a report."""
    for position, (where, cells) in enumerate(csv_rows(path, limits)):
        if not position and not cells[0].lstrip().startswith("["):
            continue  # a header
        if len(cells) < 3:
            raise DataError(f"{where}: {len(cells)} columns, expected path, labels and captions.")
        image, labels, captions = (_list(cell, where) for cell in cells[:3])
        if len(image) != 1:
            raise DataError(f"{where}: {len(image)} image paths, expected one.")
        report = cells[3].strip() if len(cells) > 3 else ""
        report = "" if report in (NO_REPORT, "nan") else report
        captions = captions[:_TAKEN]
        yield {
            "image": image[0],
            "labels": labels,
            "text": [report] if report else captions,
            "report": report,
            "captions": captions if report else [],
        }


def _openi(path: Path, second: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """OpenI: reports, and rewrites of each, which the reference stores and never draws."""
    reports = _field(_json(path), "annotations", list, path.name)
    rewrites = _field(_json(second), "refined_captions", list, second.name)
    if len(reports) != len(rewrites):
        raise DataError(
            f"{path.name} has {len(reports)} reports and {second.name} {len(rewrites)} lists of rewrites. "
            "They belong to different versions."
        )
    for number, (report, rewritten) in enumerate(zip(reports, rewrites, strict=True), 1):
        where = f"{path.name} annotation {number}"
        image = _field(report, "image_id", str, where)
        yield {
            "image": f"{image}.png",
            "text": [_field(report, "caption", str, where)],
            "rewrites": rewritten,
        }


def _retina(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """Merged fundus label sets: captions of a class, and one sentence that the reference never draws."""
    for where, row in table_rows(path, limits, needed=("filename", "captions")):
        captions = _list(row["captions"], where)[:_TAKEN]
        yield {
            "image": row["filename"],
            "text": captions,
            "sentence": row.get("sentence_level_captions", ""),
        }


def _retina_keywords(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """DEN: keywords instead of captions."""
    for where, row in table_rows(path, limits, needed=("image", "categories")):
        keywords = _list(row["categories"], where)
        # The misspelt column is the published one.
        further = row.get("atributes") or row.get("attributes") or ""
        text = ", ".join([*keywords, *(_list(further, where) if further else [])])
        yield {"image": row["image"], "labels": keywords, "text": [_FUNDUS_PREFIX + text] if text else []}


def _pairs(image: str, caption: str, suffix: str = "") -> Callable[..., Iterator[dict[str, Any]]]:
    """Return the reader of a CSV with one caption per image in the named columns."""

    def read(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
        for _, row in table_rows(path, limits, needed=(image, caption)):
            yield {"image": row[image] + suffix, "text": [row[caption]]}

    return read


def _quilt(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """Quilt-1M: caption in the second column, file name in the third."""
    for position, (where, cells) in enumerate(csv_rows(path, limits)):
        if not position:
            continue  # the header names neither column reliably
        if len(cells) < 3:
            raise DataError(f"{where}: {len(cells)} columns, expected at least three.")
        yield {"image": cells[2], "text": [cells[1]]}


def _pmc_oa(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """PMC-OA: one JSON object per line."""
    for where, row in json_rows(path, limits):
        yield {"image": _field(row, "image", str, where), "text": [_field(row, "caption", str, where)]}


def _llava_alignment(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """LLaVA-Med alignment: the answer of each conversation."""
    for number, row in enumerate(_of_kind(_json(path), list, path.name), 1):
        where = f"{path.name} entry {number}"
        turns = _field(row, "conversations", list, where)
        if len(turns) < 2:
            raise DataError(f"{where}: {len(turns)} turns, expected a question and an answer.")
        yield {"image": _field(row, "image", str, where), "text": [_field(turns[1], "value", str, where)]}


def _llava_instruct(path: Path, *, limits: Limits) -> Iterator[dict[str, Any]]:
    """LLaVA-Med instruct: the figure's caption, then once more with its first mention in the text."""
    for key, entries in _of_kind(_json(path), dict, path.name).items():
        for number, row in enumerate(_of_kind(entries, list, f"{path.name} {key!r:.80}"), 1):
            where = f"{path.name} {key!r:.80} entry {number}"
            image = f"{_field(row, 'pair_id', str, where)}.jpg"
            yield {"image": image, "text": [_field(row, "fig_caption", str, where)]}
            mentions = row.get("in_text_mention") or []
            if _of_kind(mentions, list, f"{where} 'in_text_mention'"):
                yield {"image": image, "text": [_field(mentions[0], "tokens", str, where)]}


LAYOUTS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "labelled": _labelled,
    "openi": _openi,
    "retina": _retina,
    "retina_keywords": _retina_keywords,
    "retina_pairs": _pairs("image", "caption"),
    "roco": _pairs("id", "caption", ".jpg"),
    "quilt": _quilt,
    "pmc_oa": _pmc_oa,
    "llava_alignment": _llava_alignment,
    "llava_instruct": _llava_instruct,
}
"""{layout: reader}; ``labelled`` serves CheXpert, ChestX-ray8, RadImageNet and MIMIC-CXR."""


def _list(cell: str, where: str) -> list[str]:
    """Return the strings of a Python list literal; nothing in it is run."""
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise DataError(f"{where}: {cell[:60]!r} is not a list such as ['a', 'b'].")
    return [str(item) for item in value]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique_keys)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: cannot be read as UTF-8 text ({type(error).__name__}).") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: not valid JSON ({error}).") from None


def _field(row: Any, name: str, kind: type, where: str) -> Any:
    """Return one field of a JSON object after checking that it is there and of its kind."""
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{where}: no {name!r} of the expected kind. It is a file of another layout.")
    return value


def _of_kind(value: Any, kind: type, where: str) -> Any:
    """Return a list or an object of a JSON file after checking that it is one."""
    if not isinstance(value, kind):
        found = type(value).__name__
        raise DataError(
            f"{where}: holds a JSON {found}, expected a {kind.__name__}. It is a file of another layout."
        )
    return value
