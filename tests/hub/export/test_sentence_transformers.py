"""sentence-transformers loads what is exported for transformers, with the lines that stand in its README."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import make_exports as make
from PIL import Image
from verticlip.hub.export import export

pytest.importorskip("sentence_transformers")

TEXTS = ["a photo of a cat", "red shirt"]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_it_embeds_as_the_model(kind, tmp_path):
    from sentence_transformers import SentenceTransformer

    subject = make.word_clip() if kind == "clip" else make.siglip()
    export(subject, tmp_path / "out", "transformers")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    small = Image.fromarray(np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    pictures = [small.resize(size, Image.Resampling.BICUBIC) for size in ((64, 48), (32, 90))]
    image = torch.from_numpy(model.encode(pictures, normalize_embeddings=True))
    text = torch.from_numpy(model.encode(TEXTS, normalize_embeddings=True))
    with torch.no_grad():
        ours = subject.network.encode("image", subject.processor("image", pictures))
        words = subject.network.encode("text", subject.processor("text", TEXTS))
    assert (image * ours).sum(dim=1).min() > 0.999
    assert torch.allclose(text, words, atol=2e-5)


def test_the_lines_of_the_page_run(tmp_path, monkeypatch, capsys):
    export(make.word_clip(), tmp_path / "out", "transformers")
    Image.new("RGB", (50, 40), (200, 30, 90)).save(tmp_path / "out" / "picture.jpg")
    page = (tmp_path / "out" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path / "out")
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("[[") == 2
