"""Typed access to the DICOM elements the loader may read, and the allow-list of what it keeps.

Values are parsed from the raw element bytes. pydicom's own conversion warns with the offending
value in the text, which would put patient data into logs.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

from .errors import CorruptFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TEXT, NUMBER, INTEGER, UNSIGNED, STORED, DOUBLE, BYTES, ITEMS = (
    "text", "number", "integer", "unsigned", "stored", "double", "bytes", "items",
)  # fmt: skip

ALLOWED: dict[str, tuple[int, str]] = {
    "ImageType": (0x00080008, TEXT),
    "SOPClassUID": (0x00080016, TEXT),
    "Modality": (0x00080060, TEXT),
    "BodyPartExamined": (0x00180015, TEXT),
    "SliceThickness": (0x00180050, NUMBER),
    "KVP": (0x00180060, NUMBER),
    "RepetitionTime": (0x00180080, NUMBER),
    "EchoTime": (0x00180081, NUMBER),
    "MagneticFieldStrength": (0x00180087, NUMBER),
    "ImagerPixelSpacing": (0x00181164, NUMBER),
    "ViewPosition": (0x00185101, TEXT),
    "ImagePositionPatient": (0x00200032, NUMBER),
    "ImageOrientationPatient": (0x00200037, NUMBER),
    "Laterality": (0x00200060, TEXT),
    "ImageLaterality": (0x00200062, TEXT),
    "SamplesPerPixel": (0x00280002, UNSIGNED),
    "PhotometricInterpretation": (0x00280004, TEXT),
    "NumberOfFrames": (0x00280008, INTEGER),
    "Rows": (0x00280010, UNSIGNED),
    "Columns": (0x00280011, UNSIGNED),
    "PixelSpacing": (0x00280030, NUMBER),
    "BitsAllocated": (0x00280100, UNSIGNED),
    "BitsStored": (0x00280101, UNSIGNED),
    "PixelRepresentation": (0x00280103, UNSIGNED),
    "PixelPaddingValue": (0x00280120, STORED),
    "PixelPaddingRangeLimit": (0x00280121, STORED),
    "BurnedInAnnotation": (0x00280301, TEXT),
    "WindowCenter": (0x00281050, NUMBER),
    "WindowWidth": (0x00281051, NUMBER),
    "RescaleIntercept": (0x00281052, NUMBER),
    "RescaleSlope": (0x00281053, NUMBER),
    "RescaleType": (0x00281054, TEXT),
    "VOILUTFunction": (0x00281056, TEXT),
    "LossyImageCompression": (0x00282110, TEXT),
}
"""What ``MedicalImage.meta`` may hold (with TransferSyntaxUID of the file meta); nothing else leaves."""

_WORKING: dict[str, tuple[int, str]] = {
    "AcquisitionNumber": (0x00200012, INTEGER),
    "BluePaletteData": (0x00281203, BYTES),
    "BluePaletteDescriptor": (0x00281103, STORED),
    "DiffusionBValue": (0x00189087, DOUBLE),
    "EffectiveEchoTime": (0x00189082, DOUBLE),
    "ExtendedOffsetTable": (0x7FE00001, BYTES),
    "ExtendedOffsetTableLengths": (0x7FE00002, BYTES),
    "FrameContentSequence": (0x00209111, ITEMS),
    "FrameOfReferenceUID": (0x00200052, TEXT),
    "FrameTime": (0x00181063, NUMBER),
    "FrameTimeVector": (0x00181065, NUMBER),
    "FrameVOILUTSequence": (0x00289132, ITEMS),
    "GreenPaletteData": (0x00281202, BYTES),
    "GreenPaletteDescriptor": (0x00281102, STORED),
    "ICCProfile": (0x00282000, BYTES),
    "InStackPositionNumber": (0x00209057, UNSIGNED),
    "LUTData": (0x00283006, BYTES),
    "LUTDescriptor": (0x00283002, STORED),
    "MRDiffusionSequence": (0x00189117, ITEMS),
    "ModalityLUTSequence": (0x00283000, ITEMS),
    "NominalScannedPixelSpacing": (0x00182010, NUMBER),
    "PerFrameFunctionalGroupsSequence": (0x52009230, ITEMS),
    "PhysicalDeltaX": (0x0018602C, DOUBLE),
    "PhysicalDeltaY": (0x0018602E, DOUBLE),
    "PhysicalUnitsXDirection": (0x00186024, UNSIGNED),
    "PhysicalUnitsYDirection": (0x00186026, UNSIGNED),
    "PixelMeasuresSequence": (0x00289110, ITEMS),
    "PixelSpacingCalibrationType": (0x00280A02, TEXT),
    "PixelValueTransformationSequence": (0x00289145, ITEMS),
    "PlanarConfiguration": (0x00280006, UNSIGNED),
    "PlaneOrientationSequence": (0x00209116, ITEMS),
    "PlanePositionSequence": (0x00209113, ITEMS),
    "PresentationLUTShape": (0x20500020, TEXT),
    "RedPaletteData": (0x00281201, BYTES),
    "RedPaletteDescriptor": (0x00281101, STORED),
    "SegmentedRedPaletteData": (0x00281221, BYTES),
    "SegmentedGreenPaletteData": (0x00281222, BYTES),
    "SegmentedBluePaletteData": (0x00281223, BYTES),
    "SequenceOfUltrasoundRegions": (0x00186011, ITEMS),
    "SeriesInstanceUID": (0x0020000E, TEXT),
    "SharedFunctionalGroupsSequence": (0x52009229, ITEMS),
    "StackID": (0x00209056, TEXT),
    "TemporalPositionIdentifier": (0x00200100, INTEGER),
    "Units": (0x00541001, TEXT),
    "VOILUTSequence": (0x00283010, ITEMS),
}
"""Read while loading or grouping, dropped before any object is returned."""

FIELDS = {**ALLOWED, **_WORKING}
READ_TAGS = [tag for tag, _ in FIELDS.values()]
_CODE_STRING = re.compile(r"[A-Z0-9 _.\-]{1,64}", re.IGNORECASE)


class Header:
    """Elements of one dataset or sequence item by keyword; absent and empty both read as None.

    Args:
        dataset: a pydicom dataset; its raw elements are parsed here.
        label: how error messages name the file.

    Raises:
        CorruptFile: from every getter, when the element is not of its declared kind. The message
            names the element, never its value.
    """

    def __init__(self, dataset: Dataset, label: str) -> None:
        self.dataset = dataset
        self.label = label
        # Plain int keys: comparing pydicom's tag objects costs more than parsing the values.
        self._elements = {int(tag): element for tag, element in dataset.items()}
        self._parsed: dict[str, list[Any]] = {}

    def values(self, keyword: str) -> list[Any]:
        """Return all values of an element as str, float or int; an empty list when absent or empty."""
        if keyword not in self._parsed:
            self._parsed[keyword] = self._parse(keyword)
        return self._parsed[keyword]

    def _parse(self, keyword: str) -> list[Any]:
        tag, kind = FIELDS[keyword]
        element = self._elements.get(tag)
        if element is None:
            return []
        value = element.value
        if value is None or value in (b"", ""):
            return []
        try:
            if not isinstance(value, (bytes, bytearray)):
                return _converted(value, kind)
            if kind in (TEXT, NUMBER, INTEGER):
                return _from_text(bytes(value), kind)
            little = getattr(element, "is_little_endian", True)
            return _from_binary(bytes(value), self._format(kind), little)
        except (ValueError, TypeError, struct.error, OverflowError) as error:
            raise CorruptFile(
                f"{self.label}: {keyword} is not readable as {kind}. Repair or export the file again."
            ) from error

    def _format(self, kind: str) -> str:
        if kind == STORED:
            return "h" if self.get("PixelRepresentation") == 1 else "H"
        return {UNSIGNED: "H", DOUBLE: "d"}[kind]

    def get(self, keyword: str) -> Any:
        """Return the first value, or None."""
        values = self.values(keyword)
        return values[0] if values else None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Return exactly ``count`` values, or None when absent."""
        values = self.values(keyword)
        if not values:
            return None
        if len(values) != count:
            raise CorruptFile(f"{self.label}: {keyword} has {len(values)} values, expected {count}.")
        return tuple(float(value) for value in values)

    def raw(self, keyword: str) -> bytes | None:
        """Return the undecoded bytes of an element in little-endian 16-bit words, or None."""
        tag, _ = FIELDS[keyword]
        element = self._elements.get(tag)
        if element is None:
            return None
        if not isinstance(element.value, (bytes, bytearray)):
            values = element.value if not isinstance(element.value, (int, float)) else [element.value]
            return struct.pack(f"<{len(values)}H", *[int(v) & 0xFFFF for v in values]) if values else None
        data = bytes(element.value)
        if not getattr(element, "is_little_endian", True) and not self._is_byte_data(keyword):
            data = b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
        return data or None

    @staticmethod
    def _is_byte_data(keyword: str) -> bool:
        return keyword in ("ICCProfile", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")

    def items(self, keyword: str) -> list[Header]:
        """Return the items of a sequence, each as a Header; an empty list when absent."""
        tag, _ = FIELDS[keyword]
        if tag not in self._elements:
            return []
        if keyword in self._parsed:
            return self._parsed[keyword]
        try:
            sequence = self.dataset[tag].value
            self._parsed[keyword] = [Header(item, self.label) for item in sequence or ()]
            return self._parsed[keyword]
        except Exception as error:  # whatever the nested parser raises, the file is damaged
            raise CorruptFile(f"{self.label}: {keyword} is not a readable sequence.") from error

    def signed(self, value: int) -> int:
        """Return a 16-bit descriptor value in the sign convention of the stored pixels."""
        return value - 0x10000 if self.get("PixelRepresentation") == 1 and value > 0x7FFF else value


def _from_text(data: bytes, kind: str) -> list[Any]:
    parts = [part.strip(" \0") for part in data.decode("latin-1").split("\\")]
    if kind == TEXT:
        return parts if any(parts) else []
    if not any(parts):
        return []
    return [float(part) if kind == NUMBER else int(part) for part in parts]


def _from_binary(data: bytes, code: str, little: bool) -> list[Any]:
    size = struct.calcsize(code)
    return list(struct.unpack(f"{'<' if little else '>'}{len(data) // size}{code}", data))


def _converted(value: Any, kind: str) -> list[Any]:
    """Return plain Python values of an element pydicom has already converted."""
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    convert = {TEXT: str, NUMBER: float, DOUBLE: float}.get(kind, int)
    return [convert(item) for item in values]


def snake(keyword: str) -> str:
    """Return the meta key of a DICOM keyword: ``WindowCenter`` -> ``window_center``, ``KVP`` -> ``kvp``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower()


def allowed_meta(header: Header, syntax: str) -> dict[str, Any]:
    """Return the allow-listed elements as plain Python values under snake-case names.

    Text that is not a code string (free text typed by a person) is left out. An element of the
    list that cannot be parsed is left out too: the steps that need it raise on their own.
    """
    meta: dict[str, Any] = {"transfer_syntax_uid": syntax}
    for keyword, (_, kind) in ALLOWED.items():
        try:
            values = header.values(keyword)
        except CorruptFile:
            continue
        if kind == TEXT and not all(_CODE_STRING.fullmatch(value) for value in values if value):
            continue
        if values:
            meta[snake(keyword)] = values[0] if len(values) == 1 else tuple(values)
    return meta
