"""Writing files so that a crash leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .limits import DEFAULT, Limits

CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE = "config.json", "processor.json", "model.safetensors"
TOKENIZER_FILE, PROMPTS_FILE, THRESHOLD_FILE = "tokenizer.json", "prompts.yaml", "threshold.json"
"""What a model folder holds; the last three only where the model has them."""
PROBE_FILE, PROBE_TENSORS = "probe.json", "probe.safetensors"
"""The stored probe, which loading does not read."""

REQUIRED_FILES = (CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE)
OPTIONAL_FILES = (TOKENIZER_FILE, PROMPTS_FILE, THRESHOLD_FILE)
"""What loading reads."""

CARD_FILE, RECIPE_FILE, METRICS_FILE, LICENCE_FILE = "README.md", "recipe.yaml", "metrics.json", "LICENSE.txt"
"""What says where a model comes from, how good it is and what it may be used for."""


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode & 0o777
    try:
        yield temporary
        # The writer may have put another file there; the result has the mode that any new file gets.
        temporary.chmod(mode)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except Exception as error:
        # Writers in Rust hide what the system refused, a full disk for one, in an error of their own.
        refused = None if isinstance(error, OSError) else re.search(r"\(os error (\d+)\)", str(error))
        if refused is None:
            raise
        raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def new_folder(parent: str | Path, prefix: str) -> Path:
    """Make a folder that nobody else uses, with the mode that any new folder gets; mkdtemp's are private."""
    folder = Path(parent) / f"{prefix}{secrets.token_hex(8)}"
    folder.mkdir()
    return folder


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 through a temporary name."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomic(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys through a temporary name."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # A file name need not be UTF-8; its stray bytes become JSON escapes.
    write_text_atomic(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def read_json(path: str | Path, *, limits: Limits = DEFAULT) -> Any:
    """Read a JSON file of bounded size.

    Raises:
        ConfigError: the file is missing, over ``limits.config_bytes`` or not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.")
    limits.check("config_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}).") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return ``pairs`` as a dict; a key that stands twice raises ``ValueError`` instead of winning last."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return result


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits, reading it in 1 MiB blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()
