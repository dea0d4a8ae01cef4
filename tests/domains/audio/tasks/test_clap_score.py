from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from verticlip.core.answers import Embeddings, Failure
from verticlip.core.errors import InputError
from verticlip.domains.audio.tasks.clap_score import clap_score

TEXTS = {"rain": [1.0, 0.0], "dog": [0.0, 1.0]}
SOUNDS = {"rain.wav": [0.8, 0.6], "dog.wav": [0.6, 0.8]}


class Ears:
    """Knows two sounds and two texts."""

    id, revision = "ears", "r1"
    network = SimpleNamespace(modalities=("audio", "text"))

    def embed(self, items: list[str], *, modality: str) -> Embeddings:
        vectors = torch.tensor([TEXTS[item] for item in items])
        return Embeddings(vectors, tuple(items), ({},) * len(items), "text", "ears", "r1", "p")

    def embed_each(self, items: list[Path], **_: Any) -> Any:
        for item in items:
            if item.name not in SOUNDS:
                yield Failure(item.name, "it is no sound")
            else:
                yield Embeddings(
                    torch.tensor([SOUNDS[item.name]]), (item.name,), ({},), "audio", "ears", "r1", "p"
                )


ears = cast("Any", Ears())


def test_the_score_is_the_mean_cosine_and_the_contrast_that_over_wrong_texts() -> None:
    found = clap_score(ears, ["a/rain.wav", "a/dog.wav"], ["rain", "dog"])
    assert found.each == pytest.approx((0.8, 0.8))
    assert found.mean == pytest.approx(0.8)
    assert found.contrast == pytest.approx(0.2)
    assert found.model == "ears@r1"
    assert clap_score(ears, ["rain.wav"] * 2, ["rain"] * 2).contrast is None


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError, match="got 1 and 2"):
        clap_score(ears, ["rain.wav"], ["rain", "dog"])
    with pytest.raises(InputError, match="x.wav: it is no sound"):
        clap_score(ears, ["x.wav"], ["rain"])
    deaf = cast("Any", SimpleNamespace(id="eyes", network=SimpleNamespace(modalities=("image", "text"))))
    with pytest.raises(InputError, match="eyes has no audio tower"):
        clap_score(deaf, ["rain.wav"], ["rain"])
