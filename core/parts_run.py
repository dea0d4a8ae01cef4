"""One resumable run over many inputs: its parts, what they belong to, and the file they end in.

While a run is under way everything lies in ``OUT.parts``::

    run.json                    what these parts belong to: model, settings, inputs
    part-000000.<suffix>        what came of inputs 0 .. part_size - 1, minus the failed ones
    part-000000.failed.jsonl    the failed ones, with the reason

A part is written to a temporary name and renamed, so it is whole or absent; which inputs share a
part depends on the list alone. A run that was killed and started again therefore ends in the same
bytes as one that was not.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigError, InputError
from .files import atomic_path, read_json, write_json_atomic, write_text_atomic


class LeftOut(InputError):
    """An input that a rule of the caller leaves out; it is listed with its reason, but nothing is broken."""


class PartsRun(ABC):
    """The files of a run and which of them are missing; a kind of run says what a part and the result are.

    Args:
        out: file that the run ends in.
        count: inputs in all. part_size: inputs per part.
        identity: what parts belong to; equal identity means equal parts.
        result: what ``out`` belongs to where that takes more than the parts do; None takes ``identity``.
        suffix: of a part, with its dot.
    """

    def __init__(
        self,
        out: Path,
        *,
        count: int,
        part_size: int,
        identity: Mapping[str, str],
        result: Mapping[str, str] | None = None,
        suffix: str,
    ) -> None:
        self.out, self.count, self.part_size, self.suffix = out, count, part_size, suffix
        self.identity = dict(identity)
        self.result = dict(identity if result is None else result)
        self.folder = out.with_name(out.name + ".parts")
        self.failures = out.with_name(out.name + ".failed.jsonl")
        self.parts = -(-count // part_size)

    @abstractmethod
    def stored(self) -> Mapping[str, str]:
        """Return what the existing ``out`` belongs to; empty where it is no result of such a run."""

    @abstractmethod
    def write_part(self, index: int) -> None:
        """Write :meth:`write_failures` and then, renamed into place, :meth:`part`, which marks it as done."""

    @abstractmethod
    def merge(self) -> None:
        """Write the result of all parts; ``out`` comes last and marks the end."""

    def finish(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Do what is missing; return how many parts an earlier run had finished.

        Args:
            progress: called with (inputs done, inputs in all) after each part.

        Raises:
            ConfigError: ``out`` or its parts belong to another run.
        """
        if self._claim_finished():
            return self.parts
        self._claim_parts()
        missing = [index for index in range(self.parts) if not self.part(index).is_file()]
        try:
            for index in missing:
                self.write_part(index)
                if progress is not None:
                    progress(min((index + 1) * self.part_size, self.count), self.count)
            self.merge()
            shutil.rmtree(self.folder)
        except (ConfigError, ImportError):
            # A slip in the options: what has no part yet must not stand in the way of the run that is meant.
            if not any(self.part(index).is_file() for index in range(self.parts)):
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        except FileNotFoundError:
            # Another process with the same run may have finished it first, and removed the parts of both.
            if not self._claim_finished():
                raise
        return self.parts - len(missing)

    def part(self, index: int) -> Path:
        """Return where a finished part lies."""
        return self.folder / f"part-{index:06d}{self.suffix}"

    def part_failures(self, index: int) -> Path:
        """Return where the failures of a part lie."""
        return self.folder / f"part-{index:06d}.failed.jsonl"

    def write_failures(self, index: int, failures: Sequence[Mapping[str, Any]]) -> None:
        """Write the failures of a part, see :func:`failed_input`."""
        # ASCII, because a name that is not UTF-8 can only be written as an escape.
        write_text_atomic(
            self.part_failures(index), "".join(json.dumps(failure) + "\n" for failure in failures)
        )

    def join_failures(self) -> None:
        """Write the failures of all parts, in order, to ``failures``; where there are none, no file."""
        # Written inside the parts folder: what a kill leaves behind goes when the folder goes.
        joined = self.folder / "merged.failed.jsonl"
        with atomic_path(joined) as temporary, temporary.open("wb") as handle:
            for index in range(self.parts):
                handle.write(self.part_failures(index).read_bytes())
        if joined.stat().st_size:
            os.replace(joined, self.failures)
        else:
            self.failures.unlink(missing_ok=True)

    def _claim_finished(self) -> bool:
        """Return whether ``out`` already is this run's result; refuse to touch any other file."""
        if not self.out.exists():
            return False
        stored = self.stored()
        if not stored:
            raise ConfigError(f"{self.out} exists and is no result of this program. Choose another --out.")
        remedy = f"Delete it or choose another --out than {self.out.name}."
        _refuse_other(stored, self.result, f"{self.out} exists and", remedy)
        # A kill between the rename of the result and the removal of its parts leaves both.
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def _claim_parts(self) -> None:
        """Make the parts folder this run's, or find that it already is."""
        record = self.folder / "run.json"
        if record.is_file():
            what = f"{self.folder} holds an unfinished run that"
            _refuse_other(read_json(record), self.identity, what, f"Delete {self.folder} to start again.")
        elif self.folder.exists() and any(self.folder.glob("[!.]*")):
            raise ConfigError(
                f"{self.folder} is in the way and holds no run. Move it or choose another --out."
            )
        else:
            write_json_atomic(record, self.identity)


def failed_input(identifier: str, reason: str, *, skipped: bool = False) -> dict[str, Any]:
    """Return what the list of failures says of an input; ``skipped`` where a rule left it out."""
    # The id leads to the input; its path may name a person and stays with whoever made the list.
    failure: dict[str, Any] = {"id": identifier, "reason": reason}
    return {**failure, "skipped": True} if skipped else failure


def _refuse_other(stored: Mapping[str, str], wanted: Mapping[str, str], what: str, remedy: str) -> None:
    """Raise ``ConfigError`` that names the first thing in which two runs differ."""
    for key in dict.fromkeys((*wanted, *stored)):
        if stored.get(key) != wanted.get(key):
            raise ConfigError(
                f"{what} has {key} {stored.get(key)!r}; this run has {wanted.get(key)!r}. {remedy}"
            )
