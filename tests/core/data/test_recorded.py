from __future__ import annotations

import hashlib

from verticlip.core.data import Manifest, Record, recorded


def manifest(root, *rows: tuple[str, str | None]) -> Manifest:
    records = [
        Record(f"{number}", path=path, text="a text", source=source)
        for number, (source, path) in enumerate(rows)
    ]
    return Manifest.from_records(records, root=root)


def test_files_are_recorded_by_path_and_content(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    rows = manifest(tmp_path, ("s", "b"), ("s", "a"), ("s", "a"), ("other", "b"), ("texts", None))
    found = recorded.source_files(rows, ["s", "texts"])
    lines = "\n".join(
        f"{name} {hashlib.sha256(text).hexdigest()}" for name, text in (("a", b"one"), ("b", b"two"))
    )
    assert found["s"] == {
        "files": 2, "bytes": 6, "sha256": hashlib.sha256(lines.encode()).hexdigest(), "by": "content",
    }  # fmt: skip
    assert found["texts"] == {"files": 0, "bytes": 0, "sha256": None, "by": "content"}
    (tmp_path / "a").write_bytes(b"One")
    assert recorded.source_files(rows, ["s"])["s"]["sha256"] != found["s"]["sha256"]


def test_large_sources_are_recorded_by_size(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"one")
    monkeypatch.setattr(recorded, "MAX_HASHED_BYTES", 2)
    found = recorded.source_files(manifest(tmp_path, ("s", "a")), ["s"])["s"]
    assert found["by"] == "names and sizes"
    assert found["sha256"] == hashlib.sha256(b"a 3").hexdigest()
