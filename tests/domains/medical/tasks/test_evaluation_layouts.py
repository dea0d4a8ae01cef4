"""Each public set is read from the files its authors publish and from those of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.medical.tasks.evaluation_catalogue import SETS, evaluation_set, names
from verticlip.domains.medical.tasks.evaluation_sets import read_set

CHEST = SETS["chexpert-5x200"].classes


def table(root: Path, name: str, *lines: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def touch(root: Path, *images: str) -> None:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def labels(root: Path, name: str) -> dict[str, str]:
    """Return {path below the root: label} of a set; every path has to exist."""
    rows, _ = read_set(name, root)
    assert all(Path(row["path"]).is_file() for row in rows)
    return {Path(row["path"]).relative_to(root).as_posix(): row["label"] for row in rows}


def one_hot(position: int) -> str:
    return ",".join(str(float(index == position)) for index in range(5))


def test_chexpert_of_the_reference_and_of_gloria(tmp_path: Path) -> None:
    for file, column, prefix in (
        ("chexpert-5x200.csv", "imgpath", "CheXpert/CheXpert-v1.0-small/"),
        ("chexpert_5x200.csv", "Path", "CheXpert-v1.0/"),
    ):
        root = tmp_path / column
        paths = [f"train/patient{n:05}/study1/view1_frontal.jpg" for n in (4, 4, 7)]
        touch(root, *paths)
        lines = [f"{n},{prefix}{path},{one_hot(n)}" for n, path in zip((0, 0, 3), paths, strict=True)]
        table(root, file, f",{column},{','.join(CHEST)}", *lines)
        assert labels(root, "chexpert-5x200") == {paths[0]: "Atelectasis", paths[2]: "Edema"}
        rows, layout = read_set("chexpert-5x200", root)
        assert [row["group"] for row in rows] == ["patient00004", "patient00007"]
        assert "chexpert_5x200.csv" in layout


def test_chexpert_needs_exactly_one_finding(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    table(tmp_path, "chexpert-5x200.csv", f"imgpath,{','.join(CHEST)}", "a.jpg,1,1,0,0,0")
    with pytest.raises(
        DataError, match=r"chexpert-5x200.csv row 2: 2 of Atelectasis, .* are 1; expected one"
    ):
        read_set("chexpert-5x200", tmp_path)
    table(tmp_path, "chexpert-5x200.csv", f"imgpath,{','.join(CHEST)}", "a.jpg,1,yes,0,0,0")
    with pytest.raises(DataError, match=r"row 2: 'yes' is not 0 or 1"):
        read_set("chexpert-5x200", tmp_path)
    table(tmp_path, "chexpert-5x200.csv", "imgpath,Atelectasis", "a.jpg,1")
    with pytest.raises(DataError, match=r"row 2: no column 'Cardiomegaly'"):
        read_set("chexpert-5x200", tmp_path)


def test_rsna_of_the_reference_and_of_kaggle(tmp_path: Path) -> None:
    ours, kaggle = tmp_path / "reference", tmp_path / "kaggle"
    touch(ours, "images/a.png", "images/b.png")
    table(ours, "RSNA_pneumonia_balanced_testfile.csv", ",path,label", "0,images/a.png,0", "1,images/b.png,1")
    assert labels(ours, "rsna_pneumonia") == {"images/a.png": "Normal", "images/b.png": "Pneumonia"}
    touch(kaggle, "stage_2_train_images/p1.dcm", "stage_2_train_images/p2.dcm")
    table(
        kaggle, "stage_2_train_labels.csv", "patientId,x,y,width,height,Target",
        "p1,,,,,0", "p2,1,2,3,4,1", "p2,5,6,7,8,1",
    )  # fmt: skip
    assert labels(kaggle, "rsna_pneumonia") == {
        "stage_2_train_images/p1.dcm": "Normal",
        "stage_2_train_images/p2.dcm": "Pneumonia",
    }


def test_one_image_has_one_label(tmp_path: Path) -> None:
    table(tmp_path, "stage_2_train_labels.csv", "patientId,Target", "p1,0", "p1,1")
    with pytest.raises(DataError, match=r"row 3: 'p1' has the labels 'Normal' and 'Pneumonia'"):
        read_set("rsna_pneumonia", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "cells", "wanted"),
    [
        ("acl_mri", "acl/dataframe/test_fold1.csv", ("no", "yes"), ("no", "yes")),
        ("meniscal_mri", "meniscus_test_fold1.csv", ("n", "p"), ("no", "yes")),
        (
            "breast_us",
            "breast/dataframe/breast_test_fold1.csv",
            ("benign", "malignant"),
            ("benign", "malignant"),
        ),
        ("thyroid_us", "thyroid_test_fold1.csv", ("malignant", "benign"), ("malignant", "benign")),
    ],
)
def test_folds_of_radimagenet(tmp_path: Path, name: str, file: str, cells, wanted) -> None:
    folder = file.partition("/")[0] + "/" if "/" in file else ""
    images = [f"{folder}images/0228_sagittal_9.000000.png", f"{folder}images/1054_sagittal_19.000000.png"]
    touch(tmp_path, *images)
    table(
        tmp_path,
        file,
        "filename,x_label",
        *(f"images/{Path(i).name},{c}" for i, c in zip(images, cells, strict=True)),
    )
    assert labels(tmp_path, name) == dict(zip(images, wanted, strict=True))
    if name == "acl_mri":
        assert [row["group"] for row in read_set(name, tmp_path)[0]] == ["0228", "1054"]


def test_original_busi_leaves_masks_out(tmp_path: Path) -> None:
    base = "Dataset_BUSI_with_GT"
    touch(
        tmp_path,
        f"{base}/benign/benign (1).png",
        f"{base}/benign/benign (1)_mask.png",
        f"{base}/malignant/m.png",
        f"{base}/normal/n.png",
    )
    assert labels(tmp_path, "breast_us") == {
        f"{base}/benign/benign (1).png": "benign",
        f"{base}/malignant/m.png": "malignant",
    }
    assert len(labels(tmp_path / base, "breast_us")) == 2


@pytest.mark.parametrize(
    ("name", "folder"),
    [("CT_axial", "organs_axial"), ("CT_coronal", "organs_coronal"), ("dr_regular", "dr_regular")],
)
def test_medimeta_takes_the_test_split(tmp_path: Path, name: str, folder: str) -> None:
    touch(tmp_path, *(f"{folder}/images/00{n}.tiff" for n in range(3)))
    table(
        tmp_path, f"{folder}/annotations.csv", "filepath,split,tasks/label",
        "images/000.tiff,train,0", "images/001.tiff,test,2", "images/002.tiff,test,4.0",
    )  # fmt: skip
    classes = evaluation_set(name).classes
    assert labels(tmp_path, name) == {
        f"{folder}/images/001.tiff": classes[2],
        f"{folder}/images/002.tiff": classes[4],
    }


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("refuge_retina", "25_REFUGE.csv", ["glaucoma", "no glaucoma"]),
        ("five_retina", "13_FIVES.csv", ["age related macular degeneration", "normal"]),
        ("odir_retina", "08_ODIR200x3.csv", ["pathologic myopia", "cataract"]),
    ],
)
def test_lists_of_flair(tmp_path: Path, name: str, file: str, words: list[str]) -> None:
    touch(tmp_path, "data/0.jpg", "data/1.jpg")
    lines = [f"{n},data/{n}.jpg,[],['{word}']" for n, word in enumerate(words)]
    table(tmp_path, file, ",image,atributes,categories", *lines)
    assert labels(tmp_path, name) == {f"data/{n}.jpg": word for n, word in enumerate(words)}


def test_a_cell_that_is_no_list_is_not_run(tmp_path: Path) -> None:
    table(tmp_path, "13_FIVES.csv", ",image,atributes,categories", "0,a.jpg,[],[exit(3)]")
    with pytest.raises(DataError, match=r"13_FIVES.csv row 2: '\[exit\(3\)\]' is not a list"):
        read_set("five_retina", tmp_path)


def test_original_fives_and_refuge(tmp_path: Path) -> None:
    touch(tmp_path / "fives", "train/Original/1_A.png", "test/Original/2_N.png", "test/Ground truth/2_N.png")
    assert labels(tmp_path / "fives", "five_retina") == {
        "train/Original/1_A.png": "age related macular degeneration",
        "test/Original/2_N.png": "normal",
    }
    touch(tmp_path / "refuge", "Training400/Glaucoma/g0001.jpg", "Training400/Non-Glaucoma/n0001.jpg")
    assert labels(tmp_path / "refuge", "refuge_retina") == {
        "Training400/Glaucoma/g0001.jpg": "glaucoma",
        "Training400/Non-Glaucoma/n0001.jpg": "no glaucoma",
    }


def test_folders_of_pathology(tmp_path: Path) -> None:
    touch(tmp_path / "lc", "lung_colon_image_set/lung_image_sets/lung_aca/a.jpeg",
          "lung_colon_image_set/lung_image_sets/lung_n/b.jpeg", "lung_colon_image_set/colon_image_sets/colon_n/c.jpeg",
          "lung_colon_image_set/colon_image_sets/colon_aca/d.jpeg")  # fmt: skip
    assert list(labels(tmp_path / "lc", "LC25000_lung").values()) == ["Lung adenocarcinoma", "Benign lung"]
    assert list(labels(tmp_path / "lc", "LC25000_colon").values()) == [
        "Colon adenocarcinoma",
        "Benign colonic tissue",
    ]
    touch(tmp_path / "plain", "colon_aca/1.jpeg", "colon_n/2.jpeg")
    assert len(labels(tmp_path / "plain", "LC25000_colon")) == 2
    touch(tmp_path / "crc", "CRC-VAL-HE-7K/ADI/1.tif", "CRC-VAL-HE-7K/TUM/2.tif", "CRC-VAL-HE-7K/BACK/3.tif")
    assert list(labels(tmp_path / "crc", "NCK_CRC").values()) == [
        "Adipose",
        "Colorectal adenocarcinoma epithelium",
    ]
    touch(
        tmp_path / "pcam",
        "PCam_Test_preprocessed/0_1.png",
        "PCam_Test_preprocessed/12_0.png",
        "PCam_Test_preprocessed/x.png",
    )
    assert list(labels(tmp_path / "pcam", "PCAM").values()) == [
        "Lymph node containing metastatic tumor tissue",
        "Lymph node",
    ]


@pytest.mark.parametrize("header", [["name,label"], []])
def test_bach_with_and_without_a_header(tmp_path: Path, header: list[str]) -> None:
    base = "ICIAR2018_BACH_Challenge/Photos"
    touch(tmp_path, f"{base}/Benign/b001.tif", f"{base}/InSitu/is001.tif", f"{base}/Normal/n001.tif")
    table(
        tmp_path,
        f"{base}/microscopy_ground_truth.csv",
        *header,
        "b001.tif,Benign",
        "is001.tif,InSitu",
        "n001.tif,Normal",
    )
    wanted = ["benign tissue", "in-situ carcinoma", "normal tissue"]
    assert list(labels(tmp_path, "BACH").values()) == wanted
    (tmp_path / base / "microscopy_ground_truth.csv").unlink()
    assert list(labels(tmp_path, "BACH").values()) == wanted


def test_osteo_skin_and_prostate(tmp_path: Path) -> None:
    touch(tmp_path / "o", "Osteosarcoma/Case 3.jpg", "Osteosarcoma/Case 4.jpg")
    table(
        tmp_path / "o",
        "Osteosarcoma/annotations_final.csv",
        "image,label",
        "Case 3.jpg,Non-Viable-Tumor",
        "Case 4.jpg,Viable",
    )
    assert list(labels(tmp_path / "o", "Osteo").values()) == ["Necrotic", "Tumor"]
    tiles = ["tiles/a.jpg", "tiles/b.jpg", "tiles/c.jpg"]
    touch(tmp_path / "s", *(f"skin_tumor/data/{tile}" for tile in tiles))
    table(
        tmp_path / "s", "skin_tumor/data/tiles-v2.csv", "id,file,class,set",
        f"0,data/{tiles[0]},nontumor_skin_nerves_nerves,Test", f"1,data/{tiles[1]},tumor_skin_epithelial_bcc,Test",
        f"2,data/{tiles[2]},tumor_skin_naevus_naevus,Train",
    )  # fmt: skip
    assert labels(tmp_path / "s", "skin_cancer") == {
        "skin_tumor/data/tiles/a.jpg": "Nerves",
        "skin_tumor/data/tiles/b.jpg": "Basal-cell carcinoma",
    }
    assert labels(tmp_path / "s", "skin_tumor") == {"skin_tumor/data/tiles/b.jpg": "Basal-cell carcinoma"}
    touch(tmp_path / "p", "images/x.jpg")
    table(tmp_path / "p", "partition/Test/Test.csv", "image_name,NC,G3,G4,G5", "x.jpg,0,0,1,0")
    assert list(labels(tmp_path / "p", "SICAPv2").values()) == [
        "Cribriform ill-formed fused papillary patterns"
    ]


def test_radimagenet_as_table_and_as_folders(tmp_path: Path) -> None:
    touch(tmp_path / "t", "radiology_ai/MR/knee/x.png")
    table(
        tmp_path / "t",
        "radimagenet_test_set_formatted.csv",
        "path,label",
        "\"['radiology_ai/MR/knee/x.png']\",6",
    )
    assert list(labels(tmp_path / "t", "radimagenet").values()) == ["knee MRI: acl pathology"]
    touch(tmp_path / "f", "radiology_ai/MR/knee/acl_pathology/x.png", "radiology_ai/CT/abd/gallstone/y.png",
          "radiology_ai/US/gb/z.png")  # fmt: skip
    found = labels(tmp_path / "f", "radimagenet")
    assert found["radiology_ai/MR/knee/acl_pathology/x.png"] == "knee MRI: acl pathology"
    assert found["radiology_ai/CT/abd/gallstone/y.png"] == "abdominal CT: gallstone"
    assert found["radiology_ai/US/gb/z.png"] == "ultrasound: gb"


@pytest.mark.parametrize("name", names())
def test_every_set_is_read_from_class_folders_and_says_what_it_expects(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as error:
        read_set(name, tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: no files of {name}. Expected ")
    assert evaluation_set(name).source in message
    first, second = evaluation_set(name).classes[:2]
    for label in (first, second):
        touch(tmp_path / name, f"{label.replace(' ', '_')}/image.png")
    assert set(labels(tmp_path, name).values()) == {first, second}


def test_an_unknown_set_and_an_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No evaluation set called 'PCAMM'. Did you mean 'PCAM'"):
        evaluation_set("PCAMM")
    with pytest.raises(DataError, match="no such folder. Pass the folder that holds PCAM"):
        read_set("PCAM", tmp_path / "none")


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    table(tmp_path, "meniscus_test_fold1.csv", "filename,label", "a.png,q")
    with pytest.raises(DataError, match=r"row 2: label 'q' is none of no, yes, 0"):
        read_set("meniscal_mri", tmp_path)
    table(tmp_path, "meniscus_test_fold1.csv", "filename", "a.png")
    with pytest.raises(DataError, match=r"row 2: 1 columns; the label or path is expected in column 1"):
        read_set("meniscal_mri", tmp_path)


def test_tables_name_files_inside_their_folder_only(tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"x")
    root = tmp_path / "data"
    table(root, "meniscus_test_fold1.csv", "filename,label", "../secret.png,p")
    with pytest.raises(DataError, match="leaves the data folder"):
        read_set("meniscal_mri", root)
    (root / "link.png").symlink_to(outside)
    table(root, "meniscus_test_fold1.csv", "filename,label", "link.png,p")
    rows, _ = read_set("meniscal_mri", root)
    assert rows[0]["path"] == str(root / "link.png"), "what its owner linked there is part of the folder"
    # An absolute path is looked for below the root, never where it points.
    table(root, "meniscus_test_fold1.csv", "filename,label", f"{outside},n")
    rows, _ = read_set("meniscal_mri", root)
    assert Path(rows[0]["path"]).is_relative_to(root)
    assert not Path(rows[0]["path"]).exists()
