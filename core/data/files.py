"""Paths that stay inside a data folder, and checks of the files behind them."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from ..errors import InputError, LimitError
from ..limits import DEFAULT

_PILLOW_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def inside(root: Path, path: str) -> str:
    """Return ``path`` relative to ``root`` with forward slashes.

    Links below ``root`` are followed like plain files and folders, and keep the name they have there:
    data sets are often linked into one folder. A path can leave the root only where its owner linked it.

    Args:
        root: the folder. path: relative, or absolute and below ``root`` as written, links aside.

    Raises:
        InputError: a URL, a path outside ``root``, or one that is not portable.
    """
    if "://" in path or path.lower().startswith("pipe:"):
        raise InputError(f"{path[:200]!r} is a URL; manifests name local files only. Download it first.")
    if "\\" in path or "\0" in path or PureWindowsPath(path).drive:
        raise InputError(f"{path[:200]!r} is not a portable path; use forward slashes and no drive letter.")
    if not path.strip():
        raise InputError("The path is empty.")
    if path.startswith("/"):
        return below(root, Path(path))
    relative = PurePosixPath(path)
    if ".." in relative.parts:
        raise _outside(root, path)
    return relative.as_posix()


def below(root: Path, path: Path) -> str:
    """Return an absolute path relative to ``root`` with forward slashes, links as they are written.

    The two may spell the root differently, through a link or with ``..``; below it, ``..`` is refused.

    Raises:
        InputError: the path is outside ``root``, or the two cannot be compared.
    """
    if path.is_relative_to(root):
        relative = path.relative_to(root)
    else:
        try:
            known = root.resolve()
            # From the top: what follows the root stays as it is written, links included.
            above = next((one for one in reversed(path.parents) if one.resolve() == known), None)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{str(path)[:200]!r} cannot be resolved ({error}).") from error
        if above is None:
            raise _outside(root, str(path))
        relative = path.relative_to(above)
    if ".." in relative.parts:
        raise _outside(root, str(path))
    return relative.as_posix()


def _outside(root: Path, path: str) -> InputError:
    return InputError(
        f"{path[:200]!r} leaves the data folder {root}. Move or link the file into it, or pass another root."
    )


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files below ``folder``, relative with forward slashes, sorted.

    Hidden files and folders are left out. Linked folders are entered, except one that leads back to a
    folder on the way to it.

    Raises:
        InputError: a folder may not be read, so that files could be missing.
    """
    found: list[str] = []
    on_the_way: dict[str, frozenset[tuple[int, int]]] = {str(folder): frozenset({_identity(folder)})}
    for here, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        above = on_the_way.pop(here)
        entered = []
        for name in sorted(name for name in folders if name[0] != "."):
            path = os.path.join(here, name)
            identity = _identity(path)
            if identity not in above:
                entered.append(name)
                on_the_way[path] = above | {identity}
        folders[:] = entered
        relative = PurePath(here).relative_to(folder)
        found += [(relative / name).as_posix() for name in names if name[0] != "."]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: this folder cannot be read ({error.strerror}). Ask for permission, or move it."
    ) from error


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


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
