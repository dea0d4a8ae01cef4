"""Choice of decoders and the checks on compressed streams."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.loaders import errors, pixels

JPEG_BASELINE, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("MR_small_RLE.dcm", "pylibjpeg"),
        ("MR_small_jp2klossless.dcm", "pylibjpeg"),
        ("MR_small_jpeg_ls_lossless.dcm", "pyjpegls"),
        ("SC_rgb_jpeg_dcmtk.dcm", "pillow"),
        ("MR_small.dcm", "native"),
    ],
)
def test_the_decoder_is_chosen_by_syntax(wheel_file, name, decoder):
    assert load_image(wheel_file(name), window=None).history[0] == f"decode: {decoder}"


def info(**changes):
    values = {
        "rows": 4, "columns": 4, "samples": 1, "frames": 1, "bits_allocated": 16, "bits_stored": 12,
        "signed": False, "photometric": "MONOCHROME2", "planar": 0,
    }  # fmt: skip
    return pixels.PixelInfo(**{**values, **changes})


def choose(syntax, available, **changes):
    return pixels._choose_plugins(
        SimpleNamespace(available_plugins=available), syntax, info(**changes), "input 0"
    )


def test_variants_that_a_decoder_lacks():
    every = ("pillow", "gdcm", "pylibjpeg", "pyjpegls", "pydicom")
    assert choose("1.2.840.10008.1.2.4.51", every) == ["pylibjpeg"]
    assert choose("1.2.840.10008.1.2.4.51", every, bits_stored=8) == ["pillow", "pylibjpeg"]
    assert choose("1.2.840.10008.1.2.4.90", every, samples=3) == ["pylibjpeg", "gdcm"]
    assert choose("1.2.840.10008.1.2.5", every) == ["pylibjpeg", "pydicom"]
    assert choose("1.2.840.10008.1.2.4.80", ("pylibjpeg",)) == ["pylibjpeg"]


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"]
)
def test_no_decoder_names_the_extra(syntax):
    with pytest.raises(errors.MissingDecoder, match=r"verticlip\[medical\]"):
        choose(syntax, ())


def test_a_decoder_that_lacks_the_variant_hands_over_a_broken_stream_does_not(monkeypatch, make, tmp_path):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(out, "JPEG")
    path = make.encapsulated(tmp_path / "a.dcm", [out.getvalue()], (4, 4), JPEG_BASELINE)
    monkeypatch.setattr(pixels, "_choose_plugins", lambda *_: ["first", "second"])
    asked = []

    def decode(decoder, plugin, *_, strict):
        asked.append(plugin)
        if plugin == "first":
            raise failure
        return np.zeros((1, 4, 4), np.uint8)

    monkeypatch.setattr(pixels, "_decode_with", decode)
    failure = NotImplementedError("12 bits")
    assert load_image(path, window=None).history[0] == "decode: second"
    failure = ValueError("broken stream")
    with pytest.raises(errors.CorruptFile):
        load_image(path)
    assert asked == ["first", "second", "first"]
    failure = type("PanicException", (BaseException,), {})("index out of bounds")
    with pytest.raises(errors.CorruptFile):
        load_image(path)
    failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        load_image(path)
    monkeypatch.setattr(pixels, "_choose_plugins", lambda *_: ["first"])
    failure = RuntimeError("first: this is not supported")
    with pytest.raises(errors.UnsupportedEncoding, match="Convert the file"):
        load_image(path)


def test_the_permissive_decoder_needs_an_end_mark(monkeypatch, make, tmp_path):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(out, "JPEG")
    cut = out.getvalue()[:-2]
    path = make.encapsulated(tmp_path / "a.dcm", [cut], (4, 4), JPEG_BASELINE)
    monkeypatch.setattr(pixels, "_choose_plugins", lambda *_: ["pylibjpeg"])
    with pytest.raises(errors.CorruptFile, match="no end mark"):
        load_image(path)


def test_more_offsets_than_frames(make, tmp_path):
    frame = b"\xff\xd8" + bytes(10)
    path = make.encapsulated(tmp_path / "a.dcm", [frame, frame], (4, 4), JPEG_BASELINE)
    with pytest.raises(errors.CorruptFile, match="more frames than NumberOfFrames"):
        load_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_sizes_of_streams(kind):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(out, kind)
    syntax = JPEG_BASELINE if kind == "JPEG" else "1.2.840.10008.1.2.4.90"
    assert pixels.codestream_size(out.getvalue(), syntax) == (20, 30)
    assert pixels.codestream_size(b"\xff\xd8\xff\xff" + out.getvalue()[3:], JPEG_BASELINE) in ((20, 30), None)
    assert pixels.codestream_size(b"junk", syntax) is None
    assert pixels.codestream_size(b"\xff\xd8 junk and more", JPEG_BASELINE) is None


def test_without_pydicom_the_error_names_the_extra(monkeypatch, wheel_file):
    from verticlip.core.errors import DependencyError

    path = wheel_file("CT_small.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DependencyError, match=r"verticlip\[medical\]"):
        load_image(path)
