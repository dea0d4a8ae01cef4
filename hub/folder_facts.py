"""What the checks of a model folder share: what they yield, and each file decoded once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..core.config import ModelConfig, parse_yaml, read_config
from ..core.errors import VerticlipError
from ..core.files import CARD_FILE, CONFIG_FILE, unique_keys
from .card_check import split_card
from .folder_files import Snapshot, StoredFile

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

    def __init__(
        self, snapshot: Snapshot, for_repository: str | None = None, *, private: bool = False
    ) -> None:
        self.snapshot, self.for_repository, self.private = snapshot, for_repository, private
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
            except (ValueError, RecursionError, VerticlipError):
                self._decoded[name] = None
        return self._decoded[name]

    def _decode(self, name: str) -> Any:
        text = self.text(name)
        if name.endswith(".yaml"):
            return parse_yaml(text, source=name)
        return json.loads(text, object_pairs_hook=unique_keys, parse_constant=_refuse_constant)

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
        return split_card(self.text(CARD_FILE))[0]


def _refuse_constant(word: str) -> float:
    """Raise for what Python writes and reads as JSON, and strict readers do not."""
    raise ValueError(f"{word} is no JSON")
