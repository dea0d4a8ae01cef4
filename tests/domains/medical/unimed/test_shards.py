"""Tar shards: writing, reading ours and the reference's, refusing hostile ones, order and resumption."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError, InputError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.medical.unimed.shards import (
    Part,
    ShardStream,
    load_pair,
    read_shard,
    unpack_shards,
    write_shards,
)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict]:
    (tmp_path / "images").mkdir()
    found = []
    for number in range(25):
        path = tmp_path / "images" / f"{number}.png"
        path.write_bytes(f"image {number}".encode())
        text = [f"caption {number} {letter}" for letter in "abc"]
        found.append(
            {"id": f"row {number}", "path": str(path), "text": text, "label": "x", "extras": {"n": number}}
        )
    return found


@pytest.fixture
def shards(rows: list[dict], tmp_path: Path) -> list[Path]:
    return write_shards(rows, tmp_path / "out", per_shard=10)


def tar_of(path: Path, members: list[tuple[str, bytes]], change=None, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if change:
                change(member)
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def test_shards_hold_what_was_written(shards: list[Path], tmp_path: Path) -> None:
    assert [path.name for path in shards] == [f"dataset-00000{number}.tar" for number in (1, 2, 3)]
    pairs = [pair for path in shards for pair in read_shard(path)]
    assert len(pairs) == 25
    assert pairs[12].image == b"image 12"
    assert (pairs[12].id, pairs[12].suffix) == ("dataset-000002-000012", ".png")
    assert pairs[12].captions == ("caption 12 a", "caption 12 b", "caption 12 c")
    assert pairs[12].caption in pairs[12].captions
    assert pairs[12].extras == {"id": "row 12", "label": "x", "extras": {"n": 12}}
    assert len({pair.caption[-1] for pair in pairs}) == 3
    index = json.loads((tmp_path / "out" / "shards.json").read_text())
    assert [shard["samples"] for shard in index["shards"]] == [10, 10, 5]


def test_equal_rows_give_equal_bytes(rows, shards, tmp_path: Path) -> None:
    again = write_shards(rows, tmp_path / "again", per_shard=10)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in shards]


def test_shards_unpack_into_rows_for_any_recipe(shards, tmp_path: Path) -> None:
    rows = unpack_shards(shards, tmp_path / "unpacked")
    assert len(rows) == 25
    assert Path(rows[3]["path"]).read_bytes() == b"image 3"
    assert (rows[3]["text"][0], rows[3]["label"], rows[3]["extras"]) == ("caption 3 a", "x", {"n": 3})
    lines = [json.loads(line) for line in (tmp_path / "unpacked" / "pairs.jsonl").read_text().splitlines()]
    assert len(lines) == 75
    assert lines[9] == {"path": "dataset-000001-000003.png", "text": "caption 3 a", "label": "x"}


def test_a_pair_becomes_a_sample_by_the_loaders_of_the_room(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.fromarray(np.full((6, 8), 200, np.uint8)).save(image, "PNG")
    # The reference stores whatever it finds as .jpg.
    members = [("000000.jpg", image.getvalue()), ("000000.txt", b"a film")]
    (pair,) = read_shard(tar_of(tmp_path / "s.tar", members))
    sample = load_pair(pair)
    assert (sample.id, tuple(sample.value.shape)) == ("s-000000", (1, 6, 8))
    broken = dataclasses.replace(pair, image=b"nothing")
    with pytest.raises(InputError):
        load_pair(broken)


def test_shards_of_the_reference_are_read(tmp_path: Path) -> None:
    text = "a film._chexpert_a scan._chexpert_"
    path = tar_of(
        tmp_path / "dataset-000001.tar", [("000000.jpg", b"\x89PNG"), ("000000.txt", text.encode())]
    )
    (pair,) = read_shard(path)
    assert pair.captions == ("a film.", "a scan.")
    assert pair.image == b"\x89PNG"


def test_rows_that_are_no_pairs(rows, tmp_path: Path) -> None:
    for change, match in (
        ({"text": []}, "row 0: no captions, or an empty one"),
        ({"text": ["a", " "]}, "no captions, or an empty one"),
        ({"path": str(tmp_path / "gone.png")}, "row 0: no image file"),
        ({"path": __file__}, "'.py' is no image of"),
    ):
        with pytest.raises(DataError, match=match):
            write_shards([{**rows[0], **change}], tmp_path / "bad")
        assert not list((tmp_path / "bad").glob("*"))
    with pytest.raises(DataError, match="no rows to write"):
        write_shards([], tmp_path / "bad")
    with pytest.raises(ConfigError, match="per_shard is at least 1"):
        write_shards(rows, tmp_path / "bad", per_shard=0)
    write_shards(rows[:1], tmp_path / "bad")
    with pytest.raises(ConfigError, match="has shards already"):
        write_shards(rows, tmp_path / "bad")


def linked(member: tarfile.TarInfo) -> None:
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"


def device(member: tarfile.TarInfo) -> None:
    member.type = tarfile.CHRTYPE


PAIR = [("000000.jpg", b"x"), ("000000.json", b'{"captions": ["a"]}')]


@pytest.mark.parametrize(
    ("members", "change", "match"),
    [
        (PAIR, linked, "'000000.jpg' is no plain file"),
        (PAIR, device, "is no plain file"),
        ([("../000000.jpg", b"x")], None, r"the member name '../000000.jpg' is not NNNNNN.suffix"),
        ([("/000000.jpg", b"x")], None, "is not NNNNNN.suffix"),
        ([("a\\b.jpg", b"x")], None, "is not NNNNNN.suffix"),
        ([("000000.exe", b"x")], None, "is neither image nor text"),
        ([*PAIR, PAIR[0]], None, "'000000.jpg' stands twice"),
        (PAIR[:1], None, "'000000' has .jpg; a pair is one image and one .json or .txt"),
        ([*PAIR, ("000000.txt", b"a")], None, "'000000' has .jpg, .json, .txt"),
        ([PAIR[0], ("000000.json", b"{")], None, "000000.json: not UTF-8 text or not JSON"),
        ([PAIR[0], ("000000.json", b'{"captions": []}')], None, "'captions' is not a list of texts"),
        ([PAIR[0], ("000000.json", b'{"captions": ["a", 3]}')], None, "'captions' is not a list"),
        ([PAIR[0], ("000000.json", b"[]")], None, "'captions' is not a list"),
        ([PAIR[0], ("000000.txt", b"\xff")], None, "not UTF-8"),
        ([PAIR[0], ("000000.txt", b" ")], None, "000000.txt: A training text of 1 characters has no caption"),
    ],
)
def test_hostile_and_damaged_shards(tmp_path: Path, members, change, match: str) -> None:
    path = tar_of(tmp_path / "s.tar", members, change)
    with pytest.raises(DataError, match=match):
        list(read_shard(path))


def test_compressed_cut_and_missing_shards(shards, tmp_path: Path) -> None:
    packed = tar_of(tmp_path / "packed.tar", PAIR, mode="w:gz")
    with pytest.raises(DataError, match="packed.tar: not a whole uncompressed tar"):
        list(read_shard(packed))
    whole = shards[0].read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (len(whole) // 2 // 512 * 512 + 100, 700, 10):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut.tar: (not a whole|ends inside|'\d+' has)"):
            list(read_shard(cut))
    with pytest.raises(DataError, match="gone.tar: no such shard"):
        list(read_shard(tmp_path / "gone.tar"))


def test_sizes_are_limited(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "s.tar", [("000000.jpg", b"x" * 100), ("000000.json", b'{"captions": ["abc"]}')])
    with pytest.raises(LimitError, match="s.tar: 000000.jpg: bytes 100 is over the limit of 50"):
        list(read_shard(path, limits=DEFAULT.with_(file_bytes=50)))
    with pytest.raises(LimitError, match="000000.json: bytes"):
        list(read_shard(path, limits=DEFAULT.with_(config_bytes=5)))
    with pytest.raises(LimitError, match="000000.json: characters"):
        list(read_shard(path, limits=DEFAULT.with_(text_chars=2)))


def test_an_epoch_has_every_pair_once_in_an_order_of_its_own(shards) -> None:
    stream = ShardStream([Part("a", tuple(shards))], seed=3, buffer=7)
    first, second = ([pair.id for pair in stream.epoch(epoch)] for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 25
    assert first != second
    again = ShardStream([Part("a", tuple(shards))], seed=3, buffer=7)
    assert [pair.id for pair in again.epoch(0)] == first
    assert [pair.id for pair in ShardStream([Part("a", tuple(shards))], seed=4).epoch(0)] != first


def test_captions_change_with_the_epoch(shards) -> None:
    stream = ShardStream([Part("a", tuple(shards))])
    drawn = [{pair.id: pair.caption for pair in stream.epoch(epoch)} for epoch in range(6)]
    assert len({captions["dataset-000001-000000"] for captions in drawn}) > 1


@pytest.mark.parametrize("stop", [0, 1, 13, 24])
def test_a_stream_goes_on_where_it_stopped(shards, stop: int) -> None:
    parts = [Part("a", tuple(shards))]
    whole = [(pair.id, pair.caption) for pair in ShardStream(parts, seed=1, buffer=6).epoch(2)]
    stream = ShardStream(parts, seed=1, buffer=6)
    seen = [(pair.id, pair.caption) for pair in itertools.islice(stream.epoch(2), stop)]
    later = ShardStream(parts, seed=1, buffer=6)
    later.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    rest = [(pair.id, pair.caption) for pair in later.epoch(2)]
    assert seen + rest == whole
    assert later.state_dict() == {"epoch": 3, "done": 0}


def test_processes_share_the_shards(shards) -> None:
    parts = [Part("a", tuple(shards))]
    found = [pair.id for rank in (0, 1) for pair in ShardStream(parts, rank=rank, world=2).epoch(0)]
    assert len(found) == len(set(found)) == 25


def test_weights_change_how_often_a_part_is_drawn(rows, tmp_path: Path) -> None:
    many = write_shards(rows, tmp_path / "many", per_shard=1)
    few = write_shards(rows[:5], tmp_path / "few", per_shard=1)
    stream = ShardStream([Part("many", tuple(many), 1.0), Part("few", tuple(few), 20.0)], seed=0)
    counts = Counter(part for epoch in range(20) for part, _ in stream.shards(epoch))
    # 5 shards of weight 20 against 25 of weight 1: four of five draws.
    assert 0.74 < counts["few"] / sum(counts.values()) < 0.86
    assert len(stream.shards(0)) == 30


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"parts": []}, "needs parts that have shards"),
        ({"parts": [Part("a", ())]}, "needs parts that have shards"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"world": 9}, "rank 0 of 9 with 3 shards: every process needs a shard"),
        ({"buffer": 0}, "buffer is at least 1"),
    ],
)
def test_streams_that_cannot_run(shards, changes, match: str) -> None:
    options = {"parts": [Part("a", tuple(shards))], **changes}
    with pytest.raises(ConfigError, match=match):
        ShardStream(options.pop("parts"), **options)


def test_weights_and_states_that_cannot_be(shards) -> None:
    part = Part("a", tuple(shards))
    with pytest.raises(ConfigError, match="Part 'a' has no weight"):
        ShardStream([part, Part("b", tuple(shards), 1.0)])
    with pytest.raises(ConfigError, match="Weights of parts are positive"):
        ShardStream([Part("b", tuple(shards), 0.0)])
    with pytest.raises(ConfigError, match="is not the state of a shard stream"):
        ShardStream([part]).load_state_dict({"epoch": 1})
