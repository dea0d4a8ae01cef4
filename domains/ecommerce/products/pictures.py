"""Where the pictures of a row are: paths that stay below one folder, addresses, bytes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from ....core.data.files import inside
from ....core.errors import InputError
from .record import ImageRef

MOST_IMAGES = 50
"""Pictures of one product."""
_LONGEST_ADDRESS = 4096
_FOLDERS_KEPT = 10_000
_SEVERAL = re.compile(r"\s*[|;]\s*|\s*,\s*(?=https?://|//)|\s*\n\s*")


@dataclass(frozen=True)
class ImageRoot:
    """Folder that the paths of pictures are relative to.

    Attributes:
        folder: where relative paths start.
        allow_outside: take absolute paths, ``..`` and links that lead out of the folder. Only for tables
            whose author may read every file that this program may read.
    """

    folder: Path
    allow_outside: bool = False
    _real: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def resolve(self, path: str) -> Path:
        """Return the absolute path of a picture, which need not exist.

        Raises:
            InputError: it leaves the folder, is not portable, or is no path.
        """
        if "\0" in path or len(path) > _LONGEST_ADDRESS:
            raise InputError(f"the image path {path[:60]!r} is no path. Correct the row.")
        folder = os.path.abspath(self.folder)
        if self.allow_outside:
            return Path(os.path.abspath(os.path.join(folder, path)))
        if "\\" in path or PureWindowsPath(path).drive:
            raise InputError(
                f"the image path {path[:200]!r} is not portable. Use forward slashes and no drive letter."
            )
        try:
            relative = inside(Path(folder), path) if path.startswith("/") else path
            if ".." in relative.split("/"):
                raise _outside(path)
            found = os.path.join(folder, relative)
            is_inside = Path(self._followed(found)).is_relative_to(self._followed(folder))
        except (InputError, OSError):
            raise _outside(path) from None
        if not is_inside:
            raise _outside(path)
        return Path(found)

    def _followed(self, path: str) -> str:
        """Return a path with its links followed; a folder's are looked up once, for a whole table."""
        above, name = os.path.split(path)
        if above not in self._real:
            if len(self._real) >= _FOLDERS_KEPT:
                self._real.clear()
            self._real[above] = os.path.realpath(above)
        return os.path.realpath(path) if os.path.islink(path) else os.path.join(self._real[above], name)


def image_ref(value: Any, root: ImageRoot) -> ImageRef | None:
    """Return the picture that a cell names, or None for an empty one.

    Args:
        value: path, address, bytes, or {"bytes", "path"} as Hub data sets store pictures.
        root: where relative paths start.

    Raises:
        InputError: a path that leaves the folder, an address of another scheme, or another kind of value.
    """
    if isinstance(value, Mapping):
        return _stored(value, root)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ImageRef("", data=bytes(value)) if len(value) else None
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"the image is {type(value).__name__} {value!r:.40}; expected a path or an address.")
    text = os.fspath(value).strip()
    if not text:
        return None
    if text.startswith("//"):
        # Shop systems leave the scheme out; on disk this would be an absolute path.
        text = f"https:{text}"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//)|data:", text)
    if scheme is None:
        return ImageRef(text, path=root.resolve(text))
    if text[:8].lower().startswith(("http://", "https://")) and len(text) <= _LONGEST_ADDRESS:
        if any(letter.isspace() or not letter.isprintable() for letter in text):
            raise InputError(
                f"the image address {text[:80]!r} holds spaces or control signs. Correct the row."
            )
        return ImageRef(text, url=text)
    raise InputError(
        f"the image address {text[:60]!r} cannot be used; expected http://, https:// or a path below the "
        "image folder."
    )


def image_refs(value: Any, root: ImageRoot) -> tuple[ImageRef, ...]:
    """Return the pictures of a cell that may hold several: a list, a JSON list, or text with separators.

    Addresses and paths are separated by ``|``, ``;`` or line breaks, addresses also by commas.

    Raises:
        InputError: as :func:`image_ref`, or more than :data:`MOST_IMAGES`.
    """
    if isinstance(value, str):
        value = _listed(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    if len(items) > MOST_IMAGES:
        raise InputError(f"{len(items)} images for one product; at most {MOST_IMAGES} are taken.")
    return tuple(ref for item in items if (ref := image_ref(item, root)) is not None)


def _listed(text: str) -> list[Any]:
    text = text.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list):
            return found
    return [part for part in _SEVERAL.split(text) if part]


def _stored(value: Mapping[Any, Any], root: ImageRoot) -> ImageRef | None:
    data, path = value.get("bytes"), value.get("path") or value.get("url") or value.get("src")
    if isinstance(data, (bytes, bytearray, memoryview)) and len(data):
        # The path beside the bytes is where the picture once was; it is not opened.
        return ImageRef(path[:_LONGEST_ADDRESS] if isinstance(path, str) else "", data=bytes(data))
    if path is None and not {"bytes", "path", "url", "src"} & set(value):
        raise InputError(
            f"the image is an object of {', '.join(map(str, list(value)[:5]))}; expected bytes or path."
        )
    return image_ref(path, root)


def _outside(path: str) -> InputError:
    return InputError(
        f"the image path {path[:200]!r} leaves the image folder. Name a path below it, pass another image "
        "folder, or allow paths outside if you trust the table."
    )
