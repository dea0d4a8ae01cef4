"""What the files of a model folder are and what stands in them: links, data, programs, secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.console import shown
from ..core.errors import VerticlipError
from ..core.files import (
    CARD_FILE,
    CONFIG_FILE,
    PROCESSOR_FILE,
    REQUIRED_FILES,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
)
from ..core.limits import DEFAULT
from ..core.tensor_header import read_header
from .folder_facts import Finding, FolderFacts, Level
from .folder_files import PUBLISHED, SAMPLES, TENSOR_FILES, Entry, entries
from .secrets import Leak, computer_names, find_keys, find_leaks, find_leaks_in
from .stored_probe import PROBE_FILE, PROBE_TENSORS


def content_problems(facts: FolderFacts) -> Iterator[Finding]:
    """Yield what is wrong with the files of a folder, whatever model they make."""
    for check in (_required, _entries, _tensors, _texts, _remote_code):
        yield from check(facts)


def _entries(facts: FolderFacts) -> Iterator[Finding]:
    """Links, hidden files, data, programs, and what will stay behind."""
    inside: dict[str, int] = {}
    for entry in entries(facts.folder):
        yield from _entry(entry)
        top, slash, _ = entry.name.partition("/")
        if slash and entry.kind == "file":
            inside[top] = inside.get(top, 0) + 1
    for top, count in inside.items():
        if not top.startswith("."):
            yield Finding(
                "not-published",
                top,
                f"The folder has {count} files; none of them is published.",
                "Nothing to do; move it elsewhere to lose this notice.",
                "notice",
            )


def _entry(entry: Entry) -> Iterator[Finding]:
    name, last = entry.name, entry.name.rpartition("/")[2]
    if entry.kind == "many":
        yield Finding(
            "too-many-files", "", "The folder holds thousands of files.", "Give the folder of one model."
        )
    elif not last.isprintable() or "\\" in last or last.strip() != last or not last.isascii():
        yield Finding(
            "file-name", shown(name), "The name of this file is no plain name.", "Rename or remove it."
        )
    elif entry.kind == "link":
        yield Finding(
            "link", name, "A link: it may lead anywhere.", "Put the file itself here, or remove it."
        )
    elif entry.kind == "special":
        yield Finding("special-file", name, "No regular file (a pipe, a socket or a device).", "Remove it.")
    elif last.startswith("."):
        if "/." not in name.rpartition("/")[0] and not name.rpartition("/")[0].startswith("."):
            yield Finding(
                "hidden",
                name,
                "A hidden file or folder; it may be left of a save that was cut off, or hold keys.",
                "Remove it, or move it elsewhere.",
            )
    elif entry.kind == "folder":
        if last in PUBLISHED:
            yield Finding("file-name", name, "A folder with the name of a file.", "Remove it.")
    elif entry.content in ("pickle", "archive", "program"):
        what = {"pickle": "a pickle", "archive": "an archive or pickle"}.get(entry.content, "a program")
        yield Finding(
            "code",
            name,
            f"It looks like {what}, which can run code where it is opened.",
            "Weights are published as model.safetensors only. Remove it.",
        )
    elif entry.content in SAMPLES:
        yield Finding(
            "data-sample",
            name,
            f"It looks like data ({entry.content}); a model folder holds none.",
            "Remove it: nobody can take published data back.",
        )
    elif name not in PUBLISHED and "/" not in name:
        yield Finding(
            "not-published",
            name,
            "Not a file of a model; it is not published.",
            "Nothing to do; move it elsewhere to lose this notice.",
            "notice",
        )


_CEILINGS = {WEIGHTS_FILE: 16 * DEFAULT.file_bytes, TOKENIZER_FILE: DEFAULT.tokenizer_bytes}


def _required(facts: FolderFacts) -> Iterator[Finding]:
    for name in (*REQUIRED_FILES, PROBE_FILE, PROBE_TENSORS, CARD_FILE):
        if name in facts.files:
            continue
        advice = {
            PROBE_FILE: "Write one: verticlip hub probe FOLDER",
            PROBE_TENSORS: "Write one: verticlip hub probe FOLDER",
            CARD_FILE: "Write one: verticlip hub card FOLDER",
        }
        yield Finding(
            "missing", name, "The file is missing.", advice.get(name, "Save or convert the model again.")
        )
    for file in facts.files.values():
        ceiling = _CEILINGS.get(file.name, DEFAULT.config_bytes)
        if file.bytes > ceiling:
            yield Finding(
                "too-large",
                file.name,
                f"{file.bytes:,} bytes are over the limit of {ceiling:,}.",
                "Is this the right file?",
            )
        elif not file.bytes:
            yield Finding("empty", file.name, "The file is empty.", "Write it again.")


def _tensors(facts: FolderFacts) -> Iterator[Finding]:
    names = computer_names(_public_words(facts))
    for name in TENSOR_FILES:
        if name not in facts.files:
            continue
        try:
            header = read_header(facts.folder / name)
        except (VerticlipError, OSError) as error:
            yield Finding("safetensors", name, str(error), "Save or convert the model again.")
            continue
        yield from _leaks(
            name, find_leaks_in({"tensors": list(header.tensors), **header.metadata}, names=names)
        )
        more = sorted(set(header.metadata) - {"format"})
        if more:
            yield Finding(
                "metadata",
                name,
                f"Its header carries notes: {', '.join(more)!r:.80}.",
                "Save it again: verticlip writes none but the format.",
                "notice",
            )


def _texts(facts: FolderFacts) -> Iterator[Finding]:
    names = computer_names(_public_words(facts))
    for name, file in facts.files.items():
        if name in TENSOR_FILES or file.content is None:
            continue
        if b"\x00" in file.content or not _is_utf8(file.content):
            yield Finding("encoding", name, "Not a text in UTF-8.", "Write it again.")
            continue
        text, decoded = facts.text(name), None
        if name.endswith((".json", ".yaml")):
            decoded = facts.decoded(name)
            if decoded is None:
                yield Finding(
                    "syntax",
                    name,
                    "It cannot be read: bad syntax, NaN, a key that stands twice, or an alias.",
                    "Write it again.",
                )
        if name == TOKENIZER_FILE and isinstance(decoded, dict):
            yield from _leaks(name, _in_tokenizer(decoded, names))
            continue
        leaks = find_leaks_in(decoded, names=names) if decoded is not None else []
        # JSON holds nothing but what was decoded; YAML and Markdown have comments and more.
        whole = name.endswith(".json") and decoded is not None
        raw = [one for one in find_leaks(text, names=names) if not whole or one.kind == "secret"]
        known = {(one.kind, one.what) for one in leaks}
        yield from _leaks(name, [*leaks, *(one for one in raw if (one.kind, one.what) not in known)])


def _in_tokenizer(tokenizer: Mapping[str, Any], names: Iterable[str]) -> list[Leak]:
    """Return what leaks in a tokenizer; of its vocabulary, pieces of anybody's words, keys alone count."""
    vocabulary = json.dumps(tokenizer.get("model"), ensure_ascii=False)
    keys = [Leak("secret", what, "in its vocabulary") for what in find_keys(vocabulary)]
    return keys + find_leaks_in({**tokenizer, "model": None}, names=names)


