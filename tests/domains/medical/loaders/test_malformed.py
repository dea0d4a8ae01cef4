"""Section 10 of the loading rules: each kind of damage has its own error, and no message leaks identity."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from verticlip.core.limits import Limits
from verticlip.domains.medical.io import deidentify, load_image, load_series
from verticlip.domains.medical.loaders import errors

PIXELS = np.arange(64 * 32, dtype=np.uint16).reshape(64, 32)
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"


def refused(path, kind, private, **options):
    with pytest.raises(kind) as caught:
        load_image(path, **options)
    assert isinstance(caught.value, errors.MedicalImageError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.kind == kind.kind
    private(caught.value)
    return caught.value


def test_a_missing_path_is_also_a_file_not_found_error(tmp_path, private):
    error = refused(tmp_path / "Zaphodius.dcm", errors.MissingInput, private)
    assert isinstance(error, FileNotFoundError)
    assert "show_paths=True" in str(error)


def test_show_paths_names_the_file(tmp_path):
    with pytest.raises(errors.MissingInput, match=r"gone\.dcm"):
        load_image(tmp_path / "gone.dcm", show_paths=True)


def test_a_folder_points_to_load_series(tmp_path, private):
    error = refused(tmp_path, errors.DirectoryInput, private)
    assert isinstance(error, IsADirectoryError)
    assert "load_series" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"abc", "text"),
        (b"Zaphodius writes a letter " * 20, "text"),
        (bytes(300), "zeros"),
        (b"%PDF-1.7" + bytes(300), "PDF"),
        (bytes(range(7, 256)) * 2, "unknown binary data"),
    ],
)
def test_other_content_is_named(tmp_path, private, content, said):
    path = tmp_path / "Zaphodius.dcm"
    path.write_bytes(content)
    assert said in str(refused(path, errors.NotAMedicalImage, private))


def test_garbage_stays_refused_with_force(tmp_path, private):
    path = tmp_path / "x"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes())
    with pytest.raises((errors.NotAMedicalImage, errors.CorruptFile)) as caught:
        load_image(path, force=True)
    private(caught.value)


def test_text_with_force_has_no_image_elements(tmp_path, private):
    path = tmp_path / "x"
    path.write_bytes(b"\x08\0\x05\0\x04\0\0\0ABCD")
    refused(path, errors.NotAMedicalImage, private, force=True)


def test_no_preamble_needs_force(make, tmp_path, private):
    path = make.image(tmp_path / "a.dcm", PIXELS)
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(path.read_bytes()[132:])
    error = refused(bare, errors.NotAMedicalImage, private)
    assert "force=True" in str(error)
    assert load_image(bare, force=True, window=None).pixels[0].numpy().astype(int).tolist() == PIXELS.tolist()


@pytest.mark.parametrize("name", ["ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm"])
def test_force_guesses_the_transfer_syntax(wheel_file, name):
    # structures without pixels: a wrong guess would call them damaged
    with pytest.raises(errors.NoPixelData):
        load_image(wheel_file(name), force=True)


def test_force_guesses_implicit_little_endian(make, tmp_path):
    whole = make.image(tmp_path / "a.dcm", PIXELS, syntax=make.IMPLICIT).read_bytes()
    # the data set starts with group 8; the file meta before it is dropped
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(whole[whole.index(b"\x08\0\x16\0") :])
    assert load_image(bare, force=True, window=None).meta.rows == 64


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_a_cut_header_is_corrupt(make, tmp_path, private, fraction):
    whole = make.image(tmp_path / "a.dcm", PIXELS).read_bytes()
    header = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: 400 + int((header - 400) * fraction)])
    with pytest.raises((errors.CorruptFile, errors.NoPixelData)) as caught:
        load_image(path)
    private(caught.value)


def test_a_header_cut_inside_an_element_is_corrupt(wheel_file, private):
    refused(wheel_file("rtplan_truncated.dcm"), errors.CorruptFile, private)


def test_cut_native_pixels(make, wheel_file, tmp_path, private):
    whole = make.image(tmp_path / "a.dcm", PIXELS).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-500])
    error = refused(tmp_path / "cut.dcm", errors.CorruptFile, private)
    assert "3596 bytes of pixel data, 4096 expected" in str(error)
    refused(wheel_file("MR_truncated.dcm"), errors.CorruptFile, private)


def test_padded_pixels_are_accepted(wheel_file):
    padded = load_image(wheel_file("MR_small_padded.dcm"), window=None).pixels
    assert padded.equal(load_image(wheel_file("MR_small.dcm"), window=None).pixels)


@pytest.mark.parametrize("name", ["rtplan.dcm", "reportsi.dcm", "dicomdirtests/DICOMDIR"])
def test_objects_without_pixels(wheel_file, private, name):
    refused(wheel_file(name), errors.NoPixelData, private)


def test_pixels_described_but_absent(make, tmp_path, private):
    refused(make.image(tmp_path / "a.dcm", PIXELS, PixelData=None), errors.CorruptFile, private)


def test_no_transfer_syntax(wheel_file, private):
    error = refused(wheel_file("meta_missing_tsyntax.dcm"), errors.CorruptFile, private)
    assert "force=True" in str(error)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107"]
)
def test_unsupported_transfer_syntaxes(make, tmp_path, private, syntax):
    path = make.encapsulated(tmp_path / "a.dcm", [b"xx"], (4, 4), syntax)
    refused(path, errors.UnsupportedTransferSyntax, private)


def test_a_missing_decoder_names_the_extra(wheel_file, private):
    error = refused(wheel_file("SC_rgb_jpeg_gdcm.dcm"), errors.MissingDecoder, private)
    assert "verticlip[medical-jpeg-lossless]" in str(error)
    assert isinstance(error, ImportError)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_has_no_free_decoder(wheel_file, private, name):
    assert "GPL" in str(refused(wheel_file(name), errors.MissingDecoder, private))


def test_native_bytes_under_a_compressed_syntax(make, tmp_path, private):
    path = make.image(tmp_path / "a.dcm", PIXELS)
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    path.write_bytes(data)
    refused(path, errors.CorruptFile, private)


def test_compressed_bytes_under_a_native_syntax(make, tmp_path, private):
    path = make.encapsulated(tmp_path / "a.dcm", [b"abcd"], (4, 4), "1.2.840.10008.1.2.5")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"))
    assert "transfer syntax" in str(refused(path, errors.CorruptFile, private))


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": None},
        {"PhotometricInterpretation": None},
        {"BitsStored": None},
        {"PixelRepresentation": None},
        {"Rows": 0},
        {"BitsAllocated": 12},
        {"BitsStored": 17},
        {"SamplesPerPixel": 2},
        {"PhotometricInterpretation": "ZAPHODIUS"},
        {"PixelRepresentation": 2},
        {"NumberOfFrames": 3},
        {"Rows": 32},
        {"Columns": 33},
    ],
    ids=str,
)
def test_contradicting_descriptions(make, tmp_path, private, elements):
    refused(make.image(tmp_path / "a.dcm", PIXELS, **elements), errors.CorruptFile, private)


def test_strict_off_reads_the_declared_part(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", PIXELS, Rows=32)
    assert load_image(path, strict=False, window=None).pixels.shape == (1, 32, 32)


@pytest.mark.parametrize("frames", [2, 5])
def test_more_frames_declared_than_encapsulated(make, wheel_file, tmp_path, private, frames):
    import pydicom

    item = pydicom.dcmread(wheel_file("MR_small_RLE.dcm"))
    item.NumberOfFrames = frames
    item.save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", errors.CorruptFile, private, frames="all")


def test_frames_that_are_no_number(wheel_file, private):
    assert "NumberOfFrames" in str(refused(wheel_file("badVR.dcm"), errors.CorruptFile, private))


def deflated(make, tmp_path, data: bytes | None = None) -> Path:
    whole = make.image(tmp_path / "plain.dcm", PIXELS).read_bytes()
    start = whole.index(b"\x08\0\x16\0")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(whole[start:] if data is None else data) + packer.flush()
    syntax = b"1.2.840.10008.1.2.1.99"
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    path = tmp_path / "deflated.dcm"
    path.write_bytes(bytes(128) + b"DICM" + element + body)
    return path


def test_deflated_files_decode(make, tmp_path, wheel_file):
    assert load_image(deflated(make, tmp_path), window=None).pixels[0, 1, 0] == 32
    assert load_image(wheel_file("image_dfl.dcm")).pixels.shape == (1, 512, 512)


def test_a_cut_deflate_stream(make, tmp_path, private):
    path = deflated(make, tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, errors.CorruptFile, private)


def test_a_damaged_deflate_stream(make, tmp_path, private):
    path = deflated(make, tmp_path)
    path.write_bytes(path.read_bytes()[:200] + b"\xff" * 500)
    refused(path, errors.CorruptFile, private)


def test_a_deflate_bomb_is_refused_while_small(make, tmp_path, private):
    bomb = b"\x08\0\x16\0UI\0\0" + bytes(40 * 1024**2)
    path = deflated(make, tmp_path, bomb)
    assert path.stat().st_size < 100_000
    refused(path, errors.OverLimit, private, limits=Limits(decoded_bytes=20 * 1024**2))
    refused(path, errors.OverLimit, private)


@pytest.mark.parametrize(
    "name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_cut_streams_raise(wheel_file, tmp_path, private, name, kept):
    import pydicom
    from pydicom.encaps import encapsulate, generate_frames

    item = pydicom.dcmread(wheel_file(name))
    frame = next(generate_frames(item.PixelData, number_of_frames=1))
    item.PixelData = encapsulate([frame[: int(len(frame) * kept)]])
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", errors.CorruptFile, private)


def jpeg(shape=(16, 24)) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()


def test_a_cut_jpeg_raises(make, tmp_path, private):
    path = make.encapsulated(tmp_path / "a.dcm", [jpeg()[:-200]], (16, 24), JPEG_BASELINE)
    refused(path, errors.CorruptFile, private)


def test_a_stream_of_another_size_never_reaches_the_decoder(make, wheel_file, tmp_path, private):
    path = make.encapsulated(tmp_path / "a.dcm", [jpeg((4000, 3000))], (16, 24), JPEG_BASELINE)
    assert "3000 x 4000" in str(refused(path, errors.CorruptFile, private))
    refused(wheel_file("JPEG2000-embedded-sequence-delimiter.dcm"), errors.CorruptFile, private)


def test_a_rescale_that_is_no_number(make, tmp_path, private):
    path = make.image(tmp_path / "a.dcm", PIXELS, RescaleSlope="1", RescaleIntercept="123")
    path.write_bytes(path.read_bytes().replace(b"DS\x04\x00123 ", b"DS\x04\x00Zaph"))
    assert "RescaleIntercept" in str(refused(path, errors.CorruptFile, private, window=None))


def test_empty_windows_are_ignored(make, tmp_path):
    path = make.image(tmp_path / "a.dcm", PIXELS, WindowCenter="", WindowWidth="", Modality="CR")
    assert any("percentile" in step for step in load_image(path).history)


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(pixels=1000), "pixels"),
        (Limits(frames=1), "frames"),
        (Limits(decoded_bytes=5000), "decoded bytes"),
        (Limits(file_bytes=100), "file bytes"),
    ],
)
def test_ceilings_come_before_decoding(make, tmp_path, private, limits, word):
    path = make.image(tmp_path / "a.dcm", np.stack([PIXELS, PIXELS]))
    assert word in str(refused(path, errors.OverLimit, private, limits=limits, frames="all"))


def test_rows_and_columns_alone_cannot_allocate(make, tmp_path, private):
    path = make.image(tmp_path / "a.dcm", PIXELS, Rows=65535, Columns=65535)
    refused(path, errors.OverLimit, private)


def test_errors_survive_a_worker_process(tmp_path):
    import pickle

    error = errors.MissingInput("input 00: no such file.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.kind) == (errors.MissingInput, str(error), "missing")


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_escapes_as_another_type(make, tmp_path, private, seed):
    whole = bytearray(make.image(tmp_path / "a.dcm", PIXELS).read_bytes())
    generator = np.random.default_rng(seed)
    for position in generator.integers(132, 700, 12):
        whole[position] = generator.integers(0, 256)
    path = tmp_path / "b.dcm"
    path.write_bytes(whole)
    try:
        load_image(path, frames="all")
    except errors.MedicalImageError as error:
        private(error)


def test_a_series_names_no_file(make, tmp_path, private):
    make.series(tmp_path / "s", [(0, 0, 0), (0, 0, 1), (0, 0, 5)])
    with pytest.raises(errors.MissingSliceError) as caught:
        load_series(tmp_path / "s")
    private(caught.value)


def test_a_file_meta_that_hides_its_syntax(make, tmp_path, private):
    whole = make.image(tmp_path / "a.dcm", PIXELS).read_bytes()
    long = struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, 70_000) + bytes(70_000)
    start = whole.index(b"\x08\0\x16\0")
    path = tmp_path / "b.dcm"
    path.write_bytes(whole[:start] + long + whole[start:])
    refused(path, errors.CorruptFile, private)
    with pytest.raises(errors.CorruptFile, match="no TransferSyntaxUID"):
        deidentify(path, tmp_path / "c.dcm")
