import gzip

import pytest
from verticlip.core.errors import DataError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.ecommerce.products.streams import open_bytes

zstandard = pytest.importorskip("zstandard")
TEXT = b"".join(b'{"id": "%d", "title": "Mug %d"}\n' % (number, number * 7919) for number in range(20_000))


def packed(kind, data):
    return gzip.compress(data) if kind == "gz" else zstandard.compress(data)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_what_is_packed_is_read(tmp_path, kind):
    file = tmp_path / "anything"
    file.write_bytes(packed(kind, TEXT))
    with open_bytes(file) as stream:
        assert stream.read() == TEXT
    with open_bytes(file) as stream:
        assert stream.readline() == TEXT.split(b"\n")[0] + b"\n"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_several_members_are_one_file(tmp_path, kind):
    file = tmp_path / "a"
    file.write_bytes(packed(kind, b"one\n") + packed(kind, b"two\n"))
    with open_bytes(file) as stream:
        assert stream.read() == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("cut", [5, 100, -1])
def test_a_file_that_was_cut_off_says_so(tmp_path, kind, cut):
    file = tmp_path / "a"
    file.write_bytes(packed(kind, TEXT)[:cut])
    with open_bytes(file) as stream, pytest.raises(DataError, match="a: the compressed file ends too early"):
        stream.read()


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_damaged_file_says_so(tmp_path, kind):
    data = bytearray(packed(kind, TEXT))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    file = tmp_path / "a"
    file.write_bytes(bytes(data))
    with open_bytes(file) as stream, pytest.raises(DataError, match="damaged|too early"):
        stream.read()


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_bomb_is_not_unpacked(tmp_path, kind):
    file = tmp_path / "bomb"
    file.write_bytes(packed(kind, bytes(64 * 1024**2)))
    assert file.stat().st_size < 100_000
    read = 0
    with open_bytes(file) as stream, pytest.raises(LimitError, match="bomb: .* more than 200 times"):
        while part := stream.read(1024**2):
            read += len(part)
    assert read <= 33 * 1024**2


def test_plain_files_and_none(tmp_path):
    file = tmp_path / "plain"
    file.write_bytes(b"a\n")
    with open_bytes(file) as stream:
        assert stream.read() == b"a\n"
    with pytest.raises(DataError, match="no such file"):
        open_bytes(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder"):
        open_bytes(tmp_path)
    with pytest.raises(LimitError, match="plain: bytes 2 is over the limit of 1"):
        open_bytes(file, limits=DEFAULT.with_(file_bytes=1))
