"""Opening a DICOM file under ceilings: file meta, bounded header, position of the pixel element.

The file meta is parsed here before pydicom sees the file, because pydicom inflates a deflated data
set without limit, even when asked to stop before the pixels.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ....core.errors import require
from ....core.limits import Limits
from .errors import (
    CorruptFile,
    MedicalImageError,
    MissingInput,
    NoPixelData,
    NotAMedicalImage,
    check_inflation,
    check_input_file,
    label_of,
)
from .header import READ_TAGS, Header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
"""The most frequent first: the marks are looked for in this order."""
UNDEFINED = 0xFFFFFFFF

_META_BYTES = 65_536
_LONG_VR = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass
class DicomFile:
    """An open DICOM file.

    Attributes:
        header: the elements the loader may read.
        syntax: transfer syntax UID; a deflated file reads as explicit little endian.
        stream: positioned at the first byte of the pixel value.
        pixel_keyword: "PixelData", "FloatPixelData" or "DoubleFloatPixelData"; None without pixels.
        pixel_bytes: declared length of the pixel value; ``UNDEFINED`` when encapsulated.
        available_bytes: bytes from the start of the pixel value to the end of the file.
    """

    header: Header
    syntax: str
    stream: BinaryIO
    pixel_keyword: str | None
    pixel_bytes: int
    available_bytes: int


@contextlib.contextmanager
def open_dicom(
    path: str | os.PathLike[str],
    *,
    limits: Limits,
    force: bool = False,
    show_paths: bool = False,
    need_pixels: bool = True,
) -> Iterator[DicomFile]:
    """Yield the parsed file; it is closed when the block ends.

    Args:
        path: one DICOM file.
        force: accept a file without the "DICM" mark or without a transfer syntax.
        need_pixels: raise when there is no pixel element.

    Raises:
        NotAMedicalImage: not DICOM, or nothing that looks like an image with ``force``.
        CorruptFile: damaged header, inflate error, no transfer syntax.
        NoPixelData: a valid object without pixels.
        OverLimit: file or inflated size over a ceiling.
    """
    label = label_of(path, show_paths=show_paths)
    size = check_input_file(path, limits=limits, label=label)
    require("pydicom", extra="medical")
    # A stream opened by descriptor has no file name, so no library message can quote one.
    try:
        stream: BinaryIO = os.fdopen(os.open(Path(path), os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError as error:
        raise MissingInput(f"{label}: no such file.") from error
    with stream:
        try:
            parsed = _parse(stream, size, limits=limits, force=force, label=label)
        except MedicalImageError:
            raise
        except Exception as error:  # pydicom raises many types on damaged input, StopIteration among them
            raise CorruptFile(
                f"{label}: the DICOM header is damaged. Export or copy the file again."
            ) from error
        if need_pixels and parsed.pixel_keyword is None:
            raise _no_pixels(parsed, force=force, label=label)
        yield parsed


def _parse(stream: BinaryIO, size: int, *, limits: Limits, force: bool, label: str) -> DicomFile:
    head = stream.read(_META_BYTES)
    start = 132 if head[128:132] == b"DICM" else 0
    if not start and not force:
        raise NotAMedicalImage(
            f"{label}: no DICOM mark at byte 128 (content looks like {describe(head)}). "
            "If it is DICOM without preamble, pass force=True."
        )
    syntax, offset = scan_file_meta(head, start)
    if syntax is None:
        if not force:
            raise CorruptFile(
                f"{label}: the file meta has no TransferSyntaxUID. Pass force=True to guess it."
            )
        syntax = _guess_syntax(head, offset, label)
    if syntax == DEFLATED:
        stream = BytesIO(_inflate(stream, offset, limits=limits, label=label))
        syntax, offset, size = EXPLICIT_LITTLE, 0, len(stream.getbuffer())
    elif size <= len(head):
        stream = BytesIO(head)
    implicit, little = syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG
    dataset, keyword, length = _read_header(stream, offset, head, implicit=implicit, little=little)
    header = Header(dataset, label)
    if keyword is None and _is_cut(stream, offset, size, implicit=implicit, little=little):
        raise CorruptFile(f"{label}: the file ends inside the header. Copy or export it again.")
    return DicomFile(header, syntax, stream, keyword, length, size - stream.tell())


def read_whole_dataset(path: str | os.PathLike[str], *, limits: Limits, label: str) -> Dataset:
    """Return every element of a DICOM file, a deflated one under the ceilings; of the file meta the syntax.

    For rewriting a file. Unlike :func:`open_dicom` this reads identity into memory.

    Raises:
        NotAMedicalImage, CorruptFile, OverLimit: as :func:`open_dicom`.
    """
    check_input_file(path, limits=limits, label=label)
    require("pydicom", extra="medical")
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    data = Path(path).read_bytes()
    if data[128:132] != b"DICM":
        raise NotAMedicalImage(f"{label}: not DICOM; the content looks like {describe(data[:512])}.")
    syntax, offset = scan_file_meta(data[:_META_BYTES], 132)
    if syntax is None:
        raise CorruptFile(f"{label}: the file meta has no TransferSyntaxUID. Repair the file meta.")
    stream = BytesIO(data)
    if syntax == DEFLATED:
        stream = BytesIO(_inflate(stream, offset, limits=limits, label=label))
        syntax, offset = EXPLICIT_LITTLE, 0
    stream.seek(offset)
    try:
        dataset = read_dataset(stream, syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG)
    except Exception as error:  # pydicom raises many types on damaged input
        raise CorruptFile(f"{label}: the DICOM file is damaged. Export or copy it again.") from error
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def _read_header(
    stream: BinaryIO, offset: int, head: bytes, *, implicit: bool, little: bool
) -> tuple[Dataset, str | None, int]:
    """Return (elements, pixel keyword or None, pixel length) and leave the stream at the pixel value.

    The elements are parsed from the first bytes in memory, where seeking is cheap, when the pixel
    element starts there.
    """
    from pydicom.filereader import read_dataset

    marks = (struct.pack("<HH" if little else ">HH", tag >> 16, tag & 0xFFFF) for tag in PIXEL_KEYWORDS)
    sources: list[BinaryIO] = [stream]
    if not isinstance(stream, BytesIO) and any(mark in head for mark in marks):
        sources.insert(0, BytesIO(head))
    for source in sources:
        source.seek(offset)
        try:
            dataset = read_dataset(
                source,
                is_implicit_VR=implicit,
                is_little_endian=little,
                stop_when=lambda tag, vr, length: int(tag) in PIXEL_KEYWORDS,
                specific_tags=READ_TAGS,  # pyright: ignore[reportArgumentType]
            )
            keyword, length = _pixel_element(source, bool(dataset.original_encoding[0]), little)
        except Exception:
            if source is stream:
                raise
            continue  # the mark was chance bytes and the header goes on past the part in memory
        if keyword is not None or source is stream:
            stream.seek(source.tell())
            return dataset, keyword, length
    raise EOFError("no readable header")


def scan_file_meta(head: bytes, start: int) -> tuple[str | None, int]:
    """Return (transfer syntax UID or None, offset of the data set) from the first bytes of a file.

    A file meta that goes on past those bytes counts as having none.
    """
    offset, syntax = start, None
    while offset + 8 <= len(head):
        group, element = struct.unpack_from("<HH", head, offset)
        if group != 2:
            break
        vr = head[offset + 4 : offset + 6]
        if not vr.isalpha() or not vr.isupper():
            length, value = struct.unpack_from("<I", head, offset + 4)[0], offset + 8
        elif vr in _LONG_VR:
            if offset + 12 > len(head):
                break
            length, value = struct.unpack_from("<I", head, offset + 8)[0], offset + 12
        else:
            length, value = struct.unpack_from("<H", head, offset + 6)[0], offset + 8
        if element == 0x0010:
            syntax = head[value : value + length].decode("latin-1").strip(" \0") or None
        offset = value + length
    return (syntax if offset <= len(head) else None), offset


def _guess_syntax(head: bytes, offset: int, label: str) -> str:
    """Return implicit or explicit little endian (or explicit big endian) from the first element."""
    first = head[offset : offset + 8]
    if len(first) < 8:
        raise NotAMedicalImage(f"{label}: too short for a DICOM data set.")
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    if explicit and first[0] == 0 and first[1] != 0:
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE


def _inflate(stream: BinaryIO, offset: int, *, limits: Limits, label: str) -> bytes:
    """Return the inflated data set, refusing it while it is still small."""
    stream.seek(offset)
    compressed = stream.read()
    ceiling = min(
        limits.decoded_bytes, max(16 * 1024**2, int(limits.inflate_ratio * max(len(compressed), 1)))
    )
    worker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = worker.decompress(compressed, ceiling + 1)
    except zlib.error as error:
        raise CorruptFile(f"{label}: the deflated data set is damaged. Copy the file again.") from error
    if len(data) > ceiling:
        check_inflation(limits, len(compressed), len(data), what=label)
    if not worker.eof:
        raise CorruptFile(f"{label}: the deflated data set is cut short. Copy the file again.")
    return data


def _pixel_element(stream: BinaryIO, implicit: bool, little: bool) -> tuple[str | None, int]:
    """Step over the pixel element's header and return its keyword and declared length."""
    start = stream.tell()
    data = stream.read(8)
    endian = "<" if little else ">"
    if len(data) == 8:
        group, element, length = struct.unpack(f"{endian}HHI", data)
        keyword = PIXEL_KEYWORDS.get(group << 16 | element)
        if keyword:
            if not implicit:
                length = struct.unpack(f"{endian}I", stream.read(4))[0]
            return keyword, length
    stream.seek(start)
    return None, 0


