"""Records that notice when somebody changed them: JSON with a SHA-256 over its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....core.errors import ConfigError
from ....core.files import unique_keys, write_text_atomic
from ....core.limits import DEFAULT, Limits


def write_sealed(path: str | Path, kind: str, content: Mapping[str, Any]) -> Path:
    """Write a record through a temporary name, and return its path.

    The hash tells that a file is not what was written. It is no signature: whoever may write the file
    can write the hash as well, so keep the file where only those who may calibrate can write.

    Args:
        path: of the file.
        kind: what the file is, and the version of its form.
        content: plain values of JSON.
    """
    write_text_atomic(path, _text(kind, content))
    return Path(path)


def read_sealed(path: str | Path, kind: str, *, advice: str, limits: Limits = DEFAULT) -> dict[str, Any]:
    """Return the content of a record.

    Args:
        path: of the file.
        kind: as it was written.
        advice: what to do about a file that cannot be used; ends messages.
        limits: ceiling on its size.

    Raises:
        ConfigError: no such file, another kind of file, or any byte was changed.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}. {advice}")
    limits.check("config_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        # Universal newlines: a checkout that turned LF into CRLF did not change the record.
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: damaged, or no file of this kind ({kind}). {advice}") from None
    if not isinstance(raw, dict) or raw.get("format") != kind:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise ConfigError(f"{path}: expected the format {kind!r}, got {str(found)[:60]!r}. {advice}")
    content = {key: value for key, value in raw.items() if key not in ("format", "sha256")}
    # Compared as text, too: a number may be spelled in several ways that mean the same.
    if text != _text(kind, content):
        raise ConfigError(
            f"{path}: the file was changed after it was written (its SHA-256 does not fit). {advice}"
        )
    return content


def _text(kind: str, content: Mapping[str, Any]) -> str:
    inner = json.dumps([kind, content], sort_keys=True, separators=(",", ":"))
    whole = {"format": kind, "sha256": hashlib.sha256(inner.encode()).hexdigest(), **content}
    return json.dumps(whole, indent=2, sort_keys=True) + "\n"
