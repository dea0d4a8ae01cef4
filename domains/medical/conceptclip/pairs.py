"""Reading figure-caption pairs with concept spans.

Two layouts of the same JSON lines exist. The full one has, per concept, characters, tokens and a
UMLS identifier; the minimised one has pairs of numbers, which are characters although the published
training code reads them as tokens. Neither counts characters of the caption itself, see
:mod:`.decoded`. What leaves this module are characters of the caption; :mod:`.collate` makes token
spans of them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args, overload

import numpy as np

from ....core.errors import ConfigError, DataError, nearest
from ....core.limits import DEFAULT, Limits
from .decoded import DecodedText, spelled

Row = dict[str, Any]
Offsets = Literal["decoded", "caption", "tokens"]
OnBad = Literal["error", "drop"]

_TEXT, _IMAGE, _CONCEPTS = "caption", "image", "umls_meta_info"


@dataclass(frozen=True)
class PairKeys:
    """Names of the three fields of a line."""

    caption: str = _TEXT
    image: str = _IMAGE
    concepts: str = _CONCEPTS


class ConceptPairs(Sequence[Row]):
    """The lines of a JSON-lines file of figure-caption pairs, each parsed when it is asked for.

    Memory holds eight bytes per line, so that files of tens of millions of lines can be read through. That
    holds for this class alone: a training run keeps every row, see :func:`read_concept_jsonl`.

    Args:
        path: the file.
        images: folder that the image names start from; None is the folder of the file.
        keys: names of the fields.
        offsets: what the two ends of a concept count. ``"decoded"``: characters of the caption as a
            tokenizer writes it back, as in the published files (:mod:`.decoded`); ``"caption"``:
            characters of the caption; ``"tokens"``: of two numbers without a key, word pieces. Where an
            entry states its ``tokens``, the reading that spells them is taken.
        on_bad: ``"error"`` for a concept that cannot be placed, or ``"drop"`` it and count it in
            ``extras["unplaced"]``.
        limits: ceilings on rows and caption length.

    Each row is ``{"id", "path", "text", "group", "extras"}``. ``extras["concepts"]`` lists
    ``{"start", "end", "phrase", "cui"?}`` in characters of the caption, or ``{"tokens": [start, end]}``.
    Figures of one article form a group.

    Raises:
        DataError: the file is missing or empty. Reading a row: it is not a pair, its image lies outside
            the folder, or a span is outside its caption; the line and the span are named.

    Example:
        >>> row = ConceptPairs("captions.jsonl", images="figures")[0]
        >>> row["extras"]["concepts"][0]["phrase"]
        'breast implant'
    """

    def __init__(
        self,
        path: str | Path,
        *,
        images: str | Path | None = None,
        keys: PairKeys | None = None,
        offsets: Offsets = "decoded",
        on_bad: OnBad = "error",
        limits: Limits = DEFAULT,
    ) -> None:
        self.path = Path(path)
        self.images = self.path.parent if images is None else Path(images)
        self.offsets: Offsets = offsets
        self.on_bad: OnBad = on_bad
        self.keys, self.limits = keys or PairKeys(), limits
        for name, value, known in (
            ("offsets", offsets, get_args(Offsets)),
            ("on_bad", on_bad, get_args(OnBad)),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r} is none of {', '.join(known)}.{nearest(value, known)}")
        if not self.path.is_file():
            raise DataError(f"{self.path.name}: no such file. Give the JSON-lines file of the captions.")
        self._starts = _line_starts(self.path, limits)
        if not len(self._starts):
            raise DataError(f"{self.path.name}: holds no line. Give the JSON-lines file of the captions.")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return list(self._rows(range(len(self))[index]))
        return next(self._rows([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Row]:
        return self._rows(range(len(self)))

    def _rows(self, indices: Iterable[int]) -> Iterator[Row]:
        ceiling = self.limits.config_bytes
        with self.path.open("rb") as handle:
            for index in indices:
                handle.seek(int(self._starts[index]))
                # Reading with a ceiling: a line without an end must not fill the memory.
                line = handle.readline(ceiling + 1)
                self.limits.check(
                    "config_bytes", len(line), what=f"{self.path.name}: line {index + 1}: bytes"
                )
                yield self._row(line, index)

    def _row(self, line: bytes, index: int) -> Row:
        where = f"{self.path.name}: line {index + 1}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{where} is not JSON. Remove or repair it.") from None
        if not isinstance(record, dict):
            raise DataError(
                f"{where} is {type(record).__name__}, expected an object with {self.keys.caption!r}."
            )
        caption, image = record.get(self.keys.caption), record.get(self.keys.image)
        for key, value in ((self.keys.caption, caption), (self.keys.image, image)):
            if not isinstance(value, str) or not value.strip():
                raise DataError(
                    f"{where}: {key!r} is {value!r:.60}, expected a text. It has: {', '.join(record)}."
                )
        caption, image = str(caption), str(image)
        self.limits.check("text_chars", len(caption), what=f"{where}: characters of the caption")
        found = record.get(self.keys.concepts) or []
        if not isinstance(found, list):
            raise DataError(f"{where}: {self.keys.concepts!r} is {type(found).__name__}, expected a list.")
        concepts, unplaced = self._concepts(found, caption, where)
        name = PurePosixPath(image.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts:
            raise DataError(
                f"{where}: the image {image!r:.80} lies outside the image folder. Use a name inside."
            )
        return {
            "id": f"line-{index + 1}",
            "path": str(self.images / name),
            "text": caption,
            "group": _article(record, name),
            "extras": {"concepts": concepts, **({"unplaced": unplaced} if unplaced else {})},
        }

    def _concepts(self, found: list[Any], caption: str, where: str) -> tuple[list[dict[str, Any]], int]:
        """Return the concepts of a line that could be placed, and how many could not."""
        reader = _ConceptReader(caption, self.offsets)
        concepts, unplaced = [], 0
        for number, one in enumerate(found):
            try:
                concepts.append(reader.read(one, f"{where}, span {number}"))
            except DataError:
                if self.on_bad == "error":
                    raise
                unplaced += 1
        return concepts, unplaced


def read_concept_jsonl(
    path: str | Path,
    *,
    images: str | None = None,
    offsets: Offsets = "decoded",
    on_bad: OnBad = "error",
    limits: Limits = DEFAULT,
) -> list[Row]:
    """Return every row of a JSON-lines file of figure-caption pairs; see :class:`ConceptPairs`.

    What training recipes read. The rows are all held, and so are their decoded images for the length of
    the run: a few hundred thousand figures are the practical limit. A corpus of millions needs a loop of
    one's own over :class:`ConceptPairs`.

    Args:
        path: the file.
        images: image folder relative to the file's own folder; None is that folder.
        offsets, on_bad: as in :class:`ConceptPairs`.

    Raises:
        DataError: as :class:`ConceptPairs`, for any row.
    """
    folder = Path(path).parent if images is None else Path(path).parent / images
    return list(ConceptPairs(path, images=folder, offsets=offsets, on_bad=on_bad, limits=limits))


def _line_starts(path: Path, limits: Limits) -> np.ndarray:
    """Return the byte where each non-blank line starts, int64."""
    starts: list[np.ndarray] = []
    position = rows = 0
    with path.open("rb") as handle:
        previous = b"\n"
        while block := handle.read(1 << 24):
            data = np.frombuffer(previous + block, dtype=np.uint8)
            # A line starts where the byte before is a newline and the byte itself is none.
            begins = np.flatnonzero((data[:-1] == 10) & (data[1:] != 10) & (data[1:] != 13))
            starts.append(begins + position)
            position += len(block)
            rows += len(begins)
            limits.check("manifest_rows", rows, what=f"{path.name}: rows")
            previous = block[-1:]
    return np.concatenate(starts) if starts else np.empty(0, dtype=np.int64)


class _ConceptReader:
    """Places the concepts of one line in its caption."""

    def __init__(self, caption: str, offsets: Offsets) -> None:
        self.caption = caption
        self.offsets: Offsets = offsets

    @functools.cached_property
    def decoded(self) -> DecodedText:
        return DecodedText(self.caption)

    def read(self, one: Any, where: str) -> dict[str, Any]:
        """Return one concept as it stands in ``extras``.

        Raises:
            DataError: it is no span, lies outside the caption, or its words are not there.
        """
        entry = one if isinstance(one, Mapping) else {}
        ends = list(one) if isinstance(one, (list, tuple)) else []
        offsets: Offsets = self.offsets
        if entry:
            ends = [entry.get("start_char"), entry.get("end_char")]
            if offsets == "tokens":
                offsets = "decoded"
            if ends == [None, None]:
                ends, offsets = [entry.get("start_token"), entry.get("end_token")], "tokens"
        whole = [end for end in ends if isinstance(end, int) and not isinstance(end, bool)]
        if len(whole) != 2 or len(ends) != 2:
            raise DataError(f"{where}: {one!r:.80} is not a span; expected [start, end) in whole numbers.")
        start, end = whole
        if offsets == "tokens":
            if not 0 <= start < end:
                raise DataError(f"{where}: [{start}, {end}) is not a span of tokens counted from 0.")
            return {"tokens": [start, end]}
        pieces = entry.get("tokens")
        words = spelled([str(piece) for piece in pieces]) if isinstance(pieces, list) and pieces else None
        start, end = self._place(start, end, offsets, words, where)
        found: dict[str, Any] = {"start": start, "end": end, "phrase": self.caption[start:end]}
        if isinstance(entry.get("umls_cui"), str):
            found["cui"] = entry["umls_cui"]
        return found

    def _place(
        self, start: int, end: int, offsets: Offsets, words: str | None, where: str
    ) -> tuple[int, int]:
        """Return characters of the caption."""
        if words is not None:
            if offsets == "caption" and DecodedText(self.caption[max(start, 0) : end]).text == words:
                return start, end
            decoded = self.decoded
            place = (start, end) if decoded.text[max(start, 0) : end] == words else decoded.find(words, start)
            at = decoded.to_caption(*place) if place else None
            if at is None:
                raise DataError(
                    f"{where}: the words {words!r:.80} at [{start}, {end}) are not in the caption. Repair or "
                    "remove it."
                )
            return at
        size = len(self.caption if offsets == "caption" else self.decoded.text)
        at = (start, end) if offsets == "caption" else self.decoded.to_caption(start, end)
        if not 0 <= start < end <= size or at is None:
            kind = "caption" if offsets == "caption" else "decoded caption"
            raise DataError(
                f"{where}: [{start}, {end}) is outside the {kind} of {size} characters. Repair or remove it; "
                f"this file was read with offsets={offsets!r}."
            )
        return at


def _article(record: Mapping[str, Any], image: PurePosixPath) -> str | None:
    """Return the article a figure comes from: a field of the line, or a PMC folder in the image's name."""
    for key in ("pmc", "pmcid", "pmid"):
        value = record.get(key)
        if isinstance(value, (str, int)) and str(value).strip():
            return f"{key}:{value}"
    return next((f"pmc:{part[3:]}" for part in image.parts[:-1] if part.startswith("PMC")), None)
