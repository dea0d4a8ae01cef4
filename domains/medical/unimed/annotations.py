"""The annotation files of the UniMed parts, as their authors distribute them, to rows with captions.

Every layout gives rows with ``id, path, label, text, split, group, locator, extras``; ``text`` is the
list of captions to draw from, by the rules of :mod:`.drawing`. Images are not touched.

Reference: section "Data" of mbzuai-oryx/UniMed-CLIP and its preparation scripts.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
    for number, found in enumerate(LAYOUTS[layout](*sources), 1):
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


def _labelled(path: Path) -> Iterator[dict[str, Any]]:
    """CheXpert, ChestX-ray8, RadImageNet, MIMIC-CXR: lists of path, labels, captions; perhaps a report."""
    for number, cells in enumerate(_csv(path), 1):
        if number == 1 and not cells[0].lstrip().startswith("["):
            continue  # a header
        where = f"{path.name} row {number}"
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


def _openi(path: Path, second: Path) -> Iterator[dict[str, Any]]:
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


def _retina(path: Path) -> Iterator[dict[str, Any]]:
    """Merged fundus label sets: captions of a class, and one sentence that the reference never draws."""
    for where, row in _table(path, "filename", "captions"):
        captions = _list(row["captions"], where)[:_TAKEN]
        yield {
            "image": row["filename"],
            "text": captions,
            "sentence": row.get("sentence_level_captions", ""),
        }


def _retina_keywords(path: Path) -> Iterator[dict[str, Any]]:
    """DEN: keywords instead of captions."""
    for where, row in _table(path, "image", "categories"):
        keywords = _list(row["categories"], where)
        # The misspelt column is the published one.
        further = row.get("atributes") or row.get("attributes") or ""
        text = ", ".join([*keywords, *(_list(further, where) if further else [])])
        yield {"image": row["image"], "labels": keywords, "text": [_FUNDUS_PREFIX + text] if text else []}


def _pairs(image: str, caption: str, suffix: str = "") -> Callable[[Path], Iterator[dict[str, Any]]]:
    """Return the reader of a CSV with one caption per image in the named columns."""

    def read(path: Path) -> Iterator[dict[str, Any]]:
        for _, row in _table(path, image, caption):
            yield {"image": row[image] + suffix, "text": [row[caption]]}

    return read


def _quilt(path: Path) -> Iterator[dict[str, Any]]:
    """Quilt-1M: caption in the second column, file name in the third."""
    for number, cells in enumerate(_csv(path), 1):
        if number == 1:
            continue  # the header names neither column reliably
        if len(cells) < 3:
            raise DataError(f"{path.name} row {number}: {len(cells)} columns, expected at least three.")
        yield {"image": cells[2], "text": [cells[1]]}


def _pmc_oa(path: Path) -> Iterator[dict[str, Any]]:
    """PMC-OA: one JSON object per line."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{path.name} line {number}"
                row = _parse(line, where)
                yield {
                    "image": _field(row, "image", str, where),
                    "text": [_field(row, "caption", str, where)],
                }


def _llava_alignment(path: Path) -> Iterator[dict[str, Any]]:
    """LLaVA-Med alignment: the answer of each conversation."""
    for number, row in enumerate(_json(path), 1):
        where = f"{path.name} entry {number}"
        turns = _field(row, "conversations", list, where)
        if len(turns) < 2:
            raise DataError(f"{where}: {len(turns)} turns, expected a question and an answer.")
        yield {"image": _field(row, "image", str, where), "text": [_field(turns[1], "value", str, where)]}


def _llava_instruct(path: Path) -> Iterator[dict[str, Any]]:
    """LLaVA-Med instruct: the figure's caption, then once more with its first mention in the text."""
    for entries in _json(path).values():
        for number, row in enumerate(entries, 1):
            where = f"{path.name} entry {number}"
            image = f"{_field(row, 'pair_id', str, where)}.jpg"
            yield {"image": image, "text": [_field(row, "fig_caption", str, where)]}
            mentions = row.get("in_text_mention") or []
            if mentions:
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


def _csv(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from (cells for cells in csv.reader(lines, strict=True) if cells)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: not valid CSV in UTF-8 ({error}).") from None


def _table(path: Path, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("file row n", {column: cell}) of a CSV with a header that has the needed columns."""
    header: list[str] | None = None
    for number, cells in enumerate(_csv(path), 1):
        if header is None:
            header = [cell.strip() for cell in cells]
            missing = [name for name in needed if name not in header]
            if missing:
                raise DataError(
                    f"{path.name}: no column {missing[0]!r}; columns: {', '.join(header)}."
                    f"{nearest(missing[0], header)}"
                )
        elif len(cells) != len(header):
            raise DataError(f"{path.name} row {number}: {len(cells)} cells for {len(header)} columns.")
        else:
            yield f"{path.name} row {number}", dict(zip(header, cells, strict=True))


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
        return _parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: cannot be read as UTF-8 text ({type(error).__name__}).") from None


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}).") from None


def _field(row: Any, name: str, kind: type | Sequence[type], where: str) -> Any:
    """Return one field of a JSON object after checking that it is there and of its kind."""
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):  # pyright: ignore[reportArgumentType]
        raise DataError(f"{where}: no {name!r} of the expected kind. It is a file of another layout.")
    return value
