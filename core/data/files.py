"""Paths that stay inside a data folder, and checks of the files behind them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import InputError, LimitError
from ..limits import DEFAULT

_PILLOW_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def inside(root: Path, path: str) -> str:
    """Return ``path`` relative to ``root`` with forward slashes.

    Args:
        root: resolved folder. path: relative, or absolute and inside ``root``.

    Raises:
        InputError: a URL, a path outside ``root`` (also through a link), or one that is not portable.
    """
    if "://" in path or path.lower().startswith("pipe:"):
        raise InputError(f"{path[:200]!r} is a URL; manifests name local files only. Download it first.")
    if "\\" in path or "\0" in path or PureWindowsPath(path).drive:
        raise InputError(f"{path[:200]!r} is not a portable path; use forward slashes and no drive letter.")
    if not path.strip():
        raise InputError("The path is empty.")
    outside = f"{path[:200]!r} leaves the data folder {root}. Move the file inside or pass another root."
    if ".." in path.split("/"):
        raise InputError(outside)
    try:
        target = (root / path).resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path[:200]!r} cannot be resolved ({error}).") from error
    if not target.is_relative_to(root):
        raise InputError(outside)
    # Links inside the folder keep their own name, so that two links to one file stay two rows.
    return (target.relative_to(root) if path.startswith("/") else PurePosixPath(path)).as_posix()


def check_readable(path: Path) -> None:
    """Raise ``InputError`` when the file is missing, empty, over the size limit or not readable."""
    if not path.is_file():
        raise InputError("no such file")
    size = path.stat().st_size
    if size == 0:
        raise InputError("the file is empty")
    DEFAULT.check("file_bytes", size, what=f"{path.name}: bytes")
    try:
        with path.open("rb") as handle:
            handle.read(1)
    except OSError as error:
        raise InputError(f"not readable ({error.strerror})") from error


def check_header(path: Path) -> None:
    """Raise ``InputError`` for files of :func:`check_readable`, and for images without a valid header."""
    check_readable(path)
    if path.suffix.lower() in _PILLOW_SUFFIXES:
        _open_image(path, decode=False)


def check_decodes(path: Path) -> None:
    """Raise ``InputError`` for files of :func:`check_readable`, and for images that do not fully decode.

    Finds truncated files, which a header check does not; reads every pixel.
    """
    check_readable(path)
    if path.suffix.lower() in _PILLOW_SUFFIXES:
        _open_image(path, decode=True)


def _open_image(path: Path, *, decode: bool) -> None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            DEFAULT.check("pixels", image.width * image.height, what=f"{path.name}: pixels")
            if decode:
                image.load()
    except UnidentifiedImageError:
        raise InputError("not an image Pillow can read") from None
    except LimitError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"damaged image ({error})") from error