def _leaks(name: str, leaks: Iterable[Leak]) -> Iterator[Finding]:
    told: dict[str, tuple[str, str, Level]] = {
        "secret": ("secret", "Take it out, and revoke it: whoever saw it can use it.", "error"),
        "home": ("local-path", "Take it out, or name the file alone.", "error"),
        # Paths are told by their look, and a text may well be about one.
        "path": ("local-path", "Take it out where it tells about your computer.", "notice"),
        "computer": ("computer-name", "Take it out.", "error"),
        "data": ("data-sample", "Take it out: nobody can take published data back.", "error"),
    }
    # Errors first: whatever is left out is of the same file.
    for leak in sorted(leaks, key=lambda one: told[one.kind][2] != "error")[:20]:
        code, advice, level = told[leak.kind]
        yield Finding(code, name, f"It holds {leak.what} ({leak.where}).", advice, level)


def _public_words(facts: FolderFacts) -> Iterable[str]:
    """Return the words that may be somebody's name and are meant to be public."""
    name = facts.config.name if facts.config else ""
    return [
        word for text in (facts.for_repository or "", name) for word in (text, *re.split(r"[/._-]", text))
    ]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_REMOTE_KEYS = frozenset(
    {
        "auto_map", "trust_remote_code", "custom_pipelines", "custom_code", "class_path", "__class__",
        "_target_", "_name_or_path", "name_or_path", "pretrained_model_name_or_path",
        "base_model_name_or_path", "hf_tokenizer_name", "hf_model_name", "hf_hub_id", "repo_id",
        "tokenizer_kwargs", "pretrained_path", "pretrained_image_path", "pretrained_text_path",
        "weights_url",
    }
)  # fmt: skip
_REMOTE_VALUE = re.compile(
    r"(?i)^\s*(?:hf[-_]hub|hf|local-dir|timm|https?|git\+\w+|s3|gs)\s*:(?!\s)\S|^[\w.-]+/[\w.-]+$"
)
_NAMING_KEY = re.compile(
    r"(?i)name$|repo|pretrained|hub|checkpoint|tokenizer|model$|source|^architecture$|weights"
)


def _remote_code(facts: FolderFacts) -> Iterator[Finding]:
    for file in (CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE):
        raw = facts.decoded(file)
        if file == TOKENIZER_FILE and isinstance(raw, dict):
            raw = {**raw, "model": None}
        for where, key, value in _pairs(raw):
            at = f"{where}.{key}" if where else key
            if key in _REMOTE_KEYS and value not in (None, False):
                yield Finding(
                    "remote-code",
                    file,
                    f"The key {at!r:.80} can bring in code or another repository.",
                    "A model is read from its own folder only. Remove the key.",
                )
            elif (
                file != TOKENIZER_FILE
                and at != "name"
                and isinstance(value, str)
                and _NAMING_KEY.search(key)
                and _REMOTE_VALUE.search(value)
            ):
                yield Finding(
                    "remote-code",
                    file,
                    f"{at!r:.80} names another repository or an address.",
                    "A model is read from its own folder only. Remove it.",
                )


def _pairs(value: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    if depth > 64:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield where, str(key), inner
            yield from _pairs(inner, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _pairs(inner, f"{where}[{position}]", depth + 1)
