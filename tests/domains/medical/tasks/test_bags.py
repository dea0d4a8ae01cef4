from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from verticlip.core.errors import DataError, InputError, LimitError
from verticlip.core.heads.mil import MILOptions
from verticlip.core.limits import Limits
from verticlip.domains.medical.tasks import classify_bags, embed_bag, fit_bags, read_bags, save_attention
from verticlip.domains.medical.tasks.bags import place_of, write_answers

OPTIONS = MILOptions(hidden=32, attention=16, gated=True, learning_rate=2e-3, epochs=12)


def write_vectors(path: Path, ids: list[str], vectors: np.ndarray, **columns: list) -> Path:
    """Write a file as ``verticlip embed`` does, with further columns."""
    vector = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(vectors.astype(np.float32).ravel()), vectors.shape[1]
    )
    table = pyarrow.table({"id": ids, "vector": vector, **columns})
    parquet.write_table(table, path, row_group_size=50)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Sixty slides of 40 tiles; in a tumor slide two neighbouring tiles differ."""
    rng = np.random.default_rng(0)
    ids, vectors, rows = [], [], ["case,slide,label,fold"]
    folds = ["train"] * 30 + ["validation"] * 10 + ["test"] * 20
    for slide, fold in enumerate(folds):
        tumor = slide % 2
        tiles = rng.normal(size=(40, 16))
        tiles[[17, 18], 4 * tumor : 4 * tumor + 4] += 4
        vectors.append(tiles + 0.3 * rng.normal(size=16))
        # Half of the slides as folders, half as the start of a file name.
        name = f"slide{slide}/t_x{{x}}_y{{y}}.png" if slide % 4 < 2 else f"all/slide{slide}_x{{x}}_y{{y}}.png"
        ids += [name.format(x=512 * (tile % 8), y=512 * (tile // 8)) for tile in range(40)]
        rows.append(f"case{slide},slide{slide}.svs,{'tumor' if tumor else 'benign'},{fold}")
    write_vectors(tmp_path / "tiles.parquet", ids, np.concatenate(vectors))
    (tmp_path / "slides.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_tiles_go_to_the_slides_of_the_table(cohort: Path):
    bags = read_bags(cohort / "tiles.parquet", cohort / "slides.csv")
    assert [bag.fold for bag in bags] == ["train"] * 30 + ["val"] * 10 + ["test"] * 20
    assert {len(bag) for bag in bags} == {40}
    for number in (0, 3):
        bag = bags[number]
        assert (bag.case, bag.slides) == (f"case{number}", (f"slide{number}.svs",))
        assert bag.embeddings.shape == (40, 16)
        assert bag.places is not None
        assert bag.places[9].tolist() == [512, 512]
        assert all(f"slide{number}" in tile for tile in bag.tiles)


def test_from_the_table_to_the_tiles_that_decided(cohort: Path):
    bags = read_bags(cohort / "tiles.parquet", cohort / "slides.csv")
    head, report = fit_bags(bags, options=OPTIONS)
    assert head.class_names == ("benign", "tumor")
    assert report is not None
    assert report.auc.value > 0.95
    answers = classify_bags(head, [bag for bag in bags if bag.fold == "test"], batch_size=6)
    mass = np.mean([float(answer.attention[[17, 18]].sum()) for answer in answers])
    assert mass > 0.5
    plain = answers[1].to_dict(top=2)
    assert {tile["id"].rsplit("_x")[1] for tile in plain["top_tiles"]} == {"512_y1024.png", "1024_y1024.png"}
    assert plain["top_tiles"][0]["place"] in ([512.0, 1024.0], [1024.0, 1024.0])
    write_answers(answers, cohort / "answers.jsonl")
    lines = (cohort / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 20
    assert json.loads(lines[1])["label"] == answers[1].label


def test_several_slides_of_one_case_are_one_bag(cohort: Path):
    (cohort / "slides.csv").write_text("case_id,slide_id,label\na,slide1.svs; slide2,tumor\nb,slide3,\n")
    first, second = read_bags(cohort / "tiles.parquet", cohort / "slides.csv")
    assert (first.slides, len(first), first.fold) == (("slide1.svs", "slide2"), 80, None)
    assert first.slide_of.count(0) == first.slide_of.count(1) == 40
    assert second.label is None
    head, _ = fit_bags_on(first)
    (answer,) = classify_bags(head, [first])
    with pytest.raises(InputError, match="has 2 slides; pass slide= one of slide1.svs, slide2"):
        save_attention(answer, cohort / "map.png")
    save_attention(answer, cohort / "map.png", slide="slide2")
    with Image.open(cohort / "map.png") as image:
        assert image.width > 400


def fit_bags_on(bag):
    """A head of the right width, whatever it says."""
    from verticlip.core.heads.mil import AttentionMIL

    bags = [bag.embeddings[:5], bag.embeddings[5:12]]
    return AttentionMIL.fit(
        bags, [0, 1], ["a", "b"], options=MILOptions(hidden=4, attention=2, epochs=1)
    ), None


def test_columns_of_places_win_over_names(tmp_path: Path):
    ids = ["s/a_x1_y2.png", "s/b.png", "s/c_x5_y6.png"]
    path = write_vectors(tmp_path / "t.parquet", ids, np.ones((3, 4)), x=[10, 20, 30], y=[1.5, 2.5, 3.5])
    (tmp_path / "s.csv").write_text("case,slide,label\nc,s,benign\n")
    (bag,) = read_bags(path, tmp_path / "s.csv")
    assert bag.places is not None
    assert bag.places.tolist() == [[10, 1.5], [20, 2.5], [30, 3.5]]
    path = write_vectors(tmp_path / "t.parquet", ids, np.ones((3, 4)))
    assert read_bags(path, tmp_path / "s.csv")[0].places is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/b_x12_y340.png", (12, 340)),
        ("x0_y7.jpg", (0, 7)),
        ("S1-X3_Y4.tif", (3, 4)),
        ("a_x1_y2_small.png", None),
        ("tile7.png", None),
    ],
)
def test_places_from_names(name, place):
    assert place_of(name) == place


def test_a_folder_of_tiles_is_a_bag(tiny, tmp_path: Path):
    folder = tmp_path / "slide9"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
            folder / f"t_x{number * 32}_y0.png"
        )
    bag = embed_bag(tiny, folder, label="tumor", batch_size=2)
    assert (bag.id, bag.label, len(bag)) == ("slide9", "tumor", 5)
    assert bag.places is not None
    assert bag.places[:, 0].tolist() == [0, 128, 32, 64, 96]  # in the order of the names
    torch.testing.assert_close(
        bag.embeddings, tiny.embed(sorted(folder.iterdir()), modality="image").vectors, atol=1e-5, rtol=0
    )


def test_an_embedding_run_is_what_is_read(tiny, tmp_path: Path):
    for slide in ("s1", "s2"):
        (tmp_path / "tiles" / slide).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (number * 60, 30, 90)).save(
                tmp_path / "tiles" / slide / f"x{number}_y0.png"
            )
    from verticlip.core.embed import list_files

    tiny.embed_files(list_files(tmp_path / "tiles"), tmp_path / "t.parquet", workers=1)
    (tmp_path / "s.csv").write_text("case,slide,label,fold\na,s1,x,train\nb,s2,y,val\n")
    first, second = read_bags(tmp_path / "t.parquet", tmp_path / "s.csv")
    assert first.tiles == ("s1/x0_y0.png", "s1/x1_y0.png", "s1/x2_y0.png")
    assert second.embeddings.shape == (3, 128)


def test_messages(cohort: Path, tiny):
    tiles, table = cohort / "tiles.parquet", cohort / "slides.csv"

    def read(text: str) -> None:
        table.write_text(text)
        read_bags(tiles, table)

    for text, message in (
        ("case,slide,lable\na,slide1,x\n", "no column 'label'. Did you mean 'lable'"),
        ("case,slide,label\na,,x\n", "row 2: case and slide must not be empty"),
        ("case,slide,label,fold\na,slide1,x,trian\n", "fold 'trian' is not known.*Did you mean 'train'"),
        ("case,slide,label,fold\na,slide1,x,train\na,slide2,x,test\n", "row 3: the case of slides.csv row 2 is in fold 'train' there and in 'test' here"),
        ("case,slide,label\na,slide1,x\nb,slide1.svs,y\n", "row 3: slide 'slide1.svs' stands in slides.csv row 2 too"),
        ("case,slide,label\na,slide999,x\n", "row 2: no tile of slide 'slide999' is among the embeddings"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read(text)
    table.write_text("case,slide,label,fold\na,slide1,x,train\nb,slide2,y,train\n")
    with pytest.raises(DataError, match=r"No bag is in fold 'val'; folds here: train"):
        fit_bags(read_bags(tiles, table))
    table.write_text("case,slide,label,fold\na,slide1,x,train\nb,slide2,y,train\nc,slide3,z,val\n")
    with pytest.raises(
        DataError, match="bag 'slide3': label 'z' is none of the labels of the train fold: x, y"
    ):
        fit_bags(read_bags(tiles, table))
    with pytest.raises(LimitError, match="bytes of vectors in bags"):
        read_bags(tiles, table, limits=Limits(decoded_bytes=100))
    with pytest.raises(DataError, match="none.parquet: no such file. Make it with: verticlip embed"):
        read_bags(cohort / "none.parquet", table)
    (cohort / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="bad.parquet: not a whole Parquet file"):
        read_bags(cohort / "bad.parquet", table)
    parquet.write_table(pyarrow.table({"name": ["a"]}), cohort / "other.parquet")
    with pytest.raises(DataError, match="columns are name; expected id and vector"):
        read_bags(cohort / "other.parquet", table)
    with pytest.raises(InputError, match="no such folder. Give a folder of tile images"):
        embed_bag(tiny, cohort / "none")
