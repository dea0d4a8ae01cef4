"""Errors of the medical loaders. No message, log line or repr carries a tag value or a file name.

File names often hold names and record numbers, so an input is called ``input 3fa94c1b`` (a hash
salted per process) unless the caller passes ``show_paths=True``. The underlying library error is
kept as ``__cause__``; it may quote the file, so log ``str(error)``, not the whole chain.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat

from ....core.errors import DependencyError, InputError, LimitError
from ....core.limits import Limits

_SALT = secrets.token_bytes(16)


class MedicalImageError(InputError):
    """Root of every loader error. ``kind`` is a short stable word for counting by cause."""

    kind = "medical_image"


class NotAMedicalImage(MedicalImageError):
    """The content is not an image format this loader reads."""

    kind = "not_an_image"


class CorruptFile(MedicalImageError):
    """The format is right, the content is damaged or contradicts itself."""

    kind = "corrupt"


class NoPixelData(MedicalImageError):
    """A valid DICOM object without pixels (plan, report, directory)."""

    kind = "no_pixels"


class UnsupportedTransferSyntax(MedicalImageError):
    """The transfer syntax is video, streaming or unknown."""

    kind = "transfer_syntax"


class MissingDecoder(MedicalImageError, DependencyError):
    """A decoder package is needed and not installed; the message names it."""

    kind = "missing_decoder"


class UnsupportedEncoding(MedicalImageError):
    """The syntax is known but this variant of it has no decoder here."""

    kind = "encoding"


class WindowError(MedicalImageError):
    """A window, look-up table or preset cannot be used."""

    kind = "window"


class FrameError(MedicalImageError):
    """A frame choice is missing or outside the file."""

    kind = "frame"


class GeometryError(MedicalImageError):
    """A box or a mapping back to input pixels is not possible."""

    kind = "geometry"


class NotAVolume(MedicalImageError):
    """The slices do not make one regular stack."""

    kind = "not_a_volume"


class MissingSliceError(NotAVolume):
    """The slice positions have a gap; the message names the two positions."""

    kind = "missing_slice"


class DuplicateSliceError(NotAVolume):
    """Two slices share one position and differ in their pixels."""

    kind = "duplicate_slice"


class OverLimit(MedicalImageError, LimitError):
    """The input is over a ceiling of :class:`~verticlip.core.limits.Limits`."""

    kind = "limit"


class MissingInput(MedicalImageError, FileNotFoundError):
    """The path does not exist."""

    kind = "missing"


class DirectoryInput(MedicalImageError, IsADirectoryError):
    """A folder was given where one file is expected."""

    kind = "directory"


def label_of(path: str | os.PathLike[str], *, show_paths: bool = False) -> str:
    """Return how messages name ``path``: its salted hash, or the path itself when asked."""
    if show_paths:
        return str(path)
    digest = hashlib.blake2b(os.fsencode(os.path.abspath(path)), key=_SALT, digest_size=4)
    return f"input {digest.hexdigest()}"


def check_limit(limits: Limits, name: str, value: float, *, what: str) -> None:
    """Raise ``OverLimit`` with the message of ``Limits.check`` when ``value`` is over ``name``."""
    try:
        limits.check(name, value, what=what)
    except LimitError as error:
        raise OverLimit(str(error)) from None


def check_inflation(limits: Limits, compressed: int, inflated: int, *, what: str) -> None:
    """Raise ``OverLimit`` when a compressed stream grows past the ratio or the decoded ceiling."""
    check_limit(limits, "decoded_bytes", inflated, what=f"{what}: inflated bytes")
    if inflated > 16 * 1024**2:
        ratio = inflated / max(compressed, 1)
        check_limit(limits, "inflate_ratio", ratio, what=f"{what}: inflate ratio")


def check_input_file(path: str | os.PathLike[str], *, limits: Limits, label: str) -> int:
    """Return the size in bytes of an existing, not too large file.

    Raises:
        MissingInput, DirectoryInput: also a ``FileNotFoundError`` / ``IsADirectoryError``.
        OverLimit: over ``limits.file_bytes``.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        hint = (
            "Check the path." if label == str(path) else "Pass show_paths=True to see the path in messages."
        )
        raise MissingInput(f"{label}: no such file. {hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise MedicalImageError(f"{label}: cannot be opened ({reason}). Check the path.") from None
    if stat.S_ISDIR(status.st_mode):
        raise DirectoryInput(
            f"{label}: is a folder, one file was expected. For slices use load_series(folder), or on the "
            "command line `verticlip medical volume`."
        )
    if not stat.S_ISREG(status.st_mode):
        raise MedicalImageError(f"{label}: is not a regular file. Copy its content to a file first.")
    if not os.access(path, os.R_OK):
        raise MedicalImageError(f"{label}: may not be read. Ask for read permission, or copy the file.")
    check_limit(limits, "file_bytes", status.st_size, what=f"{label}: file bytes")
    return status.st_size
