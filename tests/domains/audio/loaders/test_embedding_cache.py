"""Caches of vectors: exact, whole parts, resumable, and never of another model."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import ConfigError, DataError, InputError, WeightsError
from verticlip.domains.audio.loaders.embedding_cache import (
    EmbeddingCache,
    cache_video_embeddings,
    write_cache,
)

IDENTITY = {"model": "test", "revision": "1"}


def encode(item: int) -> torch.Tensor:
    if item == 3:
        raise InputError("three is no film")
    return torch.randn(2 + item % 3, 8, generator=torch.Generator().manual_seed(item))


ITEMS = [(f"film/{index}.mp4", index) for index in range(7)]


def test_vectors_come_back(tmp_path) -> None:
    report = write_cache(ITEMS, encode, tmp_path / "c", identity=IDENTITY, part_size=3, half=False)
    assert (report.embedded, report.resumed, dict(report.failures)) == (
        6,
        0,
        {"film/3.mp4": "three is no film"},
    )
    cache = EmbeddingCache(tmp_path / "c", identity=IDENTITY)
    assert len(cache) == 6
    assert list(cache) == [name for name, index in ITEMS if index != 3]
    for name, index in ITEMS:
        if index != 3:
            assert torch.equal(cache[name], encode(index))
    halved = write_cache(ITEMS, encode, tmp_path / "h", identity=IDENTITY).folder
    assert torch.equal(EmbeddingCache(halved)["film/1.mp4"], encode(1).half().float())


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path) -> None:
    write_cache(ITEMS, encode, tmp_path / "whole", identity=IDENTITY, part_size=3)
    called = []

    def dies(item: int) -> torch.Tensor:
        called.append(item)
        if item == 5:
            raise KeyboardInterrupt
        return encode(item)

    with pytest.raises(KeyboardInterrupt):
        write_cache(ITEMS, dies, tmp_path / "c", identity=IDENTITY, part_size=3)
    with pytest.raises(ConfigError, match="2 parts are not written yet"):
        EmbeddingCache(tmp_path / "c")
    report = write_cache(ITEMS, encode, tmp_path / "c", identity=IDENTITY, part_size=3)
    assert (report.resumed, report.embedded, len(report.failures)) == (1, 6, 1)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes()


def test_caches_of_something_else_are_refused(tmp_path) -> None:
    folder = write_cache(ITEMS, encode, tmp_path / "c", identity=IDENTITY).folder
    with pytest.raises(ConfigError, match="the vectors are of revision '1', not '2'"):
        write_cache(ITEMS, encode, folder, identity={**IDENTITY, "revision": "2"})
    with pytest.raises(ConfigError, match="holds the vectors of another list"):
        write_cache(ITEMS[:3], encode, folder, identity=IDENTITY)
    with pytest.raises(ConfigError, match="not '2'"):
        EmbeddingCache(folder, identity={"revision": "2"})
    with pytest.raises(ConfigError, match="no such file"):
        EmbeddingCache(tmp_path / "none")


def test_bad_items_and_files(tmp_path) -> None:
    with pytest.raises(DataError, match="every id once"):
        write_cache([("a", 1), ("a", 2)], encode, tmp_path / "c", identity=IDENTITY)
    folder = write_cache(ITEMS, encode, tmp_path / "c", identity=IDENTITY).folder
    with pytest.raises(DataError, match="no vectors of 'film/7.mp4'"):
        EmbeddingCache(folder)["film/7.mp4"]
    with pytest.raises(DataError, match="no vectors of 'film/3.mp4'"):
        EmbeddingCache(folder)["film/3.mp4"]
    part = folder / "part-000000.safetensors"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="part-000000.safetensors: the file is damaged"):
        EmbeddingCache(folder)["film/1.mp4"]
    report = write_cache(
        [("a", 0)], lambda _: torch.full((1, 2), torch.nan), tmp_path / "n", identity=IDENTITY
    )
    assert "no finite numbers" in report.failures["a"]


def test_frames_of_films(film, model_folder, tmp_path) -> None:
    import verticlip

    model = verticlip.from_pretrained(model_folder, device="cpu")
    report = cache_video_embeddings(model, [("beep", film)], tmp_path / "c", size=16)
    assert report.embedded == 1
    cache = EmbeddingCache(tmp_path / "c", identity={"revision": model.revision})
    assert cache["beep"].shape == (4, 12)
    # They are not unit vectors: the reference averages them as they leave the tower.
    assert not torch.allclose(cache["beep"].norm(dim=1), torch.ones(4), atol=1e-3)
