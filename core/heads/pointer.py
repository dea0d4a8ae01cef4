"""A head that says which model it belongs to: ``model.json`` beside ``head.json``."""

from __future__ import annotations

from pathlib import Path

from ..config import Config, parse_config
from ..errors import ConfigError
from ..files import read_json, write_json_atomic
from .base import Head, load_head, save_head

POINTER_FILE = "model.json"


class HeadPointer(Config):
    """Which model a head was fitted on."""

    model: str | None
    """Registered name, folder or ``org/name``; None: the model folder that the head's folder lies in."""
    revision: str
    """Commit or hash of the weights."""
    processor: str
    """Fingerprint of the preprocessing."""

    def locate(self, folder: Path) -> str:
        """Return the name or folder of the model of the head in ``folder``."""
        return str(folder.resolve().parent) if self.model is None else self.model

    def check(self, model: str, revision: str, processor: str) -> None:
        """Raise ``ConfigError`` when the head was fitted on the embeddings of another model.

        A commit and a hash of the weights cannot be compared; then the preprocessing alone decides.
        """
        comparable = ("sha256:" in self.revision) == ("sha256:" in revision)
        if self.processor != processor or (comparable and self.revision != revision):
            raise ConfigError(
                f"The head was fitted on {self.model or 'the model beside it'} at {self.revision}, and this "
                f"is {model} at {revision}. Load that model, or fit the head again."
            )


def save_pointed_head(head: Head, pointer: HeadPointer, folder: str | Path) -> None:
    """Write a head with the model it belongs to; the pointer is written last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_head(head, folder)
    write_json_atomic(folder / POINTER_FILE, pointer.model_dump(mode="json"))


def read_pointer(folder: str | Path) -> HeadPointer:
    """Read which model the head in ``folder`` belongs to.

    Raises:
        ConfigError: no such folder or file, or it is damaged.
    """
    path = Path(folder) / POINTER_FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: no {POINTER_FILE}, so it holds no trained head. Give the folder that a probe or a "
            "fine-tuning wrote."
        )
    return parse_config(HeadPointer, read_json(path), source=POINTER_FILE)


def load_pointed_head(folder: str | Path) -> tuple[Head, HeadPointer]:
    """Return a head and the model it belongs to.

    Raises:
        ConfigError, WeightsError: a file is missing, damaged or does not fit the others.
    """
    pointer = read_pointer(folder)
    return load_head(folder), pointer
