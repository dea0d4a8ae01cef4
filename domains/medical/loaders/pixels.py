"""Stored pixels of a DICOM file: header checks, an explicit choice of decoder, decoded arrays.

pydicom tries every installed decoder in turn and falls through on any exception, so a damaged
stream that one decoder refuses can be "decoded" to wrong pixels by the next. Here one decoder is
chosen per transfer syntax and a broken stream is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.limits import Limits
from .dicom_file import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, UNDEFINED, DicomFile
from .errors import (
    CorruptFile,
    FrameError,
    MedicalImageError,
    MissingDecoder,
    UnsupportedEncoding,
    UnsupportedTransferSyntax,
    check_limit,
)

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder

NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)
_J2K = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_BASELINE, _JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_RLE = "1.2.840.10008.1.2.5"
_LIBJPEG = (_JPEG_BASELINE, _JPEG_EXTENDED, *_JPEG_LOSSLESS, *_JPEG_LS)

PLUGINS: dict[str, tuple[str, ...]] = {
    _RLE: ("pylibjpeg", "pydicom"),
    **dict.fromkeys(_J2K, ("pylibjpeg", "pillow", "gdcm")),
    **dict.fromkeys(_HTJ2K, ("pylibjpeg",)),
    **dict.fromkeys(_JPEG_LS, ("pyjpegls", "gdcm", "pylibjpeg")),
    _JPEG_BASELINE: ("pillow", "gdcm", "pylibjpeg"),
    _JPEG_EXTENDED: ("pillow", "pylibjpeg"),
    **dict.fromkeys(_JPEG_LOSSLESS, ("gdcm", "pylibjpeg")),
}
"""Decoders by transfer syntax, best first. ``pylibjpeg`` stands for its plugin of that syntax."""

_REMEDY = {
    **dict.fromkeys(_JPEG_LOSSLESS, 'Run: pip install "verticlip[medical-jpeg-lossless]"'),
    _JPEG_EXTENDED: "Only pylibjpeg-libjpeg (GPL v3, your choice to install) decodes 12-bit JPEG Extended",
}
_PHOTOMETRIC = (
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT",
)  # fmt: skip
_SAMPLES = {name: 1 if name in _PHOTOMETRIC[:3] else 3 for name in _PHOTOMETRIC}


@dataclass(frozen=True)
class PixelInfo:
    """The checked pixel description of a file."""

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; 4:2:2 chroma is stored at half width."""
        bits = self.rows * self.columns * self.samples * self.bits_allocated
        return bits * 2 // 3 if self.photometric == "YBR_FULL_422" else bits

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value ``bits_stored`` can hold."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1


