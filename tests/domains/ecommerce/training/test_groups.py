from __future__ import annotations

from verticlip.domains.ecommerce.training.groups import Groups, equal_pictures


def test_sets_grow_together_and_are_named_by_the_lowest_id():
    groups = Groups()
    groups.join("c", "d")
    groups.join("e", "f")
    assert groups.find("d") == "c"
    groups.join_all(["f", "d", "a"])
    assert {groups.find(one) for one in "acdef"} == {"a"}
    assert groups.find("b") == "b"
    groups.join_all([])


def test_long_chains_are_no_matter():
    groups = Groups()
    names = [f"{number:05d}" for number in range(20_000)]
    for first, second in zip(names[::-1], names[::-1][1:], strict=False):
        groups.join(first, second)
    assert {groups.find(one) for one in names} == {"00000"}


def test_equal_files(tmp_path):
    for name, content in {"a": b"one", "b": b"two", "c": b"one", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    assert equal_pictures({name: tmp_path / name for name in "abcd"}) == [["a", "c"]]
