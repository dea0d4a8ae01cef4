from __future__ import annotations

from verticlip.core.data.groups import Groups, content_keys


def test_sets_grow_together_and_are_named_by_the_lowest_item():
    groups = Groups()
    for first, second in ("cd", "ef", "fd", "fa"):
        groups.join(first, second)
    assert {groups.find(one) for one in "acdef"} == {"a"}
    assert groups.find("b") == "b"


def test_long_chains_are_no_matter():
    groups = Groups()
    for number in range(20_000, 0, -1):
        groups.join(number, number - 1)
    assert {groups.find(number) for number in range(20_001)} == {0}


def test_equal_files_have_equal_keys_and_a_file_of_its_size_alone_is_not_read(tmp_path, monkeypatch):
    for name, content in {"a": b"one", "b": b"two", "c": b"one", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    read = []
    from verticlip.core.data import groups

    sha256_of = groups.sha256_of
    monkeypatch.setattr(groups, "sha256_of", lambda path: read.append(path.name) or sha256_of(path))
    keys = content_keys({name: tmp_path / name for name in "abcd"} | {"d again": tmp_path / "d"})
    assert keys["a"] == keys["c"] != keys["b"]
    assert keys["d"] == keys["d again"]
    assert read == ["a", "b", "c"]
