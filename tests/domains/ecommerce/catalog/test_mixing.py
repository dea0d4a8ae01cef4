from pathlib import Path

import numpy as np
import pytest
from ecommerce.make_shop import HashEncoder, content_of, row, write_rows
from verticlip.core.errors import ConfigError
from verticlip.domains.ecommerce.catalog import Catalog, mixed_anew
from verticlip.domains.ecommerce.composed.query import ComposeSettings
from verticlip.domains.ecommerce.composed.stored import load_settings, save_settings
from verticlip.domains.ecommerce.encoders.fusing import Fusion, FusionWeights


class Mixing(HashEncoder):
    """An encoder whose identity says its shares, as the real one does."""

    def __init__(self, fusion: Fusion | None = None) -> None:
        super().__init__()
        self.fusion = fusion or Fusion()

    @property
    def identity(self):
        found = super().identity
        return type(found)(found.model, found.revision, self.fusion.fingerprint, found.dim)


@pytest.fixture
def encoders(monkeypatch) -> None:
    """What a model's encoder would be, with the shares that are asked for."""
    from verticlip.domains.ecommerce.catalog import catalog, mixing

    for module in (catalog, mixing):
        monkeypatch.setattr(module, "encoder_of", lambda model, fusion: (Mixing(fusion), fusion or Fusion()))


def table(shop) -> Path:
    rows = [row(number) for number in range(20)]
    rows[3]["image"], rows[4]["title"], rows[4]["category"], rows[4]["attributes"] = None, None, None, {}
    rows[5]["images"] = ["img/9.png"]
    return write_rows(shop(20), rows)


def test_it_is_what_a_new_run_with_these_shares_would_make(tmp_path: Path, encoders, shop) -> None:
    source, other = table(shop), Fusion(by_category={"Clothing > Shirt": FusionWeights(image=0.2, text=0.8)})
    old = Catalog.create(tmp_path / "old", model=HashEncoder())
    old.ingest(source)
    save_settings(old.folder, ComposeSettings(beta=0.7))
    before = content_of(old)
    mixed = mixed_anew(old, tmp_path / "mixed", model=HashEncoder(), fusion=other)
    fresh = Catalog.create(tmp_path / "fresh", model=HashEncoder(), fusion=other)
    fresh.ingest(source)
    assert mixed.config == fresh.config
    mine, theirs = content_of(mixed), content_of(fresh)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name][0] == theirs[name][0]
        for view in ("image", "text", "product"):
            pair = [one[name][1][view] for one in (mine, theirs)]
            assert (pair[0] is None) == (pair[1] is None)
            if pair[0] is not None:
                vectors = [np.frombuffer(one, np.float32) for one in pair]
                np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert mine["P00007"][1]["product"] != before["P00007"][1]["product"]
    assert content_of(old) == before
    assert mixed.stats().further_pictures == 1
    assert mixed.ingest(source).unchanged == 20
    assert load_settings(mixed.folder) == ComposeSettings(beta=0.7)


def test_a_graph_is_made_again_where_there_was_one(tmp_path: Path, encoders, shop, monkeypatch) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr("verticlip.core.index.optimizing.choose_kind", lambda *measured: "hnsw")
    old = Catalog.create(tmp_path / "old", model=HashEncoder(), index="hnsw")
    old.ingest(table(shop))
    other = Fusion(image=0.5, text=0.5)
    for name, covered in (("plain", 0), ("graph", 20)):
        mixed = mixed_anew(old, tmp_path / name, model=HashEncoder(), fusion=other)
        assert mixed.index.stats().indexed["product"] == covered
        old.optimize()


def test_what_cannot_be_mixed_is_said(tmp_path: Path, encoders, shop) -> None:
    old = Catalog.create(tmp_path / "old", model=HashEncoder())
    with pytest.raises(ConfigError, match="the catalogue is empty"):
        mixed_anew(old, tmp_path / "new", model=HashEncoder(), fusion=Fusion())
    old.ingest(table(shop))
    with pytest.raises(ConfigError, match="exists. Name a new folder"):
        mixed_anew(old, tmp_path / "old", model=HashEncoder(), fusion=Fusion())
    old.config = old.config.model_copy(update={"fusion": None})
    with pytest.raises(ConfigError, match="no shares to change"):
        mixed_anew(old, tmp_path / "new", model=HashEncoder(), fusion=Fusion())
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))