def _is_cut(stream: BinaryIO, offset: int, size: int, *, implicit: bool, little: bool) -> bool:
    """Return True when the elements from ``offset`` on do not end exactly at the end of the file."""
    try:
        return _walk(stream, offset, size, implicit=implicit, little=little) != size
    except struct.error:
        return True


def _walk(stream: BinaryIO, position: int, end: int, *, implicit: bool, little: bool) -> int:
    """Skip elements and nested items until ``end``; return where the last one ends."""
    endian = "<" if little else ">"
    depth = 0
    while position < end:
        stream.seek(position)
        group, element = struct.unpack(f"{endian}HH", stream.read(4))
        tag = group << 16 | element
        rest = stream.read(4)
        vr = rest[:2]
        if group == 0xFFFE or implicit or not (vr.isalpha() and vr.isupper()):
            length = struct.unpack(f"{endian}I", rest)[0]
        elif vr in _LONG_VR:
            length = struct.unpack(f"{endian}I", stream.read(4))[0]
        else:
            length = struct.unpack(f"{endian}H", rest[2:])[0]
        position = stream.tell()
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth -= 1
        elif length == UNDEFINED:
            depth += 1
        else:
            position += length
    return position if depth <= 0 else end + 1


def _no_pixels(parsed: DicomFile, *, force: bool, label: str) -> MedicalImageError:
    header = parsed.header
    if header.get("SOPClassUID") is None and header.get("Modality") is None and force:
        return NotAMedicalImage(
            f"{label}: no image elements found; this is not DICOM. Do not pass force=True for it."
        )
    if header.get("Rows") is not None and header.get("BitsAllocated") is not None:
        return CorruptFile(
            f"{label}: describes pixels but holds none; the file is cut. Copy or export it again."
        )
    return NoPixelData(
        f"{label}: a valid DICOM object without pixels (plan, structure, report or directory). "
        "Pass the image files it refers to."
    )


UNKNOWN = "unknown binary data"


def describe(head: bytes) -> str:
    """Return in words what the first bytes of a file look like."""
    marks = {
        b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"\x1f\x8b": "gzip",
        b"PK\x03\x04": "a zip or npz archive", b"%PDF": "PDF", b"GIF8": "GIF", b"RIFF": "RIFF (WebP or WAV)",
        b"BM": "BMP", b"\x93NUMPY": "a NumPy array",
    }  # fmt: skip
    if not head:
        return "an empty file"
    for mark, name in marks.items():
        if head.startswith(mark):
            return name
    if not head.strip(b"\0"):
        return "zeros"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:512])
    return "text" if printable >= 0.95 * len(head[:512]) else UNKNOWN
