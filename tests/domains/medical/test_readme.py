"""Every Python block of the room's README, in order, in one namespace."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import verticlip
from PIL import Image

pytest.importorskip("pydicom", reason="the medical extra is not installed")
README = Path(verticlip.__file__).parent / "domains" / "medical" / "README.md"


def test_every_block_runs(conceptclip: Path, biovil_t: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from pydicom.data import get_testdata_file

    ct = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    shutil.copy(ct, tmp_path / "ct.dcm")
    shutil.copytree(ct.parent / "dicomdirtests" / "98892001" / "CT5N", tmp_path / "series")
    random = np.random.default_rng(0)
    for name in ("cxr.png", "earlier.png"):
        Image.fromarray(random.integers(0, 255, (120, 100), dtype=np.uint8)).save(tmp_path / name)
    Image.fromarray(random.integers(0, 255, (60, 70, 3), dtype=np.uint8)).save(tmp_path / "skin.png")
    small = {"medical/biovil-t": str(biovil_t), "medical/conceptclip": str(conceptclip)}
    load = verticlip.from_pretrained
    monkeypatch.setattr(verticlip, "from_pretrained", lambda name: load(small.get(name, name)))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "effusion.png").is_file()
    assert "chexpert-5x200" in capsys.readouterr().out
