from __future__ import annotations

import sys
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.training.reader import read_presentations

sys.path.insert(0, str(Path(__file__).parent))
from make_presentations import make_set


def test_rows_are_presentations_with_their_people(tmp_path):
    path = make_set(tmp_path, subjects=4, frames=2)
    rows = list(read_presentations(path))
    assert len(rows) == 12
    first = rows[0]
    assert first["id"] == "drawn/00_bona_fide"
    assert first["path"] == str(tmp_path / "drawn" / "00_bona_fide_0.png")
    assert (first["label"], first["group"], first["split"]) == ("bona_fide", "drawn/s00", "train")
    assert len(first["extras"]["entry"].frames) == 2
    assert {row["split"] for row in rows} == {"train", "val"}
    assert rows[1]["label"] == "print"


def test_a_category_column_wins_and_unnamed_rows_get_a_data_set(tmp_path):
    columns = ("path", "video_id", "label", "species", "subject", "split")
    path = make_set(tmp_path, subjects=1, columns=columns)
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(
            [
                f"{lines[0]},category",
                *(
                    f"{line},{word}"
                    for line, word in zip(lines[1:], ("live", "mask_paper_or_3d", ""), strict=True)
                ),
            ]
        )
    )
    rows = list(read_presentations(path, dataset="ours"))
    assert [row["label"] for row in rows] == ["live", "mask_paper_or_3d", "display"]
    assert {row["group"] for row in rows} == {"ours/s00"}


def test_without_a_subject_the_presentation_is_its_own_group(tmp_path):
    path = make_set(
        tmp_path, subjects=1, columns=("path", "video_id", "label", "species", "split", "dataset")
    )
    assert [row["group"] for row in read_presentations(path)] == [
        "drawn/00_bona_fide", "drawn/00_print", "drawn/00_display",
    ]  # fmt: skip


def test_options_that_do_not_fit(tmp_path):
    path = make_set(tmp_path, subjects=1)
    with pytest.raises(ConfigError, match="fold: options of a public set, and no layout names one"):
        list(read_presentations(path, fold=1))
    with pytest.raises(ConfigError, match="root and split are for manifests; oulu-npu says both"):
        list(read_presentations(path, layout="oulu-npu", root="x"))


def test_the_folder_of_a_public_set(tmp_path, caplog):
    for user in (1, 2, 21, 36):
        for file in (1, 2, 4):
            target = tmp_path / "OULU" / f"{'Train' if user < 21 else 'Dev' if user < 36 else 'Test'}_files"
            target.mkdir(parents=True, exist_ok=True)
            (target / f"1_1_{user:02d}_{file}.avi").write_bytes(f"{user} {file}".encode())
    rows = list(read_presentations(tmp_path / "OULU", layout="oulu-npu", protocol=1, partial=True))
    assert {row["split"] for row in rows} <= {"train", "val", "test"}
    assert {row["label"] for row in rows} == {"bona_fide", "print", "display"}
    assert "Incomplete" in caplog.text


def test_shots_are_rows_that_are_not_grouped_by_person(tmp_path):
    path = make_set(tmp_path, subjects=2, splits=("train", "test"))
    lines = path.read_text().splitlines()
    # The person who trains by shots is the one who is tested.
    shown = [f"{line},{'target' * (',train,' in line)}".replace(",s00,", ",s01,") for line in lines[1:]]
    path.write_text("\n".join([f"{lines[0]},few_shot", *shown]))
    rows = list(read_presentations(path))
    assert [row["group"] for row in rows if row["split"] == "train"] == [
        "drawn/00_bona_fide", "drawn/00_print", "drawn/00_display",
    ]  # fmt: skip
    assert {row["group"] for row in rows if row["split"] == "test"} == {"drawn/s01"}
