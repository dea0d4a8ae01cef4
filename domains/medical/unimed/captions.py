"""Labelled images to image-text pairs: a bank of captions by label set, and who writes them.

Labels become text once, in a file that people can read and edit; training draws one caption per
image and epoch from it.

Reference: Khattak et al., "UniMed-CLIP", 2024 (arXiv 2412.10372); what wrote their captions is not
published, so the writers here are our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ....core.config import Config, parse_config
from ....core.data import Manifest
from ....core.errors import ConfigError, DataError, nearest
from ....core.files import read_json, write_json_atomic
from ....core.limits import DEFAULT, Limits
from ....core.prompts import normalize_label
from .drawing import tags_in
from .templates import CaptionRequest, TemplateCaptions, concept_phrases

Row = dict[str, Any]
LabelSet = tuple[str, ...]
Writer = Callable[[CaptionRequest], "list[str]"]
"""Writes captions for a request; :class:`TemplateCaptions` is one, :func:`language_model` makes one."""

LABEL_SEPARATOR = "; "
"""Joins the labels of one image where one string has to stand for all of them."""


class CaptionEntry(Config):
    """Captions of one label set of one data set."""

    dataset: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    """All labels of an image together; their order does not count."""
    captions: tuple[str, ...] = Field(min_length=1)
    modality: str = ""
    anatomy: str = ""
    writer: str = ""
    """Who wrote them: ``templates``, the name of a language model, ``hand`` ..."""

    @field_validator("labels", "captions")
    @classmethod
    def _texts(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            if not text.strip():
                raise ValueError("an empty text; remove it")
            if tags_in(text):
                raise ValueError(
                    f"{text[:60]!r} contains {tags_in(text)[0]!r}, which training shards split at"
                )
        if len(set(texts)) < len(texts):
            raise ValueError(f"{next(text for text in texts if texts.count(text) > 1)!r} stands twice")
        return texts


class _BankFile(Config):
    schema_version: Literal[1] = 1
    entries: tuple[CaptionEntry, ...] = ()


def language_model(call: Callable[[str], list[str]]) -> Writer:
    """Return a writer from any function that answers a text with a list of texts.

    Numbers and bullets that models put before each caption are taken off.
    """

    def write(request: CaptionRequest) -> list[str]:
        answer = call(request.prompt)
        if isinstance(answer, str) or not all(isinstance(line, str) for line in answer):
            raise DataError(
                f"The caption writer gave {type(answer).__name__}, expected a list of strings. Split it."
            )
        lines = (re.sub(r"^\s*(?:[-*\u2022]|\d{1,3}[.):])\s+", "", line) for line in answer)
        return [" ".join(line.split()).strip("\"'") for line in lines]

    return write


class CaptionBank:
    """Captions by data set and label set.

    Example:
        >>> bank = CaptionBank()
        >>> bank.generate("brain", [["glioma"], ["no tumor"]], modality="MRI", anatomy="brain", count=3)
        2
        >>> len(bank.captions("brain", ["glioma"]))
        3
    """

    def __init__(self, entries: Iterable[CaptionEntry] = ()) -> None:
        self._entries: dict[tuple[str, LabelSet], CaptionEntry] = {}
        for entry in entries:
            if _key(entry.dataset, entry.labels) in self._entries:
                raise ConfigError(
                    f"{entry.dataset}: captions for {_shown(entry.labels)} stand twice. Join them."
                )
            self.put(entry)

    @classmethod
    def load(cls, path: str | Path, *, limits: Limits = DEFAULT) -> CaptionBank:
        """Read a bank that :meth:`save` or a person wrote.

        Raises:
            ConfigError: missing, over-long or malformed; an empty caption, or a label set twice.
            LimitError: a caption is over ``limits.text_chars``.
        """
        path = Path(path)
        # A bank grows with its data sets; the ceiling for configs is meant for files of one model.
        raw = read_json(path, limits=limits.with_(config_bytes=64 * limits.config_bytes))
        entries = parse_config(_BankFile, raw, source=path.name).entries
        for entry in entries:
            longest = max(map(len, entry.captions))
            limits.check("text_chars", longest, what=f"{path.name}: {_shown(entry.labels)}: characters")
        return cls(entries)

    def save(self, path: str | Path) -> None:
        """Write the bank as JSON, entries by data set and labels; the file appears whole or not at all."""
        ordered = [self._entries[key] for key in sorted(self._entries)]
        write_json_atomic(path, _BankFile(entries=tuple(ordered)).model_dump(mode="json"))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[CaptionEntry]:
        return iter(self._entries.values())

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets, sorted."""
        return tuple(sorted({dataset for dataset, _ in self._entries}))

    def entry(self, dataset: str, labels: Sequence[str]) -> CaptionEntry:
        """Return the entry of a label set; order, case and underscores of labels do not count.

        Raises:
            DataError: there is none; the nearest one is named.
        """
        found = self._entries.get(_key(dataset, labels))
        if found is not None:
            return found
        if dataset not in self.datasets:
            known = ", ".join(self.datasets) or "none"
            raise DataError(
                f"The caption bank has no data set {dataset!r}; it has: {known}."
                f"{nearest(dataset, self.datasets)}"
            )
        known_sets = [LABEL_SEPARATOR.join(entry.labels) for entry in self if entry.dataset == dataset]
        raise DataError(
            f"{dataset}: the caption bank has nothing for {_shown(labels)}."
            f"{nearest(LABEL_SEPARATOR.join(labels), known_sets)} Write captions for it, or generate() them."
        )

    def captions(self, dataset: str, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the captions of a label set; see :meth:`entry`."""
        return self.entry(dataset, labels).captions

    def put(self, entry: CaptionEntry) -> None:
        """Add an entry, in place of one for the same label set."""
        self._entries[_key(entry.dataset, entry.labels)] = entry

    def generate(
        self,
        dataset: str,
        label_sets: Iterable[Sequence[str]],
        *,
        modality: str = "",
        anatomy: str = "",
        count: int = 10,
        writer: Writer | None = None,
        replace: bool = False,
    ) -> int:
        """Write captions for label sets that have none and return how many sets that were.

        Args:
            dataset: name of the data set.
            label_sets: one sequence per set; see :func:`label_sets_of` for those of labelled rows.
            modality, anatomy: what the images are of, in words.
            count: captions per set.
            writer: None is the built-in :class:`TemplateCaptions`.
            replace: also write anew what is there.

        Raises:
            DataError: the writer gave nothing that can be used.
        """
        writer = writer or TemplateCaptions()
        name = "templates" if isinstance(writer, TemplateCaptions) else "language model"
        written = 0
        for labels in label_sets:
            if not replace and _key(dataset, labels) in self._entries:
                continue
            request = CaptionRequest(tuple(labels), modality, anatomy, count)
            captions = dict.fromkeys(text.strip() for text in writer(request) if text.strip())
            if not captions:
                raise DataError(f"{dataset}: the writer gave no caption for {_shown(labels)}. Try again.")
            entry = {"dataset": dataset, "labels": list(labels), "captions": list(captions)[:count],
                     "modality": modality, "anatomy": anatomy, "writer": name}  # fmt: skip
            self.put(parse_config(CaptionEntry, entry, source=f"captions for {_shown(labels)}"))
            written += 1
        return written


def labels_of(row: Mapping[str, Any]) -> LabelSet:
    """Return the labels of a row: ``extras["labels"]``, else its ``label``, one or several.

    Raises:
        DataError: the row has none.
    """
    labels = (row.get("extras") or {}).get("labels") or row.get("label")
    if not labels:
        raise DataError(f"Row {row.get('id')!r} has no label, so no captions. Leave it out or label it.")
    return tuple(labels.split(LABEL_SEPARATOR)) if isinstance(labels, str) else tuple(labels)


def label_sets_of(rows: Iterable[Mapping[str, Any]]) -> list[LabelSet]:
    """Return the different label sets of rows, in order of appearance."""
    return list({_key("", labels): labels for labels in map(labels_of, rows)}.values())


def make_pairs(
    rows: Iterable[Mapping[str, Any]],
    bank: CaptionBank,
    *,
    dataset: str,
    reports: Literal["only", "with", "ignore"] = "only",
) -> list[Row]:
    """Return labelled rows with the captions of their label set as ``text``.

    Args:
        rows: dicts with ``id``, ``path`` and ``label`` (or ``extras["labels"]``); a report or caption
            that an image has of its own stands under ``text`` and is kept as ``extras["report"]``.
        bank: has the captions of every label set that occurs.
        dataset: under which name it has them.
        reports: for rows with a text of their own: draw that only, as the reference does for
            MIMIC-CXR; draw it with the captions; or ignore it.

    Returns:
        Rows with ``text``: list of captions to draw from, ``label``: labels in one string, and
        ``extras``: ``labels``, ``modality``, ``anatomy``, ``phrases`` (words of these to look up in a
        caption) and, where there is one, ``report``.

    Raises:
        DataError: a label set has no captions, or a row no label.
    """
    pairs = []
    for row in rows:
        labels = labels_of(row)
        entry = bank.entry(dataset, labels)
        own = [text.strip() for text in _listed(row.get("text")) if text.strip()]
        texts = list(entry.captions)
        if own and reports != "ignore":
            texts = own if reports == "only" else [*own, *texts]
        extras = {**(row.get("extras") or {}), "labels": list(labels)}
        extras |= {
            key: value for key, value in (("modality", entry.modality), ("anatomy", entry.anatomy)) if value
        }
        request = CaptionRequest(labels, entry.modality, entry.anatomy)
        extras.setdefault("phrases", concept_phrases(request))
        if own:
            extras["report"] = own[0]
        pairs.append({**row, "label": LABEL_SEPARATOR.join(labels), "text": texts, "extras": extras})
    return pairs


def read_caption_bank(
    path: str | Path,
    *,
    bank: str | None = None,
    dataset: str = "",
    modality: str = "",
    anatomy: str = "",
    count: int = 10,
    reports: Literal["only", "with", "ignore"] = "only",
) -> list[Row]:
    """Return one row per image of a labelled folder, CSV or JSONL, with its captions as ``text``.

    Args:
        path: folder with one folder per class (or per split with those inside), or a manifest.
        bank: JSON of a :class:`CaptionBank` in the folder or beside it; None writes captions from the
            built-in templates.
        dataset: name in the bank; "" takes the only one it has, or the folder's name.
        modality, anatomy, count: for the templates, when there is no bank.
        reports: see :func:`make_pairs`.

    Raises:
        DataError: no images, an image without a label, or a label set without captions.
        ConfigError: the bank is missing or damaged.
    """
    path = Path(path)
    # The header check would open each file once more; decoding finds unreadable ones anyway.
    if path.is_dir():
        manifest = Manifest.from_folder(path, check=None)
    else:
        reader = Manifest.from_jsonl if path.suffix.lower() == ".jsonl" else Manifest.from_csv
        manifest = reader(path, check=None)
    rows = [
        {"id": record.id, "path": str(manifest.file_of(record)), "label": record.label, "split": record.split,
         "group": record.group, "text": record.text, "locator": None}
        for record in manifest
    ]  # fmt: skip
    if bank is None:
        captions = CaptionBank()
        dataset = dataset or path.stem
        captions.generate(dataset, label_sets_of(rows), modality=modality, anatomy=anatomy, count=count)
    else:
        captions = CaptionBank.load(_beside(path, bank))
        dataset = dataset or (captions.datasets[0] if len(captions.datasets) == 1 else path.stem)
    return make_pairs(rows, captions, dataset=dataset, reports=reports)


def _beside(path: Path, name: str) -> Path:
    """Return the bank in the folder ``path``, or in the folder that ``path`` lies in."""
    inside = path / name
    return inside if inside.is_file() else path.parent / name


def _listed(text: str | Sequence[str] | None) -> list[str]:
    return [text] if isinstance(text, str) else list(text or ())


def _key(dataset: str, labels: Sequence[str]) -> tuple[str, LabelSet]:
    return dataset, tuple(sorted({normalize_label(label) for label in labels}))


def _shown(labels: Sequence[str]) -> str:
    return repr(LABEL_SEPARATOR.join(labels))