def read_pixel_info(file: DicomFile, *, limits: Limits, strict: bool = True) -> PixelInfo:
    """Return the checked pixel description; sizes are compared with the ceilings before any decoding.

    Raises:
        CorruptFile: a required element is missing or contradicts the others or the data length.
        OverLimit: pixels, frames or decoded bytes over a ceiling.
        UnsupportedTransferSyntax: video, streaming or unknown syntax.
    """
    header, label = file.header, file.header.label
    if file.syntax not in NATIVE and file.syntax not in PLUGINS:
        raise UnsupportedTransferSyntax(
            f"{label}: the transfer syntax is not supported (video, JPIP or unknown). "
            "Supported: native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K. Convert the file first."
        )
    is_float = file.pixel_keyword != "PixelData"
    needed = ["Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"]
    if not is_float:
        needed += ["BitsStored", "PixelRepresentation"]
    missing = [name for name in needed if header.get(name) is None]
    if missing:
        raise CorruptFile(f"{label}: required element {missing[0]} is missing. Export the file again.")
    allocated = header.get("BitsAllocated")
    samples = header.get("SamplesPerPixel")
    info = PixelInfo(
        rows=header.get("Rows"),
        columns=header.get("Columns"),
        samples=samples,
        frames=max(header.get("NumberOfFrames") or 1, 1),
        bits_allocated=allocated,
        bits_stored=allocated if is_float else header.get("BitsStored"),
        signed=not is_float and header.get("PixelRepresentation") == 1,
        photometric=header.get("PhotometricInterpretation"),
        planar=(header.get("PlanarConfiguration") or 0) if samples > 1 else 0,
    )
    _check_description(info, header.get("PixelRepresentation"), is_float, label)
    check_limit(limits, "pixels", info.rows * info.columns, what=f"{label}: pixels")
    check_limit(limits, "frames", info.frames, what=f"{label}: frames")
    decoded = info.rows * info.columns * info.samples * info.frames * max(info.bits_allocated // 8, 1)
    check_limit(limits, "decoded_bytes", decoded, what=f"{label}: decoded bytes")
    if file.syntax in NATIVE:
        _check_native_length(file, info, strict=strict)
    elif file.pixel_bytes != UNDEFINED:
        raise CorruptFile(
            f"{label}: the transfer syntax is compressed, the pixel data is not. Wrong transfer syntax?"
        )
    return info


def _check_description(info: PixelInfo, representation: int | None, is_float: bool, label: str) -> None:
    allowed = (32, 64) if is_float else (1, 8, 16, 32)
    problems = {
        "Rows or Columns is 0": info.rows == 0 or info.columns == 0,
        "BitsAllocated is not one of " + ", ".join(map(str, allowed)): info.bits_allocated not in allowed,
        "BitsStored is not between 1 and BitsAllocated": not 1 <= info.bits_stored <= info.bits_allocated,
        "PhotometricInterpretation is unknown": info.photometric not in _PHOTOMETRIC,
        "PixelRepresentation is not 0 or 1": not is_float and representation not in (0, 1),
        "PlanarConfiguration is not 0 or 1": info.planar not in (0, 1),
    }
    for problem, present in problems.items():
        if present:
            raise CorruptFile(f"{label}: {problem}. Repair the header or export the file again.")
    if info.samples != _SAMPLES[info.photometric]:
        raise CorruptFile(
            f"{label}: SamplesPerPixel does not fit PhotometricInterpretation. Repair the header."
        )


def _check_native_length(file: DicomFile, info: PixelInfo, *, strict: bool) -> None:
    label = file.header.label
    if file.pixel_bytes == UNDEFINED:
        raise CorruptFile(
            f"{label}: the transfer syntax is native, the pixel data is compressed. Wrong transfer syntax?"
        )
    expected = (info.frame_bits * info.frames + 7) // 8
    actual = min(file.pixel_bytes, file.available_bytes)
    if actual < expected:
        raise CorruptFile(
            f"{label}: {actual} bytes of pixel data, {expected} expected. "
            "The file is cut, or its header or transfer syntax is wrong; export it again."
        )
    if strict and (actual - expected) * 8 >= info.frame_bits:
        raise CorruptFile(
            f"{label}: {actual} bytes of pixel data, {expected} expected: Rows, Columns or NumberOfFrames "
            "is too small. Repair the header, or pass strict=False to read the declared part."
        )


def decode_frames(
    file: DicomFile, info: PixelInfo, indices: Sequence[int], *, strict: bool = True
) -> tuple[Any, str]:
    """Return the stored values of the frames asked for, and the name of the decoder used.

    Args:
        file: open file, positioned at the pixel value.
        indices: frame numbers from 0; only these are decoded.

    Returns:
        (array [F, H, W] or [F, H, W, 3] in native byte order; YBR comes out as RGB, decoder name)

    Raises:
        FrameError: a frame outside the file.
        CorruptFile: a stream is cut, damaged or of another size than the header says.
        MissingDecoder: no decoder of :data:`PLUGINS` is installed for the syntax.
        UnsupportedEncoding: the installed decoders do not know this variant.
    """
    label = file.header.label
    for index in indices:
        if not 0 <= index < info.frames:
            raise FrameError(
                f"{label}: frame {index} asked for, the file has {info.frames} (0 to {info.frames - 1})."
            )
    from pydicom.pixels import get_decoder

    decoder = get_decoder(file.syntax)
    plugins = [""] if file.syntax in NATIVE else _choose_plugins(decoder, file.syntax, info, label)
    if file.syntax not in NATIVE:
        # pydicom finds frames by seeking through the offset tables and fragments
        file.stream = BytesIO(file.stream.read())
    start = file.stream.tell()
    for plugin in plugins:
        file.stream.seek(start)
        try:
            stored = _decode_with(decoder, plugin, file, info, indices, strict=strict)
        except (MedicalImageError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the RLE decoder (Rust) is no Exception
            failure = _decode_error(error, label)
            if not isinstance(failure, UnsupportedEncoding) or plugin == plugins[-1]:
                raise failure from error
            continue  # this decoder lacks the variant; a broken stream never gets here
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return (stored if plugin else _clear_unused_bits(stored, info)), plugin or "native"
    raise UnsupportedEncoding(f"{label}: no decoder handles this compression.")


def _decode_with(
    decoder: Decoder, plugin: str, file: DicomFile, info: PixelInfo, indices: Sequence[int], *, strict: bool
) -> np.ndarray:
    """Return the frames [F, H, W] or [F, H, W, 3] decoded by one plugin; whatever it raises escapes."""
    if plugin:
        _check_streams(file, info, indices, plugin=plugin, strict=strict)
    options, start = _decoder_options(file, info), file.stream.tell()
    whole = not plugin and info.frames > 1 and list(indices) == list(range(info.frames))
    arrays = []
    for index in [None] if whole else indices:
        file.stream.seek(start)
        # validate=False: the description was checked before, and pydicom's own check quotes values
        array, _ = decoder.as_array(
            file.stream, index=index, validate=False, decoding_plugin=plugin, **options
        )
        arrays.append(array)
    if whole:
        return arrays[0]
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _clear_unused_bits(stored: np.ndarray, info: PixelInfo) -> np.ndarray:
    """Return native values without what stands in the bits above BitsStored (PS3.5 section 8.1.1).

    Those bits are nearly always clear, and looking costs less than shifting a copy.
    """
    unused = info.bits_allocated - info.bits_stored
    if not unused or stored.dtype.kind == "f":
        return stored
    low, high = info.stored_range
    if stored.max() <= high and (not info.signed or stored.min() >= low):
        return stored
    return np.right_shift(np.left_shift(stored, unused), unused)


def _choose_plugins(decoder: Decoder, syntax: str, info: PixelInfo, label: str) -> list[str]:
    names = [name for name in PLUGINS[syntax] if name in decoder.available_plugins]
    if syntax == _JPEG_EXTENDED and info.bits_stored != 8:
        names = [name for name in names if name == "pylibjpeg"]
    if syntax in _J2K and info.samples == 3 and info.bits_stored > 8:
        names = [name for name in names if name != "pillow"]
    if names:
        return names
    packages = ", ".join(PLUGINS[syntax])
    remedy = _REMEDY.get(syntax, 'Run: pip install "verticlip[medical]"')
    raise MissingDecoder(
        f"{label}: no decoder for transfer syntax {syntax} is installed (any of {packages}). {remedy}."
    )


def _decoder_options(file: DicomFile, info: PixelInfo) -> dict[str, Any]:
    options: dict[str, Any] = {
        "rows": info.rows,
        "columns": info.columns,
        "samples_per_pixel": info.samples,
        "number_of_frames": info.frames,
        "bits_allocated": info.bits_allocated,
        "bits_stored": info.bits_stored,
        "photometric_interpretation": info.photometric,
        "pixel_keyword": file.pixel_keyword,
    }
    if file.pixel_keyword == "PixelData":
        options["pixel_representation"] = int(info.signed)
    if info.samples > 1:
        options["planar_configuration"] = info.planar
    if file.syntax in NATIVE:
        options["correct_unused_bits"] = False
        packed = info.bits_allocated == 1 or info.photometric == "YBR_FULL_422"
        # A view of the bytes read is enough: the values are copied to float right after.
        options["view_only"] = not packed and file.syntax != EXPLICIT_BIG
    if file.syntax == EXPLICIT_BIG:
        options["pixel_vr"] = "OW" if info.bits_allocated > 8 else _big_endian_vr(file)
    options["extended_offsets"] = _extended_offsets(file)
    return options


def _extended_offsets(file: DicomFile) -> tuple[bytes, bytes] | None:
    offsets = file.header.raw("ExtendedOffsetTable")
    lengths = file.header.raw("ExtendedOffsetTableLengths")
    return (offsets, lengths) if offsets and lengths else None


def _big_endian_vr(file: DicomFile) -> str:
    position = file.stream.tell()
    file.stream.seek(position - 8)
    vr = file.stream.read(2).decode("latin-1")
    file.stream.seek(position)
    return vr


def _check_streams(
    file: DicomFile, info: PixelInfo, indices: Sequence[int], *, plugin: str, strict: bool
) -> None:
    """Compare each compressed frame's own size with the header before a decoder allocates for it."""
    from pydicom.encaps import get_frame, parse_fragments

    label, syntax = file.header.label, file.syntax
    start = file.stream.tell()
    # parse_fragments wants the first item after the basic offset table
    file.stream.seek(start + 4)
    table_bytes = struct.unpack("<I", file.stream.read(4))[0]
    file.stream.seek(start + 8 + table_bytes)
    count = parse_fragments(file.stream)[0]
    if count < info.frames:
        raise CorruptFile(
            f"{label}: NumberOfFrames is {info.frames}, the data holds at most {count}. Repair the header."
        )
    if strict and table_bytes // 4 > info.frames:
        raise CorruptFile(
            f"{label}: the data holds more frames than NumberOfFrames says. Repair it or pass strict=False."
        )
    for index in indices:
        file.stream.seek(start)
        frame = get_frame(
            file.stream,
            index,
            number_of_frames=info.frames,
            extended_offsets=_extended_offsets(file),
        )
        size = codestream_size(frame, syntax)
        if size is not None and size != (info.columns, info.rows):
            raise CorruptFile(
                f"{label}: the compressed image says {size[0]} x {size[1]}, the header "
                f"{info.columns} x {info.rows}. Export the file again."
            )
        # libjpeg decodes a cut stream without a word; pyjpegls takes seconds to refuse one
        needs_end = syntax in _JPEG_LS or (plugin == "pylibjpeg" and syntax in _LIBJPEG)
        if needs_end and not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise CorruptFile(
                f"{label}: a compressed frame has no end mark; it is cut. Copy or export the file again."
            )
    file.stream.seek(start)


def codestream_size(frame: bytes, syntax: str) -> tuple[int, int] | None:
    """Return (width, height) that a JPEG, JPEG-LS or JPEG 2000 stream declares, None when not found."""
    if syntax in _J2K or syntax in _HTJ2K:
        at = frame.find(b"\xff\x4f\xff\x51")
        if at < 0 or len(frame) < at + 24:
            return None
        x1, y1, x0, y0 = struct.unpack_from(">4I", frame, at + 8)
        return x1 - x0, y1 - y0
    if syntax not in _LIBJPEG or frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = struct.unpack_from(">H", frame, position + 2)[0]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">HH", frame, position + 5)
            return width, height
        position += 2 + length
    return None


def _decode_error(error: BaseException, label: str) -> MedicalImageError:
    text = str(error)
    if isinstance(error, NotImplementedError) or "not support" in text or "unsupported" in text.lower():
        return UnsupportedEncoding(
            f"{label}: this variant of the compression is not supported by the installed decoder. "
            "Convert the file to a native or lossless JPEG 2000 transfer syntax."
        )
    return CorruptFile(
        f"{label}: the pixel data is damaged and cannot be decoded. Copy or export the file again."
    )
