"""What the checks of a model folder share: what they yield, and each file decoded once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from ..core.config import ModelConfig, read_config
from ..core.errors import VerticlipError
from ..core.files import CONFIG_FILE, unique_keys
from .folder_files import CARD_FILE, Snapshot, StoredFile

Level = Literal["error", "notice"]


@dataclass(frozen=True)
class Finding:
    """Something about a folder that stands in the way of publishing it, or that its owner should know.

    Attributes:
        code: word for programs: ``secret``, ``licence-unknown`` ...
        file: in the folder; "" for the folder as a whole.
        message: what is wrong.
        advice: what to do about it.
        level: ``error`` forbids publishing.
    """

    code: str
    file: str
    message: str
    advice: str
    level: Level = "error"


class FolderFacts:
    """What the checks share about a folder: each file is decoded once."""

    def __init__(self, snapshot: Snapshot, for_repository: str | None = None) -> None:
        self.snapshot, self.for_repository = snapshot, for_repository
        self._decoded: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.snapshot.folder

    @property
    def files(self) -> Mapping[str, StoredFile]:
        """The files that would be published."""
        return self.snapshot.files

    def text(self, name: str) -> str:
        """Return a text file, with every byte that is not UTF-8 replaced; "" where there is none."""
        file = self.files.get(name)
        return (file.content or b"").decode("utf-8", "replace") if file else ""

    def decoded(self, name: str) -> Any:
        """Return what a JSON or YAML file holds, or None where there is none or it is damaged."""
        if name not in self._decoded:
            try:
                self._decoded[name] = self._decode(name)
            except (ValueError, RecursionError, yaml.YAMLError):
                self._decoded[name] = None
        return self._decoded[name]

    def _decode(self, name: str) -> Any:
        text = self.text(name)
        if not name.endswith(".yaml"):
            return json.loads(text, object_pairs_hook=unique_keys)
        # An alias can stand for a billion values.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("an alias")
        return yaml.safe_load(text)

    @cached_property
    def config(self) -> ModelConfig | None:
        """The model's config, or None where it is missing or not acceptable; another check says so."""
        try:
            return read_config(ModelConfig, self.folder / CONFIG_FILE)
        except VerticlipError:
            return None

    @cached_property
    def card_header(self) -> Mapping[str, Any] | None:
        """The metadata that the card begins with, or None where there is none or it is not sound."""
        match = re.match(r"---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", self.text(CARD_FILE), re.DOTALL)
        try:
            # An alias can stand for a billion values; an ampersand in a text is a letter like any other.
            aliased = match and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(match[1]))
            header = yaml.safe_load(match[1]) if match and not aliased else None
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        return header if isinstance(header, dict) else None
